"""The lessons run from any directory, and draw; the longer proofs, by their own commands."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DEMOS = {"1_vae": ["--epochs", "5"], "2_hierarchy": ["--epochs", "5"], "3_gradients": [],
         "4_consistency": ["--epochs", "5", "--seeds", "1"], "5_bugs": [],
         "11_mend": ["--epochs", "5"], "12_diffusion": ["--epochs", "2"]}


def run(*command, cwd):
    done = subprocess.run([sys.executable, *map(str, command)], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", DEMOS)
def test_lesson_runs_elsewhere_and_draws(name, tmp_path):
    printed = run(ROOT / "demos" / f"{name}.py", *DEMOS[name], cwd=tmp_path)
    if name != "3_gradients":
        assert (tmp_path / "out" / f"{name}.png").stat().st_size > 10_000 and f"{name}.png" in printed


@pytest.mark.slow
def test_lesson_3_shows_a_spoilt_entry(tmp_path):
    """One entry of q1.dense1.W wrong by a thousandth: that array is wrong in every part that knows it, no other."""
    printed = run(ROOT / "demos" / "3_gradients.py", "--break", cwd=tmp_path)
    wrong = [line for line in printed.splitlines() if line.endswith("WRONG")]
    assert wrong and all("q1.dense1.W" in line for line in wrong if "gradients," not in line)


@pytest.mark.slow
def test_killed_runs_go_on_to_the_same_bits(tmp_path):
    assert "0 differ" in run(ROOT / "tests" / "kill_and_resume.py", "--runs", "10", cwd=tmp_path)
