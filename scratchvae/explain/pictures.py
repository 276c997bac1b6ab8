"""Pictures for the page, without a library: heat maps as PNG, bars and the graph of a model as SVG."""

from __future__ import annotations

import base64
import struct
import zlib
from html import escape

import numpy as np

from ..layers import Array

LOW, MIDDLE, HIGH = (33, 102, 172), (247, 247, 247), (178, 24, 43)             # negative, zero, positive
FROM_LOW, FROM_HIGH = (np.subtract(end, MIDDLE) for end in (LOW, HIGH))
MOST = 96                                              # rows and columns of a picture; of a longer array, the first


def png(pixels: Array) -> str:
    """Return pixels from 0 to 255, of shape (height, width, 3) or (height, width), as a data URL."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(np.uint8).tobytes() for row in pixels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    body = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(body).decode()


def colours(values: Array) -> Array:
    """Return the colours of numbers: blue below 0, white at 0, red above, stronger for larger ones; grey for NaN."""
    missing, size = np.isnan(values)[..., None], np.abs(values)[..., None]
    ends = np.where(values[..., None] < 0, FROM_LOW, FROM_HIGH)
    largest = np.max(size, where=~missing, initial=0) or 1.0
    return np.where(missing, 150, np.rint(MIDDLE + size / largest * ends))


def heat_map(values: Array, name: str, picture: tuple[int, int] | None = None) -> str:
    """Return an image of an array: a cell for each number, or a picture for each row if it has as many pixels.

    Parameters
    ----------
    values : array
    name : str
        For the text beside the image.
    picture : pair of int, optional
        Height and width, if a row is a picture.  Numbers from 0 to 1 are drawn in grey.
    """
    grid = np.atleast_2d(values if values.ndim <= 2 else values.reshape(len(values), -1))
    seen = grid[~np.isnan(grid)]
    if not seen.size or np.isinf(seen).any():
        return '<span class="wrong">not finite</span>'
    if picture is not None and grid.shape[1] == picture[0] * picture[1]:
        tiles, whole = grid[:4].reshape(-1, *picture), len(grid) <= 4
        shades = 255 - np.rint(255 * tiles) if tiles.min() >= 0 and tiles.max() <= 1 else colours(tiles)
        rows = np.full((picture[0], len(tiles), picture[1] + 1, *shades.shape[3:]), 200)
        rows[:, :, :-1] = shades.swapaxes(0, 1)        # side by side, a line between them
        strip, scale = rows.reshape(picture[0], -1, *shades.shape[3:])[:, :-1], 6
        kind = "the first " * (not whole) + (
            f"{len(tiles)} picture{'s' * (len(tiles) > 1)} of {picture[0]} by {picture[1]} pixels")
    else:
        strip, whole = colours(grid[:MOST, :MOST]), max(grid.shape) <= MOST
        kind = f"heat map of {grid.shape[0]} by {grid.shape[1]} numbers"
        scale = max(2, min(max(3, min(16, 220 // strip.shape[1])), 160 // strip.shape[0]))
    words = f"{name}: {kind}, from {seen.min():.3g} to {seen.max():.3g}"
    rest = "" if whole else f'<span class="faint">a part of it: {kind}</span>'
    return (f'<img src="{png(strip)}" alt="{escape(words)}" width="{strip.shape[1] * scale}" '
            f'height="{strip.shape[0] * scale}">{rest}')


def bars(parts: dict[str, float], total: str) -> str:
    """Return the parts of a sum as bars, each starting where the one before ends, in nats."""
    starts = np.cumsum([0.0, *parts.values()])         # of each part, and last the sum of all
    at, low, unit, rows = starts[-1], starts.min(), 360 / (np.ptp(starts) or 1), []
    for i, (name, value, start) in enumerate([*zip(parts, parts.values(), starts), (total, at, 0.0)]):
        left, y = 150 + (min(start, start + value) - low) * unit, 8 + 22 * i
        rows.append(f'<text x="144" y="{y + 12}" text-anchor="end">{escape(name)}</text>'
                    f'<rect x="{left:.1f}" y="{y}" width="{max(abs(value) * unit, 1):.1f}" height="15" '
                    f'class="bar{" sum" if name == total else " up" if value > 0 else ""}"/>'
                    f'<text x="520" y="{y + 12}">{value:.3f}</text>')
    height = 14 + 22 * (len(parts) + 1)
    words = ", ".join(f"{n} {v:.3f}" for n, v in parts.items()) + f", {total} {at:.3f} nats"
    return f'<svg viewBox="0 0 590 {height}" class="bars" role="img" aria-label="{escape(words)}">{"".join(rows)}</svg>'


def graph(nodes: list[tuple[str, int, str, str]], edges: list[tuple[int, int, float]]) -> str:
    """Return a graph from left to right: nodes with a name, a column and two lines of text; edges with a norm."""
    columns = [column for _, column, *_ in nodes]
    most, drawn = max(map(columns.count, columns)), []
    width, height = 180 * (max(columns) + 1), 84 * most + 70
    centres = [(90 + 180 * column, 48 + 84 * (columns[:i].count(column) + (most - columns.count(column)) / 2))
               for i, column in enumerate(columns)]
    largest = max((norm for *_, norm in edges), default=1.0) or 1.0
    for k, (a, b, norm) in enumerate(edges):
        (x1, y1), (x2, y2), far = centres[a], centres[b], columns[b] - columns[a] > 1
        bend = height - 14 - 9 * (k % 3)
        curve = f"C{x1 + 90:.0f} {bend:.0f} {x2 - 90:.0f} {bend:.0f} " if far else "L"
        drawn.append(f'<path d="M{x1 + 66:.0f} {y1:.0f} {curve}{x2 - 66:.0f} {y2:.0f}" '
                     f'stroke-width="{1 + 5 * norm / largest:.1f}" class="edge"/>')
    boxes = "".join(f'<rect x="{x - 66:.0f}" y="{y - 29:.0f}" width="132" height="58" rx="5" class="node"/>' + "".join(
        f'<text x="{x:.0f}" y="{y + shift:.0f}" text-anchor="middle"{small}>{escape(line)}</text>'
        for line, shift, small in ((name, -11, ""), (value, 6, ' class="small"'), (gradient, 22, ' class="small"')))
        for (name, _, value, gradient), (x, y) in zip(nodes, centres))
    words = "; ".join(f"{name}: {value}, {gradient}" for name, _, value, gradient in nodes)
    return (f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'style="min-width:{int(width * 0.75)}px" role="img" aria-label="{escape(words)}">'
            f'{"".join(drawn)}{boxes}</svg>')
