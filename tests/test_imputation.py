"""Cells given the others: against the conditionals of a normal distribution, which a linear VAE's x has."""

import numpy as np
import pytest

from scratchvae import VAE, Gaussian, Mixed, TopDown
from scratchvae.train.imputation import fill, shares

D, K = 4, 20_000


@pytest.fixture
def linear():
    """Return a linear VAE with a fixed variance, and mean and covariance of its x."""
    model = VAE(D, 2, (), likelihood=Mixed([Gaussian(1, logvar=np.log(0.5))] * D, missing=True), dtype=float)
    rng = np.random.default_rng(0)
    W, b = rng.standard_normal((2, D)), rng.standard_normal(D)
    model.parameters["p1.dense1.W"][:], model.parameters["p1.dense1.b"][:] = W, b
    model.parameters["q1.dense1.W"][:] = 0             # q = p(z), which any row may have come from
    return model, b, W.T @ W + 0.5 * np.eye(D)


def conditional(x, mean, cov, v):
    """Return mean and variance of x_v given the others that are there."""
    rest = np.flatnonzero(~np.isnan(x) & (np.arange(D) != v))
    weights = np.linalg.solve(cov[np.ix_(rest, rest)], cov[rest, v])
    return mean[v] + weights @ (x[rest] - mean[rest]), cov[v, v] - weights @ cov[rest, v]


def rows(linear, n=5):
    _, mean, cov = linear
    x = np.random.default_rng(1).multivariate_normal(mean, cov, n)
    x[0, 1] = x[2, 3] = x[2, 0] = np.nan
    return x


def test_shares_are_the_conditionals_of_a_normal(linear):
    model, mean, cov = linear
    x = rows(linear)
    found = shares(model, x, K)
    for i, v in np.ndindex(x.shape):
        if np.isnan(x[i, v]):
            assert found[i, v] == 0
        else:
            m, s2 = conditional(x[i], mean, cov, v)
            assert found[i, v] == pytest.approx(-0.5 * (np.log(2 * np.pi * s2) + (x[i, v] - m) ** 2 / s2), abs=0.15)


def test_a_missing_cell_becomes_its_conditional_mean(linear):
    model, mean, cov = linear
    x = rows(linear)
    filled = fill(model, x, K)
    there = ~np.isnan(x)
    assert (filled[there] == x[there]).all()
    for i, v in np.argwhere(~there):
        assert filled[i, v] == pytest.approx(conditional(x[i], mean, cov, v)[0], abs=0.1)


def test_draws_spread_as_the_conditional_does(linear):
    model, mean, cov = linear
    x = np.tile(rows(linear)[:1], (2000, 1))
    drawn = fill(model, x, 300, draw=True)[:, 1]
    m, s2 = conditional(x[0], mean, cov, 1)
    assert drawn.mean() == pytest.approx(m, abs=0.1) and drawn.std() == pytest.approx(np.sqrt(s2), rel=0.1)


def test_the_model_keeps_its_likelihood_and_others_are_refused(linear):
    model, likelihood = linear[0], linear[0].likelihood
    with pytest.raises(ValueError, match="x must have shape"):
        shares(model, np.zeros((2, 3)))
    fill(model, rows(linear), 5)
    assert model.likelihood is likelihood
    with pytest.raises(ValueError, match="model must have a Mixed likelihood"):
        fill(VAE(4, 2, likelihood="gaussian"), np.zeros((2, 4)))


def test_several_levels_have_cells_too():
    model = TopDown(D, (3, 2), (4,), likelihood=Mixed([Gaussian(1)] * D, missing=True))
    x = np.array([[0.5, np.nan, 1, -1]])
    assert shares(model, x, 10).shape == (1, D) and np.isfinite(fill(model, x, 10)).all()
