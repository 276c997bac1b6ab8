"""Importance-weighted training: the weights, the three gradients of q, exact answers, and `fit`."""

import inspect
import types

import numpy as np
import pytest
import scipy.special
from linear_gaussian import X_DIM as D, Z, at_posterior, chain, near_posterior, sigma_points

from scratchvae import (HVAE, VAE, Adam, Autoencoder, Diffusion, Importance, LatentDiffusion, State, TopDown, fit,
                        gaussian)
from scratchvae.compare import StandardKL
from scratchvae.importance import SharedInput, log_mean_exp, log_mean_exp_backward
from scratchvae.train.evaluation import held_out
from scratchvae.train.state import stream
from scratchvae.verify import exact
from scratchvae.verify.gradcheck import check_function, compare

X_DIM = 6
MODELS = {"VAE": lambda **o: VAE(X_DIM, 3, (5,), **o), "HVAE 1": lambda **o: HVAE(X_DIM, (3,), (5,), **o),
          "HVAE 3": lambda **o: HVAE(X_DIM, (4, 3, 2), (5,), **o),
          "TopDown 1": lambda **o: TopDown(X_DIM, (3,), (5,), **o),
          "TopDown 3": lambda **o: TopDown(X_DIM, (4, 3, 2), (5,), **o)}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


@pytest.fixture
def x(rng):
    return rng.integers(0, 2, (5, X_DIM)).astype(float)


def made(make, rng, **options):
    """A small float64 model with all its parameters away from zero, biases included."""
    model = make(rng=rng, dtype=np.float64, **options)
    model.theta += 0.3 * rng.standard_normal(model.theta.size)
    return model


def q_and_p(model):
    """Where the parameters of q lie in theta, and where those of p."""
    of_q = np.concatenate([np.full(view.size, name.startswith("q")) for name, view in model.parameters.items()])
    return of_q, ~of_q


# the weights -------------------------------------------------------------------------------------


def test_log_mean_exp_is_that_of_scipy_and_does_not_overflow(rng):
    log_w = 3 * rng.standard_normal((4, 7))
    for shift in (0, -1e5, 1e5):
        expected = scipy.special.logsumexp(log_w + shift, axis=1) - np.log(7)
        np.testing.assert_allclose(log_mean_exp(log_w + shift)[0], expected, rtol=1e-13)
    np.testing.assert_allclose(log_mean_exp(log_w)[1], scipy.special.softmax(log_w, axis=1), rtol=1e-13)
    assert log_mean_exp(np.array([[-3.0, -1]]))[0][0] == pytest.approx(-1.5662, abs=5e-5)          # MATH (14.1)


@pytest.mark.parametrize("method", ["complex", "central"])
def test_gradients_of_log_mean_exp(method, rng, agrees):
    agrees(check_function(log_mean_exp, log_mean_exp_backward, 2 * rng.standard_normal((4, 5)), method=method))


@every_model
def test_total_at_the_draw_is_the_log_weight(make, rng, x):
    """log p(x, z) - log q(z | x) by `log_weight`, which knows no parts, at the same noise."""
    model = made(make, rng)
    elbo, _ = Importance(model, 1).bound(x, model.draw_noise(len(x), np.random.default_rng(3)))
    np.testing.assert_allclose(elbo.total, model.log_weight(x, 1, np.random.default_rng(3))[0], rtol=1e-12)


@pytest.mark.parametrize("estimator", ["plain", "stl", "dreg"])
@pytest.mark.parametrize("deep", [HVAE, TopDown])
def test_one_level_is_the_vae_number_for_number(deep, estimator, x):
    """Same parameters, same noise: the parts at the draw are the same to the bit, every gradient to rounding."""
    vae, one = VAE(X_DIM, 4, (5,), rng=3, dtype=np.float64), deep(X_DIM, (4,), (5,), rng=3, dtype=np.float64)
    many = [Importance(model, 3, estimator=estimator) for model in (vae, one)]
    elbos = []
    for of_model in many:
        elbo, cache = of_model.bound(x, of_model.draw_noise(len(x), np.random.default_rng(0)))
        of_model.backward(cache, 0.7)
        elbos.append(elbo)
    np.testing.assert_array_equal(elbos[0].total, elbos[1].total)
    for name, gradient in vae.gradients.items():
        np.testing.assert_allclose(gradient, one.gradients[name], rtol=1e-9, atol=1e-15, err_msg=name)


@every_model
def test_parts_at_the_draw_have_the_means_of_the_parts(make, rng, x):
    """Compared at the draw, or as the model does it, over the same noise."""
    model = made(make, rng)
    rows = np.repeat(x[:1], 20_000, axis=0)
    noise = model.draw_noise(len(rows), rng)
    (elbo, _), (drawn, _) = model.bound(rows, noise), Importance(model, 1).bound(rows, noise)
    np.testing.assert_array_equal(drawn.reconstruction, elbo.reconstruction)
    diff = drawn.kl - elbo.kl
    assert (np.abs(diff.mean(axis=0)) < Z * diff.std(axis=0) / np.sqrt(len(rows))).all()


# the plain gradient ------------------------------------------------------------------------------


def ledger(model, x, K, beta=1.0, alpha=1.0, **options):
    """Compare the gradient of L_K, with these weights of its parts, with the complex step."""
    noise = Importance(model, K).draw_noise(len(x), np.random.default_rng(7))
    many = Importance(model, K)
    model.gradient[:] = np.nan                         # backward must write all of it
    _, cache = many.bound(x, noise)
    many.backward(cache, beta, alpha)
    gradients = {"L_K": {name: -view for name, view in model.gradients.items()}}
    twin = model.astype(np.complex128)
    of_twin, noise = Importance(twin, K), twin.check_noise(noise, len(x) * K)

    def value(arrays):
        for name, view in twin.parameters.items():
            view[...] = arrays[name]
        elbo, _ = of_twin.bound(x.astype(complex), noise)
        return {"L_K": of_twin.value(elbo, beta, alpha)[0].mean()}

    return compare(value, gradients, dict(model.parameters), **options)


@pytest.mark.parametrize("K", [1, 2, 7])
@every_model
def test_gradients_of_the_bound(make, K, rng, x, agrees):
    agrees(ledger(made(make, rng), x, K))


@every_model
def test_gradients_with_weights_of_the_parts(make, rng, x, agrees):
    """beta rises in a warm-up: the weights are those of the tempered log w."""
    agrees(ledger(made(make, rng), x, 3, 0.4, 1.7))


@pytest.mark.parametrize("make", [MODELS["HVAE 3"], MODELS["TopDown 3"]], ids=["HVAE", "TopDown"])
def test_gradients_with_a_beta_for_each_level(make, rng, x, agrees):
    agrees(ledger(made(make, rng), x, 3, np.array([0.2, 1.4, 0.7])))


def test_gradients_with_a_gaussian_likelihood(rng, x, agrees):
    agrees(ledger(made(MODELS["HVAE 3"], rng, likelihood="gaussian", activation="softplus"), x, 4))


def test_gradients_after_some_training(rng, x, agrees):
    model = made(MODELS["HVAE 3"], rng)
    fit(model, x, epochs=20, batch_size=2, optimizer=Adam(0.01), objective="iwae", n_samples=3)
    agrees(ledger(model, x, 3))


def test_gradients_at_full_size(rng, agrees):
    """The networks of Burda et al. 2016 with two levels, along one random direction for each array."""
    model = HVAE(784, (100, 50), [(200, 200), (100, 100)], dtype=np.float64)
    agrees(ledger(model, rng.random((2, 784)), 5, directions=1))


@pytest.mark.parametrize("objective", ["iwae", "elbo"])
@every_model
def test_networks_that_see_x_alone_are_asked_once(make, objective, rng, x):
    """The same numbers as of K rows that all pass through everything."""
    model, K = made(make, rng), 4
    many = Importance(model, K, objective)
    noise = many.draw_noise(len(x), rng)
    elbo, cache = many.bound(x, noise)
    many.backward(cache, 0.8)
    found = model.gradient.copy()
    if objective == "iwae":
        model.compare = many.twin.compare              # at the draw
    spelled, cache = model.bound(np.repeat(x, K, axis=0), noise)
    np.testing.assert_allclose(elbo.total, spelled.total, rtol=1e-12)
    dlog_w = -many.value(spelled, 0.8)[1].ravel() / len(x)
    model.backward(spelled.weighted_backward(dlog_w, np.full(len(model.latent_dims), 0.8), 1.0), cache)
    np.testing.assert_allclose(found, model.gradient, rtol=1e-10, atol=1e-14)


def test_the_elbo_of_many_draws_is_a_mean_of_draws(rng, x):
    """Its gradient is the mean of the gradients at each draw."""
    model, K = made(MODELS["HVAE 3"], rng), 3
    many = Importance(model, K, "elbo")
    noise = many.draw_noise(len(x), rng)
    elbo, cache = many.bound(x, noise)
    many.backward(cache)
    found, expected = model.gradient.copy(), np.zeros_like(model.theta)
    for k in range(K):
        alone, cache = model.forward(x, [eps[k::K] for eps in noise])
        model.backward(alone.loss_backward(), cache)
        expected += model.gradient / K
        np.testing.assert_allclose(elbo.total.reshape(-1, K)[:, k], alone.total, rtol=1e-12)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(many.value(elbo)[0], elbo.total.reshape(-1, K).mean(axis=1), rtol=1e-12)


@pytest.mark.parametrize("max_rows", [1, 8, 9, 20, 1000])
def test_a_gradient_in_blocks_is_the_gradient(max_rows, rng, x):
    """Cut anywhere, as the noise of a VAE is one stream; and the parts are those of all rows."""
    model = made(MODELS["VAE"], rng)
    many = Importance(model, 4)
    elbo, cache = many.bound(x, many.draw_noise(len(x), np.random.default_rng(5)))
    many.backward(cache, 0.7)
    expected = model.gradient.copy()
    found = many.gradient(x, np.random.default_rng(5), 0.7, max_rows)
    np.testing.assert_allclose(model.gradient, expected, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(found.total, elbo.total.reshape(-1, 4).mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found.kl, elbo.kl.reshape(-1, 4, 1).mean(axis=1), rtol=1e-12)


def test_memory_of_a_step_is_bounded(allocated):
    """Ten times as many rows take no more than twice the memory."""
    model, rng = VAE(200, 5, (50,)), np.random.default_rng(0)
    few, many = (Importance(model, 50) for _ in range(2))
    x = rng.random((800, 200)).astype(np.float32)
    assert allocated(lambda: many.gradient(x, rng)) < 2 * allocated(lambda: few.gradient(x[:80], rng))


def test_backward_leaves_the_weights_as_they_are(rng, x):
    """Twice from one cache: the same gradient."""
    model = made(MODELS["HVAE 3"], rng)
    for estimator in ("plain", "stl", "dreg"):
        many = Importance(model, 3, estimator=estimator)
        _, cache = many.bound(x, many.draw_noise(len(x), rng))
        many.backward(cache)
        first = model.gradient.copy()
        many.backward(cache)
        np.testing.assert_array_equal(model.gradient, first)


# through z alone ---------------------------------------------------------------------------------


def draw(model, x, noise):
    """z_1, ..., z_T of every row, as a function of the parameters; one level's noise is no list."""
    if isinstance(model, TopDown):
        return {0: x, **{t: z for t, (z, *_) in model.down(model.up(x), noise).items()}}
    z = {0: x}
    for t, eps in enumerate(noise if isinstance(noise, list) else [noise], start=1):
        z[t], _ = gaussian.sample(*gaussian.halves(model.networks[f"q{t}"].forward(z[t - 1])[0]), eps)
    return z


def log_p_and_q(model, z, beta):
    """log p(x | z_1), the log p of all latents, and their log q, of every row; beta weighs the levels."""
    T, of_p = len(z) - 1, {len(z) - 1: (np.zeros_like(z[len(z) - 1]),) * 2}
    for t in range(1, T):
        of_p[t] = gaussian.halves(model.networks[f"p{t + 1}"].forward(z[t + 1])[0])
    if isinstance(model, TopDown):
        m = {t: gaussian.halves(m_t) for t, m_t in model.up(z[0]).items()}
        of_q = {t: m[t] if t == T else gaussian.merge(*m[t], *of_p[t])[0] for t in of_p}
    else:
        of_q = {t: gaussian.halves(model.networks[f"q{t}"].forward(z[t - 1])[0]) for t in of_p}
    log_px, _ = model.likelihood.log_prob(z[0], model.networks["p1"].forward(z[1])[0])
    return log_px, *(sum(beta[t - 1] * gaussian.log_prob(z[t], *of[t])[0] for t in of) for of in (of_p, of_q))


@pytest.mark.parametrize("estimator, beta", [("stl", [1] * 3), ("stl", [0.4] * 3), ("stl", [0.4, 1, 0.7]),
                                             ("dreg", [1] * 3), ("dreg", [0.4] * 3)])
@every_model
def test_gradients_through_z_alone(make, estimator, beta, rng, x, agrees):
    """MATH (14.4), (14.5), with all that is not to be differentiated held where it is.

    p: Σₖ w̃_k log p(x, z_k), the z_k held.  q: Σₖ w̃_k to_q_k log w_k, its densities held and z_k alone moved.
    """
    model, K, alpha = made(make, rng), 3, 1.3
    many, beta = Importance(model, K, estimator=estimator), np.array(beta[:len(model.latent_dims)])
    noise = many.draw_noise(len(x), rng)
    model.gradient[:] = np.nan
    _, cache = many.bound(x, noise)
    many.backward(cache, beta, alpha)
    gradients = {"q and p": {name: -view for name, view in model.gradients.items()}}

    rows = np.repeat(x, K, axis=0)
    held = draw(model, rows, noise)
    log_px, log_p, log_q = log_p_and_q(model, held, beta)
    w_tilde = scipy.special.softmax((alpha * log_px + log_p - log_q).reshape(-1, K), axis=1).ravel()
    to_q = 1.0 if estimator == "stl" else 1 - beta[0] * (1 - w_tilde)
    twin = model.astype(np.complex128)

    def value(arrays):
        for name, view in twin.parameters.items():
            view[...] = arrays[name]
        log_px, log_p, _ = log_p_and_q(twin, held, beta)
        of_p = alpha * log_px + log_p
        log_px, log_p, log_q = log_p_and_q(model, draw(twin, rows.astype(complex), noise), beta)
        of_q = alpha * log_px + log_p - log_q
        return {"q and p": (w_tilde * (of_p + to_q * of_q)).sum() / len(x)}

    agrees(compare(value, gradients, dict(model.parameters)))


# exact: linear-Gaussian models --------------------------------------------------------------------


def turned_into(kind, model):
    """The same parameters in a model of another kind."""
    if kind == "HVAE":
        return model
    options = dict(likelihood=model.likelihood, dtype=np.float64)
    twin = VAE(D, *model.latent_dims, (), **options) if kind == "VAE" else TopDown(D, model.latent_dims, (), **options)
    twin.theta[:] = model.theta
    return twin


def off_posterior(T, kind="HVAE"):
    """A linear-Gaussian model whose q is near its posterior, as a trained one is, and one x."""
    model, x = at_posterior(T)
    rng = np.random.default_rng(T)
    for name, network in model.networks.items():
        if name.startswith("q"):
            network.output.b += 0.4 * rng.standard_normal(network.output.b.shape)
            network.output.W += 0.1 * rng.standard_normal(network.output.W.shape)
    return turned_into(kind, model), x[:1]


def gradients(model, x, K, estimators, n=25, groups=400, beta=1.0, seed=0):
    """Each estimator's gradient, at the same noise: a row for each group of n draws of K."""
    found = {estimator: np.empty((groups, model.theta.size)) for estimator in estimators}
    rng, rows = np.random.default_rng(seed), np.repeat(x, n, axis=0)
    for i in range(groups):
        noise = model.draw_noise(n * K, rng)
        for estimator in estimators:
            many = Importance(model, K, estimator=estimator)
            _, cache = many.bound(rows, noise)
            many.backward(cache, beta)
            found[estimator][i] = model.gradient
    return found


def scatter(rows):
    """The mean of the rows, in standard errors of it; 0 where all are 0 up to rounding."""
    error = rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
    return np.where(error > 1e-12, np.abs(rows.mean(axis=0)) / np.maximum(error, 1e-12), 0.0)


@pytest.mark.parametrize("T", [1, 3])
def test_bound_rises_from_the_elbo_to_the_evidence(T):
    """L_1 is the exact ELBO, L_K rises, and comes near log p(x); by the weights that training takes."""
    model, x = off_posterior(T)
    rows, L = np.repeat(x, 2000, axis=0), {}
    for K in (1, 4, 16, 64):
        many = Importance(model, K)
        elbo, _ = many.bound(rows, many.draw_noise(len(rows), np.random.default_rng(K)))
        L[K] = many.value(elbo)[0]
    log_p, error = exact.log_likelihood(model, x)[0], {K: v.std() / np.sqrt(len(v)) for K, v in L.items()}
    mean = {K: v.mean() for K, v in L.items()}
    if T == 1:                                         # exact.elbo is of a q whose logvar is constant
        gaussian_q = VAE(D, model.latent_dims[0], (), likelihood=model.likelihood, dtype=np.float64)
        gaussian_q.theta[:] = model.theta
        gaussian_q.q.output.W[:, model.latent_dims[0]:] = 0
        many = Importance(gaussian_q, 1)
        totals = many.bound(rows, many.draw_noise(len(rows), np.random.default_rng(0)))[0].total
        assert abs(totals.mean() - exact.elbo(gaussian_q, x).total[0]) < Z * totals.std() / np.sqrt(len(rows))
    for few, more in ((1, 4), (4, 16), (16, 64)):
        assert mean[more] - mean[few] > Z * np.hypot(error[few], error[more]), f"from {few} to {more}"
    assert mean[64] < log_p + Z * error[64] and log_p - mean[64] < 0.3 * (log_p - mean[1])


@pytest.mark.parametrize("T", [1, 2, 3])
def test_exact_gradient_of_the_elbo_is_the_mean_of_all_three(T):
    """K = 1: against the gradient of the expectation itself, by `sigma_points`, no sampling; logvar constant."""
    model, x = at_posterior(T)
    rng = np.random.default_rng(T)
    for t in model.levels:
        model.q[t].output.b += 0.4 * rng.standard_normal(model.q[t].output.b.shape)
    noise = sigma_points(model)
    elbo, cache = model.forward(np.repeat(x[:1], len(noise[0]), axis=0), noise)
    model.backward(elbo.loss_backward(), cache)
    expected = model.gradient.copy()
    found = gradients(model, x[:1], 1, ("plain", "stl", "dreg"))
    np.testing.assert_array_equal(found["stl"], found["dreg"])           # w̃ = 1
    quiet = np.abs(expected) < 1e-14                                           # p by its logvar's W of a dead input
    assert quiet.mean() < 0.5
    for estimator, rows in found.items():
        assert scatter(rows - expected).max() < Z, estimator


@pytest.mark.parametrize("T, kind", [(1, "VAE"), (3, "HVAE")])
def test_exact_p_learns_the_same_from_all_three(T, kind):
    """Nothing of q's forms reaches p; what "dreg" takes from all of dlog_w is subtracted, to rounding."""
    model, x = off_posterior(T, kind)
    _, of_p = q_and_p(model)
    found = gradients(model, x, 5, ("plain", "stl", "dreg"), groups=3)
    np.testing.assert_array_equal(found["stl"][:, of_p], found["plain"][:, of_p])
    np.testing.assert_allclose(found["dreg"][:, of_p], found["plain"][:, of_p], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("beta", [1.0, 0.4])
@pytest.mark.parametrize("K", [2, 8])
@pytest.mark.parametrize("T, kind", [(1, "VAE"), (2, "HVAE"), (2, "TopDown"),
                                     *(pytest.param(3, k, marks=pytest.mark.slow) for k in ("HVAE", "TopDown"))])
def test_exact_dreg_has_the_mean_of_the_plain_and_stl_has_not(T, kind, K, beta):
    """At the same noise, by their differences; Tucker et al. 2018 say that stl is biased for K > 1."""
    model, x = off_posterior(T, kind)
    found = gradients(model, x, K, ("plain", "stl", "dreg"), beta=beta)
    of_q, _ = q_and_p(model)
    assert scatter(found["dreg"] - found["plain"]).max() < Z
    assert scatter(found["stl"] - found["plain"])[of_q].max() > 2 * Z


@pytest.mark.parametrize("T, kind", [(1, "VAE"), (3, "HVAE"), (3, "TopDown")])
def test_exact_stl_has_the_mean_of_the_plain_for_one_draw(T, kind):
    model, x = off_posterior(T, kind)
    found = gradients(model, x, 1, ("plain", "stl"))
    assert scatter(found["stl"] - found["plain"]).max() < Z
    assert np.abs(found["stl"] - found["plain"]).max() > 1e-3, "they must not be the same"


@pytest.mark.parametrize("K", [1, 5])
@pytest.mark.parametrize("T, kind", [(1, "VAE"), (1, "HVAE"), (3, "HVAE"), (5, "HVAE"), (2, "TopDown")])
def test_exact_at_the_posterior_stl_is_zero_for_every_draw(T, kind, K):
    """log w is log p(x) whatever z is: nothing moves through z.  The plain gradient is zero in the mean alone."""
    model, x = at_posterior(T)
    if kind == "TopDown":
        model = turned_into(kind, chain(T)[0])
        exact.turn(model)
        exact.set_q(model, exact.measurements(model))
    model = turned_into(kind, model) if kind == "VAE" else model
    of_q, _ = q_and_p(model)
    found = gradients(model, x[:1], K, ("plain", "stl", "dreg"), n=1, groups=20)
    assert np.abs(found["stl"][:, of_q]).max() < 1e-10 and np.abs(found["dreg"][:, of_q]).max() < 1e-10
    assert np.abs(found["plain"][:, of_q]).max() > 0.1


@pytest.mark.slow
def test_exact_signal_to_noise_of_q():
    """Against K the plain one falls as 1/√K (Rainforth et al. 2018), the doubly reparameterised one does not."""
    model, x = near_posterior(1)
    of_q, _ = q_and_p(model)
    Ks, ratio = np.array([4, 16, 64]), {"plain": [], "stl": [], "dreg": []}
    for K in Ks:
        found = gradients(model, x, K, tuple(ratio), n=1, groups=1500)
        signal = np.linalg.norm(found["dreg"].mean(axis=0)[of_q])            # also that of the plain one
        for estimator, rows in found.items():
            ratio[estimator].append(signal / np.linalg.norm(rows.std(axis=0)[of_q]))
    slope = {estimator: np.polyfit(np.log(Ks), np.log(values), 1)[0] for estimator, values in ratio.items()}
    assert abs(slope["plain"] + 0.5) < 0.1 and abs(slope["stl"] + 0.5) < 0.1 and abs(slope["dreg"] - 0.5) < 0.1


# fit ---------------------------------------------------------------------------------------------

B = (np.random.default_rng(0).random((13, X_DIM)) < 0.5).astype(np.float32)


@pytest.mark.parametrize("estimator", ["plain", "stl", "dreg"])
def test_fit_is_the_loop_written_out(estimator):
    model, twin, optimizer = HVAE(X_DIM, (3, 2), (5,)), HVAE(X_DIM, (3, 2), (5,)), Adam(0.01)
    history = fit(model, B, epochs=2, batch_size=5, optimizer=Adam(0.01), beta=lambda epoch: epoch / 2, rng=7,
                  objective="iwae", n_samples=3, estimator=estimator)
    noise, many = stream(7, "noise"), Importance(twin, 3, estimator=estimator)
    for epoch in (1, 2):
        totals, order = [], stream(7, "order", epoch).permutation(13)
        for rows in (order[:5], order[5:10], order[10:]):
            elbo, cache = many.bound(B[rows], many.draw_noise(len(rows), noise))
            many.backward(cache, epoch / 2)
            optimizer.step(twin.theta, twin.gradient)
            totals.append(elbo.total.reshape(-1, 3).mean(axis=1))
        assert history["elbo"][epoch - 1] == pytest.approx(np.concatenate(totals).mean(), rel=1e-5)
    np.testing.assert_array_equal(model.theta, twin.theta)


def test_fit_by_default_has_one_draw_and_the_elbo():
    models = [HVAE(X_DIM, (3, 2), (5,)) for _ in range(2)]
    fit(models[0], B, epochs=2, batch_size=5)
    fit(models[1], B, epochs=2, batch_size=5, objective="elbo", n_samples=1, estimator="plain")
    np.testing.assert_array_equal(models[0].theta, models[1].theta)


def test_fit_with_one_weight_is_the_elbo_in_the_mean():
    """K = 1 of L_K: another estimate of the same bound, and of its gradient."""
    model = VAE(X_DIM, 2, (5,), dtype=np.float64)
    fit(model, B, epochs=5, objective="iwae", n_samples=1, estimator="stl")
    elbo = held_out(model, np.repeat(B, 300, axis=0), 0)["elbo"]
    drawn = Importance(model, 1).gradient(np.repeat(B, 300, axis=0).astype(float), np.random.default_rng(0))
    assert abs(drawn.total.mean() - elbo) < Z * drawn.total.std() / np.sqrt(len(drawn.total))


def test_fit_raises_the_bound_that_it_trains_on():
    """On the weights of 10 draws, L_10 ends higher than where the ELBO is trained on; the ELBO lower."""
    x = (np.random.default_rng(1).random((200, X_DIM)) < np.repeat([[0.9], [0.2]], 100, axis=0)).astype(np.float32)
    found = {}
    for objective, K in (("elbo", 1), ("iwae", 10)):
        model = VAE(X_DIM, 1, (4,), rng=2)
        fit(model, x, epochs=150, batch_size=50, learning_rate=1e-2, objective=objective, n_samples=K, rng=3)
        found[objective] = model.log_likelihood(x, 10, 0).mean()
    assert found["iwae"] > found["elbo"]


def test_fit_goes_on_to_the_same_bits():
    straight, paused = (VAE(X_DIM, 2, (5,)) for _ in range(2))
    options = dict(batch_size=5, objective="iwae", n_samples=4, estimator="dreg")
    fit(straight, B, epochs=4, **options)
    state, optimizer = State.start(paused), Adam()
    fit(paused, B, epochs=1, state=state, optimizer=optimizer, **options)
    fit(paused, B, epochs=4, state=state, optimizer=optimizer, **options)
    np.testing.assert_array_equal(straight.theta, paused.theta)


@pytest.mark.parametrize("make, options, says", [
    (VAE, dict(objective="vae"), "^objective must be one of 'elbo', 'iwae'; got 'vae'$"),
    (VAE, dict(objective="iwae", n_samples=0), "^n_samples must be a whole number of at least 1; got 0$"),
    (VAE, dict(objective="iwae", estimator="best"), "^estimator must be one of 'plain', .*; got 'best'$"),
    (VAE, dict(n_samples=3, estimator="stl"), "^estimator must be 'plain' for objective 'elbo'; got 'stl'"),
    (VAE, dict(n_samples=3, free_bits=0.1), "^free_bits must be left out .*"),
    (lambda *_: Diffusion(X_DIM, 3), dict(objective="iwae"),
     "^objective must be 'elbo' for a Diffusion, which has a bound of its own: .*"),
    (lambda *_: HVAE(X_DIM, (3, 2), consistency="printed"), dict(objective="iwae"),
     "^objective must be 'elbo' for a model with consistency='printed', .*; got 'iwae'$"),
    (lambda *_: LatentDiffusion(X_DIM, 2, (5,)), dict(objective="iwae"),
     "^objective must be 'elbo' for a model that compares q and p by a DiffusionPrior: .*; got 'iwae'$"),
    (lambda *_: HVAE(X_DIM, (3, 2)), dict(objective="iwae", estimator="dreg", beta=np.array([1, 0.5])),
     "^beta must be one number for all levels with the estimator 'dreg'; got .*"),
])
def test_what_does_not_go_together_is_told(make, options, says):
    model = make(X_DIM, 2)
    state, theta = State.start(model), model.theta.copy()
    drawn = state.rng.bit_generator.state
    with pytest.raises(ValueError, match=says):
        fit(model, B, epochs=1, state=state, **options)
    np.testing.assert_array_equal(model.theta, theta)
    assert state.rng.bit_generator.state == drawn      # nothing was drawn before it was told


@pytest.mark.parametrize("make", [Autoencoder, lambda *a, **o: Diffusion(X_DIM, 3, (5,), **o)],
                         ids=["Autoencoder", "Diffusion"])
def test_any_model_may_have_many_draws_of_its_own_bound(make, rng, x):
    """Each row K times through the model as it is: the gradient is that of the mean."""
    model = made(lambda **o: make(X_DIM, 2, **o), rng)
    many = Importance(model, 3, "elbo")
    assert many.twin is model
    elbo = many.gradient(x, np.random.default_rng(4))
    found, rows = model.gradient.copy(), np.repeat(x, 3, axis=0)
    spelled, cache = model.forward(rows, model.draw_noise(len(rows), np.random.default_rng(4)))
    model.backward(spelled.loss_backward(), cache)
    np.testing.assert_allclose(found, model.gradient, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(elbo.total, spelled.total.reshape(-1, 3).mean(axis=1), rtol=1e-12)
    assert len(fit(model, B, epochs=2, n_samples=3)["elbo"]) == 2


def test_the_learned_prior_and_any_object_may_have_many_draws_of_their_own_bound():
    model = LatentDiffusion(X_DIM, 2, (5,))
    assert len(fit(model, B, epochs=2, n_samples=3)["elbo"]) == 2
    own = types.SimpleNamespace(draw_noise=model.draw_noise, bound=model.bound, backward=model.backward)
    assert Importance(own, 3, "elbo").twin is own


def test_what_has_the_contract_alone_is_trained():
    """No subclass of Model: what `fit` names is enough, for one draw and for several."""
    class Own:
        def __init__(self):
            self.inner = VAE(X_DIM, 2, (5,))
            self.theta, self.gradient, self.latent_dims = self.inner.theta, self.inner.gradient, (2,)
            self.check_x, self.draw_noise = self.inner.check_x, self.inner.draw_noise

        def bound(self, x, noise):
            return self.inner.bound(x, noise)

        def backward(self, d, cache):
            self.inner.backward(d, cache)

    for options in ({}, {"n_samples": 3}, {"free_bits": 0.1, "x_valid": B}):
        own, plain = Own(), VAE(X_DIM, 2, (5,), dtype=np.float32)
        plain.theta[:] = own.theta
        fit(own, B, epochs=3, **options)
        fit(plain, B, epochs=3, **options)
        np.testing.assert_allclose(own.theta, plain.theta, atol=1e-5)
    with pytest.raises(ValueError, match="^objective must be 'elbo' for a Own, which has a bound of its own: "):
        fit(Own(), B, objective="iwae")


def test_the_printed_form_may_have_many_draws_of_its_own_bound():
    model = HVAE(X_DIM, (3, 2), (5,), consistency="printed")
    assert len(fit(model, B, epochs=2, n_samples=3)["elbo"]) == 2


# what is said, and what is spared ----------------------------------------------------------------


class TenTimesKL(StandardKL):
    """A comparison of a user's own."""

    def forward(self, z, q, p):
        kl, cache = super().forward(z, q, p)
        return 10 * kl, cache


class Decayed(VAE):
    """A backward of a user's own."""

    def backward(self, delbo, cache, input_gradient=False):
        dx = super().backward(delbo, cache, input_gradient)
        self.gradient += self.theta
        return dx


def own(level, model):
    """Return a model that compares q and p by a part of a user's own."""
    if level == "VAE":
        model.compare = TenTimesKL()
    else:
        model.compare[level] = TenTimesKL()
    return model


@pytest.mark.parametrize("options, message", [
    ({"n_samples": 0}, "n_samples must be a whole number of at least 1; got 0"),
    ({"objective": "vae"}, "objective must be one of 'elbo', 'iwae'; got 'vae'"),
    ({"estimator": "best"}, "estimator must be one of 'plain', 'stl', 'dreg'; got 'best'"),
    ({"objective": "elbo", "estimator": "stl"},
     "estimator must be 'plain' for objective 'elbo'; got 'stl', which is of objective 'iwae' "
     "(with n_samples 1 that is the ELBO, too)"),
    ({"model": Diffusion(X_DIM, 3, (5,))},
     "objective must be 'elbo' for a Diffusion, which has a bound of its own: "
     "importance weights need the bound of VAE, HVAE or TopDown; got 'iwae'"),
    ({"model": LatentDiffusion(X_DIM, 2, (5,))},
     "objective must be 'elbo' for a model that compares q and p by a DiffusionPrior: "
     "importance weights are log p - log q at the draw; got 'iwae'"),
    ({"model": own("VAE", VAE(X_DIM, 2))},
     "objective must be 'elbo' for a model that compares q and p by a TenTimesKL: "
     "importance weights are log p - log q at the draw; got 'iwae'"),
    ({"model": own(2, HVAE(X_DIM, (3, 2)))},
     "objective must be 'elbo' for a model that compares q and p by a TenTimesKL: "
     "importance weights are log p - log q at the draw; got 'iwae'"),
    ({"model": Decayed(X_DIM, 2)},
     "objective must be 'elbo' for a Decayed, which has a bound of its own: "
     "importance weights need the bound of VAE, HVAE or TopDown; got 'iwae'"),
    ({"model": "vae"}, "model must be an object such as VAE(64, 16); got 'vae', which has no method draw_noise"),
])
def test_a_wrong_setting_is_told_in_full(options, message):
    with pytest.raises(ValueError) as caught:
        Importance(**{"model": VAE(X_DIM, 2), **options})
    assert str(caught.value) == message


@pytest.mark.parametrize("beta", ["warm", [1, 2, 3]])
def test_a_wrong_beta_is_named(beta):
    with pytest.raises(ValueError, match="^beta must "):
        Importance(HVAE(X_DIM, (3, 2)), 2).check_beta(beta)


def test_a_beta_for_each_level_does_not_go_with_dreg():
    with pytest.raises(ValueError) as caught:
        Importance(HVAE(X_DIM, (3, 2)), 2, estimator="dreg").check_beta(np.array([1.0, 0.5]))
    assert str(caught.value) == ("beta must be one number for all levels with the estimator 'dreg'; "
                                 "got an array of shape (2,)")


def test_defaults(rng, x):
    many = Importance(made(MODELS["VAE"], rng))
    assert (many.K, many.objective, many.estimator) == (5, "iwae", "plain")
    assert inspect.signature(Importance.gradient).parameters["max_rows"].default == 4096
    gradients = []
    for beta in ((), (1.0,)):
        many.gradient(x, np.random.default_rng(1), *beta)
        gradients.append(many.model.gradient.copy())
    np.testing.assert_array_equal(*gradients)


@pytest.mark.parametrize("K", [1, 2, 3])
@every_model
def test_no_network_sees_a_row_of_x_more_than_once(make, K, rng, x):
    """Those of q that see x alone get n rows; p's, and those of q that see a draw, n K."""
    model = made(make, rng)
    many, seen = Importance(model, K), {}
    for name, network in model.networks.items():
        def forward(x, name=name, forward=network.forward):
            seen[name] = len(x)
            return forward(x)
        network.forward = forward
    many.bound(x, many.draw_noise(len(x), rng))
    alone = {"VAE": ["q1"], "HVAE": ["q1"], "TopDown": [f"q{t}" for t in range(1, 4)]}[type(model).__name__]
    assert seen == {name: len(x) * (1 if name in alone else K) for name in model.networks}


def test_a_network_that_is_asked_once_gives_dx_if_it_is_wanted(rng, x):
    network = made(MODELS["VAE"], rng).q
    shared = SharedInput(network, 2)
    y, cache = shared.forward(np.repeat(x, 2, axis=0))
    assert shared.backward(np.ones_like(y), cache).shape == (2 * len(x), X_DIM)
    assert shared.backward(np.ones_like(y), cache, False).shape == (2 * len(x), 0)


def test_blocks_are_as_small_as_asked(rng, x, monkeypatch):
    many, lengths, bound = Importance(made(MODELS["VAE"], rng), 3), [], Importance.bound

    def noting(self, x, noise):
        lengths.append(len(x))
        return bound(self, x, noise)
    monkeypatch.setattr(Importance, "bound", noting)
    many.gradient(x, rng, max_rows=1)
    many.gradient(x, rng, max_rows=6)
    assert lengths == [1] * 5 + [2, 2, 1]


def test_rows_of_weights_far_apart_do_not_spoil_each_other():
    L, _ = log_mean_exp(np.array([[0.0, -1500], [-3000, -3001], [2000, 0]]))
    np.testing.assert_allclose(L, [-np.log(2), -3000 + np.log((1 + np.exp(-1)) / 2), 2000 - np.log(2)], rtol=1e-14)
