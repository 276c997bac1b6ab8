# %% [markdown]
# # 8. A hierarchical VAE with three levels learns handwritten digits
#
# **What you will see.** A VAE (lesson 6) with three levels of latents, z_1, z_2 and z_3, learns digits of 8x8 pixels.
# You will see what each level holds, new digits, and log p(x), the number by which models are compared.
#
# The VAE's prior for z, N(0, I), is a poor guess of where the codes of digits lie. A hierarchy learns a better one: a
# second VAE for the z_1 of the first, a third for the z_2 of the second, all trained with one loss. q goes up: q(z_1 |
# x), q(z_2 | z_1), q(z_3 | z_2). p comes down: p(z_3) = N(0, I), p(z_2 | z_3), p(z_1 | z_2), p(x | z_1). To make a
# digit, draw z_3 from N(0, I), then z_2 given z_3, z_1 given z_2, and x given z_1.
#
# **The math.** MATH (7.1) is the model. Its bound has three parts, MATH (7.2):
#
#     ELBO = reconstruction - prior matching (top level) - consistency (levels between)
#
# The second part is the KL of the top level, as in the VAE, a mean over the z_{T-1} drawn. The third is the mean of log
# q(z_t | z_{t-1}) - log p(z_t | z_{t+1}) for each level t between: it is small if the data and the level above agree on
# z_t (lesson 9). We call it the KL of the level, but it is a *share* of the KL of all levels, and may be slightly
# negative; only the sum cannot, MATH (7.2). If the top level's KL is 0, that level has no information on x (lesson 7);
# a level between may have it all the same.
#
# **Words.** A latent is *active by variance* if its mean mu changes with x, with a variance above 0.01; it is active
# *by its own KL* if it costs more than 0.01 nats. The *standard error* says how far the mean over 359 digits is likely
# to be off.
#
# `python demos/08_hierarchy.py` takes about half a minute.

# %%
import lesson                                          # first: it sets the number of threads

import numpy as np

from scratchvae import HVAE, decay, evaluate, fit, warm_up
from scratchvae.data import binarize, digits
from scratchvae.train.plotting import curves, figure, images

parser = lesson.options("Lesson 8: a hierarchical VAE learns handwritten digits.", epochs=1000)
parser.add_argument("--warm-up", type=lesson.whole, help="epochs in which beta rises to 1 (default a quarter of all)")
args = lesson.parse(parser)
warming = max(1, args.epochs // 4 if args.warm_up is None else args.warm_up)

# %% [markdown]
# ## The data, the model, the training
#
# Grey pixels are probabilities of ink. Training draws black-and-white digits anew for each batch; the held-out digits
# are drawn once, so the numbers below are for one fixed test set.

# %%
data = digits()
x_train, x_test = binarize(data.x_train, "sample", rng=1), binarize(data.x_test, "sample", rng=2)

model = HVAE(x_dim=64, latent_dims=(16, 8, 4), hidden_dims=(128,), x_mean=x_train.mean(axis=0), rng=args.seed)
history = fit(model, data.x_train, epochs=args.epochs, batch_size=64, rng=args.seed, resample=True, x_valid=x_test,
              beta=warm_up(warming), learning_rate=decay(2e-3, 2e-4, args.epochs))

held_out = evaluate(model, x_test, rng=args.seed)
print(f"trained on {len(x_train)} digits for {args.epochs} epochs in {history['seconds'][-1]:.0f} s\n")
print(f"training digits, one binarisation:\n{evaluate(model, x_train, n_samples=1, rng=args.seed).elbo}\n")
print(f"{len(x_test)} held-out digits:\n{held_out}")

# %% [markdown]
# ## The figure
#
# On the left, above: digits are sent up by the means of q to a level, and down again by the means of p. What is lost on
# the way up cannot come back. Below: new digits, and the bound in training. While beta is small, codes cost almost
# nothing: the model spends many nats on z_1, and the reconstruction rises to -10. The ELBO counts those nats in full,
# and falls to -44. As beta rises to 1, codes that are not worth their price are given up: the reconstruction falls, and
# the ELBO rises. On the right: each level is held fixed while all below it is drawn anew, four times; what the four
# have in common is what that level holds.

# %%
page = figure(11, 9)
left, right = page.subfigures(1, 2, width_ratios=(1, 1.1))
ax_pairs, ax_samples, ax_elbo = left.subplots(3, 1, height_ratios=(5, 4.2, 4.5))
upper, lower = right.subfigures(2, 1, height_ratios=(9.2, 4.5))

# level by level: go up by the means, come down again from level t
chosen = np.array([np.flatnonzero(data.y_test == digit)[0] for digit in range(10)])
shown = x_test[chosen]
rows = [data.x_test[chosen], shown] + [model.reconstruct(shown, level) for level in model.levels]
images(ax_pairs, np.stack(rows), data.image_shape, "held-out digits, and E[x] from the means of each level",
       ["original", "binarised: x", *(f"from $z_{t}$" for t in model.levels)])
images(ax_samples, model.sample(48, rng=args.seed).reshape(4, 12, 64), data.image_shape,
       "new digits: $z_3$ from the prior, then down")
curves(ax_elbo, history, ["reconstruction", "elbo"], "training: ELBO (at beta = 1) and its reconstruction part")

# what does a level hold?  Fix it, draw everything below it again, and see what stays the same.
axes = upper.subplots(1, 4, width_ratios=(1, 4, 4, 1))
upper.suptitle("what each level holds: fix one, draw all below it anew", fontsize=10)
means = model.encode(shown)
images(axes[0], shown[:, None], data.image_shape, "x")
rng = np.random.default_rng(args.seed)
for ax, t in zip(axes[1:], (3, 2, 1)):
    again = [model.sample(4 if t > 1 else 1, rng=rng, z=mu, level=t) for mu in means[t - 1][0]]
    images(ax, np.stack(again), data.image_shape, f"$z_{t}$ fixed")
ax_kl = lower.subplots()
curves(ax_kl, history, ["consistency_1", "consistency_2", "prior_matching"],
       "training: KL of level 1, 2 (consistency) and 3 (prior matching)")
ax_kl.set_yscale("log")
for ax in (ax_elbo, ax_kl):                            # below beta = 1 a latent is cheap, and much used
    ax.axvspan(1, warming, color="0.93", label="warm-up of beta")
    ax.autoscale(axis="y")
ax_elbo.legend(fontsize=7, loc="lower right")
ax_kl.set_ylim(bottom=0.02)                            # room for the legend
ax_kl.legend(fontsize=7, loc="lower right", ncols=2)

lesson.save(page, "08_hierarchy", args)

# %% [markdown]
# ## What the default run finds
#
# It prints `log p(x) -22.249 nats`, and for the levels `level 1: KL 2.21 nats`, `level 2: KL 2.11 nats` and `level 3:
# KL 1.92 nats`. None is dead.
#
# ## Try this
#
# - *No warm-up*: `python demos/08_hierarchy.py --warm-up 1` prints `log p(x) -22.315 nats` and `level 3: KL 1.32
#   nats`. The top level lives without it, but holds a third less (lesson 7).
# - *A tenth of the time*: `python demos/08_hierarchy.py --epochs 100` prints `log p(x) -23.094 nats`. Most is learnt
#   early; the last nat takes long.
