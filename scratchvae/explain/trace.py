"""Records one pass through a model: every statement of the math that ran, what it made and what it used.

Python's own tracing (``sys.settrace``) reports each line before it runs, so the math needs no change.  Two names are
the same array if memory, shape, strides and type agree; so the page can show every place where an array is used.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from types import CodeType, FrameType, FunctionType
from typing import Any, TypeGuard

import numpy as np

from ..layers import Array
from ..objective import ELBO, ELBOGradient
from .source import Function, Statement, read

Key = tuple[Any, ...]
PARTS = ("dreconstruction", "dprior_matching", "dconsistency")             # of an ELBOGradient


@dataclass
class Made:
    """An array that a statement made: its name there, its key, and a copy of its values."""

    label: str
    key: Key
    value: Array


@dataclass(eq=False)
class Visit:
    """A statement that ran."""

    call: Call
    statement: Statement
    made: list[Made] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)   # "t = 2"
    used: list[tuple[ast.expr, Key]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    end: int = 0                                       # its place in the order in which statements ended
    before: dict[str, Any] = field(default_factory=dict)       # the variables, as they were before it ran
    values: list[tuple[str, Any]] = field(default_factory=list)        # what it assigned or returned, as it was then

    def new(self) -> list[Made]:
        """Return what it made; for a ``return``, without the call's arguments and what earlier statements made."""
        if not isinstance(self.statement.node, ast.Return):
            return self.made
        earlier = {key_of(a) for a in self.call.args.values() if is_array(a)}
        for other in self.call.visits[:self.call.visits.index(self)]:
            earlier |= {made.key for made in other.made}
        return [made for made in self.made if made.key not in earlier]


@dataclass(eq=False)
class Call:
    """One call of a function of the math."""

    index: int
    function: Function
    owner: Any                                         # its self, or None
    args: dict[str, Any]
    parent: Visit | None
    step: int | None                                   # its number among the steps of verify, if it is one
    start: int                                         # how many statements had ended when it began
    visits: list[Visit] = field(default_factory=list)
    result: Any = None
    values: Any = None                                 # the same, with copies of the arrays
    locals: dict[str, Any] = field(default_factory=dict)       # its variables at the end, and what it returned

    def cached(self) -> bool:
        """Whether it returned a pair whose second entry is a cache, which its docstring does not name."""
        return isinstance(self.result, tuple) and len(self.result) == 2 and (
            len(leaves(self.result[0])) == len(self.function.returns()))


def leaves(value: Any) -> list[Any]:
    """Return the entries of tuples one by one."""
    return [leaf for entry in value for leaf in leaves(entry)] if isinstance(value, tuple) else [value]


def is_array(value: Any) -> TypeGuard[Array]:
    """Whether this is an array of real or complex numbers."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "fc"


def key_of(array: Array) -> Key:
    """Return what identifies an array: its address, shape, strides and type."""
    return array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str


def label_of(node: ast.expr, space: dict[str, Any], names: dict[str, Any]) -> str:
    """Return an expression as text, with its indices as numbers: ``z[0]`` for ``z[t - 1]``."""
    if isinstance(node, ast.Subscript):
        entries = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        said = [str(value) if isinstance(value := value_of(e, space, names), int) else ast.unparse(e) for e in entries]
        return f"{label_of(node.value, space, names)}[{', '.join(said)}]"
    return ast.unparse(node)


@lru_cache(maxsize=None)
def code_of(node: ast.expr) -> CodeType:
    """Return an expression as code; it is parsed again, as the node may be the target of an assignment."""
    return compile(ast.unparse(node), "a line", "eval")


def value_of(node: ast.expr, space: dict[str, Any], names: dict[str, Any]) -> Any:
    """Return the value of a name, an attribute or an entry; None if there is none yet."""
    try:
        return eval(code_of(node), space, names)
    except Exception:                                  # not there before the statement has run
        return None


class Trace:
    """The calls of one pass; `run` adds a call and all calls within it."""

    def __init__(self, known: dict[CodeType, FunctionType]) -> None:
        self.known = known
        self.calls: list[Call] = []
        self.open: list[tuple[FrameType, Call]] = []
        self.alive: list[Any] = []                     # arrays are kept, so that no address is used twice
        self.numbers: dict[Key, int] = {}              # of each array
        self.clock = 0
        self.unwanted: set[Key] = set()                # what backward returned with input_gradient=False

    def run(self, function: Callable[..., Any], *args: Any, **options: Any) -> tuple[Any, Call]:
        """Call a function; return what it returns, and the record of the call."""
        first, before = len(self.calls), sys.gettrace()
        sys.settrace(self.enter)
        try:
            result = function(*args, **options)
        finally:
            sys.settrace(before)
        return result, self.calls[first]

    def enter(self, frame: FrameType, event: str, arg: Any) -> Any:
        """Begin the record of a call, if a function of the math calls it, or `run` does."""
        if event != "call" or frame.f_code not in self.known:
            return None
        function = read(self.known[frame.f_code], frame.f_code)
        if function is None:
            return None
        names = frame.f_code.co_varnames[:frame.f_code.co_argcount]
        args = {name: frame.f_locals[name] for name in names if name != "self"}
        parent, step, back = None, None, frame.f_back
        if back is not None and back.f_code.co_name == "wrapped":              # verify/steps.py stands between
            step, back = back.f_locals.get("step"), back.f_back
        if self.open:
            caller, outer = self.open[-1]
            if back is not caller:                     # called from a comprehension, or from other code
                return None
            parent = outer.visits[-1]
        call = Call(len(self.calls), function, frame.f_locals.get("self"), args, parent,
                    step and step.index, self.clock)
        for value in args.values():
            self.note(value)
        self.calls.append(call)
        if parent is not None:
            parent.calls.append(call)
        self.open.append((frame, call))
        return self.watch

    def note(self, value: Any) -> None:
        """Give an array a number, and keep it alive."""
        self.alive.append(value)
        for entry in (value if isinstance(value, (list, tuple)) else [value]):
            if is_array(entry):
                self.numbers.setdefault(key_of(entry), len(self.numbers) + 1)

    def watch(self, frame: FrameType, event: str, arg: Any) -> Any:
        """Follow the lines of a call."""
        call = self.open[-1][1]
        if event == "line":
            statement = call.function.at(frame.f_lineno)
            if statement is not None and not (call.visits and call.visits[-1].statement is statement):
                self.finish(frame, call)
                visit = Visit(call, statement)
                visit.used = self.uses(statement, frame)
                visit.before = copied(frame.f_locals)
                call.visits.append(visit)
        elif event == "return":
            call.result, call.values = arg, copied(arg)
            self.alive.append(arg)
            if call.args.get("input_gradient") is False and is_array(arg):
                self.unwanted.add(key_of(arg))
            self.finish(frame, call, arg)
            self.open.pop()
            call.locals = dict(frame.f_locals)
            if call.visits:
                call.locals.update((label, value) for label, value in call.visits[-1].values if label.isidentifier())
            ran = zip(call.visits, [*call.visits[1:], None])                   # without the ends of loops
            call.visits = [v for v, after in ran if v.statement.body is None or after is not None
                           and v.statement.body[0] <= after.statement.first <= v.statement.body[1]]
        return self.watch

    def finish(self, frame: FrameType, call: Call, result: Any = None) -> None:
        """Record what the last statement made."""
        if not call.visits or call.visits[-1].end:
            return
        visit, space, names = call.visits[-1], frame.f_globals, frame.f_locals
        self.clock += 1
        visit.end = self.clock
        found = [(label_of(t, space, names), value_of(t, space, names)) for t in visit.statement.targets]
        if isinstance(visit.statement.node, ast.Return):
            found = returned(visit.statement.node.value, result, call.function.returns())
        found += [("elbo.total", value.total) for _, value in found if isinstance(value, ELBO)]
        found += [(part, getattr(d, part)) for _, d in found if isinstance(d, ELBOGradient) for part in PARTS]
        visit.values = [(label, copied(value)) for label, value in found]
        empty = "np.empty(" in ast.unparse(visit.statement.node)               # no numbers yet
        for label, value in found:
            self.alive.append(value)
            if is_array(value) and value.size:
                known = key_of(value) in self.numbers
                a_part = label not in PARTS or not known and value.base is None
                if a_part and "cache" not in label and key_of(value) not in self.unwanted and (known or not empty):
                    self.note(value)
                    visit.made.append(Made(label, key_of(value), value.copy()))
            elif isinstance(value, np.generic) and value.dtype.kind in "fc":
                visit.made.append(Made(label, ("number", self.clock), np.asarray(value)))
            elif isinstance(value, int) and not isinstance(value, bool):
                visit.numbers.append(f"{label} = {value}")
        visit.used += [(t, key_of(v)) for t in visit.statement.targets
                       if is_array(v := value_of(t, space, names)) and key_of(v) in self.numbers]

    def uses(self, statement: Statement, frame: FrameType) -> list[tuple[ast.expr, Key]]:
        """Return the expressions in a statement whose values are known arrays."""
        found: list[tuple[ast.expr, Key]] = []
        inside: set[int] = set()
        for node, parts in named(statement.node):
            if id(node) not in inside:
                value = value_of(node, frame.f_globals, frame.f_locals)
                if is_array(value) and key_of(value) in self.numbers:
                    found.append((node, key_of(value)))
                    inside |= parts
        return found


@lru_cache(maxsize=None)
def named(statement: ast.stmt) -> list[tuple[ast.expr, set[int]]]:
    """Return the expressions in a statement that may be arrays, outer ones first, with the parts of each; no calls."""
    head = (statement.test if isinstance(statement, ast.If) else statement.iter if isinstance(statement, ast.For) else
            statement)
    walked = list(ast.walk(head))
    stored = {id(part) for node in walked if isinstance(getattr(node, "ctx", None), ast.Store)
              for part in ast.walk(node)}
    return [(node, set(map(id, ast.walk(node)))) for node in walked
            if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)) and id(node) not in stored
            and not any(isinstance(part, ast.Call) for part in ast.walk(node))]


def copied(value: Any) -> Any:
    """Return it with its arrays as copies."""
    if isinstance(value, dict):
        return {name: copied(entry) for name, entry in value.items()}
    if isinstance(value, tuple):
        return tuple(map(copied, value))
    return value.copy() if isinstance(value, np.ndarray) else value


def returned(node: ast.expr | None, value: Any, names: list[str]) -> list[tuple[str, Any]]:
    """Return what a function returned, entry by entry, with names: those in the code, or in the docstring."""
    if isinstance(node, ast.Tuple) and isinstance(value, tuple) and len(value) == len(node.elts):
        return [pair for i, (e, v) in enumerate(zip(node.elts, value))
                for pair in returned(e, v, names if i == 0 else names[i:])]
    if isinstance(node, (ast.Name, ast.Attribute)):
        return [(ast.unparse(node), value)]
    if isinstance(value, tuple):
        return [(names[i] if i < len(names) else "cache", v) for i, v in enumerate(value)]
    return [(names[0] if names else "cache", value)]
