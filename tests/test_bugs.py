"""The gallery of bugs (demos/gallery) and the checks against it (demos/10_bugs.py): what their table says is so."""

import re

import numpy as np
import pytest
from beside import DEMOS, load

import scratchvae

NAMES = ["gradient", "KL by sampling", "exact posterior", "densities", "steps by hand", "T = 1 is VAE", "quadrature",
         "new data", "first weights", "data", "it trains"]
TABLE = {                                              # the checks that catch them: the bugs
    "gradient": [
        "bias gradient averaged", "a leak in the forward alone", "reshape for transpose", "tanh' of the wrong variable",
        "ReLU masks by the gradient", "noise drawn twice", "gradient by the probability", "gradient not set to zero",
        "gradient overwritten", "z_t detached as the point", "z_{t+1} detached as the condition"],
    "gradient, it trains": ["sign of dKL/dmu"],
    "gradient, T = 1 is VAE": ["reconstruction spares logvar"],
    "KL by sampling": ["KL(p || q) for KL(q || p)"],
    "KL by sampling, exact posterior": [
        "KL without its 1/2", "KL averaged over dimensions", "prior matching at the wrong level",
        "one noise for all levels", "sign of the entropy", "printed form sold as exact"],
    "KL by sampling, exact posterior, quadrature, new data": ["std = exp(logvar)"],
    "exact posterior": ["log-ratio of the top level alone"],
    "exact posterior, densities": ["log 2π dropped"],
    "exact posterior, densities, new data": ["squared error for log p(x | z)"],
    "exact posterior, quadrature": ["log K missing"],
    "densities": ["softplus that overflows"],
    "densities, quadrature": ["pixels averaged, KL summed", "sigmoid twice"],
    "quadrature": ["mean of logs for log of mean"],
    "new data": ["first bias flipped", "new codes drawn too wide"],
    "steps by hand": ["momentum with the wrong sign", "Adam without bias correction", "epsilon inside the root",
                      "Adam's betas swapped"],
    "steps by hand, it trains": ["a step that goes nowhere"],
    "first weights": ["first weights all zero", "He's fan-in taken for fan-out"],
    "data": ["held-out digits in training", "pixels of 0 to 16, divided by 255"],
}
EXPECTED = {name: checks.split(", ") for checks, names in TABLE.items() for name in names}


pytest.importorskip("matplotlib")
lesson, gallery = load(DEMOS, "10_bugs"), load(DEMOS, "gallery.bugs")
each_bug = pytest.mark.parametrize("bug", gallery.BUGS, ids=lambda bug: bug.name)
each_check = pytest.mark.parametrize("check", lesson.CHECKS.values(), ids=NAMES)


@pytest.fixture(scope="module")
def caught():
    """The table: caught[i, j] says whether check j caught bug i."""
    return np.array([lesson.catch(bug) for bug in gallery.BUGS])


@each_check
def test_the_library_passes(check):
    assert check()


def test_no_bug_is_left_out():
    names = [bug.name for bug in gallery.BUGS]
    assert len(names) == len(set(names)) >= 24
    assert set(names) == set(EXPECTED)
    assert [" ".join(name.split()) for name in lesson.CHECKS] == NAMES


@each_bug
def test_every_bug_is_caught_by_these_checks_and_missed_by_the_others(bug, caught):
    row = caught[gallery.BUGS.index(bug)]
    assert row.any()
    assert [name for name, cell in zip(NAMES, row) if cell] == EXPECTED[bug.name]


@pytest.mark.parametrize("name, gradient, sampling, exact", [
    ("std = exp(logvar)", "misses", "catches", "catches"), ("noise drawn twice", "catches", "misses", "misses"),
    ("sign of dKL/dmu", "catches", "misses", "misses"), ("KL without its 1/2", "misses", "catches", "catches"),
    ("KL averaged over dimensions", "misses", "catches", "catches"),
])
def test_five_real_bugs_of_which_a_gradient_check_misses_three(name, gradient, sampling, exact, caught):
    row = caught[[bug.name for bug in gallery.BUGS].index(name)]
    assert ["catches" if cell else "misses" for cell in row[:3]] == [gradient, sampling, exact]


@each_bug
def test_every_bug_is_made_and_undone(bug):
    """Every fragment still applies; and after the block, even one that fails, the code is the library's own."""
    functions = {where: gallery.find(where) for where, _, _ in bug.changes}
    before = {where: function.__code__ for where, function in functions.items()}
    with pytest.raises(ZeroDivisionError), gallery.broken(bug):
        for where, function in functions.items():
            assert function.__code__ is not before[where]
        raise ZeroDivisionError
    assert all(function.__code__ is before[where] for where, function in functions.items())


def test_who_imported_a_function_by_its_name_has_the_bug_too():
    bug = gallery.Bug("a", "b", [("layers:sigmoid", "/ (1 + np.exp(", "/ (2 + np.exp(")])
    with gallery.broken(bug):
        assert scratchvae.Bernoulli(1).mean(np.zeros((1, 1))) == 1 / 3
    assert scratchvae.Bernoulli(1).mean(np.zeros((1, 1))) == 1 / 2


@pytest.mark.parametrize("fragment, times", [("no such thing", 0), ("std", 2)])
def test_a_fragment_that_is_not_there_once_is_an_error(fragment, times):
    """The gallery cannot rot in silence: the message says which bug, where, and what was looked for."""
    bug = gallery.Bug("std = exp(logvar)", "", [("gaussian:sample", fragment, "")])
    message = (f"bug 'std = exp(logvar)': gaussian:sample must contain {fragment!r} exactly once; "
               f"it does so {times} times")
    with pytest.raises(ValueError, match=re.escape(message)), gallery.broken(bug):
        pass


def test_what_is_printed_and_drawn(caught, capsys, tmp_path):
    """Every bug has its story and its row; the last line counts; the figure can be written."""
    lesson.show(caught)
    printed = capsys.readouterr().out.splitlines()
    for bug, row in zip(gallery.BUGS, caught):
        assert f"  {bug.name}: {bug.story}" in printed
        line, = (line for line in printed if line.startswith(f"{bug.name:<33} "))
        assert line[34:].split() == ["caught" if cell else "-" for cell in row]
    last = lesson.verdict(caught)
    assert last.startswith(f"{len(caught)} bugs, {len(caught)} caught; the gradient check alone misses 27, ")
    assert last.endswith(", it trains 38")
    lesson.draw(caught).savefig(tmp_path / "bugs.png")
    assert (tmp_path / "bugs.png").stat().st_size > 10_000
