"""The command line trains on importance weights, and goes on with them; what does not go together leaves no folder."""

import json

import numpy as np
import pytest

from scratchvae import HVAE, Adam, cli, fit
from scratchvae.cli import commands, folders

WORDS = ["train", "--data", "x.npy", "--model", "hvae", "--latents", "3,2", "--hidden", "4", "--batch-size", "20",
         "--scaling", "none", "--hold-out", "0"]
WEIGHTS = ["--objective", "iwae", "--importance", "3", "--estimator", "dreg"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "finish", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    x = (np.random.default_rng(0).random((60, 5)) < 0.4).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    return tmp_path


def test_the_options_reach_fit_and_a_run_goes_on_to_the_same_bits(home, capsys):
    assert cli.main([*WORDS, *WEIGHTS, "--epochs", "3", "--out", "whole"]) == 0
    assert cli.main([*WORDS, *WEIGHTS, "--epochs", "1", "--out", "parts"]) == 0
    assert cli.main(["train", "--resume", "parts", "--epochs", "3"]) == 0
    whole, parts = (folders.open_run(home / name)[0].model for name in ("whole", "parts"))
    np.testing.assert_array_equal(whole.theta, parts.theta)
    x = np.load("x.npy")
    model = HVAE(5, (3, 2), (4,), x_mean=x.mean(axis=0))
    fit(model, x, epochs=3, batch_size=20, optimizer=Adam(1e-3), objective="iwae", n_samples=3, estimator="dreg")
    np.testing.assert_array_equal(whole.theta, model.theta)
    config = json.loads((home / "whole" / "config.json").read_text())
    assert (config["objective"], config["importance"], config["estimator"]) == ("iwae", 3, "dreg")


def test_a_run_that_is_older_than_the_options_has_one_draw_of_the_elbo(home, monkeypatch, capsys):
    assert cli.main([*WORDS, "--epochs", "1", "--out", "run"]) == 0
    run, _ = folders.open_run(home / "run")
    for name in ("objective", "importance", "estimator"):
        del run.config[name]
    run.save()
    again, _ = folders.open_run(home / "run")
    assert (again.config["objective"], again.config["importance"], again.config["estimator"]) == ("elbo", 1, "plain")
    assert cli.main(["train", "--resume", "run", "--epochs", "2"]) == 0


@pytest.mark.parametrize("words, says", [
    (["--consistency", "printed", "--objective", "iwae"], "objective must be 'elbo' for a model with consistency"),
    (["--free-bits", "0.1", "--importance", "3"], "free_bits must be left out"),
    (["--estimator", "stl"], "estimator must be 'plain' for objective 'elbo'"),
    (["--importance", "0"], "it must be a whole number of at least 1"),
    (["--objective", "vae"], "invalid choice: 'vae'"),
])
def test_what_does_not_go_together_leaves_no_folder(words, says, home, capsys):
    assert cli.main([*WORDS, *words, "--out", "run"]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert not (home / "run").exists()


def test_a_diffusion_has_none_of_it(home, capsys):
    assert cli.main(["train", "--data", "x.npy", "--model", "diffusion", "--importance", "3", "--out", "run"]) == 2
    assert "--importance is only for --model vae, hvae, topdown" in capsys.readouterr().err
