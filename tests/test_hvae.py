"""The hierarchy: gradients for every depth and form, T = 1 is the VAE, and each part by its definition."""

import numpy as np
import pytest

from scratchvae import HVAE, VAE, Adam, Bernoulli, Gaussian, Poisson, fit, gaussian
from scratchvae.verify.gradcheck import check_model

X_DIM = 6
DIMS = {1: (4,), 2: (4, 3), 3: (4, 3, 2), 5: (4, 3, 3, 2, 2)}
FORMS = ["exact", "printed"]


def make(T, consistency, rng, **options):
    """Return a small float64 hierarchy with all its parameters away from zero, biases included."""
    model = HVAE(X_DIM, DIMS[T], (5,), consistency=consistency, rng=rng, dtype=np.float64, **options)
    model.theta += 0.1 * rng.standard_normal(model.theta.size)
    return model


@pytest.fixture
def x(rng):
    return rng.integers(0, 2, (8, X_DIM)).astype(float)


@pytest.mark.parametrize("steps", [0, 20])
@pytest.mark.parametrize("consistency", FORMS)
@pytest.mark.parametrize("T", DIMS)
def test_gradients_at_the_start_and_after_some_training(T, consistency, steps, rng, x, agrees):
    model = make(T, consistency, rng)
    if steps:
        fit(model, x, epochs=steps, batch_size=4, optimizer=Adam(0.01))
    agrees(check_model(model, x))


@pytest.mark.parametrize("consistency", FORMS)
@pytest.mark.parametrize("T", DIMS)
def test_gradients_by_central_differences(T, consistency, rng, x, agrees):
    agrees(check_model(make(T, consistency, rng), x, method="central", tolerance=1e-7))


@pytest.mark.parametrize("likelihood", ["gaussian", Gaussian(X_DIM, logvar=-1.0)], ids=["gaussian", "fixed"])
def test_gradients_with_a_gaussian_likelihood(likelihood, rng, x, agrees):
    agrees(check_model(make(3, "exact", rng, likelihood=likelihood, activation="relu"), x))


@pytest.mark.slow
def test_gradients_at_full_size(rng, agrees):
    """784 pixels, five levels, along one random direction for each array: seconds, not hours."""
    hidden = [(n, n) for n in (512, 256, 128, 64, 32)]
    model = HVAE(784, (64, 32, 16, 8, 4), hidden, activation="leaky_relu")
    agrees(check_model(model, rng.random((4, 784)), directions=1))


@pytest.mark.parametrize("consistency", FORMS)
def test_one_level_is_the_vae_number_for_number(consistency, rng, x):
    """Same parameters, same noise: every part, every gradient, every picture is the same to the bit."""
    vae, hvae = VAE(X_DIM, 4, (5,), rng=3), HVAE(X_DIM, (4,), (5,), consistency=consistency, rng=3)
    assert list(vae.parameters) == list(hvae.parameters)
    np.testing.assert_array_equal(vae.theta, hvae.theta)
    eps = vae.draw_noise(len(x), np.random.default_rng(0))
    np.testing.assert_array_equal(hvae.draw_noise(len(x), np.random.default_rng(0))[0], eps)
    (elbo_v, cache_v), (elbo_h, cache_h) = vae.forward(x, eps), hvae.forward(x, [eps])
    np.testing.assert_array_equal(elbo_v.reconstruction, elbo_h.reconstruction)
    np.testing.assert_array_equal(elbo_v.prior_matching, elbo_h.prior_matching)
    assert elbo_h.consistency.shape == (len(x), 0)
    for beta, alpha in [(1.0, 1.0), (0.3, 2.0)]:
        dx_v = vae.backward(elbo_v.loss_backward(beta, alpha), cache_v, input_gradient=True)
        dx_h = hvae.backward(elbo_h.loss_backward(beta, alpha), cache_h, input_gradient=True)
        np.testing.assert_array_equal(vae.gradient, hvae.gradient)
        np.testing.assert_array_equal(dx_v, dx_h)
    np.testing.assert_array_equal(vae.encode(x)[0], hvae.encode(x)[0][0])
    np.testing.assert_array_equal(vae.reconstruct(x), hvae.reconstruct(x))
    np.testing.assert_array_equal(vae.sample(4, 5), hvae.sample(4, 5))
    np.testing.assert_array_equal(vae.log_likelihood(x, 50, 6), hvae.log_likelihood(x, 50, 6))


@pytest.mark.parametrize("T", DIMS)
def test_parts_by_their_definitions(T, rng, x):
    """Reconstruction, prior matching and both consistency forms, from densities at the drawn z."""
    exact, printed = (make(T, form, np.random.default_rng(1)) for form in FORMS)
    noise = exact.draw_noise(len(x), rng)
    z, q = [x], [None]
    for t in exact.levels:
        q.append(gaussian.halves(exact.q[t].forward(z[-1])[0]))
        z.append(q[t][0] + np.exp(q[t][1] / 2) * noise[t - 1])
    elbo, other = exact.forward(x, noise)[0], printed.forward(x, noise)[0]
    log_p_x = exact.likelihood.log_prob(x, exact.p[1].forward(z[1])[0])[0]
    np.testing.assert_allclose(elbo.reconstruction, log_p_x, rtol=1e-13)
    zero = np.zeros_like(z[T])
    np.testing.assert_allclose(elbo.prior_matching, gaussian.kl(*q[T], zero, zero)[0], rtol=1e-12)
    for t in range(1, T):
        p = gaussian.halves(exact.p[t + 1].forward(z[t + 1])[0])
        np.testing.assert_allclose(elbo.consistency[:, t - 1],
                                   -gaussian.entropy(q[t][1])[0] - gaussian.log_prob(z[t], *p)[0], rtol=1e-12)
        np.testing.assert_allclose(other.consistency[:, t - 1], gaussian.kl(*q[t], *p)[0], rtol=1e-12)
    np.testing.assert_array_equal(other.reconstruction, elbo.reconstruction)
    np.testing.assert_allclose(elbo.total, elbo.reconstruction - elbo.kl.sum(axis=1), rtol=1e-13)
    np.testing.assert_allclose(elbo.kl[:, -1], elbo.prior_matching)


@pytest.mark.parametrize("T", [2, 3])
def test_bound_is_the_mean_of_the_log_weights(T, rng, x):
    """E[log p(x, z) - log q(z | x)] by `log_weight`, which knows no parts, is the exact form's ELBO."""
    model = make(T, "exact", rng)
    draws = model.log_weight(x, 20_000, rng)
    totals = np.array([model.forward(x, model.draw_noise(len(x), rng))[0].total for _ in range(5000)])
    scatter = np.sqrt(draws.var(axis=0) / len(draws) + totals.var(axis=0) / len(totals))
    assert np.all(np.abs(draws.mean(axis=0) - totals.mean(axis=0)) < 4.5 * scatter)


def test_exact_consistency_may_be_negative_but_its_mean_with_the_rest_is_a_bound(rng, x):
    """One draw of log q - log p is no KL; the ELBO's mean still lies below log p(x)."""
    model = make(3, "exact", rng)
    totals = np.array([model.forward(x, model.draw_noise(len(x), rng))[0].total for _ in range(2000)])
    assert np.all(totals.mean(axis=0) < model.log_likelihood(x, 20_000, rng))


def test_gradient_of_z_collects_all_three_uses(rng, x):
    """Without the condition of p, the point of the density or the next q, the gradient by q1 changes."""
    model = make(2, "exact", rng)
    elbo, cache = model.forward(x, model.draw_noise(len(x), rng))
    by_use = []
    for beta, alpha in [((0, 0), 1), ((1, 0), 0), ((0, 1), 0)]:
        model.backward(elbo.loss_backward(np.array(beta, float), alpha), cache)
        by_use.append(model.gradients["q1.dense1.W"].copy())
    model.backward(elbo.loss_backward(), cache)
    np.testing.assert_allclose(sum(by_use), model.gradients["q1.dense1.W"], atol=1e-13)
    assert all(np.abs(g).max() > 1e-4 for g in by_use)


def test_backward_by_default_is_that_of_the_loss_and_leaves_out_dx(rng, x):
    model = make(3, "exact", rng)
    elbo, cache = model.forward(x, model.draw_noise(len(x), rng))
    assert model.backward(elbo.loss_backward(np.ones(3), 1.0), cache, input_gradient=True).shape == x.shape
    of_loss = model.gradient.copy()
    assert model.backward(elbo.loss_backward(), cache).shape == (len(x), 0)
    np.testing.assert_array_equal(model.gradient, of_loss)


def test_the_form_may_change_between_two_steps_and_no_other_word_is_taken(rng, x):
    """Setting it chooses how q and p are compared; the names of version 0.1 are still read."""
    model, printed = make(3, "sampled", np.random.default_rng(1)), make(3, "analytic", np.random.default_rng(1))
    assert (model.consistency, printed.consistency) == ("exact", "printed")
    with pytest.raises(ValueError, match="^consistency must be one of 'exact', 'printed'; got 'exakt'$"):
        model.consistency = "exakt"
    noise = model.draw_noise(len(x), rng)
    assert model.forward(x, noise)[0].loss() != printed.forward(x, noise)[0].loss()
    model.consistency = "printed"
    assert model.forward(x, noise)[0].loss() == printed.forward(x, noise)[0].loss()


def test_defaults_are_those_of_the_docstring():
    model = HVAE(X_DIM)
    spelled = HVAE(X_DIM, (16, 8, 4), (64,), consistency="exact", activation="tanh", likelihood="bernoulli", rng=0,
                   dtype=np.float32)
    assert {name: view.shape for name, view in model.parameters.items()} == \
        {name: view.shape for name, view in spelled.parameters.items()}
    assert list(model.q[3].layers) == ["dense1", "tanh1", "dense2"] and isinstance(model.likelihood, Bernoulli)
    assert model.theta.dtype == np.float32 and model.consistency == "exact"
    np.testing.assert_array_equal(model.theta, spelled.theta)
    assert not np.array_equal(model.sample(5), model.sample(5))         # each call draws anew


def test_first_output_is_the_mean_of_the_data(x):
    """With x_mean, a fresh p(x | z_1) with its weights at zero gives the data's mean for every z_1."""
    x_mean = x.mean(axis=0).clip(0.1, 0.9)
    model = HVAE(X_DIM, (4, 3), (5,), x_mean=x_mean, dtype=np.float64)
    assert not model.p[2].output.b.any()
    model.p[1].output.W[:] = 0
    np.testing.assert_allclose(model.decode(np.ones((3, 4))), np.tile(x_mean, (3, 1)), rtol=1e-12)


def test_hidden_dims_for_each_level():
    model = HVAE(X_DIM, (4, 3), [(7, 5), (2, 9)])
    shapes = {name: value.shape for name, value in model.parameters.items() if name.endswith("W")}
    assert shapes == {"q1.dense1.W": (6, 7), "q1.dense2.W": (7, 5), "q1.dense3.W": (5, 8),
                      "p1.dense1.W": (4, 5), "p1.dense2.W": (5, 7), "p1.dense3.W": (7, 6),
                      "q2.dense1.W": (4, 2), "q2.dense2.W": (2, 9), "q2.dense3.W": (9, 6),
                      "p2.dense1.W": (3, 9), "p2.dense2.W": (9, 2), "p2.dense3.W": (2, 8)}


@pytest.mark.parametrize("hidden_dims", [(7, 5), [(7, 5), (2, 9)]])
def test_an_iterator_over_hidden_dims_is_as_good_as_a_sequence(hidden_dims):
    by_sequence, by_iterator = HVAE(X_DIM, (4, 3), hidden_dims), HVAE(X_DIM, (4, 3), iter(hidden_dims))
    assert list(by_iterator.parameters) == list(by_sequence.parameters)
    np.testing.assert_array_equal(by_iterator.theta, by_sequence.theta)


def test_linear_maps_without_hidden_layers(rng, x, agrees):
    model = HVAE(X_DIM, (4, 3), (), rng=rng)
    assert model.parameters["q1.dense1.W"].shape == (6, 8)
    agrees(check_model(model, x))


def test_deep_fresh_models_do_not_overflow(rng):
    """logvar is 0 at first: with five wide levels, random logvar would compound to infinity."""
    x = rng.integers(0, 2, (16, 784))
    for seed in range(3):
        model = HVAE(784, (64, 32, 16, 8, 4), [(n, n) for n in (512, 256, 128, 64, 32)], activation="relu", rng=seed)
        elbo, _ = model.forward(x, model.draw_noise(16, rng))
        assert elbo.total.min() > -5000


def test_encode_climbs_by_the_means(rng, x):
    model = make(3, "exact", rng)
    zero = [np.zeros((len(x), d)) for d in model.latent_dims]
    levels = model.encode(x)
    h = x
    for t in model.levels:
        mu, logvar = gaussian.halves(model.q[t].forward(h)[0])
        np.testing.assert_array_equal(levels[t - 1][0], mu)
        np.testing.assert_array_equal(levels[t - 1][1], logvar)
        h = mu
    np.testing.assert_allclose(model.forward(x, zero)[0].prior_matching, gaussian.kl_standard(*levels[2])[0])


def test_sample_fixes_a_level_and_draws_those_below(rng):
    model = make(3, "exact", rng)
    z2 = rng.standard_normal(3)
    again = model.sample(200, 1, z=z2, level=2)
    assert again.shape == (200, X_DIM) and again.std(axis=0).min() > 0          # z_1 is drawn
    np.testing.assert_array_equal(again, model.sample(200, 1, z=np.tile(z2, (200, 1)), level=2))
    assert model.sample(9, 1, z=np.ones(4), level=1).std(axis=0).max() < 1e-15  # nothing below z_1 is drawn
    h1 = gaussian.halves(model.p[2].forward(np.tile(z2, (200, 1)))[0])
    eps = model.draw_noise(200, np.random.default_rng(1))
    np.testing.assert_array_equal(again, model.decode(gaussian.sample(*h1, eps[0])[0]))
    top = model.sample(200, 1)
    np.testing.assert_array_equal(top, model.decode(eps[2], 3, eps))


@pytest.mark.parametrize("fixed", [{}, {"z": [0.3, -0.2, 1.0], "level": 2}], ids=["from the top", "from z_2"])
def test_x_is_drawn_at_the_z_of_its_mean(fixed, rng):
    model = make(3, "exact", rng)
    means, generator = model.sample(6, 1, **fixed), np.random.default_rng(1)
    model.draw_noise(6, generator)
    expected = (generator.random(means.shape) < means).astype(means.dtype)
    np.testing.assert_array_equal(model.sample(6, 1, draw=True, **fixed), expected)


def test_reconstruct_goes_up_and_down_by_the_means(rng, x):
    model = make(3, "exact", rng)
    mu3 = model.encode(x)[2][0]
    mu2, _ = gaussian.halves(model.p[3].forward(mu3)[0])
    mu1, _ = gaussian.halves(model.p[2].forward(mu2)[0])
    np.testing.assert_array_equal(model.reconstruct(x, level=3), model.decode(mu1))
    np.testing.assert_array_equal(model.reconstruct(x), model.decode(model.encode(x)[0][0]))


@pytest.mark.parametrize("hidden_dims", [(5,), ()])
@pytest.mark.parametrize("T", [1, 3])
def test_precision_is_kept_from_end_to_end(T, hidden_dims, rng, x):
    """And what comes in another precision, or as a list, is converted at the door."""
    for form in FORMS:
        model = HVAE(X_DIM, DIMS[T], hidden_dims, consistency=form)
        elbo, cache = model.forward(x.tolist(), [eps.tolist() for eps in model.draw_noise(len(x), rng)])
        dx = model.backward(elbo.loss_backward(), cache, input_gradient=True)
        assert elbo.total.dtype == dx.dtype == np.float32
        assert elbo.reconstruction.dtype == elbo.consistency.dtype == elbo.prior_matching.dtype == np.float32
        assert model.gradient.dtype == model.sample(2).dtype == np.float32
        assert model.encode(x.tolist())[-1][0].dtype == model.decode(np.ones((3, 4)).tolist()).dtype == np.float32


def test_same_seed_same_bits(x):
    first, second = (HVAE(X_DIM, (4, 3), (5,), rng=3) for _ in range(2))
    for model in (first, second):
        fit(model, x, epochs=3, rng=7)
    assert np.array_equal(first.theta, second.theta)


def test_the_first_q_sees_counts_as_their_likelihood_shows_them():
    model, counts = HVAE(3, (2, 1), (4,), likelihood=Poisson(3), dtype=float), np.array([[0.0, 3, 100]])
    plain = HVAE(3, (2, 1), (4,), likelihood=Gaussian(3), dtype=float)
    for name in model.parameters:
        if name.startswith("q"):
            plain.parameters[name][:] = model.parameters[name]
    for of_counts, of_logarithms in zip(model.encode(counts), plain.encode(np.log1p(counts))):
        np.testing.assert_array_equal(of_counts, of_logarithms)
