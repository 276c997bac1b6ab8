"""Wrong solutions of exercise 3; after the colon, what the grader must say."""
import numpy as np
from scratchvae import layers

# %% tanh of y: tanh' of the wrong variable. The output is taken for the input
class Tanh(layers.Layer):
    def forward(self, x):
        y = np.tanh(x)
        return y, y

    def backward(self, dy, cache):
        return dy * (1 - np.tanh(cache) ** 2)

# %% without dy: the chain rule's dy is missing.
class Tanh(layers.Layer):
    def forward(self, x):
        return np.tanh(x), x

    def backward(self, dy, cache):
        return 1 / np.cosh(np.clip(cache, -300, 300)) ** 2

# %% overflow: NaN
class Tanh(layers.Layer):
    def forward(self, x):
        return (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1), x

    def backward(self, dy, cache):
        return dy * (1 - np.tanh(cache) ** 2)

# %% backward blank: Tanh.forward: right so far. Tanh.backward: nothing is written yet.
class Tanh(layers.Layer):
    def forward(self, x):
        return np.tanh(x), x

    def backward(self, dy, cache):
        """Return dx."""
        ...
