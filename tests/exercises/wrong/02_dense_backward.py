"""Wrong solutions of exercise 2; after the colon, what the grader must say."""
import numpy as np
from scratchvae import layers

# %% new arrays in self.dW and self.db: self.dW = ... makes a new array. The optimiser looks at the old one, a part of
class Dense(layers.Dense):
    def backward(self, dy, cache, input_gradient=True):
        self.dW = cache.T @ dy
        self.db = dy.sum(axis=0)
        return dy @ self.W.T

# %% added to what stood there: self.dW is added to, so that what the last step left there stays in it
class Dense(layers.Dense):
    def backward(self, dy, cache, input_gradient=True):
        self.dW += cache.T @ dy
        self.db += dy.sum(axis=0)
        return dy @ self.W.T

# %% means: dW averaged. dW is divided by the number of rows.
class Dense(layers.Dense):
    def backward(self, dy, cache, input_gradient=True):
        self.dW[:] = cache.T @ dy / dy.shape[0]
        self.db[:] = dy.mean(axis=0)
        return dy @ self.W.T

# %% db a mean: bias gradient averaged. db is the mean of dy over the batch, where it should be the sum.
class Dense(layers.Dense):
    def backward(self, dy, cache, input_gradient=True):
        self.dW[:] = cache.T @ dy
        self.db[:] = dy.mean(axis=0)
        return dy @ self.W.T

# %% reshaped: reshape for transpose.
class Dense(layers.Dense):
    def backward(self, dy, cache, input_gradient=True):
        self.dW[:] = cache.T @ dy
        self.db[:] = dy.sum(axis=0)
        return dy @ self.W.reshape(self.W.shape[::-1])

# %% dW never set: NaN: an exponential or a division has overflowed, or an entry was never written
class Dense(layers.Dense):
    def backward(self, dy, cache, input_gradient=True):
        self.db[:] = dy.sum(axis=0)
        return dy @ self.W.T

# %% dW transposed: self.dW should have shape (2, 4); yours has (4, 2). It looks transposed.
class Dense(layers.Dense):
    def backward(self, dy, cache, input_gradient=True):
        self.dW = dy.T @ cache
        self.db = dy.sum(axis=0)
        return dy @ self.W.T

# %% dW without the transpose: the left array must have as many columns as the right one has rows; here they are 2 and 3.
class Dense(layers.Dense):
    def backward(self, dy, cache, input_gradient=True):
        self.dW[:] = cache @ dy
        self.db[:] = dy.sum(axis=0)
        return dy @ self.W.T

# %% the wrong shape put into dW: An array of shape (4,2) does not fit into one of shape (2,4).
class Dense(layers.Dense):
    def backward(self, dy, cache, input_gradient=True):
        self.dW[:] = dy.T @ cache
        self.db[:] = dy.sum(axis=0)
        return dy @ self.W.T

# %% dx with the wrong sign: Every sign is the other way round.
class Dense(layers.Dense):
    def backward(self, dy, cache, input_gradient=True):
        self.dW[:] = cache.T @ dy
        self.db[:] = dy.sum(axis=0)
        return -dy @ self.W.T

# %% the last row forgotten: one term is missing: x[
class Dense(layers.Dense):
    def backward(self, dy, cache, input_gradient=True):
        m = max(1, len(dy) - 1)
        self.dW[:] = cache[:m].T @ dy[:m]
        self.db[:] = dy.sum(axis=0)
        return dy @ self.W.T
