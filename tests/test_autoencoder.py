"""The autoencoder: the VAE's reconstruction part, without noise."""

import numpy as np
import pytest

from scratchvae import Autoencoder, fit
from scratchvae.gradcheck import check_model


@pytest.fixture
def x(rng):
    return rng.integers(0, 2, (8, 6)).astype(float)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_gradients(likelihood, rng, x, proven):
    model = Autoencoder(6, 2, (5,), likelihood=likelihood, rng=rng)
    model.theta += 0.1 * rng.standard_normal(model.theta.size)
    proven(check_model(model, x))


def test_objective_is_the_reconstruction_alone(rng, x):
    model = Autoencoder(6, 2, (5,), rng=rng, dtype=np.float64)
    elbo, _ = model.forward(x, model.draw_noise(len(x), rng))
    p = model.reconstruct(x)
    np.testing.assert_allclose(elbo.total, np.log(np.where(x == 1, p, 1 - p)).sum(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(model.reconstruct(x), model.decode(model.encode(x)))
    assert not elbo.kl.any()


def test_as_many_latents_as_pixels_learn_to_copy(x):
    """Six numbers are enough for six pixels: the reconstruction approaches log 1 = 0."""
    model = Autoencoder(6, 6, (32,))
    history = fit(model, x, epochs=500, batch_size=8)
    assert history["reconstruction"][-1] > -0.2


def test_first_output_is_the_mean_of_the_data(x):
    x_mean = x.mean(axis=0).clip(0.1, 0.9)
    model = Autoencoder(6, 2, (5,), x_mean=x_mean, dtype=np.float64)
    model.g.output.W[:] = 0
    np.testing.assert_allclose(model.reconstruct(x), np.tile(x_mean, (8, 1)), rtol=1e-12)
