"""Lesson 2: a hierarchical VAE with three levels learns handwritten digits.

The VAE's prior for z, N(0, I), is a poor guess of where codes lie.  A hierarchy
learns a better one: a second VAE whose data are the z_1 of the first, a third
for the z_2 of the second.  Its bound has three parts:

    ELBO = reconstruction - prior matching (top level) - consistency (levels between)

Watch the KL of each level: what is 0 has died, and the level is an ornament.

    python demos/2_hierarchy.py      # prints the bound, draws out/2_hierarchy.png
"""

import argparse
from pathlib import Path

import numpy as np

from scratchvae import HVAE, decay, evaluate, fit, warm_up
from scratchvae.datasets import binarize, digits
from scratchvae.plotting import curves, figure, images

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--epochs", type=int, default=1000, help="passes over the training digits (default 1000)")
parser.add_argument("--seed", type=int, default=0, help="same seed, same numbers (default 0)")
parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the figure (default out)")
args = parser.parse_args()

# Grey pixels are read as probabilities of ink.  Training draws black-and-white digits from them anew for
# each batch; the held-out digits are drawn once, so that the numbers below belong to one fixed test set.
data = digits()
x_train, x_test = binarize(data.x_train, "sample", rng=1), binarize(data.x_test, "sample", rng=2)

model = HVAE(x_dim=64, latent_dims=(16, 8, 4), hidden_dims=(128,), x_mean=x_train.mean(axis=0), rng=args.seed)
history = fit(model, data.x_train, epochs=args.epochs, batch_size=64, seed=args.seed, resample=True, x_valid=x_test,
              beta=warm_up(max(1, args.epochs // 4)), learning_rate=decay(2e-3, 2e-4, args.epochs))

held_out = evaluate(model, x_test, rng=args.seed)
print(f"trained on {len(x_train)} digits for {args.epochs} epochs in {history['seconds'][-1]:.0f} s\n")
print(f"training digits, one binarisation:\n{evaluate(model, x_train, n_samples=1, rng=args.seed).elbo}\n")
print(f"{len(x_test)} held-out digits:\n{held_out}")

page = figure(11, 8.5)
left, right = page.subfigures(1, 2, width_ratios=(1, 1.05))
ax_pairs, ax_samples, ax_curves = left.subplots(3, 1, height_ratios=(3.2, 2.2, 3.2))
ax_levels, ax_kl = right.subplots(2, 1, height_ratios=(5.6, 3.2))

# level by level: go up by the means, come down again from level t
chosen = np.array([np.flatnonzero(data.y_test == digit)[0] for digit in range(10)])
shown = x_test[chosen]
rows = [data.x_test[chosen], shown] + [model.reconstruct(shown, level) for level in model.levels]
images(ax_pairs, np.stack(rows), data.image_shape, "held-out digits, and E[x] from the means of each level",
       ["grey original", "x", *(f"from $z_{t}$" for t in model.levels)])
images(ax_samples, model.sample(60, rng=args.seed).reshape(4, 15, 64), data.image_shape,
       "samples: $z_3$ from the prior, then down")
curves(ax_curves, history, ["elbo", "reconstruction"], "the bound and its reconstruction part")
ax_curves.set_ylim(-34, 0)

# what does a level hold?  Fix it, draw everything below it again, and see what stays the same.
some = chosen[[0, 3, 4, 6, 7, 8]]
grid = []
for i in some:
    x = x_test[i:i + 1]
    means = [mu for mu, _ in model.encode(x)]
    again = [model.sample(4, rng=args.seed, z=means[t - 1][0], level=t) for t in (3, 2)]
    grid.append(np.concatenate([x, *again, model.sample(1, rng=args.seed, z=means[0][0], level=1)]))
labels = ["x", "", "", "$z_3$ fixed", "", "", "", "$z_2$ fixed", "", "$z_1$ fixed"]
images(ax_levels, np.stack(grid), data.image_shape,
       "what each level holds: one level fixed at its mean for x,\nall below it drawn anew", (), labels)
ax_kl.set_title("KL of each level")
curves(ax_kl, history, ["consistency_1", "consistency_2", "prior_matching"],
       "KL of each level: level 1 and 2 are consistency, level 3 is prior matching")
ax_kl.set_ylim(bottom=0)

args.out.mkdir(parents=True, exist_ok=True)
page.savefig(args.out / "2_hierarchy.png")
print(f"figure: {args.out / '2_hierarchy.png'}")
