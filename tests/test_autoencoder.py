"""The autoencoder: the VAE's reconstruction part, without noise."""

import numpy as np
import pytest

from scratchvae import Autoencoder, Bernoulli, fit
from scratchvae.verify.gradcheck import check_model


@pytest.fixture
def x(rng):
    return rng.integers(0, 2, (8, 6)).astype(float)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_gradients(likelihood, rng, x, agrees):
    model = Autoencoder(6, 2, (5,), likelihood=likelihood, rng=rng)
    model.theta += 0.1 * rng.standard_normal(model.theta.size)
    agrees(check_model(model, x))


def test_backward_by_default_is_that_of_the_loss_and_leaves_out_dx(rng, x):
    model = Autoencoder(6, 2, (5,), rng=rng, dtype=np.float64)
    elbo, cache = model.forward(x, None)
    assert model.backward(elbo.loss_backward(1.0, 1.0), cache, input_gradient=True).shape == x.shape
    of_loss = model.gradient.copy()
    assert model.backward(elbo.loss_backward(), cache).shape == (len(x), 0)
    np.testing.assert_array_equal(model.gradient, of_loss)
    model.backward(elbo.loss_backward(alpha=0.25), cache)
    np.testing.assert_array_equal(model.gradient, 0.25 * of_loss)


def test_defaults_are_those_of_the_docstring():
    model, spelled = Autoencoder(6, 2), Autoencoder(6, 2, (64,), activation="tanh", likelihood="bernoulli", rng=0,
                                                    dtype=np.float32)
    assert list(model.f.layers) == list(spelled.f.layers) == ["dense1", "tanh1", "dense2"]
    assert model.theta.dtype == np.float32 and isinstance(model.likelihood, Bernoulli)
    np.testing.assert_array_equal(model.theta, spelled.theta)


def test_g_has_the_hidden_layers_of_f_in_reverse():
    model = Autoencoder(6, 2, (5, 4, 3), rng=0)
    shapes = [view.shape for name, view in model.parameters.items() if name.endswith("W")]
    assert shapes == [(6, 5), (5, 4), (4, 3), (3, 2), (2, 3), (3, 4), (4, 5), (5, 6)]


@pytest.mark.parametrize("hidden_dims", [(5,), ()])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_is_kept_from_end_to_end(dtype, hidden_dims, x):
    """And what comes in another precision, or as a list, is converted at the door."""
    model = Autoencoder(6, 2, hidden_dims, dtype=dtype)
    elbo, cache = model.forward(x.tolist(), None)
    dx = model.backward(elbo.loss_backward(), cache, input_gradient=True)
    arrays = [elbo.reconstruction, elbo.prior_matching, elbo.consistency, dx, model.gradient, model.encode(x.tolist()),
              model.decode(np.ones((3, 2)).tolist()), model.reconstruct(x)]
    assert {array.dtype for array in arrays} == {np.dtype(dtype)}
    assert elbo.total.shape == (len(x),) and elbo.consistency.shape == (len(x), 0)


def test_objective_is_the_reconstruction_alone(rng, x):
    model = Autoencoder(6, 2, (5,), rng=rng, dtype=np.float64)
    elbo, _ = model.forward(x, model.draw_noise(len(x), rng))
    p = model.reconstruct(x)
    np.testing.assert_allclose(elbo.total, np.log(np.where(x == 1, p, 1 - p)).sum(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(model.reconstruct(x), model.decode(model.encode(x)))
    assert not elbo.kl.any()


def test_there_is_no_log_p_of_x_to_estimate(x):
    with pytest.raises(NotImplementedError, match=r"^Autoencoder has no log p\(x\)$"):
        Autoencoder(6, 2, (5,)).log_likelihood(x)


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
