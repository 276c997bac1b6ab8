"""What flows between the steps of a pass, and what is left when it has ended.

The dy that reached a step is compared with the derivative of the loss by the step's
output.  Where it is wrong, though all that comes later in the pass is right, the
mistake is in what stands between the steps: the model's own backward.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from ..layers import Array
from ..verify.gradcheck import COMPLEX_STEP, stream
from .examine import found
from .finding import Diagnosis, Finding
from .recording import Part, Recorder, Step, parts_of, watching, wrap
from .reference import Arrays, Pair, Reference, case, copies, varied
from .suspect import leaf

WRONG = 1e-9                                           # relative, along a random direction


class Walk:
    """A pass over something made of parts, seen as a pair: x and all parameters in, outputs out.

    Parameters
    ----------
    pair : Pair
        The whole.
    wholes : list of object
        What it calls: copies, in which the parts are looked for.
    """

    def __init__(self, pair: Pair, wholes: list[Any]) -> None:
        self.name, self.pair, self.parts = pair.name, pair, list[Part]()
        for whole in wholes:
            known = {(id(part.holder), part.keys) for part in self.parts}
            self.parts += [part for part in parts_of(whole) if (id(part.holder), part.keys) not in known]
        self.x: Any = None
        self.recorder = Recorder()
        self.wrapped = wrap(self.recorder, self.parts)

    def record(self, inputs: Arrays, dys: Arrays | None, replace: dict[tuple[int, str], Array] | None = None) -> Arrays:
        """Run a pass and keep its steps; return the gradients that are left; without dys, go forward only."""
        self.recorder.clear()
        self.recorder.replace = replace or {}
        self.recorder.replace_input = {}
        with watching(self.wrapped):
            given = copies(inputs)
            self.x = given.get("x")
            _, kept = self.pair.forward(given)
            return {} if dys is None else copies(self.pair.backward(copies(dys), kept))

    def derivative(self, inputs: Arrays, dys: Arrays, key: tuple[int, str], value: Array, v: Array,
                   at_input: bool = False) -> float:
        """Return the derivative of the loss by an output (or an input) of a step, along v."""
        self.recorder.clear()
        step = {key: value + 1j * COMPLEX_STEP * v}
        self.recorder.replace, self.recorder.replace_input = ({}, step) if at_input else (step, {})
        with watching(self.wrapped):
            outputs, _ = self.pair.forward({n: a.astype(complex) for n, a in inputs.items()})
        return float(sum((np.imag(y) * dys[n]).sum() for n, y in outputs.items())) / COMPLEX_STEP


def flow(w: Walk, dys: Arrays, wrong_parts: set[int], diagnosis: Diagnosis) -> list[str]:
    """Look at what flows between the steps, and at what is left at the end; return what is wrong there."""
    gradients = w.record(w.pair.inputs, dys)
    steps = w.recorder.steps
    culprits = between(w, dys, steps, wrong_parts, diagnosis)
    left = wrong_at_the_end(w, dys, gradients)
    if left and not wrong_parts and not culprits:
        at_the_end(w, dys, steps, gradients, left, diagnosis)
    return left


def users(array: Any, steps: list[Step]) -> list[tuple[Step, str]]:
    """Return the steps that take an array, and as what."""
    return [(s, n) for s in steps for n, a in s.inputs.items() if a is array]


def between(w: Walk, dys: Arrays, steps: list[Step], wrong_parts: set[int], diagnosis: Diagnosis) -> set[int]:
    """Compare the dy that reached each step with the derivative of the loss by its output."""
    inputs = w.pair.inputs
    culprits: set[int] = set()
    floor = rounding(w, dys)
    downstream: set[int] = set()                       # steps that something wrong is sent to
    outer = [s for s in steps if s.parent is None]
    for s in reversed(outer):
        seen: dict[str, tuple[Array, Array]] = {}      # right and claimed, along the same directions
        for out, value in s.outputs.items():
            if not isinstance(value, np.ndarray):
                continue
            given = np.zeros(value.shape) if s.dys is None else np.broadcast_to(s.dys[out], value.shape)
            V: list[Array] = [np.asarray(stream(31 + i).standard_normal(value.shape)) for i in range(2)]
            right = np.array([w.derivative(inputs, dys, (s.index, out), value, v) for v in V])
            claims = np.array([(given * v).sum() for v in V])
            seen[out] = right, claims
            scale = max(np.abs(right).max(), np.abs(claims).max(), float(np.linalg.norm(given)))
            if scale == 0 or np.abs(right - claims).max() <= WRONG * scale + floor:
                continue
            uses = users(value, outer)
            sent = {id(u): np.asarray(u.returned[n]) for u, n in uses
                    if n in u.returned and np.shape(u.returned[n]) == value.shape}
            tainted = [u for u, _ in uses if u.index in wrong_parts or u.index in downstream]
            downstream.add(s.index)
            if uses and len(sent) == len(uses) and _close(given, sum(sent.values())):
                continue                               # all that was sent to it: a consequence
            if tainted and len(sent) < len(uses):
                continue
            if not uses and (wrong_parts or culprits):
                if any(t.index > s.index for t in outer if t.index in wrong_parts | culprits):
                    continue
            culprits.add(s.index)
            finding = wiring(w, dys, steps, s, out, given, uses)
            if finding.kind != "unknown" or not (wrong_parts or culprits - {s.index}):
                diagnosis.findings.append(finding)     # else it is rather a consequence
        for a, b in combinations(seen, 2):
            if not _close(*seen[a]) and _close(seen[a][0], seen[b][1]) and _close(seen[b][0], seen[a][1]):
                names = {called(s, a, steps), called(s, b, steps)}
                diagnosis.findings = [f for f in diagnosis.findings if f.where != w.name or f.tensor not in names]
                diagnosis.findings.append(Finding(w.name, called(s, a, steps), "swapped", f"what is handed on as the "
                                                  f"gradient by {a} is that by {b}, and the reverse"))
    return culprits


def wiring(w: Walk, dys: Arrays, steps: list[Step], s: Step, out: str, given: Array,
           uses: list[tuple[Step, str]]) -> Finding:
    """Return what is wrong with the gradient that the model's own backward hands to a step."""
    label = called(s, out, steps)
    sent = [(u, n, np.asarray(u.returned[n])) for u, n in uses
            if n in u.returned and np.shape(u.returned[n]) == given.shape and np.any(u.returned[n])]
    reason = _from_the_sent(label, given, sent)
    if reason is not None:
        return reason_as_finding(w, label, reason)
    value = np.asarray(s.outputs[out])
    name = leaf(out)

    def forward(at: Arrays) -> tuple[Arrays, Any]:
        w.recorder.clear()
        w.recorder.replace, w.recorder.replace_input = {(s.index, out): at[name]}, {}
        kind = complex if np.iscomplexobj(at[name]) else float
        with watching(w.wrapped):
            outputs, _ = w.pair.forward({n: a.astype(kind) for n, a in w.pair.inputs.items()})
        return {n: np.asarray(y) for n, y in outputs.items()}, at[name].real

    def backward(arriving: Arrays, at: Array) -> Arrays:
        scale = float(arriving["loss"]) if list(arriving) == ["loss"] else 1.0
        w.record(w.pair.inputs, {"loss": np.ones(())} if list(arriving) == ["loss"] else arriving,
                 {(s.index, out): at})
        t = w.recorder.steps[s.index]
        return {name: np.zeros(at.shape) if t.dys is None else scale * np.broadcast_to(t.dys[out], at.shape)}

    pair = Pair(w.name, forward, backward, {name: value.astype(float)}, constants=w.pair.constants)
    cases = [case(pair, pair.inputs, dys), case(pair, pair.inputs, number=11), case(pair, varied(pair.inputs, 7))]
    finding = found(pair, Reference(pair), cases, name)
    finding.tensor = label
    return finding


def _from_the_sent(label: str, given: Array, sent: list[tuple[Step, str, Array]]) -> tuple[str, str] | None:
    """Compare a gradient with sums of what the later steps sent back; return kind and sentence."""
    if len(sent) < 2:
        return None
    words = [u.part.name for u, _, _ in sent]
    arrays = [a for _, _, a in sent]
    total = sum(arrays)
    for m in range(len(sent) - 1, 0, -1):
        for kept in combinations(range(len(sent)), m):
            if _close(given, sum(arrays[i] for i in kept)):
                gone = [words[i] for i in range(len(sent)) if i not in kept]
                return "missing", (f"{label} is used {len(sent)} times, and its gradient must be the sum of what comes "
                                   f"back from {_and(words)}; it is that from {_and([words[i] for i in kept])} alone, "
                                   f"and lacks that from {_and(gone)}")
    for i, a in enumerate(arrays):
        for c, says in ((-2, "has its sign flipped"), (1, "is counted twice"), (-0.5, "is counted half")):
            if _close(given, total + c * a):
                return ("sign" if c == -2 else "factor"), f"what comes back from {words[i]} {says}"
    return None


def reason_as_finding(w: Walk, label: str, reason: tuple[str, str]) -> Finding:
    """Return a finding of the model's own backward."""
    hint = "add up what all its users send back" if reason[0] == "missing" else ""
    return Finding(w.name, label, reason[0], reason[1], hint)


def called(s: Step, out: str, steps: list[Step]) -> str:
    """Return a name for what flows between two steps: "logvar of q1"."""
    source: Step | None = s
    while source is not None and source.part.layer is None:
        arrays = [a for a in source.inputs.values() if isinstance(a, np.ndarray)]
        source = next((t for t in reversed(steps[:source.index])
                       if any(a is b for a in arrays for b in t.outputs.values() if isinstance(b, np.ndarray))), None)
    if source is None:
        return out
    network = source.part.name.partition(".")[0]
    return f"{'output' if source is s else out} of {source.part.name if source is s else network}"


def _close(a: Any, b: Any) -> bool:
    scale = max(np.abs(a).max(), np.abs(b).max())
    return bool(scale > 0 and np.abs(a - b).max() <= WRONG * scale)


def _and(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def rounding(w: Walk, dys: Arrays) -> float:
    """Return what rounding alone may do to a derivative of the outputs."""
    outputs, _ = w.pair.forward(copies(w.pair.inputs))
    return 1e-14 * sum(float(np.abs(y).max(initial=0) * np.linalg.norm(dys[n])) for n, y in outputs.items())


def wrong_at_the_end(w: Walk, dys: Arrays, gradients: Arrays) -> list[str]:
    """Return the inputs of the whole whose gradients are wrong when backward has ended."""
    reference, names = Reference(w.pair), []
    for name, given in gradients.items():
        V = [stream(41 + i).standard_normal(given.shape) for i in range(2)]
        right = np.array([reference.along(w.pair.inputs, dys, {name: v}) for v in V])
        claims = np.array([(given * v).sum() for v in V])
        scale = max(np.abs(right).max(), np.abs(claims).max(), float(np.linalg.norm(given)))
        if not (scale == 0 or np.abs(right - claims).max() <= WRONG * scale + rounding(w, dys)):
            names.append(name)
    return names


def at_the_end(w: Walk, dys: Arrays, steps: list[Step], gradients: Arrays, left: list[str],
               diagnosis: Diagnosis) -> None:
    """All steps are right, and yet these gradients are not: they were changed, or overwritten, or not added up."""
    for name in left:
        layer, _, v = name.rpartition(".")
        writers = [s for s in steps if s.part.name == layer and v in s.after]
        sent = ([(s, v, s.after[v]) for s in writers] if layer else
                [(u, n, np.asarray(u.returned[n])) for u, n in users(w.x, steps)
                 if n in u.returned and np.shape(u.returned[n]) == gradients[name].shape and u.parent is None])
        reason = _from_the_sent(name, gradients[name], sent)
        if reason is not None and layer:
            reason = ("overwritten", f"{layer} is used {len(writers)} times in a pass, and each backward writes "
                      f"d{v} over that of the one before")
        if reason is None:
            cases = [case(w.pair, w.pair.inputs, dys), case(w.pair, w.pair.inputs, number=11),
                     case(w.pair, varied(w.pair.inputs, 7), number=12)]
            finding = found(w.pair, Reference(w.pair), cases, name)
            if layer:
                finding.says = f"{layer} itself computes it right, and it is changed afterwards: {finding.says}"
            diagnosis.findings.append(finding)
        else:
            diagnosis.findings.append(reason_as_finding(w, name, reason))
