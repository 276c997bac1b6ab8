# %% [markdown]
# # 10. A gallery of bugs, and which check catches which
#
# **What you will see.** Real mistakes, made one at a time in this very library (gallery/bugs.py), and eleven small
# checks (gallery/checks.py), each run against every bug.
#
# "The loss goes down" is true of nearly every wrong VAE. "The gradients are right" means that backward matches forward
# (lesson 2). Whether forward matches the math takes known answers: a density of SciPy, a KL by sampling, a model whose
# log p(x) is known (lesson 5).
#
# **The math.** MATH (10.1) is the gradient check; (3.5) the KL that is compared with its mean over samples; (5.1) the
# identity that holds at the exact posterior; section 11 the model in which that is known; (5.5) the estimate that is
# compared with an integral.
#
# **Words.** An *optimiser* turns gradients into steps. *Momentum* adds a part of the last step; *Adam* divides each
# step by the usual size of its gradient (MATH (9.1), (9.2)). *Glorot* and *He* are two rules for the variance of the
# first weights (MATH (1.7), (1.8)); *fan-in* and *fan-out* are the numbers of inputs and outputs of a layer. *Detached*
# means: treated as a constant, so that no gradient passes. In the bugs of the hierarchy z_t is the *point* of log p(z_t
# | z_{t+1}), and z_{t+1} the *condition*.
#
# `python demos/10_bugs.py` takes some 10 seconds.

# %%
import lesson                                          # first: it sets the number of threads

from itertools import groupby

import numpy as np
from gallery.bugs import BUGS
from gallery.checks import CHECKS, catch

from scratchvae.train.plotting import figure

# %% [markdown]
# ## The table, printed and drawn


# %%
def show(caught):
    """Print the checks, the bugs, and the table; caught[i, j] says whether check j caught bug i."""
    print("The checks; the library passes them all.\n")
    for name, check in CHECKS.items():
        print(f"  {' '.join(name.split()):<16} {check.__doc__}")
    print("\nThe bugs, by the file in which they are made.")
    for module, group in groupby(BUGS, lambda bug: bug.module):
        print(f"\n{module}.py")
        for bug in group:
            print(f"  {bug.name}: {bug.story}")
    print("\nWhich check catches which.\n")
    heads = [("\n" + name).split("\n")[-2:] for name in CHECKS]                # two lines each
    rows = [("", line) for line in zip(*heads)]
    rows += [(bug.name, ["caught" if cell else "-" for cell in row]) for bug, row in zip(BUGS, caught)]
    rows += [("", []), ("caught by this check", caught.sum(axis=0)),
             ("by this check alone", caught[caught.sum(axis=1) == 1].sum(axis=0))]
    for name, cells in rows:
        line = " ".join(f"{cell:>{max(6, *map(len, head))}}" for cell, head in zip(cells, heads))
        print(f"{name:<33} {line}".rstrip())


def verdict(caught):
    """Return the last line: how many bugs are caught, and how many each check alone would miss."""
    (first, n), *others = zip((" ".join(name.split()) for name in CHECKS), (~caught).sum(axis=0))
    return (f"{len(BUGS)} bugs, {caught.any(axis=1).sum()} caught; the {first} check alone misses {n}, "
            + ", ".join(f"{name} {n}" for name, n in others))


def draw(caught):
    """Draw the table: a square for a bug that is caught, dark where no other check does; return the figure."""
    step, left, top = 0.31, 2.75, 0.195 * len(BUGS)    # in inches: between columns; where they start; the first row
    right = left + step * (len(CHECKS) + 0.5)
    some, only, none = lesson.SKY, lesson.BLUE, "0.75"
    page = figure(right + 5.9, top + 1.7)
    ax = page.subplots()
    ax.set(xlim=(0, right + 5.8), ylim=(-0.4, top + 1))
    ax.axis("off")
    x = left + step * (np.arange(len(CHECKS)) + 0.75)
    y = top - 0.195 * (np.arange(len(BUGS) + 1) + 0.5)
    for j, name in enumerate(CHECKS):
        ax.text(x[j], top + 0.08, " ".join(name.split()), rotation=50, rotation_mode="anchor", fontsize=8)
        ax.text(x[j], y[-1] - 0.05, caught[:, j].sum(), fontsize=8, ha="center", va="center")
    ax.text(left, y[-1] - 0.05, f"caught, of {len(BUGS)}", fontsize=8, ha="right", va="center")
    for i, (bug, row) in enumerate(zip(BUGS, caught)):
        if i == 0 or BUGS[i - 1].module != bug.module:
            ax.axhline(y[i] + 0.0975, color="0.8", linewidth=0.6)
            ax.text(0, y[i], f"{bug.module}.py", fontsize=8, color="0.4", va="center")
        ax.text(left, y[i], bug.name, fontsize=8, ha="right", va="center")
        ax.text(right, y[i], bug.story, fontsize=8, color="0.25", va="center")
        ax.plot(x[~row], 0 * x[~row] + y[i], ".", color=none, markersize=3)
        ax.plot(x[row], 0 * x[row] + y[i], "s", color=only if row.sum() == 1 else some, markersize=9)
    ax.axhline(y[-1] + 0.0975, color="0.4", linewidth=0.8)
    ax.set_title(f"{len(BUGS)} bugs, made one at a time in the library's own code, and which check catches which",
                 fontsize=11, loc="left")
    for k, (text, marker, colour) in enumerate([("caught", "s", some), ("caught by this check alone", "s", only),
                                                ("missed", ".", none)]):
        ax.plot(0.06, top + 0.8 - 0.2 * k, marker, color=colour, markersize=9 if marker == "s" else 3)
        ax.text(0.2, top + 0.8 - 0.2 * k, text, fontsize=8, va="center")
    return page


# %% [markdown]
# ## How to read it
#
# By column: no check sees everything, and the curve of training next to nothing. By row: every bug is caught, 25 of the
# 40 by exactly one check.

# %%
if __name__ == "__main__":
    args = lesson.parse(lesson.options("Lesson 10: a gallery of bugs, and which check catches which."))

    failed = [check.__doc__ for check in CHECKS.values() if not check()]
    if failed:
        raise SystemExit("the library itself fails: " + " ".join(failed))
    caught = np.array([catch(bug) for bug in BUGS])
    show(caught)
    print()
    lesson.save(draw(caught), "10_bugs", args)
    print(verdict(caught))

# %% [markdown]
# The last line that the run prints is `40 bugs, 40 caught; the gradient check alone misses 27`. The best-known check
# passes two of three wrong programs.
#
# ## Try this
#
# - *Make a bug of your own*: add one line to `BUGS` in gallery/bugs.py, such as a factor that is missing in a formula
#   you would like to be sure of, and see which check catches it. One that none catches is a check that is missing.
# - *Take a check away*: which bugs would then go unseen? The row "by this check alone" counts them: the table prints
#   `by this check alone 11 1 1 1 4 0 1 2 2 2 0`.
