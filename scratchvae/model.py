"""What the autoencoder, the VAE and the hierarchy share.

The bound and its parts, the flat vector of parameters, and log p(x).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import check
from .layers import ACTIVATIONS, Array, Cache
from .likelihood import LIKELIHOODS, Likelihood
from .mlp import MLP, pack

ModelType = TypeVar("ModelType", bound="Model")


@dataclass
class ELBO:
    """The evidence lower bound on log p(x) at one draw of the latents, in its three parts, in nats.

    The latents are z_1, ..., z_T, with z_0 = x; a VAE has one level, T = 1.  The
    bound is the mean over draws: a single draw may lie above log p(x).  Each part
    is summed over dimensions and kept for each example; the mean over the batch
    is taken once, in `loss`.  (An autoencoder fills only the reconstruction, and then
    it is no bound; the printed form of consistency makes it another bound: see hvae.py.)

    Attributes
    ----------
    reconstruction : array of shape (n,)
        log p(x | z_1).
    prior_matching : array of shape (n,)
        KL( q(z_T | z_{T-1}) || p(z_T) ).
    consistency : array of shape (n, T - 1)
        Column t - 1 is log q(z_t | z_{t-1}) - log p(z_t | z_{t+1}), in one of the
        two forms that hvae.py explains.  The VAE has no such column.
    """

    reconstruction: Array
    prior_matching: Array
    consistency: Array

    @property
    def kl(self) -> Array:
        """Each level's share of the KL, (n, T): consistency 1, ..., T - 1, then prior matching.  MATH (5.4)."""
        return np.concatenate([self.consistency, self.prior_matching[:, None]], axis=1)

    @property
    def total(self) -> Array:
        """The whole, of shape (n,): reconstruction - prior matching - consistency.  MATH (5.3), (7.2)."""
        return self.reconstruction - self.kl.sum(axis=1)

    def loss(self, beta: ArrayLike = 1.0, alpha: float = 1.0) -> np.number[Any]:
        """Return -(alpha · reconstruction - Σₜ beta_t · kl_t), a mean over the batch.

        With alpha = beta = 1 it is the mean of -total.  beta is a number, or one
        for each of the T levels.  MATH (5.4).
        """
        return -(alpha * self.reconstruction - (np.asarray(beta) * self.kl).sum(axis=1)).mean()

    def __str__(self) -> str:
        rows = {"reconstruction": self.reconstruction, "prior matching": self.prior_matching}
        rows.update({f"consistency {t}": column for t, column in enumerate(self.consistency.T, start=1)})
        rows["ELBO"] = self.total
        return "\n".join(f"{name:<15} {value.real.mean():10.3f} nats" for name, value in rows.items())


def conditional(dims: Sequence[int], activation: str, rng: np.random.Generator) -> MLP:
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

    def __init__(self, x_dim: int, latent_dims: Sequence[int], activation: str, likelihood: str | Likelihood,
                 dtype: DTypeLike) -> None:
        self.x_dim = check.size("x_dim", x_dim)
        self.latent_dims = check.sizes("latent_dims", latent_dims)
        check.choice("activation", activation, ACTIVATIONS)
        self.likelihood = check.likelihood("likelihood", likelihood, LIKELIHOODS, self.x_dim)
        self.dtype = check.dtype("dtype", dtype)

    def pack(self, **networks: MLP) -> None:
        """Lay the networks' parameters into one ``theta``, under these names."""
        self.networks = networks
        layers = {f"{name}.{part}": layer for name, mlp in networks.items() for part, layer in mlp.layers.items()}
        self.theta, self.gradient, self.parameters, self.gradients = pack(layers, self.dtype)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # copy.deepcopy and pickle come here: the copied arrays are views no longer, so they are laid out anew
        self.__dict__.update(state)
        self.pack(**self.networks)

    def astype(self: ModelType, dtype: DTypeLike) -> ModelType:
        """Return a copy of the model in another precision: float32, float64 or complex128."""
        twin = copy.deepcopy(self)
        twin.dtype = check.dtype("dtype", dtype)
        twin.pack(**twin.networks)
        return twin

    def seeing(self, network: MLP) -> MLP:
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

    def check_beta(self, beta: ArrayLike) -> Array:
        """Return beta as one number for each level, or raise a ValueError."""
        return check.by_level("beta", beta, len(self.latent_dims), self.dtype)

    def normal(self, rng: np.random.Generator, *shape: int) -> Array:
        """Draw standard normal numbers, float32 for a float32 model, else float64; nothing is checked."""
        return rng.standard_normal(shape, dtype=np.float32 if self.dtype == np.float32 else np.float64)

    # each model defines these -------------------------------------------------------------------

    def draw_noise(self, n: int, rng: np.random.Generator) -> Any:
        """Draw the noise of one forward pass over n examples."""
        raise NotImplementedError

    def bound(self, x: Array, noise: Any) -> tuple[ELBO, Cache]:
        """Return the bound for each example, and what `backward` will need: `forward` without its checks."""
        raise NotImplementedError

    def backward(self, cache: Cache, beta: ArrayLike = 1.0, alpha: float = 1.0, input_gradient: bool = False) -> Array:
        """Fill ``gradient`` with that of ``elbo.loss(beta, alpha)``; return dx if it is wanted, else (n, 0)."""
        raise NotImplementedError

    def log_weight(self, x: Array, n_samples: int, rng: np.random.Generator) -> Array:
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

    def log_likelihood(self, x: ArrayLike, n_samples: int = 1000, rng: int | np.random.Generator = 0,
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
            At most so many draws pass through the networks at once: memory is
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
