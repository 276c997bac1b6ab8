"""A table of mixed columns and missing cells: against the sum of its parts, an integral, and the complex step."""

import copy
import pickle

import numpy as np
import pytest

from scratchvae import (HVAE, VAE, Autoencoder, Bernoulli, Categorical, Diffusion, Gaussian, LogNormal, Mixed, Poisson,
                        TopDown, evaluate, fit)
from scratchvae.verify.gradcheck import check_function, check_layer, check_model

G, FIXED, P, B, C = Gaussian(1), Gaussian(1, logvar=-0.7), Poisson(1), Bernoulli(1), Categorical(3)
PARTS = [G, C, P, G, B, FIXED, C, P, LogNormal(1)]                   # objects that occur twice, and are not neighbours


def table(rng, n=7, missing=0.0):
    """Return a likelihood and rows drawn from it, with missing cells."""
    likelihood = Mixed(PARTS, missing=missing > 0)
    x = likelihood.sample(rng.standard_normal((n, likelihood.n_outputs)), rng)
    start = 0
    for part in PARTS:
        x[rng.random(n) < missing, start:start + part.x_dim] = np.nan
        start += part.x_dim
    return likelihood, x


def test_columns_are_those_of_the_parts():
    likelihood = Mixed(PARTS)
    assert (likelihood.x_dim, likelihood.n_outputs) == (13, 2 + 3 + 1 + 2 + 1 + 1 + 3 + 1 + 2)
    assert len(likelihood.groups) == 6


@pytest.mark.parametrize("missing", [0, 0.3])
@pytest.mark.parametrize("method", ["complex", "central"])
def test_gradients(rng, agrees, method, missing):
    likelihood, x = table(rng, missing=missing)
    h = rng.standard_normal((len(x), likelihood.n_outputs))
    agrees(check_function(lambda h: likelihood.log_prob(x, h),
                          lambda dlog_prob, cache: likelihood.log_prob_backward(dlog_prob, cache)[1], h, method=method))
    if not missing:
        agrees(check_function(likelihood.log_prob, likelihood.log_prob_backward, x, h, method=method))


@pytest.mark.parametrize("missing", [0, 0.3])
@pytest.mark.parametrize("make", [VAE, HVAE, TopDown, Autoencoder])
def test_gradients_of_models(rng, agrees, make, missing):
    """By x as well: 0 by a cell that is missing, in what q sees and in log p(x | z)."""
    likelihood, x = table(rng, missing=missing)
    latents = (2, 2) if make in (HVAE, TopDown) else 2
    model = make(likelihood.x_dim, latents, (3,), likelihood=likelihood, rng=rng)
    model.theta += 0.01 * rng.standard_normal(model.theta.size)
    agrees(check_model(model, x))


def test_gradients_of_what_q_sees(rng, agrees):
    likelihood, x = table(rng)
    agrees(check_layer(likelihood.first_layer, x))
    dy = np.ones(x.shape)
    likelihood.first_layer.backward(dy, likelihood.first_layer.forward(x)[1])
    assert (dy == 1).all(), "backward has changed what it was given"


def test_log_prob_is_the_sum_over_the_cells_that_are_there(rng):
    likelihood, x = table(rng, missing=0.3)
    h = rng.standard_normal((len(x), likelihood.n_outputs))
    expected, at_x, at_h = np.zeros(len(x)), 0, 0
    for part in PARTS:
        cells, of_h = x[:, at_x:at_x + part.x_dim], h[:, at_h:at_h + part.n_outputs]
        there = ~np.isnan(cells).any(axis=1)
        expected[there] += part.log_prob(cells[there], of_h[there])[0]
        at_x, at_h = at_x + part.x_dim, at_h + part.n_outputs
    np.testing.assert_allclose(likelihood.log_prob(x, h)[0], expected, rtol=1e-13)
    assert 0 < np.isnan(x).mean() < 1


def test_a_missing_cell_is_integrated_out(rng):
    """Σ p(x) over all that a missing kind and a missing count may be is exp(log_prob) without them."""
    likelihood = Mixed([G, C, P], missing=True)
    h = rng.standard_normal((1, likelihood.n_outputs))
    every = np.array([[0.3, *kind, count] for kind in np.eye(3) for count in range(100)])
    total = np.exp(likelihood.log_prob(every, np.repeat(h, len(every), axis=0))[0]).sum()
    gone = np.array([[0.3, *[np.nan] * 4]])
    np.testing.assert_allclose(np.exp(likelihood.log_prob(gone, h)[0]), total, rtol=1e-12)


def test_the_bound_of_a_linear_gaussian_vae_without_a_column_is_that_of_the_others(rng):
    """log p(x_there) of p(x | z) = N(Wz + b, σ²): the multivariate normal of the columns that are there."""
    from scipy import stats
    model = VAE(3, 2, (), likelihood=Mixed([FIXED] * 3, missing=True), dtype=np.float64, rng=rng)
    W, b = model.parameters["p1.dense1.W"], model.parameters["p1.dense1.b"]
    x = np.array([[0.5, np.nan, -1.0]])
    exact = stats.multivariate_normal(b, W.T @ W + np.exp(-0.7) * np.eye(3))
    kept = stats.multivariate_normal(b[[0, 2]], exact.cov[np.ix_([0, 2], [0, 2])]).logpdf(x[0, [0, 2]])
    np.testing.assert_allclose(model.log_likelihood(x, 200_000, max_rows=50_000), kept, atol=0.02)


def test_what_stands_behind_nan_has_no_effect(rng):
    """The bound is the same whichever columns of a missing kind are NaN, and its gradient by x is 0 there."""
    likelihood, x = table(rng, missing=0.3)
    model = VAE(likelihood.x_dim, 2, (3,), likelihood=likelihood, rng=rng, dtype=np.float64)
    elbo, cache = model.forward(x, np.zeros((len(x), 2)))
    dx = model.backward(elbo.loss_backward(), cache, input_gradient=True)
    assert np.isnan(x).any() and (dx[np.isnan(x)] == 0).all() and np.isfinite(dx).all()
    assert np.isfinite(model.gradient).all()


def test_a_kind_is_missing_if_one_of_its_columns_is(rng):
    likelihood = Mixed([C, G], missing=True)
    h = rng.standard_normal((1, likelihood.n_outputs))
    one, all_of_it = [[np.nan, 1.0, 0.0, 0.5]], [[np.nan, np.nan, np.nan, 0.5]]
    assert likelihood.log_prob(np.array(one), h)[0] == likelihood.log_prob(np.array(all_of_it), h)[0]


def test_q_sees_zeros_and_logarithms_of_counts():
    layer = Mixed([G, P, C], missing=True).first_layer
    y, _ = layer.forward(np.array([[np.nan, 3.0, 0, 1, 0], [2.0, np.nan, np.nan, np.nan, np.nan]]))
    np.testing.assert_allclose(y, [[0, np.log(4), 0, 1, 0], [2, 0, 0, 0, 0]])


def test_one_object_for_all_is_the_likelihood_of_all(rng):
    """[Gaussian(1)] * 4 against Gaussian(4), whose h has all of mu before all of logvar."""
    x, h = rng.standard_normal((6, 4)), rng.standard_normal((6, 4, 2))
    side_by_side = np.concatenate([h[..., 0], h[..., 1]], axis=1)
    np.testing.assert_allclose(Mixed([G] * 4).log_prob(x, h.reshape(6, 8))[0],
                               Gaussian(4).log_prob(x, side_by_side)[0], rtol=1e-13)


def test_mean_sample_and_bias_are_those_of_the_parts(rng):
    likelihood, x = table(rng, 5000)
    x_mean = x.mean(axis=0)
    h = np.tile(likelihood.bias(x_mean), (20_000, 1))
    np.testing.assert_allclose(likelihood.mean(h)[0], x_mean, rtol=1e-6)
    drawn = likelihood.sample(h, rng)
    likelihood.check_support(drawn)
    assert (abs(drawn.mean(axis=0) - x_mean) < 5 * drawn.std(axis=0) / np.sqrt(len(drawn)) + 1e-12).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_is_kept(rng, dtype):
    likelihood, x = table(rng, missing=0.3)
    x, h = x.astype(dtype), rng.standard_normal((len(x), likelihood.n_outputs), dtype)
    log_p, cache = likelihood.log_prob(x, h)
    arrays = [log_p, *likelihood.log_prob_backward(log_p, cache), likelihood.mean(h), likelihood.sample(h, rng)]
    assert {array.dtype for array in arrays} == {np.dtype(dtype)}


def test_sums_run_over_the_last_axis(rng):
    likelihood, x = table(rng, missing=0.3)
    h = rng.standard_normal((2, len(x), likelihood.n_outputs))
    np.testing.assert_allclose(likelihood.log_prob(x, h)[0], [likelihood.log_prob(x, each)[0] for each in h],
                               rtol=1e-13)


@pytest.mark.parametrize("make", [VAE, HVAE, TopDown])
def test_a_model_is_trained_evaluated_and_copied(rng, make):
    likelihood, x = table(rng, 60, missing=0.2)
    model = make(likelihood.x_dim, (2, 2) if make is not VAE else 2, (4,), likelihood=likelihood,
                 x_mean=np.nanmean(x, axis=0))
    history = fit(model, x, epochs=5, x_valid=x, learning_rate=0.01)
    assert history["elbo"][-1] > history["elbo"][0]
    assert np.isfinite(evaluate(model, x, n_samples=5).log_likelihood).all()
    assert model.reconstruct(x).shape == model.sample(len(x)).shape == x.shape
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), model.astype(np.float32)):
        noise = model.draw_noise(len(x), np.random.default_rng(0))
        np.testing.assert_array_equal(twin.forward(x, noise)[0].total, model.forward(x, noise)[0].total)


@pytest.mark.parametrize("make, says", [
    (lambda: Mixed([]), "parts must be a list of likelihoods"),
    (lambda: Mixed(G), "parts must be a list of likelihoods"),
    (lambda: Mixed([Gaussian]), r"parts\[0\] must be an object, such as Gaussian\(1\)"),
    (lambda: Mixed(["gaussian"]), r"parts\[0\] must be an object"),
    (lambda: Mixed([G], missing=1), "missing must be True"),
    (lambda: Mixed([Gaussian(10**9, logvar=0)] * 2), "x_dim, the columns of all parts, must be a whole number from 1"),
    (lambda: Diffusion(3, likelihood=Mixed([C])), "likelihood must be Bernoulli or Gaussian for a diffusion"),
    (lambda: VAE(4, 2, likelihood=Mixed([C])), "likelihood is over 3 columns, but x_dim is 4"),
])
def test_settings_that_cannot_work_are_refused(make, says):
    with pytest.raises(ValueError, match=f"^{says}"):
        make()


@pytest.mark.parametrize("x, says", [
    ([[0.5, 1, 0, 0, 1.5]], r"x\[:, 4\] must be whole numbers for a Poisson"),
    ([[0.5, 1, 1, 0, 1]], r"x\[:, 1:4\] must have one 1 among the 3 columns"),
    ([[0.5, np.nan, 1, 0, -1]], r"x\[:, 4\] must not be below 0"),
    ([[0.5, np.nan, 1, 0, 1], [0.5, 1, 1, 0, 1]], r"x\[:, 1:4\] must have one 1 among the 3 columns"),
    ([[np.inf, 1, 0, 0, 1]], "x must be finite; it has infinite values"),
])
def test_a_column_that_its_likelihood_does_not_take_is_named(x, says):
    with pytest.raises(ValueError, match=f"^{says}"):
        VAE(5, 2, likelihood=Mixed([G, C, P], missing=True)).check_x(x)


def test_the_column_of_a_mean_is_named():
    with pytest.raises(ValueError, match=r"^x_mean\[4\] must not be below 0"):
        VAE(5, 2, likelihood=Mixed([G, C, P]), x_mean=[0.5, 0.2, 0.3, 0.5, -1])


def test_means_of_several_h_for_each_row(rng):
    likelihood = Mixed(PARTS)
    h = rng.standard_normal((2, 3, likelihood.n_outputs))
    np.testing.assert_array_equal(likelihood.mean(h), [likelihood.mean(rows) for rows in h])


def test_missing_cells_are_refused_unless_they_are_asked_for():
    with pytest.raises(ValueError, match="^x must be finite; it has NaN or infinite values$"):
        VAE(2, 2, likelihood=Mixed([G, P])).check_x([[np.nan, 1]])


def test_the_first_layer_of_a_table_stands_before_the_network_that_sees_x():
    model = VAE(3, 2, (4,), likelihood=Mixed([G, P, G], missing=True))
    assert list(model.q.layers)[:2] == ["first", "dense1"] and list(model.p.layers)[0] == "dense1"
    assert "first" not in VAE(3, 2, (4,)).q.layers
