"""Columns of a table: which ones are looked at, and which ones a Gaussian is wrong for, told before training."""

import json

import numpy as np
import pytest

from scratchvae import cli
from scratchvae.cli import commands, folders, options

FAST = ["--epochs", "1", "--hidden", "4", "--likelihood", "gaussian"]


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A table with a column of each kind."""
    monkeypatch.setattr(commands, "finish", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    columns = {"height": rng.standard_normal(60), "income": rng.integers(0, 90_000, 60),
               "smokes": rng.integers(0, 2, 60), "children": rng.integers(0, 5, 60),
               "planet": np.full(60, 3)}
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*(c.tolist() for c in columns.values())))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    return tmp_path


def train(capsys, *words, code=0):
    capsys.readouterr()
    assert cli.main(["train", "--data", "t.csv", "--out", "run", "--overwrite", *FAST, *words]) == code
    out, err = capsys.readouterr()
    return err if code else out


def test_a_constant_column_is_refused_and_nothing_is_written(table, capsys):
    says = train(capsys, code=2)
    assert "column 'planet' has the same value in every row" in says and "--without planet" in says
    assert not (table / "run").exists()


def test_columns_that_are_no_gaussians_are_named_with_the_remedy_before_training(table, capsys):
    lines = train(capsys, "--without", "planet").splitlines()
    assert any(line.startswith("column 'smokes' has few different numbers")
               and line.endswith("--kinds smokes=categorical, with --likelihood mixed") for line in lines)
    assert any(line.startswith("column 'children' has whole numbers with a variance near") for line in lines)
    assert not any("'height' has" in line for line in lines)
    assert [line.startswith("epoch 1") for line in lines].index(True) > 3              # before training
    assert "has" not in train(capsys, "--columns", "height").split("columns:")[1].splitlines()[1]


@pytest.mark.parametrize("words, left", [
    (["--columns", "height,smokes"], ["height", "smokes"]), (["--columns", "smokes,height"], ["height", "smokes"]),
    (["--without", "planet"], ["height", "income", "smokes", "children"]),
    (["--columns", "0,3"], ["height", "children"]),
    (["--columns", "height,children", "--without", "children"], ["height"]),
    (["--without", '"planet","smokes"'], ["height", "income", "children"]),
    (["--labels", "planet", "--without", "income"], ["height", "smokes", "children"]),
])
def test_columns_are_chosen_by_name_or_number_and_other_data_likewise(table, capsys, words, left):
    train(capsys, *words)
    config = json.loads((table / "run" / "config.json").read_text())
    assert config["columns"] == left and config["x_dim"] == len(left)
    assert cli.main(["evaluate", "run", "--samples", "1"]) == 0
    other = ["evaluate", "run", "--data", "t.csv", "--samples", "1"]
    other += ["--labels", "planet"] if "--labels" in words else []
    assert cli.main(other) == 0
    assert cli.main(["train", "--resume", "run", "--epochs", "2"]) == 0


@pytest.mark.parametrize("words, says", [
    (["--columns", "weight"], "--columns: there is no single column 'weight'; there are 'height'"),
    (["--without", "9"], "--without: there is no single column '9'"),
    (["--columns", ""], "argument --columns: it must be names of columns"),
    (["--columns", "height", "--without", "height"], "--without leaves no column to look at"),
])
def test_columns_that_are_not_there(table, capsys, words, says):
    assert says in train(capsys, *words, code=2)


def test_the_rows_held_out_are_announced_and_can_be_had(table, capsys):
    said = train(capsys, "--columns", "height", "--hold-out", "7")
    assert "held out: every 7th row; their numbers, counted from 0, are in run" in said
    rows = (table / "run" / "held_out.csv").read_text().split()
    assert rows == ["row", *map(str, range(6, 60, 7))]
    assert "held out:" not in train(capsys, "--columns", "height", "--hold-out", "0")


def test_labels_of_an_idx_file_are_another_file(table, capsys):
    x, y = np.random.default_rng(0).integers(0, 256, (40, 2, 2)), np.arange(40) % 10
    for name, array in (("x.idx", x), ("y.idx", y)):
        shape = b"".join(length.to_bytes(4, "big") for length in array.shape)
        (table / name).write_bytes(bytes([0, 0, 8, array.ndim]) + shape + array.astype("u1").tobytes())
    words = ["train", "--data", "x.idx", "--labels", "y.idx", "--out", "new", "--epochs", "1", "--hidden", "4"]
    assert cli.main(words) == 0
    assert folders.load("new").config["labels"] == str((table / "y.idx").resolve())
    assert cli.main(["encode", "new", "--out", "codes.npz"]) == 0
    assert np.load("codes.npz")["label"].tolist() == [9, 9, 9, 9]
    (table / "y.idx").write_bytes((table / "x.idx").read_bytes())
    capsys.readouterr()
    assert cli.main([*words, "--overwrite"]) == 2
    assert "'y.idx': must have a label for each of 40 rows; it has shape (40, 2, 2)" in capsys.readouterr().err


def test_an_unknown_word_names_the_help_of_its_own_command(capsys):
    assert cli.main(["sample", "run", "--out", "a.png", "--counts", "3"]) == 2
    assert capsys.readouterr().err == \
        "scratchvae: unrecognized arguments: --counts; did you mean --count? (see scratchvae sample --help)\n"
    assert cli.main(["train", "--outt", "run"]) == 2, "named before --out is missed"
    assert capsys.readouterr().err == \
        "scratchvae: unrecognized arguments: --outt; did you mean --out? (see scratchvae train --help)\n"


def test_a_column_of_text_may_be_left_out(table, capsys):
    lines = (table / "t.csv").read_text().splitlines()
    (table / "t.csv").write_text("\n".join(f"{line},{'name' if i == 0 else 'Ada'}" for i, line in enumerate(lines)))
    assert "'t.csv': read as CSV, line 2: column 'name' must have finite numbers; got 'Ada'" in train(capsys, code=2)
    train(capsys, "--without", "planet,name")
    train(capsys, "--columns", "height")
    (table / "t.csv").write_text("\n".join([*lines[:5], lines[5].replace(lines[5].split(",")[0], "NA"), *lines[6:]]))
    assert "line 6: column 'height' has a missing cell, 'NA'" in train(
        capsys, "--columns", "height", code=2)


def test_pictures_have_no_columns_to_choose(table, capsys):
    np.save(table / "x.npy", np.random.default_rng(0).random((20, 4, 4)))
    assert cli.main(["train", "--data", "x.npy", "--out", "new", *FAST, "--columns", "1"]) == 2
    assert "the data are pictures" in capsys.readouterr().err
    assert cli.main(["train", "--out", "new", *FAST, "--columns", "1"]) == 2
    assert "--columns only applies to files; digits is a built-in data set" in capsys.readouterr().err


def test_names_with_commas_survive_the_config():
    config = {**options.DEFAULTS, "keep": ["a,b", 'c"d'], "latents": [2]}
    options.confirm(config)
    assert options.names('"a,b",c') == ["a,b", "c"]


def test_beta_weighs_the_kl_and_warm_up_rises_to_it(table, capsys):
    train(capsys, "--columns", "height", "--beta", "0.5", "--warm-up", "2", "--epochs", "3")
    assert folders.load("run").state.history["beta"] == [0.25, 0.5, 0.5]
    train(capsys, "--columns", "height", "--beta", "4")
    assert folders.load("run").state.history["beta"] == [4.0]
    assert "argument --beta: it must be a number" in train(capsys, "--beta", "-1", code=2)
