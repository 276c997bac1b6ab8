"""The source of a function as a list of statements, each with the names that it assigns.

The page shows each statement as one step: an assignment, a ``return``, or the head of an ``if`` or ``for``, whose body
follows.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

from .equations import reference


@dataclass
class Statement:
    """One statement: its lines, and what it assigns."""

    node: ast.stmt
    first: int                                         # lines, counted from 1 in the file
    last: int
    targets: list[ast.expr]
    body: tuple[int, int] | None                       # of a loop: its lines


@dataclass
class Function:
    """A function of the math: its name (``"gaussian.sample"``, ``"layers.Dense.backward"``), and its statements."""

    name: str
    doc: str
    lines: list[str]                                   # of its whole file
    statements: list[Statement]
    first: int

    def at(self, line: int) -> Statement | None:
        """Return the statement on a line; the innermost, if they are nested."""
        found = [s for s in self.statements if s.first <= line <= s.last]
        return found[-1] if found else None

    def reference(self, statement: Statement) -> tuple[str, str] | None:
        """Return the number and the case of the equation in a statement's comment."""
        return reference(self.lines[statement.last - 1].partition("#")[2])

    def returns(self) -> list[str]:
        """Return the names of what the function returns, from its docstring; or the function's own name."""
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
def read(function: FunctionType, code: CodeType) -> Function | None:
    """Return a function's source as statements, or None if there is no source."""
    source = "".join(linecache.getlines(code.co_filename))
    node = functions(source).get((code.co_name, code.co_firstlineno))
    name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__.rpartition('<locals>.')[2]}"
    return None if node is None else Function(
        name, inspect.getdoc(function) or "", source.split("\n"), list(statements(node.body)), node.lineno)


@lru_cache(maxsize=None)
def functions(source: str) -> dict[tuple[str, int], ast.FunctionDef]:
    """Return the functions of a file, by name and first line."""
    return {(node.name, min([node.lineno, *(part.lineno for part in node.decorator_list)])): node
            for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)}


def statements(body: list[ast.stmt]) -> Iterator[Statement]:
    """Yield the statements of a body in their order, nested ones after their head; docstrings are left out."""
    for child in body:
        if not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)):
            head = child.test if isinstance(child, ast.If) else child.iter if isinstance(child, ast.For) else child
            loop = (child.lineno + 1, child.end_lineno or 0) if isinstance(child, ast.For) else None
            yield Statement(child, child.lineno, head.end_lineno or 0, targets(child), loop)
            yield from statements(getattr(child, "body", []))
            yield from statements(getattr(child, "orelse", []))


def targets(node: ast.stmt) -> list[ast.expr]:
    """Return the targets of a statement, one by one; ``out=`` of a call is one."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return [k.value for k in node.value.keywords if k.arg == "out"]
    return flat(getattr(node, "targets", [getattr(node, "target", ast.Tuple([]))]))


def flat(nodes: list[ast.expr]) -> list[ast.expr]:
    """Return the entries of tuples one by one."""
    return [entry for node in nodes for entry in (flat(node.elts) if isinstance(node, ast.Tuple) else [node])]


def registry(model: Any, modules: list[ModuleType]) -> dict[CodeType, FunctionType]:
    """Return the functions of the math by their code: those of these modules, and of the classes of a model's parts."""
    parts = [model, model.likelihood, *(layer for net in model.networks.values() for layer in net.layers.values())]
    classes = {cls for part in parts for cls in type(part).__mro__}
    names = {module.__name__ for module in modules} | {cls.__module__ for cls in classes}
    classes |= {cls for module in modules for cls in vars(module).values() if inspect.isclass(cls)}
    found = [getattr(value, "fget", value) for space in (*modules, *classes) for value in vars(space).values()]
    return {f.__code__: f for f in found if isinstance(f, FunctionType) and f.__module__ in names}
