"""Mutation test of the math: change it in one place, and see that a test fails.

    python tests/mutation                    # all of it: an hour on two cores
    python tests/mutation gaussian train.optim     # these files alone

Every mutant must be killed, or stand in equivalent.txt with the reason why it
computes the same.  The run fails if one survives that is not listed there, and
if one is listed that does not exist, or that a test kills: so the list is true.
What is listed may be moved about in its file: it is known by its text.

A mutant of gaussian.py must be killed by test_gaussian.py alone, and so on: the
tests that a reader of the file looks at.  Each mutant has a process of its own,
forked from one that has imported NumPy, SciPy and pytest, so that one takes a
fraction of a second; the tests that have killed others in the same function
come first.
"""

from __future__ import annotations

import argparse
import gc
import importlib.abc
import importlib.util
import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"       # the processes share the cores

import pytest                                          # noqa: E402
import scipy.integrate                                 # noqa: E402, F401  what the tests import: paid once
import scipy.optimize                                  # noqa: E402, F401
import scipy.special                                   # noqa: E402, F401
import scipy.stats                                     # noqa: E402, F401

from mutants import Mutant, listed, mutants            # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("equivalent.txt")
TESTS = {
    "layers": ["layers", "wrong_calls"], "mlp": ["mlp", "wrong_calls"], "gaussian": ["gaussian"],
    "compare": ["compare"],
    "likelihood": ["likelihood"], "objective": ["objective"],
    "model": ["vae", "hvae", "autoencoder", "bad_input", "mixed", "wrong_calls"],
    "autoencoder": ["autoencoder", "bad_input", "mixed", "wrong_calls"],
    "vae": ["vae", "bad_input", "importance", "prior", "wrong_calls"],
    "hvae": ["hvae", "bad_input", "importance", "wrong_calls"], "topdown": ["topdown", "importance"],
    "train.optim": ["optim"], "train.schedules": ["schedules"], "train.losses": ["losses"],
    "train.state": ["state"], "train.step": ["step"],
    "train.evaluation": ["evaluation_parts"], "train.fit": ["fit", "training", "bad_input"],
    "schedule": ["diffusion"], "diffusion": ["diffusion"], "flow": ["flow"],
    "verify.diffusion_forms": ["diffusion"],
    "prior": ["prior"], "conditions": ["conditions"],
    "importance": ["importance"], "mixed": ["mixed", "discrete"],
}
SECONDS = 60                                           # of computing: a mutant that takes longer is dead
DEAD = (1, 2, 4, -signal.SIGXCPU)                      # a test failed; tests, conftest.py not imported; out of time


class Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the mutated source in place of the file."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source

    def find_spec(self, name, path, target=None):
        return importlib.util.spec_from_loader(name, self) if name == self.name else None

    def exec_module(self, module) -> None:
        exec(compile(self.source, self.name, "exec"), module.__dict__)


class Order:
    """Sorts the tests, and reports of each whether it failed and how long it took."""

    def __init__(self, first: Callable[[str], Any], pipe: int) -> None:
        self.first, self.pipe = first, pipe

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self.first(item.nodeid))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.failed:
            os.write(self.pipe, f"{report.failed:d} {report.duration:.4f} {report.nodeid}\n".encode())


class Tests:
    """A run of the tests of one file of the library, in a process of its own."""

    def __init__(self, module: str, mutant: Mutant | None = None, first: Callable[[str], Any] = lambda name: 0) -> None:
        self.mutant = mutant
        self.reports = tempfile.TemporaryFile()
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(self.run(module, first))

    def run(self, module: str, first: Callable[[str], Any]) -> int:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 9))       # SIGXCPU comes first, then SIGKILL
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))             # nor may it fill the memory
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1), os.dup2(null, 2)
        sys.path.insert(0, str(ROOT))
        if self.mutant is not None:
            sys.meta_path.insert(0, Mutated(f"scratchvae.{module}", self.mutant.source))
        files = [str(ROOT / "tests" / f"test_{name}.py") for name in TESTS[module]]
        return pytest.main([f"--rootdir={ROOT}", "-x", "--tb=no", "--assert=plain", "-p", "no:cacheprovider",
                            "-p", "no:faulthandler", *files], plugins=[Order(first, self.reports.fileno())])

    def results(self) -> Iterator[tuple[str, bool, float]]:
        """Yield name, failed, seconds of each test that was run."""
        self.reports.seek(0)
        for line in self.reports.read().decode().splitlines():
            failed, seconds, name = line.split(" ", 2)
            yield name, failed == "1", float(seconds)
        self.reports.close()


def survivors(work: list[Mutant], seconds: dict[str, float]) -> list[Mutant]:
    """Return the mutants that no test kills, tested on all cores.

    The tests that have killed others in the same function come first, then the
    quick ones.
    """
    kills: dict[tuple[str, str], Counter] = defaultdict(Counter)
    running: dict[int, Tests] = {}
    alive, start = [], time.perf_counter()
    waiting = list(reversed(work))
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            mutant = waiting.pop()
            killers = kills[mutant.module, mutant.scope]
            tests = Tests(mutant.module, mutant, lambda name: (-killers[name], seconds.get(name, 0)))
            running[tests.pid] = tests
        pid, status = os.wait()
        tests = running.pop(pid)
        kills[tests.mutant.module, tests.mutant.scope].update(name for name, failed, _ in tests.results() if failed)
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            alive.append(tests.mutant)
        elif code not in DEAD:
            raise SystemExit(f"pytest ended with {code}, which is neither passed nor failed, on {tests.mutant.key}")
        done = len(work) - len(waiting) - len(running)
        if sys.stderr.isatty():
            print(f"\r{done} of {len(work)} mutants, {len(alive)} alive, {time.perf_counter() - start:.0f} s",
                  end="\n" if done == len(work) else "", file=sys.stderr)
    return alive


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("module", nargs="*", help=f"of {', '.join(TESTS)}; by default all")
    modules = parser.parse_args().module or list(TESTS)
    if not set(modules) <= set(TESTS):
        parser.error(f"there is no {', '.join(sorted(set(modules) - set(TESTS)))}; choose from {', '.join(TESTS)}")

    start = time.perf_counter()
    gc.freeze()                                        # what is there now is never collected: forks share its memory
    gc.disable()
    seconds: dict[str, float] = {}
    for module in modules:
        tests = Tests(module)
        if os.waitpid(tests.pid, 0)[1] != 0:
            print(f"the tests of {module} must pass before they can be put to the test")
            return 2
        seconds.update((name, duration) for name, _, duration in tests.results())

    work = [mutant for module in modules for mutant in
            mutants(module, (ROOT / "scratchvae" / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))]
    alive = {mutant.key for mutant in survivors(work, seconds)}
    equivalent = {key for key in listed(LIST) if key[0] in modules}
    made = {mutant.key for mutant in work}
    failures = [("survives, and is not listed as equivalent", alive - equivalent),
                ("is listed as equivalent, but a test kills it", (equivalent & made) - alive),
                ("is listed as equivalent, but no longer exists", equivalent - made)]
    for what, keys in failures:
        for file, scope, before, after in sorted(keys):
            print(f"{what}:\n{file}.py: {scope}\n  - {before}\n  + {after}\n")
    print(f"{len(work)} mutants of {', '.join(modules)}: {len(work) - len(alive)} killed, {len(alive & equivalent)} "
          f"equivalent, {len(alive - equivalent)} alive; {time.perf_counter() - start:.0f} s")
    return int(any(keys for _, keys in failures))


if __name__ == "__main__":
    sys.exit(main())
