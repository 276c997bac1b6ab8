"""Diffusion: its gradients, models in which the best network is known, and the third part in three writings."""

import copy
import math

import numpy as np
import pytest
import scipy.special
import scipy.stats

from scratchvae import VAE, Adam, Diffusion, Gaussian, fit, gaussian, readings, three_writings
from scratchvae.diffusion import BinarySignal
from scratchvae.layers import sigmoid
from scratchvae.schedule import Schedule, between, signal, spread, step, times
from scratchvae.train.evaluation import held_out
from scratchvae.train.state import stream
from scratchvae.verify.gradcheck import check_model

D = 6
LEVELS = (1, 2, 5, math.inf)
LIKELIHOODS = {"bernoulli": "bernoulli", "gaussian": "gaussian", "fixed": Gaussian(D, logvar=-1.0)}


def make(rng, T=5, **options):
    """Return a small float64 model with all its parameters away from zero, biases included."""
    model = Diffusion(D, T, (5, 4), **{"log_noise": (-1.5, 3), "rng": rng, "dtype": np.float64, **options})
    model.theta += 0.3 * rng.standard_normal(model.theta.size)
    return model


@pytest.fixture
def x(rng):
    return rng.integers(0, 2, (8, D)).astype(float)


def constant_alpha(alpha, T):
    """Return log_noise of T levels with the same α: ᾱ_t = α^t."""
    t = np.arange(1, T + 1)
    return np.log1p(-alpha ** t) - t * np.log(alpha)


class Best:
    """In the place of the network: what makes the guess E[a | z], for data that are a finite set of points."""

    def __init__(self, model, points):
        self.model, self.a = model, model.signal.forward(points)

    def best(self, z, gamma):
        """Return h for the posterior over the points: its mean, or for binary x the logit of each pixel."""
        log_w = -((z[:, None] - signal(gamma)[:, None, None] * self.a) ** 2).sum(axis=2) / (2 * sigmoid(gamma)[:, None])
        w = scipy.special.softmax(log_w, axis=1)
        if not isinstance(self.model.signal, BinarySignal):
            return w @ self.a
        return np.log((w @ (self.a > 0) + 1e-300) / (w @ (self.a < 0) + 1e-300))


def optimal(points, T, **options):
    """Return a model whose guess is the best one for these points, each as likely as the others."""
    model = Diffusion(points.shape[1], T, (), dtype=np.float64, **options)
    oracle = Best(model, points)
    model.read = lambda z, gamma: (oracle.best(z, np.broadcast_to(gamma, len(z))), None)
    return model


# gradients ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("T", LEVELS)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("variance", ["posterior", "forward"])
def test_gradients(T, likelihood, variance, rng, x, agrees):
    agrees(check_model(make(rng, T, likelihood=LIKELIHOODS[likelihood], variance=variance), x))


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_gradients_after_some_training(likelihood, rng, x, agrees):
    model = make(rng, 20, likelihood=likelihood, activation="tanh")
    fit(model, x, epochs=20, batch_size=4, optimizer=Adam(0.01))
    agrees(check_model(model, x))


def test_gradients_with_the_defaults(rng, x, agrees):
    """Little noise in z_1, so that a logit is some 40, and x - s in one go would round to 0."""
    model = Diffusion(D)
    agrees(check_model(model, x))
    model.theta += 0.3 * rng.standard_normal(model.theta.size).astype(np.float32)
    agrees(check_model(model, x))


def test_gradients_at_full_size(rng, agrees):
    """784 pixels and 1000 levels, along one random direction for each array."""
    model = Diffusion(784, 1000, (400,), log_noise=(-1, 5), dtype=np.float64)
    model.theta += 0.05 * rng.standard_normal(model.theta.size)
    agrees(check_model(model, rng.random((4, 784)), directions=1))


@pytest.mark.parametrize("beta, alpha", [(1.0, 1.0), ([1.0, 0.0], 0.0), ([0.0, 1.0], 0.0), ([0.5, 0.25], 2.0)])
def test_weights_of_the_parts(beta, alpha, rng, x):
    """dx is linear in the weights."""
    model = make(rng)
    elbo, cache = model.forward(x, model.draw_noise(len(x), rng))
    parts = [model.backward(elbo.loss_backward(b, a), cache, input_gradient=True)
             for b, a in (([1, 0], 0), ([0, 1], 0), (0, 1))]
    b = np.broadcast_to(beta, 2)
    np.testing.assert_allclose(model.backward(elbo.loss_backward(beta, alpha), cache, input_gradient=True),
                               b[0] * parts[0] + b[1] * parts[1] + alpha * parts[2], atol=1e-14)
    assert model.backward(elbo.loss_backward(beta, alpha), cache).shape == (len(x), 0)


def test_backward_by_default_is_that_of_the_loss(rng, x):
    model = make(rng)
    elbo, cache = model.forward(x, model.draw_noise(len(x), rng))
    model.backward(elbo.loss_backward(), cache)
    of_loss = model.gradient.copy()
    model.backward(elbo.loss_backward(1.0, 1.0), cache)
    np.testing.assert_array_equal(model.gradient, of_loss)


# the schedule ---------------------------------------------------------------------------------------


def test_noise_added_to_noise_is_noise():
    """α_1 ... α_t = ᾱ_t, and the variances add up to 1 - ᾱ_t."""
    gamma = Schedule(7, np.array([-4.0, 5.0]), "posterior").gamma
    assert gamma[0] == -np.inf and np.allclose(np.diff(gamma[1:]), 1.5) and gamma[-1] == 5
    alpha, rest = between(gamma[:-1], gamma[1:])
    np.testing.assert_allclose(alpha + rest, 1, rtol=1e-15)
    np.testing.assert_allclose(np.cumprod(alpha), signal(gamma[1:]) ** 2, rtol=1e-13)
    variance = 0.0
    for t in range(1, 8):
        variance = alpha[t - 1] * variance + rest[t - 1]
        assert variance == pytest.approx(spread(gamma[t]) ** 2, rel=1e-13)
    np.testing.assert_allclose(np.log(spread(gamma[1:]) ** 2 / signal(gamma[1:]) ** 2), gamma[1:], atol=1e-13)


def test_a_small_step_keeps_its_digits():
    _, rest = between(np.array([1.0]), np.array([1.0 + 1e-12]))
    step = (1.0 + 1e-12) - 1.0
    np.testing.assert_allclose(rest, step * sigmoid(np.array([1.0])), rtol=1e-3)   # d softplus = sigmoid


@pytest.mark.parametrize("variance", ["posterior", "forward"])
def test_reverse_step_is_bayes_rule(variance):
    """The joint normal of z_t and z_{t+1} given a, conditioned by the general formula."""
    schedule = Schedule(4, np.array([-2.0, -0.5, 0.7, 3.0]), variance)
    for t in (1, 2, 3):
        s, r = schedule.gamma[t], schedule.gamma[t + 1]
        alpha, rest = between(s, r)
        cov, var = np.sqrt(alpha) * spread(s) ** 2, spread(r) ** 2
        np.testing.assert_allclose(schedule.c_z[t - 1], cov / var, rtol=1e-13)
        np.testing.assert_allclose(schedule.c_a[t - 1], signal(s) - cov / var * signal(r), rtol=1e-12)
        np.testing.assert_allclose(schedule.v_q[t - 1], spread(s) ** 2 - cov ** 2 / var, rtol=1e-12)
        np.testing.assert_allclose(schedule.v_p[t - 1], {"posterior": schedule.v_q[t - 1], "forward": rest}[variance])
        mu_q, mu_p = np.array([[1.0, 2.0]]) * schedule.c_a[t - 1], np.array([[0.5, -1.0]]) * schedule.c_a[t - 1]
        kl = gaussian.kl(mu_q, np.log(np.full((1, 1), schedule.v_q[t - 1])) + 0 * mu_q, mu_p,
                         np.log(np.full((1, 1), schedule.v_p[t - 1])) + 0 * mu_p)[0]
        by_weight = schedule.weight[t - 1] / 2 * (0.5 ** 2 + 3.0 ** 2) + 2 * schedule.constant[t - 1]
        np.testing.assert_allclose(by_weight, kl, rtol=1e-12)


def test_weight_is_a_difference_of_signal_to_noise():
    schedule = Schedule(30, np.array([-3.0, 4.0]), "posterior")
    np.testing.assert_allclose(schedule.weight, np.exp(-schedule.gamma[1:-1]) - np.exp(-schedule.gamma[2:]), rtol=1e-12)
    assert schedule.weight.sum() == pytest.approx(np.exp(3.0) - np.exp(-4.0), rel=1e-12) and not schedule.constant.any()


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_a_step_keeps_the_density_of_z(eta):
    """With a in the place of its guess: from q(z_t | a) to q(z_s | a), whatever eta says is new noise."""
    s, t = np.array([-3.0, -0.5, 1.0, 2.0, -9.0]), np.array([-1.0, 0.1, 1.01, 7.0, 12.0])
    c_z, c_a, v = step(s, t, eta)
    np.testing.assert_allclose(c_z * signal(t) + c_a, signal(s), rtol=1e-13)
    np.testing.assert_allclose(c_z ** 2 * spread(t) ** 2 + v, spread(s) ** 2, rtol=1e-12)
    np.testing.assert_allclose(v, eta ** 2 * step(s, t, 1)[2], rtol=1e-14)


@pytest.mark.parametrize("log_noise", [(-5.0, 5.0), (-3.0, 8.0), (-13.0, 9.0)])
def test_a_step_with_all_its_noise_is_the_step_of_p(log_noise):
    """Every pair of 40 levels, next to each other or far apart: with eta = 1 it is the ancestral step, to rounding."""
    gamma = np.linspace(*log_noise, 40)
    for i, j in zip(*np.triu_indices(40, 1)):
        p = Schedule(2, gamma[[i, j]], "posterior")
        found = step(gamma[i], gamma[j], 1.0)
        np.testing.assert_allclose(found, [p.c_z[0], p.c_a[0], p.v_p[0]], rtol=1e-13, atol=3e-16)


@pytest.mark.parametrize("variance", ["posterior", "forward"])
def test_the_way_down_is_that_of_p_or_some_of_its_levels(variance):
    schedule = Schedule(7, np.array([-3.0, -2.5, -1.0, 0.0, 0.5, 2.0, 4.0]), variance)
    t, gamma, c_z, c_a, sd = zip(*schedule.way_down())
    assert t == (6, 5, 4, 3, 2, 1) and np.array_equal(np.ravel(gamma), schedule.gamma[:1:-1])
    np.testing.assert_array_equal([c_z, c_a, sd], [schedule.c_z[::-1], schedule.c_a[::-1],
                                                   np.sqrt(schedule.v_p)[::-1]])
    t, gamma, c_z, c_a, sd = zip(*schedule.way_down(3, 0.5))
    assert t == (4, 1) and [g.shape for g in gamma] == [(1,), (1,)] and np.array_equal(np.ravel(gamma), [4.0, 0.0])
    expected = step(schedule.gamma[[4, 1]], schedule.gamma[[7, 4]], 0.5)
    np.testing.assert_array_equal([c_z, c_a, sd], [expected[0], expected[1], np.sqrt(expected[2])])
    assert schedule.way_down(3) == schedule.way_down(3, 0) and len(schedule.way_down(eta=0.2)) == 6
    assert schedule.way_down(7, 0.2) == schedule.way_down(eta=0.2) != schedule.way_down(eta=0.3)
    assert schedule.way_down(2)[0][0] == 1 and Schedule(1, np.array([-1.0, 1.0]), variance).way_down(1) == []
    limit = Schedule(math.inf, np.array([-2.0, 2.0]), variance)
    assert [row[0] for row in limit.way_down(5)] == [4, 3, 2, 1] and len(limit.way_down()) == 49
    assert [float(row[1][0]) for row in limit.way_down(5)] == [2, 1, 0, -1]
    assert limit.way_down(50, 0) == limit.way_down() and limit.way_down(eta=1)[0][4] > 0


def test_times_are_uniform_and_leave_no_gap():
    n, draws = 5, 1000
    drawn = np.array([times(n, np.random.default_rng(seed)) for seed in range(draws)])
    assert drawn.shape == (draws, n) and drawn.min() >= 0 and drawn.max() < 1
    for column in drawn.T:
        assert scipy.stats.kstest(column, "uniform").pvalue > 1e-4
    np.testing.assert_array_equal(np.sort((drawn * n).astype(int), axis=1), np.tile(np.arange(n), (draws, 1)))


def test_times_begin_anywhere_and_go_round():
    first = np.random.default_rng(0).random()
    np.testing.assert_array_equal(times(4, np.random.default_rng(0)), (first + np.array([0, 0.25, 0.5, 0.75])) % 1)


def test_one_level_is_picked_with_no_third_part():
    schedule = Schedule(1, np.array([-2.0, 2.0]), "posterior")
    gamma, weight, constant = schedule.pick(np.array([0.0, 0.3, 1.0]))
    np.testing.assert_array_equal(gamma, schedule.gamma[[1, 1, 1]])
    np.testing.assert_array_equal([weight, constant], np.zeros((2, 3)))


@pytest.mark.parametrize("T", [2, 3, 6])
def test_every_level_is_picked_as_often_and_stands_for_all(T):
    schedule = Schedule(T, np.array([-2.0, 2.0]), "forward")
    time = (np.arange(60 * (T - 1)) + 0.5) / (60 * (T - 1))
    gamma, weight, constant = schedule.pick(time)
    np.testing.assert_array_equal(gamma, np.repeat(schedule.gamma[2:], 60))
    assert weight.mean() == pytest.approx(schedule.weight.sum()) and weight[0] == (T - 1) * schedule.weight[0]
    assert constant.mean() == pytest.approx(schedule.constant.sum())
    assert schedule.pick(np.ones(1))[0] == schedule.gamma[T]                   # a rounded 0.99999999


def test_weights_in_the_limit_are_a_density_divided_out():
    schedule = Schedule(math.inf, np.array([-2.0, 2.0]), "posterior")
    time = (np.arange(1000) + 0.5) / 1000
    gamma, weight, constant = schedule.pick(time)
    assert schedule.pick(np.array([0.5])) == (0, 4, 0)                         # gamma itself may be 0
    np.testing.assert_allclose(gamma, -2 + 4 * time)
    assert weight.mean() == pytest.approx(np.exp(2) - np.exp(-2), rel=1e-5) and not constant.any()


# the bound ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("variance", ["posterior", "forward"])
def test_parts_by_their_definitions(likelihood, variance, rng, x):
    """Each level's part is a KL between the two Gaussians, as gaussian.kl has it; the network sees z and gamma."""
    model = make(rng, 5, likelihood=LIKELIHOODS[likelihood], variance=variance)
    noise = model.draw_noise(len(x), rng)
    elbo, _ = model.forward(x, noise)
    a, schedule = (2 * x - 1 if likelihood == "bernoulli" else x), model.schedule

    def read(z, gamma):
        told = np.cos(np.pi * (gamma + 1.5) / 4.5 * np.arange(1, 5))
        f, _ = model.f.forward(np.concatenate([z, told])[None])
        own, gain = (2 * signal(gamma) / spread(gamma) ** 2, 1) if likelihood == "bernoulli" else \
            (signal(gamma), spread(gamma))
        return own * z + gain * f[0]

    for i in range(len(x)):
        t = int(noise[0][i] * 4) + 1
        gamma_1, gamma = schedule.gamma[1], schedule.gamma[t + 1]
        h = read(signal(gamma_1) * a[i] + spread(gamma_1) * noise[1][i], gamma_1)
        assert elbo.reconstruction[i] == pytest.approx(model.likelihood.log_prob(x[i:i + 1], h[None])[0][0])
        assert elbo.prior_matching[i] == pytest.approx(gaussian.kl_standard(
            signal(schedule.gamma[5:]) * a[i:i + 1], np.log(spread(schedule.gamma[5:]) ** 2) + 0 * a[:1])[0][0])
        z = signal(gamma) * a[i] + spread(gamma) * noise[2][i]
        h = read(z, gamma)
        a_hat = np.tanh(h / 2) if likelihood == "bernoulli" else h
        q, p = (schedule.c_z[t - 1] * z + schedule.c_a[t - 1] * mean for mean in (a[i], a_hat))
        logvars = (np.full((1, D), np.log(v[t - 1])) for v in (schedule.v_q, schedule.v_p))
        kl = gaussian.kl(q[None], next(logvars), p[None], next(logvars))[0][0]
        assert elbo.consistency[i, 0] == pytest.approx(4 * kl, rel=1e-9)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_one_level_is_a_vae_with_a_fixed_encoder(likelihood, rng, x):
    """The same numbers, and the same gradient by x and by what both have, as a VAE with that q put in."""
    model = Diffusion(D, 1, (), log_noise=[-0.5], likelihood=likelihood, dtype=np.float64)
    model.theta[:] = rng.standard_normal(model.theta.size)
    vae = VAE(D, D, (), likelihood="bernoulli" if likelihood == "bernoulli" else model.likelihood, dtype=np.float64)
    a, s2, W = signal(model.gamma[1]), spread(model.gamma[1]) ** 2, model.f.output.W
    factor, own, gain = (2, 2 * a / s2, 1) if likelihood == "bernoulli" else (1, a, np.sqrt(s2))
    vae.theta[:] = 0
    vae.q.output.W[:, :D], vae.q.output.b[:D] = factor * a * np.eye(D), (1 - factor) * a
    vae.q.output.b[D:] = np.log(s2)
    vae.p.output.W[:] = own * np.eye(D) + gain * W[:D]
    vae.p.output.b[:] = gain * (model.f.output.b + W[D:].sum(axis=0))          # at the first level the cosines are 1
    noise = model.draw_noise(len(x), rng)
    (elbo, cache), (expected, vae_cache) = model.forward(x, noise), vae.forward(x, noise[1])
    assert elbo.consistency.shape == elbo.kl[:, :-1].shape == (len(x), 0) and model.latent_dims == (D,)
    np.testing.assert_allclose(elbo.reconstruction, expected.reconstruction, rtol=1e-12)
    np.testing.assert_allclose(elbo.prior_matching, expected.prior_matching, rtol=1e-12)
    np.testing.assert_allclose(model.backward(elbo.loss_backward(), cache, input_gradient=True),
                               vae.backward(expected.loss_backward(), vae_cache, input_gradient=True), atol=1e-13)
    np.testing.assert_allclose(model.f.output.dW[:D], gain * vae.p.output.dW, atol=1e-13)
    weights = [m.log_weight(x, 4, np.random.default_rng(1)) for m in (model, vae)]
    np.testing.assert_allclose(*weights, rtol=1e-11)
    np.testing.assert_array_equal(model.bound_by_level(x, 3).prior_matching, elbo.prior_matching)


@pytest.mark.parametrize("T", [5, math.inf])
def test_a_random_level_is_an_unbiased_estimate_of_all(T, rng, x):
    """Over all times the mean of `bound` is that of `bound_by_level`, within standard errors."""
    model = make(rng, T)
    random = np.array([model.forward(x, model.draw_noise(len(x), rng))[0].kl[:, 0] for _ in range(600)])
    whole = np.array([model.bound_by_level(x, rng, 5).consistency.sum(axis=1) for _ in range(100)])
    error = np.sqrt(random.var(axis=0) / len(random) + whole.var(axis=0) / len(whole))
    assert (abs(random.mean(axis=0) - whole.mean(axis=0)) < 4 * error).all()
    assert whole.mean(axis=1).std() < random.mean(axis=1).std()


@pytest.mark.parametrize("T, n", [(1, 1), (2, 1), (4, 3), (math.inf, 6), (math.inf, 1)])
def test_bound_by_level_goes_through_the_intervals_of_time(T, n, rng, x):
    """Draw for draw: the k-th column is the k-th interval's share, the reconstruction a mean."""
    model, generator = make(rng, T, log_noise=(0.5, 3)), np.random.default_rng(5)
    found = model.bound_by_level(x, 5, n)
    elbos = []
    for k in range(n):
        noise = model.draw_noise(len(x), generator)
        noise[0] = (k + noise[0]) / n
        elbos.append(model.forward(x, noise)[0])
    np.testing.assert_allclose(found.reconstruction, np.mean([elbo.reconstruction for elbo in elbos], axis=0))
    np.testing.assert_allclose(found.consistency, np.concatenate([elbo.consistency for elbo in elbos], axis=1) / n)
    np.testing.assert_array_equal(found.prior_matching, elbos[0].prior_matching)
    np.testing.assert_array_equal(model.bound_by_level(x).total, model.bound_by_level(x, 0, 100).total)


def test_every_level_has_its_column(rng, x):
    """The columns of `bound_by_level` are those of `three_writings` in the mean: level by level the same KL."""
    model = make(rng, 4, log_noise=(-1, 2))
    columns = np.array([model.bound_by_level(x, rng).consistency.mean(axis=0) for _ in range(300)])
    others = np.array([three_writings(model, x, rng)["top-down"].consistency.mean(axis=0) for _ in range(300)])
    assert columns.shape == others.shape == (300, 3)
    error = np.sqrt((columns.var(axis=0) + others.var(axis=0)) / 300)
    assert (abs(columns.mean(axis=0) - others.mean(axis=0)) < 4 * error).all()
    limit = make(rng, math.inf).bound_by_level(x, 0, n_times=7)
    assert limit.consistency.shape == (len(x), 7) and limit.total.shape == (len(x),)


# models in which the best network is known ----------------------------------------------------------


@pytest.mark.parametrize("T", [1, 2, 100])
@pytest.mark.parametrize("constant", [False, True])
def test_bound_is_log_p_for_gaussian_data(T, constant, rng):
    """x ~ N(0, I), the stationary chain: a fresh network is the best one, and every log weight is log p(x) itself."""
    log_noise = constant_alpha(0.9, T) if constant else (-2.0, 9.0 if T > 1 else -1.0)
    model = Diffusion(4, T, (3,), log_noise=log_noise, variance="forward", likelihood="gaussian", dtype=np.float64)
    x = rng.standard_normal((5, 4))
    log_p = scipy.stats.norm.logpdf(x).sum(axis=1)
    weights = model.log_weight(x, 3, rng)
    np.testing.assert_allclose(weights, np.tile(log_p, (3, 1)), atol=1e-10)
    np.testing.assert_allclose(model.log_likelihood(x, 2), log_p, atol=1e-10)


def gauss_hermite(n):
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return nodes[:, None], weights / weights.sum()


@pytest.mark.parametrize("T", [1, 2, 40])
def test_mean_of_the_bound_is_log_p_for_gaussian_data(T):
    """The library's bound itself, its mean over eps by quadrature, at every level: log p(x) to 1e-10 for every x."""
    model = Diffusion(1, T, (3,), log_noise=(-3.0, 2.0), variance="forward", likelihood="gaussian", dtype=np.float64)
    eps, w = gauss_hermite(20)
    for value in (-1.7, 0.0, 0.4):
        x = np.full_like(eps, value)
        total = 0.0
        for k in range(max(1, T - 1)):
            elbo, _ = model.forward(x, [np.full(len(x), (k + 0.5) / max(1, T - 1)), eps, eps])
            total += w @ elbo.total / max(1, T - 1)
        assert total == pytest.approx(scipy.stats.norm.logpdf(value), abs=1e-10)


def normal(z, mu=0.0, sd=1.0):
    return np.exp(-((z - mu) / sd) ** 2 / 2) / (np.sqrt(2 * np.pi) * sd)


EPS = np.linspace(-9, 9, 601)                          # for such integrands equal steps are exact to rounding


def mmse(snr, p):
    """Return the least mean square error of a guess of a = ±1, P(a = 1) = p, from √snr a + N(0, 1); snr an array."""
    root, total = np.sqrt(np.asarray(snr))[..., None], 0.0
    for a, share in ((1, p), (-1, 1 - p)):
        y = root * a + EPS
        posterior = 1 / (1 + (1 - p) / p * np.exp(-2 * root * y))              # P(a = 1 | y)
        total = total + share * ((a - (2 * posterior - 1)) ** 2 * normal(EPS)).sum(axis=-1) * (EPS[1] - EPS[0])
    return total


def area(low, high, p, n=16):
    """Return the integral of mmse between two signal-to-noise ratios, by Gauss and Legendre."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return (high - low) / 2 * (weights @ mmse((high + low) / 2 + (high - low) / 2 * nodes, p))


def mean_bound(model, p):
    """Return the mean of the library's bound over one binary pixel, over all levels and, by quadrature, over eps."""
    eps, w = EPS[:, None], normal(EPS) * (EPS[1] - EPS[0])
    total = 0.0
    for value, share in ((1.0, p), (0.0, 1 - p)):
        for k in range(int(model.T) - 1):
            elbo, _ = model.forward(np.full_like(eps, value), [np.full(len(eps), (k + 0.5) / (model.T - 1)), eps, eps])
            total += share * (w @ elbo.total) / (model.T - 1)
    return total


@pytest.mark.parametrize("T", [2, 5, 20, 80])
def test_gap_of_a_binary_pixel_is_as_derived(T):
    """A fresh network that starts from the mean is the best one for one pixel: log p(x) - bound by quadrature."""
    p, first, last = 0.3, -2.5, 4.0
    model = Diffusion(1, T, (3,), log_noise=(first, last), x_mean=[p], dtype=np.float64)
    entropy = -p * np.log(p) - (1 - p) * np.log(1 - p)
    gap = 0.0
    for s, t in zip(model.gamma[1:-1], model.gamma[2:]):                       # the Riemann sum minus the integral
        low, high = np.exp(-t), np.exp(-s)
        gap += (mmse(low, p) * (high - low) - area(low, high, p, 60)) / 2
    sd, m = spread(np.array(last)), signal(np.array(last))

    z = np.linspace(-9, 9, 2001)                       # KL( q(z_T) || N(0, 1) )
    q = p * normal(z, m, sd) + (1 - p) * normal(z, -m, sd)
    top_gap = (q * np.log(q / normal(z))).sum() * (z[1] - z[0])
    assert mean_bound(model, p) == pytest.approx(-entropy - gap - top_gap, abs=1e-9)
    if T == 80:                                        # (step/4) ∫ snr (-mmse') dsnr
        grid = np.exp(-np.linspace(last, first, 400))
        slope = -((grid[1:] + grid[:-1]) / 2 * np.diff(mmse(grid, p))).sum()
        assert gap == pytest.approx((last - first) / (T - 1) / 4 * slope, rel=0.05)


def test_gap_shrinks_as_one_over_T():
    p = 0.3
    models = [Diffusion(1, T, (3,), log_noise=(-2.5, 4.0), x_mean=[p], dtype=np.float64) for T in (21, 41, 81)]
    bounds = [mean_bound(model, p) for model in models]
    assert bounds[0] < bounds[1] < bounds[2]
    assert (bounds[1] - bounds[0]) / (bounds[2] - bounds[1]) == pytest.approx(2, rel=0.1)


def test_best_network_for_points_reaches_log_p(rng):
    """Four binary pictures of three pixels, each with probability 1/4: log p(x) = -log 4."""
    points = np.array([[1, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 1]], float)
    x = np.repeat(points, 200, axis=0)
    gaps = []
    for T in (10, 200):
        model = optimal(points, T, log_noise=(-3.0, 7.0))
        total = model.bound_by_level(x, rng).total
        gaps.append(-np.log(4) - total.mean())
        error = total.std() / np.sqrt(len(x))
    assert abs(gaps[1]) < 0.02 + 3 * error and gaps[0] > 5 * gaps[1]
    weights = model.log_likelihood(points, 100, rng)
    np.testing.assert_allclose(weights, -np.log(4), atol=0.12)
    limit = optimal(points, math.inf, log_noise=(-3.0, 7.0)).bound_by_level(x, rng, 100).total
    assert abs(limit.mean() + np.log(4)) < 0.01 + 4 * limit.std() / np.sqrt(len(x))


# three writings, three readings ---------------------------------------------------------------------


def test_printed_form_is_too_low_by_alpha_d_for_each_level(rng):
    """The exact reverse of the stationary chain: means and variances of the three writings, all in closed form."""
    alpha, d, T, n = 0.8, 3, 6, 8_000
    model = Diffusion(d, T, (3,), log_noise=constant_alpha(alpha, T), variance="forward", likelihood="gaussian",
                      dtype=np.float64)
    x = rng.standard_normal((n, d))
    found = three_writings(model, x, rng)
    ratio = model.schedule.ratio
    expected = {"printed": (np.full(T - 1, alpha * d), np.full(T - 1, 2 * alpha ** 2 * d)),
                "exact": (np.zeros(T - 1), np.full(T - 1, d / 2)),
                "top-down": (-d / 2 * np.log(ratio), (1 - ratio) ** 2 * d / 2)}
    for form, (mean, variance) in expected.items():
        columns = found[form].consistency
        error = columns.std(axis=0) / np.sqrt(n)
        assert (abs(columns.mean(axis=0) - mean) < 5 * error).all(), form
        np.testing.assert_allclose(columns.var(axis=0), variance, rtol=0.1, err_msg=form)
    log_p = scipy.stats.norm.logpdf(x).sum(axis=1)
    for form, loss in (("printed", alpha * d * (T - 1)), ("exact", 0), ("top-down", 0)):
        gap = log_p - found[form].total
        assert abs(gap.mean() - loss) < 5 * gap.std() / np.sqrt(n), form


def test_printed_form_is_too_low_by_the_trace(rng):
    """MATH (8.4) for any schedule: Σ d (1 - α_t) α_{t+1}/(1 - α_{t+1})."""
    d, n = 2, 20_000
    model = Diffusion(d, 5, (3,), log_noise=(-1, 3), variance="forward", likelihood="gaussian", dtype=np.float64)
    alpha, rest = between(model.gamma[:-1], model.gamma[1:])
    found = three_writings(model, rng.standard_normal((n, d)), rng)
    difference = found["printed"].consistency - found["exact"].consistency
    np.testing.assert_allclose(difference.mean(axis=0), d * rest[:-1] * alpha[1:] / rest[1:], rtol=0.05)


@pytest.mark.parametrize("variance", ["posterior", "forward"])
def test_exact_writings_agree_in_the_mean(variance, rng, x):
    """Whatever the network: with their own prior matching, sampled and top-down estimate the same bound."""
    model = make(rng, 4, variance=variance, log_noise=(-1, 2))
    rows = np.repeat(x, 500, axis=0)
    found = three_writings(model, rows, rng)
    gap = found["exact"].total - found["top-down"].total
    assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(len(rows))
    np.testing.assert_array_equal(found["exact"].reconstruction, found["top-down"].reconstruction)
    assert found["printed"].total.mean() < found["exact"].total.mean() - 0.1
    assert found["exact"].consistency.var() > 3 * found["top-down"].consistency.var()


def test_prior_matching_of_the_two_directions(rng, x):
    """From the top down it is of q(z_T | x); from the bottom up of q(z_T | z_{T-1}), whose mean is larger."""
    model = make(rng, 3)
    found = three_writings(model, x, 0)
    elbo, _ = model.forward(x, model.draw_noise(8, rng))
    np.testing.assert_allclose(found["top-down"].prior_matching, elbo.prior_matching)
    alpha, rest = between(model.gamma[2], model.gamma[3])
    a = 2 * x - 1
    square = alpha * (signal(model.gamma[2]) ** 2 * (a ** 2).sum(axis=1) + D * spread(model.gamma[2]) ** 2)
    draws = np.array([three_writings(model, x, rng)["printed"].prior_matching for _ in range(300)])
    expected = 0.5 * (D * (rest - 1 - np.log(rest)) + square)
    assert (abs(draws.mean(axis=0) - expected) < 4 * draws.std(axis=0) / np.sqrt(300)).all()


def test_reconstruction_is_that_of_the_first_draw(rng, x):
    model, eps = make(rng, 3), np.random.default_rng(0).standard_normal((len(x), D))
    mu, logvar = model.encode(x, 1)
    h, _ = model.read(mu + np.exp(logvar / 2) * eps, model.gamma[1:2])
    for elbo in three_writings(model, x).values():
        np.testing.assert_allclose(elbo.reconstruction, model.likelihood.log_prob(x, h)[0], rtol=1e-12)


def test_one_level_has_no_third_part_in_any_writing(rng, x):
    assert all(elbo.consistency.shape == (len(x), 0) for elbo in three_writings(make(rng, 1), x).values())


def test_noise_comes_in_the_precision_of_the_model():
    noise = Diffusion(D, 3, dtype=np.float32).check_noise([np.array([0.0, 1.0]), *np.zeros((2, 2, D))], 2)
    assert [array.dtype for array in noise] == [np.float32] * 3
    Diffusion(D, 3, dtype=np.complex128).check_noise([np.array([-1e-30j, 1 + 1e-30j]), *np.zeros((2, 2, D))], 2)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_three_readings_are_one(likelihood, rng):
    """z is made of the guesses; the score of a known q(z) is that of its density, by a finite difference."""
    model = make(rng, 5, likelihood=likelihood)
    z = rng.standard_normal((3, D))
    for level in (1, 4, 5):
        found, gamma = readings(model, z, level), model.gamma[level]
        np.testing.assert_allclose(signal(gamma) * found.a + spread(gamma) * found.noise, z, atol=1e-12)
        np.testing.assert_allclose(found.score, (signal(gamma) * found.a - z) / spread(gamma) ** 2, atol=1e-11)
        np.testing.assert_array_equal(found.a, model.signal.guess(model.read(z, model.gamma[level:level + 1])[0]))


def test_score_is_that_of_the_density():
    """One pixel, P(1) = 0.3: the fresh network is the best, and its score the slope of log q(z)."""
    model = Diffusion(1, 5, (3,), log_noise=(-2, 2), x_mean=[0.3], dtype=np.float64)
    z, h = np.linspace(-2, 2, 9)[:, None], 1e-5

    def log_q(z):
        s, m = spread(model.gamma[3]), signal(model.gamma[3])
        return np.log(0.3 * normal(z, m, s) + 0.7 * normal(z, -m, s))

    np.testing.assert_allclose(readings(model, z, 3).score, (log_q(z + h) - log_q(z - h)) / (2 * h), atol=1e-7)


# manners --------------------------------------------------------------------------------------------


def test_noise_is_the_next_draws_of_the_generator():
    for dtype in (np.float32, np.float64):
        generator = np.random.default_rng(3)
        noise = Diffusion(D, 4, (5,), dtype=dtype).draw_noise(4, np.random.default_rng(3))
        expected = [times(4, generator).astype(dtype), *(generator.standard_normal((4, D), dtype) for _ in range(2))]
        for found, wanted in zip(noise, expected, strict=True):
            np.testing.assert_array_equal(found, wanted)
            assert found.dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
@pytest.mark.parametrize("T", [1, 5, math.inf])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_precision_is_kept_from_end_to_end(dtype, T, likelihood, x):
    model = Diffusion(D, T, (5,), likelihood=likelihood, variance="forward", dtype=dtype)
    elbo, cache = model.forward(x, model.draw_noise(len(x), np.random.default_rng(0)))
    assert elbo.total.dtype == elbo.kl.dtype == model.theta.dtype == dtype
    if dtype != np.complex128:
        dx = model.backward(elbo.loss_backward(), cache, input_gradient=True)
        assert dx.dtype == model.gradient.dtype == dtype
        assert model.bound_by_level(x, 0, 3).total.dtype == model.with_levels(7).sample(3).dtype == dtype
        assert model.with_levels(3).log_weight(x.astype(dtype), 2, np.random.default_rng(0)).dtype == dtype
        finite = model.with_levels(3)
        assert all(z.dtype == dtype for _, z in finite.descend(2, np.random.default_rng(0)))
        assert finite.encode(x, 2)[1].dtype == finite.reconstruct(x, 2).dtype == finite.decode(x, 2).dtype == dtype
        assert three_writings(finite, x, 0)["exact"].total.dtype == readings(finite, x, 1).score.dtype == dtype


def test_a_fresh_network_says_what_each_entry_tells_by_itself(rng):
    """Bernoulli: the posterior of the pixel, with the mean's odds; Gaussian: that of N(0, 1)."""
    p, z = np.linspace(0.1, 0.9, D), rng.standard_normal((4, D))
    model = Diffusion(D, 5, (7,), x_mean=p, dtype=np.float64)
    for t in (1, 3, 5):
        s, m = spread(model.gamma[t]), signal(model.gamma[t])
        one, zero = p * normal(z, m, s), (1 - p) * normal(z, -m, s)
        np.testing.assert_allclose(model.decode(z, t), one / (one + zero), rtol=1e-9)
    model = Diffusion(D, 5, (7,), likelihood="gaussian", dtype=np.float64)
    np.testing.assert_allclose(model.decode(z, 2), signal(model.gamma[2]) * z)
    assert model.likelihood.logvar == pytest.approx(np.log(spread(model.gamma[1]) ** 2))
    assert Diffusion(D, 5, likelihood="gaussian", x_mean=p).f.output.b == pytest.approx(p)


def test_levels_may_be_changed(rng, x):
    model = make(rng, math.inf)
    twin = model.with_levels(9)
    assert twin.T == 9 and model.T == math.inf and twin.latent_dims == model.latent_dims == (D, D)
    np.testing.assert_allclose(twin.gamma[1:], np.linspace(-1.5, 3, 9))
    np.testing.assert_array_equal(twin.theta, model.theta)
    assert twin.with_levels(1).latent_dims == (D,) and twin.with_levels(1).gamma[1] == -1.5
    assert make(rng, 4, variance="forward").with_levels(6).variance == "forward"
    twin.theta[:] = 0
    assert model.theta.any() and not twin.f.output.W.any()
    copied = copy.deepcopy(model)
    np.testing.assert_array_equal(copied.forward(x, model.draw_noise(8, np.random.default_rng(1)))[0].total,
                                  model.forward(x, model.draw_noise(8, np.random.default_rng(1)))[0].total)
    bounds = [m.bound_by_level(np.repeat(x, 20, axis=0), 0, 100).total.mean()
              for m in (model, model.with_levels(101))]
    assert bounds[0] == pytest.approx(bounds[1], rel=0.03)


def test_limit_uses_a_thousand_levels_for_log_p_and_fifty_for_samples(rng, x):
    model = make(rng, math.inf)
    np.testing.assert_array_equal(model.log_weight(x, 2, np.random.default_rng(1)),
                                  model.with_levels(1000).log_weight(x, 2, np.random.default_rng(1)))
    np.testing.assert_array_equal(model.sample(3, 1), model.with_levels(50).sample(3, 1, eta=0))
    np.testing.assert_array_equal(model.sample(3, 1, True, 7, 0.5), model.with_levels(7).sample(3, 1, True, 7, 0.5))
    path = [t for t, _ in model.descend(3, 1, 4)]
    assert path == [math.inf, 3, 2, 1] and len(list(model.descend(3, 1))) == 50


def test_the_guess_is_all_that_descend_asks_of_the_network(rng):
    """Where it is replaced, as guidance does, the way down follows: DDIM shrinks its noise around a fixed guess."""
    model = make(rng, 50)
    z, gamma = rng.standard_normal((3, D)), model.gamma[3:4]
    np.testing.assert_array_equal(model.guess(z, gamma), model.signal.guess(model.read(z, gamma)[0]))
    model.guess = lambda z, gamma: np.full_like(z, 0.25)
    (_, top), *_, (t, z) = model.descend(5, rng, 50, 0.0)
    first, last = model.gamma[[1, -1]]
    np.testing.assert_allclose(z / signal(first) - 0.25,
                               np.exp((first - last) / 2) * (top / signal(last) - 0.25), rtol=1e-10)
    assert t == 1


def test_log_weight_is_a_log_ratio_of_densities(rng, x):
    """The same draws, and every density by gaussian.log_prob; its mean is the bound."""
    for variance in ("posterior", "forward"):
        model = make(rng, 4, variance=variance)
        found, generator = model.log_weight(x, 2, np.random.default_rng(5)), np.random.default_rng(5)
        a, s = np.tile(2 * x - 1, (2, 1)), model.schedule

        def log_normal(z, mu, v):
            return scipy.stats.norm.logpdf(z, mu, np.sqrt(v)).sum(axis=1)

        mu, v = signal(model.gamma[4]) * a, spread(model.gamma[4]) ** 2
        z = mu + np.sqrt(v) * generator.standard_normal(a.shape)
        log_w = log_normal(z, 0, 1) - log_normal(z, mu, v)
        for t in (3, 2, 1):
            a_hat = model.signal.guess(model.read(z, model.gamma[t + 1:t + 2])[0])
            mu_q, mu_p = (s.c_z[t - 1] * z + s.c_a[t - 1] * mean for mean in (a, a_hat))
            z = mu_q + np.sqrt(s.v_q[t - 1]) * generator.standard_normal(a.shape)
            log_w += log_normal(z, mu_p, s.v_p[t - 1]) - log_normal(z, mu_q, s.v_q[t - 1])
        log_w += model.likelihood.log_prob(np.tile(x, (2, 1)), model.read(z, model.gamma[1:2])[0])[0]
        np.testing.assert_allclose(found, log_w.reshape(2, 8), rtol=1e-9)


def test_samples_come_down_level_by_level(rng):
    """The path from N(0, I): each step has the mean and variance of p(z_t | z_{t+1}); the last is read."""
    for variance in ("posterior", "forward"):
        model = make(rng, 4, variance=variance)
        path = list(model.descend(5, np.random.default_rng(2)))
        generator = np.random.default_rng(2)
        z = generator.standard_normal((5, D))
        assert [t for t, _ in path] == [4, 3, 2, 1]
        np.testing.assert_array_equal(path[0][1], z)
        for t, found in path[1:]:
            a_hat = readings(model, z, t + 1).a
            z = (model.schedule.c_z[t - 1] * z + model.schedule.c_a[t - 1] * a_hat
                 + np.sqrt(model.schedule.v_p[t - 1]) * generator.standard_normal(z.shape))
            np.testing.assert_allclose(found, z, rtol=1e-12)
        np.testing.assert_array_equal(model.sample(5, 2), model.decode(path[-1][1]))
        drawn = model.sample(5, 2, draw=True)
        np.testing.assert_array_equal(drawn, model.decode(path[-1][1], 1, generator))
        assert not np.array_equal(model.sample(5), model.sample(5))            # each call draws anew
        assert set(np.unique(drawn)) <= {0, 1}


@pytest.mark.parametrize("eta", [None, 0.0, 0.4, 1.0])
def test_samples_through_some_of_the_levels(eta, rng):
    """Each step by its definition: â stays, and the noise of z is shrunk, and partly new."""
    model, generator, eta_or_0 = make(rng, 9), np.random.default_rng(2), eta or 0.0
    z = generator.standard_normal((5, D))
    path = list(model.descend(5, 2, 3, eta))
    assert [t for t, _ in path] == [9, 5, 1]
    for (above, _), (below, found) in zip(path, path[1:]):
        t, s = model.gamma[above], model.gamma[below]
        a_hat, noise, _ = readings(model, z, above)
        v = eta_or_0 ** 2 * Schedule(2, np.array([s, t]), "posterior").v_q[0]
        z = (signal(s) * a_hat + np.sqrt(spread(s) ** 2 - v) * noise
             + np.sqrt(v) * generator.standard_normal(z.shape))
        np.testing.assert_allclose(found, z, rtol=1e-9)
    np.testing.assert_array_equal(model.sample(5, 2, steps=3, eta=eta), model.decode(path[-1][1]))
    np.testing.assert_array_equal(model.sample(5, 2, True, 3, eta), model.decode(path[-1][1], 1, generator))


def test_samples_of_the_stationary_chain_are_normal():
    model = Diffusion(1, 6, (3,), log_noise=(-3, 6), variance="forward", likelihood="gaussian", dtype=np.float64)
    assert scipy.stats.kstest(model.sample(4000, 1, draw=True)[:, 0], "norm").pvalue > 1e-3


def test_encode_and_reconstruct(rng, x):
    model = make(rng)
    for level in (1, 3):
        mu, logvar = model.encode(x, level)
        np.testing.assert_allclose(mu, signal(model.gamma[level]) * (2 * x - 1))
        np.testing.assert_allclose(logvar, np.full_like(x, np.log(spread(model.gamma[level]) ** 2)))
        z = mu + np.exp(logvar / 2) * np.random.default_rng(4).standard_normal(mu.shape)
        np.testing.assert_allclose(model.reconstruct(x, level, 4), model.decode(z, level))
    np.testing.assert_array_equal(model.reconstruct(x), model.reconstruct(x, 1, 0))
    np.testing.assert_array_equal(model.encode(x)[0], model.encode(x, 1)[0])
    h, _ = model.read(x, model.gamma[3:4])
    np.testing.assert_array_equal(model.decode(x, 3, 1), model.likelihood.sample(h, np.random.default_rng(1)))
    np.testing.assert_array_equal(model.decode(x), model.decode(x, 1))


def test_first_weights_add_nothing_and_follow_the_seed():
    first, second, other = (Diffusion(D, 4, (5,), rng=seed) for seed in (3, 3, 4))
    assert np.array_equal(first.theta, second.theta) and not np.array_equal(first.theta, other.theta)
    assert not first.f.output.W.any() and np.array_equal(Diffusion(D).theta, Diffusion(D, rng=0).theta)
    model = Diffusion(D)
    assert model.T == 1000 and model.gamma[1] == -5 and model.gamma[-1] == 5 and model.dtype == np.float32
    assert [view.shape for name, view in model.parameters.items() if name.endswith("W")] == \
        [(D + 4, 256), (256, 256), (256, D)]
    assert list(model.parameters)[:2] == ["f.dense1.W", "f.dense1.b"] and "leaky_relu1" in model.f.layers


def test_fit_records_the_sum_of_all_levels_and_a_run_goes_on(rng, x):
    """The contract of training: one column for all levels below the top, and the same bits for the same seed."""
    first, second = (Diffusion(D, 50, (5,), log_noise=(-2, 4), rng=1) for _ in range(2))
    history = fit(first, x, epochs=3, batch_size=4, rng=7, x_valid=x)
    assert {"consistency_1", "prior_matching", "valid_elbo"} <= set(history) and "consistency_2" not in history
    fit(second, x, epochs=3, batch_size=4, rng=7)
    np.testing.assert_array_equal(first.theta, second.theta)


@pytest.mark.parametrize("T", [math.inf, 40])
def test_held_out_bound_is_over_ten_levels_of_each_row(T, rng):
    """One from each tenth of the levels, with the same noise each time; for T = inf it is that of `bound_by_level`."""
    model, x = make(rng, T, log_noise=(-2, 5)), rng.integers(0, 2, (60, D)).astype(float)
    found = [held_out(model, x, seed)["elbo"] for seed in range(60)]
    assert held_out(model, x, 0)["elbo"] == found[0]
    whole = [model.bound_by_level(x, seed, 39).total.mean() for seed in range(60)]
    one = [model.forward(x, model.draw_noise(60, rng))[0].total.mean() for _ in range(60)]
    assert np.std(found) < 0.6 * np.std(one)
    assert abs(np.mean(found) - np.mean(whole)) < 4 * np.hypot(np.std(found), np.std(whole)) / np.sqrt(60)
    if T == math.inf:
        generator = stream(5, "held out")
        expected = np.mean([model.bound_by_level(rows, generator, 10).total.mean() for rows in (x[:30], x[30:])])
        assert held_out(model, x, 5, batch_size=30)["elbo"] == pytest.approx(expected, rel=1e-12)


def test_training_learns_what_pixels_know_of_each_other(rng):
    """Two pixels that are always equal: log p(x) = -log 2, where pixels by themselves reach -2 log 2."""
    x = np.repeat(rng.integers(0, 2, (200, 1)), 2, axis=1).astype(float)
    model = Diffusion(2, math.inf, (32,), log_noise=(-3, 7), activation="tanh", rng=1)
    fit(model, x, epochs=100, batch_size=50, learning_rate=0.01)
    assert -np.log(2) - 0.1 < model.bound_by_level(x, 0, 300).total.mean() < -np.log(2) + 0.03


BAD = [
    (lambda: Diffusion(0), "^x_dim must be a whole number of at least 1; got 0"),
    (lambda: Diffusion(6, 0), "^T must be a whole number from 1 to 1000000; got 0"),
    (lambda: Diffusion(6, 2.5), "^T must be a whole number"),
    (lambda: Diffusion(6, 3, 64), "^hidden_dims must be a sequence"),
    (lambda: Diffusion(6, 3, log_noise=(5, -5)), r"^log_noise must be 2 numbers that rise, .*; got \[5.0, -5.0\]"),
    (lambda: Diffusion(6, 3, log_noise=(0, 1, 2, 3)), "or one for each of the T levels; got"),
    (lambda: Diffusion(6, 3, log_noise=range(1000)), r"one for each of the T levels; got \[0.0, .* of type list$"),
    (lambda: Diffusion(6, 3, log_noise=(0, 1, 1)), "^log_noise must be 2 numbers that rise"),
    (lambda: Diffusion(6, math.inf, log_noise=(0, 1, 2)), "^log_noise must be 2 numbers that rise"),
    (lambda: Diffusion(6, 3, log_noise=5), r"^log_noise must have shape \(T,\)"),
    (lambda: Diffusion(6, 3, variance="learned"), "^variance must be one of 'posterior', 'forward'; got 'learned'"),
    (lambda: Diffusion(6, 3, likelihood=Gaussian(6)),
     r"^likelihood must have a fixed variance, such as Gaussian\(6, logvar=-5\); this one learns it$"),
    (lambda: Diffusion(6, 3, rng="dice"), "^rng must be a Generator or a seed"),
    (lambda: Diffusion(6, 3).forward(np.zeros((4, 6)), 0), "^noise must be a list of 3 arrays: .*; got 0"),
    (lambda: Diffusion(6, 3).forward(np.zeros((4, 6)), [0, 0]),
     r"^noise must be a list of 3 arrays: times, eps of z_1, eps of z_\(t\+1\); got 2"),
    (lambda: Diffusion(6, 3).forward(np.zeros((4, 6)), [np.zeros(3), 0, 0]), r"^noise\[0\] must have shape \(4,\)"),
    (lambda: Diffusion(6, 3).forward(np.zeros((4, 6)), [np.array([0.5, 0, 1, 1.5]), *np.zeros((2, 4, 6))]),
     r"^noise\[0\] must be times in \[0, 1\]; its values go from 0 to 1.5"),
    (lambda: Diffusion(6, 3, dtype=complex).forward(np.zeros((2, 6)), [np.array([0.5 + 1j, 2]), *np.zeros((2, 2, 6))]),
     r"^noise\[0\] must be times in \[0, 1\]; its values go from 0.5 to 2$"),
    (lambda: Diffusion(6, 3).forward(np.zeros((4, 6)), [np.array([-0.5, 0, 1, 0.5]), *np.zeros((2, 4, 6))]),
     r"^noise\[0\] must be times in"),
    (lambda: Diffusion(6, 3).forward(np.zeros((4, 6)), [np.zeros(4), np.zeros((4, 6)), np.zeros((4, 5))]),
     r"^noise\[2\] must have shape \(4, 6\)"),
    (lambda: Diffusion(6, 3).forward(np.full((4, 6), 2.0), []), r"^x must lie in \[0, 1\]"),
    (lambda: Diffusion(6, 3).decode(np.zeros((4, 5))), r"^z must have shape \(n, 6\)"),
    (lambda: Diffusion(6, 3).decode(np.zeros((4, 6)), 4), "^level must be a whole number from 1 to 3; got 4"),
    (lambda: Diffusion(6, 3).decode(np.zeros((4, 6)), 0), "^level must be"),
    (lambda: Diffusion(6, 3).encode(np.full((4, 6), 2.0)), r"^x must lie in \[0, 1\]"),
    (lambda: Diffusion(6, math.inf).encode(np.zeros((4, 6))), "^T is infinite, so that no level has a number"),
    (lambda: Diffusion(6, 3).sample(0), "^n must be a whole number of at least 1; got 0"),
    (lambda: Diffusion(6, 3).sample(2, steps=4), "^steps must be a whole number from 2 to 3; got 4"),
    (lambda: Diffusion(6, 3).sample(2, steps=1), "^steps must be a whole number from 2 to 3; got 1"),
    (lambda: Diffusion(6, 1).sample(2, steps=2), "^steps must be a whole number from 1 to 1; got 2"),
    (lambda: Diffusion(6, math.inf).sample(2, steps=1), "^steps must be a whole number from 2 to 1000000; got 1"),
    (lambda: Diffusion(6, 3).sample(2, eta=1.5), r"^eta must be a number in \[0, 1\]; got 1.5"),
    (lambda: Diffusion(6, math.inf).sample(2, eta=-0.1), r"^eta must be a number in \[0, 1\]; got -0.1"),
    (lambda: Diffusion(6, 3).sample(2, "dice"), "^rng must be a Generator or a seed"),
    (lambda: Diffusion(6, 3).sample(2, 0, "yes"), "^draw must be True or False"),
    (lambda: Diffusion(6, 3).decode(np.zeros((4, 6)), 1, "dice"), "^rng must be a Generator or a seed"),
    (lambda: Diffusion(6, 3).reconstruct(np.zeros((4, 6)), 1, "dice"), "^rng must be a Generator or a seed"),
    (lambda: Diffusion(6, 3).draw_noise(0, 0), "^n must be a whole number of at least 1; got 0"),
    (lambda: Diffusion(6, 3).draw_noise(2, "dice"), "^rng must be a Generator or a seed"),
    (lambda: next(Diffusion(6, 3).descend(0, 0)), "^n must be a whole number of at least 1; got 0"),
    (lambda: next(Diffusion(6, 3).descend(2, "dice")), "^rng must be a Generator or a seed"),
    (lambda: Diffusion(6, 3).bound_by_level(np.full((4, 6), 2.0)), r"^x must lie in \[0, 1\]"),
    (lambda: Diffusion(6, math.inf).bound_by_level(np.zeros((4, 6)), 0, 0), "^n_times must be"),
    (lambda: Diffusion(6, 3).bound_by_level(np.zeros((4, 6)), "dice"), "^rng must be a Generator or a seed"),
    (lambda: three_writings(Diffusion(6, math.inf), np.zeros((4, 6))), "^T is infinite"),
    (lambda: three_writings(Diffusion(6, 3), np.zeros((4, 6)), "dice"), "^rng must be a Generator or a seed"),
    (lambda: three_writings(Diffusion(6, 3), np.full((4, 6), 2.0)), r"^x must lie in \[0, 1\]"),
    (lambda: readings(Diffusion(6, 3), np.zeros((4, 5)), 1), r"^z must have shape \(n, 6\)"),
]


@pytest.mark.parametrize("call, says", BAD, ids=[says.replace("\\", "")[:60] for _, says in BAD])
def test_one_sentence_that_names_the_argument(call, says):
    with pytest.raises(ValueError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
