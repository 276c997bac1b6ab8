"""What the autoencoder, the VAE and the hierarchy share: the flat vector of parameters, and log p(x)."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import check
from .layers import Array, Cache, Generator, Seed
from .likelihood import LIKELIHOODS, Likelihood
from .mlp import MLP, pack
from .objective import ELBO, ELBOGradient


def conditional(dims: Sequence[int], activation: str, rng: Generator) -> MLP:
    """Return a network for mu and logvar of a Gaussian whose mean has dims[-1] columns.

    Its logvar is 0 at first, for every input: with random weights there, σ would
    vary by factors from example to example, and in a hierarchy, where the z of
    one level feeds the next, these factors compound until they overflow.  MATH (3.1).
    """
    network = MLP((*dims[:-1], 2 * dims[-1]), activation, rng)
    network.output.W[:, dims[-1]:] = 0
    return network


class Model:
    """A model whose parameters lie in one flat vector.

    Attributes
    ----------
    theta, gradient : array of shape (size,)
        All the parameters, and the gradient of the loss that `backward` left.
    parameters, gradients : dict of str to array
        Views into these by name, such as ``"q1.dense1.W"``.
    """

    def __init__(self, x_dim: int, latent_dims: Sequence[int], likelihood: str | Likelihood, dtype: DTypeLike) -> None:
        self.x_dim = check.size("x_dim", x_dim)
        self.latent_dims = check.sizes("latent_dims", latent_dims)
        self.likelihood = check.likelihood("likelihood", likelihood, LIKELIHOODS, self.x_dim)
        self.dtype = check.dtype("dtype", dtype)

    def pack(self, **networks: MLP) -> None:
        """Lay the networks' parameters into one ``theta``, under these names."""
        self.networks = networks
        layers = {f"{name}.{part}": layer for name, mlp in networks.items() for part, layer in mlp.layers.items()}
        self.theta, self.gradient, self.parameters, self.gradients = pack(layers, self.dtype)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.x_dim} columns, latents {self.latent_dims}, size {self.theta.size}>"

    def __setstate__(self, state: dict[str, Any]) -> None:
        # copy.deepcopy and pickle come here: the copied arrays are views no longer, so they are laid out anew
        self.__dict__.update(state)
        self.pack(**self.networks)

    def astype(self, dtype: DTypeLike) -> Any:
        """Return a copy of the model in another precision: float32, float64 or complex128."""
        twin = copy.deepcopy(self)
        twin.dtype = check.dtype("dtype", dtype)
        twin.pack(**twin.networks)
        return twin

    def with_first_layer(self, network: MLP) -> MLP:
        """Return a network that sees x, behind the likelihood's own first layer if it has one; see likelihood.py."""
        if hasattr(self.likelihood, "first_layer"):
            network.layers = {"first": self.likelihood.first_layer, **network.layers}
        return network

    def set_output_bias(self, decoder: MLP, x_mean: ArrayLike | None) -> None:
        """Let a fresh decoder's output lie around the data's mean, if it is given: set the bias of its last layer."""
        if x_mean is not None:
            mean = check.array("x_mean", x_mean, (self.x_dim,))
            self.likelihood.check_support(mean, "x_mean")
            decoder.output.b[:] = self.likelihood.bias(mean)

    def check_x(self, x: ArrayLike) -> Array:
        """Return x in the model's precision, or raise a ValueError that says what is wrong with it."""
        x = check.array("x", x, ("n", self.x_dim), self.dtype, getattr(self.likelihood, "missing", False))
        self.likelihood.check_support(x)
        return x

    def check_noise(self, noise: Any, n: int) -> Any:
        """Return the noise in the model's precision, or raise a ValueError (here for one level: one array)."""
        return check.array("noise", noise, (n, *self.latent_dims), self.dtype)

    def normal(self, rng: Generator, *shape: int) -> Array:
        """Draw standard normal numbers, float32 for a float32 model, else float64; nothing is checked."""
        return rng.standard_normal(shape, dtype=np.float32 if self.dtype == np.float32 else np.float64)

    # each model defines these -------------------------------------------------------------------

    def draw_noise(self, n: int, rng: Generator) -> Any:
        """Draw the noise of one forward pass over n examples."""
        raise NotImplementedError

    def bound(self, x: Array, noise: Any) -> tuple[ELBO, Cache]:
        """Return the bound for each example, and what `backward` will need: `forward` without its checks."""
        raise NotImplementedError

    def backward(self, delbo: ELBOGradient, cache: Cache, input_gradient: bool = False) -> Array:
        """Fill ``gradient``, given that of the loss by each part of the bound; return dx if it is wanted, else (n, 0).

        Parameters
        ----------
        delbo : ELBOGradient
            d(loss)/d(each part), such as ``elbo.loss_backward()``.
        cache
            From `forward`.
        input_gradient : bool, default False
            Also return dx, for which training has no use.

        Returns
        -------
        dx : array of shape (n, x_dim), or (n, 0) if it is not wanted
        """
        raise NotImplementedError

    def log_weight(self, x: Array, n_samples: int, rng: Generator) -> Array:
        """Return log p(x, z) - log q(z | x) at draws z ~ q(z | x), of shape (n_samples, n)."""
        raise NotImplementedError(f"{type(self).__name__} has no log p(x)")

    # and inherits these -------------------------------------------------------------------------

    def forward(self, x: ArrayLike, noise: Any) -> tuple[ELBO, Cache]:
        """Return the bound on log p(x) for each example.

        Parameters
        ----------
        x : array of shape (n, x_dim)
        noise : array, or list of arrays
            From `draw_noise`.

        Returns
        -------
        elbo : ELBO
        cache
            For `backward`.

        Raises
        ------
        ValueError
            If x or noise has the wrong shape, or x a value that the likelihood excludes.
        """
        x = self.check_x(x)
        return self.bound(x, self.check_noise(noise, len(x)))

    def log_likelihood(self, x: ArrayLike, n_samples: int = 1000, rng: Seed = 0,
                       max_rows: int = 256) -> Array:
        """Estimate log p(x) by importance sampling, in nats.

        p(x) = E_q[ p(x, z) / q(z | x) ], here a mean over K draws:
        log (1/K) Σₖ exp(log_weight_k).  Its expectation is a lower bound for every
        K (for K = 1 the ELBO), and rises to log p(x) as K grows.  Burda et al.
        2016 (arXiv 1509.00519), equation 8.  MATH (5.5).

        Parameters
        ----------
        x : array of shape (n, x_dim)
        n_samples : int, default 1000
            K.
        rng : numpy.random.Generator or int, default 0
            The source of randomness, or a seed.
        max_rows : int, default 256
            The number of draws that pass through the networks at once: memory is
            bounded, whatever n and K.

        Returns
        -------
        log_likelihood : array of shape (n,), float64

        Raises
        ------
        ValueError
            If x has the wrong shape or values, or n_samples or max_rows is below 1.
        """
        x, n_samples, max_rows = self.check_x(x), check.size("n_samples", n_samples), check.size("max_rows", max_rows)
        rng, at_once = check.generator("rng", rng), min(n_samples, max_rows)
        step = max_rows // at_once
        log_sum = np.full(len(x), -np.inf)             # the log of a sum that is still empty
        for i in range(0, len(x), step):
            rows = slice(i, i + step)
            for k in range(0, n_samples, at_once):
                log_weight = self.log_weight(x[rows], min(at_once, n_samples - k), rng)
                log_sum[rows] = np.logaddexp(log_sum[rows], np.logaddexp.reduce(log_weight.astype(float), axis=0))
        return log_sum - np.log(n_samples)
