"""The probability flow: its trace against the complex step, its log p against exact densities, and DDIM against it."""

import math
from functools import partial

import numpy as np
import pytest
import scipy.special
import scipy.stats

from scratchvae import Diffusion, Gaussian, flow, readings
from scratchvae.data import binarize, digits
from scratchvae.layers import ACTIVATIONS
from scratchvae.mlp import MLP
from scratchvae.schedule import signal, spread, step

D = 6


def make(rng, T=math.inf, hidden=(5, 4), **options):
    """Return a small float64 model with all its parameters away from zero, biases included."""
    model = Diffusion(D, T, hidden, **{"log_noise": (-1.5, 3), "rng": rng, "dtype": np.float64, **options})
    model.theta += 0.3 * rng.standard_normal(model.theta.size)
    return model


class Normal:
    """Data from N(0, C): the best guess of a from u, its trace, the flow from one gamma to another, and log p(u)."""

    def __init__(self, cov):
        self.variances, self.axes = np.linalg.eigh(cov)

    def __call__(self, u, gamma):
        shrink = self.variances / (self.variances + np.exp(gamma))
        return u @ self.axes * shrink @ self.axes.T, np.full(len(u), shrink.sum())

    def moved(self, u, start, end):
        return u @ self.axes * np.sqrt((self.variances + np.exp(end)) / (self.variances + np.exp(start))) @ self.axes.T

    def log_p(self, u, gamma):
        return scipy.stats.norm.logpdf(u @ self.axes, 0, np.sqrt(self.variances + np.exp(gamma))).sum(axis=1)


class Points:
    """Data that are a finite set of points, each as likely as the others."""

    def __init__(self, a):
        self.a = a

    def posterior(self, u, gamma):
        log_w = -((u * u).sum(axis=1)[:, None] + (self.a * self.a).sum(axis=1) - 2 * u @ self.a.T) / (2 * np.exp(gamma))
        return log_w, scipy.special.softmax(log_w, axis=1)

    def __call__(self, u, gamma):
        _, w = self.posterior(u, gamma)                # Σᵢ ∂âᵢ/∂uᵢ is the variance of a given u, over that of the noise
        a_hat = w @ self.a
        return a_hat, (w @ (self.a ** 2).sum(axis=1) - (a_hat ** 2).sum(axis=1)) / np.exp(gamma)

    def log_p(self, u, gamma):
        log_w, _ = self.posterior(u, gamma)
        n, d = self.a.shape
        return scipy.special.logsumexp(log_w, axis=1) - np.log(n) - d / 2 * np.log(2 * np.pi * np.exp(gamma))


@pytest.fixture
def gaussian_data(rng):
    A = rng.standard_normal((D, D))
    data = Normal(A @ A.T / D)
    return data, rng.standard_normal((5, D)) * np.sqrt(data.variances) @ data.axes.T


# the trace ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [(), (7,), (5, 4), (4, 6, 5)])
def test_trace_agrees_with_the_complex_step(activation, hidden, rng):
    """The inputs after the first D, such as the cosines, take no part."""
    f = MLP((D + 3, *hidden, D), activation, rng)
    x, weight = rng.standard_normal((8, D + 3)), rng.standard_normal((8, D))
    expected = np.zeros(8)
    for i in range(D):
        expected += weight[:, i] * f.forward(x + 1e-30j * np.eye(D + 3)[i])[0][:, i].imag / 1e-30
    _, caches = f.forward(x)
    found = flow.trace(f, caches, weight)
    assert found.shape == (8,) and np.abs(found - expected).max() <= 1e-12 * np.abs(expected).max()


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", Gaussian(D, logvar=-1.0)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_trace_of_the_guess_agrees_with_the_complex_step(likelihood, activation, rng):
    model, u, gamma = make(rng, likelihood=likelihood, activation=activation), rng.standard_normal((4, D)), 0.7
    a_hat, found = flow.denoise(model, u, gamma)
    assert found.shape == (4,)
    z = signal(np.array([gamma])) * u
    np.testing.assert_allclose(a_hat, model.signal.guess(model.read(z, np.array([gamma]))[0]), rtol=1e-12)
    twin, expected = model.astype(np.complex128), np.zeros(4)
    for i in range(D):
        expected += flow.denoise(twin, u + 1e-30j * np.eye(D)[i], gamma)[0][:, i].imag / 1e-30
    assert np.abs(found - expected).max() <= 1e-12 * np.abs(expected).max()


def test_random_probes_have_the_trace_as_their_mean(rng):
    """Hutchinson's estimate, by the library's own backward; over all 2^D signs its mean is exact."""
    f = MLP((4, 5, 4), "tanh", rng)
    _, caches = f.forward(rng.standard_normal((1, 4)))
    signs = np.stack(np.meshgrid(*[[-1.0, 1.0]] * 4), axis=-1).reshape(-1, 1, 4)
    probes = [(f.backward(sign, caches) * sign).sum() for sign in signs]
    assert np.mean(probes) == pytest.approx(flow.trace(f, caches, np.ones((1, 4)))[0], rel=1e-12)
    jacobian = np.concatenate([f.backward(e[None], caches) for e in np.eye(4)])
    pairs = np.triu(jacobian + jacobian.T, 1)
    assert np.var(probes) == pytest.approx((pairs ** 2).sum(), rel=1e-12)


# the flow, where all is known -----------------------------------------------------------------------


def test_exact_log_p_of_gaussian_data(gaussian_data):
    data, u = gaussian_data
    end, change = flow.integrate(data, u, -9.0, 9.0, rtol=1e-10)
    assert np.abs(data.log_p(end, 9.0) + change - data.log_p(u, -9.0)).max() <= 1e-8
    np.testing.assert_allclose(end, data.moved(u, -9.0, 9.0), rtol=1e-8)


def test_exact_log_p_of_gaussian_data_with_a_wide_tolerance(gaussian_data):
    """The error follows the tolerance, and the default is 1e-4."""
    data, u = gaussian_data
    errors = []
    for options in ({"rtol": 1e-3}, {}, {"rtol": 1e-6}):
        end, change = flow.integrate(data, u, -9.0, 9.0, **options)
        errors.append(np.abs(data.log_p(end, 9.0) + change - data.log_p(u, -9.0)).max())
    assert 0.1 > errors[0] > 3 * errors[1] > 60 * errors[2] and errors[1] < 5e-3
    np.testing.assert_array_equal(flow.integrate(data, u, -1.0, 1.0)[0], flow.integrate(data, u, -1.0, 1.0, 1e-4)[0])


def test_exact_log_p_of_the_digits_as_a_mixture(rng):
    """1438 points in 64 dimensions, and the softmax that guesses best."""
    images = digits()
    data = Points(2 * binarize(images.x_train, "sample", rng=1).astype(float) - 1)
    u = 2 * binarize(images.x_test[:8], "sample", rng=2) - 1 + np.exp(-0.5) * rng.standard_normal((8, 64))
    end, change = flow.integrate(data, u, -1.0, 8.0, rtol=1e-8)
    assert np.abs(data.log_p(end, 8.0) + change - data.log_p(u, -1.0)).max() <= 1e-5


def test_down_is_the_way_back(gaussian_data):
    data, u = gaussian_data
    top, up = flow.integrate(data, u, -3.0, 4.0, 1e-9)
    bottom, down = flow.integrate(data, top, 4.0, -3.0, 1e-9)
    np.testing.assert_allclose(bottom, u, atol=1e-7)
    np.testing.assert_allclose(down, -up, atol=1e-7)
    without, rest = flow.integrate(lambda u, gamma: (data(u, gamma)[0], 0), u, -3.0, 4.0, 1e-9)        # no trace
    np.testing.assert_allclose(without, top, atol=1e-7)
    np.testing.assert_allclose(rest, np.full(5, D * 3.5), rtol=1e-12)


def test_ddim_goes_to_the_end_of_the_flow_with_the_order_one(gaussian_data):
    """Steps without noise, at the best guess for Gaussian data: the error falls as one over their number."""
    data, u = gaussian_data
    first, last = -4.0, 4.0
    z_T, end = signal(last) * u, signal(first) * data.moved(u, last, first)
    numbers, errors = np.array([40, 80, 160, 320]), []
    for n in numbers:
        gamma, z = np.linspace(last, first, n + 1), z_T
        for t, s in zip(gamma[:-1], gamma[1:]):
            c_z, c_a, v = step(s, t, 0.0)
            z = c_z * z + c_a * data(z / signal(t), t)[0]
            assert v == 0
        errors.append(np.sqrt(((z - end) ** 2).mean()))
    slope = np.polyfit(np.log(numbers), np.log(errors), 1)[0]
    assert slope == pytest.approx(-1, abs=0.05) and errors[-1] < 0.02


# log p by a model -----------------------------------------------------------------------------------


def test_exact_density_of_a_fresh_network(rng):
    """It says what each entry tells by itself: a pixel's density is a sum of two normals, that of a number is one."""
    p = np.linspace(0.1, 0.9, D)
    model = Diffusion(D, math.inf, (5,), log_noise=(-2, 30), x_mean=p, dtype=np.float64)
    z = rng.standard_normal((6, D))
    s, m = spread(np.array(-2.0)), signal(np.array(-2.0))
    expected = np.log(p * scipy.stats.norm.pdf(z, m, s) + (1 - p) * scipy.stats.norm.pdf(z, -m, s)).sum(axis=1)
    np.testing.assert_allclose(flow.log_density(model, z, 1e-8), expected, atol=1e-5)
    model = Diffusion(D, math.inf, (5,), log_noise=(-2, 3), likelihood="gaussian", dtype=np.float64)
    np.testing.assert_allclose(flow.log_density(model, z, 1e-9), scipy.stats.norm.logpdf(z).sum(axis=1), atol=1e-6)


@pytest.mark.parametrize("T", [math.inf, 7])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_exact_weight_of_a_fresh_network_is_log_p_for_every_draw(T, likelihood, rng):
    """Its p(z_1) and p(x | z_1) are those of independent entries, and q(z_1 | x) is the posterior."""
    p = np.linspace(0.1, 0.9, D) if likelihood == "bernoulli" else None
    model = Diffusion(D, T, (5,), log_noise=(-2, 30), likelihood=likelihood, x_mean=p, dtype=np.float64)
    x = rng.integers(0, 2, (4, D)).astype(float) if likelihood == "bernoulli" else rng.standard_normal((4, D))
    log_p = scipy.stats.bernoulli.logpmf(x, p) if likelihood == "bernoulli" else scipy.stats.norm.logpdf(x)
    for seed in (0, 1):
        np.testing.assert_allclose(flow.log_weight(model, x, seed, 1e-8), log_p.sum(axis=1), atol=1e-5)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_the_density_of_any_network_integrates_to_one(likelihood, rng):
    model = Diffusion(1, math.inf, (6,), log_noise=(-1, 4), likelihood=likelihood, activation="tanh", rng=rng,
                      dtype=np.float64)
    model.theta += 0.5 * rng.standard_normal(model.theta.size)
    z = np.linspace(-12, 12, 2401)[:, None]
    p = np.exp(flow.log_density(model, z, 1e-8))
    assert p.sum() * 0.01 == pytest.approx(1, abs=1e-5) and p[[0, -1]].max() < 1e-6


def test_log_weight_by_its_definition(rng):
    model, x = make(rng), rng.integers(0, 2, (3, D)).astype(float)
    gamma = model.gamma[1:2]
    z = signal(gamma) * (2 * x - 1) + spread(gamma) * np.random.default_rng(5).standard_normal(x.shape)
    expected = (model.likelihood.log_prob(x, model.read(z, gamma)[0])[0] + flow.log_density(model, z)
                - scipy.stats.norm.logpdf(z, signal(gamma) * (2 * x - 1), spread(gamma)).sum(axis=1))
    np.testing.assert_allclose(flow.log_weight(model, x, 5), expected, rtol=1e-12)
    np.testing.assert_array_equal(flow.log_weight(model, x), flow.log_weight(model, x, 0, 1e-4))


def test_log_density_ends_with_the_standard_normal(rng):
    """Of u at the top, and of z_1 at the bottom: the two densities differ by the factors √ᾱ."""
    model, z = make(rng, likelihood="gaussian"), rng.standard_normal((3, D))
    s_1, s_T = signal(model.gamma[1]), signal(model.gamma[-1])
    u, change = flow.integrate(partial(flow.denoise, model), z / s_1, -1.5, 3.0, 1e-4)
    log_p_u = scipy.stats.norm.logpdf(u, 0, 1 / s_T).sum(axis=1) + change
    np.testing.assert_allclose(flow.log_density(model, z), log_p_u - D * np.log(s_1), rtol=1e-12)


def test_a_small_precision_gives_the_same_to_its_digits(rng):
    model, x = make(rng), rng.integers(0, 2, (4, D)).astype(float)
    z = rng.standard_normal((4, D))
    small = model.astype(np.float32)
    found = flow.denoise(small, z, 0.3)
    assert found[0].dtype == found[1].dtype == np.float32
    np.testing.assert_allclose(flow.log_density(small, z, 1e-4), flow.log_density(model, z, 1e-7), atol=0.02)
    assert np.isfinite(flow.log_weight(small, x)).all()


# denoising score matching, and Langevin -------------------------------------------------------------


def test_noise_error_is_the_weighted_error_of_the_guess(rng):
    """e^(-gamma) |a - â|² = |eps - eps_hat|²: L_simple's square is that of the bound."""
    model, x = make(rng, 5), rng.integers(0, 2, (4, D)).astype(float)
    for level in (1, 3, 5):
        gamma, eps, a = model.gamma[level], rng.standard_normal(x.shape), 2 * x - 1
        found = readings(model, signal(gamma) * a + spread(gamma) * eps, level)
        np.testing.assert_allclose(((eps - found.noise) ** 2).sum(axis=1),
                                   np.exp(-gamma) * ((a - found.a) ** 2).sum(axis=1), rtol=1e-9, atol=1e-14)


def test_langevin_ends_with_the_variance_as_derived():
    """The library's score of N(0, 1): σ²/(1 - h/(4 σ²)), by the fixed point of the variance, and by chains."""
    model, h = Diffusion(1, 3, (3,), log_noise=(-2, 2), likelihood="gaussian", dtype=np.float64), 0.5
    one = np.ones((1, 1))
    c = 1 + h / 2 * readings(model, one, 2).score[0, 0]                        # z' = c z + √h eps
    assert h / (1 - c * c) == pytest.approx(1 / (1 - h / 4), rel=1e-12)
    rng = np.random.default_rng(0)
    z = rng.standard_normal((20_000, 1))
    for _ in range(30):
        z = z + h / 2 * readings(model, z, 2).score + np.sqrt(h) * rng.standard_normal(z.shape)
    assert z.var() == pytest.approx(1 / (1 - h / 4), rel=0.04)


# manners --------------------------------------------------------------------------------------------


def test_a_flow_that_cannot_be_followed_says_so():
    with pytest.raises(FloatingPointError, match=r"^the flow became infinite or not a number at gamma -1$"):
        flow.integrate(lambda u, gamma: (u * np.nan, np.zeros(len(u))), np.ones((2, 3)), -1.0, 2.0)
    with pytest.raises(FloatingPointError, match="^the flow did not arrive at gamma 2: "):
        flow.integrate(lambda u, gamma: (u - 2 * u * u, np.zeros(len(u))), np.ones((1, 1)), 0.0, 2.0)


@pytest.mark.parametrize("call, says", [
    (lambda: flow.log_density(Diffusion(6), np.zeros((4, 6)), 0), r"^rtol must be a number in \(0, inf\); got 0"),
    (lambda: flow.log_density(Diffusion(6), np.zeros((4, 5))), r"^z must have shape \(n, 6\)"),
    (lambda: flow.log_weight(Diffusion(6), np.full((4, 6), 2.0)), r"^x must lie in \[0, 1\]"),
    (lambda: flow.log_weight(Diffusion(6), np.zeros((4, 6)), "dice"), "^rng must be a Generator or a seed")])
def test_one_sentence_that_names_the_argument(call, says):
    with pytest.raises(ValueError, match=says):
        call()
