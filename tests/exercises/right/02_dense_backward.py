"""Right solutions of exercise 2, each written in another way."""
import numpy as np
from scratchvae import layers

# %% written with copyto
class Dense(layers.Dense):
    def backward(self, dy, cache, input_gradient=True):
        np.copyto(self.dW, cache.T @ dy)
        np.copyto(self.db, dy.sum(axis=0))
        return dy @ self.W.T

# %% written into the arrays
class Dense(layers.Dense):
    def backward(self, dy, cache, input_gradient=True):
        self.dW[...] = np.transpose(cache) @ dy
        self.db[:] = np.ones(len(dy)) @ dy
        return (self.W @ dy.T).T

# %% loops that add up
class Dense(layers.Dense):
    def backward(self, dy, cache, input_gradient=True):
        x = cache
        self.dW.fill(0)
        self.db.fill(0)
        dx = np.zeros(x.shape)
        for i in range(x.shape[0]):
            for j in range(dy.shape[1]):
                self.db[j] += dy[i, j]
                for k in range(x.shape[1]):
                    self.dW[k, j] += x[i, k] * dy[i, j]
                    dx[i, k] += dy[i, j] * self.W[k, j]
        return dx

# %% einsum
class Dense(layers.Dense):
    def backward(self, dy, cache, input_gradient=True):
        self.dW[:] = np.einsum("nk,nj->kj", cache, dy)
        self.db[:] = np.einsum("nj->j", dy)
        return np.einsum("nj,kj->nk", dy, self.W)

# %% a sum of outer products, row by row, in float32
class Dense(layers.Dense):
    def backward(self, dy, cache, input_gradient=True):
        x, dy = cache.astype("float32"), dy.astype("float32")
        self.dW[:] = sum(np.outer(row, d) for row, d in zip(x, dy))
        self.db[:] = sum(dy)
        return [list(self.W @ d) for d in dy]

# %% as the library returns nothing for nothing
class Dense(layers.Dense):
    def backward(self, dy, cache, input_gradient=True):
        self.dW[:], self.db[:] = np.tensordot(cache, dy, axes=(0, 0)), np.add.reduce(dy)
        if input_gradient:
            return np.inner(dy, self.W)
