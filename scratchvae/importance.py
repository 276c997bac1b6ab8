"""Training on the importance-weighted bound: K draws for each x, and the gradient in three forms.

    L_K = E[ log (1/K) Σₖ w_k ],     w_k = p(x, z_k) / q(z_k | x),     z_1, ..., z_K ~ q(z | x)

L_1 is the ELBO, and L_K rises to log p(x) as K grows: MATH (5.5).  Burda et al. 2016
(arXiv 1509.00519).  The models' own bound and backward do the work, on K rows for each x:

- with ``drawn=True`` all parts of the bound are taken at the z drawn, so that the total
  of a row is log w_k;
- the derivative of a log of a mean of exponentials is the *normalised weights*,
  w̃_k = w_k / Σⱼ w_j, and backward takes them as the weights of its rows.

p's gradient is Σₖ w̃_k ∇log p(x, z_k).  q's parameters enter log w_k in two ways, as those of
the density q(z_k | x) and through z_k, and q's gradient has three forms (``estimator=``):

``"plain"``: both ways.  MATH (14.3).

``"landing"``: through z_k alone.  What is left out has the mean 0 for K = 1, and where q is
the posterior the rest is 0 for every draw.  For K > 1 it is biased.  Sticking the landing,
Roeder et al. 2017 (arXiv 1703.09194).  MATH (14.4).

``"doubly"``: through z_k alone, with the weights w̃_k².  Unbiased for every K, and the
signal in it does not drown in the noise as K grows.  Doubly reparameterised, Tucker et al. 2018
(arXiv 1810.04152).  MATH (14.5).

Where a framework stops a gradient, here a line is not there: see ``to_q`` in `VAE.backward`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import check
from .hvae import HVAE
from .layers import Array, Cache
from .mlp import MLP
from .model import ELBO, Model
from .topdown import TopDown
from .vae import VAE

OBJECTIVES = ("elbo", "iwae")
ESTIMATORS = ("plain", "landing", "doubly")


def log_mean_exp(log_w: Array) -> tuple[Array, Array]:
    """Return log (1/K) Σₖ exp(log w_k) for each example.

    The largest log w is taken out before, so that nothing overflows.  MATH (14.1).

    Parameters
    ----------
    log_w : array of shape (n, K)

    Returns
    -------
    L : array of shape (n,)
    cache
        For `log_mean_exp_backward`: the normalised weights, of shape (n, K).
    """
    largest = log_w.real.max(axis=1, keepdims=True)
    w = np.exp(log_w - largest)                        # (n, K): none above 1
    total = w.sum(axis=1, keepdims=True)
    return (largest + np.log(total / log_w.shape[1]))[:, 0], w / total


def log_mean_exp_backward(dL: Array, cache: Array) -> Array:
    """Return dlog_w: ∂L/∂log w_k = w̃_k, the normalised weight.  MATH (14.1)."""
    w_tilde = cache
    return dL[:, None] * w_tilde


class Importance:
    """K draws for each example of a model: the contract of a model, one size up.  MATH (14.1), (14.7).

    Parameters
    ----------
    model : VAE, HVAE or TopDown
        Its ``gradient`` is what `backward` fills.
    importance : int, default 5
        K, draws of z for each example.
    objective : {'iwae', 'elbo'}, default 'iwae'
        L_K, or the ELBO as a mean over K draws.
    estimator : {'plain', 'landing', 'doubly'}, default 'plain'
        The form of q's gradient, for 'iwae'.

    Raises
    ------
    ValueError
        If an argument is not of this kind; the message names it.
    """

    def __init__(self, model: Model, importance: int = 5, objective: str = "iwae", estimator: str = "plain") -> None:
        self.K, self.objective = check.size("importance", importance), check.choice("objective", objective, OBJECTIVES)
        self.estimator = check.choice("estimator", estimator, ESTIMATORS)
        if not isinstance(model, (VAE, HVAE)):
            raise ValueError("model must be a VAE, an HVAE or a TopDown to be trained with more than one draw of z for "
                             f"each example, or with importance weights; got {check.shown(model)}")
        if objective == "elbo" and estimator != "plain":
            raise ValueError(f"estimator must be 'plain' for objective 'elbo'; got {estimator!r}, which is of "
                             "objective 'iwae' (with importance 1 that is the ELBO, too)")
        if objective == "iwae" and getattr(model, "consistency", "sampled") == "analytic":
            raise ValueError("objective must be 'elbo' for a model with consistency='analytic', the printed form, "
                             "which is not the bound of any weights; got 'iwae'")
        self.model = model
        self.asked_once = asked_once(model, self.K) if self.K > 1 else model

    def check_beta(self, beta: ArrayLike) -> Array:
        """Return beta as one number for each level, or raise a ValueError."""
        checked = self.model.check_beta(beta)
        if self.estimator == "doubly" and np.ptp(checked) > 0:
            raise ValueError("beta must be one number for all levels with the estimator 'doubly'; "
                             f"got {check.shown(beta)}")
        return checked

    def draw_noise(self, n: int, rng: np.random.Generator) -> Any:
        """Draw the noise of n K rows; the K of an example follow each other."""
        return self.model.draw_noise(n * self.K, rng)

    def bound(self, x: Array, noise: Any) -> tuple[ELBO, Cache]:
        """Return the bound at each of the n K draws, whose parts have n K rows, and a cache.  MATH (14.2).

        Parameters
        ----------
        x : array of shape (n, x_dim)
        noise : array, or list of arrays
            From `draw_noise`.
        """
        rows = np.repeat(x, self.K, axis=0)                                     # (n K, D)
        elbo, cache = (self.asked_once.bound(rows, noise, drawn=True) if self.objective == "iwae" else
                       self.asked_once.bound(rows, noise))
        return elbo, (elbo, cache)

    def value(self, elbo: ELBO, beta: ArrayLike = 1.0, alpha: float = 1.0) -> tuple[Array, Array]:
        """Return the objective of each example, of shape (n,), and its derivatives by log w, of shape (n, K).

        log w = alpha · reconstruction - Σₜ beta_t · kl_t, which for alpha = beta = 1 is the total.  MATH (14.1).
        """
        log_w = alpha * elbo.reconstruction - (np.asarray(beta) * elbo.kl).sum(axis=1)
        log_w = log_w.reshape(-1, self.K)
        if self.objective == "elbo":
            return log_w.mean(axis=1), np.full_like(log_w, 1 / self.K)
        L, cache = log_mean_exp(log_w)
        return L, log_mean_exp_backward(np.ones_like(L), cache)

    def backward(self, cache: Cache, beta: ArrayLike = 1.0, alpha: float = 1.0) -> None:
        """Fill the model's ``gradient`` with that of minus the mean of `value`.  MATH (14.3), (14.4), (14.5)."""
        elbo, model_cache = cache
        beta = self.check_beta(beta)
        _, w_tilde = self.value(elbo, beta, alpha)
        to_q = None
        if self.estimator == "landing":
            to_q = np.ones_like(w_tilde).ravel()
        elif self.estimator == "doubly":
            to_q = (1 - beta[-1] * (1 - w_tilde)).ravel()                       # w̃ for beta = 1
        self.asked_once.backward(model_cache, beta, alpha, weight=self.K * w_tilde.ravel(), to_q=to_q)

    def gradient(self, x: Array, rng: np.random.Generator, beta: ArrayLike = 1.0, max_rows: int = 4096) -> ELBO:
        """Draw noise, fill the model's ``gradient``, and return the bound's parts, of n rows: means over the draws.

        At most max_rows rows (but K at least) pass through the networks at once, so that memory does not
        grow with n K.  MATH (14.1).
        """
        step, parts = max(1, max_rows // self.K), []
        total = np.zeros_like(self.model.gradient) if step < len(x) else None
        for first in range(0, len(x), step):
            block = x[first:first + step]
            elbo, cache = self.bound(block, self.draw_noise(len(block), rng))
            self.backward(cache, beta)
            parts.append(np.column_stack([elbo.reconstruction, elbo.kl]).reshape(len(block), self.K, -1).mean(axis=1))
            if total is not None:
                total += len(block) / len(x) * self.model.gradient
        if total is not None:
            self.model.gradient[:] = total
        means = np.concatenate(parts)
        return ELBO(means[:, 0], means[:, -1], means[:, 1:-1])


class Once:
    """A network of which each K rows are alike: it is asked once for them, and its answer is repeated.  MATH (14.6)."""

    def __init__(self, network: MLP, K: int) -> None:
        self.network, self.K = network, K

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """Return y of shape (n K, n_out), from x of shape (n K, n_in)."""
        y, cache = self.network.forward(x[::self.K])
        return np.repeat(y, self.K, axis=0), cache

    def backward(self, dy: Array, cache: Cache, input_gradient: bool = True) -> Array:
        """Set the gradients from the sum over the K uses; return dx, each of the K rows its part."""
        dx = self.network.backward(dy.reshape(-1, self.K, dy.shape[1]).sum(axis=1), cache, input_gradient)
        return np.repeat(dx / self.K, self.K, axis=0)


def asked_once(model: VAE | HVAE, K: int) -> Any:
    """Return the model, sharing all it has, but with `Once` around the networks of q that see x alone.  MATH (14.6)."""
    twin: Any = object.__new__(type(model))            # copy.copy would lay out its parameters anew
    twin.__dict__.update(model.__dict__)
    if isinstance(model, VAE):
        twin.q = Once(model.q, K)
    else:
        of_x = model.q if isinstance(model, TopDown) else {1: model.q[1]}
        twin.q = {**model.q, **{t: Once(q, K) for t, q in of_x.items()}}
    return twin
