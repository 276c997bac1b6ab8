"""Top-down inference: gradients for every depth, T = 1 is the VAE, each part by its definition, and an exact answer."""

import copy

import numpy as np
import pytest
from linear_gaussian import X_DIM as D, expected, joint_posterior, sigma_points
from scipy.stats import multivariate_normal

from scratchvae import HVAE, VAE, Adam, Bernoulli, Gaussian, TopDown, evaluate, fit, gaussian
from scratchvae.compare import KL, LogRatio
from scratchvae.layers import ACTIVATIONS
from scratchvae.train.evaluation import units
from scratchvae.verify import exact
from scratchvae.verify.gradcheck import check_model

X_DIM = 6
DIMS = {1: (4,), 2: (4, 3), 3: (4, 3, 2), 4: (4, 3, 3, 2)}
every_T = pytest.mark.parametrize("T", DIMS)


def make(T, rng, **options):
    """Return a small float64 model with all its parameters away from zero, biases included."""
    model = TopDown(X_DIM, DIMS[T], (5,), rng=rng, dtype=np.float64, **options)
    model.theta += 0.1 * rng.standard_normal(model.theta.size)
    return model


@pytest.fixture
def x(rng):
    return rng.integers(0, 2, (8, X_DIM)).astype(float)


# gradients ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 20])
@every_T
def test_gradients_at_the_start_and_after_some_training(T, steps, rng, x, agrees):
    """Of the loss and of each part alone, by each parameter and by x."""
    model = make(T, rng)
    if steps:
        fit(model, x, epochs=steps, batch_size=4, optimizer=Adam(0.01))
    ledger = check_model(model, x)
    assert len(ledger.entries) == (T + 2) * (1 + len(model.parameters))
    agrees(ledger)


@every_T
def test_gradients_of_a_fresh_model(T, x, agrees):
    agrees(check_model(TopDown(X_DIM, DIMS[T], (5,), rng=1), x))


@every_T
def test_gradients_with_a_comparison_that_uses_z(T, rng, x, agrees):
    model = make(T, rng)
    model.compare = dict.fromkeys(model.levels, LogRatio())
    agrees(check_model(model, x))


@every_T
def test_gradients_by_central_differences(T, rng, x, agrees):
    agrees(check_model(make(T, rng), x, method="central", tolerance=1e-7))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_with_every_activation(activation, rng, x, agrees):
    agrees(check_model(make(3, rng, activation=activation), x))


@pytest.mark.parametrize("likelihood", ["gaussian", Gaussian(X_DIM, logvar=-1.0)], ids=["gaussian", "fixed"])
def test_gradients_with_a_gaussian_likelihood(likelihood, rng, x, agrees):
    agrees(check_model(make(3, rng, likelihood=likelihood), x))


@pytest.mark.slow
def test_gradients_at_full_size(rng, agrees):
    """784 pixels, five levels, along one random direction for each array."""
    hidden = [(n, n) for n in (512, 256, 128, 64, 32)]
    model = TopDown(784, (64, 32, 16, 8, 4), hidden, activation="leaky_relu")
    agrees(check_model(model, rng.random((4, 784)), directions=1))


def test_backward_by_default_is_that_of_the_loss_and_leaves_out_dx(rng, x):
    model = make(3, rng)
    elbo, cache = model.forward(x, model.draw_noise(len(x), rng))
    assert model.backward(elbo.loss_backward(np.ones(3), 1.0), cache, input_gradient=True).shape == x.shape
    of_loss = model.gradient.copy()
    assert model.backward(elbo.loss_backward(), cache).shape == (len(x), 0)
    np.testing.assert_array_equal(model.gradient, of_loss)


# what it is --------------------------------------------------------------------------------------


def test_one_level_is_the_vae_number_for_number(x):
    """Same parameters, same noise: every part, every gradient, every picture is the same to the bit."""
    vae, model = VAE(X_DIM, 4, (5,), rng=3), TopDown(X_DIM, (4,), (5,), rng=3)
    assert list(vae.parameters) == list(model.parameters)
    np.testing.assert_array_equal(vae.theta, model.theta)
    eps = vae.draw_noise(len(x), np.random.default_rng(0))
    (elbo_v, cache_v), (elbo_t, cache_t) = vae.forward(x, eps), model.forward(x, [eps])
    np.testing.assert_array_equal(elbo_v.reconstruction, elbo_t.reconstruction)
    np.testing.assert_array_equal(elbo_v.prior_matching, elbo_t.prior_matching)
    assert elbo_t.consistency.shape == (len(x), 0)
    for beta, alpha in [(1.0, 1.0), (0.3, 2.0)]:
        dx_v = vae.backward(elbo_v.loss_backward(beta, alpha), cache_v, input_gradient=True)
        dx_t = model.backward(elbo_t.loss_backward(beta, alpha), cache_t, input_gradient=True)
        np.testing.assert_array_equal(vae.gradient, model.gradient)
        np.testing.assert_array_equal(dx_v, dx_t)
    np.testing.assert_array_equal(vae.encode(x), model.encode(x)[0])
    np.testing.assert_array_equal(vae.reconstruct(x), model.reconstruct(x))
    np.testing.assert_array_equal(vae.sample(4, 5), model.sample(4, 5))
    np.testing.assert_array_equal(vae.log_likelihood(x, 50, 6), model.log_likelihood(x, 50, 6))
    fit(vae, x, epochs=3, rng=2)
    fit(model, x, epochs=3, rng=2)
    np.testing.assert_array_equal(vae.theta, model.theta)


@every_T
def test_it_has_the_networks_of_the_hierarchy_and_its_way_down(T, rng):
    """The same parameters, the same first weights, the same pictures: only q is wired in another way."""
    hvae, model = HVAE(X_DIM, DIMS[T], (5,), rng=3), TopDown(X_DIM, DIMS[T], (5,), rng=3)
    assert list(hvae.parameters) == list(model.parameters)
    np.testing.assert_array_equal(hvae.theta, model.theta)
    np.testing.assert_array_equal(hvae.sample(4, 5, draw=True), model.sample(4, 5, draw=True))
    z = rng.standard_normal((3, DIMS[T][-1]))
    np.testing.assert_array_equal(hvae.decode(z, T), model.decode(z, T))


def test_defaults_are_those_of_the_docstring():
    model = TopDown(X_DIM)
    spelled = TopDown(X_DIM, (16, 8, 4), (64,), activation="tanh", likelihood="bernoulli", rng=0, dtype=np.float32)
    assert {name: view.shape for name, view in model.parameters.items()} == \
        {name: view.shape for name, view in spelled.parameters.items()}
    assert list(model.q[3].layers) == ["dense1", "tanh1", "dense2"] and isinstance(model.likelihood, Bernoulli)
    assert model.theta.dtype == np.float32
    np.testing.assert_array_equal(model.theta, spelled.theta)


def test_options_reach_the_networks(x):
    x_mean = x.mean(axis=0).clip(0.1, 0.9)
    model = TopDown(X_DIM, (4, 3), [(7, 5), (2, 9)], activation="relu", likelihood=Bernoulli(X_DIM), x_mean=x_mean,
                    dtype=np.float64)
    assert model.parameters["q1.dense2.W"].shape == (7, 5) and model.parameters["p2.dense1.W"].shape == (3, 9)
    assert "relu1" in model.q[2].layers and model.dtype == np.float64
    model.p[1].output.W[:] = 0
    np.testing.assert_allclose(model.decode(np.ones((3, 4))), np.tile(x_mean, (3, 1)), rtol=1e-12)


@every_T
def test_parts_by_their_definitions(T, rng, x):
    """Every part from densities: precisions add, means are weighted by them, a KL for each level."""
    model = make(T, rng)
    noise = model.draw_noise(len(x), rng)
    m, variance = {0: x}, {}
    for t in model.levels:
        m[t], logvar = gaussian.halves(model.q[t].forward(m[t - 1])[0])
        variance[t] = np.exp(logvar)
    elbo, _ = model.forward(x, noise)
    zero, mu_q, var_q = np.zeros_like(m[T]), m[T], variance[T]
    np.testing.assert_allclose(elbo.prior_matching, gaussian.kl(mu_q, np.log(var_q), zero, zero)[0], rtol=1e-12)
    for t in range(T - 1, 0, -1):
        z = mu_q + np.sqrt(var_q) * noise[t]
        mu_p, logvar_p = gaussian.halves(model.p[t + 1].forward(z)[0])
        a, b = 1 / variance[t], 1 / np.exp(logvar_p)
        mu_q, var_q = (m[t] * a + mu_p * b) / (a + b), 1 / (a + b)
        np.testing.assert_allclose(elbo.consistency[:, t - 1], gaussian.kl(mu_q, np.log(var_q), mu_p, logvar_p)[0],
                                   rtol=1e-9)
    z = mu_q + np.sqrt(var_q) * noise[0]
    np.testing.assert_allclose(elbo.reconstruction, model.likelihood.log_prob(x, model.p[1].forward(z)[0])[0],
                               rtol=1e-12)
    np.testing.assert_allclose(elbo.total, elbo.reconstruction - elbo.kl.sum(axis=1), rtol=1e-13)
    assert elbo.kl.shape == (len(x), T) and elbo.kl.min() > 0, "each level's part is a KL"


@pytest.mark.parametrize("T", [2, 3])
def test_bound_is_the_mean_of_the_log_weights(T, rng, x):
    """E[log p(x, z) - log q(z | x)] by `log_weight`, which knows no KL, is the ELBO."""
    model = make(T, rng)
    draws = model.log_weight(x, 20_000, rng)
    totals = np.array([model.forward(x, model.draw_noise(len(x), rng))[0].total for _ in range(5000)])
    scatter = np.sqrt(draws.var(axis=0) / len(draws) + totals.var(axis=0) / len(totals))
    assert np.all(np.abs(draws.mean(axis=0) - totals.mean(axis=0)) < 4.5 * scatter)


def test_log_weight_is_that_of_the_densities(rng, x):
    """log p(z_2) + log p(z_1 | z_2) + log p(x | z_1) - log q, at the z that the same generator draws."""
    model = make(2, rng)
    got = model.log_weight(x, 3, np.random.default_rng(1))
    eps1, eps2 = (eps.reshape(3, len(x), -1) for eps in model.draw_noise(3 * len(x), np.random.default_rng(1)))
    said = {t: gaussian.halves(m) for t, m in model.up(x).items()}
    for k in range(3):
        z2 = said[2][0] + np.exp(said[2][1] / 2) * eps2[k]
        of_p = gaussian.halves(model.p[2].forward(z2)[0])
        (mu, logvar), _ = gaussian.merge(*said[1], *of_p)
        z1 = mu + np.exp(logvar / 2) * eps1[k]
        log_p = gaussian.kl_standard(z2, np.zeros_like(z2))[0] * -1 - z2.shape[1] / 2 * gaussian.LOG_2PI
        expected = (log_p + gaussian.log_prob(z1, *of_p)[0] + model.likelihood.log_prob(x, model.p[1].forward(z1)[0])[0]
                    - gaussian.log_prob(z2, *said[2])[0] - gaussian.log_prob(z1, mu, logvar)[0])
        np.testing.assert_allclose(got[k], expected, rtol=1e-12)


def test_encode_comes_down_by_the_means(rng, x):
    model = make(3, rng)
    zero = [np.zeros((len(x), d)) for d in model.latent_dims]
    levels, said = model.encode(x), {t: gaussian.halves(m) for t, m in model.up(x).items()}
    np.testing.assert_array_equal(levels[2], said[3])
    for t in (2, 1):
        of_p = gaussian.halves(model.p[t + 1].forward(levels[t][0])[0])
        np.testing.assert_array_equal(levels[t - 1], gaussian.merge(*said[t], *of_p)[0])
    np.testing.assert_allclose(model.forward(x, zero)[0].reconstruction,
                               model.likelihood.log_prob(x, model.p[1].forward(levels[0][0])[0])[0], rtol=1e-12)
    np.testing.assert_array_equal(model.reconstruct(x, 2), model.decode(levels[1][0], 2))


@pytest.mark.parametrize("hidden_dims", [(5,), ()])
@pytest.mark.parametrize("T", [1, 3])
def test_precision_is_kept_from_end_to_end(T, hidden_dims, rng, x):
    model = TopDown(X_DIM, DIMS[T], hidden_dims)
    elbo, cache = model.forward(x.tolist(), [eps.tolist() for eps in model.draw_noise(len(x), rng)])
    dx = model.backward(elbo.loss_backward(), cache, input_gradient=True)
    assert elbo.total.dtype == dx.dtype == np.float32
    assert elbo.reconstruction.dtype == elbo.consistency.dtype == elbo.prior_matching.dtype == np.float32
    assert model.log_weight(x.astype(np.float32), 2, rng).dtype == model.encode(x.tolist())[-1][0].dtype == np.float32


def test_variances_beyond_what_an_exponential_can_hold(x):
    """In float32 exp(200) is infinite: the merge stays finite where the network trusts x wholly, or not at all."""
    for logvar in (-200.0, 200.0):
        model = TopDown(X_DIM, (4, 3), (5,))
        model.q[1].output.b[4:] = logvar
        elbo, cache = model.forward(x, model.draw_noise(len(x), np.random.default_rng(0)))
        model.backward(elbo.loss_backward(), cache)
        assert np.isfinite(elbo.total).all() and np.isfinite(model.gradient).all()
        assert (elbo.consistency == 0).all() if logvar > 0 else (elbo.consistency > 100).all()


# the exact answer --------------------------------------------------------------------------------

LADDERS = {1: (3,), 2: (4, 2), 3: (4, 3, 2), 4: (5, 4, 2, 1)}
every_ladder = pytest.mark.parametrize("T", LADDERS)


def ladder(T, seed=0):
    """A random linear-Gaussian hierarchy with top-down inference, and five x."""
    drawn = exact.linear_hvae(D, LADDERS[T], rng=seed)
    model = TopDown(D, LADDERS[T], (), likelihood=drawn.likelihood, dtype=np.float64)
    model.theta[:] = drawn.theta
    return model, np.random.default_rng(seed).normal(size=(5, D)) * 2


def at_posterior(T, seed=0):
    model, x = ladder(T, seed)
    exact.turn(model)
    exact.set_q(model, exact.measurements(model))
    return model, x


@every_ladder
@pytest.mark.parametrize("seed", range(3))
def test_bound_is_log_p_of_x_at_the_posterior(T, seed):
    """The merge is Bayes' rule: with the right measurements q is the posterior, and the ELBO log p(x), to 1e-10."""
    model, x = at_posterior(T, seed)
    log_p = exact.log_likelihood(model, x)
    reconstruction, kl = expected(model, x)
    np.testing.assert_allclose(reconstruction - kl.sum(axis=1), log_p, rtol=1e-10)
    assert (kl >= 0).all()


@every_ladder
def test_weight_is_constant_at_the_posterior(T):
    model, x = at_posterior(T)
    log_weight = model.log_weight(x, 100, np.random.default_rng(0))
    np.testing.assert_allclose(log_weight, np.tile(exact.log_likelihood(model, x), (100, 1)), rtol=0, atol=1e-10)
    np.testing.assert_allclose(model.log_likelihood(x, 1), exact.log_likelihood(model, x), rtol=0, atol=1e-10)


def joint_q(model, x):
    """Mean (n, d) and covariance (d, d) of all latents under q, from its draws at points: z is affine in the noise."""
    points = sigma_points(model)
    n = len(points[0])
    z = []
    for x_i in x:
        found = model.down(model.up(np.tile(x_i, (n, 1))), points)
        z.append(np.concatenate([found[t][0] for t in model.levels], axis=1))
    mean = np.array([z_i.mean(axis=0) for z_i in z])
    return mean, (z[0] - mean[0]).T @ (z[0] - mean[0]) / n


@every_ladder
def test_q_is_the_posterior_of_all_latents_together(T):
    model, x = at_posterior(T)
    for got, reference in zip(joint_q(model, x), joint_posterior(model, x)):
        np.testing.assert_allclose(got, reference, rtol=1e-9, atol=1e-10)


@every_ladder
def test_distance_to_the_evidence(T):
    """Elsewhere: log p(x) - ELBO = KL( q(z | x) || p(z | x) ), both normal, and above 0."""
    model, x = ladder(T)
    (mean_q, cov_q), (mean_p, cov_p) = joint_q(model, x), joint_posterior(model, x)
    diff, ratio = mean_q - mean_p, np.linalg.solve(cov_p, cov_q)
    gap = 0.5 * (np.trace(ratio) - len(ratio) - np.linalg.slogdet(ratio)[1]
                 + (diff * np.linalg.solve(cov_p, diff.T).T).sum(axis=1))
    reconstruction, kl = expected(model, x)
    np.testing.assert_allclose(exact.log_likelihood(model, x) - reconstruction + kl.sum(axis=1), gap, rtol=1e-9)
    assert (gap > 0).all()


@every_ladder
def test_measurements_say_all_that_x_says(T):
    """As a function of z_t, p(x | z_t) is N(m_t; z_t, C_t) up to a factor: posteriors from either are the same."""
    model, x = ladder(T)
    found, m = exact.measurements(model), x
    mean, cov = joint_posterior(model, x)
    start = 0
    for t, (W, b, C) in found.items():
        m = m @ W + b
        here = slice(start, start + len(C))
        start += len(C)
        if t == T:                                     # N(0, I) is merged with it
            np.testing.assert_allclose(m, mean[:, here], rtol=1e-9, atol=1e-10)
            np.testing.assert_allclose(C, cov[here, here], rtol=1e-9, atol=1e-10)
        else:
            prior_mean, prior = exact.marginals(model)[t]
            P = np.linalg.inv(np.linalg.inv(prior) + np.linalg.inv(C))
            np.testing.assert_allclose(P, cov[here, here], rtol=1e-9, atol=1e-10)
            np.testing.assert_allclose((prior_mean @ np.linalg.inv(prior) + m @ np.linalg.inv(C)) @ P, mean[:, here],
                                       rtol=1e-9, atol=1e-10)


def test_turned_axes_change_no_evidence():
    model, x = ladder(3)
    before, theta = exact.log_likelihood(model, x), model.theta.copy()
    exact.turn(model)
    assert not np.array_equal(model.theta, theta)
    np.testing.assert_allclose(exact.log_likelihood(model, x), before, rtol=1e-10)
    for t, (_, _, C) in exact.measurements(model).items():
        assert np.abs(C - np.diag(np.diag(C))).max() < 1e-10 * np.abs(C).max(), f"level {t}"


def test_what_has_no_such_answer_is_refused():
    model, x = ladder(2)
    with pytest.raises(ValueError, match=r"^q must run bottom up, as that of a VAE or an HVAE; that of a TopDown runs"):
        exact.elbo(model, x)
    with pytest.raises(ValueError, match=r"covariance of q\(z_1 \| z_0\) must be diagonal; see exact.turn"):
        exact.set_q(model, exact.measurements(model))
    model.p[1].output.W[0] = model.p[1].output.W[1]
    with pytest.raises(ValueError, match="^z_0 must depend on each column of z_1: the 4 rows of p1's W must be indep"):
        exact.measurements(model)


# evaluation --------------------------------------------------------------------------------------


def test_units_are_the_levels_of_one_draw(rng, x):
    """Each unit's KL sums to the level's; the means are those of q."""
    model = make(3, rng)
    mu, kl = units(model, x, np.random.default_rng(4))
    noise = model.draw_noise(len(x), np.random.default_rng(4))
    elbo, _ = model.forward(x, noise)
    np.testing.assert_allclose(np.column_stack([of_level.sum(axis=1) for of_level in kl]), elbo.kl, rtol=1e-12)
    found = model.down(model.up(x), noise)
    for t in model.levels:
        np.testing.assert_array_equal(mu[t - 1], gaussian.halves(found[t][1])[0])
        assert kl[t - 1].shape == (len(x), model.latent_dims[t - 1])


def test_evaluate_counts_active_units(x):
    """A level that x does not measure and p ignores is dead by both definitions."""
    model = TopDown(X_DIM, (4, 3), (5,), rng=1, dtype=np.float64)
    model.q[2].output.W[:] = 0
    model.q[1].output.W *= 3
    found = evaluate(model, x, n_samples=50, n_draws=100)
    assert found.active_units == [4, 0] and found.active_units_kl == [4, 0]
    np.testing.assert_allclose(found.kls[0].sum(), found.elbo.consistency.mean(), rtol=0.05)
    assert found.log_likelihood.mean() > found.elbo.total.mean()


def test_copies_and_seeds(x):
    model = TopDown(X_DIM, (4, 3), (5,), rng=3)
    twin = copy.deepcopy(model)
    for one in (model, twin):
        fit(one, x, epochs=3, rng=7)
    np.testing.assert_array_equal(model.theta, twin.theta)


def test_log_p_of_a_density():
    """multivariate_normal agrees with exact.log_likelihood here, too: the touchstone of this file is touched."""
    model, x = ladder(2)
    mean, cov = exact.marginals(model)[0]
    np.testing.assert_allclose(exact.log_likelihood(model, x), multivariate_normal(mean, cov).logpdf(x), rtol=1e-10)


def test_exact_answer_in_numbers():
    """MATH (12.6): x = z_1 + noise, z_1 = z_2 + noise, all of variance 1, at x = 3."""
    model = TopDown(1, (1, 1), (), likelihood=Gaussian(1, logvar=0.0), dtype=np.float64)
    model.theta[:] = 0
    model.p[1].output.W[:], model.p[2].output.W[:] = 1, [[1, 0]]
    exact.set_q(model, exact.measurements(model))
    (mu_1, logvar_1), (mu_2, logvar_2) = model.encode([[3.0]])
    np.testing.assert_allclose([mu_1[0, 0], logvar_1[0, 0]], [2, np.log(1 / 2)], rtol=1e-12)
    np.testing.assert_allclose([mu_2[0, 0], logvar_2[0, 0]], [1, np.log(2 / 3)], rtol=1e-12)
    log_p = -0.5 * (gaussian.LOG_2PI + np.log(3) + 3)
    assert log_p == pytest.approx(-2.968, abs=5e-4)
    np.testing.assert_allclose(model.log_weight(np.array([[3.0]]), 20, np.random.default_rng(0)), log_p, rtol=1e-12)


def test_the_consistency_part_has_one_form_the_exact_one(rng):
    model = make(3, rng)
    assert model.consistency == "exact" and isinstance(model.compare[1], KL)
    model.consistency = "exact"
    assert isinstance(model.compare[1], KL)
    with pytest.raises(ValueError, match="^consistency must be one of 'exact'; got 'printed'$"):
        model.consistency = "printed"
