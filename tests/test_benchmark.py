"""The benchmark runs; what it measures is left to those who run it."""

import os
import subprocess
import sys
from pathlib import Path

DEMOS = Path(__file__).parent.parent / "demos"


def test_benchmark_prints_its_tables(tmp_path):
    """One round of the smallest workload, through the contenders' processes to the figure."""
    command = [sys.executable, DEMOS / "benchmark" / "benchmark.py", "--steps", "--workloads", "C", "--only",
               "products", "--rounds", "1", "--workers", "2", "--out", tmp_path]
    environment = {**os.environ, "PYTHONPATH": str(DEMOS.parent), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "where the time of scratchvae goes" in run.stdout and "2 workers" in run.stdout
    assert (tmp_path / "benchmark.png").stat().st_size > 10_000
