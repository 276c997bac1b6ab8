"""The source of a function as a list of statements, each with the names that it makes and uses.

A statement is what the page shows as one line of the table: an assignment, a
``return``, or the head of an ``if`` or ``for``, whose body follows it.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any

from .equations import reference


@dataclass
class Statement:
    """One statement: where it stands, and what it makes."""

    node: ast.stmt
    first: int                                         # lines, counted from 1 in the file
    last: int
    targets: list[ast.expr] = field(default_factory=list)
    body: tuple[int, int] | None = None                # of a loop: its lines

    def unfilled(self, label: str) -> bool:
        """Whether what has this name is an array of np.empty, which holds nothing yet."""
        value = getattr(self.node, "value", None)
        if isinstance(value, ast.Tuple) and len(value.elts) == len(self.targets):
            value = next((v for t, v in zip(self.targets, value.elts) if ast.unparse(t) == label), value)
        return value is not None and "np.empty(" in ast.unparse(value)


@dataclass
class Function:
    """A function of the math: its name (``"gaussian.sample"``, ``"layers.Dense.backward"``), and its statements."""

    name: str
    function: FunctionType
    lines: list[str]                                   # of its whole file
    statements: list[Statement]
    first: int

    @property
    def doc(self) -> str:
        """Return its docstring."""
        return inspect.getdoc(self.function) or ""

    def at(self, line: int) -> Statement | None:
        """Return the statement on a line; of several, one within another, the inner."""
        found = [s for s in self.statements if s.first <= line <= s.last]
        return found[-1] if found else None

    def reference(self, statement: Statement) -> tuple[str, str] | None:
        """Return the number of the equation in a statement's comment, and the word for its case."""
        return reference(self.lines[statement.last - 1].partition("#")[2])

    def returns(self) -> list[str]:
        """Return the names of what the function returns, as its docstring has them; else its own."""
        listed = re.search(r"Returns\n-+\n((?:.+\n?)+)", self.doc)
        if listed:
            names = re.findall(r"^([\w, ]+) : ", listed.group(1), re.MULTILINE)
            found = [name.strip() for group in names for name in group.split(",")]
            if found:
                return found
        said = re.search(r"\b(?:[Rr]eturn|Draw) (.*?)(?::|;| ~| \(|, the |, of | of |\.$|\. | if |$)",
                         self.doc.split("\n\n")[0].replace("\n", " "))
        names = []
        for part in re.split(r", and |, | and ", said.group(1)) if said else []:
            if not re.match(r"[^\W\d]\w*( =|$)", part):
                break
            names.append(part.partition(" ")[0])
        if names:
            return names
        last = self.name.rpartition(".")[2]
        return ["dx"] if last == "backward" else [last]


@lru_cache(maxsize=None)
def read(name: str, function: FunctionType, code: CodeType) -> Function | None:
    """Return a function's source in statements, or None if the source is not there."""
    lines = [line.rstrip("\n") for line in linecache.getlines(code.co_filename)]
    try:
        tree = ast.parse("\n".join(lines))
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if first == code.co_firstlineno:
                return Function(name, function, lines, list(statements(node)), node.lineno)
    return None


def statements(node: Any) -> Iterator[Statement]:
    """Yield the statements of a body in their order, those within others after them; docstrings are none."""
    for child in node.body:
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue
        if isinstance(child, (ast.If, ast.For)):
            head = child.test if isinstance(child, ast.If) else child.iter
            made = [child.target] if isinstance(child, ast.For) else []
            body = (child.body[0].lineno, last_line(child.body)) if isinstance(child, ast.For) else None
            yield Statement(child, child.lineno, head.end_lineno or child.lineno, flat(made), body)
            yield from statements(child)
            if child.orelse:
                yield from statements(ast.Module(child.orelse, []))
        else:
            made = targets(child)
            yield Statement(child, child.lineno, child.end_lineno or child.lineno, made)


def last_line(body: list[ast.stmt]) -> int:
    """Return the last line of a body."""
    return max(child.end_lineno or child.lineno for child in body)


def targets(node: ast.stmt) -> list[ast.expr]:
    """Return what a statement assigns to, one by one; ``out=`` of a call is assigned to as well."""
    if isinstance(node, ast.Assign):
        return flat(node.targets)
    if isinstance(node, (ast.AnnAssign, ast.AugAssign)):
        return flat([node.target])
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return [k.value for k in node.value.keywords if k.arg == "out"]
    return []


def flat(nodes: list[ast.expr]) -> list[ast.expr]:
    """Return the entries of tuples one by one."""
    return [entry for node in nodes for entry in (flat(node.elts) if isinstance(node, ast.Tuple) else [node])]


def registry(model: Any, modules: list[Any]) -> dict[CodeType, tuple[str, FunctionType]]:
    """Return the functions of the math by their code: those of these modules, and of the classes that a model is of."""
    spaces: list[tuple[str, Any]] = [(m.__name__.rpartition(".")[2], m) for m in modules]
    parts = [model, model.likelihood, *(layer for net in model.networks.values() for layer in net.layers.values())]
    classes = {cls for part in parts for cls in type(part).__mro__ if cls is not object}
    for short, module in spaces:
        classes |= {c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__}
    found: dict[CodeType, tuple[str, FunctionType]] = {}
    for short, module in spaces:
        for name, value in vars(module).items():
            if isinstance(value, FunctionType) and value.__module__ == module.__name__:
                found[value.__code__] = (f"{short}.{name}", value)
    for cls in classes:
        short = f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}"
        for name, value in vars(cls).items():
            value = value.fget if isinstance(value, property) else value
            if isinstance(value, FunctionType) and value.__code__.co_filename != "<string>":
                found[value.__code__] = (f"{short}.{name}", value)
    return found
