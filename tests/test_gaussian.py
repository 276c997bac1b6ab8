"""Diagonal Gaussians: against scipy.stats, against sampling, and against the complex step."""

import numpy as np
import pytest
import scipy.stats

from scratchvae import gaussian
from scratchvae.verify.gradcheck import check_function

FUNCTIONS = {
    "sample": (gaussian.sample, gaussian.sample_backward, 3),
    "log_prob": (gaussian.log_prob, gaussian.log_prob_backward, 3),
    "entropy": (gaussian.entropy, gaussian.entropy_backward, 1),
    "kl": (gaussian.kl, gaussian.kl_backward, 4),
    "kl_standard": (gaussian.kl_standard, gaussian.kl_standard_backward, 2),
}


@pytest.mark.parametrize("method", ["complex", "central"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients(name, rng, agrees, method):
    forward, backward, n_inputs = FUNCTIONS[name]
    inputs = [rng.standard_normal((5, 3)) for _ in range(n_inputs)]
    if name == "sample":                               # eps is noise, not a parameter
        eps = inputs.pop()
        agrees(check_function(lambda mu, logvar: forward(mu, logvar, eps), backward, *inputs, method=method))
    else:
        agrees(check_function(forward, backward, *inputs, method=method))


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


# the ratio at one z ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["complex", "central"])
def test_gradients_of_the_log_ratio(method, rng, agrees):
    inputs = [rng.standard_normal((5, 3)) for _ in range(5)]
    agrees(check_function(gaussian.log_ratio, gaussian.log_ratio_backward, *inputs, method=method))


def test_log_ratio_is_that_of_two_densities_and_its_mean_is_the_kl(rng):
    mu_q, logvar_q, mu_p, logvar_p = (np.tile(row, (200_000, 1)) for row in rng.standard_normal((4, 1, 3)))
    z, _ = gaussian.sample(mu_q, logvar_q, rng.standard_normal(mu_q.shape))
    ratio, _ = gaussian.log_ratio(z, mu_q, logvar_q, mu_p, logvar_p)
    pairs = (mu_q, logvar_q), (mu_p, logvar_p)
    log_q, log_p = (scipy.stats.norm(mu, np.exp(logvar / 2)).logpdf(z).sum(axis=1) for mu, logvar in pairs)
    np.testing.assert_allclose(ratio, log_q - log_p, rtol=1e-10, atol=1e-10)
    exact = gaussian.kl(mu_q, logvar_q, mu_p, logvar_p)[0][0]
    assert abs(ratio.mean() - exact) < 4 * ratio.std() / np.sqrt(len(ratio))
    np.testing.assert_allclose(gaussian.log_ratio(z, mu_p, logvar_p, mu_p, logvar_p)[0], 0, atol=1e-12)


# the merge ---------------------------------------------------------------------------------------


def side_by_side(mu_m, logvar_m, mu_p, logvar_p):
    """`merge` with one array as its result, as check_function wants it."""
    (mu, logvar), cache = gaussian.merge(mu_m, logvar_m, mu_p, logvar_p)
    return np.concatenate([mu, logvar], axis=-1), cache


@pytest.mark.parametrize("method", ["complex", "central"])
def test_gradients_of_the_merge(method, rng, agrees):
    inputs = [2 * rng.standard_normal((5, 3)) for _ in range(4)]
    agrees(check_function(side_by_side, lambda dy, cache: gaussian.merge_backward(dy[:, :3], dy[:, 3:], cache), *inputs,
                          method=method))


def test_merge_is_bayes_rule(rng):
    """p(z) p(m | z) / p(m), with p(m) = N(mu_p, both variances), is the density that is returned, at every z."""
    z, mu_m, logvar_m, mu_p, logvar_p = rng.standard_normal((5, 6, 4))
    mu, logvar = gaussian.merge(mu_m, logvar_m, mu_p, logvar_p)[0]
    both = np.log(np.exp(logvar_m) + np.exp(logvar_p))
    expected = (gaussian.log_prob(z, mu_p, logvar_p)[0] + gaussian.log_prob(mu_m, z, logvar_m)[0]
                - gaussian.log_prob(mu_m, mu_p, both)[0])
    np.testing.assert_allclose(gaussian.log_prob(z, mu, logvar)[0], expected, rtol=1e-12)


def test_merge_in_numbers():
    """MATH (12.2) to (12.4): N(0, 1), measured as 3 with variance 1/2."""
    m, logvar_m, mu_p, logvar_p = np.array([[[3.0]], [[np.log(0.5)]], [[0.0]], [[0.0]]])
    (mu, logvar), cache = gaussian.merge(m, logvar_m, mu_p, logvar_p)
    np.testing.assert_allclose([mu[0, 0], logvar[0, 0]], [2, -np.log(3)], rtol=1e-14)
    assert gaussian.kl(mu, logvar, mu_p, logvar_p)[0][0] == pytest.approx(2.216, abs=5e-4)
    gradients = np.ravel(gaussian.merge_backward(np.ones((1, 1)), np.ones((1, 1)), cache))
    np.testing.assert_allclose(gradients, [2 / 3, 0, 1 / 3, 1], atol=1e-14)


def test_merge_takes_what_an_exponential_cannot_hold():
    """Whichever of the two knows infinitely more than the other has the word, in float32, and so have its gradients."""
    one, far = np.ones((1, 1), np.float32), np.full((1, 1), 1000, np.float32)
    for logvar_m, logvar_p, mean in [(-far, one, 2), (far, one, 5), (one, -far, 5), (one, far, 2), (far, far, 3.5),
                                     (-far, -far, 3.5)]:
        (mu, logvar), cache = gaussian.merge(2 * one, logvar_m, 5 * one, logvar_p)
        assert mu.dtype == logvar.dtype == np.float32 and mu[0, 0] == mean
        np.testing.assert_allclose(logvar, min(logvar_m, logvar_p) - np.log(2) * (mean == 3.5), rtol=1e-6)
        gradients = np.ravel(gaussian.merge_backward(one, one, cache))
        expected = {2: [1, 1, 0, 0], 5: [0, 0, 1, 1], 3.5: [0.5, 1.25, 0.5, -0.25]}[mean]
        np.testing.assert_allclose(gradients, expected, atol=1e-6)
    (_, logvar), _ = gaussian.merge(2 * one, far, 5 * one, one)
    np.testing.assert_array_equal(logvar, one, "a measurement that says nothing changes nothing, to the last digit")


def test_merge_leaves_what_is_handed_in(rng):
    inputs = rng.standard_normal((4, 5, 3))
    before = inputs.copy()
    (mu, logvar), cache = gaussian.merge(*inputs)
    kept = mu.copy(), logvar.copy()
    first, second = gaussian.merge_backward(mu, logvar, cache), gaussian.merge_backward(mu, logvar, cache)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(inputs, before)
    np.testing.assert_array_equal((mu, logvar), kept)


def test_draw_and_its_backward_are_sample_on_the_two_halves(rng):
    q, eps, dz = rng.standard_normal((5, 6)), rng.standard_normal((5, 3)), rng.standard_normal((5, 3))
    z, cache = gaussian.draw(q, eps)
    np.testing.assert_allclose(z, q[:, :3] + np.exp(q[:, 3:] / 2) * eps, rtol=1e-14)
    expected = np.hstack([dz, dz * np.exp(q[:, 3:] / 2) * eps / 2])
    np.testing.assert_allclose(gaussian.draw_backward(dz, cache), expected, rtol=1e-14)
