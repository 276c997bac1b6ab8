"""The diagnosis put to the test: plant mistakes, and count how many are found, and named.

    python tests/mistakes                    # all: some minutes
    python tests/mistakes --held-out         # those of held_out.py, which the diagnosis was not tuned on
    python tests/mistakes --list             # and say of each what was answered

Each mistake of planted.py is made at several shapes, square and not; each of those that can happen to any gradient, to
every gradient of every function; some two at a time.  A place is right if the gradients that are named are
those that were made wrong; a kind is right if it is one of those that are a true answer.
"""

from __future__ import annotations

import argparse
import itertools
import linecache
import os
import sys
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np                                     # noqa: E402

import held_out                                        # noqa: E402
import planted                                         # noqa: E402
from planted import ANY_LINE                           # noqa: E402
from scratchvae.diagnose import diagnose_function      # noqa: E402

SHAPES = [{"n": 5, "d": 4, "m": 3, "z": 12}, {"n": 4, "d": 4, "m": 4, "z": 16}, {"n": 7, "d": 3, "m": 6, "z": 24}]
RIGHT = {**planted.RIGHT, **held_out.RIGHT}
NO_GRADIENT = {("dropout", "mask"), ("bernoulli", "x"), ("mse", "target"), ("sample", "eps")}      # None is no mistake


def made(name, source, sizes, seed=0):
    """Return forward, backward and inputs of a function of planted.py, at these sizes."""
    space, file = {"np": np}, f"<{name}, {len(source)}>"
    linecache.cache[file] = len(source), None, source.splitlines(True), file           # its lines can be shown
    exec(compile(source, file, "exec"), space)
    rng, inputs = np.random.default_rng(seed), {}
    for entry in RIGHT[name][0].split():
        argument, _, axes = entry.partition(":")
        shape = [sizes[axis] if axis in sizes else int(axis) for axis in axes.split(",")]
        inputs[argument] = rng.standard_normal(shape)
        if argument == "mask" or (argument == "x" and name == "bernoulli"):
            inputs[argument] = (inputs[argument] > 0).astype(float)
    return space["forward"], space["backward"], inputs


def edited(name, *changes):
    """Return the source of a function with these changes; each fragment must stand there once."""
    source = RIGHT[name][1]
    for old, new in changes:
        if source.count(old) != 1:
            raise SystemExit(f"{name}: {old!r} must stand there once; it does so {source.count(old)} times")
        source = source.replace(old, new)
    return source


def arguments(name):
    return [entry.partition(":")[0] for entry in RIGHT[name][0].split()]


def anywhere(name, argument, change):
    """Return the change that makes any gradient wrong: at the end of backward."""
    last = RIGHT[name][1].rstrip().rpartition("\n")[2]
    return last, f"    {change.replace('dv', 'd' + argument)}\n{last}"


def all_mistakes(half=planted):
    """Yield what to call a mistake, the function, its source, the sizes, and for each gradient its kinds."""
    for (name, old, new, wrong, kinds), sizes in itertools.product(half.WRONG, SHAPES):
        if wrong:
            yield f"{old} -> {new}", name, edited(name, (old, new)), sizes, {by: kinds for by in wrong.split()}
    for name in half.RIGHT:
        for i, argument in enumerate(arguments(name)):
            if (name, argument) == ("dropout", "mask"):
                continue
            for j, (change, kinds) in enumerate(ANY_LINE):
                if change == "dv = None" and (name, argument) in NO_GRADIENT:
                    continue
                if "len(dy)" in change and name in ("cross entropy", "ridge"):
                    continue                           # dy is one number
                source = edited(name, anywhere(name, argument, change))
                yield f"{change} ({argument})", name, source, SHAPES[(i + j) % 3], {argument: kinds}
    for name in half.RIGHT:                            # two at a time, in two gradients
        for a, b in itertools.combinations([a for a in arguments(name) if a != "mask"], 2):
            for (one, kinds), (two, others) in ((ANY_LINE[0], ANY_LINE[1]), (ANY_LINE[6], ANY_LINE[3])):
                last, first = anywhere(name, a, one)
                source = edited(name, (last, first.replace(last, anywhere(name, b, two)[1])))
                yield f"{one} ({a}), {two} ({b})", name, source, SHAPES[0], {a: kinds, b: others}


def answer(name, source, sizes, expected):
    """Return place, kind and text: place True or False; kind "right", "unknown" or "wrong"."""
    forward, backward, inputs = made(name, source, sizes)
    diagnosis = diagnose_function(forward, backward, **inputs)
    found = {finding.tensor: finding.kind for finding in diagnosis.findings}
    structural = {"nothing returned", "shape", "integer", "not summed"}
    place = set(found) == set(expected) or (len(found) == 1 and set(found) <= set(expected)
                                            and set(found.values()) <= structural)
    told = [kind in expected[by] or kind == "unknown" for by, kind in found.items() if by in expected]
    known = [kind in expected[by] and kind != "unknown" for by, kind in found.items() if by in expected]
    kind = "wrong" if not all(told) else "right" if known and all(known) else "unknown"
    return place, kind, diagnosis


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="say of each what was answered, if it is not right")
    parser.add_argument("--held-out", action="store_true", help="the half that the diagnosis was not tuned on")
    args = parser.parse_args(words)
    table, start = {}, time.perf_counter()
    for text, name, source, sizes, expected in all_mistakes(held_out if args.held_out else planted):
        began = time.perf_counter()
        place, kind, diagnosis = answer(name, source, sizes, expected)
        seconds = time.perf_counter() - began
        row = table.setdefault(name, Counter())
        row.update(all=1, place=place, **{kind: 1})
        row["seconds"] = max(row["seconds"], seconds)
        if args.list and (not place or kind != "right"):
            print(f"--- {name} {tuple(sizes.values())}: {text}\n    expected {expected}\n{diagnosis}\n")
    print(f"{'function':<12} {'mistakes':>8} {'place':>7} {'kind':>7} {'unknown':>8} {'wrong kind':>10} {'slowest':>9}")
    total = Counter()
    for name, row in table.items():
        total.update({key: row[key] for key in row if key != "seconds"})
        line(name, row)
    total["seconds"] = max(row["seconds"] for row in table.values())
    line("all", total)
    print(f"{time.perf_counter() - start:.0f} s")
    return int(total["place"] < 0.98 * total["all"] or total["right"] < 0.9 * total["all"]
               or total["wrong"] > 0.005 * total["all"])


def line(name, row):
    n = row["all"]
    print(f"{name:<12} {n:8d} {row['place'] / n:7.1%} {row['right'] / n:7.1%} {row['unknown'] / n:8.1%} "
          f"{row['wrong'] / n:10.1%} {row['seconds']:7.2f} s")
