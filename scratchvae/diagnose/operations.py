"""Which operation of forward has another derivative in backward?

A backward is the chain rule, one operation of forward after another.  Many a wrong one is the right one
of a forward in which a single operation has another derivative: 0 (its path is missing), its own with the
sign flipped, n times it, that of another formula, or of the transposed matrix.  So forward is run with
`Watched` arrays, which know each operation that they go through, and with the derivative of one operation
replaced; where this gives what backward claims, to rounding, the line of forward is named.

The operations of a loop are one: they stand at one place in the code.
"""

from __future__ import annotations

import linecache
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Optional

import numpy as np

from ..layers import Array, sigmoid
from ..verify.derivative import NotComplex, complex_step
from ..verify.dual import Dual, derived, dual, plain, value
from .evidence import Case, Reason, Reference, Wrong, nice, over_an_axis

FORMULAS: dict[str, Callable[[Array], Any]] = {        # of one array, entry by entry
    "1": np.ones_like, "{a}": lambda a: a, "{a}²": lambda a: a * a, "1/{a}": lambda a: 1 / a,
    "1/{a}²": lambda a: 1 / (a * a), "1 - {a}": lambda a: 1 - a, "1 + {a}": lambda a: 1 + a,
    "1 - {a}²": lambda a: 1 - a * a, "1 + {a}²": lambda a: 1 + a * a, "{a}(1 - {a})": lambda a: a * (1 - a),
    "({a} > 0)": lambda a: a > 0, "({a} < 0)": lambda a: a < 0, "√{a}": np.sqrt, "1/√{a}": lambda a: 1 / np.sqrt(a),
    "{a}³": lambda a: a ** 3, "exp({a})": np.exp, "exp(-{a})": lambda a: np.exp(-a),
    "exp({a}/2)": lambda a: np.exp(a / 2), "exp(-{a}/2)": lambda a: np.exp(-a / 2), "sigmoid({a})": sigmoid,
    "1 - sigmoid({a})": lambda a: sigmoid(-a), "sigmoid({a})(1 - sigmoid({a}))": lambda a: sigmoid(a) * sigmoid(-a),
    "tanh({a})": np.tanh, "1 - tanh²({a})": lambda a: 1 - np.tanh(a) ** 2, "cos({a})": np.cos, "sin({a})": np.sin,
    "log({a})": np.log, "|{a}|": np.abs, "sign({a})": np.sign}
CONSTANTS = (1.0, -1.0, 2.0, -2.0, 0.5, -0.5)
RUNS = 450                                             # of forward, that a search may take
SCALES = re.compile("var|std|sig|log|lv|scale|prec")   # names of inputs that stand for a variance
HERE = tuple(__file__.rpartition("diagnose")[0] + folder for folder in ("diagnose", "verify"))

Path = Optional[int]                                   # which operand; None for all of them
Key = tuple[Any, int, Any]                             # where in the code, and which function of NumPy
Rule = Callable[["Call", int], Any]                    # of an operation, the so-manieth at its place


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
    """Keeps the operations of one forward pass; or, with rules for some of them by their number, changes these."""

    now: Watch

    def __init__(self, rules: Mapping[int, Callable[[Call], Any]] | None = None) -> None:
        self.rules, self.calls, self.count, self.busy = rules, list[tuple[Key, str, Call]](), 0, False

    def apply(self, function: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Return what a function gives."""
        result = derived(function, inputs, options)
        if self.busy or not isinstance(result, (np.ndarray, np.complexfloating)) or result.dtype.kind != "c":
            return dual(result, Watched)
        listed = len(inputs[0]) if isinstance(inputs[0], (list, tuple)) else 0
        call = Call(function, (*inputs[0], *inputs[1:]) if listed else inputs, listed, options, np.asarray(result).view(
            np.ndarray))
        if self.rules is None:
            self.calls.append((*place(function), call))
        elif self.count in self.rules:
            self.busy = True                           # what the rule computes is no operation of forward
            result = plain(self.rules[self.count](call))
            self.busy = False
        self.count += 1
        return dual(result, Watched)


def place(function: Any) -> tuple[Key, str]:
    """Return where in the code an operation stands, and its line."""
    frame = sys._getframe(3)
    while frame.f_back is not None and ("/numpy/" in frame.f_code.co_filename
                                        or frame.f_code.co_filename.startswith(HERE)):
        frame = frame.f_back
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
    return ((frame.f_code, frame.f_lasti, (getattr(function, "__self__", function), getattr(function, "__name__", ""))),
            f"line {frame.f_lineno}" + (f": {line}" if line else ""))


def outer(w: Reference, c: Case) -> str:
    """Return where forward combines (n, 1) with (n,) to (n, n), which is seldom meant; or an empty text."""
    Watch.now = Watch()
    complex_step(w.forward, c.inputs, {name: np.ones(a.shape) for name, a in c.inputs.items()}, Watched)
    for _, line, call in Watch.now.calls:
        shapes = sorted((np.shape(a) for a in call.inputs[:2]), key=len)
        if call.function in (np.add, np.subtract, np.multiply) and len(shapes) == 2 and len(shapes[0]) == 1 and (
                shapes[1] == (*shapes[0], 1)) and shapes[0][0] > 1:
            return f"shapes {shapes[1]} and {shapes[0]} are combined to {call.result.shape} in {line}"
    return ""


class Search:
    """The search for one wrong gradient."""

    def __init__(self, w: Wrong) -> None:
        self.w, self.runs = w, 0
        self.groups, self.lines, self.cuts = dict[Key, dict[int, Call]](), dict[Key, str](), dict[Any, Array]()
        Watch.now = Watch()
        complex_step(w.reference.forward, w.cases[0].inputs, {w.by: w.directions[0]}, Watched)
        for i, (key, line, call) in enumerate(Watch.now.calls):
            self.groups.setdefault(key, {})[i] = call  # an operation of a place, by its number in forward
            self.lines[key] = line
        self.paths = {key: sorted({i for call in group.values() for i, a in enumerate(call.inputs)
                                   if np.iscomplexobj(a) and np.any(np.imag(a))}) for key, group in self.groups.items()}
        self.rules: dict[int, Callable[[Call], Any]] = {}                      # that hold in any case
        for key, group in self.groups.items():         # what is subtracted from a softmax has no effect at all
            if self.call(key).function in (np.maximum.reduce, np.max) and w.close(self.cut(key, None), w.right[0]):
                self.rules.update(self.at(key, weighted(None, 0.0)))
                self.cuts.clear()

    def call(self, key: Key) -> Call:
        """Return the first operation at a place."""
        return next(iter(self.groups[key].values()))

    def at(self, key: Key, rule: Rule) -> dict[int, Callable[[Call], Any]]:
        """Return a rule for all operations at one place."""
        def of(member: int) -> Callable[[Call], Any]:
            return lambda call: rule(call, member)
        return {i: of(member) for member, i in enumerate(self.groups[key])}

    def run(self, c: Case, v: Array, rules: Mapping[int, Callable[[Call], Any]]) -> float:
        """Return the derivative along v with other derivatives of some operations."""
        Watch.now = Watch({**self.rules, **rules})
        found = complex_step(self.w.reference.forward, c.inputs, {self.w.by: v}, Watched)
        self.runs += 1
        if self.runs > RUNS:
            raise NotComplex("the search has taken its time")
        return float(sum((found[of] * dy).sum() for of, dy in c.dys.items()))

    def along(self, c: Case, rules: Mapping[int, Callable[[Call], Any]]) -> Array:
        """Return the derivatives along both directions."""
        return np.array([self.run(c, v, rules) for v in self.w.directions])

    def first(self, key: Key, rule: Rule) -> float:
        """Return the derivative along the first direction in the first case."""
        return self.run(self.w.cases[0], self.w.directions[0], self.at(key, rule))

    def fits(self, key: Key, rule: Rule) -> bool:
        """Whether a rule gives what backward claims, in every case."""
        return self.w.close(np.array([self.first(key, rule)]), self.w.given[0][:1]) and self.w.everywhere(
            lambda c: self.along(c, self.at(key, rule)))

    def cut(self, key: Key, path: Path) -> Array:
        """Return the derivatives in the first case without what comes through an operand, or through all of them."""
        if (key, path) not in self.cuts:
            self.cuts[key, path] = self.along(self.w.cases[0], self.at(key, weighted(path, 0.0)))
        return self.cuts[key, path]

    def constant(self, key: Key, none: float, rule: Callable[[float], Rule]) -> float | None:
        """Return the c, one of a few, for which rule(c) fits; the derivative is linear in c, and ``none`` for c = 0."""
        one, given = self.first(key, rule(1.0)), self.w.given[0][0]
        weight = (given - none) / (one - none) if abs(one - none) > 1e-9 * abs(given) else np.nan
        found = next((k for k in CONSTANTS if abs(weight - k) < 1e-6), None)
        return found if found is not None and self.fits(key, rule(found)) else None


def weighted(path: Path, c: float) -> Rule:
    """Return the rule that what comes through an operand, or through all, counts c times."""
    return lambda call, _: call.result + 1j * (c - 1) * (np.imag(call.result) if path is None else call.through(path))


def operation(w: Wrong) -> Reason | None:
    """Return which operation of forward has another derivative, if one explains the gradient."""
    if not w.reference.follows:
        return None
    try:
        search = Search(w)
        for hypothesis in (weights, two_missing, products, overwritten, formulas):
            reason = next(hypothesis(search), None)
            if reason is not None:
                return reason
    except (NotComplex, ValueError, IndexError, ArithmeticError, np.linalg.LinAlgError):
        pass
    return None


def where(s: Search, key: Key, path: Path = None) -> str:
    """Say which operation, and of several operands which."""
    of = f"operand {path + 1} of " if path is not None and len(s.paths[key]) > 1 else ""
    return f"{of}{getattr(key[2][0], '__name__', '')} in {s.lines[key]}"


def every(s: Search) -> Iterator[tuple[Key, Path]]:
    """Yield the operands that are moved; several of one operation can be missing together."""
    for key, paths in s.paths.items():
        inputs = s.call(key).inputs
        if len(paths) == len(inputs) == 2 and np.shape(inputs[0]) == np.shape(inputs[1]) and np.shares_memory(*inputs):
            yield key, None                            # a square: half of it is no path of its own
        else:
            yield from ((key, path) for path in (paths if len(paths) == 1 else [*paths, None] if paths else []))


def weights(s: Search) -> Iterator[Reason]:
    """What comes through an operand is missing, has the other sign, or counts 2 times, or 1/n."""
    found, right, given = list[tuple[float, Key, Path]](), s.w.right[0], s.w.given[0]
    for key, path in every(s):
        gap = right - s.cut(key, path)
        if np.abs(gap).min() > 1e-9 * np.abs(right).max():
            c = (given - s.cut(key, path)) / gap
            found += [(float(c[0]), key, path)] if abs(c[0] - c[1]) < 1e-6 * max(1, abs(c[0])) else []
    for c, key, path in sorted(found, key=lambda it: (abs(it[0]) > 1e-6, abs(it[0] + 1) > 1e-6)):
        at = f"what comes through {where(s, key, path)}"
        if abs(c) < 1e-6 and s.fits(key, weighted(path, 0.0)):
            yield Reason("missing", f"{at}, is not in it: one path of forward", "add what comes back on this path")
        elif abs(c + 1) < 1e-6 and s.fits(key, weighted(path, -1.0)):
            yield Reason("sign", f"{at} has its sign flipped")
        elif s.fits(key, weighted(path, c)):
            axis = over_an_axis(s.w, c, lambda case, v, less: s.run(
                case, v, s.at(key, weighted(path, less))))             # noqa: B023
            taken, due = ("sum", "mean") if abs(c) > 1 else ("mean", "sum")
            yield Reason("mean or sum" if axis else "factor", f"{at} is {nice(c)} times what it should be" + (
                f": a {taken} is taken where a {due} is due, {axis}" if axis else ""))


def two_missing(s: Search) -> Iterator[Reason]:
    """Two paths that do not meet are not there, such as those through a mean and a variance."""
    right, given, paths = s.w.right[0], s.w.given[0], list(every(s))
    cuts = np.array([s.cut(key, path) for key, path in paths])
    gaps = np.abs(cuts[:, None] + cuts - right - given).max(axis=2)            # (paths, paths)
    for i, j in np.argwhere(gaps <= s.w.fit * np.abs(given).max()):
        (one, path), (other, through) = paths[i], paths[j]
        if i < j and one != other and not s.w.close(cuts[i], right) and not s.w.close(cuts[j], right):
            rules = {**s.at(one, weighted(path, 0.0)), **s.at(other, weighted(through, 0.0))}
            if s.w.everywhere(lambda c: s.along(c, rules)):            # noqa: B023
                yield Reason("missing", f"two paths of forward are not in it, that through {where(s, one, path)}, and "
                             f"that through {where(s, other, through)}", "add what comes back on these paths")


def overwritten(s: Search) -> Iterator[Reason]:
    """Rounds of a loop, or rows that are taken twice, give to the same entries, and one overwrites the others."""
    wrong = np.flatnonzero(s.w.wrong(0)) if s.w.whole else np.zeros(0, int)
    entries = wrong[np.linspace(0, len(wrong) - 1, min(len(wrong), 8)).astype(int)]
    for key, path in [(key, path) for key, paths in s.paths.items() for path in paths]:
        call, n = s.call(key), len(s.groups[key])
        rows = np.shape(call.inputs[1]) if call.function is take and n == 1 and path == 0 else ()
        n = int(np.prod(rows)) if rows else n

        def only(i: int, path: int = path, rows: tuple[int, ...] = rows) -> Rule:          # one round, or one row
            def rule(call: Call, member: int) -> Any:
                if not rows:
                    return call.result if member == i else weighted(path, 0.0)(call, member)
                kept = (np.arange(np.prod(rows)) == i).reshape(rows + (1,) * (call.result.ndim - len(rows)))
                return np.where(kept, call.result, np.real(call.result))
            return rule

        @cache
        def given_by(k: int, entry: int, key: Key = key, n: int = n) -> list[float]:
            v = (np.arange(s.w.C[0].size) == entry).astype(float).reshape(s.w.shape)
            return [a for i in range(n) if (a := s.run(s.w.cases[k], v, s.at(key, only(i)))) != 0]

        for which, words in ((-1, "last"), (0, "first")) if 1 < n <= 100 else ():
            if len(entries) and all(len(given_by(k, e)) > 1 and s.w.close(
                    s.w.C[k].flat[e], np.array(given_by(k, e)[which])) for k in (0, 2) for e in entries):
                yield Reason("overwritten", f"its entries are sums of what comes {n} times from {where(s, key, path)}; "
                             f"each holds that of the {words} time alone", "add the contributions up: += for =, and "
                             "np.add.at(d, index, dy) where an index comes twice")


def formulas(s: Search) -> Iterator[Reason]:
    """An operation on single entries has the derivative of another formula."""
    for key, path in [(key, path) for key, paths in s.paths.items() for path in paths]:
        call = s.call(key)
        single = isinstance(call.function, np.ufunc) and call.function.signature is None       # entry by entry
        if not single or call.function in (np.add, np.subtract, np.negative) or (
                np.shape(call.inputs[path]) != call.result.shape):
            continue
        others = [p for p, a in enumerate(call.inputs) if p != path and isinstance(a, np.ndarray) and a.ndim]
        for name, p in (("its input", path), ("its output", None), *(("the other operand", p) for p in others[:1])):
            for text, g in FORMULAS.items():

                def rule(c: float, p: Path = p, g: Any = g, path: int = path) -> Rule:
                    def new(call: Call, _: int) -> Any:
                        a = np.broadcast_to(np.real(call.result if p is None else call.inputs[p]), call.result.shape)
                        return call.instead(path, c * np.real(plain(g(a))) * np.imag(call.inputs[path]))
                    return new

                c = s.constant(key, s.cut(key, path)[0], rule) if text != "1" or p == path else None
                if c is not None:
                    kind = "scale" if call.function is np.exp and SCALES.search(s.w.by) else (
                        "factor" if call.function in (np.multiply, np.true_divide) and text == "1" else "derivative")
                    yield Reason(kind, f"the derivative by {where(s, key, path)} is taken to be "
                                 f"{nice_formula(c, text, 'v')}" + (f", where v is {name}" if text != "1" else ""))


def nice_formula(c: float, text: str, name: str) -> str:
    """Return a formula with a constant before it."""
    return ("" if c == 1 else "-" if c == -1 else f"{c:g} · ") + text.replace("{a}", name)


def t(a: Array) -> Array:
    """Return matrices transposed."""
    return np.swapaxes(a, -1, -2)


PRODUCTS: dict[str, Callable[[Array, Array], Array]] = {               # for v b
    "the other operand transposed": lambda v, b: v @ t(b), "itself transposed": lambda v, b: t(v) @ b,
    "both transposed": lambda v, b: t(v) @ t(b), "the product transposed": lambda v, b: t(v @ b),
    "the product in the other order": lambda v, b: b @ v,
    "the other operand reshaped, where it should be transposed": lambda v, b: v @ t(b.reshape(t(b).shape))}


def products(s: Search) -> Iterator[Reason]:
    """A matrix product has a transposed operand, or its operands in the other order."""
    for key, path in [(key, path) for key, paths in s.paths.items() for path in paths]:
        call = s.call(key)
        if call.function not in (np.matmul, np.dot) or any(np.ndim(a) < 2 for a in call.inputs[:2]):
            continue
        for words, product in PRODUCTS.items():
            def rule(call: Call, _: int, path: int = path, product: Any = product) -> Any:
                v, b = np.imag(call.inputs[path]), np.real(call.inputs[1 - path])
                return call.instead(path, product(v, b) if path == 0 else t(product(t(v), t(b))))
            try:
                if s.fits(key, rule):
                    yield Reason("transposed", f"for {where(s, key, path)}, a transpose is missing, or too many: it is "
                                 f"what comes of {words}")
            except ValueError:                         # the shapes do not fit, or the product's is another
                continue
