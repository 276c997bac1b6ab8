"""The consistency theorem: the printed form R - P - C' of the bound (see test_exact.py for the tolerances)."""

import numpy as np
import pytest
from linear_gaussian import at_posterior, chain, expected, repeat, sigma_points
from scipy.optimize import minimize

from scratchvae.verify import exact


@pytest.mark.parametrize("T", [2, 3, 4, 5])
def test_printed_form_is_a_bound_and_its_gap_is_known(T):
    """ELBO - (R - P - C') = Σₜ tr( Q_t A_{t+1} B_{t+1} S_{t+1}⁻¹ ), of either sign, yet R - P - C' <= log p(x)."""
    gaps = []
    for seed in range(100):
        model, x = chain(T, seed)
        log_p, gap = exact.log_likelihood(model, x), exact.consistency_gap(model)
        _, kl = expected(model, x)
        model.consistency = "printed"
        reconstruction, kl_printed = expected(model, x)
        np.testing.assert_allclose((kl_printed - kl)[:, :-1], np.tile(gap, (len(x), 1)), rtol=1e-10,
                                   atol=1e-10 * np.abs(kl).max(), err_msg=f"chain {seed}")
        np.testing.assert_array_equal(kl_printed[:, -1], kl[:, -1])
        printed = reconstruction - kl_printed.sum(axis=1)
        assert (printed < log_p).all(), f"chain {seed}"
        gaps.append(gap.sum())
    assert min(gaps) < -0.01 and max(gaps) > 0.01                     # above the ELBO at times: it is not q's own bound


@pytest.mark.parametrize("T", [2, 3, 4, 5])
def test_printed_form_is_not_tight_at_the_posterior(T):
    """At the exact posterior the ELBO is log p(x), and the printed form lies below it by the gap, at every level."""
    for seed in range(20):
        model, x = at_posterior(T, seed, "printed")
        gap = exact.consistency_gap(model)
        assert (gap > 0).all(), f"chain {seed}"
        reconstruction, kl = expected(model, x)
        distance = exact.log_likelihood(model, x) - (reconstruction - kl.sum(axis=1))
        np.testing.assert_allclose(distance, gap.sum(), rtol=1e-10, atol=1e-10, err_msg=f"chain {seed}")


@pytest.mark.parametrize("T", [2, 3])
def test_printed_form_prefers_another_q(T):
    """The q that maximises R - P - C' is not the posterior, and even there R - P - C' < log p(x)."""
    model, x = at_posterior(T, 0, "printed")
    log_p = exact.log_likelihood(model, x).mean()
    theta = model.theta.copy()
    model.theta[:] = 0
    for t, f in exact.inference(model).items():                       # free: mu of every q, and a constant logvar
        exact.set_q(model, {t: exact.Affine(np.ones_like(f.W), np.ones_like(f.b), np.e * np.eye(len(f.b)))})
    free = model.theta == 1
    model.theta[:] = theta
    rows, noise, _ = repeat(x, sigma_points(model))

    def loss(values):
        model.theta[free] = values
        bound, cache = model.forward(rows, noise)
        model.backward(bound.loss_backward(), cache)
        return bound.loss(), model.gradient[free].copy()

    start = -loss(theta[free])[0]
    found = minimize(loss, theta[free], jac=True, method="L-BFGS-B")
    loss(found.x)
    printed = exact.elbo(model, x).total.mean()
    np.testing.assert_allclose(printed, -found.fun, rtol=1e-10)
    assert start + 0.001 < printed < log_p - 0.001
    model.consistency = "exact"
    assert exact.elbo(model, x).total.mean() < log_p - 0.001          # its q is the worse for it


@pytest.mark.parametrize("make", [chain, at_posterior])
def test_printed_form_loses_what_the_second_level_knows_of_the_first(make):
    """R - P - C' <= log p(x) - I_q(z_1; z_2 | x) for any q: even at the posterior, where the ELBO is log p(x)."""
    for seed in range(50):
        model, x = make(2, seed, "printed")
        (_, _, Q1), (A, _, Q2) = exact.inference(model).values()
        information = 0.5 * np.log(np.linalg.det(A.T @ Q1 @ A + Q2) / np.linalg.det(Q2))     # H(z_2) - H(z_2 | z_1)
        reconstruction, kl = expected(model, x)
        assert (reconstruction - kl.sum(axis=1) <= exact.log_likelihood(model, x) - information).all(), f"chain {seed}"
        assert information > 1e-4, f"chain {seed}"


def test_theorem_and_its_proof_beyond_gaussians():
    """R - P - C' = ELBO(r) - Σₜ [ I_q(z_t; z_{t+1}) - I_r(z_t; z_{t+1}) ] <= log p(x), whatever the distributions.

    Here every z_t has four values, T = 3, and all sums are written out, for 2000
    random chains at once (index n).  r is the Markov chain whose neighbours z_t
    and z_{t+1} are drawn apart from the same z_{t-1}, as the printed form has it.
    """
    rng = np.random.default_rng(0)

    def table(*shape):
        return rng.dirichlet(np.full(4, 0.3), size=(2000, *shape))    # rows that are often nearly certain

    q1, q2, q3 = table(), table(4), table(4)                          # q(z_1 | x), q(z_2 | z_1)[z_1, z_2], ...
    p3, p2, p1 = table(), table(4), table(4)                          # p(z_3), p(z_2 | z_3)[z_3, z_2], ...
    px = rng.uniform(size=(2000, 4))                                  # p(x | z_1) at the x in question
    log_p = np.log(np.einsum("nc,ncb,nba,na->n", p3, p2, p1, px))

    def elbo(chain):                                                  # over chain[n, a, b, c] = z_1, z_2, z_3
        log_joint = (np.log(p3)[:, None, None] + np.log(p2).swapaxes(1, 2)[:, None]
                     + np.log(p1).swapaxes(1, 2)[..., None] + np.log(px)[..., None, None])
        return (chain * (log_joint - np.log(chain))).sum(axis=(1, 2, 3))

    def information(pair):                                            # I(first; second)
        product = pair.sum(axis=2, keepdims=True) * pair.sum(axis=1, keepdims=True)
        return (pair * np.log(pair / product)).sum(axis=(1, 2))

    q12, q123 = np.einsum("na,nab->nab", q1, q2), np.einsum("na,nab,nbc->nabc", q1, q2, q3)
    r12 = np.einsum("na,nb->nab", q1, q12.sum(axis=1))                # z_2 drawn from another z_1
    r23 = np.einsum("na,nab,nac->nbc", q1, q2, q2 @ q3)               # z_3 drawn from another z_2, the same z_1
    r = r12[..., None] * (r23 / r23.sum(axis=2, keepdims=True))[:, None]

    R = np.einsum("na,na->n", q1, np.log(px))
    P = np.einsum("nab,nbc,nbc->n", q12, q3, np.log(q3) - np.log(p3)[:, None])
    C1 = np.einsum("na,na->n", q1, np.log(q1)) - np.einsum("na,nb,nba->n", q1, q12.sum(axis=1), np.log(p1))
    C2 = np.einsum("nab,nab->n", q12, np.log(q2)) - np.einsum("nbc,ncb->n", r23, np.log(p2))
    printed = R - P - C1 - C2

    def given(triple, other):                                         # I(other; third | the one that is left)
        joint = triple / triple.sum(axis=(other, 3), keepdims=True)
        apart = joint.sum(axis=other, keepdims=True) * joint.sum(axis=3, keepdims=True)
        return (triple * np.log(joint / apart)).sum(axis=(1, 2, 3))

    lost = [information(q12) - information(r12), information(q123.sum(axis=1)) - information(r23)]
    np.testing.assert_allclose(printed, elbo(r) - lost[0] - lost[1], rtol=1e-10, atol=1e-10)
    assert np.abs(information(r12)).max() < 1e-10, "at t = 1, I_r = 0"
    assert min(nats.min() for nats in lost) > -1e-10, "I_r <= I_q"
    r123 = np.einsum("na,nab,nac->nabc", q1, q2, q2 @ q3)             # z_2, z_3 drawn apart from the same z_1
    np.testing.assert_allclose(lost[1], given(q123, 2) + given(r123, 1), rtol=1e-9, atol=1e-10)
    assert (elbo(r) < log_p).all() and (elbo(q123) < log_p).all() and (printed < log_p).all()
    assert (printed > elbo(q123)).any() and (printed < elbo(q123)).any()    # but not the ELBO of q, nor below it
