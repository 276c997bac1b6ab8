"""How long to train: steps, not passes, and a bound that is judged against its noise."""

import numpy as np
import pytest

from scratchvae import VAE, fit
from scratchvae.train.budget import Best, budget, copies, waited


@pytest.mark.parametrize("n, expected", [
    (143, (34, 196, 19)), (27, (100, 200, 20)), (6400, (1, 200, 20)), (64, (100, 200, 20)), (640_000, (1, 20, 3))])
def test_an_epoch_is_100_steps_or_more(n, expected):
    """143 rows are 3 batches of 64, and 34 passes 102 steps: 196 such epochs are some 20,000 steps."""
    assert budget(n) == expected


def test_a_rise_must_be_above_the_noise():
    steady = list(0.001 * np.arange(50))
    assert waited(steady) == 0 and waited([1.0]) == waited([]) == 0
    assert waited([*steady, *[0.0] * 30]) == 30
    noisy = [*range(10), *(9 + 0.5 * np.random.default_rng(0).standard_normal(100))]
    assert waited(noisy) > 40 and np.argmax(noisy) > 10


def test_training_ends_with_the_best_parameters():
    """A network that learns 40 rows by heart: the bound of other rows rises and falls."""
    x = np.random.default_rng(0).standard_normal((80, 5)).astype(np.float32)
    model, plan = VAE(5, 3, likelihood="gaussian"), budget(40)
    best = Best(plan.patience)
    history = fit(model, copies(x[:40], plan.passes), x_valid=copies(x[40:], 10), epochs=plan.epochs, callback=best,
                  progress=False)
    bounds = history["valid_elbo"]
    assert best.bound == max(bounds) and plan.patience < len(bounds) < plan.epochs
    assert bounds[-1] < max(bounds) and (best.theta != model.theta).any()
    assert len(bounds) - 1 - int(np.argmax(bounds)) <= plan.patience
