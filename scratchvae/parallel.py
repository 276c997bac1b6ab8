"""Every core: worker processes that share theta, and each take a part of every step.

The loss of a batch is a mean over its n rows.  So where the batch is cut into shares
of n_1, n_2, ... rows, its gradient is Σₛ (n_s/n) · (gradient of share s), MATH (9.4), and a
model has that already: ``backward(cache, beta * n_s / n, alpha=n_s / n)``.  A step is

    1. each worker takes shares of the batch, and leaves the gradient of each in a vector of its own;
    2. when all have done so, each adds up its slice of these vectors, and moves its slice of theta.

*The same bits for any number of workers.*  How a batch is cut depends on its rows alone
(`cut`), the noise of a share on the run's seed, the step and the share (`noise_of`), and the
gradients are added from the first share to the last.  Who does the work changes nothing.

Each worker multiplies matrices with one thread.  The memory that they share has no
name (on Linux and macOS a file that is deleted before it is used), so nothing can
stay behind.  A worker ends when the main process does, however that ends.
"""

from __future__ import annotations

import copy
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np

from . import check
from .datasets import binarize
from .importance import Importance
from .layers import Array
from .model import Model
from .optim import SGD, Adam

ROWS = 64                                              # so many are one share
MOST_ROWS = 128                                        # of a share of more; fewer shares are fewer gradients to add
SHARES = 8                                             # of a batch, at most
AHEAD = 16                                             # steps that workers may be asked for at once
ENTRIES = 32768                                        # of theta: fewer are not worth a worker
LOOK = 2e-4                                            # seconds of looking, again and again, before a worker sleeps
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

give_way = getattr(os, "sched_yield", lambda: time.sleep(0))       # to any other process that waits for this core


def cut(n: int) -> list[slice]:
    """Return the shares of n rows: 1 up to 64 rows, else 2, 4 or 8, as few as have at most 128 rows each."""
    count = 1 if n <= ROWS else 2
    while count < SHARES and count * MOST_ROWS < n:
        count *= 2
    return [slice(n * s // count, n * (s + 1) // count) for s in range(count)]


def noise_of(seed: int, epoch: int, step: int, share: int) -> np.random.Generator:
    """Return the generator of all that is random in a share of a step."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3, epoch, step, share)))


def lay(model: Model, theta: Array, gradient: Array) -> None:
    """Let the model's parameters and gradients be views into these vectors, with the values that they have."""
    theta[:], gradient[:] = model.theta, model.gradient
    model.theta, model.gradient, end = theta, gradient, 0
    for key, view in model.parameters.items():
        (network, part, name), here = key.split("."), slice(end, end + view.size)
        end += view.size
        layer = model.networks[network].layers[part]
        for owned, whole, views in ((name, theta, model.parameters), ("d" + name, gradient, model.gradients)):
            views[key] = whole[here].reshape(view.shape)
            setattr(layer, owned, views[key])


# processes ------------------------------------------------------------------------------------------


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
        work(pipe, w, n, memory, *pipe.recv())
    except (EOFError, BrokenPipeError, ConnectionResetError):              # there is no main process any more
        pass
    except Exception as error:
        try:
            pipe.send(error)
        except Exception:                              # one that cannot be sent
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


def rows_of_log_likelihood(model: Model, x: Array, seed: list[int], n_samples: int, max_rows: int) -> Array:
    """Return log p(x) of a share's rows; for a worker."""
    return model.log_likelihood(x, n_samples, np.random.default_rng(seed), max_rows)


def log_likelihood(model: Model, x: Any, n_samples: int = 1000, rng: int | np.random.Generator = 0,
                   max_rows: int = 256, *, workers: int) -> Array:
    """Estimate log p(x) as `Model.log_likelihood` does, by several processes.

    The rows are cut into shares, each with noise of its own: the numbers are the same
    for any number of workers, and other draws than without workers.

    Parameters
    ----------
    model : VAE, HVAE, TopDown or Diffusion
    x, n_samples, rng, max_rows
        As for `Model.log_likelihood`.
    workers : int

    Returns
    -------
    log_likelihood : array of shape (n,), float64, in nats
    """
    x, workers = model.check_x(x), check.size("workers", workers)
    n_samples, max_rows = check.size("n_samples", n_samples), check.size("max_rows", max_rows)
    jobs = [(x[first:first + ROWS], seed, n_samples, max_rows)
            for first, seed in zip(range(0, len(x), ROWS), seeds(check.generator("rng", rng)))]
    return np.concatenate(by_jobs(rows_of_log_likelihood, model, jobs, workers))


def seeds(rng: np.random.Generator) -> Iterator[list[int]]:
    """Return a seed for the first share, the second, ..., from one draw."""
    first, share = int(rng.integers(2 ** 63)), 0
    while True:
        yield [first, share]
        share += 1


# training -------------------------------------------------------------------------------------------


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


class Team(Workers):
    """The workers of a `fit`: `step` is a step of theta, and of the optimiser's vectors.

    While they work, the model and the optimiser have their vectors in shared memory;
    when the ``with`` block ends, they have the arrays again that they had before.

    Parameters
    ----------
    model : Model
    x : array of shape (n, x_dim)
    optimizer : SGD or Adam
        Which move each entry of theta by itself, so that each worker may move a slice.
    batch_size : int
    seed : int
        Of the run; all noise follows from it.
    resample : bool
    free_bits : array of shape (T,), optional
    workers : int
        At most so many; fewer where there is not work for all.
    many : Importance, optional
        How more than one draw for each example, or importance weights, are to be taken.
    """

    def __init__(self, model: Any, x: Array, optimizer: Any, batch_size: int, seed: int, resample: bool,
                 free_bits: Array | None, workers: int, many: Importance | None = None) -> None:
        if not isinstance(model, Model):
            raise ValueError(f"model must be a Model to be trained by workers; got {check.shown(model)}")
        if not isinstance(optimizer, (SGD, Adam)):
            raise ValueError("optimizer must be SGD or Adam to work in workers, which move a slice of theta each; "
                             f"got {type(optimizer).__name__}")
        self.model, self.optimizer = model, optimizer
        self.before = model.theta, model.gradient
        self.vectors = {name: getattr(optimizer, name) for name in ("m", "v") if hasattr(optimizer, name)}
        size, T, n_shares = model.theta.size, len(model.latent_dims), len(cut(min(batch_size, len(x))))
        workers = min(workers, max(n_shares, size // ENTRIES, 1))
        dtype = model.theta.dtype
        layout = {"x": (x.shape, x.dtype), "order": ((len(x),), np.int64), "theta": ((size,), dtype),
                  **{name: ((size,), dtype) for name in self.vectors}, "gradients": ((n_shares, size), dtype),
                  "sums": ((AHEAD, n_shares, 1 + T), float), "jobs": ((AHEAD, 3 + T), float),
                  "at": ((1 + workers, 8), np.int64)}
        memory = shared(layout)
        self.shared, self.asked, self.done, self.batch_size = arrays(memory, layout), 0, 0, batch_size
        self.shared["x"][:] = x
        bare = copy.copy(optimizer)                    # without its vectors, which are shared
        vars(bare).update({name: None for name, value in vars(optimizer).items() if isinstance(value, np.ndarray)})
        super().__init__(train, workers, layout, model, bare, batch_size, seed, resample, free_bits,
                         None if many is None else (many.K, many.objective, many.estimator), memory=memory)
        try:
            self.hear_all()                            # they are there
        except BaseException:
            super().__exit__()
            raise
        lay(model, self.shared["theta"], self.shared["gradients"][0])
        for name, vector in self.vectors.items():
            self.shared[name][:] = 0 if vector is None else vector
            setattr(optimizer, name, self.shared[name])

    @property
    def between(self) -> bool:
        """Whether theta is what the last step left: no step is under way that `step` has not returned."""
        return self.asked == self.done

    def step(self, epoch: int, step: int, beta: Any, following: int = 0) -> Array:
        """Do a step of an epoch, whose order of the data stands in ``shared["order"]``.

        To wake this process takes as long as a small step.  So workers are asked for several
        steps at once, and go on without it.

        Parameters
        ----------
        epoch, step : int
        beta : float or array of shape (T,)
        following : int, default 0
            So many steps that follow in this epoch may be begun before this one is returned.

        Returns
        -------
        array of shape (T + 1,)
            As in ``State.sums``, over the batch: the reconstruction, and the KL of each level.
        """
        if self.between:
            for k in range(1 + min(following, AHEAD - 1)):
                job = self.shared["jobs"][self.asked % AHEAD]
                job[:3] = epoch, step + k, self.optimizer.learning_rate
                job[3:] = beta
                self.asked += 1
            give_way()
            self.shared["at"][0, 0] = self.asked       # they go
            self.hear_all()
        sums = self.shared["sums"][self.done % AHEAD]
        self.done += 1
        if isinstance(self.optimizer, Adam):
            self.optimizer.t += 1
        n_rows = min(self.batch_size, len(self.shared["x"]) - step * self.batch_size)
        return sums[:len(cut(n_rows))].sum(axis=0)

    def __exit__(self, *_: Any) -> None:
        super().__exit__()
        lay(self.model, *self.before)
        for name, vector in self.vectors.items():
            if vector is not None:
                vector[:] = self.shared[name]
            elif self.done:
                vector = self.shared[name].copy()
            setattr(self.optimizer, name, vector)


def train(pipe: Connection, w: int, n: int, memory: Any, layout: Any, model: Model, optimizer: Any, batch_size: int,
          seed: int, resample: bool, free_bits: Array | None, many: tuple[Any, ...] | None) -> None:
    """Be a worker of a `Team`: step after step, its shares of the batch and its slice of theta.  MATH (9.4)."""
    of = arrays(memory, layout)
    x, order, theta, gradients = (of[name] for name in ("x", "order", "theta", "gradients"))
    at = of["at"].ravel().data                          # at[0]: steps asked for; at[8 (1 + w)]: where worker w is
    own = range(w, len(gradients), n)
    models = {s: copy.deepcopy(model) for s in own}
    for s in own:
        lay(models[s], theta, gradients[s])
    here = slice(theta.size * w // n, theta.size * (w + 1) // n)
    for name in ("m", "v"):
        if name in of:
            setattr(optimizer, name, of[name][here])
    met = steps = 0

    def meet() -> None:
        """Wait until all workers are here."""
        nonlocal met
        met += 1
        give_way()                                     # into the kernel and back: what was written is written
        at[8 + 8 * w] = met
        wait_until(lambda: all(at[8 + 8 * other] >= met for other in range(n)))

    pipe.send(None)
    while True:
        wait_until(lambda: at[0] > steps)
        job, sums = (of[name][steps % len(of[name])] for name in ("jobs", "sums"))
        steps += 1
        epoch, step, optimizer.learning_rate = int(job[0]), int(job[1]), float(job[2])
        beta: Array = job[3:]
        rows = order[step * batch_size:(step + 1) * batch_size]
        shares, caches = cut(len(rows)), {}
        for s in range(w, len(shares), n):
            share, rng = rows[shares[s]], noise_of(seed, epoch, step, s)
            batch = binarize(x[share], "sample", rng) if resample else x[share]
            if many is None:
                elbo, caches[s] = models[s].bound(batch, models[s].draw_noise(len(share), rng))
            else:                                      # the weights of an example are of its own draws alone
                elbo = Importance(models[s], *many).gradient(batch, rng, beta)
                models[s].gradient *= len(share) / len(rows)                   # n_s/n
            sums[s, 0], sums[s, 1:] = elbo.reconstruction.sum(), elbo.kl.sum(axis=0)
        if free_bits is not None:                      # as training.spare: the mean is over all shares
            meet()
            beta = np.where(sums[:len(shares), 1:].sum(axis=0) / len(rows) > free_bits, beta, 0.0)
        for s, cache in caches.items():
            weight = (shares[s].stop - shares[s].start) / len(rows)            # n_s/n
            models[s].backward(cache, beta * weight, weight)
        meet()
        gradient = gradients[0, here]
        for s in range(1, len(shares)):
            gradient += gradients[s, here]
        optimizer.step(theta[here], gradient)
        if at[0] == steps:                             # all that was asked for
            pipe.send(None)
        else:
            meet()                                     # the next step needs all of theta


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
