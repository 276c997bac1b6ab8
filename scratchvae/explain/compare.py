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

from ..gradcheck import COMPLEX_STEP, stream
from ..layers import Array
from .trace import Call, Key, Made, Visit, is_array, key_of

TOLERANCE = 1e-12


@dataclass
class Check:
    """A comparison: which backward and whether it gave (``out``) or got the gradient; by what; how far off it is."""

    call: Call
    role: str                                          # "out", "in", "inside", "parameter", "part"
    key: Key
    by: str
    error: float


def leaves(value: Any) -> list[Any]:
    """Return the entries of tuples one by one."""
    return [leaf for entry in value for leaf in leaves(entry)] if isinstance(value, tuple) else [value]


def pairs_of(calls: list[Call], backward: list[Call], bound: Call, model_backward: Call) -> dict[int, Call]:
    """Return, by the number of a backward, the forward that it answers."""
    found = {model_backward.index: bound}
    for call in backward:
        name, _, last = call.function.name.rpartition(".")
        if last != "backward" and not last.endswith("_backward"):
            continue
        wanted = f"{name}.{'forward' if last == 'backward' else last[:-len('_backward')]}"
        cache = call.args.get("cache", call.args.get("caches"))
        if cache is None:                              # nothing was kept: of those not yet answered, the last call
            taken = {other.index for other in found.values()}
            shapes = [np.shape(v) for v in call.args.values()]
            found.update({call.index: other for other in calls if other.function.name == wanted and other.index not in
                          taken and [np.shape(leaf) for leaf in leaves(other.result)] == shapes})
        for other in calls:
            if (other.function.name == wanted and other.owner is call.owner and isinstance(other.result, tuple)
                    and len(other.result) == 2 and other.result[1] is cache and cache is not None):
                found[call.index] = other
    return found


class Mover:
    """Runs the pass in complex numbers, and moves one array at one call."""

    def __init__(self, twin: Any, x: Array, noise: Any, beta: Any, alpha: float,
                 known: dict[CodeType, tuple[str, Any]]) -> None:
        self.twin, self.x, self.noise, self.beta, self.alpha, self.known = twin, x, noise, beta, alpha, known
        self.rng = stream(8)

    def derivative(self, place: tuple[str, int, Any], dv: Array) -> float | None:
        """Return how far Σ dv v is from the derivative along a random v, relative to the root of Σ (dv v)²."""
        moved: list[tuple[Array, Array]] = []

        def move(array: Any) -> None:
            if not isinstance(array, np.ndarray) or array.dtype.kind != "c" or not array.flags.writeable or moved:
                return
            v = self.rng.standard_normal(array.shape)
            array.imag += COMPLEX_STEP * v
            moved.append((array, v))  # type: ignore[arg-type]

        if place[0] == "parameter":
            move(self.twin.parameters[place[2]])
            loss = self.loss(self.twin.bound(self.x, self.noise)[0])
            moved[0][0].imag[...] = 0
        elif place[0] == "part":
            elbo = self.twin.bound(self.x, self.noise)[0]
            for array in (elbo.consistency, elbo.prior_matching):
                array.imag[...] = 0
            v = self.rng.standard_normal(elbo.kl.shape)
            elbo.consistency.imag[...] = COMPLEX_STEP * v[:, :-1]
            elbo.prior_matching.imag[...] = COMPLEX_STEP * v[:, -1]
            moved.append((elbo.kl, v.T))
            loss = self.loss(elbo)
        else:
            loss = self.traced(place, move)
        if not moved or np.shape(moved[0][1]) != dv.shape:
            return None
        terms = dv * moved[0][1]
        got = float(np.imag(loss)) / COMPLEX_STEP
        scale = max(float(np.sqrt((terms ** 2).sum())), abs(got))
        return abs(got - float(terms.sum())) / scale if scale else 0.0

    def loss(self, elbo: Any) -> Any:
        """Return the loss."""
        return elbo.loss(self.beta, self.alpha)

    def traced(self, place: tuple[str, int, Any], move: Callable[[Any], None]) -> Any:
        """Run the pass, and call ``move`` where the place is."""
        role, index, which = place
        count = -1
        open_frames: list[FrameType] = []

        def enter(frame: FrameType, event: str, arg: Any) -> Any:
            nonlocal count
            if event != "call" or frame.f_code not in self.known:
                return None
            if open_frames and frame.f_back is not open_frames[-1]:
                return None
            count += 1
            open_frames.append(frame)
            mine, held = count == index, None
            if mine and role == "out":
                held = frame.f_locals[which]
                move(held)

            def watch(frame: FrameType, event: str, arg: Any) -> Any:
                if mine and role == "inside" and event == "line" and which in frame.f_locals:
                    move(frame.f_locals[which])
                if event == "return":
                    open_frames.pop()
                    if mine and role == "in":
                        move([leaf for leaf in leaves(arg) if is_array(leaf)][which])
                    if mine and role == "out" and is_array(held) and not any(
                            leaf is not held and is_array(leaf) and np.shares_memory(leaf, held)
                            for leaf in leaves(arg[:1])):
                        held.imag[...] = 0            # type: ignore[union-attr]  # elsewhere it is used as it was
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
    if backward.function.name.rpartition(".")[2] != "backward" or backward.parent is not None:
        for i, (dy, y) in enumerate(zip(given, outputs)):
            if is_array(dy) and is_array(y) and dy.shape == y.shape:
                yield "in", i, "y", dy, key_of(dy)
    inputs = [(n, v) for n, v in forward.args.items() if n not in ("noise", "eps")]
    for (name, v), dv in zip(inputs, leaves(backward.result)):
        if is_array(v) and is_array(dv) and v.shape == dv.shape:
            yield "out", name, name, dv, key_of(dv)
    names = {m.label for visit in forward.visits for m in visit.made if m.label.isidentifier()}
    for visit in backward.visits:
        for made in visit.made:
            if made.label[:1] == "d" and made.label[1:] in names:
                yield "inside", made.label[1:], made.label[1:], made.value, made.key
    for name in getattr(backward.owner, "parameter_names", ()):
        gradient = getattr(backward.owner, "d" + name)
        for full, view in model.gradients.items():
            if is_array(gradient) and key_of(view) == key_of(gradient):
                yield "parameter", full, full, gradient, key_of(gradient)
    if backward.parent is None:
        for visit in backward.visits:
            for made in visit.made:
                if made.label == "dkl" and made.value.ndim == 2:
                    yield "part", "kl", "kl", made.value, made.key


def checks(mover: Mover, backward: list[Call], pairs: dict[int, Call], model: Any) -> list[Check]:
    """Compare all gradients of a pass."""
    found: list[Any] = []
    for call in backward:
        if call.index not in pairs:
            continue
        forward = pairs[call.index]
        done: set[tuple[str, Any]] = set()
        for role, where, by, dv, key in places(call, forward, model):
            if (role, where) in done or (role == "inside" and any(
                    c.call is call and c.key == key and c.role == "out" for c in found)):
                continue
            done.add((role, where))
            error = mover.derivative((role, forward.index, where), np.real(dv))
            if error is not None:
                found.append(Check(call, role, key, by, error))
    return found


def within(call: Call | None, outer: Call) -> bool:
    """Whether a call is another one, or was made within it."""
    while call is not None:
        if call is outer:
            return True
        call = call.parent.call if call.parent is not None else None
    return False


def check_of(visit: Visit, made: Made, found: list[Check]) -> Check | None:
    """Return the comparison that belongs to an array where it was made: the nearest backward that gave it, or got it."""
    of_it = [c for c in found if c.key == made.key]
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
    """Whether an array is a gradient: its name begins with d, in a backward; a lone 0, for a use that is none, is not."""
    last = visit.call.function.name.rpartition(".")[2]
    name = made.label.rpartition(".")[2]
    return (last.endswith("backward") and name[:1] == "d" and name not in ("diff", "d") and made.value.size > 0
            and (made.value.shape != (1,) or bool(made.value.any())))


