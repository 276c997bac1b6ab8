"""Bad input: one clear sentence that names the argument, from every public door."""

import numpy as np
import pytest

from scratchvae import HVAE, VAE, Adam, Autoencoder, Gaussian, State, check, decay, evaluate, fit, warm_up
from scratchvae.data import binarize

X = np.zeros((4, 6))
vae, hvae, auto = VAE(6, 2, (3,)), HVAE(6, (3, 2), (3,)), Autoencoder(6, 2, (3,))
EPS, EPSES = np.zeros((4, 2)), [np.zeros((4, 3)), np.zeros((4, 2))]


def nan(x):
    x = x.copy()
    x[0, 0] = np.nan
    return x


def used(model):
    """Return an optimiser that has trained this model."""
    optimizer = Adam()
    optimizer.step(model.theta, model.gradient)
    return optimizer


CASES = [
    # sizes and options
    (lambda: VAE(0, 2), "^x_dim must be a whole number of at least 1; got 0"),
    (lambda: VAE(6, -2), "^latent_dim must be a whole number of at least 1; got -2"),
    (lambda: VAE(6, 2.5), "^latent_dim must be"),
    (lambda: VAE(6, True), "^latent_dim must be"),
    (lambda: VAE(6, 2, (5, -1)), "hidden_dims must be a whole number of at least 1; got -1"),
    (lambda: VAE(6, 2, 64), "^hidden_dims must be a sequence"),
    (lambda: VAE(6, 2, "64"), "^hidden_dims must be a sequence"),
    (lambda: VAE(6, 2, activation="swish"), "^activation must be one of 'tanh', 'relu', .*; got 'swish'"),
    (lambda: VAE(6, 2, activation=np.tanh), "^activation must be one of"),
    (lambda: VAE(6, 2, likelihood="poisson"), "^likelihood must be one of 'bernoulli', 'gaussian'; got 'poisson'"),
    (lambda: VAE(6, 2, likelihood=Gaussian(5)), "^likelihood is over 5 columns, but x_dim is 6"),
    (lambda: VAE(6, 2, likelihood=Gaussian), r"^likelihood must be a name or an object, such as Gaussian\(6\)"),
    (lambda: hvae.forward(X, 0), "^noise must be a list of 2 arrays, one for each level; got 0"),
    (lambda: binarize(255 + X), r"^x must lie in \[0, 1\]"),
    (lambda: fit(vae, X, optimizer="adam"), "^optimizer must be"),
    (lambda: fit(vae, X, learning_rate=-1e-3), "^learning_rate must be"),
    (lambda: fit(vae, X, learning_rate=np.nan), "^learning_rate must be"),
    (lambda: VAE(6, 2, dtype=np.int32), "^dtype must be one of float32, float64, complex128"),
    (lambda: VAE(6, 2, dtype="half-float"), "^dtype must be one of"),
    (lambda: VAE(6, 2, x_mean=np.zeros(5)), r"^x_mean must have shape \(6,\); got \(5,\)"),
    (lambda: VAE(6, 2, x_mean=np.full(6, 9)), r"^x_mean must lie in \[0, 1\]"),
    (lambda: VAE(6, 2, rng="dice"), "^rng must be a Generator or a seed"),
    (lambda: Autoencoder(6, 0), "^latent_dim must be"),
    (lambda: Autoencoder(6, 2, 64), "^hidden_dims must be a sequence"),
    (lambda: Autoencoder(6, 2, rng="dice"), "^rng must be a Generator or a seed"),
    (lambda: HVAE(6, ()), "^the number of latent_dims must be a whole number of at least 1; got 0"),
    (lambda: HVAE(6, 0), "^latent_dims must be a sequence"),
    (lambda: HVAE(6, (4, 2), rng="dice"), "^rng must be a Generator or a seed"),
    (lambda: HVAE(6, (4, 0)), "latent_dims must be a whole number of at least 1; got 0"),
    (lambda: HVAE(6, (4, 2), [(5,)]), "^hidden_dims must have an entry for each of the 2 levels; got 1"),
    (lambda: HVAE(6, (4, 2), [(5,), (-5,)]), "hidden_dims must be a whole number of at least 1; got -5"),
    (lambda: HVAE(6, (4, 2), 5), "^hidden_dims must be a sequence"),
    (lambda: HVAE(6, (4, 2), consistency="Exact"), "^consistency must be one of 'exact', 'printed'; got 'Exact'"),
    (lambda: Gaussian(6, logvar=np.inf), "^logvar must be a number"),
    (lambda: Gaussian(0), "^x_dim must be"),
    # data
    (lambda: vae.forward(X[:, :5], EPS), r"^x must have shape \(n, 6\); got \(4, 5\)"),
    (lambda: vae.forward(X[0], EPS), r"^x must have shape \(n, 6\); got \(6,\)"),
    (lambda: vae.forward(X[:0], EPS[:0]), r"^x must have shape \(n, 6\); got \(0, 6\)"),
    (lambda: vae.forward(X.reshape(4, 2, 3), EPS), r"^x must have shape \(n, 6\); got \(4, 2, 3\)"),
    (lambda: vae.forward(nan(X), EPS), "^x must be finite; it has NaN"),
    (lambda: vae.forward(X + 1.5, EPS), r"^x must lie in \[0, 1\] for a Bernoulli likelihood; its values go from 1.5"),
    (lambda: vae.forward(X - 0.1, EPS), r"^x must lie in \[0, 1\]"),
    (lambda: vae.forward(X.astype(str), EPS), "^x must be an array of numbers"),
    (lambda: vae.forward([[1, 0], [1]], EPS), "^x must be an array of numbers"),
    (lambda: vae.forward(None, EPS), "^x must be an array of numbers"),
    (lambda: vae.forward(X, EPS[:3]), r"^noise must have shape \(4, 2\); got \(3, 2\)"),
    (lambda: vae.forward(X, nan(EPS)), "^noise must be finite"),
    (lambda: vae.decode(EPSES[0]), r"^z must have shape \(n, 2\); got \(4, 3\)"),
    (lambda: auto.decode(EPSES[0]), r"^z must have shape \(n, 2\)"),
    (lambda: auto.forward(nan(X), None), "^x must be finite"),
    (lambda: hvae.forward(X, EPS), "^noise must be a list of 2 arrays, one for each level; got 4"),
    (lambda: hvae.forward(X, EPSES[::-1]), r"^noise\[0\] must have shape \(4, 3\); got \(4, 2\)"),
    (lambda: hvae.forward(nan(X), EPSES), "^x must be finite"),
    (lambda: hvae.encode(X + 2), r"^x must lie in \[0, 1\]"),
    (lambda: hvae.decode(EPSES[0], level=3), "^level must be a whole number from 1 to 2; got 3"),
    (lambda: hvae.decode(EPSES[0], level=2), r"^z must have shape \(n, 2\); got \(4, 3\)"),
    (lambda: hvae.reconstruct(X, level=0), "^level must be a whole number from 1 to 2; got 0"),
    (lambda: hvae.reconstruct(X, level=3), "^level must be a whole number from 1 to 2; got 3"),
    (lambda: hvae.sample(4, 0, z=np.zeros(3), level=2), r"^z must have shape \(2,\) or \(4, 2\); got \(3,\)"),
    (lambda: hvae.sample(4, 0, z=np.zeros((3, 2))), "^z must have shape"),
    (lambda: hvae.sample(4, 0, level=7), "^level must be a whole number from 1 to 2; got 7"),
    (lambda: hvae.sample(4, 0, level=1), "^level needs z: pass z, or leave level out"),
    (lambda: hvae.sample(0), "^n must be a whole number of at least 1; got 0"),
    (lambda: vae.encode(X + 2), r"^x must lie in \[0, 1\]"),
    (lambda: auto.encode(X + 2), r"^x must lie in \[0, 1\]"),
    (lambda: vae.sample(3, "dice"), "^rng must be a Generator or a seed"),
    (lambda: hvae.sample(3, "dice"), "^rng must be a Generator or a seed"),
    (lambda: vae.decode(EPS, "dice"), "^rng must be a Generator or a seed"),
    (lambda: hvae.decode(EPSES[0], rng="dice"), "^rng must be a Generator or a seed"),
    (lambda: vae.sample(-1), "^n must be a whole number of at least 1; got -1"),
    (lambda: vae.log_likelihood(X, 0), "^n_samples must be a whole number"),
    (lambda: vae.log_likelihood(X, 10, max_rows=0), "^max_rows must be a whole number"),
    (lambda: vae.log_likelihood(nan(X)), "^x must be finite"),
    (lambda: vae.log_likelihood(X, rng=-1), "^rng must be a Generator or a seed"),
    # weights of the parts
    (lambda: vae.forward(X, EPS)[0].loss_backward(beta=np.ones(2)),
     r"^beta must be .* one for each of the 1 levels; got an array of shape \(2,\)$"),
    (lambda: hvae.forward(X, EPSES)[0].loss_backward(beta=np.ones(3)),
     r"^beta must be .* one for each of the 2 levels; got an array of shape \(3,\)$"),
    # training and data
    (lambda: fit(vae, X[:, :5]), "^x must have shape"),
    (lambda: fit(vae, X, epochs=0), "^epochs must be"),
    (lambda: fit(vae, X, batch_size=0), "^batch_size must be"),
    (lambda: fit(vae, X, x_valid=nan(X)), "^x_valid must have the same columns and range as x: x must be finite"),
    (lambda: warm_up(0), "^epochs must be"),
    (lambda: decay(0, 1e-4, 10), "^first must be"),
    (lambda: binarize(X, "sometimes"), "^how must be one of 'threshold', 'sample'"),
    (lambda: fit(vae, X, beta=np.nan), "^beta must be a number of at least 0, .*; got nan$"),
    (lambda: fit(vae, X, beta=1e308), "^beta has numbers that are too large for float32$"),
    (lambda: fit(hvae, X, beta=[1, 1e39]), "^beta has numbers that are too large for float32$"),
    (lambda: fit(hvae, X, beta=[1, 1, 1], free_bits=1), "^beta must be .*one for each of the 2 levels; got .1, 1, 1.$"),
    (lambda: fit(vae.astype(complex), X), "^model must be float32 or float64, as model.astype.* is; got complex128"),
    (lambda: fit(vae, X, optimizer=used(VAE(6, 3))), "^optimizer has trained a model of .*; this one has 70"),
    (lambda: fit(vae, X, state=State.start(hvae)), "^state is of a model with 2 levels; this one has 1"),
    (lambda: fit(vae, X + 0j), "^x must be an array of real numbers; got complex128"),
    (lambda: VAE(6, 2, likelihood="gaussian").encode(X + 1e39), "^x has numbers that are too large for float32"),
    (lambda: hvae.decode(EPSES[1], level=2, noise=[]), "^noise must be a list of 2 arrays, one for each level; got 0"),
    (lambda: evaluate(auto, X), "^model must be a VAE, an HVAE or a Diffusion; got "),
    (lambda: evaluate(vae, X, n_samples=0), "^n_samples must be"),
]


@pytest.mark.parametrize("call, says", CASES, ids=[says.replace("\\", "")[:60] for _, says in CASES])
def test_one_sentence_that_names_the_argument(call, says):
    with pytest.raises(ValueError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_an_optimiser_of_ones_own_may_call_its_arrays_what_it_likes():
    class Own:
        def __init__(self):
            self.v = np.zeros(3)

        def step(self, theta, gradient):
            theta -= 1e-3 * gradient

    assert fit(VAE(6, 2), X, epochs=1, optimizer=Own())["epoch"] == [1]


def test_uint8_and_bool_and_lists_are_welcome():
    """What is right but of another type is converted, not refused."""
    for x in (X.astype(np.uint8), X.astype(bool), X.tolist(), np.asfortranarray(X)):
        assert vae.forward(x, EPS)[0].total.dtype == np.float32


def test_a_diverging_run_says_so():
    from scratchvae import SGD
    model = VAE(6, 2, (3,))
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="ELBO became .* smaller learning rate"):
        fit(model, X, epochs=50, optimizer=SGD(1e6))


def test_check_array_accepts_what_it_should():
    assert check.array("x", [[1, 2]], ("n", 2), np.float32).dtype == np.float32


@pytest.mark.parametrize("weights, says", [({"alpha": np.nan}, "^alpha must be a number"),
                                           ({"beta": -1.0}, "^beta must be a number of at least 0"),
                                           ({"beta": np.nan}, "^beta must be a number of at least 0")])
def test_weights_of_the_loss_are_checked_where_its_gradient_takes_them(weights, says):
    elbo, _ = vae.forward(X, EPS)
    with pytest.raises(ValueError, match=says):
        elbo.loss_backward(**weights)


def test_a_hierarchy_names_what_it_cannot_draw_with():
    model = HVAE(6, (3, 2), (4,))
    with pytest.raises(ValueError, match="^rng must be a Generator or a seed"):
        model.draw_noise(2, "dice")
    with pytest.raises(ValueError, match="^draw must be True or False"):
        model.sample(2, draw="no")
