"""Wrong calls that once went through, or ended in a traceback: now one sentence each, and nothing has changed."""

import copy
import re

import numpy as np
import pytest

import wrong_calls
from scratchvae import (HVAE, MLP, SGD, VAE, Adam, Autoencoder, Bernoulli, Diffusion, Gaussian, Importance, State,
                        TopDown, check, decay, evaluate, fit, steps, warm_up)
from scratchvae.data import binarize, mnist
from scratchvae.explain import explain
from scratchvae.layers import ACTIVATIONS, Dense, Layer, LeakyReLU, Tanh, glorot
from scratchvae.train import checkpoint, team
from scratchvae.verify.gradcheck import check_layer, check_model
from scratchvae.verify.diffusion_forms import readings, three_writings

X = np.random.default_rng(0).random((6, 4))
EPS = np.zeros((6, 2))


def vae():
    return VAE(4, 2, (3,))


class OfVersion01(VAE):
    def backward(self, cache, beta=1.0, alpha=1.0, input_gradient=False):
        """As a model's backward was until version 0.1."""


def middle(rows=6):
    """Return a state in the middle of an epoch of three batches of two rows."""
    state, stopped = State.start(vae()), []

    def stop(state):
        if state.step == 2:
            stopped.append(copy.deepcopy(state))

    fit(vae(), X, epochs=1, batch_size=2, state=state, after_step=stop)
    return stopped[0]


WRONG = [
    # nothing has changed, and the argument is named
    (lambda m: fit(m, X, beta=-1), "^beta must be a number of at least 0"),
    (lambda m: fit(m, X, beta=np.ones((6, 4))), r"^beta must be .*; got an array of shape \(6, 4\)$"),
    (lambda m: fit(m, X, beta=[1.0] * 10_000), r"^beta must be .*; got \[1.0, .* \.\.\. of type list$"),
    (lambda m: fit(m, X, beta=True), "^beta must be"),
    (lambda m: fit(m, X, beta=1 + 0j), "^beta must be"),
    (lambda m: fit(m, X, beta=lambda epoch: "high"), "^beta must be"),
    (lambda m: m.forward(X, EPS)[0].loss_backward(beta=np.nan), "^beta must be .* got nan$"),
    (lambda m: m.forward(X, EPS)[0].loss_backward(alpha="x"), "^alpha must be a number"),
    (lambda m: fit(OfVersion01(4, 2), X), r"^model must have a method backward\(delbo, cache\), where delbo is what "
     r"elbo.loss_backward\(\) returns; that of OfVersion01 takes \(cache, beta, alpha, input_gradient\)$"),
    (lambda m: check_model(OfVersion01(4, 2), X), r"^model must have a method backward\(delbo, cache\), .*"),
    (lambda m: Importance(OfVersion01(4, 2), 3, "elbo"), r"^model must have a method backward\(delbo, cache\), .*"),
    (lambda m: fit(None, X), r"^model must be an object such as VAE\(64, 16\); got None, which has no method check_x$"),
    (lambda m: fit(VAE, X), "^model must be an object such as"),
    (lambda m: fit(m, X, state=3), r"^state must be a State, such as State.start\(model\); got 3$"),
    (lambda m: fit(m, X, optimizer=Adam), r"^optimizer must be an object such as Adam\(\); got <class"),
    (lambda m: fit(m, X, callback=3), "^callback must be a function of the model and the history; got 3$"),
    (lambda m: fit(m, X, after_step="save"), "^after_step must be a function of the state; got 'save'$"),
    (lambda m: fit(m, X, progress="yes"), "^progress must be an object such as sys.stderr"),
    (lambda m: fit(m, X, resample="no"), "^resample must be True or False; got 'no'$"),
    (lambda m: fit(m, X[:2], batch_size=2, state=middle()), "^state has 2 steps of an epoch behind it, but x"),
    (lambda m: fit(m, X, epochs=3, batch_size=2, x_valid=X, state=two_epochs()), "^x_valid must be given"),
    (lambda m: fit(m, np.ma.masked_less(X, 0.2)), "^x must have no masked entries; it has [1-9]"),
    (lambda m: m.encode(np.ma.masked_less(X, 0.2)), "^x must have no masked entries; it has [1-9]"),
    (lambda m: steps(1e-3, [(2, 1e-4)]), r"^changes must be a dict from epochs to rates, .*; got \[\(2, 0.0001\)\]$"),
    (lambda m: decay("1e-2", 1e-3, 5), r"^first must be a number in \(0, inf\); got '1e-2'$"),
    (lambda m: warm_up(10**400), "^epochs must be a whole number from 1 to 1000000000; got 1000"),
    (lambda m: check_layer(Tanh(), X[:0]), r"^x must have rows, and numbers in them; got an array of shape \(0, 4\)$"),
    (lambda m: check_layer(Tanh, X), r"^layer must be an object such as Tanh\(\)"),
    (lambda m: check_model(None, X), "^model must be an object such as"),
    (lambda m: check_model(m, X, method="Complex", tolerance=1e-3), "^method must be one of 'complex', 'central'"),
    (lambda m: check_model(m, X, tolerance="small"), "^tolerance must be a number"),
    (lambda m: evaluate(m.astype(complex), X), "^model must be float32 or float64, as model.astype"),
    (lambda m: evaluate(VAE, X), "^model must be a VAE, an HVAE or a Diffusion; got <class 'scratchvae.vae.VAE'>$"),
    (lambda m: m.astype(np.int8), "^dtype must be one of float32, float64, complex128; got"),
    (lambda m: m.astype("('"), r"^dtype must be one of"),
    (lambda m: VAE(4, 2, dtype=None), "^dtype must be one of float32, float64, complex128; got None$"),
    (lambda m: m.sample(3, True), "^rng must be a Generator or a seed"),
    (lambda m: m.sample(3, draw="no"), "^draw must be True or False"),
    (lambda m: m.draw_noise(3, 0.5), "^rng must be a Generator or a seed"),
    (lambda m: SGD(1 + 5j), r"^learning_rate must be a number in \(0, inf\); got \(1\+5j\)$"),
    (lambda m: SGD(np.complex128(1 + 5j)), "^learning_rate must be a number"),
    (lambda m: SGD(10**400), "^learning_rate must be a number .* got 1000.* of type int$"),
    (lambda m: SGD(10**5000), "^learning_rate must be a number .* got a value of type int$"),
    (lambda m: SGD(True), "^learning_rate must be a number"),
    (lambda m: Adam(beta1=np.ma.masked), "^beta1 must be a number .*; got masked$"),
    (lambda m: readings(m, EPS, 1), r"^model must be an object such as Diffusion\(64, 50\); got "),
    (lambda m: three_writings(m, X), r"^model must be an object such as Diffusion\(64, 50\); got "),
    (lambda m: explain(m, X, about=3), "^about must be a text; got 3$"),
    (lambda m: explain(m, X, image_shape=0), "^image_shape must be a sequence of whole numbers, .*; got 0$"),
    (lambda m: explain(m, X, image_shape=(2, 3)), r"^image_shape must be height and width of 4 pixels; got \(2, 3\)$"),
    (lambda m: team.log_likelihood([1], X, workers=1), r"^model must be an object such as VAE\(64, 16\); got \[1\]"),
    (lambda m: mnist.mnist(-10**40), "^folder must be a path, a string or a Path; got -1000"),
    (lambda m: evaluate(spoilt(m), X), "^model must have finite parameters to be evaluated; some are infinite or NaN"),
    (lambda m: SGD(np.array([0.1])), r"^learning_rate must be a number .* got an array of shape \(1,\)$"),
    (lambda m: binarize(X + 0j), "^x must be an array of real numbers; got complex128$"),
    (lambda m: binarize(X.astype(object)), "^x must be an array of numbers; got ndarray of object$"),
    (lambda m: binarize(X * np.nan), "^x must be finite"),
    (lambda m: VAE(4, 2, b"ab"), r"^hidden_dims must be a sequence of whole numbers, .*; got b'ab'$"),
    (lambda m: VAE(4, 2, {3: 4}), "^hidden_dims must be a sequence"),
    (lambda m: VAE(10**9, 10**9), "^dims, and so x_dim, hidden_dims and the latents, must give layers of at most"),
    (lambda m: HVAE(4, (2, 2)).sample(3, z=[[1], [1, 2]]), "^z must be an array of numbers; got list$"),
    (lambda m: MLP((4,), "tanh", 0), "^dims must have two entries or more"),
    (lambda m: MLP((4, 2), "swish", 0), "^activation must be one of"),
    (lambda m: Dense(4, 2, "dice"), "^rng must be"),
    (lambda m: Dense(4, 2, 0, 3), "^initialise must be a function of n_in, n_out and rng; got 3$"),
    (lambda m: LeakyReLU("steep"), r"^slope must be a number in \[0, 1\); got 'steep'$"),
    (lambda m: checkpoint.save("x.npz", None, Adam(), State.start(m)), "^model must be a Model; got None$"),
    (lambda m: checkpoint.save("x.npz", m, Adam(), 3), "^state must be a State; got 3$"),
    (lambda m: checkpoint.save(3, m, Adam(), State.start(m)), "^path must be a path, a string or a Path; got 3$"),
    (lambda m: checkpoint.save("x.npz", m, Adam(), State.start(m), config={1j}), "^config must be something"),
    (lambda m: checkpoint.load(None), "^path must be a path"),
    (lambda m: checkpoint.every("often", print), "^seconds must be a number"),
    (lambda m: checkpoint.every(3, None), "^save must be a function of the state; got None$"),
]


def spoilt(model):
    spoilt = copy.deepcopy(model)
    spoilt.theta[3] = np.nan
    return spoilt


def two_epochs():
    state = State.start(vae())
    fit(vae(), X, epochs=2, batch_size=2, state=state)
    return state


@pytest.mark.parametrize("call, says", WRONG, ids=[f"{i} {says[:40]}" for i, (_, says) in enumerate(WRONG)])
def test_one_sentence_before_anything_has_changed(call, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = vae()
    theta = model.theta.copy()
    with pytest.raises(ValueError, match=says) as caught:
        call(model)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    assert model.theta.tobytes() == theta.tobytes() and not list(tmp_path.iterdir())


def test_a_size_is_a_plain_number_before_it_is_calculated_with():
    """2 * np.uint8(200) is 144: so is the sum, and the product with the number of a step."""
    assert Gaussian(np.uint8(200)).n_outputs == 400
    assert VAE(np.uint8(200), np.uint8(200), (np.uint8(3),)).parameters["q1.dense2.W"].shape == (3, 400)
    assert Autoencoder(np.uint8(200), np.uint8(200)).parameters["g.dense1.W"].shape == (200, 64)
    assert HVAE(np.uint8(200), (np.uint8(150), 2)).parameters["q1.dense2.W"].shape == (64, 300)
    assert abs(glorot(np.uint8(200), np.uint8(100), 0)).max() < np.sqrt(6 / 300)
    x = np.random.default_rng(0).random((500, 4))
    a, b = vae(), vae()
    assert fit(a, x, epochs=np.uint8(1), batch_size=np.uint8(100)).keys() == fit(b, x, epochs=1, batch_size=100).keys()
    assert (a.theta == b.theta).all()
    assert evaluate(a, X, n_samples=np.uint8(200), batch_size=np.uint8(200)).n_samples == 200
    np.testing.assert_array_equal(a.log_likelihood(X, np.uint8(200), 0, np.uint8(100)),
                                  a.log_likelihood(X, 200, 0, 100))


def test_evaluate_says_how_far_it_is(capsys):
    evaluate(vae(), X, n_samples=1, progress=True)
    assert "example 6/6" in capsys.readouterr().err


def test_a_value_is_shown_in_few_words():
    assert check.shown(3) == "3" and check.shown("a\nb") == r"'a\nb'" and "\n" not in check.shown(np.eye(9))
    assert check.shown(10**5000) == "a value of type int" and len(check.shown(list(range(100_000)))) < 80


def test_what_is_right_is_still_taken():
    assert check.number("x", np.float32(0.5), 0) == 0.5 and check.number("x", np.array(2), 0) == 2.0
    assert check.generator("rng", np.int64(3)).random() == np.random.default_rng(3).random()
    assert np.array_equal(check.array("x", np.ma.array([1.0, 2.0]), ("n",)), [1, 2])
    assert check.by_level("beta", 0, 2).tolist() == [0, 0] and check.by_level("beta", [1, 2], 2).tolist() == [1, 2]


# users who extend ---------------------------------------------------------------------------------------------------


class LayerNorm(Layer):
    """y = g (x - mean) / sqrt(variance + 1e-5), of each row; a layer that must know its width."""

    parameter_names = ("g",)

    def __init__(self, n):
        self.g, self.dg = np.ones(n), np.zeros(n)

    def forward(self, x):
        diff = x - x.mean(axis=1, keepdims=True)
        root = np.sqrt((diff * diff).mean(axis=1, keepdims=True) + 1e-5)
        return self.g * diff / root, (diff / root, root)

    def backward(self, dy, cache):
        u, root = cache
        np.sum(dy * u, axis=0, out=self.dg)
        du = dy * self.g
        return (du - du.mean(axis=1, keepdims=True) - u * (du * u).mean(axis=1, keepdims=True)) / root


def test_activations_may_hold_a_layer_that_needs_its_width(monkeypatch, agrees):
    monkeypatch.setitem(ACTIVATIONS, "layer_norm", LayerNorm)
    monkeypatch.setitem(ACTIVATIONS, "steep", lambda: LeakyReLU(0.5))
    rng = np.random.default_rng(1)
    agrees(check_layer(LayerNorm(4), X))
    for activation in ("layer_norm", "steep"):
        model = VAE(4, 2, (7, 5), activation=activation)
        model.theta += 0.1 * model.normal(rng, model.theta.size)
        agrees(check_model(model, X))
    assert VAE(4, 2, (7, 5), activation="layer_norm").parameters["q1.layer_norm2.g"].shape == (5,)


class Conditional(VAE):
    """A VAE of the first columns of x, given the others: q and p see them, and p(x) is of the first alone."""

    def __init__(self, x_dim, n_labels, latent_dim):
        super().__init__(x_dim, latent_dim, (5,))
        self.n_labels = n_labels
        self.q = MLP((x_dim + n_labels, 5, 2 * latent_dim), "tanh", 0)
        self.p = MLP((latent_dim + n_labels, 5, x_dim), "tanh", 1)
        self.pack(q1=self.q, p1=self.p)

    def check_x(self, x):
        x = check.array("x", x, ("n", self.x_dim + self.n_labels), self.dtype)
        self.likelihood.check_support(x[:, :self.x_dim])
        return x

    def bound(self, x, noise):
        labels, whole = x[:, self.x_dim:], self.p
        self.p, given = Given(whole, labels), self.likelihood
        self.likelihood = Part(given, self.x_dim)
        try:
            return super().bound(x, noise)
        finally:
            self.p, self.likelihood = whole, given

    def backward(self, delbo, cache, input_gradient=False):
        whole, given = self.p, self.likelihood
        self.p, self.likelihood = Given(whole, None), Part(given, self.x_dim)
        try:
            return super().backward(delbo, cache, input_gradient)
        finally:
            self.p, self.likelihood = whole, given


class Given:
    def __init__(self, network, labels):
        self.network, self.labels = network, labels

    def forward(self, z):
        y, cache = self.network.forward(np.concatenate([z, self.labels], axis=1))
        return y, (cache, z.shape[1])

    def backward(self, dy, cache):
        return self.network.backward(dy, cache[0])[:, :cache[1]]


class Part:
    def __init__(self, likelihood, x_dim):
        self.likelihood, self.x_dim = likelihood, x_dim

    def log_prob(self, x, h):
        log_prob, cache = self.likelihood.log_prob(x[:, :self.x_dim], h)
        return log_prob, (cache, x.shape)

    def log_prob_backward(self, dlog_prob, cache):
        dx, dh = self.likelihood.log_prob_backward(dlog_prob, cache[0])
        wide = np.zeros(cache[1], dx.dtype)
        wide[:, :self.x_dim] = dx
        return wide, dh


def test_a_subclass_with_a_wider_check_x_trains():
    rng = np.random.default_rng(2)
    labels = np.eye(2)[rng.integers(0, 2, 300)]
    x = np.column_stack([(rng.random((300, 4)) < np.where(labels[:, :1] == 1, 0.9, 0.1)).astype(float), labels])
    model = Conditional(4, 2, 1)
    history = fit(model, x, epochs=30, x_valid=x[:50], learning_rate=1e-2)
    assert history["elbo"][-1] > history["elbo"][0] + 0.5 and np.isfinite(history["valid_elbo"]).all()
    with pytest.raises(ValueError, match=r"^x must have shape \(n, 6\); got \(300, 4\)$"):
        fit(model, x[:, :4])


@pytest.mark.parametrize("missing", ["log_prob_backward", "mean", "sample", "bias", "check_support"])
@pytest.mark.parametrize("make", [lambda p: VAE(4, 2, likelihood=p), lambda p: HVAE(4, (2, 1), likelihood=p),
                                  lambda p: Autoencoder(4, 2, likelihood=p)])
def test_what_a_likelihood_must_have_is_checked_when_the_model_is_built(make, missing):
    own = type("Own", (), {name: None if name == missing else getattr(Bernoulli, name) for name in
                           ("log_prob", "log_prob_backward", "mean", "sample", "bias", "check_support")})()
    own.x_dim = own.n_outputs = 4
    with pytest.raises(ValueError, match=f"^likelihood must have a method {missing}, as .*; Own has none$"):
        make(own)


@pytest.mark.parametrize("name", ["x_dim", "n_outputs"])
def test_a_likelihood_says_how_many_columns(name):
    own = Bernoulli(4)
    setattr(own, name, None)
    with pytest.raises(ValueError, match=re.escape(f"likelihood.{name} must be a whole number")):
        VAE(4, 2, likelihood=own)


def test_wrong_calls_at_random():
    """Some of those that ``python tests/wrong_calls.py`` makes, of which there are 20,000."""
    _, _, wrong = wrong_calls.run(1, 200)
    assert not wrong, "\n".join(wrong)


def test_the_wrong_calls_find_what_is_wrong(monkeypatch):
    """The checker is checked: with a door that checks nothing, there are faults."""
    def door(x):
        return x.attribute

    monkeypatch.setattr(wrong_calls, "doors", lambda: {"door": (door, {"x": 3})})
    assert len(wrong_calls.run(0, 30)[2]) > 20


@pytest.mark.parametrize("make", [lambda: HVAE(4, (3, 3)), lambda: TopDown(4, (3, 3)), lambda: Diffusion(4, 3)],
                         ids=["HVAE", "TopDown", "Diffusion"])
def test_noise_from_a_seed_is_that_of_one_generator(make):
    """Were the seed taken anew for every level, all would have the same noise."""
    model = make()
    noise = model.draw_noise(5, 0)
    for eps, same in zip(noise, model.draw_noise(5, np.random.default_rng(0))):
        np.testing.assert_array_equal(eps, same)
    assert not np.array_equal(noise[-2], noise[-1])


def test_a_mistake_before_the_first_step_leaves_the_state_of_an_average_as_it_was():
    model, state = vae(), State.start(vae())
    theta = model.theta.copy()
    with pytest.raises(ValueError, match="^beta must be"):
        fit(model, X, beta=-1, average=0.9, state=state)
    assert state.average is None and state.theta is None and state.weight == 0
    np.testing.assert_array_equal(model.theta, theta)
