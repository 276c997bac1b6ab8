"""Wrong solutions of exercise 4; after the colon, what the grader must say."""
import numpy as np
from scratchvae import layers

# %% masked by dy: ReLU masks by the gradient. Where dy > 0 it passes, not where x > 0.
class ReLU(layers.Layer):
    def forward(self, x):
        return np.maximum(x, 0), x

    def backward(self, dy, x):
        return np.where(dy > 0, dy, 0)

# %% y added: dx[0, 0] = dy[0, 0] · slope = 0.33 · 1 = 0.33
class ReLU(layers.Layer):
    def forward(self, x):
        y = np.maximum(x, 0)
        return y, y

    def backward(self, dy, y):
        return dy + y

# %% everything passes: should be 0; yours is
class ReLU(layers.Layer):
    def forward(self, x):
        return np.maximum(x, 0), x

    def backward(self, dy, x):
        return dy.copy()
