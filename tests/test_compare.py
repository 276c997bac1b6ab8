"""Comparing q and p at a level: each part's backward against the complex step, and one mean for all of them."""

import numpy as np
import pytest

from scratchvae import HVAE, TopDown, gaussian
from scratchvae.compare import KL, ExactDraw, LogRatio, StandardKL
from scratchvae.verify.gradcheck import check_function

PARTS = {"KL": KL(), "ExactDraw": ExactDraw(), "LogRatio": LogRatio(), "StandardKL": StandardKL()}


@pytest.fixture
def arrays(rng):
    """z, q and p, for 5 rows and 3 dimensions."""
    return rng.standard_normal((5, 3)), rng.standard_normal((5, 6)), rng.standard_normal((5, 6))


@pytest.mark.parametrize("method", ["complex", "central"])
@pytest.mark.parametrize("name", PARTS)
def test_gradients(name, arrays, agrees, method):
    def backward(dkl, cache):
        return tuple(np.broadcast_to(dv, v.shape) for dv, v in zip(PARTS[name].backward(dkl, cache), arrays))

    agrees(check_function(PARTS[name].forward, backward, *arrays, method=method))


@pytest.mark.parametrize("name", ["KL", "StandardKL"])
def test_a_closed_form_has_no_gradient_by_z(name, arrays):
    part = PARTS[name]
    kl, cache = part.forward(*arrays)
    assert part.backward(np.ones_like(kl), cache)[0] == 0


def test_the_kl_to_n_0_1_is_the_kl_at_p_of_zeros(arrays):
    z, q, p = arrays
    kl, cache = KL().forward(z, q, np.zeros_like(p))
    standard, standard_cache = StandardKL().forward(z, q, p)
    np.testing.assert_allclose(standard, kl, rtol=1e-13)
    dz, dq, dp = StandardKL().backward(kl, standard_cache)
    np.testing.assert_allclose(dq, KL().backward(kl, cache)[1], rtol=1e-12, atol=1e-14)
    assert dz == dp == 0                               # nothing is learned about N(0, I)


def test_all_have_the_same_mean_over_z(rng):
    """The mean of each reading over 200,000 draws of z ~ q is the KL, within five standard errors."""
    q, p = rng.standard_normal((2, 1, 4)) / 2
    many = np.tile(q, (200_000, 1)), np.tile(p, (200_000, 1))
    z, _ = gaussian.draw(many[0], rng.standard_normal((200_000, 2)))
    kl, _ = KL().forward(z[:1], q, p)
    for part in (ExactDraw(), LogRatio()):
        values, _ = part.forward(z, *many)
        assert abs(values.mean() - kl[0]) < 5 * values.std() / np.sqrt(len(values))
        assert values.std() > 0.1                      # a draw is not the mean


def test_what_each_reading_leaves_to_the_draw(arrays):
    """LogRatio - ExactDraw is log q(z) + H(q): d/2 at z = mu_q, whatever p."""
    z, q, p = arrays
    mu_q, _ = gaussian.halves(q)
    difference = LogRatio().forward(mu_q, q, p)[0] - ExactDraw().forward(mu_q, q, p)[0]
    np.testing.assert_allclose(difference, 3 / 2, rtol=1e-12)


@pytest.mark.parametrize("name", PARTS)
def test_single_precision_is_kept_and_nothing_is_written_into(name, arrays):
    arrays = [v.astype(np.float32) for v in arrays]
    before = [v.copy() for v in arrays]
    kl, cache = PARTS[name].forward(*arrays)
    first, second = PARTS[name].backward(kl, cache), PARTS[name].backward(kl, cache)
    assert kl.dtype == first[1].dtype == np.float32
    for a, b in zip([*first, *arrays], [*second, *before]):
        np.testing.assert_array_equal(a, b)


def test_the_form_is_chosen_when_the_model_is_built_or_set():
    model = HVAE(6, (3, 2, 2), (4,))
    assert model.consistency == "exact"
    assert [type(model.compare[t]) for t in (1, 2, 3)] == [ExactDraw, ExactDraw, StandardKL]
    model.consistency = "printed"
    assert [type(model.compare[t]) for t in (1, 2, 3)] == [KL, KL, StandardKL]
    model.consistency = "sampled"                      # the name until version 0.1
    assert model.consistency == "exact" and model.compare[1] is HVAE.forms["exact"]
    assert [type(part) for part in TopDown(6, (3, 2)).compare.values()] == [KL, StandardKL]
    with pytest.raises(ValueError, match="^consistency must be one of 'exact', 'printed'; got 'exakt'$"):
        model.consistency = "exakt"
    assert model.consistency == "exact"
