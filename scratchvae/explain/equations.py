"""The formulas of MATH.md, read from it, so that each is written in one place.

A reference such as "3.2 z" is equation (3.2), the formula that begins with z.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=None)
def blocks() -> dict[str, tuple[str, list[str]]]:
    """Return the equations of MATH.md by number: the title, and the formulas in the order of the text."""
    text = (Path(__file__).parent.parent / "MATH.md").read_text(encoding="utf-8")
    found = {}
    parts = re.split(r"^### \((\d+\.\d+)\) (.*)\n", text, flags=re.MULTILINE)
    for number, title, body in zip(parts[1::3], parts[2::3], parts[3::3]):
        lines = [line[4:] for line in body.splitlines() if line.startswith("    ")]
        found[number] = (title, list(formulas(lines)))
    return found


def formulas(lines: list[str]) -> list[str]:
    """Split lines into formulas: two blanks part them, but not at a sign; a line that begins with one goes on."""
    found: list[str] = []
    begun = 0
    for line in lines:
        if not line.strip().startswith(("=", "+")):
            line = re.sub(r"\s+(=|≈|\+=|-|>=|~|→)\s+", r" \1 ", line)
        line = re.sub(r"\s+by ", " by ", line)
        parted = re.split(r",\s{2,}|\s{2,}|:\s{2,}", line.strip())
        pieces = [piece.strip().rstrip(",") for piece in parted if piece.strip()]
        if pieces and pieces[0].startswith(("= ", "+ ", "- ")) and found:
            found.append(pieces[0])
            found[begun] += " " + pieces[0]
            pieces = pieces[1:]
        else:
            begun = len(found)
        found += pieces
    return found


def formula(reference: str) -> tuple[str, str]:
    """Return the number and the formula of a reference such as "3.2 z"."""
    number, _, start = reference.partition(" ")
    exact = [f for f in blocks()[number][1] if f == start or f.startswith((start + " ", start + "(", start + ":"))]
    loose = [f for f in blocks()[number][1] if f.startswith(start)]
    if not (exact or loose):
        raise ValueError(f"MATH ({number}) has no formula that begins with {start!r}")
    text = (exact or loose)[0]
    if text.startswith(("+ ", "- ")):                  # a term of a sum: with what the sum is
        text = next(f for f in blocks()[number][1] if text in f).partition(" = ")[0] + " = ... " + text
    return number, text
