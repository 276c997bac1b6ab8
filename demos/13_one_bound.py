# %% [markdown]
"""Lesson 13: one bound for all, in one table.

What you will see: an autoencoder, a VAE, a hierarchy with its third part as printed and as
it is, and a diffusion, trained on the same digits, measured on the same 359 held-out digits
with the same binarisation, in nats.  The bound is that of MATH (5.2) for each of them; log p(x)
is estimated by importance sampling, MATH (5.5), with --samples draws.  An autoencoder has
neither: its number is the reconstruction alone, MATH (6.1).

    python demos/13_one_bound.py                    # about two minutes on a quiet core
    python demos/13_one_bound.py --epochs 1000      # longer: the numbers of the README
"""

# %% The data, and what may be changed
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")      # for small products a second thread is only in the way

import argparse
import math

import numpy as np

from scratchvae import HVAE, VAE, Autoencoder, Diffusion, decay, evaluate, fit, warm_up
from scratchvae.datasets import binarize, digits

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--epochs", type=int, default=200, help="passes over the training digits (default 200); a "
                                                            "diffusion makes twice as many, of larger batches")
parser.add_argument("--samples", type=int, default=1000, help="importance samples for log p(x) (default 1000); a "
                                                              "diffusion takes a fiftieth, each through 200 levels")
parser.add_argument("--seed", type=int, default=0, help="same seed, same numbers (default 0)")
args = parser.parse_args()

data = digits()
x_train, x_test = binarize(data.x_train, "sample", rng=1), binarize(data.x_test, "sample", rng=2)
options = dict(x_mean=x_train.mean(axis=0), rng=args.seed)

# %% The models
models = {
    "autoencoder 16": Autoencoder(64, 16, (128,), **options),
    "VAE 16": VAE(64, 16, (128,), **options),
    "hierarchy 16, 8, 4, printed": HVAE(64, (16, 8, 4), (128,), consistency="analytic", **options),
    "hierarchy 16, 8, 4, sampled": HVAE(64, (16, 8, 4), (128,), **options),
    "diffusion, infinitely many": Diffusion(64, math.inf, (256, 256), log_noise=(-3, 8), **options),
}

# %% Train each, measure each
print(f"{len(x_test)} held-out digits, in nats:\n\n"
      f"{'model':<28} {'bound':>8} {'log p(x)':>9} {'parameters':>11} {'seconds':>8}")
for name, model in models.items():
    is_diffusion, passes = isinstance(model, Diffusion), args.epochs * (1 + isinstance(model, Diffusion))
    history = fit(model, data.x_train, epochs=passes, batch_size=128 if is_diffusion else 64, resample=True,
                  beta=1.0 if is_diffusion else warm_up(max(1, passes // 4)), seed=args.seed,
                  learning_rate=decay(2e-3, 1e-4 if is_diffusion else 2e-4, passes))
    if isinstance(model, Autoencoder):
        bound, log_p = np.nan, np.nan
    elif is_diffusion:
        bound = model.bound_by_level(x_test, args.seed, n_times=200).total.mean()
        log_p = model.with_levels(200).log_likelihood(x_test, max(1, args.samples // 50), args.seed).mean()
    else:
        found = evaluate(model, x_test, n_samples=args.samples, rng=args.seed)
        bound, log_p = found.elbo.total.mean(), found.log_likelihood.mean()
    shown = [f"{value:.2f}" if np.isfinite(value) else "-" for value in (bound, log_p)]
    print(f"{name:<28} {shown[0]:>8} {shown[1]:>9} {model.theta.size:>11} {history['seconds'][-1]:>8.0f}", flush=True)
    if isinstance(model, Autoencoder):
        reconstruction = model.forward(x_test, None)[0].reconstruction.mean()
        print(f"{'':<28} (reconstruction alone: {reconstruction:.2f}, which is no bound)", flush=True)
