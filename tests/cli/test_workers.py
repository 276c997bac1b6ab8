"""--workers: the same bits for any number, and no kill that leaves a process, shared memory or half a checkpoint."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from scratchvae import cli
from scratchvae.cli import folders
from scratchvae.train import checkpoint

KILLS = int(os.environ.get("SCRATCHVAE_KILLS", "6"))        # of the longer proofs: 20 take 200 s
TRAIN = [sys.executable, "-m", "scratchvae", "train"]
WORDS = ["--model", "hvae", "--latents", "8,4", "--hidden", "32", "--batch-size", "400", "--binarize",
         "resample-each-epoch", "--warm-up", "5", "--free-bits", "0.5,0.1", "--checkpoint-every", "0.05"]
needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")


def begin(*words):
    root = Path(__file__).parents[2]
    return subprocess.Popen([*TRAIN, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "PYTHONPATH": str(root)}, start_new_session=True)


def family(process):
    """Return the processes of the session that a process began: itself, its workers, the standard library's tracker."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
            words = path.with_name("cmdline").read_text()
        except OSError:                                # it has ended meanwhile
            continue
        if int(fields[3]) == process.pid and fields[0] != "Z":
            found[int(path.parent.name)] = words
    return found


def wait_for(condition, what, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.01)


def workers_of(process):
    return [pid for pid, words in family(process).items() if "spawn_main" in words]


def theta(folder):
    return checkpoint.load(Path(folder) / "checkpoint.npz").theta.tobytes()


def test_the_bits_are_the_same_for_any_number_and_one_may_go_on_with_another(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", *WORDS, "--epochs", "3", "--out", "one", "--workers", "1"]) == 0
    assert cli.main(["train", *WORDS, "--epochs", "2", "--out", "parts", "--workers", "3"]) == 0
    assert cli.main(["train", "--resume", "parts", "--epochs", "3", "--workers", "2"]) == 0
    assert theta("one") == theta("parts")
    assert json.loads(Path("parts/config.json").read_text())["workers"] == 2
    assert capsys.readouterr().err == ""
    found = []
    for workers in (1, 2):
        assert cli.main(["evaluate", "one", "--samples", "20", "--workers", str(workers), "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1]
    run, x = cli.load("one"), np.zeros((70, 64), np.float32)
    np.testing.assert_array_equal(run.log_likelihood(x, 5, workers=1), run.log_likelihood(x, 5, workers=2))


def test_workers_that_come_later_are_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", *WORDS, "--epochs", "1", "--out", "run"]) == 0
    assert cli.main(["train", "--resume", "run", "--epochs", "2", "--workers", "1"]) == 0
    assert "the run began without workers and goes on with them" in capsys.readouterr().err
    assert cli.main(["train", "--resume", "run", "--epochs", "3", "--workers", "auto"]) == 0
    assert "the run began with workers and goes on without them" in capsys.readouterr().err
    assert cli.main(["train", "--resume", "run", "--epochs", "4"]) == 0 and capsys.readouterr().err == ""
    assert cli.main(["evaluate", "run", "--samples", "5", "--workers", "auto"]) == 0
    capsys.readouterr()
    assert cli.main(["train", *WORDS, "--out", "no", "--workers", "1000000001"]) == 2
    assert "--workers: it must be auto, or a whole number from 1 to 1000000000; got 10" in capsys.readouterr().err
    assert cli.main(["train", *WORDS, "--out", "no", "--workers", "0"]) == 2
    assert "--workers: it must be auto, or a whole number of at least 1; got 0" in capsys.readouterr().err
    assert not Path("no").exists()


def test_a_run_with_patience_may_be_resumed_with_more_epochs_and_workers(tmp_path, monkeypatch):
    """The best epoch was kept under the options of before."""
    monkeypatch.chdir(tmp_path)
    words = ["--model", "vae", "--hidden", "16", "--latents", "2", "--patience", "30"]
    assert cli.main(["train", *words, "--epochs", "2", "--out", "run"]) == 0
    run, _ = folders.open_run(Path("run"))
    run.state.history["valid_elbo"][0] = 0.0           # so that no later epoch is better
    run.save()
    checkpoint.save("run/best.npz", run.model, run.optimizer, run.state, run.config)
    assert cli.main(["train", "--resume", "run", "--epochs", "4", "--workers", "1"]) == 0


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    """Return theta of an undisturbed run of this number of epochs, trained once."""
    @functools.cache
    def train(epochs):
        folder = tmp_path_factory.mktemp("untouched") / "run"
        run = begin(*WORDS, "--epochs", epochs, "--out", folder, "--workers", "1")
        assert run.communicate(timeout=300)[1] == "" and run.returncode == 0
        return theta(folder)
    return train


@needs_proc
@pytest.mark.parametrize("kills", [1, pytest.param(KILLS, marks=pytest.mark.slow)])
def test_a_killed_worker_ends_the_run_in_one_sentence(tmp_path, untouched, kills):
    """At random moments; the checkpoint is whole, nothing is left, the run goes on to the bits of an untouched one."""
    rng, shm = np.random.default_rng(0), Path("/dev/shm")
    before, done = set(shm.iterdir()) if shm.exists() else set(), 0
    words = [*WORDS, "--epochs", 50 * kills, "--out", tmp_path / "run", "--workers", "2"]
    while True:
        process = begin(*words)
        if done == kills:
            break
        wait_for(lambda: len(workers_of(process)) >= 2 and (tmp_path / "run" / "checkpoint.npz").exists(), "no workers")
        time.sleep(rng.uniform(0.05, 0.3))
        members = family(process)
        os.kill(rng.choice(workers_of(process)), signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 2 and errors.count("\n") == 1, errors
        assert errors.startswith("scratchvae: worker ") and "was killed by SIGKILL before its work was done" in errors
        assert errors.endswith(f"; train --resume {tmp_path / 'run'} goes on from the checkpoint\n")
        wait_for(lambda: not family(process), f"still there: {family(process)}, of {members}")
        checkpoint.load(tmp_path / "run" / "checkpoint.npz")
        done += 1
        words = ["--resume", tmp_path / "run", "--workers", rng.integers(2, 5)]
    assert process.communicate(timeout=300)[1] == "" and process.returncode == 0
    assert theta(tmp_path / "run") == untouched(50 * kills)
    left = set(shm.iterdir()) - before if shm.exists() else set()
    assert not [path for path in left if path.name.startswith(("pym", "psm"))]


@needs_proc
@pytest.mark.parametrize("kills", [1, pytest.param(KILLS, marks=pytest.mark.slow)])
def test_workers_end_when_the_main_process_is_killed(tmp_path, untouched, kills):
    """kill -9 at random moments, on with another number of workers: to the same bits, and no orphan at any time."""
    rng, done = np.random.default_rng(1), 0
    words = [*WORDS, "--epochs", 50 * kills, "--out", tmp_path / "run", "--workers", "2"]
    while True:
        process = begin(*words)
        if done == kills:
            break
        wait_for(lambda: (tmp_path / "run" / "checkpoint.npz").exists() and workers_of(process), "no workers")
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        process.communicate(timeout=60)
        wait_for(lambda: not family(process), f"still there: {family(process)}")
        done += 1
        words = ["--resume", tmp_path / "run", "--workers", rng.integers(2, 5)]
    assert process.communicate(timeout=300)[1] == "" and process.returncode == 0
    assert theta(tmp_path / "run") == untouched(50 * kills)


@needs_proc
@pytest.mark.parametrize("seconds", [0, *(pytest.param(seconds, marks=pytest.mark.slow) for seconds in (0.2, 1))])
def test_ctrl_c_saves_and_ends_all(tmp_path, seconds):
    """Also while the workers are starting."""
    process = begin(*WORDS, "--epochs", "100000", "--out", tmp_path / "run", "--workers", "2")
    wait_for(lambda: len(workers_of(process)) >= 2, "no workers")
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)              # as a terminal does: to all of them
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")
    assert "and saved; scratchvae train --resume" in out
    wait_for(lambda: not family(process), f"still there: {family(process)}")
