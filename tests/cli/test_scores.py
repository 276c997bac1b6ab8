"""A run in Python in one line, and log p(x) row by row: both in the units of the data."""

import csv

import numpy as np
import pytest
from scipy import stats

from scratchvae import cli
from scratchvae.cli import commands


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A table whose columns have very different units, and a run on it."""
    home, rng = tmp_path_factory.mktemp("home"), np.random.default_rng(0)
    x = rng.standard_normal((300, 2)) * [1000.0, 0.01] + [5e4, 1.0]
    x[7] = [9e4, 1.0]                                  # an outlier
    kinds = rng.choice(["a", "b"], 300)
    lines = [f"{a!r},{kind},{b!r}" for (a, b), kind in zip(x.tolist(), kinds)]
    (home / "t.csv").write_text("\n".join(["income,kind,share", *lines]))
    patch = pytest.MonkeyPatch()
    patch.setattr(commands, "finish", lambda *_: None)
    assert cli.main(["train", "--data", str(home / "t.csv"), "--labels", "kind", "--likelihood", "gaussian", "--out",
                     str(home / "run"), "--latents", "1", "--hidden", "", "--epochs", "150",
                     "--learning-rate", "1e-2"]) == 0
    patch.undo()
    return home, x, kinds


def test_a_run_is_loaded_in_one_line_and_speaks_the_units_of_the_data(home):
    home, x, _ = home
    run = cli.load(home / "run")
    found = run.log_likelihood(x[50:], 200)
    expected = stats.norm(x[50:].mean(axis=0), x[50:].std(axis=0)).logpdf(x[50:]).sum(axis=1)
    assert abs(found.mean() - expected.mean()) < 1.5 and np.corrcoef(found, expected)[0, 1] > 0.5
    np.testing.assert_allclose(run.scaling.invert(run.scaling.apply(x)), x, rtol=1e-5)
    new = run.scaling.invert(run.model.sample(500, draw=True))
    assert abs(new[:, 0].mean() / 5e4 - 1) < 0.1 and abs(new[:, 1].mean() - 1) < 0.01
    with pytest.raises(ValueError, match="^folder must be a path"):
        cli.load(None)
    with pytest.raises(ValueError, match="is not the folder of a run"):
        cli.load(home)


def test_log_p_row_by_row_with_numbers_labels_and_parts(home, capsys):
    home, x, kinds = home
    assert cli.main(["evaluate", str(home / "run"), "--data", str(home / "t.csv"), "--labels", "kind",
                     "--samples", "200", "--rows", str(home / "rows.csv")]) == 0
    rows = list(csv.DictReader((home / "rows.csv").open()))
    assert [int(row["row"]) for row in rows] == list(range(300)) and [row["label"] for row in rows] == kinds.tolist()
    assert min(rows, key=lambda row: float(row["log_likelihood"]))["row"] == "7"
    for row in rows:
        assert abs(float(row["elbo"]) - float(row["reconstruction"]) + float(row["prior_matching"])) < 1e-3
    mean = np.mean([float(row["log_likelihood"]) for row in rows])
    assert f"before scaling  {mean:10.3f} nats" in capsys.readouterr().out


@pytest.mark.parametrize("split, numbers", [("test", range(9, 300, 10)),
                                            ("train", [i for i in range(300) if i % 10 != 9])])
def test_the_numbers_tell_which_rows_were_held_out(home, split, numbers):
    home, x, _ = home
    assert cli.main(["evaluate", str(home / "run"), "--split", split, "--samples", "1", "--rows",
                     str(home / f"{split}.npz")]) == 0
    assert np.load(home / f"{split}.npz")["row"].tolist() == list(numbers)


def test_rows_cannot_replace_what_is_read(home, capsys):
    home, _, _ = home
    assert cli.main(["evaluate", str(home / "run"), "--rows", str(home / "t.csv")]) == 2
    assert "would replace the data that are read" in capsys.readouterr().err
