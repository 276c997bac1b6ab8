"""An equation, evaluated on the arrays of a pass and compared with what the line made.

It is evaluated as it is written: entry by entry where it has indices, sums term by term, in extended precision where
the machine has it.  Names are looked up where a reader would look: in the function's variables before the line, in the
forward that a backward answers, in the object itself.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache, lru_cache
from typing import Any

import numpy as np

from ..layers import Array
from ..objective import ELBO, ELBOGradient
from .equations import Equation, base, symbols_of
from .trace import Call, Visit, leaves, value_of

LONG = np.longdouble
LETTERS = set("nijktv")
SIGNS = {ast.Add: (1, " + "), ast.Sub: (1, " − "), ast.Mult: (2, " · "), ast.Div: (3, "/"), ast.Pow: (4, "^")}
NAMED = {"log", "exp", "sqrt", "tanh", "cos", "max", "abs", "softplus", "sigmoid"}         # as they are, with numbers


@lru_cache(maxsize=None)
def source(node: ast.AST) -> str:
    """Return the text of an expression."""
    return ast.unparse(node)


class Unknown(Exception):
    """The pass has no name or call like this."""


def over(a: Array) -> Array:
    """Return the sum over the dimensions of one example, term by term, as a column."""
    return sum((a[..., k:k + 1] for k in range(a.shape[-1])), LONG(0))


def log_gamma(x: Array) -> Array:
    """Return log Γ(x), from the standard library."""
    return np.vectorize(math.lgamma, otypes=[float])(x.astype(float)).astype(LONG)


def digamma(x: Array) -> Array:
    """Return (log Γ)'(x): its series at x + 60, and the recurrence back to x."""
    u = x + 60
    series = np.log(u) - 1 / (2 * u) - 1 / (12 * u**2) + 1 / (120 * u**4) - 1 / (252 * u**6)
    return series - sum(1 / (x + k) for k in range(60))


def column(a: Any) -> Any:
    """Return an array of one number per row as a column."""
    return a[:, None] if np.ndim(a) == 1 else a


def ratio(a: Any, b: Any) -> Any:
    """Return a/b; 0/0 is 0."""
    return a / b if np.any(b) or np.any(a) else a


def right(a: Array) -> Array:
    """Return the right half of each row."""
    return a[..., a.shape[-1] // 2:]


FUNCTIONS: dict[str, Callable[..., Any]] = {           # of whole arrays; the log of a density is written out
    "log": lambda a: a[1] if isinstance(a, tuple) else np.log(a), "Γ": lambda x: ("log", log_gamma(x)),
    "N": lambda z, mu, std: ("log", over(-(np.log(2 * LONG(np.pi)) + 2 * np.log(std) + ((z - mu) / std) ** 2) / 2)),
    "H": lambda q: over(np.log(2 * LONG(np.pi)) + 1 + right(q)) / 2, "log_factorial": lambda x: log_gamma(x + 1),
    "prime": lambda x: digamma(x + 1), "Σ": over, "square": lambda a: over(a * a),
    "exp": np.exp, "sqrt": np.sqrt, "tanh": np.tanh, "cos": np.cos, "floor": np.floor, "abs": np.abs,
    "max": np.maximum, "where": np.where, "softplus": lambda x: np.log(1 + np.exp(x)),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "largest": lambda a: a.max(axis=-1, keepdims=True),
    "left": lambda a: a[..., :a.shape[-1] // 2], "right": right, "rows": lambda a, b: np.concatenate([a, b])}
OPERATIONS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: ratio, ast.USub: operator.neg,
    ast.Pow: lambda a, b: a ** int(b), ast.Compare: operator.gt,
    ast.BitOr: lambda a, b: np.concatenate([column(a), column(b)], axis=1), ast.List: lambda a: a}


class Evaluator:
    """Evaluates expressions at one line of a pass."""

    def __init__(self, visit: Visit, answered: Call | None, extra: dict[str, Any]) -> None:
        self.visit, self.answered, self.extra = visit, answered, extra
        self.name, self.sizes = cache(self.find), dict[str, int]()
        self.functions = FUNCTIONS | {"columns_of_z": lambda a: a[:, :visit.call.owner.x_dim],
                                      "over_draws": lambda a: self.shaped(a, 3).sum(axis=1)}

    # names --------------------------------------------------------------------------------------------

    def spaces(self) -> Iterator[Callable[[str], Any]]:
        """Yield the places to look up a name, the nearest first."""
        owner, before = self.visit.call.owner, self.visit.before
        yield before.get
        if self.answered is not None:
            yield self.answered.locals.get
        for holder in [owner, *[v for v in before.values() if isinstance(v, (ELBO, ELBOGradient))],
                       getattr(owner, "schedule", None)]:
            yield lambda name: getattr(holder, name, None)
        yield {base(name): value for name, value in self.visit.values}.get

    def find(self, name: str) -> Any:
        """Return the value of a name: from these places, or by the table of symbols, or from what the line called."""
        if name in ("π", "e"):
            return LONG(np.pi) if name == "π" else np.exp(LONG(1))
        for space in self.spaces():
            if is_number(value := self.at_level(space(name))):
                return long(value)
        for meaning in symbols_of(name):
            with suppress(Unknown):
                return self.value(meaning)
        for held in [*[inner.locals for inner in self.visit.calls], self.extra]:
            if is_number(value := self.at_level(held.get(name))):
                return long(value)
        raise Unknown(name)

    def at_level(self, value: Any) -> Any:
        """Return the entry for the line's level, of a dict by level or a list of noise; else the value itself."""
        t = self.visit.before.get("t")
        if isinstance(value, dict) and t in value:
            return value[t]
        return value[t - 1] if isinstance(value, list) and isinstance(t, int) and len(value) >= t else value

    # expressions --------------------------------------------------------------------------------------

    def value(self, node: ast.AST, letters: Mapping[str, Any] = {}) -> Any:
        """Return the value of an expression; ``letters`` has its free indices, as numbers or as open grids."""
        if isinstance(node, ast.BinOp):
            if getattr(node.left, "id", "") == "e":
                return np.exp(self.value(node.right, letters))
            return OPERATIONS[type(node.op)](self.value(node.left, letters), self.value(node.right, letters))
        if isinstance(node, ast.Subscript):
            indices = letters_of(node)
            if not indices or not letters.keys() >= set(indices):
                return self.part(source(node))
            a = self.shaped(self.name(source(node.value)), len(indices))       # an axis of size 1 is for all
            return a[tuple(letters[c] if size > 1 else 0 for c, size in zip(indices, a.shape))]
        if isinstance(node, ast.Name):                 # k, as a number, is counted from 1; n is the number of examples
            return letters["k"] + 1 if node.id == "k" else column(self.name(node.id))
        if isinstance(node, ast.Constant):
            return LONG(node.value) if isinstance(node.value, int) else node.value
        if isinstance(node, ast.Call):
            return self.call(node, letters)
        parts = [self.value(part, letters) for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr)]
        return OPERATIONS[type(getattr(node, "op", node))](*parts)

    def call(self, node: ast.Call, letters: Mapping[str, Any]) -> Any:
        """Return the value of a function, of a sum over an index, term by term, or of a call that the line made."""
        name, args = source(node.func), node.args
        if name[0] == "Σ" and len(name) > 1:
            return sum((self.value(args[-1], {**letters, name[1]: k}) for k in self.range(node)), LONG(0))
        if name == "prime":
            args = args[0].args                        # type: ignore[attr-defined]
        values = [self.value(arg, letters) for arg in args]
        return self.functions[name](*values) if name in self.functions else self.called(node.func, values)

    def range(self, node: ast.Call) -> range:
        """Return the range of a sum's index."""
        first, last = map(int, map(source, node.args[:-1])) if node.args[1:] else (1, self.sizes[source(node.func)[1]])
        return range(first - 1, last)

    def shaped(self, value: Any, axes: int) -> Array:
        """Return an array with this number of axes: the K rows of an example get an axis of their own."""
        a = np.asarray(value)
        if 0 < a.ndim < axes:
            a = a.reshape(-1, self.extra["K"], *a.shape[1:])
        return a.reshape((*a.shape, *[1] * axes)[:axes])

    def measure(self, equation: Equation, made: Any) -> list[str]:
        """Store the size of each index, read from the arrays; return the indices on the left."""
        letters = [] if source(equation.left)[-3:] == "[t]" else letters_of(equation.left)
        walked = list(ast.walk(equation.right))
        bound = {source(node.func)[1:] for node in walked if isinstance(node, ast.Call)}.union(letters)
        indexed = [(self.name(source(node.value)), letters_of(node)) for node in walked
                   if isinstance(node, ast.Subscript) and set() < set(letters_of(node)) <= bound]
        for array, of_it in indexed + [(made, letters)] * bool(letters):
            for c, size in zip(of_it, self.shaped(array, len(of_it)).shape):
                self.sizes[c] = max(size, self.sizes.get(c, 1))
        return letters

    def part(self, text: str) -> Any:
        """Return the entry of a level, q[t - 1] or gamma[t + 1], or a slice, h[:n]."""
        name, _, index = text.rstrip("]").partition("[")
        t = self.visit.before.get("t", next((v for n, v in self.visit.values if n == "t"), None))
        for space in self.spaces():
            held = space(name)
            if isinstance(held, np.ndarray) and index == "t" and isinstance(t, int):
                return column(long(held[:, t - 1]))
            if isinstance(held, (dict, np.ndarray)):
                shift = 0 if ":" in index or isinstance(held, dict) or len(held) == len(
                    getattr(self.visit.call.owner, "gamma", ())) else 1        # v_q begins with level 1
                names = {**self.visit.before, **self.extra, "t": None if t is None else t - shift, "held": held}
                return column(long(eval(f"held[{index}]", {}, names)))
        raise Unknown(name)

    def called(self, function: ast.expr, args: list[Any]) -> Any:
        """Return what a call on this line returned, if it had these arguments."""
        last, owner = source(function).rpartition(".")[2], None
        if isinstance(function, ast.Attribute):
            own = {n: v for n, v in vars(self.visit.call.owner).items() if not isinstance(v, np.ndarray)}
            owner = value_of(function.value, self.visit.before, own)
        for made in self.visit.calls:
            if made.function.name.rpartition(".")[2] == last and (owner is None or made.owner is owner):
                given = [v for n, v in made.args.items() if "cache" not in n]
                if any(isinstance(v, (np.ndarray, float)) and distance(a, v) > 1e-12 for a, v in zip(args, given)):
                    raise Unknown(f"{last} was given other arguments")
                return outputs(made)
        raise Unknown(last)

    # an equation --------------------------------------------------------------------------------------

    def error(self, equation: Equation) -> float | None:
        """Return the error of the equation, relative to the largest entry that the line made; None if unknown."""
        try:
            with np.errstate(all="ignore"):
                return self.compare(equation)
        except Unknown:
            return None
        except (ValueError, IndexError):               # shapes that do not fit
            return math.inf

    def compare(self, equation: Equation) -> float:
        """Return the error, or raise Unknown."""
        left = equation.left
        if isinstance(left, ast.Tuple):
            results = [v for n, v in self.visit.values if "cache" not in n]
            return max(distance(a, b) for a, b in zip(leaves(self.value(equation.right)), results) if is_number(b))
        made = self.made(equation)
        letters = self.measure(equation, made)
        sizes = [self.sizes[c] for c in letters]
        found = self.value(equation.right, dict(zip(letters, np.ogrid[tuple(map(slice, sizes))])))
        return distance(np.broadcast_to(found, sizes) if letters else leaves(found)[0], made)

    def made(self, equation: Equation) -> Any:
        """Return the value of the left side: what the line made, or what it took apart (h = [mu | logvar])."""
        made = [(base(n), v) for n, v in self.visit.values]
        left = base(source(equation.left))
        own = [v for n, v in made if n == left] or [self.visit.before.get(left)]
        return own[0] if is_number(own[0]) else next(v for n, v in made if n in equation.names)

    # one entry, with its numbers ------------------------------------------------------------------------

    def worked(self, equation: Equation) -> str | None:
        """Return the largest entry of a product or a sum, with its numbers; None if the equation is neither."""
        made, node = self.made(equation), equation.right
        if isinstance(equation.left, ast.Tuple) or not isinstance(made, np.ndarray) or not made.any() or (
                "*" not in source(node) and "Σ" not in source(node)):
            return None
        letters = self.measure(equation, made)
        grid = self.shaped(made, len(letters)) if letters else made
        at = tuple(int(i) for i in np.unravel_index(np.nanargmax(np.abs(np.real(grid))), grid.shape))
        try:
            said = self.numbers(node, at, dict(zip(letters, at)))
        except (Unknown, IndexError, ValueError):
            return None
        of = base(source(equation.left)) if isinstance(equation.left, (ast.Name, ast.Subscript)) else "the entry"
        return f"{of}[{', '.join(map(str, at))}] = {said} = {grid[at]:.4g}"

    def numbers(self, node: ast.expr, at: tuple[int, ...], letters: Mapping[str, int], inside: int = 0) -> str:
        """Return an expression with the numbers of one entry in place of the names."""
        if isinstance(node, ast.BinOp):
            order, sign = SIGNS[type(node.op)]
            said = (self.numbers(node.left, at, letters, order) + sign
                    + self.numbers(node.right, at, letters, order + 1))
            return f"({said})" if order < inside else said
        if isinstance(node, ast.UnaryOp):
            said = f"−{self.numbers(node.operand, at, letters, 2)}"
            return said if inside < 2 else f"({said})"
        if isinstance(node, ast.Call) and source(node.func)[0] == "Σ":
            return self.terms(node, at, letters, inside)
        if isinstance(node, ast.Call) and source(node.func) in NAMED:
            return f"{source(node.func)}({', '.join(self.numbers(arg, at, letters) for arg in node.args)})"
        if source(node) == "e":
            return "e"
        if not isinstance(node, (ast.Name, ast.Constant, ast.Subscript)):
            raise Unknown
        said = f"{entry(self.value(node, letters), at):.4g}".replace("-", "−")
        return f"({said})" if said[0] == "−" and inside > 1 else said

    def terms(self, node: ast.Call, at: tuple[int, ...], letters: Mapping[str, int], inside: int) -> str:
        """Return the terms of a sum: all of a short one, the three largest of a long one."""
        body, letter = node.args[-1], source(node.func)[1:]
        whole: Any = None if letter else self.value(body, letters)
        places = ([(at, {**letters, letter: k}) for k in self.range(node)] if letter else
                  [((*at[:1], k), {**letters}) for k in range(np.shape(whole)[-1])])
        sizes = [abs(entry(self.value(body, of) if letter else whole, place)) for place, of in places]
        largest = sorted(range(len(sizes)), key=lambda k: -sizes[k])[:3 if len(sizes) > 4 else 4]
        said = " + ".join(self.numbers(body, *places[k], 2) for k in sorted(largest)) + (
            f" + … ({len(sizes)} terms)" if len(sizes) > 4 else "")
        return f"({said})" if inside > 1 else said


@lru_cache(maxsize=None)
def letters_of(node: ast.expr) -> list[str]:
    """Return the indices of an entry: n and j of ``y[n, j]``."""
    found = source(node.slice).strip("()").split(", ") if isinstance(node, ast.Subscript) else []
    return found if set(found) <= LETTERS else []


def entry(value: Any, at: tuple[int, ...]) -> float:
    """Return an entry of an array; an axis of size 1 is for all."""
    a = np.asarray(value)
    return float(a[tuple(min(i, size - 1) for i, size in zip((*at, 0, 0), a.shape))])


def is_number(value: Any) -> bool:
    """Whether this is a number or an array of numbers."""
    return isinstance(value, (int, float, np.generic, np.ndarray))


def long(value: Any) -> Any:
    """Return it in extended precision."""
    a = np.asarray(value)
    return a.astype(LONG) if a.dtype.kind in "fiu" else a


def outputs(made: Call) -> Any:
    """Return what a call returned, without its cache: one value, or a tuple."""
    result = made.values
    if isinstance(result, tuple) and made.cached() and not made.function.name.endswith("backward"):
        result = result[0]
    return tuple(long(v) if is_number(v) else v for v in result) if isinstance(result, tuple) else column(long(result))


def distance(found: Any, made: Any) -> float:
    """Return the largest difference, relative to the largest entry; infinite if the shapes do not fit."""
    a, b = long(found), long(made)
    a = a.reshape(b.shape) if a.size == b.size else a
    if a.shape not in ((), b.shape, (*b.shape[:1], 1)):
        return math.inf
    both = np.isnan(a + 0 * b) & np.isnan(b)
    gap, largest = np.where(both, 0, np.abs(a - b)), float(np.max(np.where(both, 0, np.abs(b)), initial=0)) or 1.0
    return float(np.max(gap, initial=0)) / largest
