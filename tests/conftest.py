"""What the tests share: a generator, the proof of a gradient, and its line in the summary."""

import tracemalloc

import numpy as np
import pytest

LEDGERS = pytest.StashKey[list]()


def pytest_configure(config):
    config.stash[LEDGERS] = []


def pytest_terminal_summary(terminalreporter, config):
    for method in ("complex", "central"):
        entries = [entry for ledger in config.stash[LEDGERS] if ledger.method == method for entry in ledger.entries]
        if entries:
            terminalreporter.write_line(f"{len(entries)} gradients proven by {method} step: largest relative error "
                                        f"{max(entry.error for entry in entries):.1e}")


@pytest.fixture
def rng():
    """A generator of its own for each test."""
    return np.random.default_rng(12345)


@pytest.fixture
def proven(request):
    """Fail, naming every wrong gradient, unless the whole ledger is right."""
    def check(ledger):
        wrong = "\n".join(str(entry) for entry in ledger.entries if not entry.ok)
        assert ledger.ok, f"these gradients are wrong:\n{wrong}"
        request.config.stash[LEDGERS].append(ledger)
    return check


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
