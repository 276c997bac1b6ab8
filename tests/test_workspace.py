"""Kept arrays: the same numbers, in the same memory, step after step."""

import tracemalloc

import numpy as np
import pytest

from scratchvae import HVAE, VAE, Adam, Gaussian, fit
from scratchvae.layers import ACTIVATIONS
from scratchvae.workspace import Workspace, kept

MODELS = {
    **{name: lambda name=name: VAE(6, 2, (5, 4), activation=name) for name in ACTIVATIONS},
    "gaussian": lambda: VAE(6, 2, (5,), likelihood="gaussian"),
    "fixed": lambda: VAE(6, 2, (5,), likelihood=Gaussian(6, logvar=-1.0)),
    "sampled": lambda: HVAE(6, (4, 3, 2), (5,)),
    "analytic": lambda: HVAE(6, (4, 3, 2), (5,), consistency="analytic"),
}


@pytest.fixture
def x(rng):
    return rng.integers(0, 2, (8, 6)).astype(np.float32)


@pytest.mark.parametrize("name", MODELS)
def test_steps_with_kept_arrays_are_the_same_to_the_bit(name, x, rng):
    """Five steps with a workspace and five without: the same bound and the same theta, as no array is used twice."""
    thetas, bounds = [], []
    for workspace in (None, Workspace(np.float32)):
        model, optimizer, noise_rng = MODELS[name](), Adam(0.01), np.random.default_rng(1)
        for batch in (x, x, x[:3], x, x[:3]):
            noise = model.draw_noise(len(batch), noise_rng)
            if workspace is None:
                elbo, cache = model.bound(batch, noise)
                model.backward(cache)
            else:
                with workspace:
                    elbo, cache = model.bound(batch, noise)
                    model.backward(cache)
            optimizer.step(model.theta, model.gradient)
            bounds.append(elbo.total.copy())
        thetas.append(model.theta)
    np.testing.assert_array_equal(thetas[0], thetas[1])
    for plain, with_kept in zip(bounds[:5], bounds[5:]):
        np.testing.assert_array_equal(plain, with_kept)


def test_the_same_request_gets_the_same_array_in_every_step():
    workspace = Workspace(np.float32)
    seen = []
    for _ in range(2):
        with workspace:
            seen.append([kept((2, 3)), kept((2, 3)), kept((4,))])
    assert all(a is b for a, b in zip(*seen)) and seen[0][0] is not seen[0][1]
    assert [a.shape for a in seen[0]] == [(2, 3), (2, 3), (4,)] and seen[0][0].dtype == np.float32
    assert kept((2, 3)) is None                        # none is open


def test_an_error_closes_the_workspace():
    with pytest.raises(RuntimeError), Workspace(np.float32):
        raise RuntimeError
    assert kept((1,)) is None


def test_training_allocates_nothing_that_grows(x):
    """Over 800 steps, 100 bytes a step would be 80,000: what comes is the history, 7 numbers for each epoch."""
    model = VAE(6, 2, (5,))
    sizes = []
    tracemalloc.start()
    try:
        fit(model, x, epochs=150, batch_size=1,
            callback=lambda model, history: sizes.append(tracemalloc.get_traced_memory()[0]))
    finally:
        tracemalloc.stop()
    assert sizes[-1] - sizes[49] < 50_000
