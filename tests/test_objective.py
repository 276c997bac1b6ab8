"""The loss and its gradient by each part of the bound."""

import numpy as np
import pytest

from scratchvae import ELBO, HVAE, VAE, Autoencoder, Diffusion, TopDown
from scratchvae.objective import ELBOGradient, with_free_bits
from scratchvae.verify.gradcheck import check_function

MODELS = {"Autoencoder": lambda: Autoencoder(6, 2, (4,)), "VAE": lambda: VAE(6, 2, (4,)),
          "HVAE": lambda: HVAE(6, (3, 2), (4,)), "TopDown": lambda: TopDown(6, (3, 2), (4,)),
          "Diffusion": lambda: Diffusion(6, 4, (4,))}


@pytest.fixture
def parts(rng):
    """A reconstruction, a prior matching and two columns of consistency, for 5 examples."""
    return rng.standard_normal(5), rng.standard_normal(5), rng.standard_normal((5, 2))


def listed(delbo):
    return [delbo.dreconstruction, delbo.dprior_matching, delbo.dconsistency]


@pytest.mark.parametrize("beta, alpha", [(1.0, 1.0), (0.3, 2.0), ([0.0, 0.5, 2.0], 0.0)])
def test_gradients(parts, agrees, beta, alpha):
    """The loss, and the weighted sum of each example, by every part: complex step."""
    agrees(check_function(lambda *parts: (ELBO(*parts).loss(beta, alpha)[None], ELBO(*parts)),
                          lambda dy, elbo: tuple(dy[0] * dv for dv in listed(elbo.loss_backward(beta, alpha))), *parts))
    agrees(check_function(lambda *parts: (ELBO(*parts).weighted(beta, alpha), ELBO(*parts)),
                          lambda dy, elbo: tuple(listed(elbo.weighted_backward(dy, np.full(3, beta), alpha))), *parts))


def test_the_loss_by_hand(parts):
    reconstruction, prior_matching, consistency = parts
    elbo = ELBO(*parts)
    total = reconstruction - prior_matching - consistency[:, 0] - consistency[:, 1]
    np.testing.assert_allclose(elbo.total, total, rtol=1e-14)
    np.testing.assert_allclose(elbo.loss(), -total.mean(), rtol=1e-14)
    by_level = 2 * reconstruction - 0.1 * consistency[:, 0] - 0.2 * consistency[:, 1] - 0.3 * prior_matching
    np.testing.assert_allclose(elbo.loss([0.1, 0.2, 0.3], 2), -by_level.mean(), rtol=1e-14)
    delbo = elbo.loss_backward([0.1, 0.2, 0.3], 2)
    np.testing.assert_allclose(delbo.dreconstruction, np.full(5, -2 / 5), rtol=1e-15)
    np.testing.assert_allclose(delbo.dkl, np.tile([0.1 / 5, 0.2 / 5, 0.3 / 5], (5, 1)), rtol=1e-15)


def test_all_weights_are_1_by_default(parts):
    elbo = ELBO(*parts)
    for given, default in zip(listed(elbo.loss_backward(1.0, 1.0, 5)), listed(elbo.loss_backward())):
        np.testing.assert_array_equal(given, default)
    assert elbo.loss() == elbo.loss(1.0, 1.0) == -elbo.total.mean()


def test_it_prints_as_a_small_table():
    elbo = ELBO(np.array([-3.0, -5.0]), np.array([1.0, 2.0]), np.array([[0.5, 0.25], [0.5, 0.25]]) + 1j)
    assert str(elbo) == "\n".join(["reconstruction      -4.000 nats", "prior matching       1.500 nats",
                                   "consistency 1        0.500 nats", "consistency 2        0.250 nats",
                                   "ELBO                -6.250 nats"])


def test_shares_of_a_batch_add_up_to_the_batch(parts):
    whole = ELBO(*parts).loss_backward(0.4)
    shares = [ELBO(*(part[rows] for part in parts)).loss_backward(0.4, n=5) for rows in (slice(0, 2), slice(2, 5))]
    for name in ("dreconstruction", "dprior_matching", "dconsistency", "dkl"):
        np.testing.assert_array_equal(np.concatenate([getattr(share, name) for share in shares]), getattr(whole, name))


def test_single_precision_is_kept(parts):
    elbo = ELBO(*(part.astype(np.float32) for part in parts))
    for delbo in (elbo.loss_backward(0.3), elbo.loss_backward([1, 2, 3], 0.5),
                  elbo.weighted_backward(np.ones(5, np.float32), np.ones(3, np.float32), 1.0)):
        assert {dv.dtype for dv in (*listed(delbo), delbo.dkl)} == {np.dtype(np.float32)}
    assert elbo.loss(0.3).dtype == elbo.weighted([1, 2, 3], 1.0).dtype == np.float32


@pytest.mark.parametrize("weights, says", [
    (dict(beta=-1.0), "^beta must be a number of at least 0, or one for each of the 3 levels; got -1.0$"),
    (dict(beta=[1, 2]), "^beta must be a number of at least 0, or one for each of the 3 levels; got .1, 2.$"),
    (dict(alpha="much"), "^alpha must be ")])
def test_wrong_weights_are_named(parts, weights, says):
    with pytest.raises(ValueError, match=says):
        ELBO(*parts).loss_backward(**weights)


def test_free_bits():
    """A level within its free bits has weight 0; on the border, too."""
    np.testing.assert_array_equal(with_free_bits(0.5, np.array([0.1, 0.2, 0.3]), 0.2), [0, 0, 0.5])
    np.testing.assert_array_equal(with_free_bits([1, 2, 3], np.array([0.1, 0.2, 0.3]), [0.0, 0.3, 0.2]), [1, 0, 3])


@pytest.mark.parametrize("name", MODELS)
def test_a_bound_cannot_be_taken_for_its_gradient(name, rng):
    model, x = MODELS[name](), (rng.random((3, 6)) < 0.5).astype(np.float32)
    elbo, cache = model.forward(x, model.draw_noise(3, rng))
    with pytest.raises(AttributeError, match="ELBO.* has no attribute 'd"):
        model.backward(elbo, cache)
    delbo = elbo.loss_backward()
    assert isinstance(delbo, ELBOGradient) and not hasattr(delbo, "total") and not hasattr(delbo, "loss")
    assert model.backward(delbo, cache, input_gradient=True).shape == x.shape
