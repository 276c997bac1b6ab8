"""The state of a run between two steps: all that its next step depends on.

That is theta, the optimiser's vectors, and a `State`: where in the data the run is, the generator of its noise, and
the average of theta if there is one.  The order of the data needs no memory, as it follows from the seed and the
number of the epoch.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import check
from ..layers import Array
from ..model import Model

History = dict[str, list[float]]


def stream(seed: int, purpose: str, epoch: int = 0, *place: int) -> np.random.Generator:
    """Return a generator that shares nothing with those of other purposes, epochs and places in the epoch."""
    key = {"noise": 0, "held out": 1, "order": 2, "share": 3}[purpose], epoch, *place
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


@dataclass
class State:
    """The state of a run between two steps; ``State.start(model)`` is its beginning.

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
        With an average, the parameters that the optimiser moves: the model's theta itself while a
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
    def start(cls, model: Model, rng: int | np.random.Generator = 0) -> State:
        """Return the state before the first step; rng is a seed, or a generator to draw one from."""
        check.model("model", model, ("draw_noise", "bound", "backward"))
        seed = int(rng.integers(2 ** 63)) if isinstance(rng, np.random.Generator) else check.size("rng", rng, 0, np.inf)
        return cls(seed, stream(seed, "noise"), np.zeros(1 + len(model.latent_dims)))

    def end_epoch(self, record: dict[str, float]) -> None:
        """Add an epoch's numbers to the history, and stand before the first step of the next one."""
        for name, value in record.items():
            self.history.setdefault(name, []).append(value)
        self.epoch, self.step = self.epoch + 1, 0
        self.sums[:] = 0

    def count(self, decay: float) -> None:
        """Make the steps in the average one older, and add the weight 1 of a new one."""
        self.weight = 1 + decay * self.weight

    def add(self, theta: Array, decay: float) -> None:
        """Take theta into the average: a mean over all steps so far, each with the weight decay^age.  MATH (12.7)."""
        if self.average is None:
            self.average = np.zeros_like(theta)
        self.count(decay)
        self.average += (theta - self.average) / self.weight


def hold_steps(model: Model, state: State) -> None:
    """Let the model's theta be where the optimiser stands, for the next step."""
    if state.theta is not None:
        model.theta[:] = state.theta
    state.theta = model.theta


def hold_average(model: Model, state: State) -> None:
    """Put the average into the model, if there is one, and the latest parameters into the state."""
    if state.average is None:
        state.theta = None
    elif state.theta is model.theta:                   # else it does already
        state.theta = model.theta.copy()
        model.theta[:] = state.average


class Kept(AbstractContextManager[Any]):
    """Keeps a run as its last epoch left it; puts it back after a FloatingPointError in the ``with`` block."""

    def __init__(self, model: Model, optimizer: Any, state: State) -> None:
        self.model, self.optimizer, self.state = model, optimizer, state
        self.keep()

    def keep(self) -> None:
        """Keep the run as it is; the history needs no copy, as a lost epoch is not in it."""
        self.kept = copy.deepcopy((self.model.theta, vars(self.optimizer), {**vars(self.state), "history": None}))

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is not None and issubclass(kind, FloatingPointError):
            self.model.theta[:], optimizer, state = self.kept
            vars(self.optimizer).update(optimizer)
            vars(self.state).update({**state, "history": self.state.history})


def check_state(state: Any, model: Model, n_steps: int, held_out: bool, average: float | None) -> None:
    """Raise a ValueError unless a run of this model, with n_steps in an epoch, can go on from this state."""
    if not isinstance(state, State):
        raise ValueError(f"state must be a State, such as State.start(model); got {check.shown(state)}")
    T, size = len(model.latent_dims), model.theta.size
    if len(state.sums) != 1 + T:
        raise ValueError(f"state is of a model with {len(state.sums) - 1} levels; this one has {T}")
    if state.theta is not None and state.theta.size != size:
        raise ValueError(f"state is of a model of {state.theta.size} parameters; this one has {size}")
    if state.step > n_steps:
        raise ValueError(f"state has {state.step} steps of an epoch behind it, but x has only {n_steps} batches of "
                         "this batch_size: x and batch_size must be those that the run began with")
    if state.epoch and ("valid_elbo" in state.history) != held_out:
        raise ValueError("x_valid must be given if and only if it was when the run of this state began, as its bound "
                         "is a column of the history")
    if state.average is not None and average is None:
        raise ValueError("average must be given, as state has one: a number such as 0.999")
