"""Functions and layers as pairs of named arrays; what is wrong with how they are written comes out here.

A forward without a cache, a backward that returns None, a gradient of the wrong
shape, ``self.dg = ...`` for ``self.dg[:] = ...``: each is a `Problem`, one sentence
that says what to write instead.
"""

from __future__ import annotations

import copy
import inspect
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..layers import Array
from ..verify.gradcheck import stream
from .finding import Problem
from .reference import Arrays, Pair, generators, still


def run(what: str, call: Callable[[], Any], params: Sequence[tuple[str, Array]] = ()) -> Any:
    """Call forward or backward; say where it failed, if it does."""
    try:
        return call()
    except Problem:
        raise
    except Exception as error:
        if "Complex" in type(error).__name__:
            raise
        at = traceback.extract_tb(error.__traceback__)[-1]
        says = f"{what} failed with {type(error).__name__}: {error}"
        if isinstance(error, ValueError) and "broadcast" in str(error):
            for name, array in params:
                if array.ndim == 1 and f"into shape ({array.size},)" in str(error):
                    raise Problem("not summed", name, f"{what} puts one row for each example into d{name}, which has "
                                  f"the shape {array.shape} of {name}: {error}",
                                  f"sum over the rows: self.d{name}[:] = (...).sum(axis=0)") from error
        raise Problem("error", "", f"{says} (line {at.lineno}: {at.line})",
                      f"{what} must run for float64 arrays") from error


def outputs_of(result: Any, name: str) -> tuple[Arrays, Any, bool]:
    """Return the outputs by name, the cache, and whether forward returned several outputs."""
    if not isinstance(result, tuple) or len(result) != 2:
        got = (f"{len(result)} things" if isinstance(result, (tuple, list)) else "None" if result is None else
               f"an array of shape {result.shape}" if isinstance(result, np.ndarray) else type(result).__name__)
        raise Problem("no cache", "", f"{name} must return two things, y and a cache; it returned {got}",
                      "return y, cache (what backward will need; None, if it needs nothing)")
    y, cache = result
    several = isinstance(y, (tuple, list))
    ys = y if several else (y,)
    if any(part is None for part in ys):
        raise Problem("no cache", "", f"{name} returned None for y", "return y, cache")
    return {f"y{i}" if several else "y": part if isinstance(part, np.ndarray) else np.asarray(part)
            for i, part in enumerate(ys)}, cache, several


def gradient(value: Any, name: str, array: Array, what: str) -> Array:
    """Return a gradient that backward gave for an array, or raise a Problem."""
    d = f"d{name}"
    if value is None:
        raise Problem("nothing returned", name, f"{what} returned None for {d}",
                      f"return {d}, an array of shape {array.shape}")
    try:
        found = np.asarray(value)
        if found.dtype.kind not in "biufc":
            raise TypeError
    except (ValueError, TypeError):
        raise Problem("nothing returned", name, f"{what} returned {type(value).__name__} for {d}",
                      f"return {d}, an array of shape {array.shape}") from None
    if found.shape != array.shape:
        raise Problem("shape", name, f"{what} gives {d} the shape {found.shape}; {name} has {array.shape}",
                      f"{d} must have the shape of {name}", found)
    if found.dtype.kind in "bi" and found.any():
        raise Problem("integer", name, f"{what} gives {d} as whole numbers ({found.dtype}), which cannot hold "
                      "fractions", f"make it of floats, such as np.zeros({array.shape})", found)
    return found


def function_pair(forward: Callable[..., Any], backward: Callable[..., Any], inputs: Sequence[Any],
                  names: Sequence[str] | None, name: str) -> Pair:
    """Return the pair of ``y, cache = forward(*inputs)`` and ``dinputs = backward(dy, cache)``."""
    names = list(names) if names is not None else argument_names(forward, len(inputs))
    if len(names) != len(inputs):
        raise ValueError(f"names must have one name for each of the {len(inputs)} inputs; got {len(names)}")
    real = {n: np.array(a, float) for n, a in zip(names, inputs)
            if not isinstance(a, (bool, str, type(None))) and np.asarray(a).dtype.kind in "iuf"}
    whole = [n for n, a in zip(names, inputs) if n in real and np.asarray(a).dtype.kind in "iu"]
    labels = whole + [n for n, a in real.items() if len(inputs) > 1 and np.all(a == np.round(a))]
    fixed: dict[str, Any] = {n: a for n, a in zip(names, inputs) if n not in real}

    def arguments(given: Arrays) -> list[Any]:
        rows, first = {len(a) for n, a in list(given.items())[:1] if a.ndim}, next(iter(real), "")
        cut = {n: a[:next(iter(rows))] for n, a in fixed.items() if first and rows and isinstance(a, np.ndarray)
               and a.ndim and real[first].ndim and len(a) == len(real[first])}           # fewer rows, fewer labels
        return [given[n] if n in given else cut.get(n, fixed.get(n)) for n in names]

    def run_forward(given: Arrays) -> tuple[Arrays, Any]:
        result = forward(*arguments(given)) if any(np.iscomplexobj(a) for a in given.values()) else run(
            "forward", lambda: forward(*arguments(given)))
        outputs, cache, several = outputs_of(result, "forward")
        return outputs, (cache, several, {n: np.real(a) for n, a in given.items()})

    def run_backward(dys: Arrays, kept: Any) -> Arrays:
        cache, several, given = kept
        dy: Any = tuple(dys.values()) if several else next(iter(dys.values()))
        spread = several and accepts(backward, len(dys) + 1)
        result = run("backward", lambda: backward(*dy, cache) if spread else backward(dy, cache))
        if isinstance(result, dict):
            result = tuple(result.get(n, result.get(f"d{n}")) for n in names)
        if result is None:
            raise Problem("nothing returned", next(iter(real)), "backward returned None",
                          "return " + ", ".join(f"d{n}" for n in real))
        parts = tuple(result) if isinstance(result, (tuple, list)) else (result,)
        for having in (names, list(real), [n for n in real if n not in labels]):
            if len(parts) == len(having):
                break
        else:
            raise Problem("shape", "", f"backward returned {len(parts)} gradients for {len(names)} inputs",
                          "return one for each input, in their order: " + ", ".join(f"d{n}" for n in names))
        by_name = dict(zip(having, parts))
        for n in list(real):                           # whole numbers without a gradient are labels or indices
            if n in labels and by_name.get(n) is None:
                fixed[n] = np.asarray(inputs[names.index(n)])
                del real[n]
        return {n: gradient(by_name.get(n), n, given[n], "backward") for n in real}

    sources = list({id(g): g for f in (forward, backward) for g in generators(f)}.values())
    try:
        pair = Pair(name, run_forward, run_backward, real, generators=sources)
        with still(pair):
            run_forward({n: a.copy() for n, a in real.items()})
    except Problem as problem:
        if not whole or problem.kind != "error":
            raise
        for n in whole:                                # an index must stay a whole number
            fixed[n] = np.asarray(inputs[names.index(n)])
            del real[n]
    return pair


def accepts(function: Callable[..., Any], n: int) -> bool:
    """Whether a function takes n positional arguments, and no fewer."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
               for p in parameters) == n > 2


def argument_names(function: Callable[..., Any], n: int) -> list[str]:
    """Return the names of a function's first n arguments, as it has them itself."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:n]
    return names if len(names) == n else ["x"] if n == 1 else [f"input {i}" for i in range(n)]


def parameters(layer: Any) -> dict[str, Array]:
    """Return a layer's parameters by name: those that it names, or every v that has a dv beside it."""
    names = getattr(layer, "parameter_names", None)
    if names is None:
        names = [n for n, a in vars(layer).items() if isinstance(a, np.ndarray) and isinstance(
            getattr(layer, "d" + n, None), np.ndarray)]
    if isinstance(names, str):
        raise Problem("not named", names, f"parameter_names is the text {names!r}, which reads as one name for each "
                      "letter", f"parameter_names = ({names!r},)")
    found = {}
    for n in names:
        if not hasattr(layer, n):
            raise Problem("not named", n, f"parameter_names has {n!r}, but the layer has no attribute {n}",
                          f"set self.{n} in __init__, or take the name out")
        value = np.asarray(getattr(layer, n))
        if value.dtype.kind in "iub":
            raise Problem("integer", n, f"{n} holds whole numbers ({value.dtype}): so does an array like it, and a "
                          "gradient in it loses its fractions", f"self.{n} = np.array(..., float)")
        found[n] = value
    return found


def layer_pair(layer: Any, x: Array, name: str) -> Pair:
    """Return the pair of a layer, with its parameters as inputs; the layer itself is left as it is."""
    params = parameters(layer)
    x_name = "x" if "x" not in params else "input"
    inputs = {x_name: np.asarray(x, float), **{n: np.array(a, float) for n, a in params.items()}}
    fills = {n: stream(6).standard_normal(a.shape) for n, a in params.items()}
    what = type(layer).__name__

    def run_forward(given: Arrays) -> tuple[Arrays, Any]:
        twin = copy.deepcopy(layer)
        for n in params:
            setattr(twin, n, given[n])
            setattr(twin, "d" + n, fills[n].copy())
        call = (lambda: twin.forward(given[x_name]))
        result = call() if np.iscomplexobj(given[x_name]) else run(f"{what}.forward", call)
        outputs, cache, several = outputs_of(result, f"{what}.forward")
        return outputs, (twin, cache, several, np.real(given[x_name]))

    def run_backward(dys: Arrays, kept: Any) -> Arrays:
        twin, cache, several, x_given = kept
        buffers = {n: getattr(twin, "d" + n) for n in params}
        dy = tuple(dys.values()) if several else next(iter(dys.values()))
        dx = run(f"{what}.backward", lambda: twin.backward(dy, cache), list(params.items()))
        for n, buffer in buffers.items():
            if getattr(twin, "d" + n) is not buffer:
                new = getattr(twin, "d" + n)
                shape = "" if np.shape(new) == buffer.shape else (f" (and of shape {np.shape(new)}, where {n} has "
                                                                  f"{buffer.shape})")
                raise Problem("rebound", n, f"{what}.backward makes a new array of d{n}{shape}, with self.d{n} = ...; "
                              f"the optimiser looks at the old one, which does not change",
                              f"write into the array that is there: self.d{n}[:] = ...")
        if isinstance(dx, tuple) and len(dx) == 1:
            dx = dx[0]
        return {x_name: gradient(dx, x_name, x_given, f"{what}.backward"), **buffers}

    return Pair(name, run_forward, run_backward, inputs, fills, list({id(g): g for g in generators(layer)}.values()))


def unnamed(layer: Any, pair: Pair) -> str:
    """Return the name of a parameter that has a gradient beside it, but is not in parameter_names."""
    if getattr(layer, "parameter_names", None) is None:
        return ""
    twin = copy.deepcopy(layer)
    try:
        with still(pair):
            y, cache = twin.forward(next(iter(pair.inputs.values())).copy())
            twin.backward(np.ones_like(y), cache)
    except Exception:                                  # which is told elsewhere
        return ""
    for n, a in vars(twin).items():
        if n not in pair.inputs and isinstance(a, np.ndarray) and a.dtype.kind == "f" and hasattr(twin, "d" + n):
            other = copy.deepcopy(layer)
            setattr(other, n, a * 1.01 + 0.01)
            with still(pair):
                if not np.array_equal(other.forward(next(iter(pair.inputs.values())).copy())[0], y):
                    return n
    return ""
