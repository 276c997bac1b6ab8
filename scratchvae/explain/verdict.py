"""All that is known of one pass, and the verdict: are its gradients right, and if not, where is the first wrong one?

Gradients that stand after a wrong one in the order of backward are wrong because of it.
So it is the first that is shown: the statement that made it, or that handed it to a call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from ..layers import Array
from .compare import TOLERANCE, Check, check_of, is_gradient
from .equations import Equation, select
from .evaluate import Evaluator
from .trace import Call, Key, Made, Trace, Visit, is_array


@dataclass
class Pass:
    """All that is known of one pass through a model."""

    model: Any
    x: Array
    noise: Any
    elbo: Any
    loss: float
    trace: Trace
    bound: Call
    summed: Call                                       # the call of elbo.loss, or of Importance.value
    begun: Call | None                                 # that of elbo.loss_backward; None with K draws
    backward: Call
    pairs: dict[int, Call]                             # of a backward's number: the forward that it answers
    checks: list[Check]
    picture: tuple[int, int] | None
    K: int = 1                                         # draws for each example
    about: str = ""
    columns: Sequence[str] = ()
    answers: dict[int, Call] = field(default_factory=dict)
    compared: list[tuple[Visit, Made, Check]] = field(default_factory=list)
    origin: tuple[int, Key] | None = None              # the first gradient in the order of backward that is wrong

    def __post_init__(self) -> None:
        calls = {call.index: call for call in self.trace.calls}
        self.answers = {forward.index: calls[i] for i, forward in self.pairs.items()}
        begun: dict[int, float] = {}
        self.compared = [(visit, made, check) for visit, made in self.gradients()
                         if (check := check_of(visit, made, self.checks)) is not None]
        wrong = [(visit.end, made.key) for visit, made, check in self.compared if not check.error <= TOLERANCE]
        for check in self.checks:                      # a call that was given a wrong gradient: its statement is wrong
            if check.role == "in" and not check.error <= TOLERANCE and check.call.parent is not None:
                caller = check.call.parent
                wrong += [(caller.end, m.key) for m in caller.made[:1]]
                begun[caller.end] = min(visit.end for visit in check.call.visits if visit.end) - 0.5
        self.origin = min(wrong, key=lambda pair: begun.get(pair[0], pair[0]), default=None)

    def gradients(self) -> Iterator[tuple[Visit, Made]]:
        """Yield every gradient that a statement made."""
        for call in self.trace.calls:
            for visit in call.visits:
                yield from ((visit, made) for made in visit.new() if is_gradient(visit, made))

    def equations(self, visit: Visit) -> Iterator[tuple[Equation, float | None]]:
        """Yield the equations of a statement, and how far each is from what the statement made."""
        found = visit.call.function.reference(visit.statement)
        arrays = [value for _, value in visit.values if is_array(value)]
        if found is None or not visit.ran or not visit.made and arrays:        # what it made is of no use
            return
        chosen = list(select(*found, [name for name, _ in visit.values]))
        errors = [self.evaluator(visit).error(e) for e in chosen]
        for i, (equation, error) in enumerate(zip(chosen, errors)):
            same = [k for k, other in enumerate(chosen) if other.names == equation.names and k != i]
            if error == inf and any(errors[k] not in (None, inf) for k in same):
                continue                               # the case of another shape
            yield equation, error

    def evaluator(self, visit: Visit) -> Evaluator:
        """Return what computes equations at a statement."""
        extra = {"n": len(self.x), "K": self.K, "T": len(self.model.latent_dims)}
        return Evaluator(visit, self.pairs.get(visit.call.index), extra)

    def title(self, call: Call) -> str:
        """Return a call's name, with the name of the network or the layer whose method it is."""
        last = call.function.name.partition(".")[2] if call.owner is not None else call.function.name
        owner = getattr(call.owner, "network", call.owner)             # of one that is asked once for many rows
        for name, network in self.model.networks.items():
            if owner is network:
                return f"{name}.{last.rpartition('.')[2]}"
            for part, layer in network.layers.items():
                if call.owner is layer:
                    return f"{name}.{part}.{last.rpartition('.')[2]}"
        return last

    @property
    def verdict(self) -> str:
        """Return a sentence: all gradients are right, or where the first wrong one was made."""
        found = self.compared
        wrong = sum(not check.error <= TOLERANCE for *_, check in found)
        for visit in (visit for call in self.trace.calls for visit in call.visits):
            for made in visit.made:
                if self.origin == (visit.end, made.key):
                    return (f"{wrong} of {len(found)} gradients are wrong; the first in the order of backward is "
                            f"{made.label} in {visit.call.function.name}, line {visit.statement.first}")
        return (f"{len(found)} gradients are shown, and each agrees with its complex-step derivative; the largest "
                f"relative error is {max((check.error for *_, check in found), default=0.0):.1e}")
