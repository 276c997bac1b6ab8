"""Right solutions of exercise 1, each written in another way."""
import numpy as np
from scratchvae import layers

# %% three loops, a list of lists
class Dense(layers.Dense):
    def forward(self, x):
        n, n_in = x.shape
        y = [[0.0] * len(self.b) for _ in range(n)]
        for i in range(n):
            for j in range(len(self.b)):
                for k in range(n_in):
                    y[i][j] += x[i, k] * self.W[k, j]
                y[i][j] += self.b[j]
        return y, x

# %% einsum
class Dense(layers.Dense):
    def forward(self, x):
        return np.einsum("ik,kj->ij", x, self.W) + self.b[None, :], x

# %% transposed, and in place
class Dense(layers.Dense):
    def forward(self, x):
        y = (self.W.T @ x.T).T.copy()
        y += self.b
        return y, x.copy()

# %% float32, a list returned instead of a tuple
class Dense(layers.Dense):
    def forward(self, x):
        y = np.dot(x.astype(np.float32), self.W.astype(np.float32))
        return [y + self.b.astype(np.float32), x]

# %% the bias as a row of W, with prints
class Dense(layers.Dense):
    def forward(self, x):
        with_one = np.hstack([x, np.ones((len(x), 1))])
        print("shapes:", with_one.shape, self.W.shape)
        return with_one @ np.vstack([self.W, self.b]), x

# %% broadcasting
class Dense(layers.Dense):
    def forward(self, x):
        return (x[:, :, None] * self.W[None, :, :]).sum(axis=1) + np.tile(self.b, (len(x), 1)), x
