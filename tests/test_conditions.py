"""Conditions: gradients by the label too, a fresh model that does not see it, and p(x | y) against an integral."""

import copy
import pickle

import numpy as np
import pytest

from scratchvae import (HVAE, SGD, VAE, Adam, Autoencoder, Bernoulli, Categorical, Conditional, Diffusion, Gaussian,
                        LatentDiffusion, Mixed, TopDown, evaluate, fit)
from scratchvae.conditions import Told
from scratchvae.layers import Dense
from scratchvae.verify.gradcheck import check_layer, check_model

X_DIM, Y_DIM, N = 5, 3, 6
MODELS = {
    "VAE": lambda **o: VAE(X_DIM, 2, (4,), **o), "VAE without hidden layers": lambda **o: VAE(X_DIM, 2, (), **o),
    "HVAE": lambda **o: HVAE(X_DIM, (3, 2), (4,), **o), "TopDown": lambda **o: TopDown(X_DIM, (3, 2), (4,), **o),
    "Diffusion": lambda **o: Diffusion(X_DIM, 4, (4,), log_noise=(-1, 3), **o),
    "Diffusion, many levels": lambda **o: Diffusion(X_DIM, np.inf, (4,), log_noise=(-1, 3), **o),
    "LatentDiffusion": lambda **o: LatentDiffusion(X_DIM, 2, (4,), prior_hidden_dims=(3,), log_noise=(-3, 3), **o)}
every_model = pytest.mark.parametrize("name", MODELS)


def make(name, rng, far=0.2):
    model = Conditional(MODELS[name](rng=rng, dtype=np.float64), Y_DIM)
    model.theta += far * rng.standard_normal(model.theta.size)
    return model


@pytest.fixture
def rows(rng):
    return np.hstack([rng.integers(0, 2, (N, X_DIM)), np.eye(Y_DIM)[rng.integers(0, Y_DIM, N)]], dtype=float)


@every_model
def test_gradients(name, rng, rows, agrees):
    """By every parameter, those of the label's weights included, and by the rows, x and y."""
    ledger = check_model(make(name, rng), rows)
    agrees(ledger)
    shapes = {entry.shape for entry in ledger.entries if entry.by == "x"}
    assert shapes == {(N, X_DIM + Y_DIM)}


def test_gradients_by_central_differences(rng, rows, agrees):
    agrees(check_model(make("HVAE", rng), rows, method="central"))


@pytest.mark.parametrize("times", [1, 2])
def test_a_layer_that_is_told_a_label(times, rng, agrees):
    """Dense on both side by side; where the input has the rows several times, the label's gradient is a sum."""
    dense, label, dy = Dense(4 + 2, 3, rng), rng.standard_normal((5, 2)), rng.standard_normal((5 * times, 3))
    x = rng.standard_normal((5 * times, 4))
    layer = Told(dense, label)
    y, cache = layer.forward(x)
    np.testing.assert_array_equal(y, dense.forward(np.hstack([x, np.vstack([label] * times)]))[0])
    dx = layer.backward(dy, cache)
    whole = dy @ dense.W.T
    np.testing.assert_array_equal(dx, whole[:, :4])
    np.testing.assert_allclose(layer.dlabel, whole[:, 4:].reshape(times, 5, 2).sum(axis=0), rtol=1e-15)
    assert layer.dW is dense.dW and layer.W is dense.W and layer.backward(dy, cache, False).shape == (5 * times, 0)
    agrees(check_layer(layer, x))


@every_model
def test_exact_a_fresh_model_does_not_see_its_label(name, rng, rows):
    plain = MODELS[name](dtype=np.float64)
    plain.theta += 0.2 * rng.standard_normal(plain.theta.size)
    model, noise = Conditional(plain, Y_DIM), plain.draw_noise(N, rng)
    np.testing.assert_allclose(model.forward(rows, noise)[0].total, plain.forward(rows[:, :X_DIM], noise)[0].total,
                               rtol=1e-14)
    assert model.theta.size > plain.theta.size


@every_model
def test_each_row_has_its_own_label(name, rng, rows):
    """The bound of a row, and by chance its log p(x | y), are those of the model that is given its label."""
    model, bounds = make(name, rng), []
    noise = model.draw_noise(N, rng)
    elbo, _ = model.forward(rows, noise)
    for i, row in enumerate(rows):
        of_row = [eps[i:i + 1] for eps in noise] if isinstance(noise, list) else noise[i:i + 1]
        given = model.given(row[X_DIM:])
        bounds.append(given.forward(row[None, :X_DIM], of_row)[0].total[0])
        np.testing.assert_allclose(
            model.log_weight(rows[i:i + 1], 3, np.random.default_rng(i)),
            given.log_weight(row[None, :X_DIM], 3, np.random.default_rng(i)), rtol=1e-12)
    np.testing.assert_allclose(elbo.total, bounds, rtol=1e-12)
    several = model.log_weight(rows, 2, np.random.default_rng(0))              # (2, n): draws, then rows
    other = np.concatenate([rows[:, :X_DIM], np.roll(rows[:, X_DIM:], 1, axis=1)], axis=1)
    assert (model.log_weight(other, 2, np.random.default_rng(0)) != several).all()


def test_exact_log_p_of_x_given_y_by_an_integral(rng):
    """log p(x | y) of importance samples, against an integral over z: two latents on a grid."""
    model = Conditional(VAE(3, 2, (4,), dtype=float, rng=rng), 2)
    model.theta += 0.3 * rng.standard_normal(model.theta.size)
    model.model.q.output.b[2:] = 0.5                   # a wide q: no weight is large, and 20,000 samples are enough
    rows = np.array([[1.0, 0, 1, 1, 0], [0.0, 0, 1, 0, 1]])
    axis = np.linspace(-6, 6, 121)
    z = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    p_z = np.exp(-0.5 * (z * z).sum(axis=1)) / (2 * np.pi) * (axis[1] - axis[0]) ** 2
    for row, found in zip(rows, model.log_likelihood(rows, 20_000, 0)):
        h, _ = model.model.p.forward(np.hstack([z, np.tile(row[3:], (len(z), 1))]))    # its W has rows for the label
        mean = model.likelihood.mean(h)
        p_x = np.where(row[:3] == 1, mean, 1 - mean).prod(axis=1)
        assert abs(found - np.log(p_x @ p_z)) < 0.02


def test_the_label_is_learned(rng):
    """x is its label, with one pixel flipped in ten: log p(x | y) becomes the entropy, samples follow the label."""
    y = rng.integers(0, 2, 400)
    x = np.where(rng.random((400, 4)) < 0.9, y[:, None], 1 - y[:, None])
    rows = np.column_stack([x, np.eye(2)[y]])
    model = Conditional(VAE(4, 1, (8,)), 2)
    fit(model, rows, epochs=60, optimizer=Adam(0.01))
    entropy = -4 * (0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    assert abs(evaluate(model, rows, n_samples=50).log_likelihood.mean() + entropy) < 0.1
    for label in (0, 1):
        assert abs(model.given(np.eye(2)[label]).sample(50, 0).mean() - (0.1 + 0.8 * label)) < 0.05
    np.testing.assert_array_equal(model.sample(4, 0)[::2].round(), np.zeros((2, 4)))    # labels in turn
    np.testing.assert_array_equal(model.sample(4, 0)[1::2].round(), np.ones((2, 4)))


@every_model
def test_training_measuring_and_drawing(name, rng, rows):
    model = make(name, rng)
    before = model.theta.copy()
    fit(model, rows, epochs=2, batch_size=4, optimizer=SGD(0.05), x_valid=rows[:3])
    moved = {key for key, view in model.parameters.items() if (view != 0).any()}
    assert (model.theta != before).any() and moved == set(model.parameters)
    found = evaluate(model, rows, n_samples=3)
    assert np.isfinite(found.log_likelihood).all() and np.isfinite(found.elbo.total).all()
    assert len(found.variances) == (0 if "Diffusion," in name or name == "Diffusion" else len(model.latent_dims))
    assert model.sample(4, 0).shape == model.given(rows[0, X_DIM:]).sample(4, 0).shape == (4, X_DIM)
    assert set(np.unique(model.sample(9, 0, draw=True))) <= {0.0, 1.0}
    np.testing.assert_array_equal(model.sample(4, 0, draw=True), model.sample(4, 0, draw=True))


def test_noise_options_and_precision_are_those_of_the_model(rng, rows):
    model, plain = make("HVAE", rng), MODELS["HVAE"](dtype=np.float64)
    for mine, its in zip(model.draw_noise(3, 7), plain.draw_noise(3, 7), strict=True):
        np.testing.assert_array_equal(mine, its)
    top = np.ones((6, 2))
    np.testing.assert_array_equal(model.sample(6, 3, z=top, level=2), model.sample(6, 3, z=top, level=2))
    assert np.abs(model.sample(6, 3, z=top, level=2) - model.sample(6, 3)).max() > 1e-4
    elbo, cache = model.forward(rows, model.draw_noise(N, rng))
    assert model.backward(elbo.loss_backward(), cache).shape == (N, 0)
    single = model.astype(np.float32)
    assert single.sample(4).dtype == single.given(rows[0, X_DIM:]).sample(4).dtype == np.float32


@pytest.mark.parametrize("name", ["VAE", "Diffusion", "LatentDiffusion"])
def test_workers_do_the_same_for_any_number_of_them(name, rows):
    thetas = []
    for workers in (1, 2):
        model = make(name, np.random.default_rng(0))
        fit(model, np.tile(rows, (6, 1)), epochs=1, batch_size=36, optimizer=SGD(0.05), workers=workers)
        thetas.append(model.theta.copy())
    np.testing.assert_array_equal(*thetas)


@every_model
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)),
                                    lambda m: m.astype(np.float32), lambda m: m.astype(np.complex128)],
                         ids=["deepcopy", "pickle", "float32", "complex128"])
def test_a_copy_stands_by_itself(copied, name, rng, rows):
    model = make(name, rng)
    twin, noise = copied(model), model.draw_noise(N, rng)
    before, _ = model.forward(rows, noise)
    same, _ = twin.forward(rows, noise)
    np.testing.assert_allclose(same.total, before.total, rtol=2e-5)
    assert same.total.dtype == twin.dtype
    twin.theta += 0.1
    assert (twin.forward(rows, noise)[0].total != same.total).all()
    np.testing.assert_array_equal(model.forward(rows, noise)[0].total, before.total)


def test_the_model_that_it_was_made_of_is_left_alone(rng, rows):
    plain = VAE(X_DIM, 2, (4,), dtype=np.float64)
    before = plain.theta.copy()
    model = Conditional(plain, Y_DIM)
    fit(model, rows, epochs=1)
    np.testing.assert_array_equal(plain.theta, before)
    assert plain.q.layers["dense1"].W.shape == (X_DIM, 4) and model.model.q.layers["dense1"].W.shape == (8, 4)
    np.testing.assert_array_equal(Conditional(plain, 2).parameters["q1.dense1.W"][X_DIM:], 0)


def test_a_table_of_mixed_columns_with_missing_cells(rng, agrees):
    """The label stands beside what the first layer of a table makes of its columns."""
    parts = [Gaussian(1), Categorical(3), Bernoulli(1)]
    x = np.column_stack([rng.standard_normal(N), np.eye(3)[rng.integers(0, 3, N)], rng.integers(0, 2, N)])
    x[1, 0] = np.nan
    model = Conditional(VAE(5, 2, (4,), likelihood=Mixed(parts, missing=True), dtype=np.float64), 2)
    model.theta += 0.1 * rng.standard_normal(model.theta.size)
    rows = np.column_stack([x, np.eye(2)[rng.integers(0, 2, N)]])
    fit(model, rows, epochs=1, optimizer=SGD(1e-3))
    elbo, _ = model.forward(rows, model.draw_noise(N, rng))
    assert np.isfinite(elbo.total).all() and model.given([1, 0]).sample(3, 0).shape == (3, 5)
    rows[0, 5] = np.nan
    with pytest.raises(ValueError, match="^the labels beside x must be finite"):
        model.forward(rows, model.draw_noise(N, rng))


@pytest.mark.parametrize("call, message", [
    (lambda m: Conditional("vae", 3), "^model must be a VAE, an HVAE, a TopDown or a Diffusion; got 'vae'$"),
    (lambda m: Conditional(m, 3), "^model must be a VAE, .*; got a? ?<?.*Conditional"),
    (lambda m: Conditional(VAE(4, 2), 0), "^y_dim must be a whole number of at least 1; got 0$"),
    (lambda m: m.given([1, 0]), r"^y must have shape \(3,\); got \(2,\)$"),
    (lambda m: m.forward(np.zeros((6, 5)), m.draw_noise(6, 0)),
     r"^x, with its labels beside it, must have shape \(n, 8\); got \(6, 5\)$"),
    (lambda m: m.forward(np.full((6, 8), 2.0), m.draw_noise(6, 0)), r"^x must lie in \[0, 1\]"),
    (lambda m: m.forward(np.zeros((6, 8)), m.draw_noise(5, 0)), "^noise"),
    (lambda m: fit(m, np.zeros((6, 8)), objective="iwae"),
     "^objective must be 'elbo' for a Conditional, which has a bound of its own: .*; got 'iwae'$"),
    (lambda m: evaluate(Conditional(Autoencoder(5, 2), 3), np.zeros((6, 8))), "^model must be a VAE, an HVAE or a D"),
    (lambda m: m.sample(0), "^n must be a whole number of at least 1; got 0$")])
def test_wrong_arguments(call, message, rng):
    with pytest.raises(ValueError, match=message):
        call(make("VAE", rng))


def test_the_autoencoder_may_be_told_as_well(rng, rows, agrees):
    model = Conditional(Autoencoder(X_DIM, 2, (4,), dtype=np.float64), Y_DIM)
    model.theta += 0.1 * rng.standard_normal(model.theta.size)
    agrees(check_model(model, rows))


def test_several_draws_of_the_elbo(rng, rows):
    history = fit(make("VAE", rng), rows, epochs=3, n_samples=4)
    assert np.isfinite(history["elbo"]).all()
