"""What the tests share: a generator, the proof of a gradient, its line in the summary, and real data."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")      # for small products a second thread is only in the way

import signal
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:      # as in a shell's background jobs; what is started would
    signal.signal(signal.SIGINT, signal.default_int_handler)   # inherit it, and no test of Ctrl-C could end

LEDGERS = pytest.StashKey[list]()


def pytest_configure(config):
    config.stash[LEDGERS] = []


def pytest_terminal_summary(terminalreporter, config):
    for method in ("complex", "central"):
        entries = [entry for ledger in config.stash[LEDGERS] if ledger.method == method for entry in ledger.entries]
        if entries:
            worst = max(entry.error for entry in entries)
            terminalreporter.write_line(f"{len(entries)} gradients agree with the {method} step: "
                                        f"largest relative error {worst:.1e}")


@pytest.fixture
def rng():
    """A generator of its own for each test."""
    return np.random.default_rng(12345)


@pytest.fixture
def agrees(request):
    """Fail, naming every wrong gradient, unless the whole ledger is right."""
    def check(ledger):
        wrong = "\n".join(str(entry) for entry in ledger.entries if not entry.ok)
        assert ledger.ok, f"these gradients are wrong:\n{wrong}"
        request.config.stash[LEDGERS].append(ledger)
    return check


@pytest.fixture(scope="session")
def shared_data():
    """The folder with MNIST, Frey faces and the like, which is not part of the project."""
    folder = Path(os.environ.get("SCRATCHVAE_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not (folder / "mnist").is_dir():
        pytest.skip("needs real data: set SCRATCHVAE_DATA to a folder with mnist/, binarized_mnist/, frey/, digits/")
    return folder


@pytest.fixture
def allocated():
    """Return how many bytes a call allocates, at its peak."""
    def measure(call):
        tracemalloc.start()
        try:
            call()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    return measure
