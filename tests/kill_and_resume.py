"""Kill training with SIGKILL at random moments, go on, and compare with a run that nobody touched.

    python tests/kill_and_resume.py              # 50 runs, some minutes
    python tests/kill_and_resume.py --runs 5 --seed 1

Each run is a process of its own, killed up to four times at moments drawn at
random, half of the runs while they save after every single step.  In the end
every array of its checkpoint must equal that of the untouched run, bit for bit,
but for the seconds that went by.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

TRAIN = [sys.executable, "-m", "scratchvae", "train"]
OPTIONS = ["--model", "hvae", "--latents", "8,4", "--hidden", "32", "--batch-size", "400", "--seed", "3", "--binarize",
           "resample-each-epoch", "--warm-up", "20", "--free-bits", "0.5,0.1", "--schedule", "exponential:1e-4",
           "--average", "0.99"]
ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "",
               "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])}


def options(epochs: int, every: float) -> list[str]:
    """Return the options of a run: how long, and how many seconds between two checkpoints."""
    return [*OPTIONS, "--epochs", str(epochs), "--checkpoint-every", str(every)]


def start(arguments: list[str]) -> subprocess.Popen[str]:
    """Begin a process that trains."""
    return subprocess.Popen([*TRAIN, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=ENVIRONMENT)


def arrays(folder: Path) -> dict[str, np.ndarray]:
    """Return what a run's checkpoint holds, but for the times."""
    with np.load(folder / "checkpoint.npz", allow_pickle=False) as archive:
        return {name: archive[name] for name in archive if not name.endswith("seconds")}


def differences(folder: Path, untouched: Path) -> list[str]:
    """Return the names of the arrays that are not the same, bit for bit."""
    got, expected = arrays(folder), arrays(untouched)
    return [name for name in got.keys() | expected.keys()
            if name not in got or name not in expected or got[name].dtype != expected[name].dtype
            or got[name].tobytes() != expected[name].tobytes()]


def train(folder: Path, epochs: int, every: float, kills: list[float]) -> list[str]:
    """Train to the end, killed after each of these times in seconds; return what each kill hit."""
    hits = []
    for seconds in [*kills, None]:
        there = any((folder / name).exists() for name in ("checkpoint.npz", "checkpoint.previous.npz"))
        left_over = set(folder.glob(".*.part"))
        process = start(["--resume", str(folder)] if there else ["--out", str(folder), *options(epochs, every)])
        try:
            _, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            hits.append("between two renames" if there and not (folder / "checkpoint.npz").exists() else
                        "while writing" if set(folder.glob(".*.part")) - left_over else
                        "elsewhere" if (folder / "checkpoint.npz").exists() else "before the first checkpoint")
        else:
            if process.returncode != 0:
                raise RuntimeError(f"training failed: {errors}")
    return hits


def main() -> int:
    """Run the whole experiment; return 0 if every run came out the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, bad, count = np.random.default_rng(args.seed), 0, {}
    with tempfile.TemporaryDirectory() as name:
        folder, times = Path(name), {}
        for every in (0.0, 0.05):
            began = time.perf_counter()
            train(folder / f"untouched {every}", args.epochs, every, [])
            times[every] = time.perf_counter() - began
            print(f"untouched, a checkpoint every {every} s: {times[every]:.1f} s")
        for i in range(args.runs):
            every = (0.0, 0.05)[i % 2]
            kills = rng.uniform(0.1, times[every], size=rng.integers(1, 5)).tolist()
            hits = train(folder / f"run {i}", args.epochs, every, kills)
            wrong = differences(folder / f"run {i}", folder / f"untouched {every}")
            bad += bool(wrong)
            for hit in hits:
                count[hit] = count.get(hit, 0) + 1
            print(f"run {i + 1}: killed {', '.join(hits) or 'too late'}: "
                  + (f"WRONG in {', '.join(wrong)}" if wrong else "the same, bit for bit"), flush=True)
    print(f"{args.runs} runs, {sum(count.values())} kills ({', '.join(f'{n} {hit}' for hit, n in count.items())}): "
          f"{bad} differ from the untouched run")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
