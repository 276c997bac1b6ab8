"""Schedules: the numbers that their pages say, from the first epoch on."""

import numpy as np
import pytest

from scratchvae import decay, steps, warm_up
from scratchvae.train.schedules import at


@pytest.mark.parametrize("schedule, expected", [
    (warm_up(4), [0.25, 0.5, 0.75, 1, 1]),
    (decay(1.0, 1 / 16, 5), [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16]),
    (decay(0.5, 0.1, 1), [0.5]), (decay(0.5, 0.125, 2), [0.5, 0.125]),
    (steps(1.0, {}), [1, 1, 1]),
    (steps(1.0, {4: 0.1, 2: 0.5}), [1, 0.5, 0.5, 0.1, 0.1]),
    (steps(1.0, {1: 0.3}), [0.3, 0.3]),
])
def test_schedules(schedule, expected):
    np.testing.assert_allclose([schedule(epoch) for epoch in range(1, len(expected) + 1)], expected, rtol=1e-14)


def test_a_number_is_a_schedule_that_never_changes():
    assert [at(0.5, epoch) for epoch in (1, 9)] == [0.5, 0.5] and at(warm_up(4), 3) == 0.75


@pytest.mark.parametrize("call, message", [
    (lambda: warm_up(0), "^epochs must be"),
    (lambda: decay(0, 1, 5), "^first must be"),
    (lambda: decay(1, np.nan, 5), "^last must be"),
    (lambda: steps(0, {}), "^first must be"),
    (lambda: steps(1, {0: 1}), "^every epoch in changes must be"),
    (lambda: steps(1, {2: -1}), "^every rate in changes must be"),
    (lambda: decay(1, 0, 5), r"^last must be a number in \(0, inf\); got 0$"),
    (lambda: decay(1, 0.5, 0), "^epochs must be"),
    (lambda: steps(1, {2: 0}), r"^every rate in changes must be a number in \(0, inf\); got 0$"),
    (lambda: steps(1e-3, [1.0] * 1000), r"^changes must be .*; got \[1.0, .* \.\.\. of type list$"),
    (lambda: steps(1e-3, [(2, 1e-4)]),
     r"^changes must be a dict from epochs to rates, such as \{50: 3e-4\}; got \[\(2, 0.0001\)\]$"),
])
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
