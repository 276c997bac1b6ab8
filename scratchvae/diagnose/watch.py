"""Watch forward's operations: each has a place in the code, and its derivative can be replaced.

The operations of a loop share one place.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..layers import Array
from ..verify.derivative import complex_step
from ..verify.dual import Dual, derived, dual, plain, value
from .evidence import Case, Reference

HERE = tuple(__file__.rpartition("diagnose")[0] + folder for folder in ("diagnose", "verify"))

Site = tuple[Any, int, int, Any]                      # where in the code, and which function of NumPy
Rule = Callable[["Call", int], Any]                    # what an operation gives instead; how often it ran before
Rules = Mapping[Site, Rule]


@dataclass
class Call:
    """One operation that ran: the function, what it was given, and what it gave, as complex arrays."""

    function: Any
    inputs: tuple[Any, ...]                            # of a list, its entries,
    listed: int                                        # and how many it has
    options: dict[str, Any]
    result: Any

    def through(self, path: int) -> Array:
        """Return the derivative that comes through one operand alone."""
        n, inputs = self.listed, tuple(a if i == path else value(a) for i, a in enumerate(self.inputs))
        return np.imag(derived(self.function, (list(inputs[:n]), *inputs[n:]) if n else inputs, self.options))

    def instead(self, path: int, slope: Any) -> Array:
        """Return the result with another derivative by one operand."""
        return self.result + 1j * (slope - self.through(path))


class Watched(Dual):
    """A Dual that tells a `Watch` of each operation."""

    def apply(self, function: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Compute it, as the watch wants."""
        return Watch.now.apply(function, plain(inputs), plain(options))

    def __getitem__(self, key: Any) -> Any:
        """Taking rows by their numbers is an operation; a slice is a view of the same array."""
        if any(isinstance(k, (list, np.ndarray)) for k in (key if isinstance(key, tuple) else (key,))):
            return Watch.now.apply(take, (plain(self), plain(key)), {})
        return super().__getitem__(key)


def take(a: Array, key: Any) -> Any:
    """Indexing, as a function."""
    return a[key]


class Watch:
    """Keep the operations of one forward pass, by their places; with rules, change the derivatives of some."""

    now: Watch

    def __init__(self, rules: Rules) -> None:
        self.rules, self.calls, self.busy = rules, dict[Site, list[Call]](), False

    def apply(self, function: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Return what a function gives."""
        result = derived(function, inputs, options)
        if self.busy or not isinstance(result, (np.ndarray, np.complexfloating)) or result.dtype.kind != "c":
            return dual(result, Watched)
        n = len(inputs[0]) if isinstance(inputs[0], (list, tuple)) else 0
        result, at = np.asarray(result).view(np.ndarray), site(function)
        call = Call(function, (*inputs[0], *inputs[1:]) if n else inputs, n, options, result)
        before = self.calls.setdefault(at, [])
        if at in self.rules:
            self.busy = True                           # what the rule computes is no operation of forward
            result = plain(self.rules[at](call, len(before)))
            self.busy = False
        before.append(call)
        return dual(result, Watched)


def site(function: Any) -> Site:
    """Return where in the code an operation stands."""
    frame = sys._getframe(3)
    while frame.f_back is not None and ("/numpy/" in frame.f_code.co_filename
                                        or frame.f_code.co_filename.startswith(HERE)):
        frame = frame.f_back
    column = 0 if function is take else frame.f_lasti  # Python 3.11 counts otherwise once it has inlined an indexing
    return frame.f_code, frame.f_lineno, column, function


def line(at: Site) -> str:
    """Return the line of a place: its number and its code."""
    return f"line {at[1]}: {linecache.getline(at[0].co_filename, at[1]).strip()}".rstrip(": ")


def watched(w: Reference, c: Case, directions: Mapping[str, Array],
            rules: Rules | None = None) -> tuple[dict[str, Any], dict[Site, list[Call]]]:
    """Return the derivative of each output, with other derivatives of some operations; and all operations that ran."""
    Watch.now = Watch(rules or {})
    return complex_step(w.forward, c.inputs, directions, Watched), Watch.now.calls


def outer(w: Reference, c: Case) -> str:
    """Return where forward combines (n, 1) with (n,) to (n, n), which is seldom meant; or an empty text."""
    for at, (call, *_) in watched(w, c, c.inputs)[1].items():
        shapes = sorted((np.shape(a) for a in call.inputs[:2]), key=len)
        if call.function in (np.add, np.subtract, np.multiply) and len(shapes) == 2 and len(shapes[0]) == 1 and (
                shapes[1] == (*shapes[0], 1)) and shapes[0][0] > 1:
            return f"shapes {shapes[1]} and {shapes[0]} are combined to {call.result.shape} in {line(at)}"
    return ""
