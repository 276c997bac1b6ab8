"""One level of linear latents: the best q, and what training must reach (see test_exact.py for the tolerances)."""

import numpy as np
import pytest
from linear_gaussian import X_DIM, expected, linear_vae, repeat, sigma_points
from scipy.stats import multivariate_normal

from scratchvae import Adam, decay, evaluate, fit
from scratchvae.verify import exact


def test_best_posterior_of_a_linear_vae():
    """For any W the best diagonal q has mean M⁻¹ W (x - b) and variances s²/(|w_i|² + s²): there the gradient is 0."""
    vae = linear_vae()
    x = np.random.default_rng(0).normal(size=(5, X_DIM))
    W, b = vae.parameters["p1.dense1.W"], vae.parameters["p1.dense1.b"]
    M = W @ W.T + 0.5 * np.eye(3)
    best = exact.best_posterior(vae)
    exact.set_q(vae, {1: best})
    np.testing.assert_allclose(x @ best.W + best.b, (x - b) @ W.T @ np.linalg.inv(M), rtol=1e-10)
    np.testing.assert_allclose(best.cov, np.diag(0.5 / ((W * W).sum(axis=1) + 0.5)), rtol=1e-10)
    rows, noise, _ = repeat(x, sigma_points(vae))
    elbo, cache = vae.forward(rows, noise)
    vae.backward(elbo.loss_backward(), cache)                         # the gradient of the expected bound
    for name in ("q1.dense1.W", "q1.dense1.b"):
        assert np.abs(vae.gradients[name]).max() < 1e-12, name
    assert np.abs(vae.gradients["p1.dense1.W"]).max() > 0.1           # this W itself is not the best
    maximum = exact.elbo(vae, x).total
    for _ in range(20):                                               # and it is a maximum, not another flat place
        other = exact.Affine(best.W + 0.1 * np.random.default_rng(1).normal(size=best.W.shape), best.b,
                             best.cov * np.diag(np.exp(0.1 * np.random.default_rng(2).normal(size=3))))
        exact.set_q(vae, {1: other})
        assert (exact.elbo(vae, x).total < maximum).all()


@pytest.mark.parametrize("seed", range(5))
def test_gap_at_the_best_posterior(seed):
    """There log p(x) - ELBO = (1/2)( Σ log M_ii - log det M ) for every x, and 0 where W's rows are orthogonal."""
    vae = linear_vae(seed)
    x = np.random.default_rng(seed).normal(size=(5, X_DIM))
    for turned in (False, True):
        if turned:
            exact.turn(vae)
        W = vae.parameters["p1.dense1.W"]
        M = W @ W.T + 0.5 * np.eye(3)
        exact.set_q(vae, {1: exact.best_posterior(vae)})
        distance = exact.log_likelihood(vae, x) - exact.elbo(vae, x).total
        np.testing.assert_allclose(distance, exact.gap(vae), rtol=0, atol=1e-10)
        np.testing.assert_allclose(distance, 0.5 * (np.log(np.diag(M)).sum() - np.log(np.linalg.det(M))), atol=1e-10)
        assert abs(exact.gap(vae)) < 1e-12 if turned else exact.gap(vae) > 0.01


def test_vae_at_its_posterior():
    """With orthogonal rows the posterior is within reach: log p(x, z) - log q(z | x) and the ELBO are log p(x)."""
    vae = linear_vae()
    exact.turn(vae)
    exact.set_q(vae, exact.posterior(vae))
    x = np.random.default_rng(0).normal(size=(5, X_DIM))
    log_p = exact.log_likelihood(vae, x)
    log_weight = vae.log_weight(x, 100, np.random.default_rng(0))
    np.testing.assert_allclose(log_weight, np.tile(log_p, (100, 1)), rtol=0, atol=1e-10)
    np.testing.assert_allclose(vae.log_likelihood(x, 7), log_p, rtol=0, atol=1e-10)
    reconstruction, kl = expected(vae, x)
    np.testing.assert_allclose(reconstruction - kl[:, 0], log_p, rtol=1e-10)


EIGENVALUES = np.array([6.0, 3.0, 1.5, 0.6, 0.4])


def pca_data():
    """200 points whose covariance has exactly these eigenvalues."""
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(200, 5))
    white = np.linalg.qr(raw - raw.mean(axis=0))[0] * np.sqrt(200)    # covariance I
    rotation = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    return white * np.sqrt(EIGENVALUES) @ rotation + rng.normal(size=5)


@pytest.mark.parametrize("s2", [None, 1.0, 4.0])
def test_optimum_of_probabilistic_pca(s2):
    """w_i = √(l_i - s²) u_i, or 0 if l_i < s², maximises the likelihood; its value has the printed closed form."""
    x = pca_data()
    (W, b, cov), maximum = exact.ppca(x, 3, s2)

    def mean_log_p(W, b, cov):
        return multivariate_normal(b, W.T @ W + cov).logpdf(x).mean()

    np.testing.assert_allclose(mean_log_p(W, b, cov), maximum, rtol=1e-10)
    if s2 is None:                                                    # then every l_i counts: Tipping and Bishop's form
        np.testing.assert_allclose(cov, 0.5 * np.eye(5), rtol=1e-10)
        printed = -0.5 * (5 * np.log(2 * np.pi) + np.log(EIGENVALUES[:3]).sum() + 2 * np.log(0.5) + 5)
        np.testing.assert_allclose(maximum, printed, rtol=1e-10)
        assert maximum > max(mean_log_p(W, b, s * cov) for s in (0.99, 1.01))
    rng = np.random.default_rng(1)
    for size in (0.03, 0.3, 3):
        for _ in range(20):
            assert mean_log_p(W + size * rng.normal(size=W.shape), b, cov) < maximum
            assert mean_log_p(W, b + size * rng.normal(size=b.shape), cov) < maximum


@pytest.mark.parametrize("k, s2, active", [(3, None, 3), (4, 1.0, 3), (4, 2.0, 2), (4, 4.0, 1), (4, 7.0, 0)])
def test_trained_linear_vae_reaches_the_optimum(k, s2, active):
    """The ELBO of a linear VAE has its maximum at probabilistic PCA, with a latent off for each l_i < s² (Lucas 2019).

    s² is fixed: at its best value, the mean of the l_i left over, or larger.
    "Reaches" is to within 0.002 nats per point, for log p(x) and for the ELBO.
    """
    x = pca_data()
    (W, _, cov), maximum = exact.ppca(x, k, s2)
    assert W.any(axis=1).sum() == active
    s2 = cov[0, 0]
    vae = linear_vae(0, k, s2, D=5)
    epochs = 3000
    fit(vae, x, epochs=epochs, batch_size=len(x), optimizer=Adam(), learning_rate=decay(0.2, 1e-4, epochs))
    reached = exact.log_likelihood(vae, x).mean()
    assert maximum - 0.002 < reached <= maximum + 1e-10
    reconstruction, kl = expected(vae, x)                             # one latent level: exact for any logvar(x)
    assert maximum - 0.002 < (reconstruction - kl[:, 0]).mean() <= maximum + 1e-10
    assert evaluate(vae, x, n_samples=1, n_draws=1).active_units == [active]
    mu, logvar = vae.encode(x)
    kl_of_unit = (0.5 * (np.expm1(logvar) - logvar + mu * mu)).mean(axis=0)
    in_theory = 0.5 * np.log(np.maximum(EIGENVALUES[:k] / s2, 1))     # (1/2) log(l_i / s²), or 0
    np.testing.assert_allclose(np.sort(kl_of_unit)[::-1], in_theory, atol=0.02)


def test_no_optimum_without_a_remainder():
    """With k = D nothing is left over to set s² by, and s² = 0 has no density: both are refused."""
    with pytest.raises(ValueError, match="k must be a whole number from 1 to 4"):
        exact.ppca(pca_data(), 5)
    with pytest.raises(ValueError, match="s2 must be a number in"):
        exact.ppca(pca_data(), 2, s2=0.0)
