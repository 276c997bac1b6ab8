"""A stack of layers, and one flat vector for the parameters of many."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from . import check
from .layers import ACTIVATIONS, Array, Cache, Dense, Generator, Layer, glorot, he


class MLP:
    """A multilayer perceptron: Dense, activation, Dense, ..., Dense.

    Forward is the composition y = f_K(... f_2(f_1(x))).  The chain rule hands the
    gradient back through the same layers in the opposite order.

    Parameters
    ----------
    dims : sequence of int
        Columns of the input, of each hidden layer, of the output.  Two numbers
        make an affine map.
    activation : str
        Between two Dense layers: a key of `layers.ACTIVATIONS`.  If the constructor of
        your own layer there needs an argument, it gets the number of columns.
    rng : numpy.random.Generator
        The source of the first weights: He's before a (leaky) ReLU, else Glorot's.
    """

    def __init__(self, dims: Sequence[int], activation: str, rng: Generator) -> None:
        dims, make, rng = check.network(dims, activation, ACTIVATIONS, rng)
        initialise = he if activation in ("relu", "leaky_relu") else glorot
        self.layers: dict[str, Any] = {}               # Dense layers and activations, by name
        for i in range(1, len(dims) - 1):
            self.layers[f"dense{i}"] = Dense(dims[i - 1], dims[i], rng, initialise)
            self.layers[f"{activation}{i}"] = make(dims[i]) if check.needs_argument(make) else make()
        self.output = Dense(dims[-2], dims[-1], rng)
        self.layers[f"dense{len(dims) - 1}"] = self.output

    def forward(self, x: Array) -> tuple[Array, list[Cache]]:
        """Return y of shape (n, dims[-1]), and each layer's cache, in order.  MATH (2.1)."""
        caches = []
        for layer in self.layers.values():
            x, cache = layer.forward(x)                # the output of one is the input of the next   (2.1)
            caches.append(cache)
        return x, caches

    def backward(self, dy: Array, caches: list[Cache], input_gradient: bool = True) -> Array:
        """Set every layer's gradients, return dx (empty if it is not wanted).  MATH (2.1)."""
        first, *rest = self.layers.values()
        for layer, cache in zip(reversed(rest), reversed(caches[1:])):
            dy = layer.backward(dy, cache)             # dx of one is dy of the one before   (2.1)
        return first.backward(dy, caches[0], input_gradient)    # (2.1)


def pack(layers: Mapping[str, Layer], dtype: DTypeLike) -> tuple[Array, Array, dict[str, Array], dict[str, Array]]:
    """Lay the parameters of all layers end to end in one vector.

    After it, ``layer.W`` is a view into ``theta`` and ``layer.dW`` one into
    ``gradient``.  So an optimiser is a few lines on a vector, a checkpoint is
    one array, and ``scipy.optimize.minimize`` works on a whole model.

    Parameters
    ----------
    layers : mapping of str to Layer
        In the order of the vector.
    dtype : NumPy dtype
        That of both vectors: float32, float64, or complex128.

    Returns
    -------
    theta, gradient : array of shape (size,)
        All the parameters (their values are kept), and all their gradients (zero).
    parameters, gradients : dict of str to array
        The same memory by name (``"q1.dense1.W"``), each view in its own shape.
    """
    owners = [(f"{part}.{name}", layer, name) for part, layer in layers.items() for name in layer.parameter_names]
    theta = np.concatenate([getattr(layer, name).ravel() for _, layer, name in owners]).astype(dtype)
    gradient = np.zeros_like(theta)
    parameters, gradients, end = {}, {}, 0
    for full_name, layer, name in owners:
        shape = getattr(layer, name).shape
        start, end = end, end + getattr(layer, name).size
        parameters[full_name] = theta[start:end].reshape(shape)         # a view: no copy
        gradients[full_name] = gradient[start:end].reshape(shape)
        setattr(layer, name, parameters[full_name])
        setattr(layer, "d" + name, gradients[full_name])
    return theta, gradient, parameters, gradients
