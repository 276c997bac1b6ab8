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
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..layers import Array, sigmoid
from ..verify.derivative import COMPLEX_STEP, NotComplex, complex_step
from ..verify.dual import Dual, derived, dual, plain, value
from .evidence import Case, Reason, Reference, Wrong, case

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
EFFORT = 100_000                                       # operations that a search may take; a second, about
SCALES = re.compile("var|std|sig|log|lv|scale|prec")   # names of inputs that stand for a variance
NOISE = re.compile("^(eps|noise|mask)")
HERE = tuple(__file__.rpartition("diagnose")[0] + folder for folder in ("diagnose", "verify"))

Key = tuple[Any, int, Any]                             # where in the code, and which function of NumPy
Rule = Callable[["Call"], Any]


@dataclass
class Call:
    """One operation that ran: the function, what it was given, and what it gave, as complex arrays."""

    key: Key
    line: str
    member: int                                        # it is the so-manieth at its place
    function: Any
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    result: Any
    moved: list[tuple[int, ...]] = field(default_factory=list)         # operands that have a derivative

    def operand(self, path: tuple[int, ...]) -> Any:
        """Return an argument, or an entry of a list that is one."""
        return self.inputs[path[0]] if len(path) == 1 else self.inputs[path[0]][path[1]]

    def through(self, path: tuple[int, ...], function: Any = None) -> Array:
        """Return the derivative that comes through one operand alone."""
        inputs = [a if i != path[0] else a if len(path) == 1 else type(a)(
            b if j == path[1] else value(b) for j, b in enumerate(a)) for i, a in enumerate(self.inputs)]
        inputs = [a if i == path[0] else value(a) for i, a in enumerate(inputs)]
        return np.imag(derived(function or self.function, tuple(inputs), self.options))

    def weighted(self, path: tuple[int, ...], weight: float) -> Array:
        """Return the result with so much of what comes through one operand."""
        return self.result + 1j * (weight - 1) * self.through(path)

    def instead(self, path: tuple[int, ...], slope: Any) -> Array:
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

    def __init__(self, rules: Mapping[int, tuple[int, Rule]] | None = None) -> None:
        self.rules, self.calls, self.count, self.busy = rules, list[Call](), 0, False

    def apply(self, function: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Return what a function gives."""
        result = derived(function, inputs, options)
        if self.busy or not isinstance(result, (np.ndarray, np.complexfloating)) or result.dtype.kind != "c":
            return dual(result, Watched)
        self.count += 1
        if self.rules is None:
            self.calls.append(called(function, inputs, options, result, self.calls))
        elif self.count - 1 in self.rules:
            member, rule = self.rules[self.count - 1]
            self.busy = True                           # what the rule computes is no operation of forward
            result = plain(rule(Call((None, 0, None), "", member, function, inputs, options,
                                     np.asarray(result).view(np.ndarray))))
            self.busy = False
        return dual(result, Watched)


def called(function: Any, inputs: tuple[Any, ...], options: dict[str, Any], result: Any, before: list[Call]) -> Call:
    """Return the record of an operation: where in the code it stands, and what it was given."""
    frame = sys._getframe(3)
    while frame.f_back is not None and ("/numpy/" in frame.f_code.co_filename
                                        or frame.f_code.co_filename.startswith(HERE)):
        frame = frame.f_back
    key = frame.f_code, frame.f_lasti, (getattr(function, "__self__", function), getattr(function, "__name__", ""))
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
    return Call(key, f"line {frame.f_lineno}" + (f": {line}" if line else ""), sum(c.key == key for c in before),
                function, inputs, options, np.asarray(result).view(np.ndarray),
                [path for path, a in leaves(inputs) if np.iscomplexobj(a) and np.any(np.imag(a))])


def leaves(inputs: tuple[Any, ...]) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Yield the arguments, and the entries of those that are lists, with where they are."""
    for i, a in enumerate(inputs):
        if isinstance(a, (list, tuple)):
            yield from (((i, j), b) for j, b in enumerate(a) if isinstance(b, np.ndarray))
        else:
            yield (i,), a


def outer(w: Reference, c: Case) -> str:
    """Return where forward combines (n, 1) with (n,) to (n, n), which is seldom meant; or an empty text."""
    Watch.now = Watch()
    complex_step(w.forward, c.inputs, {name: np.ones(a.shape) for name, a in c.inputs.items()}, Watched)
    for call in Watch.now.calls:
        shapes = sorted((np.shape(a) for a in call.inputs[:2]), key=len)
        if call.function in (np.add, np.subtract, np.multiply) and len(shapes) == 2 and len(shapes[0]) == 1 and (
                shapes[1] == (*shapes[0], 1)) and shapes[0][0] > 1:
            return f"shapes {shapes[1]} and {shapes[0]} are combined to {call.result.shape} in {call.line}"
    return ""


class Search:
    """The search for one wrong gradient."""

    def __init__(self, w: Wrong) -> None:
        self.w, self.effort, self.groups = w, 0.0, dict[Key, list[Call]]()
        self.size = 1 + sum(a.size for a in w.cases[0].inputs.values()) / 2000
        self.rules: dict[int, tuple[int, Rule]] = {}   # that hold in any case
        self.case, self.before = w.cases[0], self.groups
        self.members: dict[Key, dict[int, int]] = {}   # of a place: its operations in the order of forward
        for i, call in enumerate(self.values(w.cases[0])):
            self.groups.setdefault(call.key, []).append(call)
            self.members.setdefault(call.key, {})[i] = call.member
        self.paths = {key: sorted({path for call in group for path in call.moved})
                      for key, group in self.groups.items()}
        self.cuts: dict[tuple[Key, Any], Array] = {}
        for key, group in self.groups.items():         # what is subtracted from a softmax has no effect at all
            if group[0].function in (np.maximum.reduce, np.max) and w.close(self.cut(key, None), w.right[0]):
                self.rules.update(self.at(key, weighted(None, 0.0)))
                self.cuts.clear()

    def values(self, c: Case) -> list[Call]:
        """Return the operations of a case."""
        Watch.now = Watch()
        complex_step(self.w.reference.forward, c.inputs, {self.w.by: self.w.directions[0]}, Watched)
        return Watch.now.calls

    def at(self, key: Key, rule: Rule) -> dict[int, tuple[int, Rule]]:
        """Return a rule for all operations at one place."""
        return {i: (member, rule) for i, member in self.members[key].items()}

    def run(self, c: Case, v: Array, rules: Mapping[int, tuple[int, Rule]]) -> float:
        """Return the derivative along v with other derivatives of some operations."""
        Watch.now = Watch({**self.rules, **rules})
        found = complex_step(self.w.reference.forward, c.inputs, {self.w.by: v}, Watched)
        self.effort += Watch.now.count * self.size
        return float(sum((found[of] * dy).sum() for of, dy in c.dys.items()))

    def along(self, c: Case, rules: Mapping[int, tuple[int, Rule]]) -> Array:
        """Return the derivatives along both directions."""
        self.case, self.before = c, {}                 # the values of this case, without the rules
        for call in self.values(c):
            self.before.setdefault(call.key, []).append(call)
        return np.array([self.run(c, v, rules) for v in self.w.directions])

    def first(self, key: Key, rule: Rule) -> float:
        """Return the derivative along the first direction in the first case."""
        self.case, self.before = self.w.cases[0], self.groups
        return self.run(self.w.cases[0], self.w.directions[0], self.at(key, rule))

    def fits(self, key: Key, rule: Rule) -> bool:
        """Whether a rule gives what backward claims, in every case."""
        return self.w.close(np.array([self.first(key, rule)]), self.w.given[0][:1]) and self.w.everywhere(
            lambda c: self.along(c, self.at(key, rule)))

    def cut(self, key: Key, path: tuple[int, ...] | None) -> Array:
        """Return the derivatives in the first case without what comes through an operand, or through all of them."""
        if (key, path) not in self.cuts:
            rules = self.at(key, weighted(path, 0.0))
            self.cuts[key, path] = np.array([self.run(self.w.cases[0], v, rules) for v in self.w.directions])
        return self.cuts[key, path]

    def constant(self, key: Key, none: float, rule: Callable[[float], Rule]) -> float | None:
        """Return the c, one of a few, for which rule(c) fits; the derivative is linear in c, and ``none`` for c = 0."""
        one, given = self.first(key, rule(1.0)), self.w.given[0][0]
        weight = (given - none) / (one - none) if abs(one - none) > 1e-9 * abs(given) else np.nan
        found = next((k for k in CONSTANTS if abs(weight - k) < 1e-6), None)
        return found if found is not None and self.fits(key, rule(found)) else None


def weighted(path: tuple[int, ...] | None, c: float) -> Rule:
    """Return the rule that what comes through an operand, or through all, counts c times."""
    return lambda call: np.real(call.result) + 1j * c * np.imag(call.result) if path is None else call.weighted(path, c)


def operation(w: Wrong) -> Reason | None:
    """Return which operation of forward has another derivative, if one explains the gradient."""
    if not w.reference.follows:
        return None
    try:
        search = Search(w)
        for hypothesis in (missing, two_missing, sign, some_of_a_loop, factors, products, stops, repeated, windows,
                           largest, weights, formulas, other_values):
            for key, group in search.groups.items():
                if search.paths[key]:
                    for reason in hypothesis(search, key, group):
                        return reason
                if search.effort > EFFORT:
                    return None
    except (NotComplex, ValueError, IndexError, ArithmeticError, np.linalg.LinAlgError):
        pass
    return None


def where(s: Search, call: Call, path: tuple[int, ...] | None = None) -> str:
    """Say which operation, and of several operands which."""
    name = getattr(call.key[2][0], "__name__", "")
    of = (f"the {('first', 'second', 'third')[min(path[0], 2)]} operand of " if path is not None
          and len(s.paths[call.key]) > 1 else "")
    return f"{of}{name} in {call.line}"


def nice(c: float) -> str:
    """Return a number as one would write it: a fraction of small numbers, if it is one."""
    for q in range(1, 13):
        if abs(c * q - round(c * q)) < 1e-6 and round(c * q) != 0:
            return f"{round(c * q)}" if q == 1 else f"{round(c * q)}/{q}"
    return f"1/{round(1 / c)}" if abs(1 / c - round(1 / c)) < 1e-6 * abs(1 / c) else f"{c:.6g}"


def every(s: Search, key: Key) -> list[tuple[int, ...] | None]:
    """Return the operands of a place that are moved; several of them can be missing together."""
    paths, inputs = list[Any](s.paths[key]), s.groups[key][0].inputs
    if len(paths) == len(inputs) == 2 and np.shape(inputs[0]) == np.shape(inputs[1]) and np.shares_memory(*inputs):
        return [None]                                  # a square: half of it is no path of its own
    return paths if len(paths) == 1 else [*paths, None]


def missing(s: Search, key: Key, group: list[Call]) -> Iterator[Reason]:
    """What comes through an operand is not there."""
    for path in every(s, key):
        if s.w.close(s.cut(key, path), s.w.given[0]) and s.fits(key, weighted(path, 0.0)):
            yield Reason("missing", f"what comes through one path of forward is not in it, that through "
                         f"{where(s, group[0], path)}", "add what comes back on this path")


def two_missing(s: Search, key: Key, group: list[Call]) -> Iterator[Reason]:
    """Two paths that do not meet are not there, such as those through a mean and a variance."""
    right, given = s.w.right[0], s.w.given[0]
    for path in every(s, key):
        rest = given - s.cut(key, path) + right        # what is left if the other path alone is missing
        for (other, through), left in list(s.cuts.items()):
            if other != key and s.w.close(left, rest) and not s.w.close(left, right):
                rules = {**s.at(key, weighted(path, 0.0)), **s.at(other, weighted(through, 0.0))}
                if s.w.everywhere(lambda c: s.along(c, rules)):        # noqa: B023
                    yield Reason("missing", "two paths of forward are not in it, that through "
                                 f"{where(s, s.groups[other][0], through)}, and that through "
                                 f"{where(s, group[0], path)}", "add what comes back on these paths")


def sign(s: Search, key: Key, group: list[Call]) -> Iterator[Reason]:
    """What comes through an operand has the other sign."""
    for path in every(s, key):
        if s.w.close(2 * s.cut(key, path) - s.w.right[0], s.w.given[0]) or len(group) > 1:
            if s.fits(key, weighted(path, -1.0)):
                yield Reason("sign", f"what comes through {where(s, group[0], path)} has its sign flipped")


def weights(s: Search, key: Key, group: list[Call]) -> Iterator[Reason]:
    """What comes through an operand is there with another weight, such as 2 or 1/n."""
    for path in every(s, key):
        gap = s.w.right[0] - s.cut(key, path)
        if np.abs(gap).min() <= 1e-9 * np.abs(s.w.right[0]).max():
            continue
        c = float(np.mean((s.w.given[0] - s.cut(key, path)) / gap))
        if s.fits(key, weighted(path, c)):
            at, n = where(s, group[0], path), length(s, key, lambda c: weighted(path, c), c)     # noqa: B023
            says = f"what comes through {at} is {nice(c)} times what it should be"
            if n:
                yield Reason("mean or sum", f"{says}: a {'sum' if abs(c) > 1 else 'mean'} is taken where a "
                             f"{'mean' if abs(c) > 1 else 'sum'} is due, over {n} entries")
            yield Reason("factor", says)


def length(s: Search, key: Key, rule: Callable[[float], Rule], c: float) -> int:
    """Return the length of an axis that the factor c comes from: with one row or column less it changes so."""
    n = round(max(abs(c), 1 / abs(c)))
    if n < 3 or abs(max(abs(c), 1 / abs(c)) - n) > 1e-6 * n:
        return 0
    for axis in (0, -1):
        for cut in shorter(s.w, n, axis):
            less = rule(c * (n - 1) / n if abs(c) > 1 else c * n / (n - 1))
            if s.w.close(cut.claims, np.array([s.run(cut.case, v, s.at(key, less)) for v in cut.directions])):
                return n
    return 0


@dataclass
class Shorter:
    """A case with an axis shorter by one, and what backward claims there along two directions."""

    case: Case
    claims: Array
    directions: list[Array]


def shorter(w: Wrong, n: int, axis: int) -> Iterator[Shorter]:
    """Yield cases in which an axis of length n is shorter by one, as far as forward and backward can do with it."""
    inputs, first = w.cases[0].inputs, next(iter(w.cases[0].inputs))
    having = [name for name, a in inputs.items() if a.ndim and a.shape[axis] == n]
    for names in ([first] if first in having else [], [m for m in having if inputs[m].ndim > 1], having):
        cut = {m: (a[:-1] if axis == 0 else a[..., :-1]).copy() if m in names else a for m, a in inputs.items()}
        try:
            c = case(w.pair, cut)
        except Exception:                              # a shape that forward or backward cannot do with
            continue
        if names and w.by in c.claimed:
            v = [v[tuple(map(slice, cut[w.by].shape))] for v in w.directions]
            yield Shorter(c, np.array([(c.claimed[w.by] * u).sum() for u in v]), v)


def some_of_a_loop(s: Search, key: Key, group: list[Call]) -> Iterator[Reason]:
    """Of an operation in a loop, some rounds are missing."""
    n = len(group)
    for path in s.paths[key] if n > 1 else []:
        rounds = range(n)
        for kept, words in (({n - 1}, "the last round alone"), ({0}, "the first round alone"),
                            ({*rounds[:-1]}, "all rounds but the last"), ({*rounds[1:]}, "all rounds but the first")):
            def rule(call: Call, kept: set[int] = kept, path: tuple[int, ...] = path) -> Any:
                return call.result if call.member in kept else call.weighted(path, 0.0)

            if s.fits(key, rule):
                one = len(kept) == 1
                yield Reason("overwritten" if one else "missing", f"{where(s, group[0], path)} runs {n} times, and its "
                             f"gradient is a sum over them; it is that of {words}",
                             "add the contributions up: +=, not =" if one else "")


def factors(s: Search, key: Key, group: list[Call]) -> Iterator[Reason]:
    """Of a product or a quotient, the other operand is missing."""
    if group[0].function in (np.multiply, np.true_divide) and all(np.ndim(a) for a in group[0].inputs):
        yield from of_entries(s, key, group, {"1": FORMULAS["1"]})


def formulas(s: Search, key: Key, group: list[Call]) -> Iterator[Reason]:
    """An operation on single entries has the derivative of another formula."""
    if group[0].function not in (np.add, np.subtract, np.negative):
        yield from of_entries(s, key, group, FORMULAS)


def of_entries(s: Search, key: Key, group: list[Call], formulas: dict[str, Callable[[Array], Any]]) -> Iterator[Reason]:
    """Try formulas for the derivative of an operation on single entries."""
    call = group[0]
    for path in s.paths[key]:
        if np.shape(call.operand(path)) != call.result.shape or not call.result.size or not elementwise(call.function):
            continue
        others = [p for p, a in leaves(call.inputs) if p != path and isinstance(a, np.ndarray) and a.ndim]
        for name, p in (("its input", path), ("its output", None), *(("the other operand", p) for p in others[:1])):
            for text, g in formulas.items():
                if text == "1" and p != path:
                    continue

                def rule(c: float, p: Any = p, g: Any = g, path: tuple[int, ...] = path) -> Rule:
                    def new(call: Call) -> Any:
                        a = np.broadcast_to(np.real(call.result if p is None else call.operand(p)), call.result.shape)
                        return call.instead(path, c * np.real(plain(g(a))) * np.imag(call.operand(path)))
                    return new

                c = s.constant(key, s.cut(key, path)[0], rule)
                if c is None:
                    continue
                at, formula = where(s, call, path), nice_formula(c, text)
                if call.function in (np.multiply, np.true_divide) and text == "1":
                    yield Reason("factor", f"the other operand, a factor, is missing in the derivative by {at}"
                                 + (f": {formula} is taken for it" if c != 1 else ""))
                kind = "scale" if call.function is np.exp and SCALES.search(s.w.by) else "derivative"
                yield Reason(kind, f"the derivative by {at} is taken to be {formula}" + (
                    f", where v is {name}" if text != "1" else ""), "σ = exp(logvar / 2), σ² = exp(logvar)"
                    if kind == "scale" else "")


def nice_formula(c: float, text: str) -> str:
    """Return a formula with a constant before it."""
    return ("" if c == 1 else "-" if c == -1 else f"{c:g} · ") + text.replace("{a}", "v")


def elementwise(function: Any) -> bool:
    """Whether each entry of the result comes from one entry of each operand."""
    return isinstance(function, np.ufunc) and function.signature is None or function in (np.where, np.clip)


def products(s: Search, key: Key, group: list[Call]) -> Iterator[Reason]:
    """A matrix product has a transposed operand, or its operands in the other order."""
    call = group[0]
    if call.function not in (np.matmul, np.dot) or any(np.ndim(a) < 2 for a in call.inputs[:2]):
        return

    def t(a: Array) -> Array:
        return np.swapaxes(a, -1, -2)

    variants: dict[str, Callable[[Array, Array], Array]] = {
        "the other operand transposed": lambda v, b: v @ t(b), "itself transposed": lambda v, b: t(v) @ b,
        "both transposed": lambda v, b: t(v) @ t(b), "the product in the other order": lambda v, b: b @ v,
        "the product transposed": lambda v, b: t(v @ b),
        "the product in the other order, and the other operand transposed": lambda v, b: t(b) @ v,
        "the product in the other order, and itself transposed": lambda v, b: b @ t(v)}
    for path in s.paths[key]:
        for words, product in variants.items():
            def rule(call: Call, path: tuple[int, ...] = path, product: Any = product) -> Any:
                v, b = np.imag(call.operand(path)), np.real(call.inputs[1 - path[0]])
                return call.instead(path, product(v, b) if path[0] == 0 else t(product(t(v), t(b))))
            try:
                fits = s.fits(key, rule)
            except ValueError:                         # the shapes do not fit, or the product's is another
                continue
            if fits:
                yield Reason("transposed", f"for {where(s, call, path)}, a transpose is missing, or too many: it is "
                             f"what comes of {words}")


def stops(s: Search, key: Key, group: list[Call]) -> Iterator[Reason]:
    """The gradient is by a value on the way, not by the input."""
    call, w = group[0], s.w
    if len(group) > 1 or call.result.shape != w.shape:
        return

    def along(c: Case) -> Array:
        found = []
        for v in w.directions:
            Watch.now = Watch(s.at(key, lambda call: np.real(call.result) + 1j * COMPLEX_STEP * v))        # noqa: B023
            slopes = complex_step(w.reference.forward, c.inputs, {w.by: 0 * v}, Watched)
            found.append(sum((slopes[of] * dy).sum() for of, dy in c.dys.items()))
        return np.array(found)

    if w.everywhere(along):
        yield Reason("derivative", f"it is the gradient by a value on the way, the result of {where(s, call)}: the "
                     f"derivative from {w.by} to there is missing")


def repeated(s: Search, key: Key, group: list[Call]) -> Iterator[Reason]:
    """Rows that are taken twice get back one gradient alone."""
    if group[0].function is not take:
        return

    def rule(call: Call) -> Any:
        a, index = call.operand((0,)), call.inputs[1]
        order = np.zeros(a.shape, int)
        numbers = np.arange(call.result.size).reshape(call.result.shape)
        order[index] = numbers                         # the last one stays, as in d[index] += dy
        return np.where(order[index] == numbers, call.result, np.real(call.result))

    if s.fits(key, rule):
        yield Reason("overwritten", f"of {where(s, group[0])}, some rows are taken more than once, and only the last "
                     "of their gradients is there: d[index] += dy adds each index once",
                     "np.add.at(d, index, dy), which adds them all")


def windows(s: Search, key: Key, group: list[Call]) -> Iterator[Reason]:
    """Windows of an array overlap, and the last gradient that is written to an entry overwrites the others."""
    if len(group) < 2 or len(group) > 400:
        return
    for path in s.paths[key]:
        base = [c.operand(path) for c in group]
        roots = {root(a).__array_interface__["data"]: root(a) for a in base}
        if len(roots) != 1 or not next(iter(roots.values())).flags.c_contiguous:
            continue
        array = next(iter(roots.values()))
        numbers = np.arange(array.size)
        first = array.__array_interface__["data"][0]   # 16 bytes a number, and 8 in the array of their places
        seen = [np.ndarray(a.shape, int, numbers, (a.__array_interface__["data"][0] - first) // 2,
                           tuple(k // 2 for k in a.strides)) for a in base]
        for order, words in ((1, "last"), (-1, "first")):
            owner = np.full(array.size, -1)
            for i in list(range(len(group)))[::order]:
                owner[seen[i].ravel()] = i

            def rule(call: Call, path: tuple[int, ...] = path, owner: Array = owner) -> Any:
                a = call.operand(path)
                keep = np.where(owner[seen[call.member]] == call.member, a, np.real(a))      # noqa: B023
                inputs = tuple(keep if i == path[0] else b for i, b in enumerate(call.inputs))
                other = Call(call.key, "", 0, call.function, inputs, call.options, call.result)
                return call.instead(path, other.through(path))

            if len(path) == 1 and s.fits(key, rule):
                yield Reason("overwritten", f"{where(s, group[0], path)} is given windows that overlap, and each entry "
                             f"has the gradient of its {words} window alone", "add the contributions up: +=, not =")


def largest(s: Search, key: Key, group: list[Call]) -> Iterator[Reason]:
    """The gradient of a maximum goes to all entries, not to the largest."""
    def rule(call: Call) -> Any:
        return np.real(call.result) + 1j * np.add.reduce(np.imag(call.inputs[0]), **{
            **call.options, **({} if len(call.inputs) < 2 else {"axis": call.inputs[1]})})

    if group[0].function in (np.maximum.reduce, np.minimum.reduce) and s.fits(key, rule):
        yield Reason("derivative", f"the gradient of {where(s, group[0])} is passed on to all entries, and belongs to "
                     "the largest alone")


def root(a: Array) -> Array:
    """Return the array that owns the memory of a view."""
    while isinstance(a.base, np.ndarray):
        a = a.base
    return a.view(np.ndarray)


def other_values(s: Search, key: Key, group: list[Call]) -> Iterator[Reason]:
    """A product has, for its other factor, a value from another place or another round."""
    if group[0].function not in (np.matmul, np.dot, np.multiply):
        return
    for path in [path for path in s.paths[key] if len(path) == 1]:
        other = 1 - path[0]
        shape = np.shape(group[0].inputs[other])
        sources = [(key, other, step, f"that of the round {'before' if step < 0 else 'after'}") for step in (-1, 1)
                   if len(group) > 1]
        sources += [((name, 0, None), -1, 0, name) for name, a in s.w.cases[0].inputs.items() if a.shape == shape]
        sources += [(k, -1, 0, f"the result of {where(s, calls[0])}") for k, calls in s.groups.items()
                    if len(calls) == len(group) and calls[0].result.shape == shape]
        for source, which, step, words in sources if shape else []:
            def rule(call: Call, source: Key = source, which: int = which, step: int = step, path: Any = path) -> Any:
                if source[0] in s.case.inputs:
                    a = s.case.inputs[source[0]]
                else:
                    calls = s.before.get(source, [])
                    i = min(max(call.member + step, 0), len(calls) - 1)
                    a = np.real(calls[i].result if which < 0 else calls[i].inputs[which])
                v = np.imag(call.operand(path))
                return call.instead(path, np.imag(derived(call.function, (1j * v, a) if path[0] == 0 else (a, 1j * v),
                                                          call.options)))

            if s.fits(key, rule):
                yield Reason("noise" if NOISE.search(str(source[0])) else "point",
                             f"for {where(s, group[0], path)}, backward takes another value for the other operand: "
                             + words)
