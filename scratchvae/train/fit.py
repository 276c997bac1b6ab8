"""fit: pass after pass over the data, a step of the optimiser for each batch.

A run can stop between any two steps and go on later, to the same bits.  All that
the next step depends on is theta, the optimiser's vectors, and a `State`: where
in the data the run is, the generator of its noise, and the average of theta if
there is one.  The order of the data needs no memory, as it follows from the seed
and the number of the epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TextIO

import numpy as np
from numpy.typing import ArrayLike

from .. import check
from ..data.datasets import binarize
from ..importance import ESTIMATORS, OBJECTIVES, Importance
from ..layers import Array
from ..model import Model
from ..objective import ELBO, with_free_bits
from .optim import SGD, Adam
from .progress import Interrupted, Progress, held_back, where
from .team import Team, chosen

History = dict[str, list[float]]
Schedule = Callable[[int], Any]                        # of the epoch, counted from 1


def warm_up(epochs: int) -> Schedule:
    """Return a schedule for beta that rises in equal steps to 1, which it reaches at this epoch.

    While beta is small, a latent costs little and the decoder learns to use it;
    with beta = 1 from the start, many are given up before that.  Bowman et al.
    2016 (arXiv 1511.06349), section 3.1.
    """
    epochs = check.size("epochs", epochs)
    return lambda epoch: min(1.0, epoch / epochs)


def decay(first: float, last: float, epochs: int) -> Schedule:
    """Return a learning rate that falls by the same factor every epoch, from the first to the last."""
    first = check.number("first", first, 0, open_low=True)
    last = check.number("last", last, 0, open_low=True)
    epochs = check.size("epochs", epochs)
    return lambda epoch: float(first * (last / first) ** ((epoch - 1) / max(1, epochs - 1)))


def steps(first: float, changes: Mapping[int, float]) -> Schedule:
    """Return a learning rate that stays the same until an epoch named in ``changes``.

    ``steps(1e-3, {50: 3e-4, 80: 1e-4})`` is 1e-3 in epochs 1 to 49, 3e-4 in epochs
    50 to 79, and 1e-4 from then on.
    """
    if not isinstance(changes, Mapping):
        raise ValueError(f"changes must be a dict from epochs to rates, such as {{50: 3e-4}}; "
                         f"got {check.shown(changes)}")
    rates = {1: check.number("first", first, 0, open_low=True)}
    rates.update({check.size("every epoch in changes", epoch): check.number("every rate in changes", rate, 0,
                                                                            open_low=True)
                  for epoch, rate in changes.items()})
    return lambda epoch: rates[max(e for e in rates if e <= epoch)]


def stream(seed: int, purpose: str, epoch: int = 0) -> np.random.Generator:
    """Return a generator that shares nothing with those of other purposes and epochs."""
    key = {"noise": 0, "held out": 1, "order": 2}[purpose], epoch
    return np.random.default_rng(np.random.SeedSequence(check.size("seed", seed, 0, np.inf), spawn_key=key))


@dataclass
class State:
    """Where a run stands between two steps; ``State.start(model, seed)`` is its beginning.

    Attributes
    ----------
    seed : int
        All randomness of the run follows from it.
    rng : numpy.random.Generator
        The source of the next step's noise.
    sums : array of shape (T + 1,)
        Reconstruction, and KL of each level, summed over the examples that this
        epoch has seen.
    epoch, step : int
        Epochs finished, and steps done in the one after them.
    seconds : float
        Time spent so far.
    history : dict of str to list of float
        What `fit` returns.
    average : array of shape (size,), optional
        The average of theta, where `fit` keeps one.
    weight : float
        The sum of the weights in it: Σ decay^age over the steps so far.
    theta : array of shape (size,), optional
        With an average, where the optimiser stands: the model's theta itself while a
        step is made, and a vector of its own while the model holds the average.
    """

    seed: int
    rng: np.random.Generator
    sums: Array
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    history: History = field(default_factory=dict)
    average: Array | None = None
    weight: float = 0.0
    theta: Array | None = None

    @classmethod
    def start(cls, model: Model, seed: int = 0) -> State:
        """Return the state before the first step."""
        if not isinstance(getattr(model, "latent_dims", None), tuple):
            raise ValueError(f"model must be an object such as VAE(64, 16); got {check.shown(model)}")
        return cls(check.size("seed", seed, 0, np.inf), stream(seed, "noise"), np.zeros(1 + len(model.latent_dims)))

    def count(self, decay: float) -> None:
        """Make the steps in the average one older, and add the weight 1 of a new one."""
        self.weight = 1 + decay * self.weight

    def add(self, theta: Array, decay: float) -> None:
        """Take theta into the average: a mean over all steps so far, each with the weight decay^age.  MATH (12.7)."""
        if self.average is None:
            self.average = np.zeros_like(theta)
        self.count(decay)
        self.average += (theta - self.average) / self.weight


@contextmanager
def stepping(model: Model, state: State, average: float | None) -> Iterator[None]:
    """Let the model's theta be where the optimiser stands; when it is over, put the average there."""
    if average is None:
        yield
        return
    if state.theta is not None:
        model.theta[:] = state.theta
    state.theta = model.theta
    try:
        yield
    finally:
        state.theta = None
        if state.average is not None:                  # at least one step was made
            state.theta = model.theta.copy()
            model.theta[:] = state.average


@contextmanager
def averaged(model: Model, state: State) -> Iterator[None]:
    """Let the model hold the average, if there is one, for what is done between two epochs."""
    if state.average is None:
        yield
        return
    state.theta = model.theta.copy()
    model.theta[:] = state.average
    try:
        yield
    finally:
        model.theta[:] = state.theta
        state.theta = model.theta


class OneDraw:
    """The loss of `fit`: the ELBO at one draw of the latents for each example.

    A batch may be computed in shares, and free bits need the KL of the whole batch.  So a step has two halves:
    `begin` for each share, then, with the weights that the whole batch gives, `finish` for each share.

    Parameters
    ----------
    model : Model
        Its ``gradient`` is what `finish` fills.
    free_bits : float or array of shape (T,), optional
        In nats; see `fit`.
    """

    K = 1                                              # draws for each example

    def __init__(self, model: Any, free_bits: Any = None) -> None:
        self.model, self.free_bits = model, free_bits

    def check_beta(self, beta: ArrayLike) -> Array:
        """Return beta as one number for each level, or raise a ValueError."""
        return check.by_level("beta", beta, len(self.model.latent_dims), self.model.dtype)

    def begin(self, x: Array, rng: np.random.Generator, beta: ArrayLike = 1.0) -> tuple[ELBO, Any]:
        """Return the parts of the bound of each example, and what `finish` needs."""
        elbo, cache = self.model.bound(x, self.model.draw_noise(len(x), rng))
        return elbo, (elbo, cache)

    def of(self, model: Any) -> OneDraw:
        """Return the same loss of another model."""
        return OneDraw(model, self.free_bits)

    def weights(self, beta: Any, kl: Array) -> Any:
        """Return beta, with 0 for each level whose KL, a mean over the batch of shape (T,), is within its free bits."""
        return beta if self.free_bits is None else with_free_bits(beta, kl, self.free_bits)

    def finish(self, half: Any, beta: Any, n: int) -> None:
        """Fill the model's ``gradient`` with this share's part of the mean over n examples."""
        elbo, cache = half
        self.model.backward(elbo.loss_backward(beta, n=n), cache)


def objective_of(model: Model, objective: str, importance: int, estimator: str, free_bits: Any = None
                 ) -> OneDraw | Importance:
    """Return the loss that `fit` minimises, with the two halves of a step: see `OneDraw`."""
    importance, _ = check.size("importance", importance), check.choice("objective", objective, OBJECTIVES)
    if (importance, objective, check.choice("estimator", estimator, ESTIMATORS)) == (1, "elbo", "plain"):
        return OneDraw(model, free_bits)
    if free_bits is not None:
        raise ValueError("free_bits must be left out where there is more than one draw of z for each example, or the "
                         f"objective is 'iwae'; got {check.shown(free_bits)}")
    return Importance(model, importance, objective, estimator)


def check_state(state: Any, n_levels: int, n_steps: int, held_out: bool) -> None:
    """Raise a ValueError unless a run of so many levels and steps an epoch can go on from this state."""
    if not isinstance(state, State):
        raise ValueError(f"state must be a State, such as State.start(model); got {check.shown(state)}")
    sums, history = check.array("state.sums", state.sums, ("T",), float), state.history
    if len(sums) != 1 + n_levels:
        raise ValueError(f"state is of a model with {len(sums) - 1} levels; this one has {n_levels}")
    check.size("state.seed", state.seed, 0, np.inf)
    check.number("state.seconds", state.seconds, 0)
    if not isinstance(state.rng, np.random.Generator):
        raise ValueError(f"state.rng must be a numpy.random.Generator; got {check.shown(state.rng)}")
    epoch, step = check.size("state.epoch", state.epoch, 0), check.size("state.step", state.step, 0)
    if step > n_steps:
        raise ValueError(f"state has {step} steps of an epoch behind it, but x has only {n_steps} batches of this "
                         "batch_size: x and batch_size must be those that the run began with")
    if not isinstance(history, dict) or any(not isinstance(column, list) or len(column) != epoch
                                            for column in history.values()):
        raise ValueError(f"state.history must be a dict of lists of {epoch} numbers, one for each epoch behind it")
    if epoch and ("valid_elbo" in history) != held_out:
        raise ValueError("x_valid must be given if and only if it was when the run of this state began, as its bound "
                         "is a column of the history")
    check.number("state.weight", state.weight, 0)
    if state.average is not None:
        average = check.array("state.average", state.average, ("size",))
        check.array("state.theta", state.theta, average.shape)


def by_name(means: Array) -> dict[str, float]:
    """Return the bound and its parts by name, from the reconstruction and each level's KL."""
    reconstruction, *consistency, prior_matching = map(float, means)
    return {"elbo": reconstruction - sum(consistency) - prior_matching, "reconstruction": reconstruction,
            "prior_matching": prior_matching, **{f"consistency_{t}": kl for t, kl in enumerate(consistency, start=1)}}


class HeldOut:
    """Held-out data in batches, each with noise that stays the same, so that only the model moves the bound."""

    def __init__(self, model: Model, x: Any, seed: int, batch_size: int = 1000) -> None:
        x, rng = model.check_x(x), stream(seed, "held out")
        self.n = len(x)
        self.batches = [(batch, model.draw_noise(len(batch), rng))
                        for batch in (x[first:first + batch_size] for first in range(0, len(x), batch_size))]

    def bound(self, model: Model) -> dict[str, float]:
        """Return the bound and its parts, means over the examples."""
        sums = np.zeros(1 + len(model.latent_dims))
        for batch, noise in self.batches:
            elbo, _ = model.forward(batch, noise)
            sums[0] += elbo.reconstruction.sum()
            sums[1:] += elbo.kl.sum(axis=0)
        return by_name(sums / self.n)


def fit(model: Model, x: Any, *, epochs: int = 100, batch_size: int = 64, optimizer: SGD | Adam | None = None,
        learning_rate: float | Schedule | None = None, beta: float | Array | Schedule = 1.0, free_bits: Any = None,
        average: float | None = None, objective: str = "elbo", importance: int = 1, estimator: str = "plain",
        seed: int = 0, resample: bool = False, x_valid: Any = None,
        callback: Callable[[Model, History], Any] | None = None, progress: bool | TextIO | None = None,
        state: State | None = None, after_step: Callable[[State], Any] | None = None,
        workers: int | str | None = None) -> History:
    """Train a model, in place.

    Parameters
    ----------
    model : Autoencoder, VAE, HVAE, TopDown, or what follows their contract
    x : array of shape (n, x_dim)
    epochs, batch_size : int, default 100 and 64
        Passes over the data, each in a new order; examples for each step.
    optimizer : SGD or Adam, optional
        By default ``Adam()``.
    learning_rate : float, or function of the epoch, optional
        Sets the optimiser's learning rate at the start of every epoch, counted
        from 1; `decay` and `steps` make such functions.
    beta : float, array of shape (T,), or function of the epoch, default 1
        The weight of the KL parts, or of each level's.  Epochs count from 1;
        ``warm_up(50)`` is such a function.
    free_bits : float or array of shape (T,), optional
        So many nats of KL cost a level nothing: in a batch where its mean KL is
        not above them, its beta is 0.  So a level gains nothing by giving up its
        last nats.  Kingma et al. 2016 (arXiv 1606.04934), equation 15, each level
        being a group.  The bound that is recorded has no such discount.
    average : float, optional
        Keep a running average of theta: after every step a mean over all steps so
        far, each with the weight average^age, so that 0.999 is a memory of some 1000
        steps (Polyak and Juditsky 1992; with these weights and without bias, as in
        Adam's m: MATH (12.7)).  The optimiser knows nothing of it.  The bound of
        held-out data is that of the average, the callback sees it, and at the end
        the model holds it; ``state.theta`` is where the optimiser stands.
    objective : {'elbo', 'iwae'}, default 'elbo'
        What is made large: the ELBO, or the importance-weighted bound L_K, see
        importance.py.  The bound that is recorded is the ELBO.
    importance : int, default 1
        K, draws of z for each example in a step.  The ELBO is their mean.
    estimator : {'plain', 'landing', 'doubly'}, default 'plain'
        The form of q's gradient, for 'iwae'; see importance.py.
    seed : int, default 0
        The order of the data, the noise and the resampling follow from it: the
        same seed on the same machine gives the same bits.
    resample : bool, default False
        Draw black-and-white pixels from the grey ones anew for every batch, as
        many papers do.
    x_valid : array of shape (m, x_dim), optional
        Held-out data; its bound, with the same noise each time, is recorded
        after every epoch.
    callback : function, optional
        Called as ``callback(model, history)`` after every epoch; training ends
        if it returns True.
    progress : bool or text stream, optional
        Where to say how far it is after every epoch; True is stderr.  By default
        stderr if that is a terminal, else nowhere.
    state : State, optional
        Go on from here, with its seed; model and optimiser must be as they were
        then, x and batch_size the same.  It is moved on in place.
    after_step : function, optional
        Called as ``after_step(state)`` after every step, with workers at least after
        every 64th, such as what `checkpoint.every` returns.
    workers : int or 'auto', optional
        Let so many processes, of one BLAS thread each, do each step together:
        see team.py.  'auto' is one for each core, or none where steps are too small to
        gain by them, or model or optimiser are not of this library's kinds.  The bits are the same
        for any number of them, also where a run goes on with another number; without workers the
        noise is another.  They have a copy of x.  If the script defines the model's class, they
        read the script, which must then call this under ``if __name__ == "__main__":``.

    Returns
    -------
    dict of str to list of float
        For each epoch ``epoch``, ``seconds`` since the start, ``beta`` (of the top
        level), and in nats ``elbo``, ``reconstruction``, ``prior_matching``,
        ``consistency_1``, ...: means over the examples, each seen in its batch,
        while the parameters moved.  With x_valid, the same names after ``valid_``.

    Raises
    ------
    ValueError
        If an argument is wrong; the message names it.
    FloatingPointError
        If the bound of an epoch, or of the held-out data after it, is infinite or not
        a number.
    Interrupted
        A KeyboardInterrupt, raised between two steps: the model is as the last
        one left it (or holds the average), can be used, and with ``state`` trained further.
    ChildProcessError
        If a worker was killed: the steps that were asked of it are lost half-way, so that
        a run must go on from a checkpoint.
    """
    check.has("model", model, ("check_x", "draw_noise", "bound", "backward"), "VAE(64, 16)")
    x, T = model.check_x(x), len(model.latent_dims)
    epochs, batch_size = check.size("epochs", epochs), check.size("batch_size", batch_size)
    if free_bits is not None:
        free_bits = check.by_level("free_bits", free_bits, T)
    optimizer = check.has("optimizer", Adam() if optimizer is None else optimizer, ("step",), "Adam()")
    if callback is not None:
        check.function("callback", callback, "the model and the history")
    if after_step is not None:
        check.function("after_step", after_step, "the state")
    if check.flag("resample", resample) and not (x.min() >= 0 and x.max() <= 1):
        raise ValueError(f"x must lie in [0, 1] for resample=True; its values go from {x.min():g} to {x.max():g}")
    if np.iscomplexobj(model.theta):
        raise ValueError("model must be float32 or float64 to be trained: model.astype(np.float32) is; "
                         f"got {model.dtype}")
    v = optimizer.v if isinstance(optimizer, (SGD, Adam)) else None
    if v is not None and v.shape != model.theta.shape:
        raise ValueError(f"optimizer has trained another model, of {v.size} parameters; this one has "
                         f"{model.theta.size}")
    loss = objective_of(model, objective, importance, estimator, free_bits)
    workers = chosen(workers, model, optimizer, min(batch_size, len(x)) * importance)
    state = State.start(model, seed) if state is None else state
    check_state(state, T, -(-len(x) // batch_size), x_valid is not None)
    if average is not None:
        average = check.number("average", average, 0, 1, open_low=True)
        if state.theta is not None and state.theta.shape != model.theta.shape:
            raise ValueError(f"state is of a model of {state.theta.size} parameters; this one has {model.theta.size}")
    elif state.average is not None:
        raise ValueError("average must be given, as state has one: a number such as 0.999")
    try:
        held_out = None if x_valid is None else HeldOut(model, x_valid, state.seed)
    except ValueError as error:
        raise ValueError(f"x_valid is no such data as x: {error}") from None
    line = Progress("epoch", epochs, where(progress), state.epoch)
    began = time.perf_counter() - state.seconds
    with held_back() as ctrl_c, line, (
            nullcontext() if workers is None else
            Team(model, x, optimizer, batch_size, state, resample, workers, loss, average)) as team, \
            stepping(model, state, average):
        while state.epoch < epochs:
            epoch = state.epoch + 1
            beta_now = beta(epoch) if callable(beta) else beta
            loss.check_beta(beta_now)
            if learning_rate is not None:
                rate = learning_rate(epoch) if callable(learning_rate) else learning_rate
                optimizer.learning_rate = check.number("learning_rate", rate, 0, open_low=True)
            order = stream(state.seed, "order", epoch).permutation(len(x))
            if team is not None:
                team.shared["order"][:] = order
            for first in range(state.step * batch_size, len(x), batch_size):
                if team is not None:                   # MATH (9.4)
                    following = (len(x) - 1 - first) // batch_size if not ctrl_c else 0
                    state.sums += team.step(epoch, state.step, beta_now, following)
                else:
                    batch = x[order[first:first + batch_size]]
                    if resample:
                        batch = binarize(batch, "sample", state.rng)
                    elbo, half = loss.begin(batch, state.rng, beta_now)
                    loss.finish(half, loss.weights(beta_now, elbo.kl.mean(axis=0)), len(batch))
                    optimizer.step(model.theta, model.gradient)
                    if average is not None:
                        state.add(model.theta, average)
                    state.sums[0] += elbo.reconstruction.sum()
                    state.sums[1:] += elbo.kl.sum(axis=0)
                state.step += 1
                state.seconds = time.perf_counter() - began
                between = team is None or team.between
                if after_step is not None and between:
                    after_step(state)
                if ctrl_c and between:
                    raise Interrupted
            means = by_name(state.sums / len(x))
            record = {"epoch": float(epoch), "seconds": state.seconds, "beta": float(np.ravel(beta_now)[-1]), **means}
            if held_out is not None:
                with averaged(model, state):
                    record.update({f"valid_{name}": value for name, value in held_out.bound(model).items()})
            for bound in (record["elbo"], record.get("valid_elbo", 0.0)):
                if not np.isfinite(bound):
                    raise FloatingPointError(f"the ELBO became {bound} in epoch {epoch}; "
                                             "a smaller learning rate, or a warm-up of beta, may help")
            for name, value in record.items():
                state.history.setdefault(name, []).append(value)
            state.epoch, state.step = epoch, 0
            state.sums[:] = 0
            line.update(epoch, "  ".join(f"{name.replace('valid_', 'held-out ').replace('_', ' ')} {record[name]:.2f}"
                                         for name in (*means, "valid_elbo") if name in record))
            if callback is not None:
                with averaged(model, state):
                    if callback(model, state.history):
                        break
    return state.history
