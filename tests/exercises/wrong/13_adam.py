"""Wrong solutions of exercise 13; after the colon, what the grader must say."""
import numpy as np
from scratchvae.train import optim


def adam(self, theta, gradient, swap=False, correct=True, inside=False):
    if self.m is None:
        self.m, self.v = np.zeros_like(theta), np.zeros_like(theta)
    self.t += 1
    b1, b2 = (self.beta2, self.beta1) if swap else (self.beta1, self.beta2)
    self.m = b1 * self.m + (1 - b1) * gradient
    self.v = b2 * self.v + (1 - b2) * gradient ** 2
    m = self.m / (1 - b1 ** self.t) if correct else self.m
    v = self.v / (1 - b2 ** self.t) if correct else self.v
    return self.learning_rate * m / (np.sqrt(v + self.epsilon) if inside else np.sqrt(v) + self.epsilon)

# %% no correction: Adam without bias correction.
class Adam(optim.Adam):
    def step(self, theta, gradient):
        theta -= adam(self, theta, gradient, correct=False)

# %% a step that goes nowhere: theta did not move.
class Adam(optim.Adam):
    def step(self, theta, gradient):
        theta = theta - adam(self, theta, gradient)
        return theta

# %% epsilon inside the root: epsilon inside the root.
class Adam(optim.Adam):
    def step(self, theta, gradient):
        theta -= adam(self, theta, gradient, inside=True)

# %% up the hill: one term has the wrong sign: -learning_rate
class Adam(optim.Adam):
    def step(self, theta, gradient):
        theta += adam(self, theta, gradient)

# %% beta for beta^t: 1 - beta for 1 - betaᵗ. The correction belongs to step t
class Adam(optim.Adam):
    def step(self, theta, gradient):
        adam(self, theta, gradient, correct=False)
        m, v = self.m / (1 - self.beta1), self.v / (1 - self.beta2)
        theta -= self.learning_rate * m / (np.sqrt(v) + self.epsilon)

# %% multiplied: multiplied by the correction. m and v are too small in the first steps
class Adam(optim.Adam):
    def step(self, theta, gradient):
        adam(self, theta, gradient, correct=False)
        m, v = self.m * (1 - self.beta1 ** self.t), self.v * (1 - self.beta2 ** self.t)
        theta -= self.learning_rate * m / (np.sqrt(v) + self.epsilon)
