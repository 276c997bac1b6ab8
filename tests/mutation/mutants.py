"""The mutants of a file: copies of it, each with one small change that could have been a mistake.

The operators are those of the mutation tester mutmut, on trees of libcst, and
those below, which it lacks and which mistakes in numerical code call for: a
term or a factor left out, a sign flipped, a statement dropped, two arguments
swapped, a transpose forgotten, one NumPy function taken for another.
"""

import ast
import bisect
import copy
import pathlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import libcst as cst
from libcst.metadata import MetadataWrapper, WhitespaceInclusivePositionProvider
from mutmut.mutation.mutators import mutation_operators

CONFUSED = {                                           # functions of one shape that are easily taken for one another
    "add": "subtract", "subtract": "add", "multiply": "divide", "divide": "multiply", "negative": "positive",
    "maximum": "minimum", "minimum": "maximum", "min": "max", "max": "min", "any": "all", "all": "any",
    "exp": "expm1", "expm1": "exp", "log1p": "log", "log": "log1p", "sqrt": "square", "tanh": "sinh",
    "zeros": "ones", "zeros_like": "ones_like",
    "logaddexp": "add", "sum": "mean", "mean": "sum", "standard_normal": "random", "T": "real", "real": "imag",
}
INVERTED = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
ZERO = re.compile(r"np\.(zeros|empty)")                # -0 is 0
COMMUTATIVE = ("np.add", "np.multiply", "np.maximum", "np.minimum", "np.logaddexp", "min", "max")
TYPE_HINT = re.compile(r"\w+ = ((NDArray|Union|Callable)\[|TypeVar\()")
CONVERSIONS = ("astype", "reshape", "copy", "ravel")   # methods that return their object in another form


Key = tuple[str, str, str, str]                        # of a mutant: module, scope, before, after


@dataclass
class Mutant:
    """One change: known by what it changes, not by where it stands, so that a list of them outlives other edits."""

    module: str
    scope: str                                         # "Dense.forward", or "module"
    before: str                                        # the statement, without comments and type hints
    after: str
    source: str                                        # of the whole mutated file

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.module, self.scope, self.before, self.after


def changes(node: cst.CSTNode, code) -> Iterator[tuple[cst.CSTNode, str]]:
    """Yield the node to replace, and the text in its place; ``code`` turns a node into text."""
    for kind, operator in mutation_operators:
        if isinstance(node, kind):
            for new in operator(node):
                yield node, code(new)

    match node:
        case cst.Integer():                            # mutmut has value + 1
            yield node, f"({node.evaluated_value - 1})"
        case cst.Float():
            yield node, f"{node.evaluated_value / 2}"
        case cst.BinaryOperation(left=left, right=right):
            yield node, f"({code(left)})"
            yield node, f"({code(right)})"
        case cst.ComparisonTarget(operator=operator, comparator=right):
            for table in (INVERTED, MIRRORED):
                if code(operator).strip() in table:
                    yield node, f" {table[code(operator).strip()]} {code(right)}"
        case cst.If(test=test) | cst.IfExp(test=test) if not isinstance(test, cst.Comparison):
            yield test, f" (not ({code(test)}))"
        case cst.For(iter=iterable):
            yield iterable, "()"
        case cst.Attribute(value=value, attr=attr):
            if attr.value in CONFUSED:
                yield attr, CONFUSED[attr.value]
            if attr.value in ("T", "real"):
                yield node, code(value)
        case cst.Call(func=func, args=args):
            if len(args) == 1 and not args[0].keyword and not args[0].star:
                yield node, f"({code(args[0].value)})"                         # exp(x) -> x
            if isinstance(func, cst.Attribute) and func.attr.value in CONVERSIONS:
                yield node, code(func.value)
            if code(func) not in COMMUTATIVE:
                yield from ((node, f"{code(func)}({', '.join(swapped)})") for swapped in swaps(args, code))
        case cst.Tuple(elements=elements):
            yield from ((node, f"({', '.join(swapped)})") for swapped in swaps(elements, code))
        case cst.Slice(lower=lower, upper=upper):
            if lower is not None:
                yield lower, ""
            if upper is not None:
                yield upper, ""
        case cst.Assign(value=value) | cst.Return(value=value):
            for part in (e.value for e in value.elements) if isinstance(value, cst.Tuple) else (value,):
                if isinstance(part, (cst.BinaryOperation, cst.Call, cst.Name)) and not ZERO.match(code(part)):
                    yield part, f" -({code(part)})"
            yield node, "pass"
        case cst.AugAssign() | cst.AnnAssign() | cst.Expr() | cst.Raise():
            yield node, "pass"


def swaps(parts, code) -> Iterator[list[str]]:
    """Yield the parts, which stand between commas, with two neighbours swapped."""
    texts = [code(part.with_changes(comma=cst.MaybeSentinel.DEFAULT)) for part in parts]
    plain = [not getattr(part, "keyword", None) and not getattr(part, "star", "") for part in parts]
    for i in range(len(parts) - 1):
        if plain[i] and plain[i + 1]:
            yield [*texts[:i], texts[i + 1], texts[i], *texts[i + 2:]]


class Collector(cst.CSTVisitor):
    """All nodes but those that have no effect when the code runs."""

    def __init__(self, code) -> None:
        super().__init__()
        self.code = code
        self.nodes: list[cst.CSTNode] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        docstring = isinstance(node, cst.Expr) and isinstance(node.value, (cst.SimpleString, cst.ConcatenatedString))
        hint = isinstance(node, cst.Assign) and TYPE_HINT.match(self.code(node))
        if docstring or hint or isinstance(node, (cst.Annotation, cst.Import, cst.ImportFrom)):
            return False
        self.nodes.append(node)
        return True


Path = list[tuple[str, int]]                           # from a tree to a statement: the block's name, the place in it


def blocks(statement: ast.AST) -> Iterator[tuple[str, list]]:
    """Yield the names and the statements of the blocks in a statement."""
    for name in ("body", "orelse", "handlers", "finalbody"):
        block = getattr(statement, name, None)
        if isinstance(block, list):                    # a lambda and x if c else y have a body that is none
            yield name, block


def path_to(tree: ast.Module, line: int) -> Path:
    """Return the path to the innermost statement that covers a line."""
    path: Path = []
    statement: ast.AST | None = tree
    while statement is not None:
        inside = [(name, i) for name, block in blocks(statement) for i, s in enumerate(block)
                  if s.lineno <= line <= s.end_lineno]
        path += inside[:1]
        statement = getattr(statement, inside[0][0])[inside[0][1]] if inside else None
    return path


def follow(tree: ast.Module, path: Path) -> list[ast.AST]:
    """Return the statements along a path, the outermost first."""
    statements: list[ast.AST] = [tree]
    for name, i in path:
        statements.append(getattr(statements[-1], name)[i])
    return statements[1:]


def text(statement: ast.AST) -> str:
    """Return a statement without the blocks in it, and without type hints."""
    statement = copy.copy(statement)
    for name, _ in blocks(statement):
        setattr(statement, name, [])
    if isinstance(statement, ast.AnnAssign):
        value = f" = {ast.unparse(statement.value)}" if statement.value else ""
        return ast.unparse(statement.target) + value
    if isinstance(statement, ast.FunctionDef):
        statement.returns = None
        for argument in ast.walk(statement.args):
            if isinstance(argument, ast.arg):
                argument.annotation = None
    return ast.unparse(statement)


def mutants(module: str, source: str) -> list[Mutant]:
    """Return the mutants of a source, none twice, and none that differs in its type hints alone."""
    wrapper = MetadataWrapper(cst.parse_module(source), unsafe_skip_copy=True)
    spans = wrapper.resolve(WhitespaceInclusivePositionProvider)
    code = wrapper.module.code_for_node
    collector = Collector(code)
    wrapper.module.visit(collector)
    line_starts = [0, *accumulate(len(line) for line in source.splitlines(keepends=True))]
    tree = ast.parse(source)

    found: dict[tuple, Mutant] = {}
    for node in collector.nodes:
        for replaced, new in changes(node, code):
            span = spans[replaced]
            start, end = (line_starts[at.line - 1] + at.column for at in (span.start, span.end))
            mutated = source[:start] + new + source[end:]
            try:
                mutated_tree = ast.parse(mutated)
            except SyntaxError:                        # a few operators do not ask whether the result is Python
                continue
            first = start + len(source[start:end]) - len(source[start:end].lstrip())
            path = path_to(tree, bisect.bisect_right(line_starts, first))
            statements = follow(tree, path)
            pairs = [(text(old), text(new)) for old, new in zip(statements, follow(mutated_tree, path))]
            before, after = next((pair for pair in reversed(pairs) if pair[0] != pair[1]), ("", ""))
            scope = ".".join(s.name for s in statements if isinstance(s, (ast.ClassDef, ast.FunctionDef)))
            if before:
                mutant = Mutant(module, scope or "module", before, after, mutated)
                found.setdefault((*mutant.key, *path), mutant)
    return list(found.values())


def listed(path: pathlib.Path) -> set[Key]:
    """Read the equivalent mutants: in each paragraph a reason, then three lines for each mutant that it is true of."""
    keys = set()
    for paragraph in path.read_text(encoding="utf-8").split("\n\n"):
        lines = [line.strip() for line in paragraph.splitlines() if line.strip()]
        entries = [line for line in lines if not line.startswith("#")]
        if entries and len(entries) == len(lines):
            raise SystemExit(f"{path.name}: no reason is given for {entries[0]}\n{entries[1]}")
        for where, before, after in zip(entries[::3], entries[1::3], entries[2::3], strict=True):
            file, scope = where.split(": ")
            keys.add((file.removesuffix(".py"), scope, before.removeprefix("- "), after.removeprefix("+ ")))
    return keys
