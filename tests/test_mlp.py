"""A stack of layers, and the one vector that holds its parameters."""

import numpy as np
import pytest

from scratchvae.layers import ACTIVATIONS
from scratchvae.mlp import MLP, pack
from scratchvae.verify.gradcheck import check_layer


def make(dims, activation, rng):
    mlp = MLP(dims, activation, rng)
    for layer in mlp.layers.values():
        if layer.parameter_names:
            layer.b[:] = rng.standard_normal(layer.b.shape)
    return mlp


@pytest.mark.parametrize("method", ["complex", "central"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dims", [(4, 3), (4, 5, 3), (4, 5, 6, 3)])
def test_gradients(dims, activation, rng, agrees, method):
    agrees(check_layer(make(dims, activation, rng), rng.standard_normal((6, 4)), method=method))


def test_forward_is_the_composition(rng):
    mlp = make((4, 5, 3), "tanh", rng)
    x = rng.standard_normal((6, 4))
    first, _, second = mlp.layers.values()
    np.testing.assert_allclose(mlp.forward(x)[0], np.tanh(x @ first.W + first.b) @ second.W + second.b, rtol=1e-13)


def test_backward_can_leave_out_the_input_gradient(rng):
    """The data need none: dx is empty, and the gradients of the parameters are the same."""
    mlp = make((4, 5, 3), "tanh", rng)
    gradient = pack(mlp.layers, np.float64)[1]
    _, caches = mlp.forward(rng.standard_normal((6, 4)))
    dy = rng.standard_normal((6, 3))
    assert mlp.backward(dy, caches).shape == (6, 4)
    with_dx = gradient.copy()
    gradient[:] = np.nan
    assert mlp.backward(dy, caches, input_gradient=False).shape == (6, 0)
    np.testing.assert_array_equal(gradient, with_dx)


@pytest.mark.parametrize("activation, gain", [("tanh", None), ("relu", 2), ("leaky_relu", 2)])
def test_hidden_layers_get_the_weights_of_their_activation(activation, gain, rng):
    W = MLP((300, 200, 2), activation, rng).layers["dense1"].W
    np.testing.assert_allclose(W.var(), gain / 300 if gain else 2 / 500, rtol=0.03)


def test_packed_parameters_are_views_of_one_vector(rng):
    mlp = make((4, 5, 3), "tanh", rng)
    before = {name: getattr(mlp.layers[f"dense{i}"], name).copy() for i in (1, 2) for name in "Wb" if i == 1}
    theta, gradient, parameters, gradients = pack(mlp.layers, np.float64)
    assert list(parameters) == list(gradients) == ["dense1.W", "dense1.b", "dense2.W", "dense2.b"]
    assert theta.size == gradient.size == 4 * 5 + 5 + 5 * 3 + 3
    np.testing.assert_array_equal(mlp.layers["dense1"].W, before["W"])
    np.testing.assert_array_equal(np.concatenate([p.ravel() for p in parameters.values()]), theta)
    assert not gradient.any()
    for views in (parameters, gradients):
        assert [view.shape for view in views.values()] == [(4, 5), (5,), (5, 3), (3,)]
    theta[0], gradient[-1] = 7, 9
    assert mlp.layers["dense1"].W[0, 0] == 7 and mlp.layers["dense2"].db[-1] == 9
    assert mlp.layers["dense1"].W is parameters["dense1.W"] and mlp.layers["dense1"].dW is gradients["dense1.W"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_packing_sets_the_precision(dtype, rng):
    theta, gradient, parameters, gradients = pack(make((4, 5, 3), "tanh", rng).layers, dtype)
    assert {array.dtype for array in (theta, gradient, *parameters.values(), *gradients.values())} == {np.dtype(dtype)}
