"""Processes that work for this one: started, spoken to, heard, and ended; and the memory that they share.

They are started anew ("spawn"), as this works on Linux, macOS and Windows.  Each multiplies
matrices with one thread.  The memory has no name (on Linux and macOS it is a file that is
deleted before it is used), so nothing can stay behind.  A worker ends when the main process
does, however that ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np

from .. import check
from ..layers import Array
from ..model import Model

LOOK = 2e-4                                            # seconds of looking, again and again, before a worker sleeps
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

give_way = getattr(os, "sched_yield", lambda: time.sleep(0))       # to any other process that waits for this core


def number_of(workers: int | str) -> int:
    """Return how many workers are meant: 'auto' is one for each core that this process may use."""
    if isinstance(workers, str) and workers == "auto":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return check.size("workers", workers, also="'auto'")


@contextmanager
def fit_for_workers(without_script: bool) -> Iterator[None]:
    """Let what is started now multiply with one thread, leave Ctrl-C to the main process, and not read the script.

    A new process imports the script of the first one (`multiprocessing`, "Safe importing of
    main module"), which is of no use where nothing that it is given is defined there.
    """
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    mask = None
    if hasattr(signal, "pthread_sigmask"):
        resource_tracker.ensure_running()              # of the standard library; when it starts, it unblocks Ctrl-C
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    script = vars(sys.modules["__main__"])
    hidden: dict[str, Any] = {name: script[name] for name in ("__file__", "__spec__")
                              if without_script and name in script}
    script.update(dict.fromkeys(hidden))               # None
    try:
        yield
    finally:
        script.update(hidden)
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def begin(work: Callable[..., Any], pipe: Connection, errors: Any, w: int, n: int, memory: Any) -> None:
    """Be a worker: do the work; an exception goes to the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)       # where no mask is inherited
    np.seterr(**errors)
    try:
        given = pipe.recv()
    except (EOFError, OSError):                        # there is no main process any more
        return
    try:
        work(pipe, w, n, memory, *given)
    except (EOFError, BrokenPipeError, ConnectionResetError):              # nor here
        pass
    except Exception as error:
        with suppress(OSError):
            try:
                pipe.send(error)
            except Exception:                          # one that cannot be sent
                pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))


class Workers:
    """Some processes, each with a pipe to this one; they end with the ``with`` block.

    Parameters
    ----------
    work : function
        Called in worker w of n as ``work(pipe, w, n, memory, *given)``.
    n : int
    given : objects
        What pickle can copy.
    memory : optional
        Made by `shared`.

    Raises
    ------
    ValueError
        If the workers cannot be given this.
    ChildProcessError
        When a worker has ended that should not have; the message says how.
    """

    def __init__(self, work: Callable[..., Any], n: int, *given: Any, memory: Any = None) -> None:
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise RuntimeError("workers read the script that defines the model, and this one starts workers when it is "
                               "read: put what it does under `if __name__ == \"__main__\":`")
        context, self.processes, self.pipes = multiprocessing.get_context("spawn"), [], []
        try:
            copied = b"".join(map(bytes, map(ForkingPickler.dumps, (work, *given))))
        except Exception as error:                     # of many kinds
            raise ValueError(f"model must be what pickle can copy, to be given to workers: {error}") from None
        with fit_for_workers(b"__main__" not in copied):
            try:
                for w in range(n):
                    ours, theirs = context.Pipe()
                    self.pipes.append(ours)
                    process = context.Process(target=begin, args=(work, theirs, np.geterr(), w, n, memory),
                                              daemon=True, name=f"worker {w + 1} of {n}")
                    process.start()
                    self.processes.append(process)
                    theirs.close()
                for w in range(n):
                    self.say(w, given)                 # not above: `start` would wait for ever if one is killed by then
            except BaseException:
                Workers.__exit__(self)
                raise

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: Any) -> None:
        for process in self.processes:                 # they have nothing that a kill could spoil
            process.kill()
        for process in self.processes:
            process.join()
        for pipe in self.pipes:
            pipe.close()

    def loss(self, w: int) -> ChildProcessError:
        """Return the error that says how a worker ended."""
        self.processes[w].join()
        code = self.processes[w].exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return ChildProcessError(f"{self.processes[w].name} {how} before its work was done")

    def say(self, w: int, words: Any) -> None:
        """Send something to a worker."""
        try:
            self.pipes[w].send(words)
        except OSError:                                # it is no longer there
            raise self.loss(w) from None

    def hear(self) -> list[tuple[int, Any]]:
        """Wait until some workers have said something, and return which, and what; raise an exception that they had."""
        heard = []
        ready = wait(self.pipes)
        for w in (w for w, pipe in enumerate(self.pipes) if pipe in ready):
            try:
                heard.append((w, self.pipes[w].recv()))
            except (EOFError, OSError):
                raise self.loss(w) from None
            if isinstance(heard[-1][1], Exception):
                raise heard[-1][1]
        return heard

    def hear_all(self) -> None:
        """Wait until every worker has said something."""
        silent = set(range(len(self.pipes)))
        while silent:
            silent -= {w for w, _ in self.hear()}


# one job after the other ----------------------------------------------------------------------------


def serve(pipe: Connection, w: int, n: int, memory: None, function: Callable[..., Any], model: Model) -> None:
    """Be a worker: answer each job with function(model, ...)."""
    while True:
        pipe.send(function(model, *pipe.recv()))


def by_jobs(function: Callable[..., Any], model: Model, jobs: list[tuple[Any, ...]], workers: int,
            done: Callable[[int], Any] = lambda count: None) -> list[Any]:
    """Return function(model, *job) for each job, in order; a function that a module has, as workers import it."""
    answers: dict[int, Any] = {}
    n = min(workers, len(jobs))
    with Workers(serve, n, function, model) as team:
        busy = dict(enumerate(range(n)))               # which job a worker has
        for w in busy:
            team.say(w, jobs[w])
        while len(answers) < len(jobs):
            for w, answer in team.hear():
                answers[busy.pop(w)] = answer
                following = len(answers) + len(busy)
                if following < len(jobs):
                    busy[w] = following
                    team.say(w, jobs[following])
            done(len(answers))
    return [answers[i] for i in range(len(jobs))]


# memory, and waiting without a word -----------------------------------------------------------------


def shared(layout: Mapping[str, tuple[tuple[int, ...], Any]]) -> Any:
    """Return memory, all zero, for arrays of these shapes and dtypes, that can be given to workers."""
    size = sum(-(-np.empty(0, dtype).itemsize * int(np.prod(shape)) // 64) * 64 for shape, dtype in layout.values())
    return multiprocessing.get_context("spawn").RawArray("b", size + 64)


def arrays(memory: Any, layout: Mapping[str, tuple[tuple[int, ...], Any]]) -> dict[str, Array]:
    """Return the arrays in shared memory, each at a multiple of 64 bytes."""
    start, found = -np.frombuffer(memory, np.uint8).ctypes.data % 64, {}
    for name, (shape, dtype) in layout.items():
        count = int(np.prod(shape))
        found[name] = np.frombuffer(memory, dtype, count, start).reshape(shape)
        start += -(-found[name].nbytes // 64) * 64
    return found


def wait_until(ready: Callable[[], bool]) -> None:
    """Wait: look for a moment, give way to others in between, then sleep between looks; end if the main process has."""
    until, pause = time.perf_counter() + LOOK, LOOK / 4
    while not ready():
        if time.perf_counter() < until:
            give_way()
            continue
        time.sleep(pause)
        pause = min(1.01 * pause, 1e-3)
        main = multiprocessing.parent_process()
        if pause == 1e-3 and (main is None or not main.is_alive()):
            os._exit(0)
