"""A pass through many functions: which of them is wrong, and what is wrong only because of it?

The search of verify/first_wrong.py goes back from the outputs.  A wrong gradient that a function returned is that
function's mistake, and `examine` says of what kind; one that a function was given is the mistake of the
backward that called it.  What remains wrong when all these are replaced by what is right is a mistake as well; what
is right then was a consequence.
"""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import numpy as np

from ..layers import Array
from ..verify.derivative import Arrays, NotComplex, Pair, copies
from ..verify.dual import value
from ..verify.pairs import Problem, parameters, with_parameters
from ..verify.steps import Part, Pass, Step
from ..verify.first_wrong import WRONG, Compared, search
from .evidence import Reference, beside, case
from .examine import directional, examine, found as explained, single, sound, structural, witness
from .finding import Diagnosis, Finding


def examine_pass(pair: Pair, wholes: list[Any]) -> Diagnosis:
    """Return what is wrong in a pass, the first in the order of backward first."""
    diagnosis, p = Diagnosis(pair.name), Pass(pair, wholes)
    try:
        at = case(pair, pair.inputs)
    except Problem as problem:                         # the pass breaks off; perhaps one of its steps is the reason
        broken(p, problem, diagnosis)
        return diagnosis
    if not sound(pair, at, diagnosis):
        return diagnosis
    p.run(None)
    for step in p.steps:
        for name in step.spoilt if step.parent is None else []:
            diagnosis.findings.append(Finding(
                step.part.called.replace("backward", "forward"), name, "in place", f"forward changes {name}, which "
                f"belongs to its caller", "make a new array, y = y * 2 for y *= 2, or work in a copy",
                places=[step.part.name]))
            p.guarded.add(step.part.name)
    reference = witness(pair, at)
    tolerance = max(WRONG, 100 * reference.precision)
    compared = search(p, at.dys, tolerance)
    if max(c.error for c in compared) > tolerance and any(single(c.gradient) for c in compared):
        tolerance = 1e-5                               # a backward computes in float32
        compared = search(p, at.dys, tolerance)
    wrong = [c for c in compared if not c.error <= tolerance]
    if tolerance > WRONG:
        diagnosis.remarks.append(Finding(pair.name, "", "rounding", "a part of it is computed in float32, and was held "
                                         "to its some seven digits"))
    if wrong:                                          # perhaps the point lies on a kink, such as ReLU's
        q = Pass(Pair(**{**vars(pair), "inputs": beside(pair.inputs, 21)}), wholes)
        q.guarded = p.guarded
        also = {(c.which, c.place) for c in search(q, at.dys, tolerance) if not c.error <= tolerance}
        if any((c.which, c.place) not in also for c in wrong):
            diagnosis.remarks.append(Finding(pair.name, "", "kink", "the input lies on a kink of the pass, and the "
                                             "gradient is right beside it"))
        wrong = [c for c in wrong if (c.which, c.place) in also]
    own: dict[tuple[str, str], list[Compared]] = {}    # one function may be wrong in many steps: it is one mistake
    for c in wrong:
        if c.which in ("returned", "parameter") and c.step is not None:
            own.setdefault((c.step.part.called, c.name), []).append(c)
    for (called, name), group in own.items():
        diagnosis.findings.append(own_mistake(called, name, group))
    diagnosis.findings += [wiring(p, at.dys, c) for c in wrong if c.which == "dys"]
    named = {f"{place}.{f.tensor}" for f in diagnosis.findings for place in f.places}
    left = [c.name for c in wrong if c.which == "left" and c.name not in named]
    for name in left:
        finding = explained(reference, at, name)
        finding.says = f"each step computes it right, and it is changed or overwritten afterwards: {finding.says}"
        diagnosis.findings.append(finding)
    if diagnosis.findings:
        named |= {f.tensor for f in diagnosis.findings if not f.places}
        diagnosis.consequences = [name for name in at.claimed if name not in named
                                  and not directional(reference, at, name) <= tolerance]
    return diagnosis


def broken(p: Pass, problem: Problem, diagnosis: Diagnosis) -> None:
    """Say which of the steps made a pass break off; if none did, report the error of the pass itself."""
    with suppress(Exception):                          # if forward breaks off, the steps before it are there
        p.run(None)
    for step in {step.part.called: step for step in reversed(p.steps)}.values():
        try:
            seen = examine(step_pair(step))
        except (Problem, NotComplex, TypeError, ValueError, ArithmeticError):
            continue
        diagnosis.findings += seen.findings
    if diagnosis.ok:
        diagnosis.findings.append(structural(p.pair.name, problem))


def step_pair(step: Step) -> Pair:
    """Return the pair of one step, at the inputs that it had, and a layer's parameters."""
    layer = copy.deepcopy(step.part.layer)
    part = step.part if layer is None else Part(step.part.name, step.part.called, layer, step.part.keys, layer)
    inputs = {n: np.array(value(a), float) for n, a in step.inputs.items()
              if isinstance(a, np.ndarray) and a.dtype.kind in "fc"}

    def backward(dys: Arrays, cache: Any) -> dict[str, Any]:
        dy = (tuple(dys.values()),) if layer is not None and len(dys) > 1 else tuple(dys.values())
        result = part.backward(*dy, cache) if part.cached else part.backward(*dy)
        found = dict(zip(step.inputs, result if isinstance(result, tuple) else (result,)))
        return {n: np.zeros(inputs[n].shape) if isinstance(a, int) and a == 0 else a for n, a in found.items()
                if n in inputs and (a is not None or layer is not None)}

    return with_parameters(part.called, inputs, {n: (layer, n) for n in parameters(layer)} if layer is not None else {},
                           lambda given: part.call(*(given.get(n, a) for n, a in step.inputs.items())), backward,
                           layer if layer is not None else part.forward,
                           lambda result, name: (dict(zip(step.outputs, result[0])), result[1]))


def own_mistake(called: str, name: str, group: list[Compared]) -> Finding:
    """Return what is wrong with one gradient that a function computes, in all the steps in which it is wrong."""
    steps = [c.step for c in group if c.step is not None]
    best = Finding(called, name, "unknown", "it is wrong in this pass, and right when it is called alone: what it has "
                   "in its cache is changed, or it is called again before its backward")
    with suppress(Problem, NotComplex, TypeError, ValueError, ArithmeticError):
        small = min(steps, key=lambda s: sum(np.size(a) for a in [*s.inputs.values(), *s.after.values()]))
        best = next((f for f in examine(step_pair(small), [name]).findings if f.tensor == name), best)
    best.places = [step.part.name for step in steps]
    return best


def wiring(p: Pass, dys: Arrays, c: Compared) -> Finding:
    """Return what is wrong with a gradient that a step was given."""
    step, name = c.step, label(p, c)
    assert step is not None
    place, index = c.place, step.index

    def forward(at: Arrays) -> tuple[Arrays, Any]:
        return p.at(place)({**copies(p.pair.inputs), "": at[c.name]}), value(at[c.name])

    def backward(arriving: Arrays, at: Array) -> Arrays:
        p.run(arriving, {place: at})
        arrived = p.steps[index].dys
        return {c.name: np.zeros(at.shape) if arrived is None else np.broadcast_to(arrived[c.name], at.shape)}

    pair = Pair(step.caller.part.called if step.caller else p.pair.name, forward, backward,
                {c.name: np.array(value(step.outputs[c.name]), float)})
    finding = explained(Reference(pair), case(pair, pair.inputs, dys), c.name)
    finding.tensor = name
    return finding


def label(p: Pass, c: Compared) -> str:
    """Return a name for what flows between two steps: "z of q1"."""
    step = source = c.step
    while source is not None and source.part.layer is None:
        arrays = [a for a in source.inputs.values() if isinstance(a, np.ndarray)]
        source = next((t for t in reversed(p.steps[:source.index])
                       if any(a is b for a in arrays for b in t.outputs.values() if isinstance(b, np.ndarray))), None)
    if source is None:
        return c.name
    return f"output of {source.part.name}" if source is step else f"{c.name} of {source.part.name.partition('.')[0]}"
