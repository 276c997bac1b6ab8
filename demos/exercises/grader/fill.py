"""The file of an exercise as text: which bodies are missing, and the bodies of the library put in their places."""

from __future__ import annotations

import ast
import inspect
import textwrap
from types import CodeType, FunctionType, ModuleType

from grader.tasks import HERE, Exercise


def function(tree: ast.Module, target: str) -> ast.FunctionDef | None:
    """Return the function with this name, such as ``"Dense.forward"``; the last one, as Python would."""
    block: list[ast.stmt] = tree.body
    *classes, name = target.split(".")
    for wanted in classes:
        owners = [node for node in block if isinstance(node, ast.ClassDef) and node.name == wanted]
        block = owners[-1].body if owners else []
    return next((node for node in reversed(block) if isinstance(node, ast.FunctionDef) and node.name == name), None)


def body(node: ast.FunctionDef) -> list[ast.stmt]:
    """Return the statements of a function after its docstring."""
    return node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body


def is_blank(node: ast.FunctionDef) -> bool:
    """Tell whether a body is still missing: nothing but ..., pass, or a raise of NotImplementedError."""
    def says_nothing(statement: ast.stmt) -> bool:
        if isinstance(statement, ast.Raise) and statement.exc is not None:
            raised = statement.exc.func if isinstance(statement.exc, ast.Call) else statement.exc
            return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"
        return isinstance(statement, ast.Pass) or (isinstance(statement, ast.Expr)
                                                   and isinstance(statement.value, ast.Constant))
    return all(map(says_nothing, body(node)))


def solution(code: FunctionType) -> str:
    """Return the body of a function of the library, comments and all, without its docstring and not indented."""
    source = textwrap.dedent(inspect.getsource(code))
    node = ast.parse(source).body[0]
    assert isinstance(node, ast.FunctionDef)
    start = node.body[0].end_lineno if ast.get_docstring(node, clean=False) is not None else body(node)[0].lineno - 1
    return textwrap.dedent("\n".join(source.splitlines()[start:])).strip("\n")


def names(code: CodeType) -> set[str]:
    """Return the names that code looks up outside of itself, with those of the functions in it."""
    return set(code.co_names).union(*(names(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def imports(exercise: Exercise, tree: ast.Module) -> list[str]:
    """Return the lines that import what the library's bodies use and the file does not have."""
    library, lines = exercise.library(), []
    bound = {alias.asname or alias.name for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))
             for alias in node.names}
    bound |= {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    used = set().union(*(names(code.__code__) for code in exercise.solutions()))
    for name in sorted((used & set(vars(library))) - bound):
        value = vars(library)[name]
        if not isinstance(value, ModuleType):
            lines.append(f"from scratchvae.{exercise.module} import {name}")
        else:
            package, _, module = value.__name__.rpartition(".")
            lines.append(f"from {package} import {module}" if package else f"import {module}")
    return lines


def blank(exercise: Exercise) -> str:
    """Return the text of the exercise's file, as it is to be done."""
    return (HERE / exercise.file).read_text(encoding="utf-8")


def filled(exercise: Exercise) -> str:
    """Return the file with the bodies of the library in it: nothing is kept twice."""
    text = blank(exercise)
    for target, code in zip(exercise.targets, exercise.solutions()):
        node = function(ast.parse(text), target)
        assert node is not None, f"{exercise.file} has no {target}"
        lines, first = text.splitlines(), body(node)[0]
        lines[first.lineno - 1:first.end_lineno] = [textwrap.indent(solution(code), " " * first.col_offset)]
        text = "\n".join(lines) + "\n"
    tree = ast.parse(text)
    new = imports(exercise, tree)
    if new:
        last = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))][-1]
        lines = text.splitlines()
        lines[last.end_lineno:last.end_lineno] = new
        text = "\n".join(lines) + "\n"
    return text
