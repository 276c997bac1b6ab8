"""Right solutions of exercise 3, each written in another way."""
import math
import numpy as np
from scratchvae import layers

# %% x in the cache, and cosh
class Tanh(layers.Layer):
    def forward(self, x):
        return np.tanh(x), x

    def backward(self, dy, cache):
        return dy * (1 - np.tanh(cache) ** 2)

# %% by the sigmoid
class Tanh(layers.Layer):
    def forward(self, x):
        s = layers.sigmoid(2 * x)
        return 2 * s - 1, s

    def backward(self, dy, s):
        return 4 * s * (1 - s) * dy

# %% (1 - y) (1 + y), the slope in the cache
class Tanh(layers.Layer):
    def forward(self, x):
        y = np.tanh(x)
        return y, (1 - y) * (1 + y)

    def backward(self, dy, cache):
        return np.multiply(cache, dy)

# %% entry by entry, as lists
class Tanh(layers.Layer):
    def forward(self, x):
        y = np.array([math.tanh(v) for v in x.ravel()])
        return y.reshape(x.shape).tolist(), y.reshape(x.shape)

    def backward(self, dy, cache):
        out = np.empty(dy.shape)
        for at in np.ndindex(dy.shape):
            out[at] = dy[at] - dy[at] * cache[at] ** 2
        return out.tolist()

# %% exponentials that do not overflow, kept in a dictionary
class Tanh(layers.Layer):
    def forward(self, x):
        e = np.exp(-2 * np.abs(x))
        y = np.sign(x) * (1 - e) / (1 + e)
        return y, {"e": e}

    def backward(self, dy, cache):
        e = cache["e"]
        return dy * 4 * e / (1 + e) ** 2

# %% in place, kept in the layer
class Tanh(layers.Layer):
    def forward(self, x):
        self.y = x.copy()
        np.tanh(self.y, out=self.y)
        return self.y, None

    def backward(self, dy, cache):
        dx = -self.y * self.y
        dx += 1
        dx *= dy
        return dx
