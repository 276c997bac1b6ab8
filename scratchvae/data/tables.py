"""Tables of numbers in text: CSV, and its relatives with semicolons, tabs or spaces.

Read line by line, in bounded memory, whatever the text turns out to be.
"""

from __future__ import annotations

import csv
import functools
import io
import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..layers import Array

MAX_LINE = 2**20                                             # characters
MAX_COLUMNS = 2**14                                          # as a spreadsheet has
MAX_LABEL = 100
MISSING = ("", "na", "n/a", "nan", "null", "none", "?", "-", ".", "<na>")      # in small letters
FORMATTED = {mark: re.compile(rf"[-+]?(\d+|\d{{1,3}}([{others}]\d{{3}})+)([{mark}]\d+)?")
             for mark, others in ((".", ",' \u00a0\u202f"), (",", ".' \u00a0\u202f"))}


def read_table(file: Any, labels: str | int | None, header: bool | None,
               max_bytes: int) -> tuple[Array, Array | None, list[str] | None]:
    """Read the cells of a table; one column may contain labels.

    Parameters
    ----------
    file : binary file
        UTF-8; its first line holds a comma, a semicolon or a tab, the delimiter, or
        else spaces separate the cells.
    labels, header
        As in `files.load`.
    max_bytes : int
        The most that the cells may take.

    Returns
    -------
    x : array of shape (n, D), of strings
    y : array of text of shape (n,), or None
    names : list of D str, or None
        Of the columns of x, if there is a header.  A first column without a name, as
        pandas and R write the index of a table, is left out, if no two rows have
        the same.

    Raises
    ------
    ValueError
        If it is not a table of this kind; the message names the line and the column.
    """
    rows = lines_of(file)
    line, first = next(rows)
    if len(first) > MAX_COLUMNS:
        raise ValueError(f"line {line} has {len(first)} cells, more than {MAX_COLUMNS}: such data go into an .npy file")
    top = [bare(cell) for cell in first]
    numbers = [cell for cell in top if is_number(cell)]
    if header is None:
        header = not numbers or (len(numbers) >= 3 and numbers == [str(i) for i in range(len(numbers))])
    index: set[str] | None = set() if header and top[0] == "" and len(top) > 1 else None
    if index is not None:
        del top[0]
    if header and "" in top:
        raise ValueError(f"column {top.index('') + (index is not None)} has no name: name it, or drop the last comma")
    at = None if labels is None else place("labels", labels, top if header else [], len(top))
    taken: list[str] = []
    words = functools.cache(bare)                            # each once in memory
    y: list[str] = []
    for number, cells in rows if header else itertools.chain([(line, list(top))], rows):
        if index is not None and cells:
            if cells[0].strip() in index:
                raise ValueError(f"the first column has no name, and line {number} repeats a cell of it: name it")
            index.add(cells.pop(0).strip())
        if len(cells) != len(top):
            title = "; if line 1 is a title above the table, take it out" if number == 2 else ""
            raise ValueError(f"line {number} has {len(cells)} columns, the first line has {len(top)}{title}")
        if at is not None:
            y.append(bare(cells.pop(at)))
            if y[-1].lower() in MISSING and y[-1].lower() not in ("none", "-", "."):         # which may be labels
                raise ValueError(f"line {number}: the label (column {top[at]!r}) is empty: fill it, or drop the row")
            if len(y[-1]) > MAX_LABEL:
                raise ValueError(f"line {number} must have a label of 1 to {MAX_LABEL} characters")
        taken.extend(map(words, cells))
        if 8 * len(taken) + 128 * (len(y) + words.cache_info().currsize) > max_bytes:      # a short text: some 128
            raise ValueError(f"it takes more than {max_bytes} bytes, the most that is read")
    if not taken:
        raise ValueError("it must have a row of numbers" + (" below its header" if header else ""))
    names = [name for i, name in enumerate(top) if i != at]
    return np.array(taken, object).reshape(-1, len(names)), np.array(y) if y else None, names if header else None


def has_index(file: Any) -> bool:
    """Return whether the first column of a table has no name."""
    return next(lines_of(file))[1][0].strip() == ""


def lines_of(file: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line, counted from 1, and its cells."""
    lines, above = _lines(file), 0
    first = next(lines)
    delimiter = next((character for character in ",;\t" if character in first), None)
    if excel := re.fullmatch(r"(?i)sep=([,;\t|])\n", first):                   # Excel's line for itself
        delimiter, first, above = excel[1], next(lines), 1
    if delimiter is None and first.startswith('"'):          # a name in quotes may have spaces in it, and has no comma
        delimiter = "," if first.count('"') == 2 and first.rstrip().endswith('"') else " "
    lines = itertools.chain([first], lines)
    if delimiter is None:
        yield from enumerate((re.findall(r"[^ \t\n]+", line) for line in lines), start=1)
        return
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        for cells in reader:
            yield above + reader.line_num, cells
    except csv.Error as error:
        raise ValueError(f"its cells cannot be told apart ({error})") from error


def _lines(file: Any) -> Iterator[str]:
    """Yield the lines of a text; only white space may follow the first empty one."""
    try:
        with io.TextIOWrapper(file, "utf-8-sig") as text:    # lines may end as on Unix, Windows or old Macs
            for number in itertools.count(1):
                line = text.readline(MAX_LINE + 1)
                if len(line) > MAX_LINE:
                    raise ValueError(f"line {number} has more than {MAX_LINE} characters, the most that are read")
                if not line.strip():
                    rest = text.read(1000)
                    if number == 1 or len(rest) == 1000 or rest.strip():
                        raise ValueError(f"line {number} is empty")
                    return
                yield line
    except UnicodeDecodeError as error:
        raise ValueError("it is not text in UTF-8: save the file with this encoding (in Excel: CSV UTF-8)") from error


def bare(cell: str) -> str:
    """Return a cell without the white space around it, and without the ' that `cli.output.harmless` puts before it."""
    cell = cell.strip()
    return cell[1:] if cell[:2] in ("'=", "'+", "'-", "'@") else cell


def number_of(cell: str, kind: Callable[[str], Any] = float) -> Any:
    """Return the number that a text is, as Python reads it, except that 1_000 is none."""
    return kind("" if "_" in cell else cell)


def unformatted(text: str, mark: str) -> str:
    """Return a number as Python writes it: without its currency or percent sign and the marks of its thousands.

    ``mark`` is that of its decimals.  Any other text comes back as it is.
    """
    bare = text.strip("$€£¥% \u00a0\u202f")
    if FORMATTED[mark].fullmatch(bare) is None:
        return text
    return re.sub(r"[^-+\d.]", "", bare) if mark == "." else re.sub(r"[^-+\d,]", "", bare).replace(",", ".")


def is_number(cell: str) -> bool:
    """Return whether a text is a number."""
    try:
        number_of(cell)
    except ValueError:
        return False
    return True


def place(what: str, name: str | int, names: list[str], n_columns: int) -> int:
    """Return the number of the column that an argument names; text is a name first, then a number."""
    if isinstance(name, str) and names.count(name) == 1:
        return names.index(name)
    try:
        return range(n_columns)[number_of(str(name), int)]
    except (ValueError, IndexError):
        there = listed(names) if names else f"0 to {n_columns - 1} (there is no header)"
        raise ValueError(f"{what}: there is no single column {str(name)[:40]!r}; there are {there}") from None


def listed(names: list[str]) -> str:
    """Return the names for a sentence: all, or the first ones and the last."""
    words = [repr(name[:40]) for name in names]
    return ", ".join(words if len(words) <= 10 else [*words[:8], "...", f"{words[-1]} ({len(words)} in all)"])
