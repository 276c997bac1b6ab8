"""Evaluation, piece by piece: its numbers written out by hand from the same draws, and its sentences."""

import io

import numpy as np
import pytest

from scratchvae import ELBO, HVAE, VAE, Autoencoder, Diffusion, Evaluation, TopDown, evaluate, gaussian
from scratchvae.conditions import Conditional
from scratchvae.train import evaluation
from scratchvae.train.evaluation import by_name, held_out, measure, units
from scratchvae.train.state import stream

X = (np.random.default_rng(0).random((40, 6)) < 0.3).astype(float)
MODELS = {"vae": lambda: VAE(6, 2, (4,), dtype=np.float64, rng=1),
          "hvae": lambda: HVAE(6, (3, 2, 2), (4,), dtype=np.float64, rng=1),
          "topdown": lambda: TopDown(6, (3, 2, 2), (4,), dtype=np.float64, rng=1)}


def made(name):
    """A model that has trained nothing, but whose logvars are not 0."""
    model = MODELS[name]()
    model.theta += 0.3 * np.random.default_rng(2).standard_normal(model.theta.size)
    return model


def test_parts_have_names():
    assert by_name(np.array([-5, 1, 2, 3])) == {"elbo": -11.0, "reconstruction": -5.0, "prior_matching": 3.0,
                                                "consistency_1": 1.0, "consistency_2": 2.0}


@pytest.mark.parametrize("size", [15, 40])
def test_held_out_data_are_measured_in_batches(size):
    model, rng, parts = made("hvae"), stream(5, "held out"), []
    for first in range(0, 40, size):
        rows = X[first:first + size]
        elbo = model.forward(rows, model.draw_noise(len(rows), rng))[0]
        parts.append(np.column_stack([elbo.total, elbo.reconstruction, elbo.prior_matching, elbo.consistency]))
    found = held_out(model, X, 5, size)
    assert list(found) == ["elbo", "reconstruction", "prior_matching", "consistency_1", "consistency_2"]
    np.testing.assert_allclose(list(found.values()), np.concatenate(parts).mean(axis=0), rtol=1e-13)
    assert held_out(model, X, 5) == held_out(model, X, 5, 1000)
    many = np.tile(X, (26, 1))
    assert held_out(model, many, 5) == held_out(model, many, 5, 1000) != held_out(model, many, 5, 1001)
    assert held_out(model, many, 5) != held_out(model, many, 5, 999)


def test_held_out_data_of_a_diffusion_are_measured_at_ten_levels():
    model, generator = Diffusion(6, np.inf, (4,), dtype=np.float64), stream(5, "held out")
    rows = [model.bound_by_level(x, generator, 10).total for x in (X[:30], X[30:])]
    assert held_out(model, X, 5, 30)["elbo"] == pytest.approx(np.concatenate(rows).mean(), rel=1e-12)


def test_held_out_data_of_an_autoencoder_have_no_noise():
    model = Autoencoder(6, 2, (4,))
    expected = model.forward(X, None)[0].total.mean()
    assert held_out(model, model.check_x(X), 5)["elbo"] == pytest.approx(expected, rel=1e-5)


# the latents, one by one -------------------------------------------------------------------------


def kl(q, p):
    """KL( q || p ) of each latent alone."""
    (mu_q, logvar_q), (mu_p, logvar_p) = map(gaussian.halves, (q, p))
    return 0.5 * (logvar_p - logvar_q - 1 + np.exp(logvar_q - logvar_p) + (mu_q - mu_p) ** 2 / np.exp(logvar_p))


def levels(model, rng):
    """Return q and p of each level, at a draw of z."""
    q, p = {}, {}
    if isinstance(model, TopDown):
        found = model.down(model.up(X), model.draw_noise(len(X), rng))
        return [found[t][1] for t in model.levels], [found[t][2] for t in model.levels]
    networks, z = model.networks, {0: X}
    for t in range(1, 1 + len(model.latent_dims)):
        q[t] = networks[f"q{t}"].forward(z[t - 1])[0]
        z[t] = gaussian.draw(q[t], rng.standard_normal((len(X), model.latent_dims[t - 1])))[0]
        p[t - 1] = networks[f"p{t}"].forward(z[t])[0]
    return list(q.values()), [*list(p.values())[1:], np.zeros_like(q[t])]


@pytest.mark.parametrize("name", MODELS)
def test_what_q_and_p_say_of_each_latent(name):
    model = made(name)
    mus, kls = units(model, X, np.random.default_rng(3))
    q, p = levels(model, np.random.default_rng(3))
    assert len(mus) == len(kls) == len(q) == len(model.latent_dims)
    for mu, cost, of_q, of_p in zip(mus, kls, q, p):
        np.testing.assert_array_equal(mu, gaussian.halves(of_q)[0])
        np.testing.assert_allclose(cost, kl(of_q, of_p), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("n_draws", [1, 2, 5])
@pytest.mark.parametrize("name", MODELS)
def test_a_measurement_is_its_draws_one_after_the_other(name, n_draws):
    """The bound's draws, then those of the latents, in two halves, at least one each; then log p(x)."""
    model, rng = made(name), np.random.default_rng(4)
    parts, log_likelihood, of_latents = measure(model, X, np.random.default_rng(4), 3, n_draws)
    elbos = [model.forward(X, model.draw_noise(40, rng))[0] for _ in range(n_draws)]
    expected = np.mean([np.column_stack([e.reconstruction, e.consistency, e.prior_matching]) for e in elbos], axis=0)
    np.testing.assert_allclose(parts, expected, rtol=1e-12)
    drawn = [units(model, X, rng) for _ in range(max(2, n_draws))]
    np.testing.assert_array_equal(log_likelihood, model.log_likelihood(X, 3, rng))
    assert len(of_latents) == len(model.latent_dims)
    for t, found in enumerate(of_latents):
        a, b = (np.mean([mus[t] for mus, _ in drawn[half::2]], axis=0) for half in (0, 1))
        np.testing.assert_allclose(found, [a.sum(axis=0), b.sum(axis=0), (a * b).sum(axis=0),
                                           np.mean([kls[t] for _, kls in drawn], axis=0).sum(axis=0)], rtol=1e-12)


@pytest.mark.parametrize("T", [1, 2, 7, np.inf])
def test_a_diffusion_is_measured_over_all_its_levels_once(T):
    model, rng = Diffusion(6, T, (4,), dtype=np.float64), np.random.default_rng(4)
    parts, log_likelihood, of_latents = measure(model, X, np.random.default_rng(4), 2, 5)
    elbo = model.bound_by_level(X, rng)
    np.testing.assert_array_equal(parts[:, [0, -1]], np.column_stack([elbo.reconstruction, elbo.prior_matching]))
    if T > 1:
        np.testing.assert_array_equal(parts[:, 1], elbo.consistency.sum(axis=1))
    np.testing.assert_array_equal(log_likelihood, model.log_likelihood(X, 2, rng))
    assert of_latents == [] and parts.shape == (40, 2 + (T > 1))
    found = evaluate(model, X, n_samples=2)
    assert found.log_p_levels == (1000 if T == np.inf else None) and found.kls == found.variances == []


def test_rows_with_labels_are_measured_by_the_model_that_has_these_labels():
    model, rows = Conditional(made("hvae"), 2), np.concatenate([X, np.eye(2)[np.arange(40) % 2]], axis=1)
    model.theta[:] = np.random.default_rng(1).standard_normal(model.theta.size) / 3
    seen, rng = model.split(rows)[0], np.random.default_rng(4)
    parts, log_likelihood, of_latents = measure(model, rows, np.random.default_rng(4), 3, 1)
    elbo = seen.forward(X, seen.draw_noise(40, rng))[0]
    np.testing.assert_allclose(parts, np.column_stack([elbo.reconstruction, elbo.consistency, elbo.prior_matching]))
    drawn = [units(seen, X, rng) for _ in range(2)]
    np.testing.assert_array_equal(log_likelihood, model.log_likelihood(rows, 3, rng))
    np.testing.assert_allclose(of_latents[1][0], drawn[0][0][1].sum(axis=0), rtol=1e-12)
    assert len(evaluate(model, rows, n_samples=2).kls) == 3


# the whole ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [None, 1])
@pytest.mark.parametrize("name", MODELS)
def test_an_evaluation_puts_its_batches_together(name, workers, monkeypatch):
    """Without workers all draws come from one generator; else each batch has one of its own."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")    # one worker is this process
    model, rng, answers, out = made(name), np.random.default_rng(6), [], io.StringIO()
    seed = None if workers is None else int(np.random.default_rng(6).integers(2 ** 63))
    found = evaluate(model, X, n_samples=4, n_draws=3, rng=6, batch_size=15, workers=workers, progress=out)
    for i, rows in enumerate((X[:15], X[15:30], X[30:])):
        answers.append(measure(model, rows, rng if seed is None else np.random.default_rng([seed, i]), 4, 3))
    parts = np.concatenate([parts for parts, _, _ in answers])
    np.testing.assert_array_equal(found.elbo.reconstruction, parts[:, 0])
    np.testing.assert_array_equal(found.elbo.prior_matching, parts[:, -1])
    np.testing.assert_array_equal(found.elbo.consistency, parts[:, 1:-1])
    np.testing.assert_array_equal(found.log_likelihood, np.concatenate([log_p for _, log_p, _ in answers]))
    assert found.n_samples == 4 and found.log_p_levels is None
    for t, (variances, kls) in enumerate(zip(found.variances, found.kls)):
        a, b, ab, cost = np.sum([of_latents[t] for *_, of_latents in answers], axis=0)
        np.testing.assert_allclose(variances, ab / 40 - a / 40 * b / 40, rtol=1e-12)
        np.testing.assert_allclose(kls, cost / 40, rtol=1e-12)
    lines = [line.split("  ")[0] for line in out.getvalue().splitlines()]
    assert lines == ["example 15/40", "example 30/40", "example 40/40"]


def test_rows_at_once(monkeypatch):
    """At most batch_size, and 50,000 rows times samples; by default 1000, where it is 50; two rows are enough."""
    seen = []

    def watch(model, x, rng, n_samples, n_draws):
        seen.append((len(x), n_samples, n_draws, rng.random()))
        return np.ones((len(x), 2)), np.ones(len(x)), [np.ones((4, 2))]

    monkeypatch.setattr(evaluation, "measure", watch)
    x = np.tile(X, (26, 1))
    for n, options in ((120, {}), (1040, {"n_samples": 7}), (1040, {"n_samples": 7, "batch_size": 600}),
                       (1040, {"n_samples": 100}), (3, {"n_samples": 40_000}), (3, {"n_samples": 10 ** 6})):
        evaluate(made("vae"), x[:n], **options)
    assert [n for n, *_ in seen] == [50, 50, 20, 1000, 40, 600, 440, 500, 500, 40, 1, 1, 1, 1, 1, 1]
    assert seen[0][1:] == (1000, 10, np.random.default_rng(0).random()) and seen[3][1:3] == (7, 10)
    evaluate(made("vae"), X[:2], n_draws=3)
    assert seen[-1][:3] == (2, 1000, 3)
    evaluate(made("vae"), np.tile(X, (180, 1)), n_samples=7, batch_size=10_000)
    assert [n for n, *_ in seen[-2:]] == [7142, 58]


def test_nothing_is_said_unless_it_is_asked_for(capsys, monkeypatch):
    evaluate(made("vae"), X, n_samples=2)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    evaluate(made("vae"), X, n_samples=2)
    assert capsys.readouterr() == ("", "")


# what is said ------------------------------------------------------------------------------------

FOUND = Evaluation(ELBO(np.array([-4.0, -6.0]), np.array([1.0, 2.0]), np.array([[0.5], [1.5]])), np.array([-5.0, -8.0]),
                   9, [np.array([0.01, 0.5]), np.array([0.02])], [np.array([0.4, 0.6]), np.array([0.01])])


def test_the_report_as_a_dict():
    assert FOUND.active_units == [1, 1] and FOUND.active_units_kl == [2, 0]
    assert {type(n) for n in FOUND.active_units + FOUND.active_units_kl} == {int}
    assert type(FOUND.levels[0]["kl"]) is float
    levels = [{"level": 1, "latents": 2, "kl": 1.0, "active_units": 1, "active_units_kl": 2},
              {"level": 2, "latents": 1, "kl": 1.5, "active_units": 1, "active_units_kl": 0}]
    error = pytest.approx(4.0 / 2 ** 0.5 / 2 ** 0.5, rel=1e-15)
    expected = {"examples": 2, "importance_samples": 9, "elbo": -7.5, "reconstruction": -5.0, "prior_matching": 1.5,
                "consistency_1": 1.0, "log_likelihood": -6.5, "elbo_standard_error": error,
                "log_likelihood_standard_error": pytest.approx(1.5, rel=1e-15), "levels": levels}
    found = FOUND.as_dict()
    assert found == expected and list(found) == list(expected)
    assert [type(value) for value in found.values()] == [int, int, *[float] * 7, list]
    many = Evaluation(FOUND.elbo, FOUND.log_likelihood, 9, [], [], log_p_levels=1000).as_dict()
    assert many == {**expected, "levels": [], "log_likelihood_levels": 1000}


def test_the_report_as_a_table():
    assert str(FOUND) == """\
reconstruction      -5.000 nats
prior matching       1.500 nats
consistency 1        1.000 nats
ELBO                -7.500 nats
log p(x)            -6.500 nats  (standard error 1.500, 9 importance samples)
level 1: KL 1.00 nats; of 2 latents, 1 active by variance, 2 by their own KL
level 2: KL 1.50 nats; of 1 latents, 1 active by variance, 0 by their own KL"""
    many = Evaluation(FOUND.elbo, FOUND.log_likelihood, 9, [], [], 1000)
    assert str(many).splitlines()[4:] == [
        "log p(x)            -6.500 nats  (standard error 1.500, 9 importance samples of 1000 levels; the bound is for "
        "infinitely many)"]


def spoilt(model):
    model.theta[3] = np.inf
    return model


@pytest.mark.parametrize("model, options, message", [
    (VAE, {}, "model must be a VAE, an HVAE or a Diffusion; got <class 'scratchvae.vae.VAE'>"),
    (Autoencoder(6, 2), {}, "model must be a VAE, an HVAE or a Diffusion; got <Autoencoder: 6 columns, latents (2,), "
                            "size 1160>"),
    (made("vae").astype(np.complex128), {},
     "model must be float32 or float64, as model.astype(np.float32) is; got complex128"),
    (spoilt(made("vae")), {}, "model must have finite parameters to be evaluated; some are infinite or NaN"),
    (np.zeros(3), {}, "model must be a VAE, an HVAE or a Diffusion; got an array of shape (3,)"),
    (made("vae"), {"x": X[0]}, "x must have shape (n, 6); got (6,)"),
    (made("vae"), {"n_draws": 0}, "n_draws must be a whole number of at least 1; got 0"),
    (made("vae"), {"n_samples": 0}, "n_samples must be a whole number of at least 1; got 0"),
    (made("vae"), {"batch_size": 0}, "batch_size must be a whole number of at least 1; got 0"),
    (made("vae"), {"rng": "x"}, "rng must be a Generator or a seed, a whole number of at least 0; got 'x'"),
    (made("vae"), {"workers": 0}, "workers must be 'auto', or a whole number of at least 1; got 0"),
    (made("vae"), {"progress": 3},
     "progress must be an object such as sys.stderr, or True for it; got 3, which has no method write"),
])
def test_bad_input(model, options, message):
    with pytest.raises(ValueError) as caught:
        evaluate(model, **{"x": X, **options})
    assert str(caught.value) == message


def test_x_is_checked_before_anything_is_measured(monkeypatch):
    monkeypatch.setattr(evaluation, "measure", None)
    with pytest.raises(ValueError, match="^x must lie in"):
        evaluate(made("vae"), X + 1)
