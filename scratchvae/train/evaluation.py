"""How good is a model?  The parts of its bound, log p(x), and which of its latents do anything."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, TextIO

import numpy as np

from .. import check, gaussian
from ..conditions import Conditional
from ..diffusion import Diffusion
from ..hvae import HVAE
from ..layers import Array
from ..model import Model
from ..objective import ELBO
from ..schedule import MANY
from ..topdown import TopDown
from ..vae import VAE
from .losses import sums
from .progress import Progress
from .state import stream

ACTIVE = 0.01                                          # of variance, or nats


def by_name(means: Array) -> dict[str, float]:
    """Return the bound and its parts by name, from the reconstruction and each level's KL."""
    reconstruction, *consistency, prior_matching = map(float, means)
    return {"elbo": reconstruction - sum(consistency) - prior_matching, "reconstruction": reconstruction,
            "prior_matching": prior_matching, **{f"consistency_{t}": kl for t, kl in enumerate(consistency, start=1)}}


def held_out(model: Model, x: Array, seed: int, batch_size: int = 1000) -> dict[str, float]:
    """Return the bound and its parts, means over the rows, with the same noise each time: only the model moves them.

    A diffusion is measured at ten levels of each row, one from each tenth of them: one level alone, though
    right in the mean, would put the bound off by a nat.
    """
    draws = 10 if isinstance(model, Diffusion) else 1
    total, rng = np.zeros(1 + len(model.latent_dims)), stream(seed, "held out")
    for first in range(0, len(x), batch_size):
        batch = x[first:first + batch_size]
        for k in range(draws):
            noise = model.draw_noise(len(batch), rng)
            if draws > 1:
                noise[0] = (k + noise[0]) / draws      # the time, from the k-th tenth
            total += sums(model.bound(batch, noise)[0])
    return by_name(total / (draws * len(x)))


@dataclass
class Evaluation:
    """What `evaluate` found; print it as a table, or take it `as_dict`.

    Attributes
    ----------
    elbo : ELBO
        Its parts for each example, averaged over draws, in nats.
    log_likelihood : array of shape (n,)
        Importance-sampled log p(x), in nats.
    n_samples : int
        The number of importance samples behind it.
    variances : list of T arrays of shape (d_t,)
        How far each latent's mean moves with x: Var_x( E_q[z | x] ).
    kls : list of T arrays of shape (d_t,)
        What each latent costs, in nats: its KL( q || p ), a mean over x.
    log_p_levels : int, optional
        Of a diffusion with T = np.inf, the number of levels that log_likelihood is measured with.  The bound is
        that of infinitely many; so the two are of different models.
    """

    elbo: ELBO
    log_likelihood: Array
    n_samples: int
    variances: list[Array]
    kls: list[Array]
    log_p_levels: int | None = None

    @property
    def active_units(self) -> list[int]:
        """The latents of each level whose mean moves with x: a variance above 0.01."""
        return [int((variance > ACTIVE).sum()) for variance in self.variances]

    @property
    def active_units_kl(self) -> list[int]:
        """The latents of each level that cost more than 0.01 nats."""
        return [int((kl > ACTIVE).sum()) for kl in self.kls]

    @property
    def levels(self) -> list[dict[str, Any]]:
        """What is known of each level, by name; of one row alone no active units."""
        columns = (self.kls, self.elbo.kl.mean(axis=0), self.active_units, self.active_units_kl)
        return [{"level": t, "latents": len(kls), "kl": float(kl),
                 **({"active_units": active, "active_units_kl": active_kl} if len(self.log_likelihood) > 1 else {})}
                for t, (kls, kl, active, active_kl) in enumerate(zip(*columns), start=1)]

    def as_dict(self) -> dict[str, Any]:
        """Return the means over the examples, and the levels, as JSON can hold them."""
        return {"examples": len(self.log_likelihood), "importance_samples": self.n_samples,
                **({} if self.log_p_levels is None else {"log_likelihood_levels": self.log_p_levels}),
                **by_name(sums(self.elbo) / len(self.log_likelihood)),
                "log_likelihood": float(self.log_likelihood.mean()),
                "elbo_standard_error": standard_error(self.elbo.total),
                "log_likelihood_standard_error": standard_error(self.log_likelihood), "levels": self.levels}

    def __str__(self) -> str:
        through = f" of {self.log_p_levels} levels; the bound is for infinitely many" if self.log_p_levels else ""
        error = f"standard error {standard_error(self.log_likelihood):.3f}, " * (len(self.log_likelihood) > 1)
        bound = (f"log p(x)        {self.log_likelihood.mean():10.3f} nats"
                 f"  ({error}{self.n_samples} importance samples{through})")
        active = "; of {latents} latents, {active_units} active by variance, {active_units_kl} by their own KL"
        levels = [("level {level}: KL {kl:.2f} nats" + active * ("active_units" in level)).format(**level)
                  for level in self.levels]
        return "\n".join([str(self.elbo), bound, *levels])


def standard_error(values: Array) -> float:
    """Return the standard error of the mean of independent values; NaN of one alone."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.nan


def units(model: Any, x: Array, rng: np.random.Generator) -> tuple[list[Array], list[Array]]:
    """Draw z ~ q(z | x) once; return what q and p say of each latent.

    Parameters
    ----------
    model : VAE, HVAE or TopDown
    x : array of shape (n, x_dim)
    rng : numpy.random.Generator

    Returns
    -------
    mu : list of T arrays of shape (n, d_t)
        The mean of q(z_t | z_{t-1}), or of q(z_t | z_{t+1}, x).
    kl : list of T arrays of shape (n, d_t)
        KL( q(z_t | z_{t-1}) || p(z_t | z_{t+1}) ) of each latent alone, or that of q(z_t | z_{t+1}, x).
    """
    if isinstance(model, TopDown):
        levels = model.down(model.up(x), model.draw_noise(len(x), rng))
        q, p = zip(*(levels[t][1:] for t in model.levels))
    else:
        z, q = [x], []
        for t, d in enumerate(model.latent_dims, start=1):     # up
            q.append(model.networks[f"q{t}"].forward(z[-1])[0])
            z.append(gaussian.draw(q[-1], model.normal(rng, len(x), d))[0])
        p = [model.networks[f"p{t}"].forward(z[t])[0] for t in range(2, len(z))] + [np.zeros_like(q[-1])]      # N(0, I)
    pairs = [(*gaussian.halves(of_q), *gaussian.halves(of_p)) for of_q, of_p in zip(q, p)]
    kl = [gaussian.kl(*(a.reshape(-1, 1) for a in pair))[0] for pair in pairs]         # each entry a row: no sum
    return [mu for mu, *_ in pairs], [of_level.reshape(mu.shape) for of_level, (mu, *_) in zip(kl, pairs)]


def measure(model: Any, x: Array, rng: np.random.Generator, n_samples: int,
            n_draws: int) -> tuple[Array, Array, list[Array]]:
    """Return the parts of the bound of each row, (n, T + 1), its log p(x), and sums over x for each latent, (4, d_t).

    These are of a, b, a·b, where a and b are its mean over one half of the draws and over the other, and of its KL.
    """
    parts = np.zeros((len(x), 1 + len(model.latent_dims)))     # reconstruction, and KL of each level
    seen, alone = model.split(x) if isinstance(model, Conditional) else (model, x)
    if isinstance(seen, Diffusion):                    # one draw of all levels; the KLs below the top are summed
        elbo = seen.bound_by_level(alone, rng)
        parts[:, 0], parts[:, -1] = elbo.reconstruction, elbo.prior_matching
        parts[:, 1:-1] = elbo.consistency.sum(axis=1, keepdims=True)
        return parts, model.log_likelihood(x, n_samples, rng), []
    for _ in range(n_draws):
        elbo = seen.forward(alone, seen.draw_noise(len(alone), rng))[0]
        parts += np.column_stack([elbo.reconstruction, elbo.kl]) / n_draws
    unit_draws = max(2, n_draws)                       # two means need two
    means, kls = [np.zeros((2, len(x), d)) for d in model.latent_dims], [np.zeros(d) for d in model.latent_dims]
    for draw in range(unit_draws):
        for mu, kl, mean, total in zip(*units(seen, alone, rng), means, kls):
            mean[draw % 2] += mu / ((unit_draws + 1 - draw % 2) // 2)          # of each half of the draws
            total += kl.sum(axis=0) / unit_draws
    of_latents = [np.array([*mean.sum(axis=1), mean.prod(axis=0).sum(axis=0), kl]) for mean, kl in zip(means, kls)]
    return parts, model.log_likelihood(x, n_samples, rng), of_latents


def evaluate(model: VAE | HVAE | Diffusion, x: Any, *, n_samples: int = 1000, n_draws: int = 10, rng: Any = 0,
             batch_size: int = 1000, progress: bool | TextIO | None = False,
             workers: int | str | None = None) -> Evaluation:
    """Measure a model on data.

    Parameters
    ----------
    model : VAE, HVAE, TopDown or Diffusion, or one of these that is Conditional
        The latents of a diffusion are x with noise, so none is active or inactive: they are
        left out, and its bound, over all levels, is drawn once.
    x : array of shape (n, x_dim)
        Of one row alone, n = 1, nothing says which latents are active.
    n_samples : int, default 1000
        Importance samples for log p(x).
    n_draws : int, default 10
        Draws of z over which everything else is averaged.
    rng : numpy.random.Generator or int, default 0
        The source of randomness, or a seed.
    batch_size : int, default 1000
        At most this many examples at once, so that memory is bounded.
    progress : bool or text stream, default False
        Where to show the progress, as in `fit`.
    workers : int or 'auto', optional
        The number of processes, of one BLAS thread each, that look at batches of examples, each batch with noise
        of its own: the numbers are the same for any number of them, and other draws than without workers.
        'auto' is one for each core.

    Returns
    -------
    Evaluation

    Notes
    -----
    Two definitions of an active unit are in use, and both are reported.

    *Variance.*  Its mean moves with x: Var_x( E_q[z | x] ) > 0.01 (Burda et al.
    2016, section 5.2).  Above level 1 (top down: below level T), E_q[z_t | x] is a
    mean over draws of the level before it, and a variance of noisy means would count their noise as well.  So
    the draws make two means with noise of their own each, and the variance is
    their covariance over x, which is free of that bias (it may be negative
    where it should be 0).  What is left is noise: for a latent that carries only
    noise, of variance s², some 2 s² / (n_draws √n).

    *KL.*  It costs more than 0.01 nats: KL( q(z_t | z_{t-1}) || p(z_t | z_{t+1}) )
    of this latent alone, in closed form, a mean over x and the draws.  For the
    VAE and at the top of a hierarchy p is N(0, 1), and the sum over latents is
    prior matching.  Below the top it is the printed form of consistency, whatever
    the model was trained with: for one latent, that form is never negative, and
    it is 0 only if the latent does nothing but what the level above expects.
    A draw of the exact form may be negative, and its mean too.  (Top down there is one form, and the sum over latents
    is consistency at any level.)  The price: a latent that only carries noise, for
    the level above to know it again, counts as active here, and not above.
    """
    inner = model.model if isinstance(model, Conditional) else model
    if not isinstance(inner, (VAE, HVAE, Diffusion)):
        raise ValueError(f"model must be a VAE, an HVAE or a Diffusion; got {check.shown(model)}")
    if np.iscomplexobj(model.theta):
        raise ValueError(f"model must be float32 or float64, as model.astype(np.float32) is; got {model.dtype}")
    if not np.isfinite(model.theta).all():
        raise ValueError("model must have finite parameters to be evaluated; some are infinite or NaN")
    x, rng = model.check_x(x), check.generator("rng", rng)
    n_draws, n_samples = check.size("n_draws", n_draws), check.size("n_samples", n_samples)
    n, rows = len(x), min(check.size("batch_size", batch_size), max(1, 50_000 // n_samples))
    from .processes import by_batches                  # multiprocessing takes its time
    batches = [x[first:first + rows] for first in range(0, n, rows)]
    with Progress("example", n, progress) as line:
        answers = by_batches(partial(measure, model, n_samples=n_samples, n_draws=n_draws), batches, rng, workers,
                             lambda count: line.update(min(count * rows, n)))
    parts, log_likelihood = (np.concatenate(of_batches) for of_batches in list(zip(*answers))[:2])
    latents = [sum(of_batches) for of_batches in zip(*(of_latents for *_, of_latents in answers))]
    return Evaluation(ELBO(parts[:, 0], parts[:, -1], parts[:, 1:-1]), log_likelihood, n_samples,
                      [ab / n - a / n * b / n for a, b, ab, _ in latents], [kl / n for *_, kl in latents],
                      MANY if isinstance(model, Diffusion) and model.T == np.inf else None)
