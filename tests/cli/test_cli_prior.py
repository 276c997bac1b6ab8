"""The command line with --prior diffusion: a run of it is trained, goes on, is measured and drawn from."""

import json

import numpy as np
import pytest

from scratchvae import LatentDiffusion, cli
from scratchvae.cli import folders


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = tmp_path_factory.mktemp("home") / "run"
    words = ["--prior", "diffusion", "--latents", "3", "--hidden", "8", "--epochs", "2", "--binarize", "sample"]
    assert cli.main(["train", "--out", str(run), *words]) == 0
    return run


def test_the_run_is_such_a_model_and_goes_on(run):
    found = folders.open_run(run)[0]
    assert isinstance(found.model, LatentDiffusion) and found.config["prior"] == "diffusion"
    assert cli.main(["train", "--resume", str(run), "--epochs", "3"]) == 0
    assert folders.open_run(run)[0].state.epoch == 3 and (run / "samples.png").exists()


def test_evaluate_sample_reconstruct_and_encode(run, tmp_path, capsys):
    assert cli.main(["evaluate", str(run), "--samples", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["importance_samples"] == 2 and found["log_likelihood"] < 0 and len(found["levels"]) == 1
    for command, name, shape in (("sample", "x", (5, 64)), ("reconstruct", "reconstruction", (5, 64))):
        assert cli.main([command, str(run), "--count", "5", "--out", str(tmp_path / "x.npz")]) == 0
        with np.load(tmp_path / "x.npz") as archive:
            assert archive[name].shape == shape
    assert cli.main(["encode", str(run), "--out", str(tmp_path / "z.npz")]) == 0


def test_by_default_it_is_measured_with_a_hundred_samples(run, monkeypatch, capsys):
    monkeypatch.setattr("scratchvae.prior.LEVELS", 2)
    assert cli.main(["evaluate", str(run)]) == 0
    assert "100 importance samples" in capsys.readouterr().out


def test_gradients_are_right(capsys):
    assert cli.main(["gradcheck", "--prior", "diffusion", "--latents", "2", "--hidden", "4", "--rows", "2"]) == 0
    assert "all ok" in capsys.readouterr().out


@pytest.mark.parametrize("words, message", [
    (["--model", "hvae"], "--prior is only for --model vae; got hvae"),
    (["--objective", "iwae"], "objective must be 'elbo' for a model that compares q and p by a DiffusionPrior")])
def test_what_it_is_not_for(words, message, tmp_path, capsys):
    assert cli.main(["train", "--out", str(tmp_path / "r"), "--prior", "diffusion", *words]) != 0
    assert message in capsys.readouterr().err and not (tmp_path / "r").exists()
