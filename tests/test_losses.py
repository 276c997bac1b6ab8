"""The two halves of a loss: the gradients of the shares add up; and which loss the arguments of `fit` ask for."""

import numpy as np
import pytest

from scratchvae import HVAE, VAE
from scratchvae.importance import Importance
from scratchvae.objective import with_free_bits
from scratchvae.train.losses import ManyDraws, OneDraw, loss_of, sums

X = (np.random.default_rng(0).random((7, 6)) > 0.5).astype(float)
SHARES = (slice(0, 3), slice(3, 7))


@pytest.fixture
def model():
    return HVAE(6, (3, 2), (4,), rng=1, dtype=np.float64)


def seeded(share):
    return np.random.default_rng(share.start)


@pytest.mark.parametrize("free_bits", [None, [0.0, 1e6], 0.3])
def test_one_draw_in_shares_is_that_of_the_batch(model, free_bits):
    loss, beta, total = loss_of(model, free_bits=free_bits), [0.5, 0.7], 0
    assert type(loss) is OneDraw and loss.K == 1 and (loss.free_bits is None) == (free_bits is None)
    halves = [loss.begin(X[share], seeded(share), beta) for share in SHARES]
    kl = sum(elbo.kl.sum(axis=0) for elbo, _ in halves) / 7
    for _, half in halves:
        loss.finish(half, beta, kl, 7)
        total = total + model.gradient
    noises = [model.draw_noise(share.stop - share.start, seeded(share)) for share in SHARES]
    elbo, cache = model.forward(X, [np.concatenate(level) for level in zip(*noises)])
    weights = beta if free_bits is None else with_free_bits(beta, elbo.kl.mean(axis=0), loss.free_bits)
    model.backward(elbo.loss_backward(weights), cache)
    np.testing.assert_allclose(total, model.gradient, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(sum(sums(elbo) for elbo, _ in halves), sums(elbo), rtol=1e-12)


@pytest.mark.parametrize("objective, n_samples, estimator", [("elbo", 3, "plain"), ("iwae", 1, "plain"),
                                                             ("iwae", 3, "stl"), ("iwae", 2, "dreg")])
def test_many_draws_are_those_of_importance(model, objective, n_samples, estimator):
    loss, many = loss_of(model, objective, n_samples, estimator), Importance(model, n_samples, objective, estimator)
    assert type(loss) is ManyDraws and loss.K == n_samples and loss.free_bits is None
    for share, n in ((SHARES[1], 7), (SHARES[1], 4)):
        elbo, half = loss.begin(X[share], seeded(share), 0.5)
        loss.finish(half, 0.5, elbo.kl.mean(axis=0), n)
        found = model.gradient.copy()
        expected = many.gradient(X[share], seeded(share), 0.5)
        np.testing.assert_array_equal(elbo.total, expected.total)
        np.testing.assert_array_equal(found, model.gradient * (4 / n) if n != 4 else model.gradient)


def test_sums_are_double_precision():
    model = VAE(6, 2)
    elbo, _ = model.forward(X, np.ones((7, 2)))
    assert elbo.total.dtype == np.float32 and sums(elbo).dtype == np.float64
    np.testing.assert_allclose(sums(elbo), [elbo.reconstruction.sum(), elbo.prior_matching.sum()], rtol=1e-6)


@pytest.mark.parametrize("options, message", [
    ({"n_samples": 0}, "^n_samples must be a whole number"), ({"n_samples": True}, "^n_samples must be a whole number"),
    ({"objective": "ELBO"}, "^objective must be"),
    ({"estimator": "best"}, "^estimator must be"),
    ({"objective": "iwae", "free_bits": [0.1] * 99}, "^free_bits must be left out where there is more than one draw of "
     r"z for each example, or the objective is 'iwae'; got \[0.1.* of type list$"),
    ({"n_samples": 2, "free_bits": 0.25}, "^free_bits must be left out .*; got 0.25$"),
    ({"free_bits": -1}, "^free_bits must ")])
def test_bad_input(model, options, message):
    with pytest.raises(ValueError, match=message):
        loss_of(model, **options)
