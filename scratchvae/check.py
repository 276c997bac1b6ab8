"""Argument checks. Every error is one sentence that names the argument.

Nothing here is needed to follow the math.  Each function returns the argument,
made ready for use, or raises a ValueError.  Use what is returned: it is a plain
number or a plain array, where ``2 * np.uint8(200)`` would be 144.

These check what they are given: the constructors of models, likelihoods, layers
and optimisers; what a model is asked for (forward, encode, decode, reconstruct,
sample, draw_noise, log_likelihood, astype, and the weights of backward); `fit` and
its schedules, `evaluate`, `gradcheck`, `checkpoint` and `datasets`.

These do not, by design, as they are the blackboard, are called at every step, and
get what one of the above has checked: the functions of `gaussian`; forward and
backward of layers and of `MLP`; the methods of a likelihood; ``bound``,
``normal``, ``log_weight`` and the cache of ``backward``; ``step`` of an optimiser; and the
records `ELBO`, `Evaluation` and `State`, which hold what is put into them (`fit`
checks the state that it is given).
"""

from __future__ import annotations

import inspect
import itertools
import numbers
import operator
import os
from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np

DTYPES = (np.float32, np.float64, np.complex128)       # of a model
OLD_NAMES = {"sampled": "exact", "analytic": "printed", "landing": "stl", "doubly": "dreg"}   # of options, until 0.1
MOST = 10**9                                           # of anything that is counted
MOST_WEIGHTS = 2**28                                   # of one layer: 2 GiB in float64


def shown(value: Any) -> str:
    """Return a value for the end of a sentence: short, and on one line."""
    if isinstance(value, np.ndarray) and value.ndim:
        return f"an array of shape {value.shape}"
    try:
        text = " ".join(repr(value).split())
    except ValueError:                                 # more digits than Python prints
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:40]} ... of type {type(value).__name__}"


def size(name: str, value: Any, low: int = 1, high: float = MOST, also: str = "") -> int:
    """Return a whole number from low to high, both included; ``also`` names what the caller takes besides."""
    try:
        checked = operator.index(value)
    except TypeError:
        checked = low - 1
    if not (low <= checked <= high) or isinstance(value, bool):
        bounds = f"of at least {low}" if high == np.inf or (high == MOST and checked < low) else f"from {low} to {high}"
        raise ValueError(f"{name} must be {also and also + ', or '}a whole number {bounds}; got {shown(value)}")
    return checked


def sizes(name: str, values: Any, high: float = MOST) -> tuple[int, ...]:
    """Return a tuple of whole numbers of at least 1."""
    return tuple(size(f"every entry of {name}", value, 1, high) for value in entries(name, values))


def entries(name: str, values: Any) -> list[Any]:
    """Return the entries of a sequence or iterator as a list that can be read more than once."""
    if isinstance(values, (str, bytes, bytearray, Mapping, Set)) or not np.iterable(values):
        raise ValueError(f"{name} must be a sequence of whole numbers, such as (16, 8); got {shown(values)}")
    found = list(itertools.islice(values, 1001))
    if len(found) > 1000:
        raise ValueError(f"{name} must have at most 1000 entries; got more")
    return found


def sizes_by_level(name: str, values: Any, n_levels: int) -> list[tuple[int, ...]]:
    """Return a tuple of whole numbers for each level: a single tuple is used for every level."""
    given = entries(name, values)
    by_level = given if any(np.iterable(entry) for entry in given) else [given] * n_levels
    if len(by_level) != n_levels:
        raise ValueError(f"{name} must have an entry for each of the {n_levels} levels; got {len(by_level)}")
    return [sizes(name, entry) for entry in by_level]


def dims(values: Any) -> tuple[int, ...]:
    """Return the columns of the input, of each hidden layer and of the output of a network that can be held."""
    checked = sizes("dims", values, np.inf)
    if len(checked) < 2:
        raise ValueError(f"dims must have two entries or more, for the input and the output; got {len(checked)}")
    for n_in, n_out in zip(checked, checked[1:]):
        if n_in * n_out > MOST_WEIGHTS:
            raise ValueError(f"dims, and so x_dim, hidden_dims and the latents, must give layers of at most "
                             f"{MOST_WEIGHTS} weights; got one of {n_in} times {n_out}")
    return checked


def layer(n_in: Any, n_out: Any, rng: Any, initialise: Any = len) -> tuple[int, int, np.random.Generator]:
    """Return the columns that go into a layer and come out, and a generator."""
    function("initialise", initialise, "n_in, n_out and rng")
    n_in, n_out = size("n_in", n_in), size("n_out", n_out)
    if n_in * n_out > MOST_WEIGHTS:
        raise ValueError(f"n_in times n_out must be at most {MOST_WEIGHTS} weights; got {n_in} times {n_out}")
    return n_in, n_out, generator("rng", rng)


def new_name(value: Any) -> Any:
    """Return the current name of an option."""
    return OLD_NAMES.get(value, value) if isinstance(value, str) else value


def choice(name: str, value: Any, options: Iterable[str]) -> str:
    """Return one of the options; an old name is replaced by its new one."""
    value = new_name(value)
    if not isinstance(value, str) or value not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}; got {shown(value)}")
    return value


def network(dims_given: Any, activation: Any, known: Mapping[str, Any], rng: Any) -> tuple[tuple[int, ...], Any, Any]:
    """Return the columns of a network's layers, what makes its activations, and a generator."""
    columns, source = dims(dims_given), generator("rng", rng)
    return columns, known[choice("activation", activation, known)], source


def likelihood(name: str, value: Any, known: Mapping[str, Any], x_dim: int) -> Any:
    """Return a likelihood over x_dim columns with all that a model needs, from an object or a name."""
    if isinstance(value, str):
        value = known[choice(name, value, known)](x_dim)
    is_likelihood(name, value, f"a name or an object, such as Gaussian({x_dim})")
    if value.x_dim != x_dim:
        raise ValueError(f"{name} is over {value.x_dim} columns, but x_dim is {x_dim}")
    return value


def is_likelihood(name: str, value: Any, such_as: str) -> Any:
    """Return an object that has all that likelihood.py says a likelihood has."""
    if isinstance(value, type) or not hasattr(value, "log_prob"):
        raise ValueError(f"{name} must be {such_as}; got {shown(value)}")
    for method in ("log_prob_backward", "mean", "sample", "bias", "check_support"):
        if not callable(getattr(value, method, None)):
            raise ValueError(f"{name} must have a method {method}, as Gaussian has; {type(value).__name__} has none")
    for number_of in ("x_dim", "n_outputs"):
        size(f"{name}.{number_of}", getattr(value, number_of, None))
    if hasattr(value, "first_layer"):
        has(f"{name}.first_layer", value.first_layer, ("forward", "backward"), "a Layer")
    return value


def likelihoods(name: str, values: Any) -> list[Any]:
    """Return a list of at least one likelihood."""
    if not isinstance(values, (list, tuple)) or not 1 <= len(values) <= 10**5:
        raise ValueError(f"{name} must be a list of likelihoods, such as [Gaussian(1), Categorical(3)]; "
                         f"got {shown(values)}")
    return [is_likelihood(f"{name}[{i}]", value, "an object, such as Gaussian(1)") for i, value in enumerate(values)]


def alpha(value: Any) -> float:
    """Return the weight of the reconstruction, any finite number."""
    return number("alpha", value, -np.inf)


def flag(name: str, value: Any) -> bool:
    """Return True or False: ``"no"`` is neither, though Python takes it for True."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be True or False; got {shown(value)}")
    return bool(value)


def number(name: str, value: Any, low: float, high: float = np.inf, *, open_low: bool = False,
           closed: bool = False) -> float:
    """Return a real number in [low, high), (low, high) if ``open_low``, [low, high] if ``closed``; no bool."""
    if isinstance(value, np.ndarray) and value.ndim == 0 and not np.ma.is_masked(value):
        value = value.item()
    checked = np.nan
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            checked = float(value)
        except OverflowError:                          # a whole number beyond all floats
            pass
    if not (low <= checked < high or closed and checked == high) or (open_low and checked == low):
        raise ValueError(f"{name} must be a number in {'(' if open_low or low == -np.inf else '['}{low:g}, {high:g}"
                         f"{']' if closed else ')'}; got {shown(value)}")
    return checked


def array(name: str, value: Any, shape: tuple[int | str, ...] | None, dtype: Any = None,
          missing: bool = False) -> np.ndarray[Any, Any]:
    """Return an array of finite numbers of this shape; a letter is any length but 0, None any shape.

    With ``missing`` it may have NaN, too.
    """
    try:
        checked = np.asarray(value)
    except ValueError:                                       # rows of different lengths
        checked = np.asarray(None)
    if checked.dtype.kind not in "biufc":
        raise ValueError(f"{name} must be an array of numbers; got {type(value).__name__}"
                         + (f" of {checked.dtype}" if isinstance(value, np.ndarray) else "")
                         + (": TableVAE takes text and missing cells" if hasattr(value, "columns") else ""))
    if np.ma.is_masked(value):
        raise ValueError(f"{name} must have no masked entries; it has {np.ma.count_masked(value)}: fill them, or leave "
                         "out their rows")
    if shape is not None:
        matches = [want == got or (isinstance(want, str) and got > 0) for want, got in zip(shape, checked.shape)]
        if len(shape) != checked.ndim or not all(matches):
            wanted = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
            raise ValueError(f"{name} must have shape ({wanted}); got {checked.shape}")
    if dtype is not None and checked.dtype.kind == "c" != np.dtype(dtype).kind:
        raise ValueError(f"{name} must be an array of real numbers; got {checked.dtype}")
    with np.errstate(over="ignore"):
        typed = checked if dtype is None else checked.astype(dtype, copy=False)
    if not (np.isfinite(typed) | (missing & np.isnan(typed))).all():
        raise ValueError(f"{name} has numbers that are too large for {typed.dtype}" if np.isfinite(checked).all() else
                         f"{name} must be finite; it has {'' if missing else 'NaN or '}infinite values")
    return typed


def by_level(name: str, value: Any, n_levels: int, dtype: Any = float) -> np.ndarray[Any, Any]:
    """Return an array of n_levels weights of at least 0, from one number for all levels or one for each."""
    if isinstance(value, float) and 0 <= value < 1e38:                         # as in nearly every step of training
        return np.full(n_levels, value, dtype)
    try:
        given = np.asarray(value)
    except ValueError:
        given = np.asarray(None)
    if given.dtype.kind not in "iuf" or given.shape not in ((), (1,), (n_levels,)) or np.ma.is_masked(value) \
            or not (given.min() >= 0 and given.max() < np.inf):                # false for NaN
        raise ValueError(f"{name} must be a number of at least 0, or one for each of the {n_levels} levels; "
                         f"got {shown(value)}")
    weights = np.empty(n_levels, dtype)
    with np.errstate(over="ignore"):
        weights[:] = given
    if not np.isfinite(weights).all():
        raise ValueError(f"{name} has numbers that are too large for {weights.dtype}")
    return weights


def arrays(name: str, values: Any, shapes: list[tuple[int | str, ...]], dtype: Any,
           what: str = ", one for each level") -> list[np.ndarray[Any, Any]]:
    """Return a list of arrays of these shapes."""
    count = len(values) if isinstance(values, (list, tuple)) or np.asarray(values, object).ndim else None
    if count != len(shapes):
        raise ValueError(f"{name} must be a list of {len(shapes)} arrays{what}; "
                         f"got {shown(values) if count is None else count}")
    return [array(f"{name}[{i}]", value, shape, dtype) for i, (value, shape) in enumerate(zip(values, shapes))]


def generator(name: str, value: Any) -> np.random.Generator:
    """Return a generator, made from a seed if need be; None is fresh randomness."""
    if value is None or isinstance(value, np.random.Generator):
        return np.random.default_rng(value)
    try:
        return np.random.default_rng(size(name, value, 0, np.inf))
    except ValueError:
        raise ValueError(f"{name} must be a Generator or a seed, a whole number of at least 0; "
                         f"got {shown(value)}") from None


def dtype(name: str, value: Any, options: Iterable[Any] = DTYPES) -> np.dtype[Any]:
    """Return one of these NumPy dtypes."""
    allowed = [np.dtype(option) for option in options]
    try:
        checked = np.dtype(object if value is None else value)                 # NumPy takes None for float64
    except (TypeError, ValueError, SyntaxError):
        checked = np.dtype(object)
    if checked not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}; got {shown(value)}")
    return checked


def path(name: str, value: Any) -> str:
    """Return a path as text."""
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str):
        raise ValueError(f"{name} must be a path, a string or a Path; got {shown(value)}")
    text = os.fspath(value)
    if not text or "\0" in text:
        raise ValueError(f"{name} must be a path, which is not empty and has no zero byte; got {shown(value)}")
    return text


def function(name: str, value: Any, takes: str) -> Any:
    """Return a function, or what can be called as one."""
    if not callable(value) or isinstance(value, type):
        raise ValueError(f"{name} must be a function of {takes}; got {shown(value)}")
    return value


def has(name: str, value: Any, methods: Iterable[str], such_as: str) -> Any:
    """Return an object, no class, that has these methods."""
    missing = [method for method in methods if not callable(getattr(value, method, None))]
    if isinstance(value, type) or missing:
        which = "" if isinstance(value, type) else f", which has no method {missing[0]}"
        raise ValueError(f"{name} must be an object such as {such_as}; got {shown(value)}{which}")
    return value


def model(name: str, value: Any, methods: Iterable[str]) -> Any:
    """Return a model that has these methods, the last of them a backward that takes the gradient by each part."""
    has(name, value, methods, "VAE(64, 16)")
    takes = list(inspect.signature(value.backward).parameters)
    if takes[:1] == ["cache"]:                         # until 0.1
        raise ValueError(f"{name} must have a method backward(delbo, cache), where delbo is what elbo.loss_backward() "
                         f"returns; that of {type(value).__name__} takes ({', '.join(takes)})")
    return value


def stream(name: str, value: Any) -> Any:
    """Return a text stream, to be written to, or None."""
    return value if value is None else has(name, value, ("write", "flush", "isatty"), "sys.stderr, or True for it")


def needs_argument(make: Any) -> bool:
    """Return whether a class or a function cannot be called without an argument."""
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):                    # some that are written in C do not tell
        return False
    return any(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
