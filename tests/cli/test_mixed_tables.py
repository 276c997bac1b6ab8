"""Tables of text, counts, 0 and 1, and missing cells: trained, measured, drawn from, and written as they were read."""

import csv
import json
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from scratchvae import cli
from scratchvae.cli import folders, main, options, output
from scratchvae.data import columns
from scratchvae.train import checkpoint

FAST = ["--epochs", "2", "--hidden", "8", "--latents", "2"]


def town(n=200, missing=0.1):
    """Return the rows of a table whose columns depend on each other: text, number, count, 0 and 1."""
    rng = np.random.default_rng(0)
    city = rng.choice(["Oslo", "Bergen", "Tromsø"], n, p=[0.5, 0.3, 0.2])
    warm = np.select([city == "Oslo", city == "Bergen"], [15, 12], 6) + 2 * rng.standard_normal(n)
    visits, smokes = rng.poisson(np.exp(0.1 * warm)), (rng.random(n) < np.where(city == "Oslo", 0.2, 0.6)).astype(int)
    rows = [[c, f"{t:.2f}", str(v), str(s)] for c, t, v, s in zip(city, warm, visits, smokes)]
    return [[cell if rng.random() > missing else "NA" for cell in row] for row in rows]


def write(path, rows, names=("city", "warm", "visits", "smokes")):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([names, *rows])


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_no_cell_that_is_drawn_is_a_formula(tmp_path):
    """A spreadsheet would compute it."""
    texts = np.array([["=1+1", "-2"], ["@a", "+3"], ["-a", "b"]], object)
    output.write_numbers(tmp_path / "x.csv", {"x": texts}, ["=A", "b"])
    assert read(tmp_path / "x.csv") == [["'=A", "b"], ["'=1+1", "-2"], ["'@a", "+3"], ["'-a", "b"]]
    output.write_numbers(tmp_path / "x.csv", {"label": np.array(["=1", "2"])})
    assert read(tmp_path / "x.csv") == [["label"], ["'=1"], ["2"]]


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("t.csv", town())
    write("whole.csv", town(missing=0))
    return tmp_path


def run(capsys, *words, code=0):
    capsys.readouterr()
    assert cli.main([*words]) == code, capsys.readouterr().err
    out, err = capsys.readouterr()
    return err if code else out


def train(capsys, *words, data="t.csv", code=0):
    return run(capsys, "train", "--data", data, "--out", "run", "--overwrite", "--likelihood", "mixed", *FAST, *words,
               code=code)


LEAVE = ["--missing", "leave-out", "--kinds", "visits=poisson"]


def test_kinds_are_chosen_by_rule_and_said_by_name(table, capsys):
    said = train(capsys, "--missing", "leave-out").splitlines()
    for line in ("gaussian: 'warm', 'visits'", "bernoulli: 'smokes'", "categorical: 'city'"):
        assert line in said
    assert any(line.startswith("column 'visits' has whole numbers with a variance near their mean")
               and "visits=poisson" in line for line in said)
    said = train(capsys, "--missing", "leave-out", "--kinds", "visits=poisson,smokes=categorical").splitlines()
    for line in ("gaussian: 'warm'", "poisson: 'visits'", "categorical: 'city', 'smokes'"):
        assert line in said
    assert not any("has few" in line for line in said)
    config = json.loads((table / "run" / "config.json").read_text())
    assert config["x_dim"] == 3 + 1 + 1 + 2 and config["columns"] == ["city", "warm", "visits", "smokes"]
    assert config["cells"][0]["levels"] == ["Bergen", "Oslo", "Tromsø"]


def test_samples_and_reconstructions_are_such_tables(table, capsys):
    train(capsys, *LEAVE)
    run(capsys, "sample", "run", "--count", "50", "--out", "new.csv")
    names, *rows = read("new.csv")
    assert names == ["city", "warm", "visits", "smokes"] and len(rows) == 50
    assert {row[0] for row in rows} <= {"Bergen", "Oslo", "Tromsø"} and {row[3] for row in rows} == {"0", "1"}
    assert all(row[2].isdecimal() for row in rows) and len({row[1] for row in rows}) > 40
    warm = [float(row[1]) for row in town() if row[1] != "NA"]                 # rounded as the table is, in its range
    assert all(len(row[1].partition(".")[2]) == 2 and min(warm) <= float(row[1]) <= max(warm) for row in rows)
    run(capsys, "reconstruct", "run", "--count", "20", "--out", "again.csv")
    names, *rows = read("again.csv")
    assert names[4:] == [f"reconstruction_{name}" for name in names[:4]]
    assert [row[:4] for row in rows] == town()[9::10]                          # as they are in the file, with NA
    assert all(row[4] in ("Bergen", "Oslo", "Tromsø") and 0 < float(row[7]) < 1 for row in rows)
    run(capsys, "sample", "run", "--out", "new.npz")
    assert np.load("new.npz")["x"].shape == (100, 4)
    assert read("run/samples.csv")[0] == ["city", "warm", "visits", "smokes"]


def test_rows_are_scored_in_the_units_of_the_table(table, capsys):
    """log p of a row without its gaussian cell is a probability, and below 0; with it, Σ log scale is taken off."""
    train(capsys, *LEAVE)
    said = run(capsys, "evaluate", "run", "--data", "t.csv", "--rows", "scores.csv", "--samples", "50")
    assert "before scaling" in said
    scores = [float(row[1]) for row in read("scores.csv")[1:]]
    assert len(scores) == 200 and np.isfinite(scores).all()
    loaded = folders.load("run")
    rows = np.array(town(), object)
    x, scale = loaded.scaling.apply(rows), loaded.scaling.columns[1].scale
    there = rows[:, 1] != "NA"
    np.testing.assert_allclose(loaded.log_scales(x), np.where(there, np.log(scale), 0))
    np.testing.assert_allclose(loaded.log_likelihood(rows, 50), loaded.model.log_likelihood(x, 50)
                               - np.where(there, np.log(scale), 0))
    assert loaded.log_scales(np.zeros((1, loaded.config["x_dim"])))[0] == pytest.approx(np.log(scale))
    assert max(score for score, is_there in zip(scores, there) if not is_there) < 0


def test_the_way_to_the_model_and_back(table):
    made = columns.choose(np.array(town(), object), ["city", "warm", "visits", "smokes"], {2: "poisson"}, True)
    made = columns.standardised(made, np.array(town(), object))
    x = made.apply(np.array(town(), object), np.float64)
    assert x.shape == (200, made.x_dim) == (200, 6)
    back = made.invert(x)
    for row, again in zip(town(), back):
        assert [cell.replace("NA", "") for cell in row[::2]] == list(again[::2])
        assert row[1] == "NA" and again[1] == "" or float(row[1]) == pytest.approx(float(again[1]))
    assert np.nanmean(x[:, 3]) == pytest.approx(0) and np.nanstd(x[:, 3]) == pytest.approx(1)
    gone = np.isnan(x[:, :3])
    assert (gone.all(axis=1) == gone.any(axis=1)).all() and (np.nansum(x[:, :3], axis=1) == ~gone[:, 0]).all()


def test_rows_from_python_may_be_of_numbers_and_text(table):
    made = columns.Table([columns.Column("zip", "categorical", ["7", "08"]), columns.Column("n", "poisson")], True)
    np.testing.assert_array_equal(made.apply([["08", 3], [7.0, np.nan], [None, "2.0"]]),
                                  [[0, 1, 3], [1, 0, np.nan], [np.nan, np.nan, 2]])


def test_resumed_and_used_runs_know_their_columns(table, capsys):
    train(capsys, *LEAVE)
    run(capsys, "train", "--resume", "run", "--epochs", "3")
    run(capsys, "encode", "run", "--out", "codes.csv")
    run(capsys, "interpolate", "run", "--out", "walk.csv")
    run(capsys, "gradcheck", "--data", "t.csv", "--likelihood", "mixed", "--missing", "leave-out", *FAST[2:])


def test_no_header_npy_and_chosen_columns(table, capsys):
    (table / "bare.csv").write_text("\n".join(",".join(row) for row in [["1", "2.5", "3", "1"], *town(missing=0)[:50]])
                                    .replace("Oslo", "7").replace("Bergen", "8").replace("Tromsø", "x"))
    assert "categorical: '0'" in train(capsys, data="bare.csv").splitlines()
    np.save("x.npy", np.random.default_rng(0).integers(0, 2, (40, 3)))
    assert "bernoulli: '0', '1', '2'" in train(capsys, data="x.npy").splitlines()
    assert "categorical: 'city'" in train(capsys, "--columns", "city,smokes", *LEAVE[:2]).splitlines()


@pytest.mark.parametrize("words, says", [
    (["--missing", "refuse"], "'t.csv': read as CSV, line 3: column 'city' has a missing cell, 'NA': fill it, "
                              "leave out its row, or use --likelihood mixed --missing leave-out"),
    (["--kinds", "town=poisson", *LEAVE[:2]], "--kinds: there is no single column 'town'"),
    (["--kinds", "city", *LEAVE[:2]], "--kinds must be NAME=KIND"),
    (["--kinds", "city=normal", *LEAVE[:2]], "--kinds must be NAME=KIND,... with kinds of gaussian, lognormal, hur"),
    (["--kinds", "city=gaussian", *LEAVE[:2]], "'t.csv': read as CSV, line 2: column 'city' must have finite numbers"),
    (["--kinds", "warm=poisson", *LEAVE[:2]], ".*: column 'warm' must have whole numbers of at least 0"),
    (["--kinds", "visits=bernoulli", *LEAVE[:2]], ".*: column 'visits' must have 0 and 1 alone"),
    (["--scaling", "unit", *LEAVE[:2]], "--scaling must be auto, standardise or none"),
    (["--binarize", "threshold"], "--likelihood mixed cannot be combined with --model diff"),
    (["--model", "diffusion"], "--likelihood mixed cannot be combined with --model diffusion"),
    (["--likelihood", "gaussian", "--without", "city", "--data", "whole.csv", "--missing", "leave-out"],
     "--missing is only for --likelihood mixed; got gaussian"),
    (["--likelihood", "gaussian", "--without", "city", "--data", "whole.csv", "--kinds", "a=poisson"],
     "--kinds is only for --likelihood mixed; got gaussian"),
])
def test_what_cannot_be_is_said_in_one_sentence(table, capsys, words, says):
    words = [word for word in words if word not in FAST] if "diffusion" not in words else words
    capsys.readouterr()
    fast = FAST if "diffusion" not in words else FAST[:4]
    assert cli.main(["train", "--data", "t.csv", "--out", "new", "--likelihood", "mixed", *fast, *words]) == 2
    err = capsys.readouterr().err
    assert re.match(f"scratchvae: {says}", err) and err.count("\n") == 1, err
    assert not (table / "new").exists()


@pytest.mark.parametrize("column, says", [
    (["5"] * 40, "column 'a' has the same value in every row"), (["x"] * 40, "column 'a' has the same value"),
    ([f"{17 * 10 ** 17 + i}" for i in range(40)], "column 'a' has the same value in every row, to 16 digits"),
    ([f"{i}e-300" for i in range(40)], "column 'a' has numbers too close together to be scaled"),
    (["inf", *map(str, range(39))], "line 2: column 'a' must have finite numbers; got 'inf': correct it, or leave it"),
    (["NA"] * 40, "column 'a' has nothing but missing cells: .* --without a"),
    ([f"{i},5" for i in range(150)], "column 'a' has numbers written as text, such as '0,5': .* --decimal ,"),
    ([f"name {i}" for i in range(150)], "column 'a' has 150 different texts in 150 cells, .* --kinds a=categorical"),
])
def test_columns_that_tell_nothing_or_too_much(table, capsys, column, says):
    write("odd.csv", [[cell, str(i % 7)] for i, cell in enumerate(column)], ("a", "b"))
    assert re.search(says, train(capsys, *LEAVE[:2], data="odd.csv", code=2))


def test_other_data_must_have_the_texts_and_columns_of_the_run(table, capsys):
    train(capsys, *LEAVE)
    write("other.csv", [["Paris", "1", "2", "1"], ["Oslo", "1", "2", "1"]])
    assert "'other.csv': read as CSV, line 2: column 'city' must have 'Bergen', 'Oslo', 'Tromsø'; got 'Paris'" in run(
        capsys, "evaluate", "run", "--data", "other.csv", code=2)
    write("other.csv", [["1", "2", "1"]] * 3, ("warm", "visits", "smokes"))
    said = run(capsys, "evaluate", "run", "--data", "other.csv", code=2)
    assert "it lacks 'city' and has none besides" in said


@pytest.mark.parametrize("text, hint", [
    ("True", "text is for categories of --likelihood mixed"), ("NA", "--missing leave-out"),
    ("", "--missing leave-out"), ("?", "--missing leave-out"), ("Oslo", "text is for categories of --likelihood mixed"),
])
def test_other_likelihoods_advise_a_mixed_one(table, capsys, text, hint):
    write("odd.csv", [["1.5", "2"], [text, "3"]], ("a", "b"))
    assert hint in run(capsys, "train", "--data", "odd.csv", "--out", "new", "--likelihood", "gaussian", code=2)


FORGED = [
    ("cells", None), ("cells", 3), ("cells", []), ("cells", [3]), ("cells", [{"kind": "gaussian"}] * 4),
    ("cells", [{"name": "a", "kind": "gaussian", "shift": "x"}] * 4), ("missing", "sometimes"), ("kinds", 3),
    ("cells", [{"name": "a", "kind": "categorical", "levels": ["x"]}] * 4), ("columns", ["a"]),
    ("cells", [{"name": "a", "kind": "gaussian", "scale": 0}] * 4), ("x_dim", 7), ("likelihood", "gaussian"),
    ("cells", [{"name": "a", "kind": "gaussian", "width": 2}] * 4),
]


@pytest.mark.parametrize("name, value", FORGED)
def test_forged_columns_of_a_checkpoint_are_refused(table, capsys, name, value):
    train(capsys, *LEAVE)
    found = folders.load("run")
    found.config[name] = value
    checkpoint.save(table / "run" / "checkpoint.npz", found.model, found.optimizer, found.state, found.config)
    assert "checkpoint.npz" in run(capsys, "evaluate", "run", code=2)


def test_the_options_survive_the_config():
    options.confirm({**options.DEFAULTS, "latents": [2], "likelihood": "mixed", "kinds": ["a,b=poisson", "c=gaussian"],
                     "missing": "leave-out"})


@pytest.mark.slow
def test_the_commands_of_the_readme_draw_a_table_like_the_one_they_learnt(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    demo = runpy.run_path(str(Path(__file__).parents[2] / "demos" / "table.py"))
    demo["main"](["town.csv"])
    run(capsys, "train", "--data", "town.csv", "--likelihood", "mixed", "--kinds", "visits=poisson", "--missing",
        "leave-out", "--latents", "4", "--hidden", "64", "--out", "run")
    run(capsys, "sample", "run", "--count", "2000", "--out", "new.csv")
    apart = {line[:2]: line[-1] for line in demo["compare"](read("town.csv"), read("new.csv"))}
    assert len(apart) == 3 + 2 * 3 and max(apart.values()) < 0.15, apart


def test_runs_older_than_mixed_columns_are_read(table, capsys, monkeypatch):
    train(capsys, "--likelihood", "gaussian", "--without", "city,smokes", data="whole.csv")
    found = folders.load("run")
    for name in ("cells", "kinds", "missing"):
        del found.config[name]
    checkpoint.save(table / "run" / "checkpoint.npz", found.model, found.optimizer, found.state, found.config)
    assert folders.load("run").config["cells"] is None
    assert main(["evaluate", "run", "--samples", "5"]) == 0
