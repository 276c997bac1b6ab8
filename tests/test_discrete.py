"""Counts and categories: against scipy, and against the complex step."""

import numpy as np
import pytest
import scipy.special
import scipy.stats

from scratchvae import VAE, Categorical, Diffusion, Poisson
from scratchvae.mixed import LogOnePlus, log_factorial, log_factorial_backward
from scratchvae.verify.gradcheck import check_function, check_layer, check_model

MAKE = {"poisson": Poisson, "categorical": Categorical}


@pytest.fixture(params=["poisson", "categorical"])
def likelihood(request):
    return MAKE[request.param](4)


def draw(likelihood, rng, n=5):
    """Return x as the likelihood takes it, and h."""
    h = rng.standard_normal((n, likelihood.n_outputs))
    return likelihood.sample(h, rng), h


def test_log_factorial_is_that_of_scipy():
    x = np.concatenate([np.arange(200), np.geomspace(1e3, 1e12, 50), np.linspace(-0.9, 5, 60)])
    np.testing.assert_allclose(log_factorial(x)[0], scipy.special.gammaln(x + 1), rtol=3e-15, atol=2e-14)
    dx = log_factorial_backward(np.ones(len(x)), x)
    np.testing.assert_allclose(dx, scipy.special.digamma(x + 1), rtol=1e-14, atol=2e-14)


def test_gradient_of_log_factorial(agrees):
    agrees(check_function(log_factorial, log_factorial_backward, np.linspace(-0.5, 30, 20)))


@pytest.mark.parametrize("method", ["complex", "central"])
def test_gradients(likelihood, rng, agrees, method):
    """At a drawn x, and at one that nobody would draw, where the formula holds as well."""
    for x, h in (draw(likelihood, rng), (rng.random((5, 4)), 2 * rng.standard_normal((5, 4)))):
        agrees(check_function(likelihood.log_prob, likelihood.log_prob_backward, x, h, method=method))


def test_gradients_of_the_layer_before_counts(rng, agrees):
    agrees(check_layer(LogOnePlus(), rng.poisson(5, (6, 3))))


@pytest.mark.parametrize("likelihood", [Poisson(4), Categorical(4)], ids=["poisson", "categorical"])
def test_gradients_of_a_model(likelihood, rng, agrees):
    x, _ = draw(likelihood, rng)
    model = VAE(4, 2, (3,), likelihood=likelihood, x_mean=x.mean(axis=0), rng=rng)
    model.theta += 0.01 * rng.standard_normal(model.theta.size)
    agrees(check_model(model, x))


def test_poisson_is_that_of_scipy(rng):
    h = 3 * rng.standard_normal((50, 4))
    x = rng.poisson(np.exp(h))
    np.testing.assert_allclose(Poisson(4).log_prob(x, h)[0], scipy.stats.poisson(np.exp(h)).logpmf(x).sum(axis=1),
                               rtol=1e-12)


def test_categorical_is_that_of_scipy(rng):
    x, logits = np.eye(4)[rng.integers(0, 4, 50)], 3 * rng.standard_normal((50, 4))
    expected = [scipy.stats.multinomial(1, p).logpmf(row) for row, p in zip(x, scipy.special.softmax(logits, axis=1))]
    np.testing.assert_allclose(Categorical(4).log_prob(x, logits)[0], expected, rtol=1e-10)


def test_a_category_of_two_is_a_bernoulli(rng):
    """MATH (4.6): its logit is the difference of the two."""
    from scratchvae import Bernoulli
    logits, kind = rng.standard_normal((20, 2)), rng.integers(0, 2, 20)
    np.testing.assert_allclose(Categorical(2).log_prob(np.eye(2)[kind], logits)[0],
                               Bernoulli(1).log_prob(kind[:, None], logits[:, 1:] - logits[:, :1])[0], rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits_are_exact_and_give_no_warning(dtype):
    logits = np.array([[-1e4, 0, 1e4], [1e4, 1e4, 1e4], [-1e4, -1e4, -1e4]], dtype)
    x = np.eye(3, dtype=dtype)
    with np.errstate(all="raise", under="ignore"):
        log_p, cache = Categorical(3).log_prob(x, logits)
        dx, dlogits = Categorical(3).log_prob_backward(np.ones(3, dtype), cache)
    np.testing.assert_allclose(log_p, [-2e4, -np.log(3), -np.log(3)], rtol=1e-6)
    np.testing.assert_allclose(dlogits[0], [1, 0, -1])


def test_probabilities_sum_to_one(rng):
    counts = np.arange(200.0)[:, None]
    np.testing.assert_allclose(np.exp(Poisson(1).log_prob(counts, np.full((200, 1), 3.0))[0]).sum(), 1, rtol=1e-12)
    logits = np.tile(rng.standard_normal(5), (5, 1))
    np.testing.assert_allclose(np.exp(Categorical(5).log_prob(np.eye(5), logits)[0]).sum(), 1, rtol=1e-13)


def test_mean_and_sampler_agree_with_the_density(likelihood, rng):
    """Over 100,000 draws the mean of x is `mean`, and the mean of log p its exact expectation, -entropy."""
    h = np.tile(rng.standard_normal(4), (100_000, 1))
    x = likelihood.sample(h, rng)
    likelihood.check_support(x)
    np.testing.assert_allclose(x.mean(axis=0), likelihood.mean(h)[0], atol=0.03)
    log_p, p = likelihood.log_prob(x, h)[0], likelihood.mean(h[:1])[0]
    entropy = scipy.stats.poisson(p).entropy().sum() if isinstance(likelihood, Poisson) else scipy.stats.entropy(p)
    assert abs(log_p.mean() + entropy) < 4 * log_p.std() / np.sqrt(len(log_p))


def test_bias_makes_the_mean_that_of_the_data(likelihood, rng):
    x_mean = rng.dirichlet(np.ones(4))
    np.testing.assert_allclose(likelihood.mean(likelihood.bias(x_mean)[None])[0], x_mean, rtol=1e-12)
    assert np.isfinite(likelihood.bias(np.array([0.0, 0, 0, 1]))).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_is_kept(likelihood, dtype, rng):
    x, h = (a.astype(dtype) for a in draw(likelihood, rng))
    log_p, cache = likelihood.log_prob(x, h)
    arrays = [log_p, *likelihood.log_prob_backward(log_p, cache), likelihood.mean(h), likelihood.sample(h, rng)]
    assert {array.dtype for array in arrays} == {np.dtype(dtype)}


def test_sums_run_over_the_last_axis(likelihood, rng):
    x, h = draw(likelihood, rng)[0], rng.standard_normal((2, 5, 4))
    np.testing.assert_array_equal(likelihood.log_prob(x, h)[0], [likelihood.log_prob(x, each)[0] for each in h])
    assert likelihood.sample(h, rng).shape == likelihood.mean(h).shape == h.shape


class Uniform:
    """A generator whose every uniform number is this one."""

    def __init__(self, u):
        self.u = u

    def random(self, shape):
        return np.full(shape, self.u)


@pytest.mark.parametrize("u", [0.0, np.nextafter(1, 0)])
def test_a_kind_of_probability_zero_is_never_drawn(u):
    logits = np.array([[-1e4, 0, 0.3, -1e4]], np.float32)
    np.testing.assert_array_equal(Categorical(4).sample(logits, Uniform(u)), [[0, u == 0, u != 0, 0]])


def test_a_draw_is_a_kind_also_where_the_probabilities_do_not_quite_sum_to_one():
    n = next(n for n in range(3, 100) if np.full(n, np.float32(1) / n).cumsum()[-1] < 1)
    drawn = Categorical(n).sample(np.zeros((2, 3, n), np.float32), Uniform(np.nextafter(1, 0)))
    np.testing.assert_array_equal(drawn.argmax(axis=2), np.full((2, 3), n - 1))
    np.testing.assert_array_equal(drawn.sum(axis=2), np.ones((2, 3)))


def test_a_rate_without_limit_can_be_drawn(rng):
    drawn = Poisson(1).sample(np.array([[800.0]]), np.random.default_rng(0))
    assert drawn > 6e17 and drawn == Poisson(1).sample(np.array([[41.0]]), np.random.default_rng(0))


def test_q_sees_the_logarithm_of_one_more_than_a_count():
    model = VAE(2, 1, (), likelihood=Poisson(2), dtype=np.float64)
    model.q.output.W[:] = 1
    np.testing.assert_allclose(model.encode([[3, 0]])[0], [[np.log(4)]])


@pytest.mark.parametrize("likelihood, x, says", [
    (Poisson(2), [[0, -1]], "x must not be below 0 for a Poisson likelihood, .* begin at -1"),
    (Poisson(2), [[0, 1.5]], "x must be whole numbers for a Poisson likelihood, .* it has 1.5"),
    (Categorical(2), [[0, 1], [1, 1]], "x must have one 1 among the 2 columns of a row"),
    (Categorical(2), [[0, 0]], "x must have one 1"), (Categorical(2), [[0.5, 0.5]], "x must have one 1"),
    (Poisson(3), [[0, 0.5, 2.5]], "x must be whole numbers for a Poisson likelihood, which is over counts; it has "
                                  "0.5$"),
    (Poisson(1), [[2.5 + 1j]], "x must be whole numbers for a Poisson likelihood, which is over counts; it has 2.5$"),
    (Categorical(2), [[2, -1]], "x must have one 1 among the 2 columns of a row, and otherwise 0, for a Categorical "
                                "likelihood$"), (Categorical(3), [-0.5, 0.7, 0.8], "x must have one 1"),
    (Categorical(2), [0.5, 0.6], "x must have one 1"), (Poisson(2), [1.5, -0.5], "x must not be below 0"),
])
def test_other_x_are_refused(likelihood, x, says):
    with pytest.raises(ValueError, match=f"^{says}"):
        likelihood.check_support(np.array(x))


def test_means_need_not_be_counts_or_kinds():
    Poisson(2).check_support(np.array([1.5, 0.0]))
    Categorical(2).check_support(np.array([0.25, 0.75]))
    Categorical(3).check_support(np.array([0.4992, 0.5, 0]))                   # as float32 may round a mean


def test_complex_numbers_are_judged_by_their_real_parts():
    for likelihood, x in ((Poisson(2), [[0, 3]]), (Categorical(2), [[0, 1]]), (Categorical(2), [0, 1])):
        likelihood.check_support(np.array(x) - 1e-30j)


def test_bias_keeps_off_zero(likelihood):
    np.testing.assert_array_equal(likelihood.bias(np.array([0, 0.0007, 0.5, 0.4])), np.log([0.001, 0.001, 0.5, 0.4]))


@pytest.mark.parametrize("make, says", [
    (lambda: Poisson(0), "x_dim must be a whole number"), (lambda: Categorical(1), "x_dim must be a whole number"),
    (lambda: Diffusion(3, likelihood=Poisson(3)), "likelihood must be Bernoulli or Gaussian for a diffusion"),
    (lambda: Diffusion(3, likelihood=Categorical(3)), "likelihood must be Bernoulli or Gaussian for a diffusion"),
])
def test_settings_that_cannot_work_are_refused(make, says):
    with pytest.raises(ValueError, match=f"^{says}"):
        make()
