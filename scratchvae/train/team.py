"""Every core: worker processes that share theta, and each take a part of every step.

A batch is cut into shares, see step.py.  A step is

    1. each worker takes shares of the batch, and leaves the gradient of each in a vector of its own;
    2. when all have done so, each adds up its slice of these vectors, and moves its slice of theta.

*The same bits for any number of workers.*  How a batch is cut depends on its rows alone
(`cut`), the noise of a share on the run's seed, the step and the share (`noise_of`), and the
gradients are added from the first share to the last.  Who does the work changes nothing.
How processes are started, and what they share, is in processes.py.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np

from .. import check
from ..layers import Array
from ..model import Model
from .optim import Adam
from .processes import Workers, arrays, by_batches, copied, give_way, number_of, shared, started, wait_until
from .step import Steps, by_entries, cut, lay

AHEAD = 64                                             # steps that workers may be asked for at once, if they have
WORK = 2 * 10 ** 9                                     # no more products than this, a tenth of a second or so
ENTRIES = 32768                                        # of theta: fewer are not worth a worker
SMALL = 4 * 10 ** 6                                    # products of a step: fewer are done sooner by one process


def chosen(workers: int | str | None, model: Any, optimizer: Any, rows: int) -> int | None:
    """Return how many workers a `fit` has, or None if it has none.

    With 'auto' it has one for each core if they can do its steps, and these are large enough to gain by it.
    That depends on the model, the optimiser and the rows of a step alone, and so the bits are the same on
    any number of cores.
    """
    if workers is None:
        return None
    number = number_of(workers)
    can_gain = isinstance(model, Model) and by_entries(optimizer, model.theta) and model.theta.size * rows >= SMALL
    return number if can_gain or not isinstance(workers, str) else None


def owners(optimizer: Any, state: Any, average: float | None) -> dict[str, Any]:
    """Return the owner of each vector that moves with theta, slice by slice."""
    found = {name: optimizer for name in ("m", "v") if hasattr(optimizer, name)}
    return found if average is None else {**found, "average": state}


def but_theta(model: Model) -> bytes:
    """Return a model as pickle copies it, with zeros for its parameters and their gradient."""
    model = ForkingPickler.loads(copied(model))
    model.theta[:] = model.gradient[:] = 0
    return copied(model)


class Team(Workers):
    """The workers of a `fit`: `step` is a step of theta, of the optimiser's vectors, and of the average of theta.

    While they work, these vectors are in shared memory; when the ``with`` block ends,
    model, optimiser and state have the arrays again that they had before.

    Parameters
    ----------
    workers : int
        At most; fewer where there is not enough work for all.
    model : Model
    x, optimizer, batch_size, state, resample, loss_of, average
        As for `Steps`.  SGD or Adam move each entry of theta by itself, so that each worker may move a slice.

    Attributes
    ----------
    ahead : list of arrays of shape (shares, T + 1)
        The parts of the bound in steps that workers have made and `step` has not returned.
    """

    def __init__(self, workers: int, model: Any, x: Array, optimizer: Any, batch_size: int, state: Any, resample: bool,
                 loss_of: Callable[[Any], Any], average: float | None) -> None:
        self.model, self.x, self.optimizer, self.state, self.average = model, x, optimizer, state, average
        self.before = model.theta, model.gradient
        self.vectors = {name: (owner, getattr(owner, name))
                        for name, owner in owners(optimizer, state, average).items()}
        size, T, rows = model.theta.size, len(model.latent_dims), min(batch_size, len(x))
        n_shares = len(cut(rows))
        workers = min(workers, max(n_shares, size // ENTRIES, 1))
        self.most = max(1, min(AHEAD, WORK // (size * rows * loss_of(model).K)))
        layout = {"x": (x.shape, x.dtype), "order": ((len(x),), np.int64),
                  **dict.fromkeys(("theta", *self.vectors), ((size,), model.theta.dtype)),
                  "gradients": ((n_shares, size), model.theta.dtype), "sums": ((self.most, n_shares, 1 + T), float),
                  "at": ((workers, 8), np.int64)}
        memory = shared(layout)
        self.shared, self.batch_size = arrays(memory, layout), batch_size
        self.ahead: list[Array] = []
        self.order, self.processes, self.pipes, self.known = self.shared["order"], [], [], b""
        self.start = partial(super().__init__, train, workers, layout, model, None, optimizer, batch_size, state,
                             resample, loss_of, average, memory=memory)
        self.see_changes()
        lay(model, self.shared["theta"], self.shared["gradients"][0])

    def step(self, epoch: int, step: int, beta: Any, following: int = 0) -> Array:
        """Do a step of an epoch, whose order of the data stands in ``order``.

        To wake this process takes as long as a small step.  So workers are asked for several
        steps at once, and go on without it.

        Parameters
        ----------
        epoch, step : int
        beta : float or array of shape (T,)
        following : int, default 0
            How many of the epoch's next steps may be begun before this one is returned.

        Returns
        -------
        array of shape (T + 1,)
            As in ``State.sums``, over the batch: the reconstruction, and the KL of each level.
        """
        if not self.ahead:
            count = min(self.most, 1 + following)
            numbers = {name: value for name, value in vars(self.optimizer).items() if np.isscalar(value)}
            self.say(copied((epoch, range(step, step + count), numbers, beta, self.state.seed, self.state.weight)))
            self.hear_all()
            for name, (owner, _) in self.vectors.items():
                setattr(owner, name, self.shared[name])
            self.ahead = list(self.shared["sums"][:count])
        of_shares = self.ahead.pop(0)
        if isinstance(self.optimizer, Adam):
            self.optimizer.t += 1
        if self.average is not None:
            self.state.count(self.average)
        n_rows = min(self.batch_size, len(self.shared["x"]) - step * self.batch_size)
        return of_shares[:len(cut(n_rows))].sum(axis=0)

    def see_changes(self) -> None:
        """Take over what a callback changed of data, optimiser and state, and, with new workers, of the model."""
        self.shared["x"][:] = self.x
        if (known := but_theta(self.model)) != self.known:
            super().__exit__()
            self.start()
            self.known = known
        for name, (owner, _) in self.vectors.items():
            fresh = any(getattr(owner, other, 0) is None for other in self.vectors)    # Adam begins both anew
            self.shared[name][:] = 0 if fresh else getattr(owner, name)

    def __exit__(self, *_: Any) -> None:
        super().__exit__()
        lay(self.model, *self.before)
        for name, (owner, vector) in self.vectors.items():
            if getattr(owner, name) is self.shared[name]:              # else there was no step since it was replaced
                setattr(owner, name, np.positive(self.shared[name], out=vector))       # where it was, if it was


def train(pipe: Any, w: int, n: int, memory: Any, layout: Any, model: Model, x: None, optimizer: Any, batch_size: int,
          state: Any, resample: bool, loss_of: Callable[[Any], Any], average: float | None) -> None:
    """Be a worker of a `Team`: step after step, its shares of the batch and its slice of theta."""
    of = arrays(memory, layout)
    at = of["at"].ravel().data                          # at[8 w]: how often worker w has been at a meeting
    met = at[8 * w]

    def meet() -> None:
        """Wait until all workers are here."""
        nonlocal met
        met += 1
        give_way()                                     # into the kernel and back: what was written is written
        at[8 * w] = met
        wait_until(lambda: all(at[8 * other] >= met for other in range(n)))

    lay(model, of["theta"], of["gradients"][0])
    steps = Steps(model, of["x"], optimizer, batch_size, state, resample, loss_of, average,
                  gradients=of["gradients"], w=w, n=n, meet=meet)
    steps.order = of["order"]
    for name, owner in owners(optimizer, state, average).items():
        setattr(owner, name, of[name][steps.here])
    pipe.send(None)                                    # not before: `lay` writes theta
    while True:
        epoch, asked, numbers, beta, state.seed, state.weight = pipe.recv()
        vars(optimizer).update(numbers)
        # all before the first step: between the steps each would take seven times as long, out of the cache
        noises = [steps.noises(epoch, step) for step in asked]
        for step, rngs, parts in zip(asked, noises, of["sums"]):
            if step > asked[0]:
                meet()                                 # the step needs all of theta
            steps.make(step, beta, rngs, parts)
        pipe.send(None)


def engine(workers: int | str, rows: int, model: Any, x: Array, optimizer: Any, batch_size: int, *rest: Any) -> Any:
    """Return a context manager that gives what makes the steps of a `fit`: a `Team`, or `Steps` in this process.

    `Steps` is for no workers; and with 'auto' for one worker, or where no process can be started.  It then makes
    the same shares of each step as a team, to the same bits.
    """
    number = chosen(workers, model, optimizer, rows)
    given = model, x, optimizer, batch_size, *rest
    if number is None:
        return nullcontext(Steps(*given))
    if not isinstance(model, Model):
        raise ValueError(f"model must be a Model to be trained by workers; got {check.shown(model)}")
    if not by_entries(optimizer, model.theta):
        raise ValueError("optimizer must be SGD or Adam to work in workers, which move a slice of theta each, without "
                         f"a step of its own and with m and v of {model.theta.dtype}; got {type(optimizer).__name__}")

    others = np.empty((len(cut(min(batch_size, len(x)))) - 1, model.theta.size), model.theta.dtype)
    return started(workers, number, lambda: Team(number, *given),
                   lambda: Steps(*given, gradients=[model.gradient, *others]))


# measuring ------------------------------------------------------------------------------------------


MEASURED = 64                                          # rows of a share


def log_likelihood(model: Model, x: Any, n_samples: int = 1000, rng: int | np.random.Generator = 0,
                   max_rows: int = 256, *, workers: int | str) -> Array:
    """Estimate log p(x) as `Model.log_likelihood` does, by several processes.

    The rows are cut into shares, each with noise of its own: the numbers are the same
    for any number of workers, and other draws than without workers.

    Parameters
    ----------
    model : VAE, HVAE, TopDown or Diffusion
    x, n_samples, rng, max_rows
        As for `Model.log_likelihood`.
    workers : int or 'auto'
        'auto' is one for each core.

    Returns
    -------
    log_likelihood : array of shape (n,), float64, in nats
    """
    check.has("model", model, ("check_x", "log_likelihood"), "VAE(64, 16)")
    x, rng = model.check_x(x), check.generator("rng", rng)
    of_batch = partial(model.log_likelihood, n_samples=n_samples, max_rows=max_rows)
    batches = [x[first:first + MEASURED] for first in range(0, len(x), MEASURED)]
    return np.concatenate(by_batches(of_batch, batches, rng, workers))
