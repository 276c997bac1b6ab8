"""What each exercise asks, and how one number of it is worked out.

An exercise names functions of the library.  A case calls them, in the student's
file and in the library alike, and what comes out must be the same: so there is
no second copy of any solution here.  `terms` writes one entry of a result as a
sum, whose parts are shown to a student who has another number.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
from gallery.bugs import BUGS, Bug

Array = Any
Terms = dict[str, Callable[..., list[tuple[str, str, Any]]]]   # by name: an entry's indices → formula, numbers, value
HERE = Path(__file__).parents[1]


class Problem(Exception):
    """What is wrong with an answer, in one sentence for the student."""


class Case(NamedTuple):
    """One input, and what the functions are to make of it."""

    target: int                                        # which of the exercise's functions is graded
    what: str                                          # "x of shape (3, 2) and ..."
    inputs: dict[str, Array]
    run: Callable[..., dict[str, Any]]                 # takes the code and copies of the inputs; the results by name
    terms: Terms = {}                                  # how to work out an entry of a result
    lengths: dict[str, int] = {}                       # what a wrong factor may be: "the number of rows": 3
    diagnose: Callable[..., Any] | None = None         # takes the code, scratchvae.diagnose and copies of the inputs
    slack: dict[str, Array] = {}                       # an entry may lie between the library's and this much above it


class Exercise(NamedTuple):
    """A file, and the functions of the library whose bodies are missing in it."""

    name: str
    module: str
    targets: tuple[str, ...]
    hint: str
    cases: Callable[[], Iterator[Case]]                # a case is good until the next one is asked for
    mistakes: tuple[Bug, ...] = ()                     # beside those of the gallery: what is often written instead

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.name}.py"

    @property
    def title(self) -> str:
        """The first line of its file, without the number."""
        first = (HERE / self.file).read_text(encoding="utf-8").splitlines()[0]
        return first.partition(": ")[2].rstrip(".")

    def library(self) -> Any:
        """Return the module of the library that has the solution."""
        return importlib.import_module(f"scratchvae.{self.module}")

    def solutions(self) -> list[FunctionType]:
        """Return the library's functions."""
        return [find(self.library(), target) for target in self.targets]

    def source(self) -> str:
        """Say where the solution stands, and where it is derived."""
        owners = [find(self.library(), target.split(".")[0]) for target in self.targets]
        docs = " ".join(code.__doc__ or "" for code in [*self.solutions(), *owners])
        lists = " ".join(re.findall(r"MATH ((?:\(\d+\.\d+\)(?:, )?)+)", docs))
        equations = sorted(set(re.findall(r"\d+\.\d+", lists)), key=lambda number: [int(k) for k in number.split(".")])
        derived = f"; its derivation: MATH.md, ({'), ('.join(equations)})" if equations else ""
        return f"scratchvae/{self.module.replace('.', '/')}.py, {' and '.join(self.targets)}{derived}"

    def bugs(self) -> list[Bug]:
        """Return the mistakes that touch these functions alone: its own, then those of the gallery."""
        mine = {f"{self.module.replace('.', '/')}:{target}" for target in self.targets}
        return [*self.mistakes, *(bug for bug in BUGS if {where for where, _, _ in bug.changes} <= mine)]


def find(code: Any, target: str) -> Any:
    """Return ``code.Dense.forward`` for ``"Dense.forward"``."""
    for name in target.split("."):
        code = getattr(code, name)
    return code


def parts(name: str, value: Any, *wanted: str) -> Any:
    """Return what a function returned, if it has as many parts as it should have."""
    if value is None:
        raise Problem(f"{name} returned None. A return is missing: it should return {' and '.join(wanted)}.")
    if not isinstance(value, (tuple, list)) or len(value) != len(wanted):
        got = f"{len(value)} things" if isinstance(value, (tuple, list)) else f"one {type(value).__name__}"
        raise Problem(f"{name} should return {len(wanted)} things, {' and '.join(wanted)}; yours returned {got}.")
    return value


def locals_of(function: FunctionType, call: Callable[[], Any]) -> dict[str, Any]:
    """Return what a function's variables hold when it returns, by the names that they have in the library."""
    seen: dict[str, Any] = {}

    def look(frame: Any, event: str, _: Any) -> None:
        if event == "return" and frame.f_code is function.__code__:
            seen.update(frame.f_locals)

    sys.setprofile(look)
    try:
        call()
    finally:
        sys.setprofile(None)
    return seen


def shapes(**arrays: Array) -> str:
    """Say the shapes of arrays: x of shape (3, 2) and dy of shape (3, 4)."""
    return " and ".join(f"{name} of shape {np.shape(array)}" for name, array in arrays.items())


def num(value: Any) -> str:
    """Write a number with as many digits as the eye can add; a negative one in brackets."""
    text = f"{float(value):.4g}"
    return f"({text})" if text.startswith("-") else text


def product(*factors: Any) -> str:
    """Write a product of numbers."""
    return " · ".join(num(factor) for factor in factors)


def list_of(x: Array) -> str:
    """Write a small array in one line."""
    return np.array2string(x, separator=", ", max_line_width=10_000).replace("\n", "").replace("  ", " ")
