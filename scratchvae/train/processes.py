"""Worker processes and their shared memory: how they are started, given work, and ended.

They are started anew ("spawn"), as this works on Linux, macOS and Windows.  Each multiplies
matrices with one thread.  The memory has no name (on Linux and macOS it is a file that is
deleted before it is used), so nothing can stay behind.  A worker ends when the main process
does, however that ends.  Nothing of the main process is changed for longer than a start takes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from multiprocessing import resource_tracker, spawn
from multiprocessing.connection import Connection, wait
from multiprocessing.heap import Arena
from multiprocessing.reduction import ForkingPickler
from traceback import TracebackException
from typing import Any

import numpy as np

from .. import check, startup
from ..layers import Array

LOOK = 2e-4                                            # seconds of looking, again and again, before a worker sleeps
MOST = 8                                               # workers on fewer cores: more would only be in each other's way
STARTING = threading.Lock()                            # one thread at a time hides the script

# What a new process executes before NumPy is loaded, so that the number of threads counts, and a failure is ours to say
BEGIN = f"""
import os
try:
    os.environ.update(dict.fromkeys(
        ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"))
    from {__name__} import begin
    begin(*told)
except BaseException as error:
    text = " ".join(str(error).split())
    told[1].send(ChildProcessError(f"{{told[0]}} could not start: {{type(error).__name__}}: {{text:.200}}"))
"""

give_way = getattr(os, "sched_yield", lambda: time.sleep(0))       # to any other process that waits for this core


def number_of(workers: int | str) -> int:
    """Return the number of workers: 'auto' is one for each core; at most 8, or as many as there are cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if isinstance(workers, str) and workers == "auto" else \
        min(check.size("workers", workers, also="'auto'"), max(MOST, cores))


@contextmanager
def starting() -> Iterator[None]:
    """Let what is started now leave Ctrl-C to the main process, and not read the script; `begin` does if it must."""
    script = vars(sys.modules["__main__"])
    with STARTING:
        mask = None
        if hasattr(signal, "pthread_sigmask"):
            resource_tracker.ensure_running()          # of the standard library; when it starts, it unblocks Ctrl-C
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        hidden: dict[str, Any] = {name: script[name] for name in ("__file__", "__spec__") if name in script}
        script.update(dict.fromkeys(hidden))           # None
        try:
            yield
        finally:
            script.update(hidden)
            if mask is not None:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def script_of(copied: bytes) -> dict[str, str]:
    """Return what a worker must read to know what it is given: nothing, unless the script defines some of it."""
    here = multiprocessing.current_process()
    if getattr(here, "_inheriting", False) or getattr(here, "_args", ())[:1] == (BEGIN,):      # one of ours
        raise RuntimeError("workers read the script that defines the model, and this one starts workers when it is "
                           "read: put what it does under `if __name__ == \"__main__\":`")
    if here.daemon or multiprocessing.get_start_method() not in multiprocessing.get_all_start_methods():
        raise ChildProcessError("workers cannot be started by a process of multiprocessing.Pool, of joblib, or another "
                                "that may have no children")
    if b"__main__" not in copied:
        return {}
    with STARTING:                                     # else another thread may have hidden it
        script = {name: path for name, path in spawn.get_preparation_data("").items() if name.startswith("init_main")}
    if not script or not os.path.isfile(script.get("init_main_from_path", __file__)):
        raise ValueError("model must be of a class that a file defines, to be given to workers, which import it: not "
                         "python -c, its standard input, or a notebook")
    return script


def begin(name: str, pipe: Connection, w: int, n: int, memory: Any, errors: Any, script: dict[str, str]) -> None:
    """Be a worker: do the work; an exception goes to the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)       # where no mask is inherited
    work = None
    try:
        np.seterr(**errors)
        with suppress(OSError):                        # where stderr is closed
            stderr = os.dup(2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)               # OpenBLAS takes its memory now, and where there
            np.ones((256, 256)) @ np.ones((256, 256))                  # is none it ends this process, with a line
            os.dup2(stderr, 2)
        threading.Thread(target=end_with_main, daemon=True).start()    # not before: 2 may be what it looks at
        spawn.prepare(script)
        work, *given = pipe.recv()
        work(pipe, w, n, memory, *given)
    except BaseException as error:
        text = f"{type(error).__name__}: {TracebackException(type(error), error, None)}"       # if str(error) fails too
        if work is None:
            error = ChildProcessError(f"{name} could not start: {text}")
        try:
            str(ForkingPickler.loads(ForkingPickler.dumps(error)))
        except Exception:                              # one that cannot be sent, not be made again, or not be shown
            error = RuntimeError(text)
        with suppress(OSError):                        # there is no main process any more
            pipe.send(error)


def end_with_main() -> None:
    """End this process when the main one has ended, even if a fork of that still holds its pipes."""
    main = multiprocessing.parent_process()
    while main is not None and main.is_alive() and os.getppid() == main.pid:
        main.join(1)
    os._exit(0)


def copied(given: Any) -> bytes:
    """Return what pickle makes of what workers are given: of a model, and more."""
    try:
        return bytes(ForkingPickler.dumps(given))
    except Exception as error:                         # of many kinds
        raise ValueError(f"model must be picklable, for workers: {type(error).__name__}: {error}") from None


class Workers(AbstractContextManager[Any]):
    """Some processes, each with a pipe to this one; they end with the ``with`` block.

    Parameters
    ----------
    work : function
        Called in worker w of n as ``work(pipe, w, n, memory, *given)``; it sends None when it is ready.
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
        When a worker has ended that should not have, or none can be started here; the message says how.
    """

    def __init__(self, work: Callable[..., Any], n: int, *given: Any, memory: Any = None) -> None:
        context, self.processes, self.pipes = multiprocessing.get_context("spawn"), [], []
        script = script_of(words := copied((work, *given)))
        try:
            with starting():
                for w in range(n):
                    ours, theirs = context.Pipe()
                    self.pipes.append(ours)
                    name = f"worker {w + 1} of {n}"
                    told = {"told": (name, theirs, w, n, memory, np.geterr(), script)}
                    process = context.Process(target=exec, args=(BEGIN, told), daemon=True, name=name)
                    process.start()
                    self.processes.append(process)
                    theirs.close()
            self.say(words)                            # not above: `start` would wait for ever if one is killed by then
            self.hear_all()                            # they are there
        except BaseException:
            Workers.__exit__(self)
            raise

    def __exit__(self, *_: Any) -> None:
        for process in self.processes:
            process.kill()                             # it has nothing that this could spoil
            process.join()
        for pipe in self.pipes:
            pipe.close()

    def loss(self, w: int) -> ChildProcessError:
        """Return the error that says how a worker ended."""
        self.processes[w].join()
        code = self.processes[w].exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return ChildProcessError(f"{self.processes[w].name} {how} before its work was done")

    def say(self, copied: Any) -> None:
        """Send every worker something that pickle has copied."""
        for w, pipe in enumerate(self.pipes):
            try:
                pipe.send_bytes(copied)
            except OSError:                            # it is no longer there
                raise self.loss(w) from None

    def hear_all(self) -> list[Any]:
        """Wait until every worker has said something, and return it; raise an exception that one had."""
        heard: dict[int, Any] = {}
        while len(heard) < len(self.pipes):
            ready = wait([pipe for w, pipe in enumerate(self.pipes) if w not in heard], 1)
            for process in () if ready else self.processes:
                if hasattr(signal, "SIGCONT") and process.is_alive() and process.pid is not None:
                    os.kill(process.pid, signal.SIGCONT)                       # one that was stopped stops all others
            for w in (w for w, pipe in enumerate(self.pipes) if pipe in ready):
                try:
                    heard[w] = self.pipes[w].recv()
                except (EOFError, OSError):
                    raise self.loss(w) from None
                if isinstance(heard[w], BaseException):
                    raise heard[w]
        return [heard[w] for w in range(len(self.pipes))]


def started(workers: int | str, n: int, start: Callable[[], Any], alone: Callable[[], Any] = lambda: None) -> Any:
    """Start n workers and return them; or, with 'auto' and where they cannot be started, what `alone` returns.

    A line on stderr gives the reason.  If this process has one thread, it also does the work of a single worker,
    because it is faster.
    """
    if n == 1 and startup.threads() == 1:
        return nullcontext(alone())
    try:
        return start()
    except (OSError, ValueError, MemoryError) as error:
        if workers != "auto":
            raise
        print(f"workers='auto' goes on without workers: {error}", file=sys.stderr)
        return nullcontext(alone())


# one job after the other ----------------------------------------------------------------------------


def serve(pipe: Connection, w: int, n: int, memory: None, jobs: list[Callable[[], Any]]) -> None:
    """Be a worker: do every n-th job, and send what it returns."""
    pipe.send(None)
    for job in jobs[w::n]:
        pipe.send(job())
    pipe.send(None)                                    # where others have one more
    pipe.recv()                                        # for ever: the main process ends this one


def by_batches(function: Callable[..., Any], batches: list[Array], rng: np.random.Generator,
               workers: int | str | None, done: Callable[[int], Any] = lambda count: None) -> list[Any]:
    """Return function(batch, rng=...) for each batch, in order; a function that pickle can copy.

    Without workers the batches draw from rng, one after the other; with workers each has a generator of its own.
    """
    answers: list[Any] = []
    jobs, helpers = [partial(function, batch, rng=rng) for batch in batches], nullcontext()
    if workers is not None:
        seed, n = int(rng.integers(2 ** 63)), min(number_of(workers), len(jobs))
        jobs = [partial(function, batch, rng=np.random.default_rng([seed, i])) for i, batch in enumerate(batches)]
        helpers = started(workers, n, lambda: Workers(serve, n, jobs))
    with helpers as team:
        while len(answers) < len(jobs):
            answers += [jobs[len(answers)]()] if team is None else team.hear_all()
            done(min(len(answers), len(jobs)))
    return answers[:len(jobs)]


# memory and waiting ---------------------------------------------------------------------------------


def shared(layout: Mapping[str, tuple[tuple[int, ...], Any]]) -> Any:
    """Return memory, all zero, for arrays of these shapes and dtypes, that can be given to workers."""
    size = sum(np.dtype(dtype).itemsize * int(np.prod(shape)) + 63 for shape, dtype in layout.values())
    try:
        memory = Arena(size)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(memory.fd, 0, size)     # now: later, where there is no room, it would be a bus error
    except OSError as error:
        raise OSError(f"workers need {size} bytes of shared memory, in /dev/shm or TMPDIR: {error.strerror}") from None
    return memory


def arrays(memory: Any, layout: Mapping[str, tuple[tuple[int, ...], Any]]) -> dict[str, Array]:
    """Return the arrays in shared memory, each at a multiple of 64 bytes."""
    start, found = 0, {}
    for name, (shape, dtype) in layout.items():
        count = int(np.prod(shape))
        found[name] = np.frombuffer(memory.buffer, dtype, count, start).reshape(shape)
        start += -(-found[name].nbytes // 64) * 64
    return found


def wait_until(ready: Callable[[], bool]) -> None:
    """Wait: look for a moment, give way to others in between, then sleep between looks."""
    until, pause = time.perf_counter() + LOOK, LOOK / 4
    while not ready():
        if time.perf_counter() < until:
            give_way()
            continue
        time.sleep(pause)
        pause = min(1.01 * pause, 1e-3)
