"""Schedules of beta and of the learning rate: functions of the epoch, counted from 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .. import check

Schedule = Callable[[int], Any]


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
    return lambda epoch: first * (last / first) ** ((epoch - 1) / max(1, epochs - 1))


def steps(first: float, changes: Mapping[int, float]) -> Schedule:
    """Return a learning rate that stays the same until an epoch named in ``changes``.

    ``steps(1e-3, {50: 3e-4, 80: 1e-4})`` is 1e-3 in epochs 1 to 49, 3e-4 in epochs
    50 to 79, and 1e-4 from then on.
    """
    if not isinstance(changes, Mapping):
        raise ValueError(f"changes must be a dict from epochs to rates, such as {{50: 3e-4}}; "
                         f"got {check.shown(changes)}")
    rates = {1: check.number("first", first, 0, open_low=True)}
    for epoch, rate in changes.items():
        epoch = check.size("every epoch in changes", epoch)
        rates[epoch] = check.number("every rate in changes", rate, 0, open_low=True)
    return lambda epoch: rates[max(e for e in rates if e <= epoch)]


def at(schedule: Any, epoch: int) -> Any:
    """Return what a schedule gives for an epoch, or the number that stands in its place."""
    return schedule(epoch) if callable(schedule) else schedule
