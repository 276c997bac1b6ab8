"""Where every integral has a closed form, the library's numbers are the closed form's.

Run them with ``pytest -k exact``.  Each test says in one sentence which theorem
it holds the library to.  Three kinds of comparison occur:

- *exact against exact*, two routes to one number: 1e-10, which leaves room for
  the rounding of a matrix inverse and for nothing else;
- *the library's own expectation*, by `expected`, also to 1e-10: not sampled, see there;
- *the library's own samples*, within Z standard errors.
"""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from scratchvae import HVAE, VAE, Adam, Gaussian, decay, evaluate, exact, fit, gaussian

DIMS = {1: (3,), 2: (4, 2), 3: (3, 4, 2), 4: (2, 3, 3, 1), 5: (4, 3, 2, 2, 3)}     # latents for T = 1, ..., 5
X_DIM = 6
Z = 4.5                                                # standard errors: a chance of 7e-6 for a true statement to fail
every_T = pytest.mark.parametrize("T", DIMS)
both_forms = pytest.mark.parametrize("form", ["sampled", "analytic"])


def chain(T, seed=0, form="sampled"):
    """A random linear-Gaussian hierarchy and five x."""
    model = exact.linear_hvae(X_DIM, DIMS[T], rng=seed, consistency=form)
    return model, np.random.default_rng(seed).normal(size=(5, X_DIM)) * 2


def at_posterior(T, seed=0, form="sampled"):
    """The same, its q the exact posterior."""
    model, x = chain(T, seed, form)
    exact.turn(model)
    exact.set_q(model, exact.posterior(model))
    return model, x


def linear_vae(seed=0, k=3, s2=0.5, D=X_DIM):
    return VAE(D, k, (), likelihood=Gaussian(D, logvar=np.log(s2)), rng=seed, dtype=np.float64)


def sigma_points(model):
    """Noise with exactly mean 0 and covariance I: the 2d points ± √d e_i of all d latents together."""
    d = sum(model.latent_dims)
    points = np.sqrt(d) * np.concatenate([np.eye(d), -np.eye(d)])
    blocks = np.split(points, np.cumsum(model.latent_dims)[:-1], axis=1)
    return blocks if isinstance(model, HVAE) else blocks[0]


def repeat(x, noise):
    """Each x with each of the noises: rows of x, and noise, for one forward pass."""
    one = noise[0] if isinstance(noise, list) else noise
    tiled = [np.tile(eps, (len(x), 1)) for eps in noise] if isinstance(noise, list) else np.tile(noise, (len(x), 1))
    return np.repeat(x, len(one), axis=0), tiled, len(one)


def expected(model, x):
    """The expectation of the library's own bound: reconstruction (n,), kl (n, T).

    Every part is a quadratic polynomial of the noise, and the mean of such a
    polynomial over `sigma_points` is its mean over N(0, I): no sampling error.
    """
    rows, noise, n = repeat(x, sigma_points(model))
    bound, _ = model.forward(rows, noise)
    return bound.reconstruction.reshape(-1, n).mean(axis=1), bound.kl.reshape(len(x), n, -1).mean(axis=1)


def joint(model):
    """Mean and covariance of (z_0, ..., z_T) under p, from v = v L + b + noise, so Cov v = (I - L)⁻ᵀ S (I - L)⁻¹."""
    d = (model.x_dim, *model.latent_dims)
    edges = np.concatenate([[0], np.cumsum(d)])
    at = [slice(*edges[t:t + 2]) for t in range(len(d))]
    L, b, S = np.zeros((edges[-1],) * 2), np.zeros(edges[-1]), np.ones(edges[-1])
    for t in range(1, len(d)):
        W, bias = model.parameters[f"p{t}.dense1.W"], model.parameters[f"p{t}.dense1.b"]
        below = d[t - 1]
        L[at[t], at[t - 1]], b[at[t - 1]] = W[:, :below], bias[:below]
        S[at[t - 1]] = np.exp(bias[below:] if len(bias) > below else model.likelihood.logvar)
    inverse = np.linalg.inv(np.eye(len(L)) - L)
    return b @ inverse, inverse.T @ np.diag(S) @ inverse, at


def joint_posterior(model, x):
    """Mean (n, d) and covariance (d, d) of all latents together given x, by conditioning the joint."""
    mean, cov, at = joint(model)
    x_at, z_at = at[0], slice(at[0].stop, None)
    G = np.linalg.solve(cov[x_at, x_at], cov[x_at, z_at])
    return mean[z_at] + (x - mean[x_at]) @ G, cov[z_at, z_at] - cov[z_at, x_at] @ G


def joint_q(q, x):
    """Mean (n, d) and covariance (d, d) of all latents together under a bottom-up chain."""
    means, cov, last = [x], np.zeros((0, 0)), np.zeros((0, x.shape[1]))
    for W, b, own in q.values():
        means.append(means[-1] @ W + b)
        cross = last @ W                                              # Cov(all below, z_t) = Cov(all below, z_{t-1}) W
        var = W.T @ last[-W.shape[0]:] @ W + own if len(last) else own
        cov = np.block([[cov, cross], [cross.T, var]])
        last = np.concatenate([cross, var])
    return np.concatenate(means[1:], axis=1), cov


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


def near_posterior(T):
    """A q close enough to the posterior for importance sampling, far enough for the bound to show it."""
    model, x = at_posterior(T)
    rng = np.random.default_rng(0)
    exact.set_q(model, {t: f._replace(b=f.b + 0.3 * np.sqrt(np.diag(f.cov)) * rng.normal(size=f.b.shape),
                                      cov=1.4 * f.cov) for t, f in exact.inference(model).items()})
    return model, x[:1]


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
    fit(model, x[[0, 0, 0, 1, 3, 7, 7, 7]], epochs=300, optimizer=Adam(0.03), seed=seed)    # or q is far off
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
    model, x = curved("sampled", seed)
    log_p = evidence_by_quadrature(model, x)
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=1e-10, err_msg="p(x) over all x")
    n = 20_000
    weights = np.exp(model.log_weight(x, n, np.random.default_rng(0)) - log_p)
    assert (np.abs(weights.mean(axis=0) - 1) < Z * weights.std(axis=0) / np.sqrt(n)).all(), "E_q[ p(x, z) / q(z | x) ]"
    rows = np.repeat(x, 4000, axis=0)
    for form in ("sampled", "analytic"):
        model.consistency = form
        total = model.forward(rows, model.draw_noise(len(rows), np.random.default_rng(0)))[0].total.reshape(8, -1)
        assert (total.mean(axis=1) < log_p + Z * total.std(axis=1) / np.sqrt(4000)).all(), form


# T = 1: probabilistic PCA -----------------------------------------------------------------------


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
    _, cache = vae.forward(rows, noise)
    vae.backward(cache)                                               # the gradient of the expected bound
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


# The consistency theorem ------------------------------------------------------------------------


@pytest.mark.parametrize("T", [2, 3, 4, 5])
def test_printed_form_is_a_bound_and_its_gap_is_known(T):
    """ELBO - (R - P - C') = Σₜ tr( Q_t A_{t+1} B_{t+1} S_{t+1}⁻¹ ), of either sign, yet R - P - C' <= log p(x)."""
    gaps = []
    for seed in range(100):
        model, x = chain(T, seed)
        log_p, gap = exact.log_likelihood(model, x), exact.consistency_gap(model)
        _, kl = expected(model, x)
        model.consistency = "analytic"
        reconstruction, kl_printed = expected(model, x)
        np.testing.assert_allclose((kl_printed - kl)[:, :-1], np.tile(gap, (len(x), 1)), rtol=1e-10,
                                   atol=1e-10 * np.abs(kl).max(), err_msg=f"chain {seed}")
        np.testing.assert_array_equal(kl_printed[:, -1], kl[:, -1])
        printed = reconstruction - kl_printed.sum(axis=1)
        assert (printed < log_p).all(), f"chain {seed}"
        gaps.append(gap.sum())
    assert min(gaps) < -0.01 and max(gaps) > 0.01                     # above the ELBO at times: it is not q's own bound


@pytest.mark.parametrize("T", [2, 3, 4, 5])
def test_printed_form_is_not_tight_at_the_posterior(T):
    """At the exact posterior the ELBO is log p(x), and the printed form lies below it by the gap, at every level."""
    for seed in range(20):
        model, x = at_posterior(T, seed, "analytic")
        gap = exact.consistency_gap(model)
        assert (gap > 0).all(), f"chain {seed}"
        reconstruction, kl = expected(model, x)
        distance = exact.log_likelihood(model, x) - (reconstruction - kl.sum(axis=1))
        np.testing.assert_allclose(distance, gap.sum(), rtol=1e-10, atol=1e-10, err_msg=f"chain {seed}")


@pytest.mark.parametrize("T", [2, 3])
def test_printed_form_prefers_another_q(T):
    """The q that maximises R - P - C' is not the posterior, and even there R - P - C' < log p(x)."""
    model, x = at_posterior(T, 0, "analytic")
    log_p = exact.log_likelihood(model, x).mean()
    theta = model.theta.copy()
    model.theta[:] = 0
    for t, f in exact.inference(model).items():                       # free: mu of every q, and a constant logvar
        exact.set_q(model, {t: exact.Affine(np.ones_like(f.W), np.ones_like(f.b), np.e * np.eye(len(f.b)))})
    free = model.theta == 1
    model.theta[:] = theta
    rows, noise, _ = repeat(x, sigma_points(model))

    def loss(values):
        model.theta[free] = values
        bound, cache = model.forward(rows, noise)
        model.backward(cache)
        return bound.loss(), model.gradient[free].copy()

    start = -loss(theta[free])[0]
    found = minimize(loss, theta[free], jac=True, method="L-BFGS-B")
    loss(found.x)
    printed = exact.elbo(model, x).total.mean()
    np.testing.assert_allclose(printed, -found.fun, rtol=1e-10)
    assert start + 0.001 < printed < log_p - 0.001
    model.consistency = "sampled"
    assert exact.elbo(model, x).total.mean() < log_p - 0.001          # its q is the worse for it


def test_theorem_and_its_proof_beyond_gaussians():
    """R - P - C' = ELBO(r) - Σₜ [ I_q(z_t; z_{t+1}) - I_r(z_t; z_{t+1}) ] <= log p(x), whatever the distributions.

    Here every z_t has four values, T = 3, and all sums are written out, for 2000
    random chains at once (index n).  r is the Markov chain whose neighbours z_t
    and z_{t+1} are drawn apart from the same z_{t-1}, as the printed form has it.
    """
    rng = np.random.default_rng(0)

    def table(*shape):
        return rng.dirichlet(np.full(4, 0.3), size=(2000, *shape))    # rows that are often nearly certain

    q1, q2, q3 = table(), table(4), table(4)                          # q(z_1 | x), q(z_2 | z_1)[z_1, z_2], ...
    p3, p2, p1 = table(), table(4), table(4)                          # p(z_3), p(z_2 | z_3)[z_3, z_2], ...
    px = rng.uniform(size=(2000, 4))                                  # p(x | z_1) at the x in question
    log_p = np.log(np.einsum("nc,ncb,nba,na->n", p3, p2, p1, px))

    def elbo(chain):                                                  # over chain[n, a, b, c] = z_1, z_2, z_3
        log_joint = (np.log(p3)[:, None, None] + np.log(p2).swapaxes(1, 2)[:, None]
                     + np.log(p1).swapaxes(1, 2)[..., None] + np.log(px)[..., None, None])
        return (chain * (log_joint - np.log(chain))).sum(axis=(1, 2, 3))

    def information(pair):                                            # I(first; second)
        product = pair.sum(axis=2, keepdims=True) * pair.sum(axis=1, keepdims=True)
        return (pair * np.log(pair / product)).sum(axis=(1, 2))

    q12, q123 = np.einsum("na,nab->nab", q1, q2), np.einsum("na,nab,nbc->nabc", q1, q2, q3)
    r12 = np.einsum("na,nb->nab", q1, q12.sum(axis=1))                # z_2 drawn from another z_1
    r23 = np.einsum("na,nab,nac->nbc", q1, q2, q2 @ q3)               # z_3 drawn from another z_2, the same z_1
    r = r12[..., None] * (r23 / r23.sum(axis=2, keepdims=True))[:, None]

    R = np.einsum("na,na->n", q1, np.log(px))
    P = np.einsum("nab,nbc,nbc->n", q12, q3, np.log(q3) - np.log(p3)[:, None])
    C1 = np.einsum("na,na->n", q1, np.log(q1)) - np.einsum("na,nb,nba->n", q1, q12.sum(axis=1), np.log(p1))
    C2 = np.einsum("nab,nab->n", q12, np.log(q2)) - np.einsum("nbc,ncb->n", r23, np.log(p2))
    printed = R - P - C1 - C2

    fine = [information(q12) - information(r12), information(q123.sum(axis=1)) - information(r23)]
    np.testing.assert_allclose(printed, elbo(r) - fine[0] - fine[1], rtol=1e-10, atol=1e-10)
    assert np.abs(information(r12)).max() < 1e-10, "at t = 1, I_r = 0"
    assert min(f.min() for f in fine) > -1e-10, "data processing: I_r <= I_q"
    assert (elbo(r) < log_p).all() and (elbo(q123) < log_p).all() and (printed < log_p).all()
    assert (printed > elbo(q123)).any() and (printed < elbo(q123)).any()    # but not the ELBO of q, nor below it


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
    with pytest.raises(ValueError, match="k must be a whole number from 1 to 4"):
        exact.ppca(pca_data(), 5)
    with pytest.raises(ValueError, match="s2 must be a number in"):
        exact.ppca(pca_data(), 2, s2=0.0)
