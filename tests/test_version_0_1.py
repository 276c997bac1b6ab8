"""What version 0.1 has written is read, and gone on with: two runs and a checkpoint, in tests/data.

They were stopped in the middle of an epoch by a kill, and ``expected.npz`` is what version 0.1 itself made of them.
The end must agree with it to rounding: the gradient of the Bernoulli has more digits than it had then, MATH (4.1).
Where training from the start gives the bits that are stored, the checkpoint's end must have them as well.
"""

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest

from scratchvae import HVAE, SGD, State, cli, fit
from scratchvae.cli import commands, folders
from scratchvae.train import checkpoint

HERE = Path(__file__).parent / "data" / "version_0_1"
EXPECTED = np.load(HERE / "expected.npz")


def agree(found, expected, same_bits):
    np.testing.assert_allclose(found, expected, rtol=1e-4 if found.dtype == np.float32 else 1e-9, atol=1e-6)
    if same_bits:
        np.testing.assert_array_equal(found, expected)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with copies of the runs of version 0.1; nothing is drawn at the end of training."""
    monkeypatch.setattr(commands, "finish", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    for name in ("printed", "weights"):
        shutil.copytree(HERE / name, name)


def history(folder):
    columns = dict(folders.open_run(Path(folder))[0].state.history)
    columns.pop("seconds")
    return {name: column[:3] for name, column in columns.items()}


@pytest.mark.parametrize("name, words, names", [
    ("printed", ["--consistency", "analytic", "--free-bits", "0.05", "--warm-up", "4", "--average", "0.9",
                 "--patience", "500"], ("printed", "plain")),
    ("weights", ["--objective", "iwae", "--importance", "3", "--estimator", "landing"], ("exact", "stl"))],
    ids=["printed", "weights"])
def test_a_run_goes_on(name, words, names, home):
    """Its options have the names of today, also in what it writes; the words of version 0.1 are still read."""
    run, _ = folders.open_run(Path(name))
    assert (run.config["consistency"], run.config["estimator"], run.config["scratchvae"]) == (*names, "0.1.0")
    assert (run.state.epoch, run.state.step) == (3, 1)
    assert cli.main(["train", *words, "--model", "hvae", "--latents", "2,1", "--hidden", "2", "--batch-size", "400",
                     "--dtype", "float64", "--seed", "3", "--epochs", "3", "--out", "new"]) == 0
    agree(np.array(list(history("new").values())), np.array(list(history(name).values())), False)
    assert cli.main(["train", "--resume", name, "--epochs", "7"]) == 0
    found = checkpoint.load(f"{name}/checkpoint.npz")
    assert (found.config["consistency"], found.config["estimator"]) == names
    agree(found.theta, EXPECTED[name], False)
    if name == "printed":
        agree(found.state.theta, EXPECTED["printed.state.theta"], False)


def test_the_best_epoch_of_an_old_run_is_taken(home):
    """The names in its best.npz, too, are those of version 0.1: it is known to be of the same run."""
    run = cli.load("printed")
    np.testing.assert_array_equal(run.model.theta, checkpoint.load("printed/best.npz").theta)


def test_a_checkpoint_of_a_programs_own_goes_on():
    x, found = (np.random.default_rng(0).random((60, 5)) < 0.4).astype(np.uint8), checkpoint.load(HERE / "own.npz")
    options, middle = dict(epochs=6, batch_size=20), []
    twin = HVAE(5, (3, 2), (4,), rng=1)
    fit(twin, x, optimizer=SGD(0.05, 0.9), state=State.start(twin, 7), **options, after_step=lambda state: (
        middle.append(twin.theta.copy()) if (state.epoch, state.step) == (2, 1) else None))
    same_bits = np.array_equal(middle[0], found.theta)
    model = HVAE(5, (3, 2), (4,), consistency=found.config["consistency"])
    model.theta[:] = found.theta
    assert model.consistency == "exact"
    fit(model, x, optimizer=found.optimizer, state=found.state, **options)
    agree(model.theta, EXPECTED["own"], same_bits)
    fit(copy.copy(model), x, epochs=1, objective="iwae", estimator=found.config["estimator"])
