"""Right solutions of exercise 4, each written in another way."""
import numpy as np
from scratchvae import layers

# %% where, with 1 at the kink
class ReLU(layers.Layer):
    def forward(self, x):
        return np.where(x > 0, x, 0), x

    def backward(self, dy, x):
        return np.where(x >= 0, dy, 0)

# %% a product with the comparison, 0 at the kink
class ReLU(layers.Layer):
    def forward(self, x):
        mask = x > 0
        return x * mask, mask

    def backward(self, dy, mask):
        return dy * mask

# %% a half at the kink
class ReLU(layers.Layer):
    def forward(self, x):
        return (x + abs(x)) / 2, np.heaviside(x, 0.5)

    def backward(self, dy, cache):
        return cache * dy

# %% entries set to zero in a copy
class ReLU(layers.Layer):
    def forward(self, x):
        y = x.copy()
        y[y < 0] = 0
        return y, x < 0

    def backward(self, dy, negative):
        dx = np.array(dy)
        dx[negative] = 0
        return dx

# %% clip, float32, the sign
class ReLU(layers.Layer):
    def forward(self, x):
        return np.clip(x, 0, None).astype(np.float32), np.sign(x)

    def backward(self, dy, sign):
        return (0.5 * (1 + sign) * dy).astype(np.float32)

# %% one number at a time
class ReLU(layers.Layer):
    def forward(self, x):
        return np.vectorize(lambda v: v if v > 0 else 0.0)(x), x

    def backward(self, dy, x):
        return np.vectorize(lambda d, v: d if v > 0 else 0.0)(dy, x)
