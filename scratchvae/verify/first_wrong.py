"""Which gradient of a pass is the first that is wrong?

Backward is followed call by call.  What a backward is given, dy, is compared with the derivative
of Σ y · dy by what its forward returned; what it returns, with that by what its forward was given,
*as it was used there*; and so are the gradients of its parameters.  In the order of backward all
that came before is right: so the first that is not is a mistake of its own.  If it is what a call
was given, the caller's backward is wrong; if it is what a call returned, that function is.

Then the right array takes its place, and the search goes on.  So what was wrong only because of it
is right again, and each further finding is another mistake.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..layers import Array
from .derivative import Arrays, along, copies, gradient, relative, stream
from .dual import value
from .noise import still
from .steps import Pass, Place, Step

WRONG = 1e-9                                           # relative, along a random direction
ROUNDING = 1e-14                                       # of what flows forward, in a derivative of it


@dataclass
class Compared:
    """One gradient of a pass beside its derivative.

    Attributes
    ----------
    step : Step
        The call; None for what is left when backward has ended.
    which : str
        "dys" (the backward was given it), "returned", "parameter" or "left".
    name : str
        The array that it is the gradient of: an output, an input, a parameter, an input of the whole.
    gradient : array
        As backward has it.
    given, right : float
        It along a random direction, and the derivative; the same direction for arrays of the same shape.
    error : float
        Relative; NaN if there is one.
    """

    step: Step | None
    which: str
    name: str
    gradient: Array
    given: float = 0.0
    right: float = 0.0
    error: float = 0.0

    @property
    def place(self) -> Place:
        """Where the array is in forward."""
        role = {"dys": "out", "returned": "in"}.get(self.which, self.which)
        return role, -1 if self.step is None else self.step.index, self.name


def search(p: Pass, dys: Arrays, tolerance: float = WRONG, mend: bool = True) -> list[Compared]:
    """Compare all gradients of a pass, in the order of backward.

    Parameters
    ----------
    p : Pass
    dys : dict of str to array
        The gradients by the outputs; random ones see the most.
    tolerance : float
        What the error may be, for ``mend``.
    mend : bool, default True
        Put the right array in the place of each wrong one, and go on.
    """
    found: list[Compared] = []
    floor = ROUNDING * sum(float(np.abs(y).max(initial=0) * np.linalg.norm(dys[of])) for of, y in p.pair.values(
        copies(p.pair.inputs)).items())

    def judge(seen: Compared, v: Array, right: float) -> Compared:
        seen.given, seen.right = float((seen.gradient * v).sum()), right
        seen.error = relative(seen.given, right, max(float(np.linalg.norm(seen.gradient)), floor / tolerance))
        return seen

    def compared(step: Step, which: str) -> Iterator[tuple[Compared, Array]]:
        for name, array, given in gradients_at(step, which):
            role = "parameter" if which == "returned" and name not in step.inputs else which
            seen, v = Compared(step, role, name, given), stream(31).standard_normal(array.shape)
            yield judge(seen, v, p.slope(seen.place, value(array), v, dys)), array

    def choose(steps: list[Step], given: list[Array]) -> Step:
        for step in steps:                             # the quantity that this is the gradient of
            step.dys = dict(zip(step.outputs, given))
            right = all(seen.error <= tolerance for seen, _ in compared(step, "dys"))
            step.dys = None
            if right:
                return step
        return steps[0]

    def look(step: Step, which: str) -> None:
        for seen, array in compared(step, which):
            found.append(seen)
            if mend and not seen.error <= tolerance and seen.which != "parameter":
                correct = gradient_at(p, seen, value(array), dys)
                (step.dys if which == "dys" else step.returned)[seen.name] = correct    # type: ignore[index]

    p.choose = choose
    left = p.run(dys, mend=look)
    names = [step.part.name for step in p.steps]
    used = {f"{seen.step.part.name}.{seen.name}": seen for seen in found
            if seen.which == "parameter" and seen.step is not None and names.count(seen.step.part.name) == 1}
    for name, given in left.items():                   # a parameter that one step used has been moved there
        v = stream(31).standard_normal(given.shape)
        right = used[name].right if name in used else along(p.pair.values, p.pair.inputs, {name: v}, dys)
        found.append(judge(Compared(None, "left", name, given), v, right))
    p.pair.values(copies(p.pair.inputs))               # the parameters are what they were
    return found


def gradients_at(step: Step, which: str) -> Iterator[tuple[str, Array, Array]]:
    """Yield the gradients that a backward was given, or has made: of what, the array, the gradient."""
    arrays = step.outputs if which == "dys" else {**step.inputs, **{n: getattr(step.part.layer, n) for n in step.after}}
    made = (step.dys or {}) if which == "dys" else {**step.returned, **step.after}
    for name, given in made.items():
        array = arrays.get(name)
        if isinstance(array, np.ndarray) and array.dtype.kind in "fc" and given is not None and (
                np.shape(given) in (array.shape, ())) and not (which == "returned" and spread(step, array)):
            yield name, array, np.array(np.broadcast_to(given, array.shape), float)            # it may be worked in


def spread(step: Step, array: Array) -> bool:
    """Whether a function, not a layer, broadcasts this input, so that its gradient is one for each row or column."""
    return step.part.layer is None and any(
        np.ndim(a) == array.ndim and any(i == 1 < j for i, j in zip(array.shape, np.shape(a))) for a in
        step.inputs.values())


def gradient_at(p: Pass, where: Compared, array: Array, dys: Arrays) -> Array:
    """Return the right gradient of all that is at a place, entry by entry."""
    step = where.step
    assert step is not None and step.dys is not None
    inputs, outputs, call = step.inputs, step.outputs, step.part.call

    def own(arrays: Arrays) -> Arrays:                 # of one step alone: much cheaper
        with still(p.pair.generators), p.watching({}, only=-1):
            ys, _ = call(*(arrays[""] if n == where.name else a for n, a in inputs.items()))
        return dict(zip(outputs, ys))

    if where.which == "returned" and not p.drew:
        return gradient(own, {"": array}, "", step.dys)
    return gradient(p.at(where.place), {**p.pair.inputs, "": array}, "", dys)
