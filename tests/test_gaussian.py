"""Diagonal Gaussians: against scipy.stats, against sampling, and against the complex step."""

import numpy as np
import pytest
import scipy.stats

from scratchvae import gaussian
from scratchvae.gradcheck import check_function

FUNCTIONS = {
    "sample": (gaussian.sample, gaussian.sample_backward, 3),
    "log_prob": (gaussian.log_prob, gaussian.log_prob_backward, 3),
    "entropy": (gaussian.entropy, gaussian.entropy_backward, 1),
    "kl": (gaussian.kl, gaussian.kl_backward, 4),
    "kl_standard": (gaussian.kl_standard, gaussian.kl_standard_backward, 2),
}


@pytest.mark.parametrize("method", ["complex", "central"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients(name, rng, proven, method):
    forward, backward, n_inputs = FUNCTIONS[name]
    inputs = [rng.standard_normal((5, 3)) for _ in range(n_inputs)]
    if name == "sample":                               # eps is noise, not a parameter
        eps = inputs.pop()
        proven(check_function(lambda mu, logvar: forward(mu, logvar, eps), backward, *inputs, method=method))
    else:
        proven(check_function(forward, backward, *inputs, method=method))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_sums_run_over_the_last_axis(name, rng):
    """So a stack of several draws for each row, of shape (k, n, d), is as good as one."""
    forward, _, n_inputs = FUNCTIONS[name]
    stack = rng.standard_normal((n_inputs, 2, 5, 3))
    one_by_one = [forward(*inputs)[0] for inputs in stack.swapaxes(0, 1)]
    np.testing.assert_array_equal(forward(*stack)[0], one_by_one)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_single_precision_is_kept(name, rng):
    forward, backward, n_inputs = FUNCTIONS[name]
    y, cache = forward(*rng.standard_normal((n_inputs, 5, 3), np.float32))
    assert y.dtype == np.asarray(backward(y, cache)).dtype == np.float32


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_is_written_into_what_is_handed_in(name, rng):
    """What one function has returned, another may use: so backward may run twice, and its arguments stay."""
    forward, backward, n_inputs = FUNCTIONS[name]
    inputs = rng.standard_normal((n_inputs, 5, 3))
    before = inputs.copy()
    y, cache = forward(*inputs)
    first, second = backward(y, cache), backward(y, cache)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(inputs, before)


def test_halves_and_back(rng):
    h = rng.standard_normal((5, 6))
    mu, logvar = gaussian.halves(h)
    np.testing.assert_array_equal(mu, h[:, :3])
    np.testing.assert_array_equal(logvar, h[:, 3:])
    np.testing.assert_array_equal(gaussian.halves_backward(mu, logvar), h)
    stack = rng.standard_normal((2, 5, 6))
    np.testing.assert_array_equal(gaussian.halves(stack), [stack[..., :3], stack[..., 3:]])
    np.testing.assert_array_equal(gaussian.halves_backward(*gaussian.halves(stack)), stack)


def test_log_prob_is_that_of_scipy(rng):
    z, mu, logvar = rng.standard_normal((3, 5, 4))
    expected = scipy.stats.norm(mu, np.exp(logvar / 2)).logpdf(z).sum(axis=1)
    np.testing.assert_allclose(gaussian.log_prob(z, mu, logvar)[0], expected, rtol=1e-13)


def test_entropy_is_that_of_scipy(rng):
    logvar = rng.standard_normal((5, 4))
    expected = scipy.stats.norm(0, np.exp(logvar / 2)).entropy().sum(axis=1)
    np.testing.assert_allclose(gaussian.entropy(logvar)[0], expected, rtol=1e-13)


def test_sample_moves_and_scales_the_noise(rng):
    mu, logvar, eps = rng.standard_normal((3, 5, 4))
    np.testing.assert_allclose(gaussian.sample(mu, logvar, eps)[0], mu + np.sqrt(np.exp(logvar)) * eps, rtol=1e-13)


def test_sampler_and_density_are_of_the_same_gaussian(rng):
    """Kolmogorov-Smirnov: the distribution function of scipy's N(mu, exp(logvar)) makes the draws uniform."""
    mu, logvar = np.full((4000, 1), 0.7), np.full((4000, 1), -1.3)
    z, _ = gaussian.sample(mu, logvar, rng.standard_normal((4000, 1)))
    assert scipy.stats.kstest(z[:, 0], scipy.stats.norm(0.7, np.exp(-1.3 / 2)).cdf).pvalue > 1e-3


def test_gradient_through_the_draw_is_that_of_the_expectation(rng):
    """E[z²] = mu² + σ² has the gradients 2 mu and σ²; eps = ±1 has the moments that its exact mean needs."""
    mu, logvar = rng.standard_normal((2, 5, 3))
    dmu, dlogvar = np.zeros((2, 5, 3))
    for eps in (np.ones((5, 3)), -np.ones((5, 3))):
        z, cache = gaussian.sample(mu, logvar, eps)
        gradients = gaussian.sample_backward(2 * z, cache)             # d z²/dz
        dmu, dlogvar = dmu + gradients[0] / 2, dlogvar + gradients[1] / 2
    np.testing.assert_allclose(dmu, 2 * mu, rtol=1e-13)
    np.testing.assert_allclose(dlogvar, np.exp(logvar), rtol=1e-13)


def test_kl_is_the_mean_log_ratio_over_the_sampler(rng):
    """E_q[log q - log p] by Monte Carlo through our own sampler and density, within 4 standard errors."""
    mu_q, logvar_q, mu_p, logvar_p = (np.tile(row, (200_000, 1)) for row in rng.standard_normal((4, 1, 3)))
    z, _ = gaussian.sample(mu_q, logvar_q, rng.standard_normal(mu_q.shape))
    ratio = gaussian.log_prob(z, mu_q, logvar_q)[0] - gaussian.log_prob(z, mu_p, logvar_p)[0]
    exact = gaussian.kl(mu_q, logvar_q, mu_p, logvar_p)[0][0]
    assert abs(ratio.mean() - exact) < 4 * ratio.std() / np.sqrt(len(ratio))


def test_kl_is_cross_entropy_minus_entropy(rng):
    """KL(q || p) = -H[q] - E_q[log p], with E_q[log p] in closed form: log p at mu_q less σ_q²/2σ_p² per column."""
    mu_q, logvar_q, mu_p, logvar_p = rng.standard_normal((4, 5, 3))
    expected_log_p = gaussian.log_prob(mu_q, mu_p, logvar_p)[0] - 0.5 * np.exp(logvar_q - logvar_p).sum(axis=1)
    np.testing.assert_allclose(gaussian.kl(mu_q, logvar_q, mu_p, logvar_p)[0],
                               -gaussian.entropy(logvar_q)[0] - expected_log_p, rtol=1e-12)


def test_kl_standard_is_kl_to_zero_mean_and_unit_variance(rng):
    mu, logvar = rng.standard_normal((2, 5, 3))
    zero = np.zeros_like(mu)
    np.testing.assert_allclose(gaussian.kl_standard(mu, logvar)[0], gaussian.kl(mu, logvar, zero, zero)[0], rtol=1e-14)


def test_kl_keeps_its_digits_where_q_is_close_to_p():
    """For q = N(0, exp(r)) and p = N(0, 1), KL = r²/4 + r³/12 + ...: lost to rounding without expm1."""
    r = np.array([[1e-6]])
    np.testing.assert_allclose(gaussian.kl_standard(0 * r, r)[0], r[:, 0] ** 2 / 4, rtol=1e-5)
    np.testing.assert_allclose(gaussian.kl(0 * r, r, 0 * r, 0 * r)[0], r[:, 0] ** 2 / 4, rtol=1e-5)


def test_kl_is_zero_only_between_equals(rng):
    mu, logvar = rng.standard_normal((2, 5, 3))
    assert np.all(gaussian.kl(mu, logvar, mu, logvar)[0] == 0)
    assert np.all(gaussian.kl(mu, logvar, mu + 0.1, logvar)[0] > 0)
    assert np.all(gaussian.kl(mu, logvar, mu, logvar + 0.1)[0] > 0)
