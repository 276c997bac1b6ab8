"""The guard at the door: bad arguments get one sentence that names them.

Nothing here is needed to follow the math.  Each function returns the argument,
made ready for use, or raises a ValueError.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


def size(name: str, value: Any, low: int = 1, high: float = np.inf) -> int:
    """Return a whole number from low to high, both included."""
    try:
        checked = operator.index(value)
    except TypeError:
        checked = low - 1
    if not (low <= checked <= high) or isinstance(value, bool):
        bounds = f"of at least {low}" if high == np.inf else f"from {low} to {high}"
        raise ValueError(f"{name} must be a whole number {bounds}; got {value!r}")
    return checked


def sizes(name: str, values: Any) -> tuple[int, ...]:
    """Return a tuple of whole numbers of at least 1."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError(f"{name} must be a sequence of whole numbers, such as (16, 8); got {values!r}")
    return tuple(size(f"every entry of {name}", value) for value in values)


def sizes_by_level(name: str, values: Any, n_levels: int) -> list[tuple[int, ...]]:
    """Return a tuple of whole numbers for each level: one tuple serves every level."""
    entries = list(values) if np.iterable(values) else values                # an iterator can be read only once
    nested = np.iterable(entries) and any(np.iterable(entry) for entry in entries)
    by_level = entries if nested else [entries] * n_levels
    if len(by_level) != n_levels:
        raise ValueError(f"{name} must have an entry for each of the {n_levels} levels; got {len(by_level)}")
    return [sizes(name, entry) for entry in by_level]


def choice(name: str, value: Any, options: Iterable[str]) -> str:
    """Return one of the options."""
    if not isinstance(value, str) or value not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}; got {value!r}")
    return value


def number(name: str, value: Any, low: float, high: float = np.inf, *, open_low: bool = False) -> float:
    """Return a number in [low, high), or (low, high) if ``open_low``."""
    try:
        checked = float(value)
    except (TypeError, ValueError):
        checked = np.nan
    if not (low <= checked < high) or (open_low and checked == low):
        raise ValueError(f"{name} must be a number in {'(' if open_low else '['}{low:g}, {high:g}); got {value!r}")
    return checked


def array(name: str, value: Any, shape: tuple[int | str, ...], dtype: Any = None) -> np.ndarray[Any, Any]:
    """Return an array of finite numbers of this shape; a letter in it stands for any length but 0."""
    try:
        checked = np.asarray(value)
    except ValueError:                                       # rows of different lengths
        checked = np.asarray(None)
    if checked.dtype.kind not in "biufc":
        raise ValueError(f"{name} must be an array of numbers; got {type(value).__name__}"
                         + (f" of {checked.dtype}" if isinstance(value, np.ndarray) else ""))
    matches = [want == got or (isinstance(want, str) and got > 0) for want, got in zip(shape, checked.shape)]
    if len(shape) != checked.ndim or not all(matches):
        wanted = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
        raise ValueError(f"{name} must have shape ({wanted}); got {checked.shape}")
    if dtype is not None and checked.dtype.kind == "c" != np.dtype(dtype).kind:
        raise ValueError(f"{name} must be an array of real numbers; got {checked.dtype}")
    with np.errstate(over="ignore"):
        typed = checked if dtype is None else checked.astype(dtype, copy=False)
    if not np.isfinite(typed).all():
        raise ValueError(f"{name} has numbers that are too large for {typed.dtype}" if np.isfinite(checked).all() else
                         f"{name} must be finite; it has NaN or infinite values")
    return typed


def likelihood(name: str, value: Any, known: Mapping[str, Any], x_dim: int) -> Any:
    """Return a likelihood over x_dim columns: an object, or the name of a known one."""
    if isinstance(value, str):
        value = known[choice(name, value, known)](x_dim)
    if isinstance(value, type) or not hasattr(value, "log_prob"):
        raise ValueError(f"{name} must be a name or an object, such as Gaussian({x_dim}); got {value!r}")
    if value.x_dim != x_dim:
        raise ValueError(f"{name} is over {value.x_dim} columns, but x_dim is {x_dim}")
    return value


def by_level(name: str, value: Any, n_levels: int, dtype: Any) -> np.ndarray[Any, Any]:
    """Return one number for each level, from a number or one for each."""
    numbers = np.empty(n_levels, dtype)
    try:
        numbers[:] = value
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number, or one for each of the {n_levels} levels; got {value!r}") from None
    return numbers


def arrays(name: str, values: Any, shapes: list[tuple[int | str, ...]], dtype: Any) -> list[np.ndarray[Any, Any]]:
    """Return a list of arrays of these shapes, one for each level."""
    if not hasattr(values, "__len__") or len(values) != len(shapes):
        got = len(values) if hasattr(values, "__len__") else values
        raise ValueError(f"{name} must be a list of {len(shapes)} arrays, one for each level; got {got}")
    return [array(f"{name}[{i}]", value, shape, dtype) for i, (value, shape) in enumerate(zip(values, shapes))]


def generator(name: str, value: Any) -> np.random.Generator:
    """Return a generator, made from a seed if need be."""
    try:
        return np.random.default_rng(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a Generator or a seed, a whole number of at least 0; got {value!r}") from None


def dtype(name: str, value: Any, options: Iterable[Any]) -> np.dtype[Any]:
    """Return one of these NumPy dtypes."""
    allowed = [np.dtype(option) for option in options]
    try:
        checked = np.dtype(value)
    except TypeError:
        checked = np.dtype(object)
    if checked not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}; got {value!r}")
    return checked
