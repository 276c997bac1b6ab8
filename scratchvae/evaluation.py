"""How good is a model?  The parts of its bound, the use of its levels, and log p(x)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import check
from .layers import Array
from .model import ELBO, Model


@dataclass
class Evaluation:
    """What `evaluate` found; print it as a table.

    Attributes
    ----------
    elbo : ELBO
        Its parts for each example, averaged over draws, in nats.
    log_likelihood : array of shape (n,)
        Importance-sampled log p(x), in nats.
    n_samples : int
        The number of importance samples behind it.
    active_units : list of T int
        For each level, in how many of its latents mu moves with x.
    """

    elbo: ELBO
    log_likelihood: Array
    n_samples: int
    active_units: list[int]

    @property
    def standard_error(self) -> float:
        """The standard error of the mean of log_likelihood over the examples."""
        return float(self.log_likelihood.std(ddof=1) / np.sqrt(len(self.log_likelihood)))

    def __str__(self) -> str:
        levels = [f"level {t}: KL {kl:.2f} nats, {active} active units"
                  for t, (kl, active) in enumerate(zip(self.elbo.kl.mean(axis=0), self.active_units), start=1)]
        bound = (f"log p(x)        {self.log_likelihood.mean():10.3f} nats"
                 f"  (standard error {self.standard_error:.3f}, {self.n_samples} importance samples)")
        return "\n".join([str(self.elbo), bound, *levels])


def evaluate(model: Model, x: Any, *, n_samples: int = 1000, n_draws: int = 10, rng: Any = 0,
             batch_size: int = 1000) -> Evaluation:
    """Measure a model on data.

    Parameters
    ----------
    model : VAE or HVAE
    x : array of shape (n, x_dim), n >= 2
    n_samples : int, default 1000
        Importance samples for log p(x).
    n_draws : int, default 10
        Draws of noise over which the parts of the bound are averaged.
    rng : numpy.random.Generator or int, default 0
        The source of randomness, or a seed.
    batch_size : int, default 1000
        So many examples pass through the networks at once.

    Returns
    -------
    Evaluation

    Notes
    -----
    A latent counts as active if the variance over x of its mean,
    Var_x( E_q[z | x] ), is above 0.01 (Burda et al. 2016, section 5.2).  In a
    hierarchy that mean is taken at the means of the levels below.
    """
    x, rng = model.check_x(x), check.generator("rng", rng)
    check.size("n_draws", n_draws)
    if len(x) < 2:
        raise ValueError(f"x must have at least 2 rows to evaluate on; got {len(x)}")
    batches = [x[start:start + batch_size] for start in range(0, len(x), check.size("batch_size", batch_size))]
    draws = []
    for _ in range(n_draws):
        elbos = [model.forward(batch, model.draw_noise(len(batch), rng))[0] for batch in batches]
        draws.append([np.concatenate([getattr(elbo, part) for elbo in elbos]).astype(float)
                      for part in ("reconstruction", "prior_matching", "consistency")])
    elbo = ELBO(*(np.mean(part, axis=0) for part in zip(*draws)))
    encoded = [model.encode(batch) for batch in batches]
    levels = zip(*(e if isinstance(e, list) else [e] for e in encoded))         # the VAE has one level: no list
    active = [int((np.concatenate([mu for mu, _ in level]).var(axis=0) > 0.01).sum()) for level in levels]
    return Evaluation(elbo, model.log_likelihood(x, n_samples, rng), n_samples, active)
