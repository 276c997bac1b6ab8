"""Columns of several kinds: how the cells of a table become the numbers that a model of `mixed` columns sees, and back.

    a column of         is                            a model sees
    text                categorical                   a column for each of its texts, one 1 and otherwise 0
    0 and 1 alone       bernoulli                     the number
    numbers above 0     lognormal, if their           the number over its geometric mean
                        logarithms fit a normal much better
    such, and many 0    hurdle                        two columns: whether it is above 0, and the number over its
                                                      geometric mean, missing where it is 0
    other numbers       gaussian                      the number, shifted and scaled to mean 0 and variance 1
    counts, if asked    poisson                       the number

`--kinds NAME=KIND` says otherwise.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import check
from ..layers import Array
from ..likelihood import Bernoulli, Gaussian
from ..mixed import Categorical, LogNormal, Mixed, Poisson
from .tables import MISSING, is_number, listed, unformatted

PARTS = {"gaussian": (Gaussian,), "lognormal": (LogNormal,), "hurdle": (Bernoulli, LogNormal), "poisson": (Poisson,),
         "bernoulli": (Bernoulli,), "categorical": (Categorical,)}             # of each kind of column
KINDS = tuple(PARTS)
MOST_LEVELS = 100                                      # different texts, unless --kinds says that they are kinds
FEW = 20                                               # different values, by which whole numbers are kinds, not amounts
GAIN = 0.1                                             # nats a row, by which a log-normal must fit better
ZEROS = 0.1                                            # the share of zeros that makes a hurdle
ROW = "row {}, counted from 0".format


class Unusable(ValueError):
    """Columns that no model can learn as they are: a line for each, and the options that would help.

    ``fix`` has ``without``, names of columns to leave out, and ``decimal``, the mark that their numbers have; nothing
    if no options are enough.
    """

    def __init__(self, lines: Sequence[str], fix: dict[str, Any]) -> None:
        super().__init__("\n".join(lines))
        self.fix = fix


def plain(text: str) -> str:
    """Return a number in one spelling: 3, 3.0 and 3e0 are one; any other text as it is."""
    return repr(float(text) + 0.0) if is_number(text) else text


@dataclass(frozen=True)
class Column:
    """One column: its kind, the texts that a categorical one may have, and the shift and scale of what is a density.

    Drawn numbers have ``decimals`` decimals and lie between ``low`` and ``high``, if these are known.
    """

    name: str
    kind: str
    levels: Sequence[str] = ()
    shift: float = 0.0
    scale: float = 1.0
    decimals: int | None = None
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        check.choice("kind", self.kind, KINDS)
        if not isinstance(self.name, str) or not all(isinstance(text, str) for text in self.levels) \
                or (len(set(self.levels)) < 2 if self.kind == "categorical" else self.levels):
            raise ValueError(f"a column must have a name, and levels if it is categorical; got {check.shown(self)}")
        check.number("scale", self.scale, 0, open_low=True)
        check.size("decimals", self.decimals or 0, 0, 20)
        for name in ("shift", "low", "high"):
            check.number(name, getattr(self, name) or 0, -np.inf)

    @property
    def width(self) -> int:
        """How many columns a model sees."""
        return len(self.levels) if self.kind == "categorical" else len(PARTS[self.kind])

    def number(self, text: str) -> float:
        """Return the number of a text that is there: for a categorical column, that of its level."""
        if text.lower() in MISSING:
            raise ValueError(f"has a missing cell, {text!r}: fill it, leave out its row, or use --likelihood mixed "
                             "--missing leave-out")
        if self.kind == "categorical":
            spelled = [text] if text in self.levels else [own for own in self.levels if plain(own) == plain(text)]
            if not spelled:
                raise ValueError(f"must have {listed(list(self.levels))}; got {text[:40]!r}")
            return self.levels.index(spelled[0])
        value = float(text) if is_number(text) else np.nan
        if not np.isfinite(value):
            marks = [mark for mark in ".," if unformatted(text, mark) != text]
            hint = f"--decimal {marks[0]} reads it" if marks else "text is for categories of --likelihood mixed"
            hint = "correct it, or leave it empty" if is_number(text) else hint
            raise ValueError(f"must have finite numbers; got {text[:40]!r}: {hint}")
        right, numbers = {"lognormal": (value > 0, "numbers above 0"), "bernoulli": (value in (0, 1), "0 and 1 alone"),
                          "poisson": (value >= 0 and value % 1 == 0, "whole numbers of at least 0"),
                          "hurdle": (value >= 0, "numbers of at least 0"), "gaussian": (True, "")}[self.kind]
        if not right:
            raise ValueError(f"must have {numbers} to be {self.kind}; got {text[:40]!r}")
        return value

    def seen(self, values: Array) -> Array:
        """Return what a model sees of these numbers, of shape (n, width)."""
        if self.kind == "categorical":
            return np.eye(self.width)[values.astype(int)]
        if self.kind == "hurdle":
            return np.stack([values > 0, np.where(values > 0, values / self.scale, np.nan)], axis=1)
        return ((values - self.shift) / self.scale)[:, None]

    def texts(self, x: Array, drawn: bool) -> list[str]:
        """Return cells of the table, from what a model sees of them, of shape (n, width)."""
        if self.kind == "categorical":
            return [self.levels[i] for i in x.argmax(axis=1)]
        if self.kind == "hurdle":                      # E[x] = p E[x | x > 0]
            x = x[:, :1] * np.where(x[:, :1] == 0, 0, x[:, 1:])
        values = x[:, 0].astype(float) * self.scale + self.shift
        if drawn and self.decimals is not None:
            kept = np.round(np.clip(values, self.low, self.high), self.decimals) + 0.0
            return [f"{value:.{self.decimals}f}" for value in kept]
        enough = abs(self.shift) * np.finfo(x.dtype).eps <= 1e-4 * self.scale  # x's precision has the digits
        return [str(int(value)) if value == int(value) and self.kind != "gaussian" else str(value)
                for value in values.astype(x.dtype if enough else float)]


@dataclass(frozen=True)
class Table:
    """The columns of a table, and the way from its cells to the model and back; see `scaling.Scaling`.

    Rows of the table are arrays of shape (n, its columns) of text, or of what Python prints as
    such text; those of a model have shape (n, x_dim).

    Parameters
    ----------
    columns : sequence of Column
    missing : bool
        Whether a cell may be missing: NaN for the model.
    """

    columns: Sequence[Column]
    missing: bool = False

    @property
    def x_dim(self) -> int:
        """The columns that a model sees."""
        return sum(column.width for column in self.columns)

    def likelihood(self) -> Mixed:
        """Return p(x | z), in which columns that are alike share one object."""
        shared = functools.cache(lambda make, x_dim: make(x_dim))
        parts = [shared(make, column.width if make is Categorical else 1)
                 for column in self.columns for make in PARTS[column.kind]]
        return Mixed(parts, self.missing or any(column.kind == "hurdle" for column in self.columns))

    def numbers(self, x: Any, row: Callable[[int], str] = ROW) -> Array:
        """Return the cells as numbers, float64: a level's for a text, NaN for what is missing; ``row`` names a row."""
        cells = np.asarray(by_name(x, [column.name for column in self.columns]), object)
        if cells.ndim != 2 or not len(cells) or cells.shape[1] != len(self.columns):
            raise ValueError(f"x must have shape (n, {len(self.columns)}), as the table has; got {cells.shape}")
        found = np.empty(cells.shape)
        for j, column in enumerate(self.columns):
            known: dict[Any, float] = {}
            for i, cell in enumerate(cells[:, j]):
                if cell not in known:
                    text = str(cell).strip()
                    try:
                        known[cell] = np.nan if self.missing and text.lower() in MISSING else column.number(text)
                    except ValueError as error:
                        raise ValueError(f"{row(i)}: column {column.name[:40]!r} {error}") from None
                found[i, j] = known[cell]
        return found

    def apply(self, x: Any, dtype: Any = np.float32) -> Array:
        """Return the rows of a table as a model sees them, in this dtype."""
        numbers = self.numbers(x)
        seen = np.full((len(numbers), self.x_dim), np.nan)
        for column, values, part in zip(self.columns, numbers.T, self._parts(seen)):
            there = ~np.isnan(values)
            part[there] = column.seen(values[there])
        with np.errstate(over="ignore"):
            scaled = seen.astype(check.dtype("dtype", dtype, (np.float32, np.float64)))
        return check.array("x, scaled,", scaled, ("n", self.x_dim), None, True)

    def _parts(self, x: Array) -> list[Array]:
        """Return views of what a model sees, one for each column."""
        return np.split(x, np.cumsum([column.width for column in self.columns])[:-1], axis=1)

    def invert(self, x: Any, drawn: bool = False) -> Array:
        """Return the cells of a table as text, from rows as a model sees them, or as it draws them.

        Where the columns of a category hold probabilities, it is the most probable
        one; a mean of counts, or of 0 and 1, stays a mean.  With ``drawn`` numbers are
        rounded as those of the table are, and kept within their range.
        """
        x = check.array("x", x, ("n", self.x_dim), None, True)
        found = np.full((len(x), len(self.columns)), "", object)
        for j, (column, part) in enumerate(zip(self.columns, self._parts(x))):
            there = ~np.isnan(part[:, 0])
            found[there, j] = column.texts(part[there], drawn)
        return found

    def log_scale(self, x: Array) -> Array:
        """Return what log p of rows, as a model sees them, has more than in the table's units, of shape (n,).

        It is Σ log scale over the gaussian and lognormal cells that are there, and those of a hurdle above 0.
        """
        there = ~np.isnan([part[:, -1] for part in self._parts(x)])            # of a hurdle its number
        return np.log([column.scale for column in self.columns]) @ there

    def says(self) -> list[str]:
        """Return a line for each kind, with the names of its columns."""
        names = {kind: [column.name for column in self.columns if column.kind == kind] for kind in KINDS}
        return [f"{kind}: {listed(own)}" for kind, own in names.items() if own]

    def __str__(self) -> str:
        return "each column has a likelihood of its own, a gaussian one also a shift and a scale"


def means(x: Array) -> Array:
    """Return the mean of each column, over the cells that are there."""
    there = np.isfinite(x)
    return x.mean(axis=0) if there.all() else np.where(there, x, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)


def by_name(x: Any, names: Sequence[str] | None) -> Any:
    """Return rows with their columns in the order of these names, if x has names, as a DataFrame does; else x."""
    if names is None or not (hasattr(x, "columns") and hasattr(x, "to_numpy")):
        return x
    return x.to_numpy()[:, places(list(map(str, x.columns)), names)]


def numbered(names: Sequence[str]) -> dict[str, int]:
    """Return the number of each column by its name, or raise a ValueError if two have the same."""
    where: dict[str, int] = {}
    for j, name in enumerate(names):
        if where.setdefault(name, j) != j:
            raise ValueError(f"two columns are called {name[:40]!r} (columns {where[name]} and {j}): rename one")
    return where


def places(own: list[str], names: Sequence[str]) -> list[int]:
    """Return where each of these names stands among others, which must be the same ones in any order."""
    where = numbered(own)
    if sorted(own) != sorted(names):
        raise ValueError(f"x must have the columns {listed(list(names))}; it lacks "
                         f"{listed([name for name in names if name not in where]) or 'none'} and has "
                         f"{listed([name for name in own if name not in names]) or 'none'} besides")
    return [where[name] for name in names]


def choose(x: Array, names: Sequence[str], kinds: dict[int, str], missing: bool,
           row: Callable[[int], str] = ROW) -> Table:
    """Choose the kind of every column by its cells, all text, unless ``kinds`` has it by number; ``row`` names a row.

    Raises
    ------
    Unusable
        If there are columns that no model can learn; it names all of them.
    """
    found, wrong, fix, typos = list[Column](), list[str](), dict[str, Any](), False        # no option mends a typo
    for j, (name, cells) in enumerate(zip(names, x.T)):
        there = [text for text in cells if text.lower() not in MISSING]
        levels = sorted(set(there))
        texts = [text for text in levels if not is_number(text)]
        n_read, mark = max((sum(unformatted(text, mark) != text for text in texts), mark) for mark in ",.")
        odd = [text for text in texts if unformatted(text, mark) == text]
        kind = kinds.get(j) or (of_numbers(np.array(levels, float), np.array(there, float)) if there and not texts
                                else "categorical")
        if texts and j not in kinds and len(odd) <= 0.1 * len(levels):
            if n_read:
                text = next(text for text in texts if text not in odd)
                wrong.append(f"column {name!r} has numbers written as text, such as {text[:40]!r}: --decimal {mark}")
                fix["decimal"] = min(mark, fix.get("decimal", mark))           # a comma is needed, a point may be a tie
            if odd:
                typos = True
                wrong.append(f"{row(list(cells).index(odd[0]))}: column {name!r} has numbers, but also text, such as "
                             f"{odd[0][:40]!r}: correct these cells or leave them empty")
        elif not levels or len(set(map(plain, levels))) < 2 and kind not in ("poisson", "bernoulli"):
            same = "the same value in every row" + ", to 16 digits" * (len(levels) > 1)
            wrong.append(f"column {name!r} has {same if levels else 'nothing but missing cells'}: leave it out")
            fix.setdefault("without", []).append(name)
        elif kind == "categorical" and j not in kinds and (len(levels) > MOST_LEVELS or
                                                           len(levels) > max(FEW // 2, len(there) / 2)):
            wrong.append(f"column {name!r} has {len(levels)} different texts in {len(there)} cells, such as "
                         f"{levels[0][:40]!r}: leave it out; or, if they are kinds, --kinds {name}=categorical")
            fix.setdefault("without", []).append(name)
        elif kind == "categorical":
            found.append(Column(name, kind, levels if texts else sorted(levels, key=float)))
        else:
            found.append(Column(name, kind))
            values = np.array(["nan"] if texts else levels, float)             # text is refused later
            if np.isfinite(values).all() and not any("e" in text.lower() for text in levels):
                digits = 0 if (values % 1 == 0).all() else max(len(text.partition(".")[2]) for text in levels)
                found[-1] = replace(found[-1], decimals=min(digits, 20), low=min(values), high=max(values))
    if len(wrong) == len(names) and (x == x[0]).all():
        raise ValueError("every column has the same value in all rows: a model needs at least two different rows")
    if wrong:
        raise Unusable(wrong, {} if typos or len(fix.get("without", ())) == len(names) else fix)
    return Table(found, missing)


def of_numbers(values: Array, x: Array) -> str:
    """Return the kind of a column of numbers, from its different values, and from all."""
    if set(values) == {0, 1}:
        return "bernoulli"
    zeros, above = np.mean(x == 0), x[x > 0]
    if len(values) > FEW and values.min() >= 0 and (zeros == 0 or zeros > ZEROS):
        y = np.log(above)                              # both normals at their best: the difference of their log p
        if np.log(above.std()) - np.log(y.std()) - y.mean() > GAIN:
            return "hurdle" if zeros else "lognormal"
    return "gaussian"


def standardised(table: Table, x: Array) -> Table:
    """Return a table whose gaussian columns get mean 0 and variance 1, by the rows to train on.

    Lognormal ones, and those of a hurdle above 0, get geometric mean 1.
    """
    columns = []
    for column, values in zip(table.columns, table.numbers(x).T):
        there = values[~np.isnan(values)]
        if column.kind in ("lognormal", "hurdle") and (there > 0).any():
            column = replace(column, scale=float(np.exp(np.log(there[there > 0]).mean())))
        if column.kind == "gaussian" and there.size and there.min() < there.max():
            shift, scale = float(there.mean()), float(there.std())
            if not 0 < scale < np.inf:
                raise ValueError(f"column {column.name!r} has numbers too {'far apart' if scale else 'close together'} "
                                 f"to be scaled, from {there.min():g} to {there.max():g}")
            column = replace(column, shift=shift, scale=scale)
        columns.append(column)
    return Table(columns, table.missing)
