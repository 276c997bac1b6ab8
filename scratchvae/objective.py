"""The lower bound on log p(x) in its parts, and the loss: what is minimised, and its gradient by each part.

A model computes the parts of the bound and, given d(loss)/d(each part), the gradient by its parameters.  What
the loss makes of the parts is here: the weights beta and alpha, the mean over the batch, free bits.  Importance
weights are another loss of the same parts: see importance.py.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from . import check
from .layers import Array


@dataclass
class ELBOGradient:
    """The gradient of a loss by each part of the bound: what a model's ``backward`` takes.

    Attributes
    ----------
    dreconstruction, dprior_matching : array of shape (n,)
    dconsistency : array of shape (n, T - 1)
    """

    dreconstruction: Array
    dprior_matching: Array
    dconsistency: Array

    @property
    def dkl(self) -> Array:
        """The gradient by each level's share of the KL, of shape (n, T), in the order of `ELBO.kl`."""
        return np.concatenate([self.dconsistency, self.dprior_matching[:, None]], axis=1)       # (5.4, parts)


@dataclass
class ELBO:
    """The evidence lower bound on log p(x) at one draw of the latents, in its three parts, in nats.

    The latents are z_1, ..., z_T, with z_0 = x; a VAE has one level, T = 1.  The
    bound is the mean over draws: a single draw may lie above log p(x).  Each part
    is summed over dimensions and kept for each example; the mean over the batch
    is taken once, in `loss`.  (An autoencoder fills only the reconstruction, which is
    not a bound; the printed form of consistency makes it another bound: see hvae.py.)

    Attributes
    ----------
    reconstruction : array of shape (n,)
        log p(x | z_1).
    prior_matching : array of shape (n,)
        KL( q(z_T | z_{T-1}) || p(z_T) ).
    consistency : array of shape (n, T - 1)
        Column t - 1 is log q(z_t | z_{t-1}) - log p(z_t | z_{t+1}), in one of the
        forms of compare.py.  A VAE has no such column.  This q is that of hvae.py; topdown.py
        has another q.  In diffusion.py one column is the sum over the levels.
    """

    reconstruction: Array
    prior_matching: Array
    consistency: Array

    @property
    def kl(self) -> Array:
        """Each level's share of the KL, (n, T): consistency 1, ..., T - 1, then prior matching.  MATH (5.4)."""
        return np.concatenate([self.consistency, self.prior_matching[:, None]], axis=1)  # (5.4)

    @property
    def total(self) -> Array:
        """The whole, of shape (n,): reconstruction - prior matching - consistency.  MATH (5.3), (7.2)."""
        return self.reconstruction - self.kl.sum(axis=1)

    def weighted(self, beta: ArrayLike, alpha: float) -> Array:
        """Return alpha · reconstruction - Σₜ beta_t · kl_t, of shape (n,).  MATH (5.4)."""
        return alpha * self.reconstruction - (np.asarray(beta, self.kl.dtype) * self.kl).sum(axis=1)    # (5.4)

    def weighted_backward(self, dweighted: Array, beta: Array, alpha: float) -> ELBOGradient:
        """Return delbo, the gradient by each part, given that by `weighted`; beta has shape (T,).  MATH (5.4)."""
        dkl = -beta * dweighted[:, None]                                        # (n, T)   (5.4, weighted)
        return ELBOGradient(alpha * dweighted, dkl[:, -1], dkl[:, :-1])  # (5.4, weighted)

    def loss(self, beta: ArrayLike = 1.0, alpha: float = 1.0) -> np.number:
        """Return the mean over the batch of -`weighted`; with alpha = beta = 1, of -`total`.

        MATH (5.4).

        Parameters
        ----------
        beta : float or array of shape (T,), default 1
            Weight of the KL parts, or of each level's: consistency 1, ..., T - 1, then prior matching.
        alpha : float, default 1
            Weight of the reconstruction.
        """
        return -self.weighted(beta, alpha).mean()      # (5.4)

    def loss_backward(self, beta: ArrayLike = 1.0, alpha: float = 1.0, n: int | None = None) -> ELBOGradient:
        """Return delbo: -alpha/n for the reconstruction, beta_t/n for the KL of level t.  MATH (5.4).

        Parameters
        ----------
        beta, alpha
            As for `loss`.
        n : int, optional
            Rows of the whole batch, where these are a share of it.  By default as many as there are here.
        """
        rows, T, dtype = len(self.consistency), self.consistency.shape[1] + 1, self.consistency.dtype
        n = rows if n is None else n
        dreconstruction = np.full(rows, -check.alpha(alpha) / n, dtype)         # (n,)   (5.4)
        dkl = np.full((rows, T), check.by_level("beta", beta, T, dtype) / n)    # (n, T)   (5.4)
        return ELBOGradient(dreconstruction, dkl[:, -1], dkl[:, :-1])

    def __str__(self) -> str:
        c = {f"consistency {t}": column for t, column in enumerate(self.consistency.T, start=1)}
        rows = {"reconstruction": self.reconstruction, "prior matching": self.prior_matching, **c, "ELBO": self.total}
        return "\n".join(f"{name:<15} {value.real.mean():10.3f} nats" for name, value in rows.items())


def with_free_bits(beta: ArrayLike, kl: Array, free_bits: ArrayLike) -> Array:
    """Return beta, with 0 for each level whose KL is within its free bits.

    Kingma et al. 2016 (arXiv 1606.04934), equation 15, each level being a group.  MATH (5.4).

    Parameters
    ----------
    beta, kl, free_bits : float or array of shape (T,)
        kl is the mean over the batch; kl and free_bits in nats.
    """
    return np.where(kl > free_bits, beta, 0.0)
