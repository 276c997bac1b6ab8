"""The walk back from the loss: which step of a pass is the first whose gradient is not right?

Three questions, for every step of a recorded pass, the last first:

1. Is the step's own backward right, for any dy?  If not, that function is wrong,
   wherever else its mistake shows.
2. Is the dy right that reached it?  If it is wrong, though all that comes after it in
   the pass is right, what stands between the steps is wrong: the model's own backward.
3. Are the gradients right that are left when backward has ended?

What is wrong in none of these ways is wrong because of something that came before.
The first question is answered here, the others in flow.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .examine import examine
from .finding import Diagnosis, Finding, Problem, equation
from .flow import Walk, flow
from .pairs import layer_pair, parameters
from .recording import Part, Step, signature
from .reference import Arrays, NotComplex, Pair, case, copies, jittered


def walk(w: Walk) -> Diagnosis:
    """Return what is wrong in a pass, the first in backward order first."""
    diagnosis = Diagnosis(w.name)
    inputs = w.pair.inputs
    try:
        dys = case(w.pair, inputs).dys
        if list(dys) == ["loss"]:
            dys = {"loss": np.ones(())}
        w.record(inputs, dys)
    except Problem as problem:                         # the pass breaks off; perhaps one of its steps is the reason
        w.record(inputs, None)
        own_backwards(w, w.recorder.steps, diagnosis)
        if diagnosis.ok:
            diagnosis.findings.append(Finding(w.name, problem.tensor, problem.kind, problem.says, problem.hint))
        return diagnosis
    wrong_parts = own_backwards(w, w.recorder.steps, diagnosis)
    left = flow(w, dys, wrong_parts, diagnosis)
    if diagnosis.findings and not wrong_parts:         # perhaps the point lies on a kink, such as ReLU's
        beside = Diagnosis(w.name)
        w.pair = replace(w.pair, inputs=jittered(inputs, 21))
        flow(w, dys, set(), beside)
        if beside.ok:
            diagnosis.findings, left = [], []
            if all(remark.kind != "kink" for remark in diagnosis.remarks):
                diagnosis.remarks.append(Finding(w.name, "", "kink", "the input lies on a kink of the pass, and the "
                                                 "gradient is right beside it"))
    named = {f"{place}.{f.tensor}" for f in diagnosis.findings for place in f.places}
    named |= {f.tensor for f in diagnosis.findings if not f.places}
    diagnosis.consequences = [name for name in left if name not in named]
    return diagnosis


def step_pair(step: Step) -> Pair:
    """Return the pair of one step, at the inputs that it had."""
    part = step.part
    if part.layer is not None:
        return layer_pair(part.layer, next(iter(step.inputs.values())), part.called)
    forward, backward = part.get()
    outs = list(step.outputs)
    cached = step.cache is not None or _has_cache(part)
    real = {n: np.array(a, float) for n, a in step.inputs.items() if isinstance(a, np.ndarray)}

    def run_forward(given: Arrays) -> tuple[Arrays, Any]:
        result = forward(*(given.get(n, a) for n, a in step.inputs.items()))
        y, cache = result if cached else (result, None)
        ys = y if isinstance(y, tuple) else (y,)
        return dict(zip(outs, ys)), (cache, given)

    def run_backward(dys: Arrays, kept: Any) -> Arrays:
        cache, given = kept
        result = backward(*dys.values(), cache) if cached else backward(*dys.values())
        values = result if isinstance(result, tuple) else (result,)
        named = dict(zip(step.inputs, values))
        return {n: np.broadcast_to(np.asarray(named[n]), a.shape) for n, a in given.items() if n in named}

    kept = {n: a for n, a in real.items()}
    return Pair(part.called, run_forward, run_backward, kept)


def _has_cache(part: Part) -> bool:
    return signature(part, *part.get())[2]


def own_backwards(w: Walk, steps: list[Step], diagnosis: Diagnosis) -> set[int]:
    """Examine the backward of each step; return the indices of the steps whose own backward is wrong."""
    wrong: dict[int, list[Finding]] = {}
    for step in reversed(steps):
        seen = _examined(step, quick=True)
        if seen is None:
            continue
        if seen.findings:
            wrong[step.index] = seen.findings
        for remark in seen.remarks:
            if all((remark.where, remark.kind) != (r.where, r.kind) for r in diagnosis.remarks):
                diagnosis.remarks.append(remark)
    parents = {parent.index for i in wrong for parent in [steps[i].parent] if parent is not None}
    groups: dict[tuple[str, str], list[Step]] = {}     # one function may be wrong in many steps: it is one mistake
    for i in wrong:
        for finding in wrong[i]:
            if i not in parents:
                groups.setdefault((finding.where, finding.tensor), []).append(steps[i])
    for (_, tensor), group in groups.items():
        best: Finding | None = None
        for step in sorted(group, key=_size)[:3]:      # where it is small, it is quickly explained
            seen = _examined(step, [tensor] if tensor else None)
            best = next((f for f in seen.findings if f.tensor == tensor), best) if seen is not None else best
            if best is not None and best.kind != "unknown":
                break
        if best is not None:
            best.places = [step.part.name for step in group]
            diagnosis.findings.append(best)
    return set(wrong)


def _examined(step: Step, by: list[str] | None = None, quick: bool = False) -> Diagnosis | None:
    """Examine the backward of one step; None if it cannot be run by itself."""
    try:
        pair = step_pair(step)
        names = [n for n in pair.inputs if not _dropped(pair, n)] if by is None and step.part.layer is None else by
        return examine(pair, equation=equation(step.part.get()[1], type(step.part.layer)), by=names, quick=quick)
    except (NotComplex, TypeError, ValueError, ArithmeticError, IndexError):
        return None


def _size(step: Step) -> int:
    return sum(np.size(a) for a in step.inputs.values()) + sum(
        a.size for a in parameters(step.part.layer).values()) if step.part.layer is not None else 0


def _dropped(pair: Pair, name: str) -> bool:
    """Whether backward gives nothing for this input, as for noise."""
    outputs, kept = pair.forward(copies(pair.inputs))
    return name not in pair.backward({n: np.ones(np.shape(y)) for n, y in outputs.items()}, kept)
