"""Likelihoods: against scipy.stats, at extreme logits, and against the complex step."""

import numpy as np
import pytest
import scipy.special
import scipy.stats

from scratchvae import Bernoulli, Gaussian, LogNormal
from scratchvae.likelihood import LIKELIHOODS
from scratchvae.mixed import Logarithm
from scratchvae.verify.gradcheck import check_function, check_layer

MAKE = {**LIKELIHOODS, "fixed": lambda x_dim: Gaussian(x_dim, logvar=-0.7), "lognormal": LogNormal}


@pytest.fixture(params=["bernoulli", "gaussian", "fixed", "lognormal"])
def likelihood(request):
    return MAKE[request.param](4)


@pytest.mark.parametrize("method", ["complex", "central"])
def test_gradients(likelihood, rng, agrees, method):
    x, h = rng.random((5, 4)), 2 * rng.standard_normal((5, likelihood.n_outputs))
    agrees(check_function(likelihood.log_prob, likelihood.log_prob_backward, x, h, method=method))


def test_gradients_at_logits_of_zero(rng, agrees):
    likelihood = Bernoulli(4)
    agrees(check_function(likelihood.log_prob, likelihood.log_prob_backward, rng.random((5, 4)), np.zeros((5, 4))))


def test_bernoulli_is_that_of_scipy(rng):
    x, logits = rng.integers(0, 2, (5, 4)), 3 * rng.standard_normal((5, 4))
    expected = scipy.stats.bernoulli(1 / (1 + np.exp(-logits))).logpmf(x).sum(axis=1)
    np.testing.assert_allclose(Bernoulli(4).log_prob(x, logits)[0], expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("x", [0, 1])
@pytest.mark.parametrize("logit", [-1e4, -700, -100, -40, -1, -0.0, 0, 1, 40, 100, 700, 1e4])
def test_bernoulli_is_exact_for_extreme_logits(x, logit, dtype):
    """log p = -softplus(∓l) to the last digits, so is its gradient x - s(l); no warning, from -1e4 to 1e4."""
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        x_row, l_row = np.array([[x]], dtype), np.array([[logit]], dtype)
        log_p, cache = Bernoulli(1).log_prob(x_row, l_row)
        dx, dlogits = Bernoulli(1).log_prob_backward(np.ones(1, dtype), cache)
    sign = -1 if x else 1
    np.testing.assert_allclose(log_p[0], -np.logaddexp(0, sign * logit), rtol=4 * np.finfo(dtype).eps,
                               atol=np.finfo(dtype).tiny)
    np.testing.assert_allclose(dlogits, -sign * scipy.special.expit(dtype(sign * logit)), rtol=8 * np.finfo(dtype).eps,
                               atol=np.finfo(dtype).tiny)
    np.testing.assert_array_equal(dx, l_row)


def test_bernoulli_probabilities_of_all_images_sum_to_one(rng):
    """Over all 2⁴ black-and-white images: so it is a distribution, normalised in x."""
    every = np.array([[(i >> j) & 1 for j in range(4)] for i in range(16)])
    logits = np.tile(rng.standard_normal(4), (16, 1))
    np.testing.assert_allclose(np.exp(Bernoulli(4).log_prob(every, logits)[0]).sum(), 1, rtol=1e-13)


@pytest.mark.parametrize("logvar", [None, -0.7])
def test_gaussian_is_that_of_scipy_with_its_log_2_pi(logvar, rng):
    likelihood = Gaussian(4, logvar)
    x, h = rng.standard_normal((5, 4)), rng.standard_normal((5, likelihood.n_outputs))
    scale = np.exp((h[:, 4:] if logvar is None else logvar) / 2)
    np.testing.assert_allclose(likelihood.log_prob(x, h)[0], scipy.stats.norm(h[:, :4], scale).logpdf(x).sum(axis=1),
                               rtol=1e-13)


def test_lognormal_is_that_of_scipy(rng):
    x, h = rng.lognormal(size=(5, 4)), rng.standard_normal((5, 8))
    expected = scipy.stats.lognorm(np.exp(h[:, 4:] / 2), scale=np.exp(h[:, :4])).logpdf(x).sum(axis=1)
    np.testing.assert_allclose(LogNormal(4).log_prob(x, h)[0], expected, rtol=1e-12)
    np.testing.assert_allclose(LogNormal(4).mean(h), scipy.stats.lognorm(np.exp(h[:, 4:] / 2),
                                                                         scale=np.exp(h[:, :4])).mean(), rtol=1e-12)


def test_gradients_of_the_layer_before_what_is_lognormal(rng, agrees):
    agrees(check_layer(Logarithm(), rng.lognormal(size=(6, 3))))


def test_mean_and_sampler_agree_with_the_density(likelihood, rng):
    """Over 100,000 draws the mean of x is `mean`, and the mean of log p its exact expectation, -entropy."""
    h = np.tile(rng.standard_normal(likelihood.n_outputs), (100_000, 1))
    x = likelihood.sample(h, rng)
    assert (abs(x.mean(axis=0) - likelihood.mean(h)[0]) < 5 * x.std(axis=0) / np.sqrt(len(x))).all()
    log_p = likelihood.log_prob(x, h)[0]
    p = likelihood.mean(h[:1])
    if isinstance(likelihood, Bernoulli):
        entropy = scipy.stats.bernoulli(p).entropy().sum()
    elif isinstance(likelihood, LogNormal):
        entropy = scipy.stats.lognorm(np.exp(h[0, 4:] / 2), scale=np.exp(h[0, :4])).entropy().sum()
    else:
        logvar = h[0, 4:] if likelihood.logvar is None else np.full(4, likelihood.logvar)
        entropy = scipy.stats.norm(0, np.exp(logvar / 2)).entropy().sum()
    assert abs(log_p.mean() + entropy) < 4 * log_p.std() / np.sqrt(len(log_p))


def test_bias_makes_the_mean_that_of_the_data(likelihood, rng):
    x_mean = rng.uniform(0.1, 0.9, 4)
    h = likelihood.bias(x_mean)
    assert h.shape == (likelihood.n_outputs,)
    np.testing.assert_allclose(likelihood.mean(h[None])[0], x_mean, rtol=1e-12)


def test_bias_of_pixels_that_are_always_on_or_off_is_finite():
    np.testing.assert_allclose(Bernoulli(2).bias(np.array([0.0, 1.0])), [-np.log(999), np.log(999)], rtol=1e-12)


def test_bias_of_a_learned_logvar_is_unit_variance():
    np.testing.assert_array_equal(Gaussian(2).bias(np.array([3.0, -4.0])), [3, -4, 0, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_is_kept(likelihood, dtype, rng):
    x, h = rng.random((5, 4), dtype), rng.standard_normal((5, likelihood.n_outputs), dtype)
    log_p, cache = likelihood.log_prob(x, h)
    arrays = [log_p, *likelihood.log_prob_backward(log_p, cache), likelihood.mean(h), likelihood.sample(h, rng)]
    assert {array.dtype for array in arrays} == {np.dtype(dtype)}


def test_sums_run_over_the_last_axis(likelihood, rng):
    """Several h for each row, of shape (k, n, ...), with one x: what importance sampling needs."""
    x, h = rng.random((5, 4)), rng.standard_normal((2, 5, likelihood.n_outputs))
    np.testing.assert_array_equal(likelihood.log_prob(x, h)[0], [likelihood.log_prob(x, each)[0] for each in h])


def test_what_has_probability_zero_is_never_drawn():
    """Not even when the generator draws 0 itself, which it may."""
    class Zeros:
        def random(self, shape):
            return np.zeros(shape)

    logits = np.array([[-1e4, 0.0]])
    np.testing.assert_array_equal(Bernoulli(2).mean(logits), [[0, 0.5]])
    np.testing.assert_array_equal(Bernoulli(2).sample(logits, Zeros()), [[0, 1]])


@pytest.mark.parametrize("x, says", [
    ([[0, 1.5]], r"x must lie in \[0, 1\] for a Bernoulli likelihood; its values go from 0 to 1.5 "
                 r"\(divide 8-bit pixels by 255\)"),
    ([[0, 255]], r"x must lie .* from 0 to 255 \(divide 8-bit pixels by 255\)"),
    ([[-0.1, 1]], r"x must lie .* from -0.1 to 1 \(negative: use 'gaussian'\)"),
    ([[-2, -1]], r"x must lie .* from -2 to -1 \(negative: use 'gaussian'\)"),
])
def test_bernoulli_refuses_values_outside_0_and_1(x, says):
    with pytest.raises(ValueError, match=f"^{says}$"):
        Bernoulli(2).check_support(np.array(x))


@pytest.mark.parametrize("x", [[[0.0, 0.0]], [[1.0, 1.0]], [[0.0, 1.0]], [[0.2, 0.7]], [[0 - 1e-30j, 1 + 1e-30j]]])
def test_bernoulli_accepts_all_of_0_to_1(x):
    """Both ends included; the complex step of the gradient checker does not leave the interval."""
    Bernoulli(2).check_support(np.array(x))


@pytest.mark.parametrize("make, says", [
    (lambda: LogNormal(0), "x_dim must be a whole number"),
    (lambda: LogNormal(1).check_support(np.array([[0.0]])), "x must be above 0 for a LogNormal likelihood"),
    (lambda: Bernoulli(0), "x_dim must be a whole number"), (lambda: Gaussian(0), "x_dim must be a whole number"),
    (lambda: Gaussian(2, np.inf), "logvar must be a number"), (lambda: Gaussian(2, -np.inf), "logvar must be a number"),
])
def test_settings_that_cannot_work_are_refused(make, says):
    with pytest.raises(ValueError, match=f"^{says}"):
        make()


@pytest.mark.parametrize("value, hint", [(-1.0, r"-1 to 0 \(negative: use 'gaussian'\)"),
                                         (255.0, r"0 to 255 \(divide 8-bit pixels by 255\)"), (256.0, "0 to 256")])
def test_bernoulli_says_what_its_data_may_be(value, hint):
    with pytest.raises(ValueError, match=rf"^x must lie in \[0, 1\] .* its values go from {hint}$"):
        Bernoulli(2).check_support(np.array([[0.0, value]]))
