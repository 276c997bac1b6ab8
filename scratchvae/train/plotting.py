"""Pictures: images in a grid, the columns of a table, the curves of a training run.

Each function draws into axes that it is given, so that a figure can be put
together from them; `figure` makes one without a window, which also works where
there is no screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..layers import Array
from .state import History

try:
    from matplotlib.figure import Figure
except ImportError as error:
    raise ImportError("pictures need matplotlib: pip install matplotlib") from error


# Okabe and Ito's colours (2008): also different as greys, and for people who do not see red and green.
BLUE, ORANGE, GREEN, RED, SKY, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "0.45"


def figure(width: float, height: float) -> Figure:
    """Return an empty figure, its size in inches."""
    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def label(ax: Any, title: str, x: str, y: str) -> None:
    """Write the title of the axes, and what each of them is."""
    ax.set_title(title, fontsize=10)
    ax.set_xlabel(x, fontsize=8)
    ax.set_ylabel(y, fontsize=8)
    ax.tick_params(labelsize=8)


def images(ax: Any, rows: Array, image_shape: tuple[int, int], title: str = "", row_labels: Sequence[str] = (),
           column_labels: Sequence[str] = ()) -> None:
    """Draw images in a grid, 0 white and 1 black, as ink on paper.

    Parameters
    ----------
    ax : matplotlib Axes
    rows : array of shape (n_rows, n_columns, height · width)
        In [0, 1]; an image of NaN leaves its place empty.
    image_shape : (int, int)
        Height and width of one image.
    title : str
    row_labels, column_labels : sequence of str
        One for each row and column, or none.
    """
    (height, width), (n_rows, n_columns) = image_shape, rows.shape[:2]
    page = np.full((n_rows, height + 1, n_columns, width + 1), 0.25)           # light grey lines between images
    page[:, :-1, :, :-1] = rows.reshape(n_rows, n_columns, height, width).swapaxes(1, 2)
    page.swapaxes(1, 2)[np.isnan(rows).all(axis=2)] = np.nan
    ax.imshow(page.reshape(n_rows * (height + 1), -1)[:-1, :-1], cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    ax.set_title(title, fontsize=10)
    ax.set_yticks((height + 1) * np.arange(len(row_labels)) + height / 2, row_labels, fontsize=8)
    ax.set_xticks((width + 1) * np.arange(len(column_labels)) + width / 2, column_labels, fontsize=8)
    ax.tick_params(length=0)
    ax.set_frame_on(False)


def table(fig: Figure, real: Array, drawn: Array, names: Sequence[str]) -> None:
    """Draw the distributions of up to five columns and, below, the pairs that depend most on each other.

    These are of the first 1000 columns.

    Parameters
    ----------
    fig : matplotlib Figure
    real, drawn : arrays of shape (n, D) and (m, D)
        Rows of the table, and rows that were sampled; NaN is missing.
    names : sequence of D str
    """
    wide, colours = min(5, len(names)), (GREY, ORANGE)
    axes = fig.subplots(2, wide, squeeze=False)
    for j, ax in enumerate(axes[0]):
        low, high = np.nanpercentile(np.concatenate([real[:, j], drawn[:, j]]), (0.5, 99.5))
        bins = np.linspace(low, max(high, low + 1e-9), 26)
        for rows, shade, name in zip((real, drawn), colours, ("the table", "sampled")):
            ax.hist(rows[:, j], bins, density=True, histtype="step", color=shade, label=name)
        label(ax, names[j][:20], "", "")
    axes[0, 0].legend(fontsize=6)
    with np.errstate(invalid="ignore", divide="ignore"):                       # a column that is the same everywhere
        size = np.atleast_2d(np.corrcoef(np.where(np.isnan(real), np.nanmean(real, 0), real)[:, :1000], rowvar=False))
    lower = np.tril_indices(len(size), -1)
    pairs = np.transpose(lower)[np.argsort(-abs(np.nan_to_num(size[lower])), kind="stable")[:wide]]
    for ax, (i, j) in zip(axes[1], pairs):
        for rows, shade in zip((real, drawn), colours):
            ax.scatter(rows[:, j], rows[:, i], s=4, linewidth=0, alpha=0.5, color=shade)
        ax.set(xlim=np.nanpercentile(real[:, j], (0, 100)), ylim=np.nanpercentile(real[:, i], (0, 100)))
        label(ax, "", names[j][:20], names[i][:20])
    for ax in axes[1, len(pairs):]:
        ax.set_axis_off()


def curves(ax: Any, history: History, names: Sequence[str], title: str = "", warm_up: int = 0) -> None:
    """Draw columns of a history against the epoch; a ``valid_`` column thin, in the colour of its partner.

    Parameters
    ----------
    ax : matplotlib Axes
    history : dict of str to list of float
        From `fit`.
    names : sequence of str
        The columns; each is drawn with its ``valid_`` partner where there is one.
    title : str
    warm_up : int, default 0
        The epochs in which beta rose, to be shaded.
    """
    if warm_up:
        ax.axvspan(1, warm_up, color="0.93", label="warm-up of beta")
    for name in names:
        level = int(name[len("consistency_"):]) if name.startswith("consistency_") else 0
        colour = {"reconstruction": BLUE, "elbo": ORANGE, "prior_matching": GREEN}.get(   # in every picture the same
            name, (GREY, BLUE, ORANGE, RED, SKY, PURPLE)[level % 6])
        for column, width, alpha, note in (name, 2.5, 0.4, ""), (f"valid_{name}", 0.8, 1, ", held out"):
            if column in history:
                ax.plot(history["epoch"], history[column], linewidth=width, alpha=alpha, color=colour,
                        label=name.replace("_", " ") + note)
    if len(history["epoch"]) > 50:
        ax.set_xscale("log")                             # most happens early
    else:
        ax.locator_params(axis="x", integer=True)
    late = [value for name in names for column in (name, f"valid_{name}") for value in
            history.get(column, [])[len(history["epoch"]) // 10:]]
    if late and max(late) > min(late):                   # the first epochs may be beyond all measure
        ax.set_ylim(min(late) - 0.5 * (max(late) - min(late)), max(late) + 0.1 * (max(late) - min(late)))
    label(ax, title, "epoch", "nats per example")
    ax.grid(alpha=0.3)
    ax.legend(fontsize=7)
