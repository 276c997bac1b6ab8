"""The command line with --given labels: of the digits, and of a table whose label is a column of words."""

import json

import numpy as np
import pytest

from scratchvae import Conditional, cli
from scratchvae.cli import folders


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 200)
    a, b = 9 * kind + rng.standard_normal(200), rng.standard_normal(200)
    lines = [f"{a_i:.3f},{('low', 'high')[k]},{b_i:.3f}" for k, a_i, b_i in zip(kind, a, b)]
    (home / "table.csv").write_text("a,kind,b\n" + "\n".join(lines) + "\n")
    for name, words in {
            "digits": ["--latents", "3", "--hidden", "8", "--epochs", "2", "--binarize", "resample-each-epoch"],
            "diffusion": ["--model", "diffusion", "--hidden", "8", "--epochs", "1", "--binarize", "sample"],
            "table": ["--data", home / "table.csv", "--labels", "kind", "--likelihood", "gaussian", "--latents", "1",
                      "--hidden", "8", "--epochs", "60", "--learning-rate", "0.01"]}.items():
        assert cli.main(list(map(str, ["train", "--given", "labels", "--out", home / name, *words]))) == 0
    return home


def test_the_config_has_the_classes_and_the_run_goes_on(home):
    digits, table = (folders.open_run(home / name)[0] for name in ("digits", "table"))
    assert isinstance(digits.model, Conditional) and digits.config["classes"] == list("0123456789")
    assert table.config["classes"] == ["high", "low"] and table.model.y_dim == 2 and table.config["x_dim"] == 2
    assert (home / "digits" / "samples.png").exists() and (home / "table" / "samples.csv").exists()
    assert cli.main(["train", "--resume", str(home / "digits"), "--epochs", "3"]) == 0
    assert folders.open_run(home / "digits")[0].state.epoch == 3


@pytest.mark.parametrize("name", ["digits", "diffusion", "table"])
def test_evaluate_is_of_x_given_the_label(name, home, tmp_path, capsys):
    assert cli.main(["evaluate", str(home / name), "--samples", "2", "--json", "--rows", str(tmp_path / "r.csv")]) == 0
    found = json.loads(capsys.readouterr().out)
    run = folders.open_run(home / name)[0]
    assert np.isfinite(found["log_likelihood"]) and len((tmp_path / "r.csv").read_text().splitlines()) > 20
    assert found["log_likelihood_per_dimension"] == pytest.approx(found["log_likelihood"] / run.config["x_dim"])


def test_sample_takes_a_label(home, tmp_path, capsys):
    means = {}
    for label in ("low", "high"):
        words = ["sample", home / "table", "--label", label, "--count", "200", "--out", tmp_path / "x.npz"]
        assert cli.main(list(map(str, words))) == 0
        with np.load(tmp_path / "x.npz") as archive:
            means[label] = archive["x"].mean(axis=0)
    assert abs(means["low"][0]) < 1 and abs(means["high"][0] - 9) < 1
    for name, words in (("digits", ["--label", "3"]), ("diffusion", ["--label", "3", "--steps", "5"]), ("table", [])):
        words = ["sample", home / name, "--count", "7", "--out", tmp_path / "x.npz", *words]
        assert cli.main(list(map(str, words))) == 0
        with np.load(tmp_path / "x.npz") as archive:
            assert len(archive["x"]) == 7
    assert cli.main(["sample", str(home / "digits"), "--label", "10", "--out", str(tmp_path / "y.npz")]) != 0
    assert "the label must be one of the rows trained on" in capsys.readouterr().err


def test_gradients_are_right(capsys):
    assert cli.main(["gradcheck", "--given", "labels", "--latents", "2", "--hidden", "4", "--rows", "2"]) == 0
    assert "all ok" in capsys.readouterr().out


def test_what_is_refused(home, tmp_path, capsys):
    out = str(tmp_path / "r")
    for words, message in (
            (["train", "--given", "labels", "--data", home / "table.csv", "--columns", "a,b", "--likelihood",
              "gaussian", "--out", out], "--given labels needs labels: --labels names the column"),
            (["encode", home / "digits", "--out", tmp_path / "z.npz"], "has no latents without a label"),
            (["reconstruct", home / "diffusion", "--out", tmp_path / "z.npz"], "has no latents without a label"),
            (["evaluate", home / "table", "--data", home / "table.csv", "--columns", "a,b"], "these data have none")):
        assert cli.main(list(map(str, words))) != 0
        assert message in capsys.readouterr().err
    assert cli.main(list(map(str, ["train", "--out", out, "--epochs", "1", "--latents", "2", "--hidden", "4"]))) == 0
    assert cli.main(["sample", out, "--label", "3", "--out", str(tmp_path / "z.npz")]) != 0
    assert "--label is for a model that was trained --given labels" in capsys.readouterr().err
