"""Evaluation: against models whose numbers are known, and against the parts it is made of."""

import io
import json

import numpy as np
import pytest

from scratchvae import HVAE, VAE, evaluate
from scratchvae.train.evaluation import units

RNG = np.random.default_rng(0)
X = (RNG.random((300, 6)) < 0.3).astype(float)


def linear(model, network, slope, offset=0.0, logvar=0.0):
    """Let a linear network say mu = slope · (sum of its input's columns) + offset, and logvar, column by column."""
    d = network.output.W.shape[1] // 2
    network.output.W[:, :d], network.output.W[:, d:] = slope, 0
    network.output.b[:d], network.output.b[d:] = offset, logvar


def test_the_parts_are_means_over_draws():
    """Every part within five standard errors of its mean over 2000 draws of noise by hand, and the sum exact."""
    model = HVAE(6, (3, 2), (5,), dtype=np.float64)
    found = evaluate(model, X, n_draws=200, n_samples=1, rng=1)
    rng, draws = np.random.default_rng(2), []
    for _ in range(2000):
        elbo = model.forward(X, model.draw_noise(len(X), rng))[0]
        draws.append([elbo.reconstruction.mean(), *elbo.kl.mean(axis=0)])
    draws = np.array(draws)
    got = [found.elbo.reconstruction.mean(), *found.elbo.kl.mean(axis=0)]
    assert (np.abs(got - draws.mean(axis=0)) < 5 * draws.std(axis=0) / np.sqrt(200)).all()
    report = found.as_dict()
    expected = report["reconstruction"] - report["prior_matching"] - report["consistency_1"]
    assert report["elbo"] == pytest.approx(expected, rel=1e-12)


def test_log_likelihood_where_the_bound_is_tight():
    """A decoder that ignores z and a posterior that is the prior: ELBO = log p(x) for each row, for any K."""
    model = VAE(6, 2, (), dtype=np.float64)
    linear(model, model.q, 0.0)
    model.p.output.W[:], model.p.output.b[:] = 0, np.log(0.3 / 0.7)
    expected = X.sum(axis=1) * np.log(0.3) + (6 - X.sum(axis=1)) * np.log(0.7)
    found = evaluate(model, X, n_samples=3)
    np.testing.assert_allclose(found.log_likelihood, expected, rtol=1e-12)
    np.testing.assert_allclose(found.elbo.total, expected, rtol=1e-12)
    for part in ("elbo", "log_likelihood"):
        error = expected.std(ddof=1) / np.sqrt(300)
        assert found.as_dict()[f"{part}_standard_error"] == pytest.approx(error, rel=1e-12)
    assert found.active_units == found.active_units_kl == [0]


@pytest.mark.parametrize("n_draws", [1, 2, 3, 10])
def test_active_units_of_a_vae_by_both_definitions(n_draws):
    """Five units with known variance of mu and known KL; each definition counts one that the other does not."""
    model, total = VAE(6, 5, (), dtype=np.float64), X.sum(axis=1)[:, None]
    slope = np.array([0.0, 0.05, 0.5, 0.0, 0.11])
    offset = np.array([0.0, 0.0, 0.0, 1.0, -0.11 * total.mean()])
    linear(model, model.q, slope, offset)
    found, mu = evaluate(model, X, n_samples=1, n_draws=n_draws), total * slope + offset
    np.testing.assert_allclose(found.variances[0], mu.var(axis=0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.kls[0], (mu ** 2).mean(axis=0) / 2, rtol=1e-9, atol=1e-12)
    assert (found.variances[0] > 0.01).tolist() == [False, False, True, False, True] and found.active_units == [2]
    assert (found.kls[0] > 0.01).tolist() == [False, False, True, True, False] and found.active_units_kl == [2]
    assert found.kls[0].sum() == pytest.approx(found.elbo.prior_matching.mean(), rel=1e-9)


@pytest.fixture
def hierarchy():
    """z_1 = x's sum/2 + noise; z_2 = (its own share of x, nothing but z_1's noise, nothing); p's expectations known."""
    model = HVAE(6, (2, 3), (), dtype=np.float64)
    linear(model, model.q[1], [0.5, 0.0])                                       # z_1: one unit knows x, one is noise
    W, b = model.q[2].output.W, model.q[2].output.b
    W[:], b[:] = 0, 0
    W[0, 0], W[1, 1] = 1, 1                                                     # mu_2 = (z_11, z_12, 0)
    W, b = model.p[2].output.W, model.p[2].output.b
    W[:], b[:] = 0, 0
    W[1, 1], b[2:] = 0.5, np.log([2.0, 0.5])                                    # p: mu = (0, z_22 / 2), var = (2, 1/2)
    return model


def test_active_units_of_a_hierarchy(hierarchy):
    """Var_x( E[z_2 | x] ) is that of x's share alone: the noise of z_1, which z_2 copies, is not counted."""
    found = evaluate(hierarchy, X, n_samples=1, n_draws=400, rng=3)             # standard errors 0.003 and 0.0003
    share = (X.sum(axis=1) / 2).var()
    np.testing.assert_allclose(found.variances[0], [share, 0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.variances[1], [share, 0, 0], atol=0.015)
    assert abs(found.variances[1][1]) < 0.0015
    assert share > 0.1 and found.active_units == [1, 1]
    one_draw, _ = units(hierarchy, X, np.random.default_rng(0))
    assert one_draw[1][:, 1].var() > 0.8, "a single draw is noisy, so this test can fail"


def test_kl_of_units_of_a_hierarchy(hierarchy):
    """Against the closed forms' expectations: KL( N(m, 1) || N(0, 2) ), and KL( N(0, 1) || N(z_22 / 2, 1/2) )."""
    found = evaluate(hierarchy, X, n_samples=1, n_draws=300, rng=3)
    m2 = (X.sum(axis=1) ** 2 / 4).mean()
    first = 0.5 * (1 / 2 - 1 + np.log(2) + m2 / 2)
    second = 0.5 * (2 - 1 - np.log(2) + (2 / 4) * 2)                            # z_22 has variance 1 + 1
    np.testing.assert_allclose(found.kls[0], [first, second], rtol=0.02)
    np.testing.assert_allclose(found.kls[1], [(m2 + 1) / 2, 1 / 2, 0], rtol=0.02, atol=1e-12)
    assert found.active_units_kl == [2, 2]


def test_a_dead_level_has_no_active_unit():
    """q and p of the upper level are N(0, 1) for every input: 0 by both definitions, to the last digit by the KL."""
    model = HVAE(6, (3, 2), (), dtype=np.float64)
    linear(model, model.q[2], 0.0)
    found = evaluate(model, X, n_samples=1)
    assert found.active_units[1] == found.active_units_kl[1] == 0
    np.testing.assert_array_equal(found.kls[1], 0)
    np.testing.assert_allclose(found.variances[1], 0, atol=1e-15)


@pytest.mark.parametrize("model", [VAE(6, 3, (4,), dtype=np.float64), HVAE(6, (3, 2), (4,), dtype=np.float64)],
                         ids=["VAE", "HVAE"])
def test_batches_do_not_show(model):
    """The same means within the noise of 500 draws, whether 7 rows or all pass at once."""
    whole, parts = (evaluate(model, X[:50], n_draws=500, n_samples=2, rng=1, batch_size=size) for size in (50, 7))
    for name in ("kls", "variances"):
        for a, b in zip(getattr(whole, name), getattr(parts, name)):
            np.testing.assert_allclose(a, b, rtol=0.05, atol=2e-3, err_msg=name)
    np.testing.assert_allclose(whole.elbo.total.mean(), parts.elbo.total.mean(), rtol=0.01)


def test_no_more_rows_pass_at_once_than_allowed():
    """Bounded memory: never more than batch_size examples, nor more than 50000 of examples times samples."""
    seen = []

    class Watch(VAE):
        def log_likelihood(self, x, n_samples=1000, rng=0, max_rows=256):
            seen.append(len(x))
            return super().log_likelihood(x, 1, rng)

    model = Watch(6, 2, (4,))
    evaluate(model, X, n_samples=1, batch_size=120)
    evaluate(model, X[:30], n_samples=5000)
    evaluate(model, X[:3], n_samples=10**9)
    assert seen == [120, 120, 60] + [10] * 3 + [1] * 3


def test_the_report_is_json_and_complete():
    found = evaluate(HVAE(6, (3, 2), (4,)), X, n_samples=4)
    report = json.loads(json.dumps(found.as_dict()))
    assert report == found.as_dict()
    assert report["examples"] == 300 and report["importance_samples"] == 4
    assert [level["latents"] for level in report["levels"]] == [3, 2]
    assert report["levels"][0]["kl"] == pytest.approx(report["consistency_1"], rel=1e-12)
    assert report["levels"][1]["kl"] == pytest.approx(report["prior_matching"], rel=1e-12)
    assert set(report["levels"][0]) == {"level", "latents", "kl", "active_units", "active_units_kl"}
    text = str(found)
    assert all(name in text for name in ("reconstruction", "log p(x)", "standard error", "level 2", "by variance"))


def test_the_same_seed_gives_the_same_numbers_and_progress_changes_none():
    model, out = VAE(6, 2, (4,)), io.StringIO()
    first, second = evaluate(model, X, n_samples=3, rng=5), evaluate(model, X, n_samples=3, rng=5, progress=out)
    assert first.as_dict() == second.as_dict() and out.getvalue().startswith("example 300/300")
    assert first.as_dict() != evaluate(model, X, n_samples=3, rng=6).as_dict()


def test_the_numbers_that_are_taken_unless_others_are_given(capsys):
    """Of samples, of draws, and of rows at once, which more samples make fewer; and nothing is said."""
    model, x = VAE(6, 2, (4,)), np.tile(X, (4, 1))
    said = evaluate(model, X[:60]), evaluate(model, x, n_samples=7), evaluate(model, x, n_samples=7, n_draws=1)
    meant = (evaluate(model, X[:60], n_samples=1000, n_draws=10, rng=0, batch_size=50, progress=False),
             evaluate(model, x, n_samples=7, n_draws=10, rng=0, batch_size=1000, progress=False),
             evaluate(model, x, n_samples=7, n_draws=1, rng=0, batch_size=1000))
    for a, b in zip(said, meant):
        assert a.as_dict() == b.as_dict()
    assert capsys.readouterr().err == ""
