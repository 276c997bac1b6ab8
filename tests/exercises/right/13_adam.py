"""Right solutions of exercise 13, each written in another way."""
import math
import numpy as np
from scratchvae.train import optim

# %% the paper's algorithm
class Adam(optim.Adam):
    def step(self, theta, gradient):
        if self.m is None:
            self.m, self.v = np.zeros_like(theta), np.zeros_like(theta)
        self.t += 1
        self.m = self.beta1 * self.m + (1 - self.beta1) * gradient
        self.v = self.beta2 * self.v + (1 - self.beta2) * gradient ** 2
        m_hat = self.m / (1 - self.beta1 ** self.t)
        v_hat = self.v / (1 - self.beta2 ** self.t)
        theta -= self.learning_rate * m_hat / (np.sqrt(v_hat) + self.epsilon)

# %% a rate of its own for each step, as the paper says to be quicker
class Adam(optim.Adam):
    def step(self, theta, gradient):
        self.m = (1 - self.beta1) * gradient if self.m is None else self.m + (1 - self.beta1) * (gradient - self.m)
        self.v = (1 - self.beta2) * gradient ** 2 if self.v is None else self.v + (1 - self.beta2) * (gradient ** 2 - self.v)
        self.t += 1
        root = math.sqrt(1 - self.beta2 ** self.t)
        rate = self.learning_rate * root / (1 - self.beta1 ** self.t)
        theta[:] = theta - rate * self.m / (np.sqrt(self.v) + self.epsilon * root)

# %% entry by entry, written in a loop, with state of its own
class Adam(optim.Adam):
    def step(self, theta, gradient):
        if not hasattr(self, "first"):
            self.first, self.second, self.count = [0.0] * len(theta), [0.0] * len(theta), 0
        self.count += 1
        a, b = 1 - self.beta1 ** self.count, 1 - self.beta2 ** self.count
        for i, g in enumerate(gradient.tolist()):
            self.first[i] = self.beta1 * self.first[i] + (1 - self.beta1) * g
            self.second[i] = self.beta2 * self.second[i] + (1 - self.beta2) * g * g
            theta[i] += -self.learning_rate * (self.first[i] / a) / (math.sqrt(self.second[i] / b) + self.epsilon)

# %% the means divided by the sum of their weights
class Adam(optim.Adam):
    def step(self, theta, gradient):
        if self.t == 0:
            self.m, self.v, self.wm, self.wv = 0 * theta, 0 * theta, 0.0, 0.0
        self.m, self.wm = self.beta1 * self.m + gradient, self.beta1 * self.wm + 1
        self.v, self.wv = self.beta2 * self.v + gradient * gradient, self.beta2 * self.wv + 1
        self.t = self.t + 1
        np.subtract(theta, self.learning_rate * (self.m / self.wm) / (np.sqrt(self.v / self.wv) + self.epsilon), out=theta)

# %% all gradients kept, and theta returned as well
class Adam(optim.Adam):
    def step(self, theta, gradient):
        self.past = [*getattr(self, "past", []), gradient.copy()]
        t = len(self.past)
        weights_1 = np.array([(1 - self.beta1) * self.beta1 ** (t - 1 - k) for k in range(t)])
        weights_2 = np.array([(1 - self.beta2) * self.beta2 ** (t - 1 - k) for k in range(t)])
        m = weights_1 @ np.array(self.past) / weights_1.sum()
        v = weights_2 @ np.array(self.past) ** 2 / weights_2.sum()
        theta -= self.learning_rate * m / (v ** 0.5 + self.epsilon)
        return theta
