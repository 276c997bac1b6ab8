"""A table of text, numbers, counts, 0 and 1, with missing cells, made up; and its columns beside those of another.

    python demos/table.py town.csv                     # writes the table
    python demos/table.py town.csv new.csv             # compares, column by column, once there is a second one

The people of three towns: the warmer the town, the more visits; smoking depends on the
town; one cell of twelve is missing.
"""

import csv
import sys

import numpy as np


def town(n=2000, missing=1 / 12, seed=0):
    """Return the names of the columns, and rows of text."""
    rng = np.random.default_rng(seed)
    city = rng.choice(["Bergen", "Oslo", "Tromsø"], n, p=[0.3, 0.5, 0.2])
    warmth = np.select([city == "Oslo", city == "Bergen"], [15, 12], 6) + 2 * rng.standard_normal(n)
    visits = rng.poisson(np.exp(0.1 * warmth))
    smokes = (rng.random(n) < np.where(city == "Oslo", 0.2, 0.6)).astype(int)
    rows = [[a, f"{b:.2f}", str(c), str(d)] for a, b, c, d in zip(city, warmth, visits, smokes)]
    return ["city", "warmth", "visits", "smokes"], [[cell if rng.random() > missing else "" for cell in row]
                                                    for row in rows]


def column(cells):
    """Return what tells a column: the share of each of its texts, or mean and standard deviation."""
    there = [cell for cell in cells if cell not in ("", "NA")]
    try:
        values = np.array(there, float)
        return {"mean": values.mean(), "standard deviation": values.std()}
    except ValueError:
        return {f"share of {text}": there.count(text) / len(there) for text in sorted(set(there))}


def compare(first, second):
    """Return a line for each number of each column, of both tables, and how far they are apart, in shares or stds."""
    (names, *rows), (others, *other_rows) = first, second
    lines = []
    for j, name in enumerate(names):
        one, two = column([row[j] for row in rows]), column([row[others.index(name)] for row in other_rows])
        for what, value in one.items():
            apart = abs(two.get(what, 0) - value) / one.get("standard deviation", 1.0)
            lines.append((name, what, value, two.get(what, 0), apart))
    return lines


def read(path):
    """Return all lines of a table, cell by cell."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def main(paths):
    """Write the table, or compare two."""
    if len(paths) == 1:
        names, rows = town()
        with open(paths[0], "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([names, *rows])
        return
    lines = compare(read(paths[0]), read(paths[1]))
    for name, what, one, two, apart in lines:
        print(f"{name[:24]:<24} {what[:24]:<24} {one:10.3f} {two:10.3f}  apart {apart:.3f}")
    print(f"largest distance: {max(line[-1] for line in lines):.3f}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(sys.argv[1:])
