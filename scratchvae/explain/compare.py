"""Every gradient of a pass beside its complex-step derivative.

A backward belongs to the forward whose cache it was given.  What it was given, dy,
is the gradient of the loss by what that forward returned; what it returns are the
gradients by what that forward was given, *as it was used there*.  So the pass is run
once more for each of them, with complex numbers: at that call, the array is moved by
i h v in place, and Im(loss)/h must be Σ dv · v.  MATH (10.1).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

import numpy as np

from ..importance import Importance
from ..layers import Array
from ..objective import ELBO
from ..verify.derivative import COMPLEX_STEP, stream
from .trace import Call, Key, Made, Visit, is_array, key_of, leaves

TOLERANCE = 1e-12
SMALL = 1e-3                                           # of the largest gradient: what a smaller one is compared with


@dataclass
class Check:
    """A comparison: which backward and whether it gave (``out``) or got the gradient; by what; how far off it is."""

    call: Call
    role: str                                          # "out", "in", "inside", "parameter", "part"
    key: Key
    by: str
    error: float


def outputs_of(result: Any) -> list[Any]:
    """Return what a function returns without its cache: the first entry of a tuple, or the views of one array."""
    found = leaves(result)
    bases = [leaf.base if is_array(leaf) else None for leaf in found]
    views = bases and bases[0] is not None and all(base is bases[0] for base in bases)
    return found if views else leaves(result[:1])


def loss_of(objective: Any, elbo: Any, beta: Any, alpha: float) -> Any:
    """Return the loss: of a model (5.4), or of importance weights (14.1)."""
    if isinstance(objective, Importance):
        return -objective.value(elbo, beta, alpha)[0].mean()
    return elbo.loss(beta, alpha)


def pairs_of(calls: list[Call], first: int, bound: Call, model_backward: Call) -> dict[int, Call]:
    """Return, by the number of a backward, the forward that it answers."""
    found = {model_backward.index: bound}
    for call in calls:
        name, _, last = call.function.name.rpartition(".")
        if last != "backward" and not last.endswith("_backward"):
            continue
        wanted = f"{name}.{'forward' if last == 'backward' else last[:-len('_backward')]}"
        cache = call.args.get("cache", call.args.get("caches"))
        if cache is None:                              # nothing was kept: of those not yet answered, one with these
            taken = {other.index for other in found.values()}                  # shapes: the first within the forward
            shapes = [np.shape(v) for v in call.args.values()]                 # of the caller, or the last
            open_ = [other for other in calls[:first] if other.function.name == wanted and other.index not in taken
                     and (made := [np.shape(leaf) for leaf in leaves(other.result)]) == shapes[:len(made)]]
            caller = found.get(call.parent.call.index) if call.parent is not None else None
            inside = [other for other in open_ if caller is not None and within(other, caller)]
            if open_:
                found[call.index] = inside[0] if inside else open_[-1]
            continue
        for other in calls:
            names = (wanted, f"{name}.bound" if last == "backward" else wanted)
            if (other.function.name in names and other.owner is call.owner
                    and isinstance(other.result, tuple) and len(other.result) == 2 and other.result[1] is cache):
                found[call.index] = other
    return found


class Mover:
    """Runs the pass of a model, or of its importance weights, in complex numbers, and moves one array at one call."""

    def __init__(self, twin: Any, x: Array, noise: Any, beta: Any, alpha: float,
                 known: dict[CodeType, tuple[str, Any]]) -> None:
        self.twin, self.x, self.noise, self.beta, self.alpha, self.known = twin, x, noise, beta, alpha, known
        self.rng, self.K = stream(8), getattr(twin, "K", 1)

    def derivative(self, place: tuple[str, int, Any], dv: Array, floor: float, draws: int = 1) -> float | None:
        """Return how far Σ dv v is from the derivative along a random v, relative to the root of Σ (dv v)².

        Parameters
        ----------
        place : role, number of the call, which array
        dv : array
        floor : float
            What it is relative to, if dv is smaller: rounding is as large as what was subtracted.
        draws : int, default 1
            So many rows that follow each other are moved alike.
        """
        moved: list[tuple[Array, Array]] = []

        def move(array: Any) -> None:
            if not isinstance(array, np.ndarray) or array.dtype.kind != "c" or not array.flags.writeable or moved:
                return
            v = np.asarray(self.rng.standard_normal(array.shape))
            if draws > 1:
                v = np.repeat(v[::draws], draws, axis=0)
            array.imag += COMPLEX_STEP * v
            moved.append((array, v))

        if place[0] == "parameter":
            move(getattr(self.twin, "model", self.twin).parameters[place[2]])
            loss = self.loss(self.twin.bound(self.x, self.noise)[0])
            moved[0][0].imag[...] = 0
        elif place[0] == "part":
            elbo = self.twin.bound(self.x, self.noise)[0]
            part = elbo.kl if place[2] == "kl" else np.zeros_like(elbo.reconstruction)
            move(part)
            if place[2] == "kl":
                elbo = ELBO(elbo.reconstruction, part[:, -1], part[:, :-1])
            else:                                      # the weight of a draw has alpha times it
                elbo = ELBO(elbo.reconstruction + part / (self.alpha if place[2] == "log_w" else 1),
                            elbo.prior_matching, elbo.consistency)
            loss = self.loss(elbo)
        else:
            loss = self.traced(place, move)
        if not moved or np.shape(moved[0][1]) != dv.shape:
            return None
        terms = dv * moved[0][1]
        got = float(np.imag(loss)) / COMPLEX_STEP
        scale = max(float(np.sqrt((terms ** 2).sum())), abs(got), floor)
        return abs(got - float(terms.sum())) / scale if scale else 0.0

    def loss(self, elbo: Any) -> Any:
        """Return the loss."""
        return loss_of(self.twin, elbo, self.beta, self.alpha)

    def traced(self, place: tuple[str, int, Any], move: Callable[[Any], None]) -> Any:
        """Run the pass, and call ``move`` where the place is."""
        role, index, which = place
        count = -1
        open_frames: list[FrameType] = []
        holds: list[tuple[FrameType, Array]] = []

        def enter(frame: FrameType, event: str, arg: Any) -> Any:
            nonlocal count
            if event != "call" or frame.f_code not in self.known:
                return None
            if open_frames and frame.f_back is not open_frames[-1]:
                return None
            count += 1
            open_frames.append(frame)
            mine = count == index
            if mine and role == "out":
                move(frame.f_locals[which])
                holds.append((frame, frame.f_locals[which]))

            def watch(frame: FrameType, event: str, arg: Any) -> Any:
                if mine and role == "inside" and event == "line" and which in frame.f_locals:
                    move(frame.f_locals[which])
                if event == "return":
                    open_frames.pop()
                    if mine and role == "in":
                        leaf = [leaf for leaf in leaves(arg) if is_array(leaf)][which]
                        move(leaf)
                        here = [v for v in frame.f_locals.values() if is_array(v) and v is not leaf]
                        if any(np.shares_memory(v, leaf) for v in here):
                            holds.append((open_frames[-1], leaf))
                    if holds and holds[-1][0] is frame:
                        _, held = holds.pop()
                        if open_frames and any(is_array(leaf) and np.shares_memory(leaf, held)
                                               for leaf in outputs_of(arg)):
                            holds.append((open_frames[-1], held))              # a view of it goes on
                        else:
                            np.asarray(held).imag[...] = 0         # elsewhere it is used as it was
                return watch
            return watch

        before = sys.gettrace()
        sys.settrace(enter)
        try:
            elbo, _ = self.twin.bound(self.x, self.noise)
        finally:
            sys.settrace(before)
        return self.loss(elbo)


def places(backward: Call, forward: Call, model: Any) -> Iterator[tuple[str, Any, str, Array, Key]]:
    """Yield what there is to compare at one backward: role, where, by which name, the gradient, which array it is."""
    outputs = leaves(forward.result if backward.args.keys().isdisjoint(("cache", "caches")) else forward.result[0])
    given = [v for n, v in backward.args.items() if is_array(v) and "cache" not in n]
    whole = forward.function.name.endswith(".bound")
    inputs, results = inputs_of(forward), zip(leaves(backward.result), backward.values)
    handed_on = {key_of(v) for _, v in inputs if is_array(v)} & {key_of(y) for y in outputs if is_array(y)}
    if not whole:
        for i, (dy, y) in enumerate(zip(given, outputs)):
            if is_array(dy) and is_array(y) and dy.shape == y.shape and key_of(y) not in handed_on:
                yield "in", i, "y", dy, key_of(dy)
    for (name, v), (dv, value) in zip(inputs, results if backward.args.get("input_gradient", True) else []):
        twice = any(is_array(other) and np.shares_memory(other, v) for n, other in inputs if n != name)
        if is_array(v) and is_array(dv) and v.shape == dv.shape and not twice and key_of(v) not in handed_on:
            yield "out", name, name, value, key_of(dv)
    given_keys = {key_of(v) for v in forward.args.values() if is_array(v)}
    of_forward = [m for visit in forward.visits for m in visit.made]
    labels = [m.label for m in of_forward]             # of what a loop makes again and again, which is meant?
    names = {m.label for m in of_forward
             if m.label.isidentifier() and m.key not in given_keys and labels.count(m.label) == 1
             and not any(label.startswith(m.label + "[") for label in labels)}          # it is filled later
    last = {made.label: visit for visit in backward.visits for made in visit.made}      # where a sum is whole
    for visit in backward.visits:
        for made in visit.made:
            if made.label[:1] == "d" and made.label[1:] in names and last[made.label] is visit:
                yield "inside", made.label[1:], made.label[1:], made.value, made.key
    for name in getattr(backward.owner, "parameter_names", ()):
        gradient = getattr(backward.owner, "d" + name)
        for full, view in model.gradients.items():
            if is_array(gradient) and key_of(view) == key_of(gradient):
                yield "parameter", full, full, gradient, key_of(gradient)
    if whole or isinstance(forward.owner, ELBO):       # of the loss, by each part of the bound
        for visit in backward.visits:
            for made in visit.made:
                if made.label in ("dreconstruction", "dkl", "dlog_w") and made.value.ndim:
                    yield "part", made.label[1:], made.label[1:], made.value, made.key


def checks(mover: Mover, backward: list[Call], pairs: dict[int, Call], model: Any) -> list[Check]:
    """Compare all gradients of a pass."""
    found: list[Check] = []
    asked = [(call, pairs[call.index], list(places(call, pairs[call.index], model)))
             for call in backward if call.index in pairs]
    floor = SMALL * max(float(np.linalg.norm(dv)) for _, _, there in asked for *_, dv, _ in there)
    for call, forward, there in asked:
        done: set[tuple[str, Any]] = set()
        for role, where, by, dv, key in there:
            if (role, where) in done or (role == "inside" and any(
                    c.call is call and c.key == key and c.role == "out" for c in found)):
                continue
            done.add((role, where))
            place = role, forward.index, where
            error = mover.derivative(place, dv, floor)
            if error is not None and error > TOLERANCE and mover.K > 1:        # of what is asked once for K rows,
                error = mover.derivative(place, dv, floor, mover.K)            # only the sum over them is a gradient
            if error is not None:
                found.append(Check(call, role, key, by, error))
    compared = {check.key for check in found}
    for visit in [visit for call in backward for visit in call.visits]:        # of what a call gave, a statement made
        inner = [call for call in visit.calls if call.index in pairs]          # another array
        if len(visit.made) == len(inner) == 1 and visit.made[0].key not in compared and is_gradient(visit, *visit.made):
            forward, made = pairs[inner[0].index], visit.made[0]
            names = [name for name, v in inputs_of(forward) if is_array(v) and v.shape == made.value.shape]
            error = mover.derivative(("out", forward.index, names[0]), made.value, floor) if len(names) == 1 else None
            if error is not None:
                found.append(Check(inner[0], "out", made.key, names[0], error))
    return found


def inputs_of(forward: Call) -> list[tuple[str, Any]]:
    """Return what a forward was given, without the noise, which has no gradient."""
    return [(name, v) for name, v in forward.args.items() if name not in ("noise", "eps")]


def within(call: Call | None, outer: Call) -> bool:
    """Whether a call is another one, or was made within it."""
    while call is not None:
        if call is outer:
            return True
        call = call.parent.call if call.parent is not None else None
    return False


def check_of(visit: Visit, made: Made, found: list[Check]) -> Check | None:
    """Return the comparison of an array where it was made: by the nearest backward that gave or got it."""
    of_it = [c for c in found if c.key == made.key] or [       # or of the array of which this is the left part
        c for c in found if c.role == "in" and (c.key[0], c.key[2]) == (made.key[0], made.key[2])]
    name = made.label.rpartition(".")[2].partition("[")[0]
    if name[:1] != "d":
        return None
    for role, test in (
            ("parameter", lambda c: True), ("part", lambda c: True),
            ("out", lambda c: any(c.call is inner for inner in visit.calls)),
            ("out", lambda c: c.call is visit.call and c.by == name[1:]),
            ("inside", lambda c: c.call is visit.call),
            ("out", lambda c: within(visit.call, c.call)),
            ("in", lambda c: True), ("out", lambda c: True)):
        for check in of_it:
            if check.role == role and test(check):
                return check
    return None


def is_gradient(visit: Visit, made: Made) -> bool:
    """Whether an array is a gradient: in a backward, its name begins with d; a lone 0, for no use, is not."""
    last = visit.call.function.name.rpartition(".")[2]
    name = made.label.rpartition(".")[2]
    return (last.endswith("backward") and name[:1] == "d" and name not in ("diff", "d") and made.value.size > 0
            and (made.value.shape != (1,) or bool(made.value.any())))
