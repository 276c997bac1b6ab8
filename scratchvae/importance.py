"""Training on the importance-weighted bound: K draws for each x, and the gradient in three forms.

    L_K = E[ log (1/K) Σₖ w_k ],     w_k = p(x, z_k) / q(z_k | x),     z_1, ..., z_K ~ q(z | x)

L_1 is the ELBO, and L_K rises to log p(x) as K grows: MATH (5.5).  Burda et al. 2016
(arXiv 1509.00519).  The models' own bound and backward do the work, on K rows for each x:

- q and p are compared at the draw (`LogRatio`), so that the total of a row is log w_k;
- the derivative of a log of a mean of exponentials is the *normalised weights*,
  w̃_k = w_k / Σⱼ w_j, and these weigh the rows.

p's gradient is Σₖ w̃_k ∇log p(x, z_k).  q's parameters enter log w_k in two ways, as those of
the density q(z_k | x) and through z_k, and q's gradient has three forms (``estimator=``).  (Top
down, p's networks are part of q as well.)

``"plain"``: both ways.  MATH (14.3).

``"stl"``: through z_k alone.  What is left out has the mean 0 for K = 1, and where q is
the posterior the rest is 0 for every draw.  For K > 1 it is biased.  Sticking the landing,
Roeder et al. 2017 (arXiv 1703.09194).  MATH (14.4).

``"dreg"``: through z_k alone, with the weights w̃_k².  Unbiased for every K, and the
signal-to-noise ratio grows with K.  Doubly reparameterised, Tucker et al. 2018
(arXiv 1810.04152).  MATH (14.5).

Where a framework calls stop_gradient, we subtract: the whole gradient, minus the direct gradient of log q at a z
that is held still.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import check
from .compare import KL, ExactDraw, LogRatio, StandardKL
from .hvae import HVAE
from .layers import Array, Cache
from .mlp import MLP
from .objective import ELBO, ELBOGradient
from .topdown import TopDown, merge_backward
from .vae import VAE

OBJECTIVES = ("elbo", "iwae")
ESTIMATORS = ("plain", "stl", "dreg")


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
    largest = log_w.real.max(axis=1, keepdims=True)    # (14.1)
    w = np.exp(log_w - largest)                        # (n, K): none above 1   (14.1)
    total = w.sum(axis=1, keepdims=True)               # (14.1)
    return (largest + np.log(total / log_w.shape[1]))[:, 0], w / total  # (14.1)


def log_mean_exp_backward(dL: Array, cache: Array) -> Array:
    """Return dlog_w: ∂L/∂log w_k = w̃_k, the normalised weight.  MATH (14.1)."""
    w_tilde = cache
    return dL[:, None] * w_tilde                       # (14.1)


def log_q_backward(model: Any, delbo: ELBOGradient, cache: Cache) -> None:
    """Fill in the gradient of log q(z | x) alone, each z held still: the direct gradient.  MATH (14.4).

    The gradients of other parameters stay as they are.  Top down, p's networks are part of q as well, by the merge.
    """
    if isinstance(model, VAE):
        q_cache, _, _, _, k_cache = cache
        _, dq, _ = model.compare.backward(delbo.dprior_matching, k_cache)       # (n, 2 d)
        model.q.backward(dq, q_cache, False)
        return
    dq, dkl = {}, delbo.dkl
    for t in model.levels:
        _, dq[t], _ = model.compare[t].backward(dkl[:, t - 1], cache["k", t])   # (n, 2 d_t)
        if isinstance(model, TopDown) and t < model.T:
            dq[t], dp = merge_backward(dq[t], cache["m", t])                    # (n, 2 d_t) each
            model.p[t + 1].backward(dp, cache["p", t + 1], False)
    if isinstance(model, TopDown):
        model.up_backward(dq, cache, False)
    else:
        for t in model.levels:
            model.q[t].backward(dq[t], cache["q", t], False)


def log_p_backward(model: Any, delbo: ELBOGradient, cache: Cache) -> None:
    """Fill in the gradient of log p(x, z) alone, each z held still.  MATH (14.5)."""
    if isinstance(model, VAE):
        _, _, p_cache, r_cache, _ = cache
        _, dh = model.likelihood.log_prob_backward(delbo.dreconstruction, r_cache)          # (n, n_outputs)
        model.p.backward(dh, p_cache, False)
        return
    dkl = delbo.dkl
    _, dp = model.likelihood.log_prob_backward(delbo.dreconstruction, cache["r"])           # (n, n_outputs)
    for t in model.levels:
        model.p[t].backward(dp, cache["p", t], False)
        _, _, dp = model.compare[t].backward(dkl[:, t - 1], cache["k", t])      # (n, 2 d_t)


class Importance:
    """K draws for each example of a model: noise, bound and backward as a model has them.  MATH (14.1), (14.7).

    Parameters
    ----------
    model : VAE, HVAE or TopDown; for 'elbo', any model
        Its ``gradient`` is what `backward` fills.
    n_samples : int, default 5
        K, draws of z for each example.
    objective : {'iwae', 'elbo'}, default 'iwae'
        L_K, or the ELBO as a mean over K draws.
    estimator : {'plain', 'stl', 'dreg'}, default 'plain'
        The form of q's gradient, for 'iwae'.

    Raises
    ------
    ValueError
        If an argument is not of this kind; the message names it.
    """

    def __init__(self, model: Any, n_samples: int = 5, objective: str = "iwae", estimator: str = "plain") -> None:
        self.K, self.objective = check.size("n_samples", n_samples), check.choice("objective", objective, OBJECTIVES)
        self.estimator = check.choice("estimator", estimator, ESTIMATORS)
        check.model("model", model, ("draw_noise", "bound", "backward"))
        if objective == "elbo" and self.estimator != "plain":
            raise ValueError(f"estimator must be 'plain' for objective 'elbo'; got {estimator!r}, which is of "
                             "objective 'iwae' (with n_samples 1 that is the ELBO, too)")
        if objective == "iwae" and not is_known(model):
            raise ValueError(f"objective must be 'elbo' for a {type(model).__name__}, which has a bound of its own: "
                             "importance weights need the bound of VAE, HVAE or TopDown; got 'iwae'")
        parts = model.compare.values() if isinstance(model, HVAE) else [getattr(model, "compare", None)]
        own = [type(part).__name__ for part in parts if type(part) not in (KL, StandardKL, ExactDraw, LogRatio)]
        if objective == "iwae" and own:
            raise ValueError(f"objective must be 'elbo' for a model that compares q and p by a {own[0]}: "
                             "importance weights are log p - log q at the draw; got 'iwae'")
        if objective == "iwae" and getattr(model, "consistency", None) == "printed":
            raise ValueError("objective must be 'elbo' for a model with consistency='printed', "
                             "which is not the bound of any weights; got 'iwae'")
        self.model, self.twin = model, twin_of(model, self.K, objective) if is_known(model) else model

    def check_beta(self, beta: ArrayLike) -> Array:
        """Return beta as one number for each level, or raise a ValueError."""
        checked = check.by_level("beta", beta, len(self.model.latent_dims), self.model.theta.dtype)
        if self.estimator == "dreg" and np.ptp(checked) > 0:
            raise ValueError("beta must be one number for all levels with the estimator 'dreg'; "
                             f"got {check.shown(beta)}")
        return checked

    def draw_noise(self, n: int, rng: np.random.Generator) -> Any:
        """Draw the noise of n K rows, the K rows of an example together."""
        return self.model.draw_noise(n * self.K, rng)

    def bound(self, x: Array, noise: Any) -> tuple[ELBO, Cache]:
        """Return the bound at each of the n K draws, whose parts have n K rows, and a cache.  MATH (14.2).

        Parameters
        ----------
        x : array of shape (n, x_dim)
        noise : array, or list of arrays
            From `draw_noise`.
        """
        elbo, cache = self.twin.bound(np.repeat(x, self.K, axis=0), noise)      # n K rows
        return elbo, (elbo, cache)

    def value(self, elbo: ELBO, beta: ArrayLike = 1.0, alpha: float = 1.0) -> tuple[Array, Array]:
        """Return L and w_tilde: the objective of each example, (n,), and its derivatives by log w, (n, K).

        log w = alpha · reconstruction - Σₜ beta_t · kl_t, which for alpha = beta = 1 is the total.  MATH (14.1).
        """
        log_w = elbo.weighted(beta, alpha).reshape(-1, self.K)  # (14.1)
        if self.objective == "elbo":
            return log_w.mean(axis=1), np.full_like(log_w, 1 / self.K)
        L, cache = log_mean_exp(log_w)                 # (14.1)
        return L, log_mean_exp_backward(np.ones_like(L), cache)  # (14.1)

    def backward(self, cache: Cache, beta: ArrayLike = 1.0, alpha: float = 1.0) -> None:
        """Fill the model's ``gradient`` with that of minus the mean of `value`.  MATH (14.3), (14.4), (14.5)."""
        (elbo, cache), beta = cache, self.check_beta(beta)
        _, w_tilde = self.value(elbo, beta, alpha)                         # (n, K)   (14.1)
        dlog_w = (-w_tilde / len(w_tilde)).ravel()                         # (n K,): the loss is the mean of -L   (14.3)
        to_z = dlog_w                                                      # what reaches q through z
        if self.estimator == "dreg":
            to_z = dlog_w * (1 - beta[-1] * (1 - w_tilde.ravel()))         # w̃ once more, for beta = 1
        self.twin.backward(elbo.weighted_backward(to_z, beta, alpha), cache)  # (14.3)
        if self.estimator != "plain":                                      # no direct gradient of log q
            self.subtract(log_q_backward, elbo.weighted_backward(to_z, beta, alpha), cache)
        if self.estimator == "dreg":                                       # and p learns from all of dlog_w
            self.subtract(log_p_backward, elbo.weighted_backward(to_z - dlog_w, beta, alpha), cache)

    def subtract(self, backward: Callable[[Any, ELBOGradient, Cache], None], delbo: ELBOGradient, cache: Cache) -> None:
        """Subtract from ``gradient`` what this backward fills it with."""
        total = self.model.gradient.copy()
        self.model.gradient[:] = 0
        backward(self.twin, delbo, cache)
        self.model.gradient[:] = total - self.model.gradient

    def gradient(self, x: Array, rng: np.random.Generator, beta: ArrayLike = 1.0, max_rows: int = 4096) -> ELBO:
        """Draw noise, fill the model's ``gradient``, and return the bound's parts, of n rows: means over the draws.

        At most max_rows rows (but K at least) pass through the networks at once, so that memory does not
        grow with n K.  MATH (14.1).
        """
        step, parts, beta = max(1, max_rows // self.K), [], self.check_beta(beta)           # before anything is drawn
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


class StandardLogRatio(LogRatio):
    """log q(z) - log N(z; 0, I): the comparison of a VAE at the draw.  MATH (14.2)."""

    def forward(self, z: Array, q: Array, p: Array) -> tuple[Array, Cache]:
        """Return it for each row, of shape (n,), in nats; p is not used."""
        return super().forward(z, q, np.zeros_like(q))


class SharedInput:
    """A network whose input has the same K rows for each example: evaluate it once, repeat its output.  MATH (14.6)."""

    def __init__(self, network: MLP, K: int) -> None:
        self.network, self.K = network, K

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """Return y of shape (n K, n_out), from x of shape (n K, n_in)."""
        y, cache = self.network.forward(x[::self.K])   # (14.6)
        return np.repeat(y, self.K, axis=0), cache     # (14.6, repeat)

    def backward(self, dy: Array, cache: Cache, input_gradient: bool = True) -> Array:
        """Set the gradients from the sum over the K uses; return dx, each of the K rows its part."""
        dx = self.network.backward(dy.reshape(-1, self.K, dy.shape[1]).sum(axis=1), cache, input_gradient)      # (14.6)
        return np.repeat(dx / self.K, self.K, axis=0)  # (14.6, repeat)


def is_known(model: Any) -> bool:
    """Return whether a model's bound and backward are those of VAE, HVAE or TopDown."""
    return any(getattr(type(model), "bound", None) is known.bound and type(model).backward is known.backward
               for known in (VAE, HVAE, TopDown))


def twin_of(model: VAE | HVAE, K: int, objective: str) -> Any:
    """Return a twin that shares all a model has, but takes K draws of each row.

    The networks of q that see x alone are evaluated once for them, see `SharedInput`; for 'iwae', q and p are
    compared at the draw.  MATH (14.2), (14.6).
    """
    twin: Any = object.__new__(type(model))            # copy.copy would lay out its parameters anew
    twin.__dict__.update(model.__dict__)
    if isinstance(model, HVAE):
        of_x = model.q if isinstance(model, TopDown) else {1: model.q[1]}
        twin.q = {**model.q, **{t: SharedInput(q, K) for t, q in of_x.items()}}
    else:
        twin.q = SharedInput(twin.q, K)
    if objective == "iwae":
        twin.compare = StandardLogRatio() if isinstance(model, VAE) else dict.fromkeys(model.levels, LogRatio())
    return twin
