"""The VAE: its gradients, its bound against exact quadrature, and its manners."""

import copy
import pickle

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.special

from scratchvae import ELBO, VAE, Adam, Bernoulli, Gaussian, Model, Poisson, fit, gaussian
from scratchvae.importance import StandardLogRatio
from scratchvae.layers import ACTIVATIONS
from scratchvae.verify.gradcheck import check_model

X_DIM = 6


def make(rng, **options):
    """Return a small float64 VAE with all its parameters away from zero, biases included."""
    model = VAE(X_DIM, 2, (5, 4), rng=rng, dtype=np.float64, **options)
    model.theta += 0.1 * rng.standard_normal(model.theta.size)
    return model


@pytest.fixture
def x(rng):
    return rng.integers(0, 2, (8, X_DIM)).astype(float)


LIKELIHOODS = {"bernoulli": "bernoulli", "gaussian": "gaussian", "fixed": Gaussian(X_DIM, logvar=-1.0)}


@pytest.mark.parametrize("steps", [0, 20])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_gradients_at_the_start_and_after_some_training(likelihood, steps, rng, x, agrees):
    model = make(rng, likelihood=LIKELIHOODS[likelihood])
    if steps:
        fit(model, x, epochs=steps, batch_size=4, optimizer=Adam(0.01))
    agrees(check_model(model, x))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_with_every_activation(activation, rng, x, agrees):
    agrees(check_model(make(rng, activation=activation), x))


def test_gradients_with_a_comparison_that_uses_z(rng, x, agrees):
    model = make(rng)
    model.compare = StandardLogRatio()
    agrees(check_model(model, x))


def test_gradients_by_central_differences(rng, x, agrees):
    agrees(check_model(make(rng), x, method="central"))


def test_gradients_of_a_fresh_float32_model(x, agrees):
    agrees(check_model(VAE(X_DIM, 2, (5,)), x))


def test_gradients_at_full_size(rng, agrees):
    """784-400-20, along one random direction for each array: seconds, not hours."""
    agrees(check_model(VAE(784, 20, (400,), activation="relu"), rng.random((4, 784)), directions=1))


@pytest.mark.parametrize("beta, alpha", [(1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.3, 2.0)])
def test_weights_of_the_parts(beta, alpha, rng, x):
    """The gradient is linear in the weights: alpha times that of -R, plus beta times that of P."""
    model = make(rng)
    noise = model.draw_noise(len(x), rng)
    elbo, cache = model.forward(x, noise)
    model.backward(elbo.loss_backward(0.0, 1.0), cache)
    of_reconstruction = model.gradient.copy()
    model.backward(elbo.loss_backward(1.0, 0.0), cache)
    of_prior_matching = model.gradient.copy()
    model.backward(elbo.loss_backward(beta, alpha), cache)
    np.testing.assert_allclose(model.gradient, alpha * of_reconstruction + beta * of_prior_matching, atol=1e-14)


def test_backward_by_default_is_that_of_the_loss_and_leaves_out_dx(rng, x):
    model = make(rng)
    elbo, cache = model.forward(x, model.draw_noise(len(x), rng))
    assert model.backward(elbo.loss_backward(1.0, 1.0), cache, input_gradient=True).shape == x.shape
    of_loss = model.gradient.copy()
    assert model.backward(elbo.loss_backward(), cache).shape == (len(x), 0)
    np.testing.assert_array_equal(model.gradient, of_loss)
    assert elbo.loss() == elbo.loss(1.0, 1.0)


def test_the_bound_itself_is_no_gradient_of_it(rng, x):
    model = make(rng)
    elbo, cache = model.forward(x, model.draw_noise(len(x), rng))
    with pytest.raises(AttributeError):
        model.backward(elbo, cache)


def test_gradients_of_shares_add_up_to_that_of_the_batch(rng, x):
    """MATH (9.4): each share's loss is its part of the mean over n examples."""
    model = make(rng)
    noise, total = model.draw_noise(len(x), rng), np.zeros_like(model.theta)
    for share in (slice(0, 3), slice(3, 8)):
        elbo, cache = model.forward(x[share], noise[share])
        model.backward(elbo.loss_backward(0.5, 2.0, n=len(x)), cache)
        total += model.gradient
    elbo, cache = model.forward(x, noise)
    model.backward(elbo.loss_backward(0.5, 2.0), cache)
    np.testing.assert_allclose(total, model.gradient, rtol=0, atol=1e-15)


def test_theta_is_ready_for_scipy(rng, x):
    """scipy.optimize.minimize trains a VAE: loss and gradient are functions of one vector."""
    model = make(rng)
    noise = model.draw_noise(len(x), rng)

    def loss_and_gradient(theta):
        model.theta[:] = theta
        elbo, cache = model.forward(x, noise)
        model.backward(elbo.loss_backward(), cache)
        return elbo.loss(), model.gradient.copy()

    start = loss_and_gradient(model.theta.copy())[0]
    result = scipy.optimize.minimize(loss_and_gradient, model.theta.copy(), jac=True, options={"maxiter": 20})
    assert result.fun < start - 0.5


def test_parts_are_sums_over_dimensions_and_loss_is_a_mean_over_the_batch(rng, x):
    """Each part by its definition, row by row: nats for each example, never an average over pixels or latents."""
    model = make(rng)
    noise = model.draw_noise(len(x), rng)
    elbo, _ = model.forward(x, noise)
    for i in range(len(x)):
        mu, logvar = (v[0] for v in model.encode(x[i:i + 1]))
        z = mu + np.exp(logvar / 2) * noise[i]
        pixel = model.decode(z[None])[0]
        log_p = sum(np.log(p if on else 1 - p) for p, on in zip(pixel, x[i]))
        kl = sum((np.exp(v) + m * m - 1 - v) / 2 for m, v in zip(mu, logvar))
        np.testing.assert_allclose([elbo.reconstruction[i], elbo.prior_matching[i]], [log_p, kl], rtol=1e-12)
    np.testing.assert_allclose(elbo.total, elbo.reconstruction - elbo.prior_matching, rtol=1e-14)
    np.testing.assert_allclose(elbo.loss(), -elbo.total.mean(), rtol=1e-14)
    np.testing.assert_allclose(elbo.loss(0.5, 2.0), (0.5 * elbo.prior_matching - 2 * elbo.reconstruction).mean())
    assert elbo.consistency.shape == (len(x), 0) and elbo.kl.shape == (len(x), 1)


def test_bound_and_importance_estimate_against_quadrature(rng):
    """With one latent, log p(x) is an integral: ELBO <= log p(x), and importance sampling finds it."""
    model = VAE(3, 1, (4,), rng=rng, dtype=np.float64)
    model.theta += 0.5 * rng.standard_normal(model.theta.size)
    x = np.array([[1.0, 0.0, 1.0]])

    def joint(z):
        h, _ = model.p.forward(np.array([[z]]))
        prior = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
        return prior * np.exp(model.likelihood.log_prob(x, h)[0][0])

    exact = np.log(scipy.integrate.quad(joint, -10, 10, epsabs=1e-12)[0])
    many = np.tile(x, (20_000, 1))
    total = model.forward(many, model.draw_noise(len(many), rng))[0].total
    assert total.mean() + 4 * total.std() / np.sqrt(len(many)) < exact
    weights = np.exp(model.log_weight(x, 100_000, rng) - exact)
    assert abs(weights.mean() - 1) < 4 * weights.std() / np.sqrt(weights.size)
    np.testing.assert_allclose(model.log_likelihood(x, 100_000, rng), exact, atol=0.02)


@pytest.mark.parametrize("max_rows", [1, 7, 64, 10_000])
def test_log_likelihood_does_not_depend_on_how_it_is_cut(max_rows, rng, x):
    """Bounded memory: cut anywhere, it stays the same estimate, here within its own scatter."""
    model = make(rng)
    np.testing.assert_allclose(model.log_likelihood(x, 500, 1, max_rows), model.log_likelihood(x, 20_000, 2), atol=0.15)


@pytest.mark.parametrize("max_rows, n_samples", [(1, 3), (7, 5), (20, 5), (64, 500), (256, 10)])
def test_log_likelihood_passes_at_most_max_rows_at_once(max_rows, n_samples, rng, x, monkeypatch):
    model = make(rng)
    log_weight, rows = model.log_weight, []

    def counted(x, n_samples, rng):
        rows.append(len(x) * n_samples)
        return log_weight(x, n_samples, rng)

    monkeypatch.setattr(model, "log_weight", counted)
    model.log_likelihood(x, n_samples, 0, max_rows)
    assert max(rows) <= max_rows and sum(rows) == len(x) * n_samples


def test_log_likelihood_is_the_log_of_the_mean_weight(x):
    """Summed in float64 even if the model is in float32."""
    model = VAE(X_DIM, 2, (5,))
    log_weight = model.log_weight(x.astype(np.float32), 500, np.random.default_rng(3)).astype(float)
    expected = scipy.special.logsumexp(log_weight, axis=0) - np.log(500)
    np.testing.assert_allclose(model.log_likelihood(x, 500, 3, max_rows=10_000), expected, rtol=1e-13)


def test_log_likelihood_by_default_is_of_1000_samples_and_seed_0(rng, x):
    model = make(rng)
    np.testing.assert_array_equal(model.log_likelihood(x), model.log_likelihood(x, 1000, 0, 256))


def test_log_likelihood_with_one_sample_is_a_draw_of_the_bound(rng, x):
    """K = 1: log p(x, z) - log q(z | x), whose mean is the ELBO."""
    model = make(rng)
    draws = np.array([model.log_likelihood(x, 1, seed) for seed in range(3000)])
    elbo = np.mean([model.forward(x, model.draw_noise(len(x), rng))[0].total for _ in range(3000)], axis=0)
    scatter = np.sqrt(2 * draws.var(axis=0) / 3000)    # of the difference of two such means
    assert np.all(np.abs(draws.mean(axis=0) - elbo) < 4.5 * scatter)


def test_first_output_is_the_mean_of_the_data(x):
    """With x_mean, a fresh decoder with its weights at zero gives the data's mean for every z."""
    x_mean = x.mean(axis=0).clip(0.1, 0.9)
    model = VAE(X_DIM, 2, (5,), x_mean=x_mean, dtype=np.float64)
    model.p.output.W[:] = 0
    np.testing.assert_allclose(model.decode(np.ones((3, 2))), np.tile(x_mean, (3, 1)), rtol=1e-12)


def test_defaults_are_those_of_the_docstring():
    model, spelled = VAE(X_DIM, 2), VAE(X_DIM, 2, (64,), activation="tanh", likelihood="bernoulli", rng=0,
                                        dtype=np.float32)
    assert list(model.q.layers) == list(spelled.q.layers) == ["dense1", "tanh1", "dense2"]
    assert model.theta.dtype == np.float32 and isinstance(model.likelihood, Bernoulli)
    np.testing.assert_array_equal(model.theta, spelled.theta)


def test_p_has_the_hidden_layers_of_q_in_reverse():
    shapes = [view.shape for name, view in VAE(X_DIM, 2, (5, 4, 3)).parameters.items() if name.endswith("W")]
    assert shapes == [(6, 5), (5, 4), (4, 3), (3, 4), (2, 3), (3, 4), (4, 5), (5, 6)]


def test_noise_is_the_next_draw_of_the_generator():
    """Standard normal, in the model's precision, and nothing else is drawn: with the seed a run can be repeated."""
    for dtype in (np.float32, np.float64):
        noise = VAE(X_DIM, 2, (5,), dtype=dtype).draw_noise(4, np.random.default_rng(3))
        np.testing.assert_array_equal(noise, np.random.default_rng(3).standard_normal((4, 2), dtype))


def test_fresh_q_has_unit_variance(rng, x):
    """A fresh model's logvar is 0 for every x, while its mu depends on x."""
    mu, logvar = VAE(X_DIM, 2, (5,), rng=rng).encode(x)
    assert np.all(logvar == 0) and mu.std(axis=0).min() > 0.1


def test_same_seed_same_bits(x):
    first, second, other = (VAE(X_DIM, 2, (5,), rng=seed) for seed in (3, 3, 4))
    histories = [fit(model, x, epochs=3, rng=7) for model in (first, second)]
    assert np.array_equal(first.theta, second.theta) and not np.array_equal(first.theta, other.theta)
    assert all(histories[0][name] == histories[1][name] for name in histories[0] if name != "seconds")


@pytest.mark.parametrize("hidden_dims", [(5,), ()])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_precision_is_kept_from_end_to_end(dtype, hidden_dims, x):
    """And what comes in another precision, or as a list, is converted at the door."""
    model = VAE(X_DIM, 2, hidden_dims, dtype=dtype)
    elbo, cache = model.forward(x, model.draw_noise(len(x), np.random.default_rng(0)))
    assert elbo.total.dtype == elbo.kl.dtype == model.theta.dtype == dtype
    if dtype != np.complex128:
        dx = model.backward(elbo.loss_backward(), cache, input_gradient=True)
        assert dx.dtype == model.gradient.dtype == dtype
        assert model.reconstruct(x).dtype == model.sample(3).dtype == dtype
    assert model.encode(x.tolist())[0].dtype == model.decode(np.ones((3, 2)).tolist()).dtype == dtype


DUPLICATES = {"deepcopy": copy.deepcopy, "pickle": lambda model: pickle.loads(pickle.dumps(model)),
              "astype": lambda model: model.astype(np.float64)}


@pytest.mark.parametrize("duplicate", DUPLICATES.values(), ids=DUPLICATES)
def test_a_copy_owns_its_parameters_and_they_are_views(duplicate, rng, x):
    model = make(rng)
    twin = duplicate(model)
    np.testing.assert_array_equal(twin.theta, model.theta)
    twin.theta[:] = 0
    assert twin.p.output.W.max() == 0 and twin.parameters["q1.dense1.W"].max() == 0 and model.theta.any()
    model.theta[:] = 1
    assert model.p.output.W.min() == 1 and not twin.theta.any()


@pytest.mark.parametrize("dtype", ["float32", np.float64, np.complex128])
def test_astype_converts_all_parameters(dtype, rng):
    model = make(rng)
    twin = model.astype(dtype)
    assert twin.dtype == twin.theta.dtype == twin.p.output.dW.dtype == np.dtype(dtype) and model.dtype == np.float64
    np.testing.assert_array_equal(twin.theta, model.theta.astype(dtype))
    assert twin.draw_noise(1, rng).dtype == (np.float32 if dtype == "float32" else np.float64)


def test_pictures_out(rng, x):
    model = make(rng)
    mu, logvar = model.encode(x)
    np.testing.assert_array_equal(model.reconstruct(x), model.decode(mu))
    assert model.sample(5, 1).shape == (5, X_DIM) and np.array_equal(model.sample(5, 1), model.sample(5, 1))
    z = np.random.default_rng(1).standard_normal((5, 2))
    np.testing.assert_array_equal(model.sample(5, 1), model.decode(z))
    assert not np.array_equal(model.sample(5), model.sample(5))         # each call draws anew
    assert gaussian.kl_standard(mu, logvar)[0].shape == (len(x),)


def test_x_is_drawn_at_the_z_of_its_mean(rng):
    model, generator = make(rng), np.random.default_rng(1)
    z = generator.standard_normal((5, 2))
    h = model.p.forward(z)[0]
    np.testing.assert_array_equal(model.sample(5, 1, draw=True), model.likelihood.sample(h, generator))
    np.testing.assert_array_equal(model.decode(z, 3), model.likelihood.sample(h, np.random.default_rng(3)))


def test_q_sees_counts_as_their_likelihood_shows_them():
    model = VAE(3, 2, (4,), likelihood=Poisson(3), dtype=float)
    x = np.array([[0.0, 3, 100]])
    hidden = np.tanh(np.log(1 + x) @ model.parameters["q1.dense1.W"] + model.parameters["q1.dense1.b"])
    h = hidden @ model.parameters["q1.dense2.W"] + model.parameters["q1.dense2.b"]
    np.testing.assert_allclose(np.concatenate(model.encode(x), axis=1), h, rtol=1e-14)


def test_elbo_prints_its_parts():
    """Means over the batch; of complex numbers, which a complex step makes, the real parts."""
    for step in (0, 1e-30j):
        elbo = ELBO(np.array([-3.0, -5.0]) + step, np.array([1.0, 2.0]), np.array([[0.5, -1.0], [0.25, 0.0]]))
        assert str(elbo).splitlines() == ["reconstruction      -4.000 nats",
                                          "prior matching       1.500 nats",
                                          "consistency 1        0.375 nats",
                                          "consistency 2       -0.500 nats",
                                          "ELBO                -5.375 nats"]


@pytest.mark.parametrize("method, n_arguments", [("draw_noise", 2), ("bound", 2), ("backward", 2), ("log_weight", 3)])
def test_a_model_that_lacks_a_method_says_so(method, n_arguments):
    with pytest.raises(NotImplementedError):
        getattr(Model(3, [2], "bernoulli", np.float32), method)(*[None] * n_arguments)


def test_a_model_says_what_it_is():
    assert repr(VAE(6, 2, (5,))) == "<VAE: 6 columns, latents (2,), size 110>"
