"""A run of ours in PyTorch and in JAX, where they are installed: the same bound and gradient, and the same training."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scratchvae import cli

ROOT = Path(__file__).parents[1]
INSTALLED = [name for name in ("jax", "torch") if importlib.util.find_spec(name)]


@pytest.mark.parametrize("words", [["--model", "hvae", "--latents", "16,8"], ["--activation", "relu"]],
                         ids=["hvae", "vae"])
def test_bound_gradient_and_training_are_the_same(tmp_path, words):
    if not INSTALLED:
        pytest.skip("needs PyTorch or JAX: pip install torch jax")
    assert cli.main(["train", *words, "--binarize", "sample", "--epochs", "2", "--out", str(tmp_path / "run")]) == 0
    command = [sys.executable, ROOT / "demos" / "beyond" / "beyond.py", tmp_path / "run", "--ddp", "2"]
    run = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for name in INSTALLED:
        off, error = re.search(rf"{name}: .* nats, off by (\S+); the gradient by (\S+)", run.stdout).groups()
        assert float(off) < 1e-6 and float(error) < 1e-10
    if "torch" in INSTALLED:
        assert float(re.search(r"largest difference: (\S+)", run.stdout)[1]) < 1e-9


def test_a_run_that_the_script_does_not_know_is_named(tmp_path):
    words = ["train", "--model", "topdown", "--latents", "3,2", "--epochs", "1", "--out", str(tmp_path / "run")]
    assert cli.main(words) == 0
    run = subprocess.run([sys.executable, ROOT / "demos" / "beyond" / "beyond.py", tmp_path / "run"],
                         env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert run.returncode == 2 and "error: the run must be of --model vae or hvae, --likelihood bernoulli" in run.stderr
