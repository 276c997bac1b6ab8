"""A learned prior: its gradients end to end, what a fresh one is, and log p(x), samples and frequencies that agree."""

import copy
import itertools
import pickle

import numpy as np
import pytest

from scratchvae import SGD, VAE, Adam, LatentDiffusion, State, checkpoint, evaluate, fit, gaussian
from scratchvae.compare import StandardKL
from scratchvae.prior import DiffusionPrior
from scratchvae.train import team
from scratchvae.verify.gradcheck import check_model

X_DIM, D = 6, 3


def make(rng, far=0.2, **options):
    """Return a small float64 model; with ``far`` = 0 it is fresh."""
    model = LatentDiffusion(X_DIM, D, (5,), **{"prior_hidden_dims": (6, 4), "log_noise": (-3, 4), "rng": rng,
                                               "dtype": np.float64, **options})
    model.theta += far * rng.standard_normal(model.theta.size)
    return model


@pytest.fixture
def x(rng):
    return rng.integers(0, 2, (8, X_DIM)).astype(float)


# gradients ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["complex", "central"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_gradients(likelihood, method, rng, x, agrees):
    """End to end: of q, p and the prior, and by x."""
    ledger = check_model(make(rng, likelihood=likelihood), x, method=method)
    agrees(ledger)
    assert {"q1.dense1.W", "p1.dense2.b", "prior.dense1.W", "prior.dense3.b", "x"} <= {e.by for e in ledger.entries}
    assert all(e.gradient > 0 for e in ledger.entries if e.of == "prior matching" and e.by.startswith(("q1", "prior")))


def test_gradients_after_some_training(rng, x, agrees):
    model = make(rng, far=0)
    fit(model, x, epochs=20, batch_size=4, optimizer=Adam(0.01))
    agrees(check_model(model, x))


def test_gradients_at_full_size(rng, agrees):
    """784-400-20, and a prior of two layers of 100, along one random direction for each array."""
    model = LatentDiffusion(784, 20, (400,), prior_hidden_dims=(100, 100), log_noise=(-3, 6))
    model.theta += 0.02 * rng.standard_normal(model.theta.size).astype(np.float32)
    agrees(check_model(model, rng.random((4, 784)), directions=1))


def test_the_part_by_its_definition_and_by_differences(rng):
    """-H(q) minus the bound of the diffusion, whose noise lies in columns; dz and dq row by row, none by the noise."""
    model, n = make(rng), 5
    z, q = rng.standard_normal((n, D)), rng.standard_normal((n, 2 * D))
    noise = model.draw_noise(n, rng)[:, D:]
    kl, cache = model.compare.forward(z, q, noise)
    elbo, _ = model.prior.forward(z, [noise[:, 0], noise[:, 1:1 + D], noise[:, 1 + D:]])
    entropy = 0.5 * (np.log(2 * np.pi) + 1 + q[:, D:]).sum(axis=1)
    np.testing.assert_allclose(kl, -entropy - elbo.total, rtol=1e-13)
    dkl = rng.standard_normal(n)
    dz, dq, dnoise = model.compare.backward(dkl, cache)
    assert dz.shape == z.shape and dq.shape == q.shape and dnoise == 0
    for v, dv in ((z, dz), (q, dq)):
        for j in range(v.shape[1]):
            v[:, j] += 1e-6
            plus, _ = model.compare.forward(z, q, noise)
            v[:, j] -= 2e-6
            minus, _ = model.compare.forward(z, q, noise)
            v[:, j] += 1e-6
            np.testing.assert_allclose(dv[:, j], dkl * (plus - minus) / 2e-6, rtol=1e-5, atol=1e-7)


# what a fresh prior is, exactly ---------------------------------------------------------------------


def test_exact_a_fresh_prior_is_the_standard_normal_path_by_path(rng, x):
    """For every path through its levels log p/q is log N(z; 0, I); so the weights are those of the plain VAE."""
    model = make(rng, far=0)
    z = 2 * rng.standard_normal((50, D))
    for levels in (1, 2, 7, 200):
        log_w = model.prior.with_levels(levels).log_weight(z, 3, rng)
        np.testing.assert_allclose(log_w, np.tile(gaussian.log_prob(z, 0 * z, 0 * z)[0], (3, 1)), rtol=0, atol=1e-12)
    q, p = ({name: array for name, array in model.parameters.items() if name.startswith(part)} for part in ("q1", "p1"))
    for array in (q | p).values():
        array += 0.3 * rng.standard_normal(array.shape)
    plain = VAE(X_DIM, D, (5,), dtype=np.float64)
    plain.theta[:] = model.theta[:plain.theta.size]
    np.testing.assert_allclose(model.log_weight(x, 4, np.random.default_rng(0)),
                               plain.log_weight(x, 4, np.random.default_rng(0)), rtol=0, atol=1e-11)
    noise = model.draw_noise(len(x), rng)              # and the bound of the others is theirs
    np.testing.assert_array_equal(model.forward(x, noise)[0].reconstruction,
                                  plain.forward(x, noise[:, :D])[0].reconstruction)


def test_exact_the_mean_of_a_fresh_priors_part_is_the_kl(rng):
    """Its mean over z ~ q and the noise of the prior is KL( q || N(0, I) ), within five standard errors."""
    model, n = make(rng, far=0), 100_000
    q = np.tile(rng.standard_normal((1, 2 * D)) / 2, (n, 1))
    z, _ = gaussian.draw(q, rng.standard_normal((n, D)))
    values, _ = model.compare.forward(z, q, model.draw_noise(n, rng)[:, D:])
    exact, _ = StandardKL().forward(z[:1], q[:1], None)
    assert abs(values.mean() - exact[0]) < 5 * values.std() / np.sqrt(n)
    assert values.std() > 0.1 and values.min() < 0     # a draw is not the mean


def test_exact_samples_of_a_fresh_prior_have_the_moments_of_the_standard_normal(rng):
    model, n = make(rng, far=0), 40_000
    z = model.prior.with_levels(20).sample(n, rng, draw=True)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=5 / np.sqrt(n))
    np.testing.assert_allclose(z.T @ z / n, np.eye(D), atol=8 / np.sqrt(n))


# a prior that has moved: three ways to log p(x) -----------------------------------------------------


def small(rng):
    """Return a model of three pixels and one latent, whose prior is not N(0, I), and all of its images."""
    model = LatentDiffusion(3, 1, (4,), prior_hidden_dims=(5,), log_noise=(-4, 5), rng=rng, dtype=np.float64)
    model.theta += 0.3 * rng.standard_normal(model.theta.size)
    model.q.output.b[:] = 1.0, 1.5                     # a wide q: no weight is large
    model.prior.f.output.b[:] = 0.5                    # the prior lies to the right
    model.p.output.W[:] *= 4                           # and it counts where z lies
    return model, np.array(list(itertools.product([0.0, 1.0], repeat=3)))


def test_log_p_of_all_images_sums_to_one_and_is_the_frequency_of_the_samples(rng, monkeypatch):
    """Importance sampling through the levels of the prior, and the model's own draws: nothing is shared but theta."""
    monkeypatch.setattr("scratchvae.prior.LEVELS", 20)
    model, images = small(rng)
    p = np.exp(model.log_likelihood(images, 20_000, 1, max_rows=20_000))
    assert abs(p.sum() - 1) < 0.01
    drawn = model.sample(40_000, 2, draw=True)
    frequency = np.array([(drawn == image).all(axis=1).mean() for image in images])
    np.testing.assert_allclose(frequency, p, atol=0.01)
    plain = VAE(3, 1, (4,), dtype=np.float64)
    plain.theta[:] = model.theta[:plain.theta.size]
    assert np.abs(np.exp(plain.log_likelihood(images, 5000)) - p).max() > 0.05          # N(0, I) is another prior


def test_the_bound_is_below_log_p(rng, monkeypatch):
    monkeypatch.setattr("scratchvae.prior.LEVELS", 50)
    model, images = small(rng)
    many = np.tile(images, (1000, 1))                  # so that each image has all times
    bound = model.forward(many, model.draw_noise(len(many), rng))[0].total.reshape(-1, 8).mean(axis=0)
    gap = model.log_likelihood(images, 5000, max_rows=5000) - bound
    assert (gap > 0).all() and (gap < 3).all()


def test_training_moves_the_prior_to_the_codes(rng):
    """Two images a hundred times: with N(0, I) the codes must lie around 0; a learned prior follows them."""
    x = np.tile(np.kron(np.eye(2), np.ones(3)), (100, 1))
    bounds = {}
    for kind, options in ((VAE, {}), (LatentDiffusion, {"prior_hidden_dims": (32,), "log_noise": (-6, 6)})):
        model = kind(6, 1, (16,), rng=0, **options)
        fit(model, x, epochs=150, batch_size=50, optimizer=Adam(0.01))
        bounds[kind] = np.mean([model.forward(x, model.draw_noise(200, rng))[0].total.mean() for _ in range(50)])
    assert -np.log(2) - 0.2 < bounds[LatentDiffusion] < -np.log(2) + 0.05       # the entropy of the data
    assert bounds[VAE] < bounds[LatentDiffusion] + 0.05
    z = model.prior.with_levels(50).sample(400, rng, draw=True)
    codes = model.encode(x)[0]
    assert abs(z.std() / codes.std() - 1) < 0.2        # it draws where the codes lie


# as any other model ---------------------------------------------------------------------------------


def test_noise_is_one_array(rng, x):
    model = make(rng)
    noise = model.draw_noise(8, rng)
    assert noise.shape == (8, 1 + 3 * D) and ((0 <= noise[:, D]) & (noise[:, D] < 1)).all()
    assert make(rng, dtype=np.float32).draw_noise(2, rng).dtype == np.float32
    np.testing.assert_array_equal(model.draw_noise(4, 7), model.draw_noise(4, 7))
    both = np.random.default_rng(7)                    # eps as a VAE has it, then what a diffusion has
    np.testing.assert_array_equal(model.draw_noise(4, 7)[:, :D], VAE(X_DIM, D, dtype=np.float64).draw_noise(4, both))
    np.testing.assert_array_equal(model.draw_noise(4, 7)[:, D + 1:], np.hstack(model.prior.draw_noise(4, both)[1:]))
    with pytest.raises(ValueError, match="^rng must be a Generator or a seed"):
        model.draw_noise(4, "seven")
    with pytest.raises(ValueError, match=r"^noise must have shape \(8, 10\); got \(8, 3\)$"):
        model.forward(x, noise[:, :D])
    noise[0, D] = 1.5
    with pytest.raises(ValueError, match=r"^noise\[0\] must be times in \[0, 1\]"):
        model.forward(x, noise)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)),
                                    lambda m: m.astype(np.float32), lambda m: m.astype(np.complex128)],
                         ids=["deepcopy", "pickle", "float32", "complex128"])
def test_a_copy_has_its_prior_in_its_own_theta(copied, rng, x):
    model = make(rng)
    twin, noise = copied(model), model.draw_noise(len(x), rng)
    assert twin.compare.diffusion is twin.prior and twin.prior.dtype == twin.dtype
    before, _ = model.forward(x, noise)
    same, _ = twin.forward(x, noise)
    np.testing.assert_allclose(same.total, before.total, rtol=1e-5)
    assert same.total.dtype == twin.dtype
    twin.theta += 0.1
    moved, _ = twin.forward(x, noise)
    assert (np.abs(moved.prior_matching - same.prior_matching) > 1e-4).all()
    np.testing.assert_array_equal(model.forward(x, noise)[0].total, before.total)


def test_single_precision_is_kept(rng, x):
    model = make(rng, dtype=np.float32)
    elbo, cache = model.forward(x, model.draw_noise(len(x), rng))
    dx = model.backward(elbo.loss_backward(), cache, input_gradient=True)
    assert elbo.total.dtype == dx.dtype == model.gradient.dtype == model.sample(3).dtype == np.float32
    assert model.log_weight(x.astype(np.float32), 2, rng).dtype == np.float32


def test_a_checkpoint_holds_the_prior_and_training_goes_on_to_the_same_bits(tmp_path, rng, x):
    def train(model, optimizer, state, epochs):
        fit(model, x, epochs=epochs, batch_size=4, optimizer=optimizer, state=state, average=0.9)

    whole, part = (make(np.random.default_rng(1)) for _ in range(2))
    optimizer, state = Adam(), State.start(part)
    train(whole, Adam(), State.start(whole), 4)
    train(part, optimizer, state, 2)
    checkpoint.save(tmp_path / "run.npz", part, optimizer, state)
    found, other = checkpoint.load(tmp_path / "run.npz"), make(rng)
    other.theta[:] = found.theta
    train(other, found.optimizer, found.state, 4)
    np.testing.assert_array_equal(other.theta, whole.theta)


def test_workers_do_the_same_for_any_number_of_them(rng, x):
    thetas = []
    for workers in (1, 2):
        model = make(np.random.default_rng(3))
        fit(model, np.tile(x, (6, 1)), epochs=2, batch_size=24, optimizer=SGD(0.05), workers=workers)
        thetas.append(model.theta.copy())
    np.testing.assert_array_equal(*thetas)
    model = make(np.random.default_rng(3))
    assert np.abs(thetas[0] - model.theta)[model.theta.size - model.prior.f.output.b.size:].max() > 0
    np.testing.assert_array_equal(team.log_likelihood(model, x, 5, 0, workers=1),
                                  team.log_likelihood(model, x, 5, 0, workers=2))


def test_evaluate_measures_it(rng, x):
    found = evaluate(make(rng), x, n_samples=20)
    assert np.isfinite(found.log_likelihood).all() and found.elbo.kl.shape == (8, 1)
    assert found.log_likelihood.mean() > found.elbo.total.mean()


def test_several_draws_work_and_importance_weights_are_refused(rng, x):
    model = make(rng)
    history = fit(model, x, epochs=3, n_samples=4)
    assert np.isfinite(history["elbo"]).all()
    theta = model.theta.copy()
    with pytest.raises(ValueError, match="^objective must be 'elbo' for a model that compares q and p by a "
                                         "DiffusionPrior: .*; got 'iwae'$"):
        fit(model, x, epochs=1, objective="iwae", n_samples=4)
    np.testing.assert_array_equal(model.theta, theta)


def test_the_default_is_a_vae_whose_prior_is_a_diffusion():
    model = LatentDiffusion(64, 16)
    assert isinstance(model, VAE) and isinstance(model.compare, DiffusionPrior)
    assert type(model).bound is VAE.bound and type(model).backward is VAE.backward
    assert model.prior.T == np.inf and model.prior.variance == "forward" and tuple(model.prior.gamma[1:]) == (-6, 6)
    assert [layer.W.shape for name, layer in model.prior.f.layers.items() if "dense" in name] == \
        [(20, 64), (64, 64), (64, 16)]
    q1 = LatentDiffusion(64, 16, rng=1).q.layers["dense1"].W
    assert (q1 != model.q.layers["dense1"].W).all()
    np.testing.assert_array_equal(q1, VAE(64, 16, rng=1).q.layers["dense1"].W)
    assert model.sample(2).shape == (2, 64) and (model.sample(2, 0) == model.sample(2, 0)).all()
    model.prior.f.output.b[:], model.p.output.W[:] = 0.5, 3 * model.p.output.W
    rng = np.random.default_rng(4)
    z = model.prior.with_levels(200).sample(5, rng, draw=True)
    np.testing.assert_array_equal(model.sample(5, 4), model.decode(z))
    assert set(np.unique(model.sample(5, draw=True))) <= {0.0, 1.0}
    with pytest.raises(ValueError, match="^rng must be a Generator or a seed"):
        model.sample(5, "four")


@pytest.mark.parametrize("options, message", [
    ({"prior_hidden_dims": (0,)}, "^every entry of prior_hidden_dims must be a whole number of at least 1; got 0$"),
    ({"log_noise": (3, -3)}, "^log_noise must be 2 numbers that rise"), ({"latent_dim": 0}, "^latent_dim must be "),
    ({"rng": "a"}, "^rng must be a Generator or a seed"), ({"dtype": int}, "^dtype must be one of")])
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        LatentDiffusion(**{"x_dim": 4, "latent_dim": 2, **options})
    with pytest.raises(ValueError, match="^draw must be True or False"):
        LatentDiffusion(4, 2).sample(2, draw="no")
