"""The record of one pass, and the verdict: are its gradients right, and if not, where is the first wrong one?

A traced call of a part, such as a layer, is a step (verify/steps.py).  verify's search compares what each backward
received and returned with the complex step.  An array that a statement made gets the check of the step that received or
returned it.  Gradients after a wrong one, in the order of backward, are wrong because of it: the page marks the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..layers import Array
from ..objective import ELBO
from ..verify.derivative import complex_step, relative, stream
from ..verify.first_wrong import Compared
from .equations import Equation, select
from .evaluate import Evaluator
from .trace import Call, Key, Made, Trace, Visit, is_array, key_of, leaves

TOLERANCE = 1e-12


@dataclass
class Check:
    """A gradient that was compared: its array, whether ``call`` received it ("dys") or returned it, and its error."""

    call: Call | None
    which: str
    key: Key | None
    name: str
    gradient: Array
    error: float


@dataclass
class Record:
    """The record of one pass through a model."""

    model: Any
    x: Array
    noise: Any
    elbo: ELBO
    loss: float
    trace: Trace
    bound: Call
    summed: Call                                       # the call of elbo.loss, or of Importance.value
    begun: Call | None                                 # the call of elbo.loss_backward; None with K draws
    backward: Call
    pairs: dict[int, Call]                             # by the number of a backward: the forward that it answers
    parameters: list[Compared]                         # the gradient by every parameter
    checks: list[Check]                                # of what traced calls received and returned, in order
    picture: tuple[int, int] | None
    K: int = 1                                         # draws per example
    about: str = ""
    columns: Sequence[str] = ()
    answers: dict[int, Call] = field(default_factory=dict)
    by: dict[Any, list[Check]] = field(default_factory=dict)           # the checks, by memory or by name
    compared: list[tuple[Visit, Made, Check]] = field(default_factory=list)
    origin: tuple[int, Key] | None = None              # the first gradient in the order of backward that is wrong

    def __post_init__(self) -> None:
        self.answers = {self.pairs[call.index].index: call for call in self.trace.calls if call.index in self.pairs}
        for one in self.checks:
            self.by.setdefault(one.key[0] if one.key else "d" + one.name, []).append(one)
        made = [(visit, m) for call in self.trace.calls for visit in call.visits for m in visit.new()]
        made.sort(key=lambda pair: pair[0].end)
        self.compared = [(visit, m, check) for visit, m in made if is_gradient(visit, m)
                         if (check := self.check(visit, m)) is not None]
        every: list[Check | Compared] = [*self.checks, *self.parameters]
        self.wrong = [c for c in every if not c.error <= TOLERANCE]
        wrong = self.wrong[0] if self.wrong else None
        if isinstance(wrong, Check):
            sites = [(visit, m) for visit, m in made if is_it(m, wrong)]
            if wrong.which == "dys" and wrong.call is not None and wrong.call.parent is not None:
                sites = ([site for site in sites if site[0].end <= wrong.call.start][::-1]
                         or [(wrong.call.parent, m) for m in wrong.call.parent.made])
            self.origin = next(((visit.end, m.key) for visit, m in sites), None)

    def check(self, visit: Visit, made: Made) -> Check | None:
        """Return the check of an array: by the call that returned it here, or else by the call that received it."""
        near = self.by.get(made.key[0], []) + self.by.get(made.label.rpartition(".")[2], [])
        found = [check for check in near if is_it(made, check)]
        of_here = [check for check in found if check.which != "dys" and check.call is not None
                   and (check.call in visit.calls or within(visit.call, check.call))]
        return next(iter(of_here or [check for check in found if check.which == "dys"] or found), None)

    def equations(self, visit: Visit) -> Iterator[tuple[Equation, float | None]]:
        """Yield the equations of a statement, each with its error."""
        found = visit.call.function.reference(visit.statement)
        arrays = [value for _, value in visit.values if is_array(value)]
        if found is None or not visit.made and arrays:        # nothing uses what it made
            return
        chosen = select(*found, tuple(name for name, _ in visit.values))
        errors = [self.evaluator(visit).error(e) for e in chosen]
        for equation, error in zip(chosen, errors):
            others = [e for other, e in zip(chosen, errors) if other.names == equation.names and other is not equation]
            if error is None or error <= TOLERANCE or all(e is None or e > TOLERANCE for e in others):
                yield equation, error                  # else it is for another shape

    def evaluator(self, visit: Visit) -> Evaluator:
        """Return the evaluator of equations at a statement."""
        extra = {"n": len(self.x), "K": self.K, "T": len(self.model.latent_dims)}
        if hasattr(self.model, "gamma"):
            extra |= {"gamma_1": self.model.gamma[1], "gamma_T": self.model.gamma[-1]}
        return Evaluator(visit, self.pairs.get(visit.call.index), extra)

    def title(self, call: Call) -> str:
        """Return the name of a call, with that of its network or layer."""
        last = call.function.name.partition(".")[2] if call.owner is not None else call.function.name
        owner = getattr(call.owner, "network", call.owner)             # inside a SharedInput
        for name, network in self.model.networks.items():
            for full, part in {name: network, **{f"{name}.{n}": layer for n, layer in network.layers.items()}}.items():
                if owner is part:
                    return f"{full}.{last.rpartition('.')[2]}"
        return last

    @property
    def verdict(self) -> str:
        """Return one sentence: all gradients are right, or where the first wrong one was made."""
        found = self.compared
        wrong = sum(not check.error <= TOLERANCE for *_, check in found)
        for visit in (visit for call in self.trace.calls for visit in call.visits):
            for made in visit.made:
                if self.origin == (visit.end, made.key):
                    return (f"{wrong} of {len(found)} gradients are wrong; the first in the order of backward is "
                            f"{made.label} in {visit.call.function.name}, line {visit.statement.first}")
        if self.wrong:
            return (f"the gradient by {self.wrong[0].name} is wrong, off by {self.wrong[0].error:.1e}; no line on this "
                    "page assigns it")
        return (f"{len(found)} gradients are shown, and each agrees with its complex-step derivative; the largest "
                f"relative error is {max((check.error for *_, check in found), default=0.0):.1e}")


def is_it(made: Made, check: Check) -> bool:
    """Whether an array that a statement made is the gradient that was compared, or its left part."""
    same = made.key[0] == check.key[0] if check.key else made.label.rpartition(".")[2] == "d" + check.name
    return same and made.value.ndim == check.gradient.ndim and np.array_equal(
        made.value, check.gradient[tuple(map(slice, made.value.shape))], True)


def is_gradient(visit: Visit, made: Made) -> bool:
    """Whether an array is a gradient: made in a backward, with a name that begins with d; a single 0 is not."""
    name = made.label.rpartition(".")[2]
    return (visit.call.function.name.endswith("backward") and name[:1] == "d" and name not in ("diff", "d")
            and (made.value.shape != (1,) or bool(made.value.any())))


def within(call: Call | None, outer: Call) -> bool:
    """Whether a call is another one, or was made within it."""
    while call is not None and call is not outer:
        call = call.parent.call if call.parent is not None else None
    return call is outer


def pairs_of(calls: list[Call]) -> dict[int, Call]:
    """Return, by the number of a backward, the forward that it answers: of the same step, or with its cache."""
    found: dict[int, Call] = {}
    for call in calls:
        if call.function.name.endswith("backward"):
            cache, name = call.args.get("cache", call.args.get("caches")), call.function.name
            mine = [other for other in calls[:call.index] if other.owner is call.owner and (
                call.step is not None and other.step == call.step or cache is not None and isinstance(
                    other.result, tuple) and other.result[-1] is cache)]
            own = [other for other in mine if other.function.name in (name.removesuffix("_backward"),
                                                                      name.replace(".backward", ".forward"))]
            found.update({call.index: (own or mine)[0]} if mine else {})
    return found


def checks(calls: list[Call], found: list[Compared]) -> Iterator[Check]:
    """Yield what the search compared, with the traced call and the array: of each step, and the model's own dx."""
    backward = {call.step: call for call in calls if call.function.name.endswith("backward")}
    whole = next(call for call in calls if "delbo" in call.args)
    for c in found:
        call = backward.get(c.step.index) if c.step is not None else whole
        if call is None or c.which == "left" and c.name != "x":
            continue
        names = [c.name] if c.step is None else list(c.step.outputs if c.which == "dys" else c.step.inputs)
        array = (getattr(call.owner, "d" + c.name) if c.which == "parameter" else
                 leaves(tuple(call.args.values()) if c.which == "dys" else call.result)[names.index(c.name)])
        if is_array(array) and (c.which in ("dys", "parameter") or call.args.get("input_gradient", True)):
            yield Check(call, c.which, key_of(array), c.name, c.gradient, c.error)


def of_loss(functions: dict[str, tuple[Callable[[Array], Any], Array, Array]]) -> Iterator[Check]:
    """Yield the checks of the gradients that backward begins with: of the loss by each part of the bound."""
    for name, (loss, array, gradient) in functions.items():
        v = stream(8).standard_normal(array.shape)
        right = complex_step(lambda a: {"loss": loss(a[name])}, {name: array}, {name: v})["loss"]
        error = relative((gradient * v).sum(), right, float(np.linalg.norm(gradient)))
        yield Check(None, "part", None, name, gradient, error)
