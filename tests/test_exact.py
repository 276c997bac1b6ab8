"""Where every integral has a closed form, the library's numbers are the closed form's.

Run them, and those of test_exact_ppca.py and test_exact_consistency.py, with
``pytest -k exact``.  Each test says in one sentence which theorem it holds the
library to.  Three kinds of comparison occur:

- *exact against exact*, two routes to one number: 1e-10, which leaves room for
  the rounding of a matrix inverse and for nothing else;
- *the library's own expectation*, by `expected`, also to 1e-10: not sampled, see there;
- *the library's own samples*, within Z standard errors.
"""

import numpy as np
import pytest
from linear_gaussian import (DIMS, X_DIM, Z, at_posterior, both_forms, chain, every_T, expected, joint, joint_posterior,
                             joint_q, linear_vae, near_posterior)
from scipy.stats import multivariate_normal

from scratchvae import HVAE, VAE, Adam, Gaussian, fit, gaussian
from scratchvae.verify import exact

# The evidence and the posterior -----------------------------------------------------------------


@every_T
def test_evidence(T):
    """x = z_0 is a part of a jointly normal vector, so p(x) is a normal density (Bishop 2006, equation 2.115)."""
    model, x = chain(T)
    mean, cov, at = joint(model)
    reference = multivariate_normal(mean[at[0]], cov[at[0], at[0]]).logpdf(x)
    np.testing.assert_allclose(exact.log_likelihood(model, x), reference, rtol=1e-10)


def test_evidence_of_a_vae_and_of_unequal_variances():
    """The same with T = 1 written as a VAE, and with a variance of its own in every column."""
    vae = linear_vae()
    W, b = vae.parameters["p1.dense1.W"], vae.parameters["p1.dense1.b"]
    x = np.random.default_rng(0).normal(size=(5, X_DIM))
    reference = multivariate_normal(b, W.T @ W + 0.5 * np.eye(X_DIM)).logpdf(x)
    np.testing.assert_allclose(exact.log_likelihood(vae, x), reference, rtol=1e-10)

    model = HVAE(X_DIM, DIMS[3], (), likelihood="gaussian", dtype=np.float64)
    model.p[1].output.W[:, X_DIM:] = 0                                # the likelihood's logvar: a constant
    for network in model.networks.values():
        network.output.b[:] = np.random.default_rng(1).normal(size=network.output.b.shape)
    mean, cov, at = joint(model)
    reference = multivariate_normal(mean[at[0]], cov[at[0], at[0]]).logpdf(x)
    np.testing.assert_allclose(exact.log_likelihood(model, x), reference, rtol=1e-10)
    mean, cov = joint_q(exact.posterior(model), x)
    np.testing.assert_allclose(mean, joint_posterior(model, x)[0], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(cov, joint_posterior(model, x)[1], rtol=1e-10, atol=1e-10)


@every_T
def test_posterior_is_a_chain_that_runs_bottom_up(T):
    """A Markov chain read backwards is one: p(z_1, ..., z_T | x) = Πₜ p(z_t | z_{t-1})."""
    model, x = chain(T)
    mean, cov = joint_q(exact.posterior(model), x)
    reference_mean, reference_cov = joint_posterior(model, x)
    np.testing.assert_allclose(mean, reference_mean, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(cov, reference_cov, rtol=1e-10, atol=1e-10)


@every_T
def test_turned_axes(T):
    """N(0, I) looks the same from all sides: turning every z_t changes no p(x), and makes the posterior diagonal."""
    model, x = chain(T)
    before = exact.log_likelihood(model, x)
    theta = model.theta.copy()
    exact.turn(model)
    assert not np.array_equal(model.theta, theta)
    np.testing.assert_allclose(exact.log_likelihood(model, x), before, rtol=1e-10)
    for t, post in exact.posterior(model).items():
        off_diagonal = post.cov - np.diag(np.diag(post.cov))
        assert np.abs(off_diagonal).max() < 1e-12, f"level {t}"


@every_T
def test_identity_that_the_story_starts_from(T):
    """p(x) = p(x, z) / p(z | x), whichever z one puts in."""
    model, x = chain(T)
    mean, cov, _ = joint(model)
    mean_z, cov_z = joint_posterior(model, x)
    z = 3 * np.random.default_rng(1).normal(size=(20, sum(DIMS[T])))  # anywhere: likely under p(z | x) or not
    for i, x_i in enumerate(x):
        log_joint = multivariate_normal(mean, cov).logpdf(np.column_stack([np.tile(x_i, (20, 1)), z]))
        log_posterior = multivariate_normal(mean_z[i], cov_z).logpdf(z)
        np.testing.assert_allclose(log_joint - log_posterior, exact.log_likelihood(model, x[i:i + 1])[0], rtol=1e-10)


def test_identity_through_the_librarys_densities():
    """The same for a VAE, p(x, z) from the library's own p(x | z) and p(z)."""
    vae = linear_vae()
    x, z = np.random.default_rng(0).normal(size=(1, X_DIM)), 2 * np.random.default_rng(1).normal(size=(20, 3))
    log_x_given_z, _ = vae.likelihood.log_prob(x, vae.p.forward(z)[0])
    log_z, _ = gaussian.log_prob(z, np.zeros_like(z), np.zeros_like(z))
    G, g, P = exact.posterior(vae)[1]
    log_z_given_x = multivariate_normal((x @ G + g)[0], P).logpdf(z)
    np.testing.assert_allclose(log_x_given_z + log_z - log_z_given_x, exact.log_likelihood(vae, x)[0], rtol=1e-10)


# At the exact posterior -------------------------------------------------------------------------


@every_T
def test_weight_is_constant_at_the_posterior(T):
    """If q(z | x) = p(z | x) then log p(x, z) - log q(z | x) is log p(x), for every z that is drawn."""
    model, x = at_posterior(T)
    log_weight = model.log_weight(x, 100, np.random.default_rng(0))
    np.testing.assert_allclose(log_weight, np.tile(exact.log_likelihood(model, x), (100, 1)), rtol=0, atol=1e-10)


@every_T
@pytest.mark.parametrize("n_samples", [1, 2, 7, 100])
def test_importance_sampling_is_exact_at_the_posterior(T, n_samples):
    """So the importance-weighted estimate is log p(x) for any number of samples."""
    model, x = at_posterior(T)
    np.testing.assert_allclose(model.log_likelihood(x, n_samples), exact.log_likelihood(model, x), rtol=0, atol=1e-10)


@every_T
def test_bound_is_tight_at_the_posterior(T):
    """So the ELBO, with its entropies and its KL in closed form and the rest sampled, is log p(x) on average."""
    model, x = at_posterior(T)
    log_p = exact.log_likelihood(model, x)
    reconstruction, kl = expected(model, x)
    np.testing.assert_allclose(reconstruction - kl.sum(axis=1), log_p, rtol=1e-10)
    np.testing.assert_allclose(exact.elbo(model, x).total, log_p, rtol=1e-10)


# The bound elsewhere ----------------------------------------------------------------------------


@every_T
@both_forms
def test_bound_in_closed_form(T, form):
    """E_q of a quadratic needs only mean and covariance, and these follow from "variances add", level by level."""
    model, x = chain(T, form=form)
    bound = exact.elbo(model, x)
    reconstruction, kl = expected(model, x)
    np.testing.assert_allclose(bound.reconstruction, reconstruction, rtol=1e-10)
    np.testing.assert_allclose(bound.kl, kl, rtol=1e-10)


@every_T
@both_forms
def test_samples_average_to_the_closed_form(T, form):
    """One draw of the noise gives an unbiased estimate of every part of the bound."""
    model, x = chain(T, form=form)
    n = 20_000
    bound, _ = model.forward(np.tile(x[:1], (n, 1)), model.draw_noise(n, np.random.default_rng(0)))
    truth = exact.elbo(model, x[:1])
    for name, drawn, true in (("reconstruction", bound.reconstruction[:, None], truth.reconstruction[:, None]),
                              ("kl", bound.kl, truth.kl), ("total", bound.total[:, None], truth.total[:, None])):
        error = np.abs(drawn.mean(axis=0) - true[0])
        assert (error <= Z * drawn.std(axis=0) / np.sqrt(n) + 1e-10).all(), name    # a KL at T = 1 has no error at all


@every_T
def test_distance_to_the_evidence(T):
    """log p(x) - ELBO = KL( q(z | x) || p(z | x) ), which is never negative."""
    for seed in range(10):
        model, x = chain(T, seed)
        mean_q, cov_q = joint_q(exact.inference(model), x)
        mean_p, cov_p = joint_posterior(model, x)
        diff, ratio = mean_q - mean_p, np.linalg.solve(cov_p, cov_q)
        kl = 0.5 * (np.trace(ratio) - len(ratio) - np.linalg.slogdet(ratio)[1]
                    + (diff * np.linalg.solve(cov_p, diff.T).T).sum(axis=1))
        distance = exact.log_likelihood(model, x) - exact.elbo(model, x).total
        np.testing.assert_allclose(distance, kl, rtol=1e-9)           # a difference of larger numbers
        assert (kl > 0).all()


@pytest.mark.parametrize("T", [1, 3])
def test_importance_weighted_bound_rises_to_the_evidence(T):
    """L_K = E[ log (1/K) Σ w_k ] <= L_{K+1} <= log p(x), and L_K → log p(x) (Burda et al. 2016, theorem 1)."""
    model, x = near_posterior(T)
    log_p = exact.log_likelihood(model, x)[0]
    log_w = model.log_weight(np.tile(x, (4000, 1)), 128, np.random.default_rng(0))
    estimates = {K: (np.logaddexp.reduce(log_w.reshape(-1, K, 4000), axis=1) - np.log(K)).mean(axis=0)
                 for K in (1, 2, 4, 16, 128)}                         # of 128/K groups of K, their mean
    library = model.log_likelihood(np.tile(x, (4000, 1)), 128, np.random.default_rng(0))
    error = {K: e.std() / np.sqrt(len(e)) for K, e in estimates.items()}
    L = {K: e.mean() for K, e in estimates.items()}
    assert abs(L[1] - exact.elbo(model, x).total[0]) < Z * error[1], "the bound of one sample is the ELBO"
    for few, many in zip((1, 2, 4, 16), (2, 4, 16, 128)):
        rise = estimates[many] - estimates[few]                       # the same draws: by Jensen, never negative
        assert rise.min() > -1e-12 and rise.mean() > Z * rise.std() / np.sqrt(len(rise)), f"from K = {few} to {many}"
    assert all(L[K] < log_p + Z * error[K] for K in L)
    assert log_p - L[1] > 20 * abs(log_p - L[128]), "the distance must be all but closed at K = 128"
    assert abs(library.mean() - log_p) < log_p - L[16], "log_likelihood must come closer than 16 samples do"
    ratio = np.exp(library - log_p)                                   # unbiased, unlike its logarithm
    assert abs(ratio.mean() - 1) < Z * ratio.std() / np.sqrt(len(ratio))


def curved(form, seed):
    """A hierarchy of one latent per level, nonlinear, with black and white pixels; all eight x of three pixels."""
    model = HVAE(3, (1, 1), (5,), consistency=form, rng=seed, dtype=np.float64)
    x = np.array([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)], float)
    fit(model, x[[0, 0, 0, 1, 3, 7, 7, 7]], epochs=300, optimizer=Adam(0.03), rng=seed)    # or q is far off
    for q in model.q.values():
        q.output.b[1] += np.log(4)                                    # wide, so that no weight is huge
    return model, x


def evidence_by_quadrature(model, x, low=-40, high=40, n=4001):
    """log p(x) = log ∫∫ p(z_2) p(z_1 | z_2) p(x | z_1): the trapezoid rule, whose error for such integrands
    falls faster than any power of the step."""
    z2 = np.linspace(-9, 9, 721)[:, None]
    z1 = np.linspace(low, high, n)[:, None]
    mu, logvar = gaussian.halves(model.p[2].forward(z2)[0])
    log_z2 = gaussian.log_prob(z2, np.zeros_like(z2), np.zeros_like(z2))[0] + np.log(z2[1, 0] - z2[0, 0])
    log_z1 = np.logaddexp.reduce(
        log_z2[:, None] - 0.5 * (gaussian.LOG_2PI + logvar + (z1.T - mu) ** 2 / np.exp(logvar)), axis=0)
    logits = model.p[1].forward(z1)[0]
    log_x = np.array([model.likelihood.log_prob(np.tile(x_i, (n, 1)), logits)[0] for x_i in x])
    return np.logaddexp.reduce(log_x + log_z1 + np.log(z1[1, 0] - z1[0, 0]), axis=1)


@pytest.mark.parametrize("seed", range(3))
def test_nonlinear_hierarchy_against_quadrature(seed):
    """Beyond linear models too, both forms bound log p(x), and importance sampling finds it."""
    model, x = curved("exact", seed)
    log_p = evidence_by_quadrature(model, x)
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=1e-10, err_msg="p(x) over all x")
    n = 20_000
    weights = np.exp(model.log_weight(x, n, np.random.default_rng(0)) - log_p)
    assert (np.abs(weights.mean(axis=0) - 1) < Z * weights.std(axis=0) / np.sqrt(n)).all(), "E_q[ p(x, z) / q(z | x) ]"
    rows = np.repeat(x, 4000, axis=0)
    for form in ("exact", "printed"):
        model.consistency = form
        total = model.forward(rows, model.draw_noise(len(rows), np.random.default_rng(0)))[0].total.reshape(8, -1)
        assert (total.mean(axis=1) < log_p + Z * total.std(axis=1) / np.sqrt(4000)).all(), form


# What a reader may do wrong ---------------------------------------------------------------------


def test_set_q_is_the_inverse_of_inference():
    """What is written into a model is read again."""
    model, _ = chain(3)
    q = exact.inference(model)
    theta = model.theta.copy()
    exact.set_q(model, q)
    np.testing.assert_allclose(model.theta, theta, rtol=1e-14, atol=1e-15)


def test_models_without_a_closed_form_are_refused():
    """One clear sentence, which names what is wrong."""
    with pytest.raises(ValueError, match="likelihood must be Gaussian"):
        exact.log_likelihood(VAE(4, 2, ()), np.zeros((1, 4)))
    with pytest.raises(ValueError, match="p1 must be affine: .*hidden_dims="):
        exact.log_likelihood(VAE(4, 2, (3,), likelihood=Gaussian(4, logvar=0.0)), np.zeros((1, 4)))
    with pytest.raises(ValueError, match="logvar of p1 must be a constant"):
        exact.log_likelihood(VAE(4, 2, (), likelihood="gaussian"), np.zeros((1, 4)))
    model, x = chain(2)
    with pytest.raises(ValueError, match=r"x must have shape \(n, 6\)"):
        exact.elbo(model, x[:, 1:])
    with pytest.raises(ValueError, match=r"covariance of q\(z_1 \| z_0\) must be diagonal; see exact.turn"):
        exact.set_q(model, exact.posterior(model))
    model.p[2].output.b[-1] += 1
    with pytest.raises(ValueError, match=r"p\(z_1 \| z_2\) must have one variance for all columns"):
        exact.turn(model)
