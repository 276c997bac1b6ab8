"""A function, a layer, a stack of them, a model: each as one pair of named arrays in and out.

    pair, wholes = model_pair(model, x)                # x and all parameters in, the parts of the bound out
    outputs, kept = pair.forward(pair.inputs)
    gradients = pair.backward(dys, kept)               # dys: one array for each output

What is wrong with how they are written comes out here: a forward without a cache, a gradient of
another shape, ``self.dW = ...`` for ``self.dW[:] = ...``.  Each is a `Problem`, with one sentence
that says what to write instead.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import check
from ..layers import Array
from ..model import Model
from ..objective import ELBOGradient
from .derivative import Arrays, Pair, copies, stream
from .noise import generators, still
from .steps import parts_of

PARTS = ("reconstruction", "prior_matching", "consistency")
PARAMETER = re.compile(r"([wbuvg]|theta|beta|gamma|bias|weights?|kernel|scale)\d*$", re.IGNORECASE)
NO_GRADIENT = re.compile(r"(eps|epsilon|noise|mask|targets?|labels?|idx|index|indices)\d*$", re.IGNORECASE)


class Problem(ValueError):
    """A mistake in how forward and backward hand things over, which comes out before any number can be compared.

    Attributes
    ----------
    kind, tensor, says, hint : str
        As of `diagnose.Finding`.
    """

    def __init__(self, kind: str, tensor: str, says: str, hint: str) -> None:
        super().__init__(says)
        self.kind, self.tensor, self.says, self.hint = kind, tensor, says, hint


def run(what: str, call: Callable[[], Any], params: Mapping[str, Array] | None = None) -> Any:
    """Call forward or backward; say where it failed, if it does."""
    try:
        return call()
    except Problem:
        raise
    except Exception as error:
        import traceback
        at = traceback.extract_tb(error.__traceback__)[-1]
        says = f"{what} failed with {type(error).__name__}: {error}"
        if isinstance(error, ValueError) and "broadcast" in str(error):
            for name, array in (params or {}).items():
                if array.ndim == 1 and f"into shape ({array.size},)" in str(error):
                    raise Problem("not summed", name, f"{what} puts one row for each example into d{name}, which has "
                                  f"the shape {array.shape} of {name}: {error}",
                                  f"sum over the rows: self.d{name}[:] = (...).sum(axis=0)") from error
        raise Problem("error", "", f"{says} ({at.filename.rsplit('/', 1)[-1]}, line {at.lineno}: {at.line})",
                      f"{what} must run for float64 arrays") from error


def outputs_of(result: Any, name: str) -> tuple[Arrays, Any]:
    """Return the outputs by name, and the cache: y, or y0, y1, ... if forward returned several outputs."""
    if not isinstance(result, tuple) or len(result) != 2:
        got = f"{len(result)} things" if isinstance(result, tuple) else check.shown(result)
        raise Problem("no cache", "", f"{name} must return two things, y and a cache; it returned {got}",
                      "return y, cache (what backward will need; None, if it needs nothing)")
    y, cache = result
    several = isinstance(y, (tuple, list))
    ys = y if several else (y,)
    if any(part is None for part in ys):
        raise Problem("no cache", "", f"{name} returned None for y", "return y, cache")
    return {f"y{i}" if several else "y": part if isinstance(part, np.ndarray) else np.asarray(part)
            for i, part in enumerate(ys)}, cache


def gradient(value: Any, name: str, array: Array, what: str) -> Array:
    """Return a gradient that backward gave for an array, or raise a Problem."""
    d = f"d{name}"
    try:
        found = np.asarray(value)
    except ValueError:                                 # rows of several lengths
        found = np.array(None)
    if found.dtype.kind not in "biufc":
        raise Problem("nothing returned", name, f"{what} returned {'None' if value is None else type(value).__name__} "
                      f"for {d}", f"return {d}, an array of shape {array.shape}")
    if found.shape != array.shape and not (found.shape == () and array.size == 1):
        kind, hint = "shape", f"{d} must have the shape of {name}"
        if found.ndim > array.ndim and found.shape[found.ndim - array.ndim:] == array.shape:
            kind, hint = "not summed", f"sum over the rows: {d} = (...).sum(axis=0)"
        elif found.shape == array.shape[::-1]:
            kind, hint = "transposed", f"{hint}: transpose it"
        raise Problem(kind, name, f"{what} gives {d} the shape {found.shape}; {name} has {array.shape}", hint)
    if found.dtype.kind in "bi" and found.any():
        raise Problem("integer", name, f"{what} gives {d} as whole numbers ({found.dtype}), which cannot hold "
                      "fractions", f"make it of floats, such as np.zeros({array.shape})")
    return found.reshape(array.shape)


def function_pair(forward: Callable[..., Any], backward: Callable[..., Any], inputs: Sequence[Any],
                  names: Sequence[str] | None = None, name: str = "backward") -> Pair:
    """Return the pair of ``y, cache = forward(*inputs)`` and ``dinputs = backward(dy, cache)``.

    An input has no gradient if it is no array of numbers; if it is one of whole numbers (labels, an index), or
    is called ``eps``, ``mask`` or the like, and backward returns none for it.
    """
    names = list(names) if names is not None else argument_names(forward, len(inputs))
    if len(names) != len(inputs):
        raise ValueError(f"names must have one name for each of the {len(inputs)} inputs; got {len(names)}")
    real = {n: np.array(a, float) for n, a in zip(names, inputs)
            if not isinstance(a, (bool, str, type(None))) and np.asarray(a).dtype.kind in "iuf"}
    whole = [n for n, a in zip(names, inputs) if n in real and np.asarray(a).dtype.kind in "iu"]
    free = [n for n, a in real.items() if n in whole or NO_GRADIENT.match(n) or (
        len(real) > 1 and np.isin(a, (0, 1)).all() and not PARAMETER.match(n))]        # these need no gradient
    fixed: dict[str, Any] = {n: a for n, a in zip(names, inputs) if n not in real}

    def fix(these: list[str]) -> None:
        fixed.update({n: np.asarray(inputs[names.index(n)]) for n in these if real.pop(n, None) is not None})

    def arguments(given: Arrays) -> list[Any]:
        first = next(iter(real), "")                   # with fewer rows of it, fewer labels
        cut = {n: a[:len(given[first])] for n, a in fixed.items() if first and given[first].ndim and isinstance(
            a, np.ndarray) and a.ndim and len(a) == len(real[first])}
        return [given[n] if n in given else cut.get(n, fixed.get(n)) for n in names]

    def run_backward(dys: Arrays, cache: Any) -> dict[str, Any]:
        dy: Any = dys["y"] if "y" in dys else tuple(dys.values())
        spread = "y" not in dys and len(positional(backward, True)) == len(dys) + 1 > 2
        result = backward(*dy, cache) if spread else backward(dy, cache)
        if isinstance(result, dict):
            result = tuple(result.get(n, result.get(f"d{n}")) for n in names)
        parts = tuple(result) if isinstance(result, (tuple, list)) else (result,)
        needed = [n for n in real if n not in free]
        order = next((order for order in (names, list(real), needed) if len(order) == len(parts)), list(real))
        if len(parts) > len(order):
            raise Problem("shape", "", f"backward returned {len(parts)} gradients for {len(names)} inputs",
                          "return one for each input, in their order: " + ", ".join(f"d{n}" for n in names))
        by_name = dict(zip(order, parts))
        fix([n for n in free if by_name.get(n) is None])
        return {n: by_name.get(n) for n in real}

    pair = with_parameters(name, real, {}, lambda given: forward(*arguments(given)), run_backward, [forward, backward])
    pair.inputs = real                                 # which may become fewer
    try:
        with still(pair.generators):
            pair.forward(copies(real))
    except Problem as problem:
        if not whole or problem.kind != "error":
            raise
        fix(whole)                                     # an index must stay a whole number
    return pair


def argument_names(function: Callable[..., Any], n: int) -> list[str]:
    """Return the names of a function's first n arguments, as it has them itself."""
    names = positional(function)[:n]
    return names if len(names) == n else ["x"] if n == 1 else [f"input {i}" for i in range(n)]


def positional(function: Callable[..., Any], needed: bool = False) -> list[str]:
    """Return the names of a function's positional arguments, or of those without a default."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
            and not (needed and p.default is not p.empty)]


def parameters(layer: Any) -> dict[str, Array]:
    """Return a layer's parameters by name: those that it names, or every v that has a dv beside it."""
    names = getattr(layer, "parameter_names", None)
    if names is None:
        names = [n for n, a in vars(layer).items() if isinstance(a, np.ndarray) and isinstance(
            getattr(layer, "d" + n, None), np.ndarray)]
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


def layers_in(thing: Any) -> dict[str, Any]:
    """Return the layers that an object is made of, by name; itself among them if it has parameters of its own."""
    found = {part.name: part.layer for part in parts_of(thing) if part.layer is not None}
    return {**({"": thing} if found and parameters(thing) else {}), **found}


def with_parameters(name: str, inputs: Arrays, owners: Mapping[str, tuple[Any, str]], forward: Callable[[Arrays], Any],
                    backward: Callable[[Arrays, Any], dict[str, Any]], source: Any,
                    outputs: Callable[..., tuple[Any, ...]] = outputs_of) -> Pair:
    """Return the pair of a function whose parameters are attributes: they become inputs.

    Parameters
    ----------
    name : str
        What to call its backward, such as ``"Dense.backward"``.
    inputs : dict of str to array
    owners : mapping of str to (object, str)
        By its full name, whose attribute a parameter is, and what it is called there.
    forward, backward : function
        Of the inputs by name; of the gradients by the outputs, and the cache.
    source : object
        In which generators are looked for.
    outputs : function
        Takes what forward returned, and a name.
    """
    params = {full: np.array(getattr(owner, n), float) for full, (owner, n) in owners.items()}
    fills = {full: stream(6).standard_normal(a.shape) for full, a in params.items()}

    def run_forward(given: Arrays) -> tuple[Arrays, Any]:
        for full, (owner, n) in owners.items():
            setattr(owner, n, given[full])
        result = forward(given) if any(np.iscomplexobj(a) for a in given.values()) else run(
            pair.forward_name, lambda: forward(given))
        found, cache = outputs(result, pair.forward_name)
        return found, (cache, given)

    def run_backward(dys: Arrays, kept: Any) -> Arrays:
        cache, given = kept
        buffers = {}
        for full, (owner, n) in owners.items():
            old = getattr(owner, "d" + n, None)
            if not (isinstance(old, np.ndarray) and old.shape == fills[full].shape and old.dtype == float):
                setattr(owner, "d" + n, fills[full].copy())
            buffers[full] = getattr(owner, "d" + n)
            buffers[full][...] = fills[full]
        found = run(name, lambda: backward(dys, cache), {full: given[full] for full in owners})
        for full, (owner, n) in owners.items():
            if getattr(owner, "d" + n) is not buffers[full]:
                setattr(owner, "d" + n, buffers[full])
                raise Problem("rebound", full, f"{type(owner).__name__}.backward makes a new array of d{n}, self.d{n} "
                              "= ...; the optimiser looks at the old one, which does not change",
                              f"write into the array that is there, self.d{n}[:] = ...")
        return {n: gradient(a, n, given[n], name) for n, a in {**found, **buffers}.items()}

    pair = Pair(name, run_forward, run_backward, {**inputs, **params}, fills,
                list({id(g): g for g in generators(source)}.values()))
    return pair


def layer_pair(layer: Any, x: Array, called: str = "") -> tuple[Pair, list[Any]]:
    """Return the pair of a layer or a stack of layers, and the copy that it works with; the layer is left as it is."""
    twin = copy.deepcopy(layer)
    owners = {f"{part}.{n}" if part else n: (owner, n) for part, owner in (layers_in(twin) or {"": twin}).items()
              for n in parameters(owner)}
    name = "x" if "x" not in owners else "input"

    def backward(dys: Arrays, cache: Any) -> dict[str, Any]:
        dx = twin.backward(tuple(dys.values()) if len(dys) > 1 else next(iter(dys.values())), cache)
        return {name: dx[0] if isinstance(dx, tuple) and len(dx) == 1 else dx}

    called = called or f"{type(layer).__name__}.backward"
    return with_parameters(called, {name: np.asarray(x, float)}, owners, lambda given: twin.forward(given[name]),
                           backward, [layer, twin]), [twin]


def model_pair(model: Model, x: Array, noise: Any = None) -> tuple[Pair, list[Any]]:
    """Return the pair of a model, and its copy in float64: x and all parameters in, the parts of the bound out.

    Parameters
    ----------
    model : Model
        It is left as it is.
    x : array of shape (n, x_dim)
    noise : optional
        From ``model.draw_noise``; drawn from a stream of its own if it is not given.
    """
    point = model.astype(np.float64)
    x = point.check_x(x)
    noise = point.check_noise(point.draw_noise(len(x), stream(2)) if noise is None else noise, len(x))
    owners = {f"{network}.{part}.{n}": (layer, n) for network, mlp in point.networks.items()
              for part, layer in mlp.layers.items() for n in layer.parameter_names}
    options = {"input_gradient": True} if "input_gradient" in inspect.signature(type(model).backward).parameters else {}

    def outputs(result: Any, name: str) -> tuple[Any, ...]:
        if not isinstance(result, tuple) or len(result) != 2 or not hasattr(result[0], "prior_matching"):
            raise Problem("no cache", "", f"{name} must return an ELBO and a cache", "return elbo, cache")
        return {of: getattr(result[0], of) for of in PARTS}, result[1]

    def backward(dys: Arrays, cache: Any) -> dict[str, Any]:
        dx = point.backward(ELBOGradient(*(dys[of] for of in PARTS)), cache, **options)
        return {"x": dx} if options else {}

    return with_parameters(f"{type(model).__name__}.backward", {"x": x} if options else {}, owners,
                           lambda given: point.bound(given.get("x", x), noise), backward, point, outputs), [point]
