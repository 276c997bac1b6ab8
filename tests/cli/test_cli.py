"""The command line: what each command writes, that a run survives, and that every mistake is one line."""

import csv
import json
import os
import signal
import sys

import numpy as np
import pytest

import kill_and_resume
from scratchvae import HVAE, VAE, TopDown, cli, decay, fit, gaussian, warm_up
from scratchvae.cli import commands, examples, folders, options, output, runs
from scratchvae.data import binarize, digits
from scratchvae.train import checkpoint

FAST = ["--epochs", "2", "--hidden", "8", "--batch-size", "200"]


def run(capsys, *words):
    """Run a command that must succeed; return what it prints."""
    code = cli.main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert err == ""
    return out


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with data and trained runs: digits, two hierarchies of them, a table, and pictures."""
    home = tmp_path_factory.mktemp("home")
    rng = np.random.default_rng(0)
    table = rng.standard_normal((200, 3)) @ rng.standard_normal((3, 5)) * [1, 10, 100, 0.1, 1] + 50
    np.savetxt(home / "table.csv", np.column_stack([table, np.arange(200) % 3]), delimiter=",", header="a,b,c,d,e,kind",
               comments="")
    np.savetxt(home / "new.csv", table[:20] + 0.1, delimiter=",")
    np.save(home / "pictures.npy", (digits().x_train * 255).astype(np.uint8).reshape(-1, 8, 8)[:300])
    for name, words in {"vae": ["--binarize", "sample"],
                        "hvae": ["--model", "hvae", "--latents", "4,3,2", "--binarize", "resample-each-epoch"],
                        "topdown": ["--model", "topdown", "--latents", "4,3,2", "--binarize", "sample",
                                    "--average", "0.9"],
                        "table": ["--data", home / "table.csv", "--labels", "kind", "--likelihood", "gaussian"],
                        "pictures": ["--data", home / "pictures.npy", "--binarize", "threshold"]}.items():
        assert cli.main(list(map(str, ["train", "--out", home / name, *FAST, *words]))) == 0
    return home


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Draw no pictures at the end of a training run, which takes longer than these runs do; those in home have them."""
    monkeypatch.setattr(commands, "finish", lambda *_: None)


# what the commands do ----------------------------------------------------------------------------


@pytest.mark.parametrize("name, samples", [("vae", "samples.png"), ("hvae", "samples.png"), ("topdown", "samples.png"),
                                           ("table", "samples.csv")])
def test_train_fills_its_folder(home, name, samples):
    assert {path.name for path in (home / name).iterdir()} == {
        "checkpoint.npz", "checkpoint.previous.npz", "config.json", "history.csv", "curves.png", "samples.png",
        *([samples, "held_out.csv"] if name == "table" else [])}
    config = json.loads((home / name / "config.json").read_text())
    assert set(options.DEFAULTS) <= set(config) and config == checkpoint.load(home / name / "checkpoint.npz").config
    rows = list(csv.DictReader((home / name / "history.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[1]["elbo"]) == pytest.approx(
        checkpoint.load(home / name / "checkpoint.npz").state.history["elbo"][1], rel=1e-9)
    assert all((home / name / file).read_bytes()[:4] == b"\x89PNG" for file in ("curves.png", "samples.png"))


def test_train_says_a_line_for_each_epoch(tmp_path, capsys):
    out = run(capsys, "train", "--out", tmp_path / "r", *FAST).splitlines()
    assert out[0].startswith("digits: 1438 rows of 64 to train on, 359 held out (test); values are taken")
    assert [line.split()[1] for line in out if line.startswith("epoch")] == ["1/2", "2/2"]


def test_train_says_which_columns_it_models(home, tmp_path, capsys):
    words = ["train", "--data", home / "table.csv", "--likelihood", "gaussian", "--overwrite", "--out", tmp_path / "r",
             *FAST]
    for labels, said in (([], "'e', 'kind'; labels: none (see --labels)"), (["--labels", "kind"], "'e'; labels: kind")):
        assert run(capsys, *words, *labels).splitlines()[1] == f"columns: 'a', 'b', 'c', 'd', {said}"


def test_grey_values_under_a_bernoulli_likelihood_are_told_wherever_nats_are(home, tmp_path, capsys):
    assert commands.GREY in run(capsys, "train", "--out", tmp_path / "grey", *FAST)
    assert commands.GREY in run(capsys, "evaluate", tmp_path / "grey", "--samples", 1)
    assert json.loads(run(capsys, "evaluate", tmp_path / "grey", "--samples", 1, "--json"))["grey_values"] is True
    for name in ("vae", "hvae", "table"):                                       # black and white, or Gaussian
        assert commands.GREY not in run(capsys, "evaluate", home / name, "--samples", 1)
        assert json.loads(run(capsys, "evaluate", home / name, "--samples", 1, "--json"))["grey_values"] is False
    anew = ("--out", tmp_path / "anew", "--binarize", "resample-each-epoch")
    assert commands.GREY not in run(capsys, "train", *anew, *FAST)


@pytest.mark.parametrize("parts, watched", [(("train", "test"), "test"), (("train", "valid", "test"), "valid"),
                                            (("train",), None)])
def test_held_out_names_the_part_that_is_watched(parts, watched):
    config = {"shift": 0.0, "scale": 1.0, "dtype": "float32", "binarize": "none", "likelihood": "gaussian",
              "classes": None}
    data = examples.Data({part: np.full((2, 1), i) for i, part in enumerate(parts)}, {}, None, None, {})
    _, held_out = examples.for_training(config, data)
    assert data.watched == watched
    assert held_out is None if watched is None else held_out[0, 0] == parts.index(watched)


def test_options_reach_the_model_and_the_training(tmp_path, capsys):
    """Every option, all at once, with values that are not the defaults; the config and the model have them."""
    words = {"data": home_file(tmp_path), "key": "x", "labels": "y", "header": "auto", "image_shape": "2,3",
             "hold_out": "5", "max_bytes": "99999", "scaling": "unit", "binarize": "threshold",
             "model": "hvae", "latents": "3,2", "hidden": "7,6/5",
             "activation": "softplus", "likelihood": "gaussian", "consistency": "printed", "dtype": "float64",
             "epochs": "3", "batch_size": "11", "learning_rate": "0.01", "schedule": "steps:2=0.002,3=0.0004",
             "warm_up": "4", "free_bits": "0.5,0.25", "average": "0.9", "seed": "9", "checkpoint_every": "0",
             "beta": "2", "patience": "50", "workers": "2"}
    tables = {"keep", "without", "decimal", "kinds", "missing"}    # of tables: test_columns.py and test_mixed_tables.py
    others = {"levels", "log_noise", "objective", "importance", "estimator",   # test_cli_diffusion.py, test_weights.py,
              "prior", "given"}                                                # test_cli_prior.py, test_cli_labels.py
    assert words.keys() == options.DEFAULTS.keys() - tables - others, "an option that this test does not know"
    run(capsys, "train", "--out", tmp_path / "r",
        *(word for name, value in words.items() for word in (f"--{name.replace('_', '-')}", value)))
    opened, problem = folders.open_run(tmp_path / "r")
    assert problem is None
    config, model = opened.config, opened.model
    assert {name: config[name] for name in words} == {
        "data": str(tmp_path / "data.npz"), "key": "x", "labels": "y", "image_shape": [2, 3], "hold_out": 5,
        "scaling": "unit", "binarize": "threshold", "model": "hvae", "latents": [3, 2], "hidden": [[7, 6], [5]],
        "activation": "softplus", "likelihood": "gaussian", "consistency": "printed", "dtype": "float64", "epochs": 3,
        "batch_size": 11, "learning_rate": 0.01, "schedule": "steps:2=0.002,3=0.0004", "warm_up": 4,
        "free_bits": [0.5, 0.25], "average": 0.9, "seed": 9, "checkpoint_every": 0.0, "header": "auto",
        "max_bytes": 99999, "beta": 2.0, "patience": 50, "workers": 2}
    assert model.theta.dtype == np.float64 and model.consistency == "printed" and config["scale"] == 255
    assert [layer for layer in model.networks["q1"].layers] == ["dense1", "softplus1", "dense2", "softplus2", "dense3"]
    assert opened.optimizer.learning_rate == 0.0004 and opened.optimizer.t == 3 * 4      # 40 rows of 50 in elevens
    assert opened.state.history["beta"] == [0.5, 1.0, 1.5] and opened.state.seed == 9
    assert opened.state.weight == pytest.approx(sum(0.9 ** age for age in range(12)))


def test_a_run_is_what_the_library_does(tmp_path, capsys):
    """The same parameters, bit for bit, and the same history, as from a model and a call of fit with these options."""
    run(capsys, "train", "--out", tmp_path / "r", "--model", "hvae", "--latents", "4,2", "--hidden", "7", "--binarize",
        "resample-each-epoch", "--epochs", 3, "--batch-size", 300, "--warm-up", 2, "--free-bits", "30,0.001",
        "--schedule", "exponential:1e-4", "--seed", 4)
    data = digits()
    model = HVAE(64, (4, 2), (7,), x_mean=data.x_train.mean(axis=0), rng=4)
    history = fit(model, data.x_train, x_valid=binarize(data.x_test, "sample", 2), epochs=3, batch_size=300, rng=4,
                  resample=True, beta=warm_up(2), free_bits=[30, 0.001], learning_rate=decay(1e-3, 1e-4, 3))
    opened, _ = folders.open_run(tmp_path / "r")
    np.testing.assert_array_equal(opened.model.theta, model.theta)
    del history["seconds"], opened.state.history["seconds"]
    assert opened.state.history == history


@pytest.mark.parametrize("how, seeds", [("none", None), ("threshold", None), ("sample", (1, 2, 3)),
                                        ("resample-each-epoch", (1, 2, 3))])
def test_pixels_drawn_by_chance_are_the_same_in_every_run_and_others_in_each_part(how, seeds):
    """What is held out must not be binarised with the very numbers that made the training set."""
    x = digits().x_test
    config = {"shift": 0.0, "scale": 1.0, "dtype": "float32", "binarize": how, "likelihood": "bernoulli"}
    parts = [examples.prepare(config, x, part) for part in ("train", "test", "valid")]
    expected = [x if how == "none" else binarize(x, "threshold" if seeds is None else "sample", seed)
                for seed in seeds or (0, 0, 0)]
    np.testing.assert_array_equal(parts, expected)
    if seeds:
        assert (parts[0] != parts[1]).any() and (parts[1] != parts[2]).any()


def home_file(folder):
    """Write an npz file of 50 pictures of 2x3 pixels and their labels."""
    rng = np.random.default_rng(0)
    np.savez(folder / "data.npz", x=rng.integers(0, 256, (50, 6), np.uint8), y=np.arange(50) % 4)
    return str(folder / "data.npz")


def test_a_topdown_run_with_an_average_is_what_the_library_does(tmp_path, capsys):
    """And a run in two pieces is that in one: what is saved is the average, and the optimiser goes on from its own."""
    words = ["--model", "topdown", "--latents", "4,2", "--hidden", "7", "--binarize", "sample", "--batch-size", 300,
             "--average", 0.8, "--seed", 4]
    run(capsys, "train", "--out", tmp_path / "whole", *words, "--epochs", 3)
    run(capsys, "train", "--out", tmp_path / "parts", *words, "--epochs", 1)
    run(capsys, "train", "--resume", tmp_path / "parts", "--epochs", 3)
    x = binarize(digits().x_train, "sample", 1)
    model = TopDown(64, (4, 2), (7,), x_mean=x.mean(axis=0), rng=4)
    history = fit(model, x, x_valid=binarize(digits().x_test, "sample", 2), epochs=3, batch_size=300, rng=4,
                  average=0.8)
    for name in ("whole", "parts"):
        opened, _ = folders.open_run(tmp_path / name)
        assert type(opened.model) is TopDown
        np.testing.assert_array_equal(opened.model.theta, model.theta)
        assert opened.state.history["valid_elbo"] == history["valid_elbo"]
    assert kill_and_resume.differences(tmp_path / "whole", tmp_path / "parts") == []
    found = json.loads(run(capsys, "evaluate", tmp_path / "whole", "--samples", 5, "--json"))
    assert [level["latents"] for level in found["levels"]] == [4, 2] and found["consistency_1"] > 0


def test_a_run_from_before_there_were_some_options_is_read(home):
    """What is not in its config is as it was before there was a choice."""
    found = checkpoint.load(home / "hvae" / "checkpoint.npz")
    for name in ("average", "objective", "prior", "given", "classes", "threads", "workers", "cells", "passes"):
        del found.config[name]
    folder = home / "older"
    folder.mkdir()
    opened, _ = folders.open_run(home / "hvae")
    checkpoint.save(folder / "checkpoint.npz", opened.model, found.optimizer, found.state, found.config)
    older, _ = folders.open_run(folder)
    assert older.config["threads"] is None
    assert {**older.config, "threads": opened.config["threads"]} == opened.config
    assert older.model.theta.tobytes() == opened.model.theta.tobytes()


def test_the_same_options_give_the_same_bits(tmp_path, capsys):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(capsys, "train", "--out", tmp_path / name, *FAST, "--binarize", "resample-each-epoch", "--seed", seed)
    assert kill_and_resume.differences(tmp_path / "a", tmp_path / "b") == []
    assert "theta" in kill_and_resume.differences(tmp_path / "a", tmp_path / "c")


def test_overwrite_leaves_nothing_of_the_old_run(tmp_path, capsys):
    run(capsys, "train", "--out", tmp_path / "r", "--data", home_file(tmp_path), "--key", "x", *FAST)
    (tmp_path / "r" / "samples.csv").touch()
    assert checkpoint.load(checkpoint.previous(tmp_path / "r" / "checkpoint.npz")).config["data"] != "digits"
    run(capsys, "train", "--out", tmp_path / "r", "--overwrite", *FAST)
    assert not (tmp_path / "r" / "samples.csv").exists()
    assert checkpoint.load(checkpoint.previous(tmp_path / "r" / "checkpoint.npz")).config["data"] == "digits"
    config = checkpoint.load(tmp_path / "r" / "checkpoint.npz").config
    folders.begin(runs.new(tmp_path / "r", config, digits().x_train), overwrite=True)
    assert not checkpoint.previous(tmp_path / "r" / "checkpoint.npz").exists(), "the run before may not step in"


def test_evaluate_prints_what_the_library_finds(home, capsys):
    found = json.loads(run(capsys, "evaluate", home / "hvae", "--samples", 50, "--seed", 3, "--json"))
    model, config = folders.open_run(home / "hvae")[0].model, folders.open_run(home / "hvae")[0].config
    x = examples.prepare(config, digits().x_test, "test")
    expected = commands.evaluate(model, x, n_samples=50, rng=3).as_dict()
    assert {name: found[name] for name in expected} == expected
    assert found["data"] == "digits, held out (test)" and found["epochs"] == 2 and len(found["levels"]) == 3
    assert f"{expected['log_likelihood']:10.3f}" in run(capsys, "evaluate", home / "hvae", "--samples", 50, "--seed", 3)


def test_evaluate_counts_a_density_in_the_units_of_the_data(home, capsys):
    """log p(x) is that of the scaled columns, lower by the sum of the logs of their scales."""
    found = json.loads(run(capsys, "evaluate", home / "table", "--samples", 5, "--json"))
    table = np.loadtxt(home / "table.csv", delimiter=",", skiprows=1)[np.arange(1, 201) % 10 != 0, :5]
    assert found["log_likelihood"] - found["log_likelihood_before_scaling"] == pytest.approx(
        np.log(table.std(axis=0)).sum(), rel=1e-6)


def test_pixels_that_were_made_black_and_white_have_no_density_in_the_units_of_the_data(home, tmp_path, capsys):
    run(capsys, "train", "--out", tmp_path / "r", *FAST, "--data", home / "pictures.npy", "--binarize", "threshold",
        "--likelihood", "gaussian")
    assert "before scaling" not in run(capsys, "evaluate", tmp_path / "r", "--samples", 1)


def test_json_is_json_though_numbers_are_not_finite(home, tmp_path, capsys):
    np.savetxt(tmp_path / "far.csv", np.full((3, 5), 1e25), delimiter=",")
    assert cli.main(list(map(str, ["evaluate", home / "table", "--data", tmp_path / "far.csv", "--samples", "2",
                                   "--json"]))) == 0
    out, err = capsys.readouterr()
    assert json.loads(out, parse_constant=pytest.fail)["log_likelihood"] is None
    assert "log p(x) is not finite" in err


def test_names_that_are_numbers(tmp_path, capsys):
    """A name comes before a number: --labels 2 is the column of that name.  --header tells a header that looks odd."""
    (tmp_path / "t.csv").write_text("kind,0,1,2\n" + "7,0.5,0.25,1\n8,1.5,2.5,0\n" * 9)
    out = run(capsys, "train", "--out", tmp_path / "a", *FAST, "--data", tmp_path / "t.csv", "--labels", "2",
              "--likelihood", "gaussian")
    assert "columns: 'kind', '0', '1'; labels: 2" in out
    (tmp_path / "u.csv").write_text("id,1990,2000\n" + "x,1.5,2.5\ny,3,4\n" * 9)
    words = ["--data", tmp_path / "u.csv", "--labels", "0", "--likelihood", "gaussian"]
    assert "17 rows of 2 to train on" in run(capsys, "train", "--out", tmp_path / "b", *FAST, *words, "--header", "yes")
    assert "on 18 rows of" in run(capsys, "evaluate", tmp_path / "b", "--samples", 1, *words[:4])    # as the run's own
    assert "18 rows of 2 to train on" in run(capsys, "train", "--out", tmp_path / "c", *FAST, *words, "--header", "no")


def test_a_first_line_that_counts_is_told_where_it_is_taken_for_names(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("3,1,2\n0,4,5\n" * 20)
    (tmp_path / "b.csv").write_text("0,1,2\n" + "3,1,2\n0,4,5\n" * 20)
    run(capsys, "train", "--out", tmp_path / "r", *FAST, "--data", tmp_path / "a.csv", "--likelihood", "gaussian")
    for words, rows, noted in (([], 40, True), (["--header", "no"], 41, False)):
        assert cli.main(list(map(str, ["evaluate", tmp_path / "r", "--samples", "1", "--data", tmp_path / "b.csv",
                                       *words]))) == 0
        out, err = capsys.readouterr()
        assert f"on {rows} rows" in out and ("--header no reads it as numbers" in err) == noted


def test_rows_that_were_scaled_before_are_refused_in_half_precision_too(home, tmp_path, capsys):
    run(capsys, "train", "--out", tmp_path / "r", *FAST, "--data", home / "pictures.npy")
    np.save(tmp_path / "scaled.npy", (np.load(home / "pictures.npy") / 255).astype(np.float16))
    assert cli.main(["evaluate", str(tmp_path / "r"), "--data", str(tmp_path / "scaled.npy")]) == 2
    assert "it is scaled already" in capsys.readouterr().err


def test_evaluate_on_other_parts_and_files(home, capsys):
    counts = [json.loads(run(capsys, "evaluate", home / "table", "--samples", 1, "--json", *words))["examples"]
              for words in ([], ["--split", "train"], ["--data", home / "new.csv"],
                            ["--data", home / "table.csv", "--labels", "-1"])]
    assert counts == [20, 180, 20, 200]


def test_the_file_of_the_run_may_be_named_from_elsewhere(home, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(home)
    run(capsys, "train", "--data", "new.csv", "--likelihood", "gaussian", "--out", tmp_path / "r", *FAST)
    monkeypatch.chdir(tmp_path)
    assert "on 2 rows of" in run(capsys, "evaluate", "r", "--samples", 1)


def test_a_file_that_was_scaled_before_is_refused_and_a_doubtful_one_noted(home, tmp_path, capsys):
    """Scaled once more, its numbers would be those of other data: the same rows, standardised or in [0, 1]."""
    table, pictures = np.loadtxt(home / "table.csv", delimiter=",", skiprows=1)[:, :5], np.load(home / "pictures.npy")
    table[:, 3] += 900                                                          # a hundred times its spread and more
    np.savetxt(tmp_path / "table.csv", table, delimiter=",")
    run(capsys, "train", "--data", tmp_path / "table.csv", "--likelihood", "gaussian", "--out", tmp_path / "r", *FAST)
    for name, x, refused in ((tmp_path / "r", (table - table.mean(0)) / table.std(0), True),
                             (home / "pictures", pictures / 255, True), (home / "pictures", pictures / 16, False),
                             (tmp_path / "r", table + 6 * table.std(0), False)):
        np.save(tmp_path / "new.npy", x)
        code = cli.main(["evaluate", str(name), "--data", str(tmp_path / "new.npy"), "--samples", "1"])
        err = capsys.readouterr().err
        assert code == 2 * refused and err.count("\n") == 1 and "a root mean square of" in err and "new.npy" in err
        assert ("it is scaled already" in err) == refused and ("in the same units?" in err) != refused
    for name, x in ((tmp_path / "r", table[:20] + table.std(0)), (home / "pictures", pictures[:7] // 2)):
        np.save(tmp_path / "new.npy", x)
        out = run(capsys, "evaluate", name, "--data", tmp_path / "new.npy", "--samples", 1)
        assert str(examples.scaling_of(folders.open_run(name)[0].config)) in out.splitlines()[0]


def test_other_data_must_have_the_columns_of_the_runs_own(home, tmp_path, capsys):
    for header, x, fault in (("a,b,d,C,e", [1, 2, 3, 4, 5], "it lacks 'c' and has 'C' besides"),
                             ("a,b,c,d,e,f", range(6), "it lacks none and has 'f' besides"),
                             ("a,b,c,d", range(4), "it lacks 'e' and has none besides")):
        np.savetxt(tmp_path / "n.csv", [list(x)] * 3, delimiter=",", header=header, comments="")
        assert cli.main(["evaluate", str(home / "table"), "--data", str(tmp_path / "n.csv")]) == 2
        assert fault in capsys.readouterr().err


def test_sample_writes_numbers_in_the_units_of_the_data(home, tmp_path, capsys):
    run(capsys, "sample", home / "table", "--count", 500, "--out", tmp_path / "s.csv")
    rows = np.loadtxt(tmp_path / "s.csv", delimiter=",", skiprows=1)
    assert rows.shape == (500, 5) and abs(rows.mean(axis=0) - 50).max() < 40 and rows.std() > 0
    run(capsys, "sample", home / "table", "--count", 500, "--out", tmp_path / "s.npz")
    np.testing.assert_allclose(np.load(tmp_path / "s.npz")["x"], rows, rtol=1e-7)
    run(capsys, "sample", home / "table", "--count", 500, "--out", tmp_path / "t.npz", "--seed", 1)
    assert (np.load(tmp_path / "t.npz")["x"] != rows).any()
    run(capsys, "sample", home / "pictures", "--out", tmp_path / "p.npz")
    assert np.load(tmp_path / "p.npz")["x"].max() > 2, "pictures were stored as 0 to 255"
    assert "x ~ p(x | z)" in run(capsys, "sample", home / "pictures", "--draw", "--out", tmp_path / "d.npz")
    assert set(np.unique(np.load(tmp_path / "d.npz")["x"])) == {0, 255}, "black or white"


def test_sampled_rows_spread_as_the_rows_of_the_table_do(tmp_path, capsys):
    """Rows that are sampled are drawn, x ~ p(x | z): means alone would have too little spread."""
    x = np.random.default_rng(0).normal(50, [3, 10], (2000, 2))
    np.savetxt(tmp_path / "x.csv", x, delimiter=",", header="a,b", comments="")
    run(capsys, "train", "--data", tmp_path / "x.csv", "--likelihood", "gaussian", "--latents", 1, "--hidden", 8,
        "--epochs", 3, "--learning-rate", 0.01, "--out", tmp_path / "r")
    run(capsys, "sample", tmp_path / "r", "--count", 4000, "--out", tmp_path / "s.csv")
    spread = np.loadtxt(tmp_path / "s.csv", delimiter=",", skiprows=1).std(axis=0)
    np.testing.assert_allclose(spread, [3, 10], rtol=0.15)


def test_numbers_have_the_names_and_the_digits_of_the_table(home, tmp_path, capsys):
    """165.39 comes back as 165.39, and what sample writes is a table like the run's own."""
    header, *rows = (home / "table.csv").read_text().splitlines()
    names = header.split(",")[:5]
    lines = {}
    for command in ("reconstruct", "sample", "interpolate"):
        run(capsys, command, home / "table", "--out", tmp_path / "o.csv")
        lines[command] = (tmp_path / "o.csv").read_text().splitlines()
    assert lines["sample"][0] == lines["interpolate"][0] == ",".join(names)
    assert lines["reconstruct"][0].split(",") == names + [f"reconstruction_{name}" for name in names]
    for line, row in zip(lines["reconstruct"][1:], rows[9::10]):
        assert list(map(float, line.split(",")[:5])) == list(map(float, row.split(",")[:5]))
    cells = [cell for line in lines["sample"][1:] for cell in line.split(",")]
    assert [str(np.float32(cell)) for cell in cells] == cells, "float32, in its fewest digits"
    assert (home / "table" / "samples.csv").read_text().startswith(f"{','.join(names)}\n")
    run(capsys, "evaluate", home / "table", "--data", tmp_path / "o.csv", "--samples", 1)
    output.write_numbers(tmp_path / "o.csv", {"x": np.array([[165.39, 1e-30, 3]], np.float32), "y": np.array([0.1]),
                                              "z": np.array([[0.1, 7.0]])})
    assert (tmp_path / "o.csv").read_text() == "x_1,x_2,x_3,y,z_1,z_2\n165.39,1e-30,3.0,0.1,0.1,7.0\n"
    output.write_numbers(tmp_path / "o.csv", {"x": np.eye(2)}, ["a", "a"])
    assert (tmp_path / "o.csv").read_text() == "a,a\n1.0,0.0\n0.0,1.0\n", "two columns may share a name"


def test_every_file_is_announced(home, tmp_path, capsys):
    for command, words, out, what in (
            ("sample", ["--count", 7], "o.png", "7 samples, "), ("sample", [], "o.npz", "100 samples, "),
            ("reconstruct", ["--level", 2], "o.csv", "10 rows and their reconstructions from level 2; digits, held"),
            ("interpolate", ["--between", "3,8"], "o.csv", "10 steps from row 3 to row 8 of digits, held out (test)\n"),
            ("encode", [], "o.npz", "mu_1, logvar_1, mu_2, logvar_2, mu_3, logvar_3, label of 359 rows of digits")):
        out = tmp_path / out
        said = run(capsys, command, home / "hvae", "--out", out, *words)
        assert said.startswith(f"wrote {out}: {what}") and said.count("\n") == 1 and out.exists()


def test_a_picture_of_a_walk_has_the_rows_themselves_at_its_ends(home, tmp_path, capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr("scratchvae.train.plotting.images", lambda ax, rows, *_, **labels: drawn.append((rows, labels)))
    words = ["interpolate", home / "pictures", "--between", "3,8", "--steps", 4, "--out"]
    assert "with the rows themselves at both ends" in run(capsys, *words, tmp_path / "w.png")
    run(capsys, *words, tmp_path / "w.npz")
    (line,), labels = drawn[0]
    opened = folders.open_run(home / "pictures")[0].config
    x = examples.prepare(opened, np.load(home / "pictures.npy").reshape(300, 64)[9::10], "test")
    np.testing.assert_array_equal(line[[0, -1]], x[[3, 8]])
    np.testing.assert_allclose(line[1:-1], np.load(tmp_path / "w.npz")["x"] / opened["scale"], rtol=1e-5)
    assert labels["column_labels"] == ["row 3", "", "", "", "", "row 8"]


@pytest.mark.parametrize("name, level", [("vae", 1), ("hvae", 1), ("hvae", 3), ("topdown", 1), ("topdown", 3)])
def test_reconstruct_and_interpolate(home, tmp_path, capsys, name, level):
    """They are the model's own, and a walk begins and ends at the reconstructions of its two ends."""
    run(capsys, "reconstruct", home / name, "--count", 9, "--level", level, "--out", tmp_path / "r.npz")
    run(capsys, "interpolate", home / name, "--between", "3,8", "--steps", 5, "--level", level, "--out",
        tmp_path / "i.npz")
    pairs, walk = np.load(tmp_path / "r.npz"), np.load(tmp_path / "i.npz")["x"]
    model = folders.open_run(home / name)[0].model
    expected = model.reconstruct(pairs["x"]) if name == "vae" else model.reconstruct(pairs["x"], level)
    np.testing.assert_allclose(pairs["reconstruction"], expected, rtol=1e-6)
    assert walk.shape == (5, 64)
    np.testing.assert_allclose(walk[[0, -1]], expected[[3, 8]], rtol=1e-6)


@pytest.mark.parametrize("likelihood, expected", [("bernoulli", [[0, 0.5], [1, np.nan]]),
                                                  ("gaussian", [[1, 0.5], [0, np.nan]])])
def test_pictures_show_ink_dark_and_light_bright(tmp_path, monkeypatch, likelihood, expected):
    """Bernoulli pixels are ink, 1 is black; others are light, the largest is white, whatever their range."""
    drawn = []
    monkeypatch.setattr("scratchvae.train.plotting.images", lambda ax, rows, *_, **__: drawn.append(rows))
    rows = np.array([[0.0], [0.5], [1.0]]) * (1 if likelihood == "bernoulli" else 80) - (likelihood == "gaussian") * 40
    config = {"likelihood": likelihood, "x_dim": 1, "image_shape": (1, 1)}
    output.write_picture(tmp_path / "x.png", config, {"x": rows}, 2)
    np.testing.assert_allclose(drawn[0][..., 0], expected, atol=0.01)           # the last 0.5 % are clipped


@pytest.mark.parametrize("command", ["sample", "reconstruct", "interpolate"])
@pytest.mark.parametrize("name", ["vae", "pictures"])
def test_pictures(home, tmp_path, capsys, command, name):
    run(capsys, command, home / name, "--out", tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("ending, begins, holds", [("pdf", b"%PDF-", b"/Image"), ("svg", b"<?xml", b"<image")])
def test_pictures_for_slides(home, tmp_path, capsys, ending, begins, holds):
    """The ending decides the format; a walk has the rows themselves at its ends, as in a PNG."""
    out = tmp_path / f"p.{ending}"
    assert "with the rows themselves at both ends" in run(capsys, "interpolate", home / "vae", "--out", out)
    assert out.read_bytes().startswith(begins) and holds in out.read_bytes()


@pytest.mark.parametrize("name", ["hvae", "topdown"])
def test_encode_writes_what_q_says(home, tmp_path, capsys, name):
    run(capsys, "encode", home / name, "--out", tmp_path / "z.npz")
    run(capsys, "encode", home / name, "--out", tmp_path / "z.csv")
    z = np.load(tmp_path / "z.npz")
    opened = folders.open_run(home / name)[0]
    x = examples.prepare(opened.config, digits().x_test, "test")
    for t, (mu, logvar) in enumerate(opened.model.encode(x), start=1):
        np.testing.assert_allclose(z[f"mu_{t}"], mu, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(z[f"logvar_{t}"], logvar, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(z["label"], digits().y_test)
    with open(tmp_path / "z.csv") as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_array_equal([np.float32(row["mu_2_3"]) for row in rows], z["mu_2"][:, 2])
    assert [int(row["label"]) for row in rows] == z["label"].tolist() and len(rows[0]) == 2 * 9 + 1


def test_gradcheck_finds_right_right_and_wrong_wrong(capsys, monkeypatch):
    words = ["gradcheck", "--model", "hvae", "--latents", "3,2", "--hidden", "4", "--activation", "softplus"]
    assert "all ok" in run(capsys, *words, "--directions", 2)
    backward = HVAE.backward
    monkeypatch.setattr(HVAE, "backward", lambda self, *a, **k: (
        backward(self, *a, **k), self.gradients["q1.dense1.b"].__imul__(1.001))[0])
    assert cli.main([*words, "--directions", "2"]) == 1
    assert "WRONG" in capsys.readouterr().out


@pytest.mark.parametrize("model", ["vae", "hvae", "topdown"])
def test_gradcheck_sees_mistakes_that_a_logvar_of_zero_would_hide(model, capsys, monkeypatch):
    """In a fresh model σ² - 1 is 0 everywhere, and a wrong factor on it is no mistake."""
    backward = gaussian.kl_standard_backward

    def wrong(dkl, cache):
        dmu, dlogvar = backward(dkl, cache)
        return dmu, -dlogvar

    monkeypatch.setattr(gaussian, "kl_standard_backward", wrong)
    assert cli.main(["gradcheck", "--model", model, "--hidden", "4", "--directions", "1"]) == 1
    assert "WRONG" in capsys.readouterr().out


def test_gradcheck_is_right_about_rows_of_zeros_and_relu(tmp_path, capsys):
    """In a fresh model they lie on the kinks."""
    x = (np.random.default_rng(0).random((9, 30)) < 0.2).astype(np.uint8)
    x[1] = 0
    np.save(tmp_path / "x.npy", x)
    assert "all ok" in run(capsys, "gradcheck", "--data", tmp_path / "x.npy", "--activation", "relu", "--directions", 1)


def test_the_previous_checkpoint_steps_in_and_the_damaged_one_is_put_aside(tmp_path, capsys):
    """Every command says so in one line; train goes on from it, and ends where an undamaged run ends."""
    words = [*FAST, "--checkpoint-every", "0", "--binarize", "sample"]
    run(capsys, "train", "--out", tmp_path / "whole", *words)
    run(capsys, "train", "--out", tmp_path / "r", *words)
    path = tmp_path / "r" / "checkpoint.npz"
    path.write_bytes(path.read_bytes()[:-1])
    assert cli.main(["evaluate", str(tmp_path / "r"), "--samples", "1"]) == 0
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "is damaged" in err and "the checkpoint before it is whole" in err
    assert cli.main(["train", "--resume", str(tmp_path / "r")]) == 0
    assert kill_and_resume.differences(tmp_path / "r", tmp_path / "whole") == []
    assert (tmp_path / "r" / "checkpoint.damaged.npz").exists()


def test_what_a_kill_left_half_written_is_cleared_away(tmp_path, capsys):
    run(capsys, "train", "--out", tmp_path / "r", *FAST)
    (tmp_path / "r" / ".checkpoint.npz.1234abcd.part").write_bytes(b"half")
    run(capsys, "train", "--resume", tmp_path / "r", "--epochs", 3)
    assert not list((tmp_path / "r").glob(".*"))


@pytest.mark.parametrize("at", [1, 3, 8])
def test_ctrl_c_saves_the_step_where_it_stops(tmp_path, capsys, monkeypatch, at):
    """130, no complaint, a checkpoint of that very step, long before the next was due."""
    words, backward, calls = [*FAST, "--checkpoint-every", "1000"], VAE.backward, []

    def press(self, *arguments, **options):
        calls.append(1)
        if len(calls) == at:
            signal.raise_signal(signal.SIGINT)
        return backward(self, *arguments, **options)

    run(capsys, "train", "--out", tmp_path / "whole", *words)
    monkeypatch.setattr(VAE, "backward", press)
    assert cli.main(["train", "--out", str(tmp_path / "r"), *words]) == 130
    assert capsys.readouterr().err == ""
    assert checkpoint.load(tmp_path / "r" / "checkpoint.npz").optimizer.t == at
    run(capsys, "train", "--resume", tmp_path / "r")
    assert kill_and_resume.differences(tmp_path / "r", tmp_path / "whole") == []


def test_a_longer_run_goes_on_from_a_shorter_one(tmp_path, capsys):
    run(capsys, "train", "--out", tmp_path / "long", *FAST, "--epochs", 3)
    run(capsys, "train", "--out", tmp_path / "short", *FAST)
    out = run(capsys, "train", "--resume", tmp_path / "short", "--epochs", 3)
    assert out.count("\nepoch") == 1
    assert f"1 epochs to go; {tmp_path}/short goes on after epoch 2, step 0 of the next\n" in out
    assert kill_and_resume.differences(tmp_path / "short", tmp_path / "long") == []
    assert json.loads((tmp_path / "short" / "config.json").read_text())["epochs"] == 3


def test_two_processes_do_not_train_in_one_folder(tmp_path, capsys):
    """The second is refused and touches nothing, whichever way it comes; a kill ends the lock, and leaves no file."""
    folder = tmp_path / "r"
    process = kill_and_resume.start(["--out", str(folder), *kill_and_resume.options(400, 1000)])
    try:
        while not (line := process.stdout.readline()).startswith("epoch"):
            assert line, process.stderr.read()
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert set(before) == {"checkpoint.npz", "config.json", "history.csv"}
        for words in (["--resume"], ["--overwrite", *FAST, "--out"]):
            assert cli.main(["train", *words, str(folder)]) == 2
            assert capsys.readouterr().err == f"scratchvae: {folder} is in use: another process trains in it\n"
        run(capsys, "evaluate", folder, "--samples", 1)
    finally:
        process.kill()
        process.communicate()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert run(capsys, "train", "--out", folder, "--overwrite", *FAST).count("\nepoch") == 2


def test_without_locks_training_goes_on_unlocked(tmp_path, capsys, monkeypatch):
    """On Windows there is no fcntl; some network file systems refuse."""
    monkeypatch.setattr("fcntl.flock", lambda *_: os.open("/nowhere", 0))
    run(capsys, "train", "--out", tmp_path / "r", *FAST)
    monkeypatch.setitem(sys.modules, "fcntl", None)
    run(capsys, "train", "--resume", tmp_path / "r")


# killed and interrupted --------------------------------------------------------------------------


def test_killed_and_interrupted_runs_end_as_if_nothing_had_happened(tmp_path):
    """SIGKILL, then Ctrl-C, each after some epochs; kill_and_resume.py is the long version, at random moments."""
    folder, epochs = tmp_path / "r", 20
    assert cli.main(["train", "--out", str(tmp_path / "untouched"), *kill_and_resume.options(epochs, 0)]) == 0
    for words, lines, number, code in ((["--out", str(folder), *kill_and_resume.options(epochs, 0)], 7, "SIGKILL", -9),
                                       (["--resume", str(folder)], 7, "SIGINT", 130)):
        process = kill_and_resume.start(words)
        for _ in range(lines):
            assert process.stdout.readline(), process.stderr.read()
        process.send_signal(getattr(signal, number))
        out, err = process.communicate()
        assert (process.returncode, err) == (code, "")
        if code == 130:
            assert out.splitlines()[-1].startswith("stopped after") and "--resume" in out.splitlines()[-1]
    assert cli.main(["train", "--resume", str(folder)]) == 0
    assert kill_and_resume.differences(folder, tmp_path / "untouched") == []
