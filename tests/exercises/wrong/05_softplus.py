"""Wrong solutions of exercise 5; after the colon, what the grader must say."""
import numpy as np

# %% taken literally: An infinite number: an exponential or a division has overflowed
def softplus(x):
    return np.log(1 + np.exp(x))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))

# %% sigmoid of -x: the wrong sign of x.
def softplus(x):
    return np.logaddexp(0, x)


def sigmoid(x):
    return (1 - np.tanh(x / 2)) / 2

# %% a loop that never ends: did not come to an end within 1 seconds
def softplus(x):
    while True:
        pass


def sigmoid(x):
    return 1 / (1 + np.exp(-x))
