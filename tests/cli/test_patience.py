"""Stopping early: training ends when the held-out bound has not risen, and the best epoch's parameters are used."""

import json

import numpy as np
import pytest

from scratchvae import cli
from scratchvae.cli import commands, folders, runs
from scratchvae.train import checkpoint

WORDS = ["--likelihood", "gaussian", "--hidden", "64", "--latents", "3", "--epochs", "60", "--learning-rate", "5e-3",
         "--patience", "3", "--hold-out", "3", "--checkpoint-every", "0"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A table that is too small for the network: it is soon learnt by heart."""
    monkeypatch.setattr(commands, "finish", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).standard_normal((60, 5))
    np.save(tmp_path / "x.npy", x)
    return tmp_path


def test_training_ends_and_the_best_epoch_is_what_is_used(home, capsys):
    assert cli.main(["train", "--data", "x.npy", "--out", "run", *WORDS]) == 0
    out = capsys.readouterr().out
    run, _ = folders.open_run(home / "run")
    bounds = run.state.history["valid_elbo"]
    best = int(np.argmax(bounds)) + 1
    assert len(bounds) == best + 3 < 60 and f"kept: the parameters of epoch {best}, " in out
    kept = checkpoint.load(home / "run" / "best.npz")
    assert kept.state.epoch == best and kept.theta.tobytes() != run.model.theta.tobytes()
    assert cli.load("run").model.theta.tobytes() == kept.theta.tobytes()
    assert cli.main(["evaluate", "run", "--samples", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == best


def test_resume_after_the_end_changes_nothing_and_a_killed_run_ends_in_the_same_bits(home, monkeypatch, capsys):
    assert cli.main(["train", "--data", "x.npy", "--out", "whole", *WORDS]) == 0
    whole = folders.open_run(home / "whole")[0]
    assert cli.main(["train", "--resume", "whole"]) == 0
    assert folders.open_run(home / "whole")[0].state.epoch == whole.state.epoch
    save, saves = runs.Run.save, []

    def killed(run):
        save(run)
        saves.append(None)
        if len(saves) == 4:
            raise MemoryError("killed")

    monkeypatch.setattr(runs.Run, "save", killed)
    assert cli.main(["train", "--data", "x.npy", "--out", "half", *WORDS]) == 2
    assert cli.main(["train", "--resume", "half"]) == 0
    for name in ("checkpoint.npz", "best.npz"):
        ours, theirs = (checkpoint.load(home / folder / name) for folder in ("whole", "half"))
        assert ours.theta.tobytes() == theirs.theta.tobytes()
        assert ours.state.history["elbo"] == theirs.state.history["elbo"]


def test_there_must_be_rows_held_out(home, capsys):
    assert cli.main(["train", "--data", "x.npy", "--out", "run", *WORDS, "--hold-out", "0"]) == 2
    assert "--patience needs rows that are held out" in capsys.readouterr().err
    assert not (home / "run").exists()
