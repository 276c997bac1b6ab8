"""Layers: forward against known functions, backward against the complex step."""

import numpy as np
import pytest
import scipy.special

from scratchvae.layers import ACTIVATIONS, Dense, Layer, LeakyReLU, ReLU, Tanh, glorot, he, sigmoid, softplus
from scratchvae.verify.gradcheck import check_function, check_layer

KNOWN = {
    "tanh": np.tanh,
    "relu": lambda x: np.where(x > 0, x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "softplus": lambda x: np.logaddexp(0, x),
    "sigmoid": scipy.special.expit,
}


@pytest.fixture
def dense(rng):
    layer = Dense(5, 3, rng)
    layer.b[:] = rng.standard_normal(3)
    return layer


@pytest.mark.parametrize("method", ["complex", "central"])
def test_gradients_of_dense(dense, rng, agrees, method):
    ledger = check_layer(dense, rng.standard_normal((7, 5)), method=method)
    agrees(ledger)
    assert [entry.by for entry in ledger.entries] == ["x", "Dense.W", "Dense.b"]


@pytest.mark.parametrize("method", ["complex", "central"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_of_activations(name, agrees, method):
    """At 48 points from -6 to 6, none at the kink."""
    agrees(check_layer(ACTIVATIONS[name](), np.linspace(-6, 6, 48).reshape(8, 6), method=method))


@pytest.mark.parametrize("name", ["tanh", "softplus", "sigmoid"])
def test_gradients_of_smooth_activations_at_zero(name, agrees):
    """Where max and min of two formulas change over, a complex step must take both from the same side."""
    agrees(check_layer(ACTIVATIONS[name](), np.array([[0.0, 1.0], [-1.0, 0.0]])))


@pytest.mark.parametrize("slope", [0.0, 0.01, 0.2, 0.9])
def test_gradient_of_leaky_relu_for_every_slope(slope, rng, agrees):
    agrees(check_layer(LeakyReLU(slope), rng.standard_normal((7, 5))))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_is_the_known_function(name):
    x = np.linspace(-30, 30, 601)
    np.testing.assert_allclose(ACTIVATIONS[name]().forward(x)[0], KNOWN[name](x), rtol=1e-14)


@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
def test_slope_at_the_kink_is_that_of_the_left(name):
    layer = ACTIVATIONS[name]()
    y, cache = layer.forward(np.zeros((1, 1)))
    assert y == 0 and layer.backward(np.ones((1, 1)), cache) == KNOWN[name](-1.0) * -1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softplus_and_sigmoid_are_exact_for_huge_arguments(dtype):
    x = np.array([-1e4, -745, -88, -1, 0, 1, 88, 745, 1e4], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        to_the_last_digits = dict(rtol=4 * np.finfo(dtype).eps, atol=np.finfo(dtype).tiny)
        np.testing.assert_allclose(softplus(x), np.logaddexp(0, x), **to_the_last_digits)
        np.testing.assert_allclose(sigmoid(x), scipy.special.expit(x), **to_the_last_digits)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_precision_is_kept(name, dtype, dense):
    """Nothing on the way may turn float32 into float64, which would halve the speed in silence."""
    x = np.linspace(-2, 2, 8).reshape(2, 4).astype(dtype)
    y, cache = ACTIVATIONS[name]().forward(x)
    assert y.dtype == dtype
    if dtype != np.complex128:
        assert ACTIVATIONS[name]().backward(np.ones_like(x), cache).dtype == dtype


def test_dense_keeps_the_precision_of_its_weights(dense):
    for name in ("W", "b", "dW", "db"):
        setattr(dense, name, getattr(dense, name).astype(np.float32))
    y, cache = dense.forward(np.ones((4, 5), np.float32))
    assert y.dtype == np.float32
    for input_gradient in (True, False):
        assert dense.backward(y, cache, input_gradient).dtype == np.float32


def test_dense_is_the_matrix_product_plus_bias(dense, rng):
    x = rng.standard_normal((7, 5))
    expected = [[sum(x[n, i] * dense.W[i, j] for i in range(5)) + dense.b[j] for j in range(3)] for n in range(7)]
    np.testing.assert_allclose(dense.forward(x)[0], expected, rtol=1e-13)


def test_what_is_used_twice_has_the_sum_of_both_gradients(rng, agrees):
    """y = x tanh x: x is used by the tanh and by the product, and dx is what both say."""
    def forward(x):
        t, cache = Tanh().forward(x)
        return x * t, (x, t, cache)

    def backward(dy, cache):
        x, t, tanh_cache = cache
        return dy * t + Tanh().backward(dy * x, tanh_cache)

    agrees(check_function(forward, backward, rng.standard_normal((4, 3))))


def test_passes_do_not_disturb_each_other(dense, rng):
    """The cache is returned, so backward may go back through any pass; it leaves nothing of the one before."""
    x1, x2, dy1, dy2 = (rng.standard_normal((4, d)) for d in (5, 5, 3, 3))
    caches = [dense.forward(x)[1] for x in (x1, x2)]
    for x, dy, cache in zip((x1, x2, x1), (dy1, dy2, dy1), (*caches, caches[0])):
        dense.backward(dy, cache)
        np.testing.assert_allclose(dense.dW, x.T @ dy, rtol=1e-13)
        np.testing.assert_allclose(dense.db, dy.sum(axis=0), rtol=1e-13)


def test_dense_can_leave_out_the_input_gradient(dense, rng):
    x, dy = rng.standard_normal((4, 5)), rng.standard_normal((4, 3))
    assert dense.backward(dy, x, input_gradient=False).shape == (4, 0)
    np.testing.assert_allclose(dense.dW, x.T @ dy, rtol=1e-13)


def test_first_weights_have_the_variance_of_their_papers(rng):
    """Glorot: 2 / (n_in + n_out), bounded; He: 2 / n_in.  60,000 draws: 5 standard errors are 3 %."""
    n_in, n_out = 300, 200
    W = glorot(n_in, n_out, rng)
    assert W.shape == (n_in, n_out) and np.abs(W).max() <= np.sqrt(6 / 500)
    np.testing.assert_allclose(W.var(), 2 / 500, rtol=0.03)
    np.testing.assert_allclose(he(n_in, n_out, rng).var(), 2 / 300, rtol=0.03)
    assert abs(W.mean()) < 5 * np.sqrt(2 / 500 / 60_000)


def test_the_first_bias_and_the_gradients_before_any_backward_are_zero(rng):
    layer = Dense(3, 2, rng)
    assert not any(np.any(array) for array in (layer.b, layer.dW, layer.db))


def test_first_weights_are_the_next_draws_of_the_generator():
    """Row by row, and nothing else is drawn: with the same seed, last year's figure can be drawn again."""
    np.testing.assert_array_equal(glorot(3, 2, np.random.default_rng(0)),
                                  np.random.default_rng(0).uniform(-np.sqrt(6 / 5), np.sqrt(6 / 5), (3, 2)))
    np.testing.assert_array_equal(he(3, 2, np.random.default_rng(0)),
                                  np.sqrt(2 / 3) * np.random.default_rng(0).standard_normal((3, 2)))


def test_a_fresh_dense_layer_has_the_weights_drawn_and_gradients_of_its_own():
    layer = Dense(3, 2, np.random.default_rng(0))
    np.testing.assert_array_equal(layer.W, glorot(3, 2, np.random.default_rng(0)))
    arrays = (layer.W, layer.b, layer.dW, layer.db)
    assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])


@pytest.mark.parametrize("name", ["forward", "backward"])
def test_a_layer_that_lacks_a_method_says_so(name):
    with pytest.raises(AttributeError, match=f"'Layer' object has no attribute '{name}'"):
        getattr(Layer(), name)(*np.zeros((1 + (name == "backward"), 1, 1)))


def test_glorot_shares_the_change_of_size_between_forward_and_backward(rng):
    """E y² = n_in Var W E x² and E dx² = n_out Var W E dy²: factors that are 1 on average, whatever the shape."""
    n_in, n_out = 400, 200
    layer = Dense(n_in, n_out, rng)
    x, dy = rng.standard_normal((500, n_in)), rng.standard_normal((500, n_out))
    y, cache = layer.forward(x)
    forward, backward = (y * y).mean(), (layer.backward(dy, cache) ** 2).mean()
    np.testing.assert_allclose([forward, backward], [2 * 400 / 600, 2 * 200 / 600], rtol=0.03)
    np.testing.assert_allclose((forward + backward) / 2, 1, rtol=0.03)


def test_he_keeps_the_size_through_ten_relu_layers(rng):
    """E y² stays near 1; without the factor 2 it would be 2⁻¹⁰.  Measured: log E y² scatters by 0.17 over seeds."""
    y = rng.standard_normal((100, 1000))
    for _ in range(10):
        x, _ = ReLU().forward(y)
        y, _ = Dense(1000, 1000, rng, he).forward(x)
    assert abs(np.log((y * y).mean())) < 5 * 0.17


@pytest.mark.parametrize("slope", [-0.1, 1.0, np.nan])
def test_a_slope_that_does_not_leak_is_refused(slope):
    with pytest.raises(ValueError, match="slope must"):
        LeakyReLU(slope)
