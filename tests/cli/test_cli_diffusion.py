"""The command line with --model diffusion: what works as for the others, and what is refused in one line."""

import json
import math

import numpy as np
import pytest

from scratchvae import Diffusion, cli
from scratchvae.cli import folders


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a trained run of each kind: the limit of many levels, and seven levels of a table."""
    home = tmp_path_factory.mktemp("home")
    np.savetxt(home / "table.csv", np.random.default_rng(0).standard_normal((60, 3)) * [1, 5, 9], delimiter=",")
    for name, words in {"limit": ["--binarize", "sample", "--batch-size", "400"],
                        "table": ["--data", home / "table.csv", "--likelihood", "gaussian", "--levels", "7",
                                  "--log-noise=-2,4"]}.items():
        words = ["train", "--model", "diffusion", "--out", home / name, "--epochs", "2", "--hidden", "8", *words]
        assert cli.main(list(map(str, words))) == 0
    return home


def test_config_says_what_the_model_is(home):
    limit, table = (folders.open_run(home / name)[0] for name in ("limit", "table"))
    assert isinstance(limit.model, Diffusion) and limit.model.T == math.inf and limit.model.gamma[-1] == 8
    assert table.model.T == 7 and table.model.gamma[1] == -2 and table.model.gamma[-1] == 4
    assert table.config["levels"] == 7 and table.config["activation"] == "leaky_relu"
    assert (home / "limit" / "samples.png").exists() and (home / "table" / "samples.csv").exists()


def test_evaluate_prints_the_bound_over_all_levels(home, capsys):
    assert cli.main(["evaluate", str(home / "table"), "--samples", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["elbo"] == pytest.approx(found["reconstruction"] - found["prior_matching"] - found["consistency_1"])
    assert found["importance_samples"] == 3 and found["levels"] == [] and np.isfinite(found["log_likelihood"])
    assert cli.main(["evaluate", str(home / "table")]) == 0
    assert "10 importance samples)" in capsys.readouterr().out and "log_likelihood_levels" not in found


def test_evaluate_says_that_log_p_is_of_another_model_than_the_bound(home, capsys):
    """Of infinitely many levels the bound is known; log p(x) is measured with 1000."""
    assert cli.main(["evaluate", str(home / "limit"), "--samples", "1"]) == 0
    assert "1 importance samples of 1000 levels; the bound is for infinitely many)" in capsys.readouterr().out
    assert cli.main(["evaluate", str(home / "limit"), "--samples", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["log_likelihood_levels"] == 1000


def test_sample_and_reconstruct(home, tmp_path, capsys):
    assert cli.main(["sample", str(home / "table"), "--count", "5", "--out", str(tmp_path / "x.npz")]) == 0
    with np.load(tmp_path / "x.npz") as archive:
        assert archive["x"].shape == (5, 3)
    assert cli.main(["reconstruct", str(home / "limit"), "--level", "300", "--count", "4",
                     "--out", str(tmp_path / "x.npz")]) == 0
    model = folders.open_run(home / "limit")[0].model.with_levels(1000)
    with np.load(tmp_path / "x.npz") as archive:
        np.testing.assert_allclose(archive["reconstruction"], model.reconstruct(archive["x"], 300), rtol=1e-5)


def test_sample_passes_through_fifty_levels_or_as_many_as_asked(home, tmp_path, capsys):
    limit, table = (folders.open_run(home / name)[0] for name in ("limit", "table"))
    for name, words, x in (("limit", [], limit.model.sample(4, 0, False, 50, 0)),
                           ("limit", ["--steps", "9", "--draw"], limit.model.sample(4, 0, True, 9)),
                           ("table", ["--steps", "3"], table.scaling.invert(table.model.sample(4, 0, True, 3))),
                           ("table", [], table.scaling.invert(table.model.sample(4, 0, True, 7)))):
        assert cli.main(["sample", str(home / name), "--count", "4", "--out", str(tmp_path / "x.npz"), *words]) == 0
        with np.load(tmp_path / "x.npz") as archive:
            np.testing.assert_allclose(archive["x"], x, rtol=1e-6)
    capsys.readouterr()
    for steps in ("1", "8"):
        assert cli.main(["sample", str(home / "table"), "--steps", steps, "--out", str(tmp_path / "x.npz")]) == 2
        assert capsys.readouterr().err == f"scratchvae: --steps must be a whole number from 2 to 7; got {steps}\n"


def test_steps_are_for_a_diffusion(tmp_path, capsys):
    words = ["--epochs", "1", "--hidden", "4", "--batch-size", "400"]
    assert cli.main(["train", "--out", str(tmp_path / "vae"), *words]) == 0
    capsys.readouterr()
    assert cli.main(["sample", str(tmp_path / "vae"), "--steps", "9", "--out", str(tmp_path / "x.npz")]) == 2
    assert capsys.readouterr().err.startswith("scratchvae: --steps is for a diffusion, whose samples pass through")


def test_training_goes_on_and_gradients_are_right(home, capsys):
    assert cli.main(["train", "--resume", str(home / "table"), "--epochs", "3"]) == 0
    assert folders.open_run(home / "table")[0].state.epoch == 3
    assert cli.main(["gradcheck", "--model", "diffusion", "--hidden", "4", "--levels", "3", "--rows", "2"]) == 0
    assert "all ok" in capsys.readouterr().out


REFUSED = [
    (["train", "--model", "diffusion", "--latents", "3"],
     "--latents is only for --model vae, hvae, topdown; got diffusion"),
    (["train", "--model", "diffusion", "--consistency", "printed"],
     "--consistency is only for --model hvae; got diffusion"),
    (["train", "--model", "diffusion", "--free-bits", "1"],
     "--free-bits is only for --model vae, hvae, topdown; got diffusion"),
    (["train", "--levels", "9"], "--levels is only for --model diffusion; got vae"),
    (["train", "--model", "hvae", "--log-noise=-3,8"], "--log-noise is only for --model diffusion; got hvae"),
    (["train", "--model", "diffusion", "--levels", "0"],
     "argument --levels: it must be inf, or a whole number of at least 1"),
    (["train", "--model", "diffusion", "--log-noise", "8,3"], "--log-noise must be two numbers that rise"),
    (["train", "--model", "diffusion", "--log-noise", "8"], "--log-noise must be two numbers that rise"),
    (["train", "--model", "diffusion", "--log-noise", "a,b"], "argument --log-noise: it must be a number"),
    (["train", "--model", "diffusion", "--hidden", "3/4"], "--hidden must be given once for a diffusion"),
]


@pytest.mark.parametrize("words, says", REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_one_line_says_what_is_wrong(words, says, tmp_path, capsys):
    assert cli.main([*words, "--out", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"scratchvae: {says}") and err.count("\n") == 1


@pytest.mark.parametrize("command", ["encode", "interpolate"])
def test_what_has_no_meaning_is_refused(command, home, tmp_path, capsys):
    assert cli.main([command, str(home / "limit"), "--out", str(tmp_path / "x.npz")]) == 2
    assert "the latents of a diffusion are x with noise" in capsys.readouterr().err
