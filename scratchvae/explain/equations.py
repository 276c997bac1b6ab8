"""The equations beside the lines: each is one expression that can be typeset and evaluated.

They are in equations.txt, which explains its own notation.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from .notation import text


@dataclass
class Equation:
    """An entry of the table: number and case, the names that a line assigns, both sides as trees, and a sentence."""

    number: str
    case: str
    names: tuple[str, ...]
    left: ast.expr
    right: ast.expr
    words: str

    @cached_property
    def text(self) -> str:
        """Return the equation in the notation of MATH.md."""
        return f"{text(self.left)} = {text(self.right)}"


def base(target: str) -> str:
    """Return the bare name of a target: dW of ``self.dW``, z of ``z[t - 1]``, total of ``elbo.total``."""
    return target.partition("[")[0].rpartition(".")[2]


@lru_cache(maxsize=None)
def entries() -> list[tuple[str, ...]]:
    """Return the entries of equations.txt as text: number, case, names, left, right and words."""
    return re.findall(r"^([\d.]+)(?:, ([^|\n]+))? \| (?:([\w, ]+): )?(.*) = (.*)\n +(.*)$",
                      read("explain/equations.txt"), re.MULTILINE)


@lru_cache(maxsize=None)
def table(of: str = "") -> list[Equation]:
    """Return the equations with a number, parsed; without it, all of them."""
    found = []
    for number, case, names, *sides, words in entries():
        if of in ("", number):
            left, right = (ast.parse(side, mode="eval").body for side in sides)
            own = left.elts if isinstance(left, ast.Tuple) else [left]
            called = names.split(", ") if names else [base(ast.unparse(e)) for e in own]
            found.append(Equation(number, case, tuple(called), left, right, words + "."))
    return found


@lru_cache(maxsize=None)
def symbols_of(name: str) -> list[ast.expr]:
    """Return the meanings of a symbol, as trees."""
    found = re.search(rf"^{name} := (.*)$", read("explain/equations.txt"), re.MULTILINE)
    return [ast.parse(meaning, mode="eval").body for meaning in found.group(1).split("; ")] if found else []


@lru_cache(maxsize=None)
def read(name: str) -> str:
    """Return a text of the package."""
    return (Path(__file__).parent.parent / name).read_text(encoding="utf-8")


def reference(comment: str) -> tuple[str, str] | None:
    """Return the number and the case at the end of a comment, such as ``"(n,)   (3.5, N(0, I))"``."""
    found = re.search(r"(?:^|  )\((\d+\.\d+)(?:, ((?:[^()]|\([^()]*\))*))?\)$", comment.strip())
    return (found.group(1), found.group(2) or "") if found else None


@lru_cache(maxsize=None)
def select(number: str, case: str, names: tuple[str, ...]) -> list[Equation]:
    """Return the equations of a line: that of all its names together, or those of each name."""
    mine = [e for e in table(number) if e.case == case]
    wanted = tuple(n for n in map(base, names) if n not in ("_", "cache") and not n.endswith("_cache"))
    together = [e for e in mine if e.names == wanted]
    return together or [e for e in mine if len(e.names) == 1 and e.names[0] in wanted]


@lru_cache(maxsize=None)
def sections() -> dict[str, tuple[str, str]]:
    """Return the equations of MATH.md by number: the title, and the text below it."""
    parts = re.split(r"^### \((\d+\.\d+)\) (.*)\n", read("MATH.md"), flags=re.MULTILINE)
    return {number: (title, re.split(r"^##? ", body, flags=re.MULTILINE)[0].strip("\n"))
            for number, title, body in zip(parts[1::3], parts[2::3], parts[3::3])}


@lru_cache(maxsize=None)
def symbols() -> list[tuple[str, str]]:
    """Return the table of symbols of MATH.md: each symbol with its meaning, here and elsewhere."""
    rows = re.findall(r"^\| (.*?) \| (.*?) \| ?(.*?) ?\|$", read("MATH.md").replace(r"\|", "¦"), re.MULTILINE)
    return [(row[0].replace("¦", "|"), "; elsewhere: ".join(filter(None, row[1:])).replace("¦", "|"))
            for row in rows if row[0] not in ("symbol", "---")]
