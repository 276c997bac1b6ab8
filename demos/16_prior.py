# %% [markdown]
# # 16. Where do codes come from?
#
# **What you will see.** In lesson 3 new codes come from N(0, I), to which training fits the codes. Better: from a
# distribution that is learned, too. Here the prior of a VAE is a diffusion over its codes, trained with it on one
# bound: MATH (15.1), (15.2).
#
# **Words.** The *prior* p(z) is the distribution that new codes are drawn from. *Entropy* H(q) is the width of a code's
# cloud, in nats. The VAE's price, KL( q || p ), is -H(q) - E[log p(z)]: a wide cloud is cheap, and so is one in a place
# where the prior expects codes. For a learned prior log p(z) is replaced by the bound of the diffusion, whose data are
# the codes.
#
# 1. Two latents, to be seen: the codes, and where each prior draws.
# 2. Reconstruction, entropy and log p(z) while it is trained.
# 3. Sixteen latents: what it is worth, in nats.
#
# A fresh prior is N(0, I), exactly: the log weight of every path through its levels is log N(z; 0, I), MATH (13.12).
# The run prints the difference.
#
# `python demos/16_prior.py` takes some 40 seconds; with `--epochs 1000` two minutes.

# %%
import lesson                                          # first: it sets the number of threads

import time

import numpy as np

from scratchvae import VAE, LatentDiffusion, decay, evaluate, fit, gaussian, warm_up
from scratchvae.data import binarize, digits
from scratchvae.train.plotting import figure, images

parser = lesson.options("Lesson 16: a VAE whose prior is a diffusion.", epochs=200)
parser.add_argument("--samples", type=lesson.whole, default=100,
                    help="importance samples for log p(x), each through 200 levels (default 100)")
args = lesson.parse(parser)
data = digits()
x_train, x_test = binarize(data.x_train, "sample", rng=1), binarize(data.x_test, "sample", rng=2)
options = dict(hidden_dims=(128,), x_mean=x_train.mean(axis=0), rng=args.seed)

fresh = LatentDiffusion(64, 16, dtype=np.float64)
z = np.random.default_rng(0).standard_normal((100, 16))
paths = fresh.prior.with_levels(200).log_weight(z, 5, np.random.default_rng(1))
print(f"a fresh prior: the log weight of 500 paths differs from log N(z; 0, I) by at most "
      f"{np.abs(paths - gaussian.log_prob(z, 0 * z, 0 * z)[0]).max():.0e} nats\n")

# %% [markdown]
# ## Two models with two latents, and two with sixteen: the same networks, the same steps


# %%
def bound(model, draws=100):
    """Return the bound of the held-out digits, a mean over draws."""
    rng = np.random.default_rng(args.seed)
    return np.mean([model.forward(x_test, model.draw_noise(len(x_test), rng))[0].total.mean() for _ in range(draws)])


def watch(parts):
    """Return a callback that keeps reconstruction, entropy of q and log p(z), means over the held-out digits."""
    def callback(model, history):
        if len(history["elbo"]) % max(1, args.epochs // 40) == 0:
            elbo, _ = model.forward(x_test, model.draw_noise(len(x_test), 0))
            entropy = gaussian.entropy(model.encode(x_test)[1])[0].mean()
            parts.append((len(history["elbo"]), elbo.reconstruction.mean(), entropy,
                          -elbo.prior_matching.mean() - entropy))
    return callback


models, parts = {}, {}
print(f"{'':<30}{'bound':>8}{'log p(x)':>10}{'parameters':>12}{'processor':>11}")
for latents in (2, 16):
    for kind in (VAE, LatentDiffusion):
        name = f"{'N(0, I)' if kind is VAE else 'a learned prior'}, {latents} latents"
        model, parts[name] = kind(64, latents, **options), []
        began = time.process_time()
        fit(model, data.x_train, epochs=args.epochs, batch_size=32, resample=True, rng=args.seed, average=0.998,
            beta=warm_up(max(1, args.epochs // 4)), learning_rate=decay(2e-3, 2e-4, args.epochs),
            callback=watch(parts[name]))
        seconds, models[name] = time.process_time() - began, model
        log_p = evaluate(model, x_test, n_samples=args.samples if kind is LatentDiffusion else 1000, rng=args.seed)
        print(f"{name:<30}{bound(model):>8.2f}{log_p.log_likelihood.mean():>10.2f}{model.theta.size:>12}"
              f"{seconds:>9.0f} s", flush=True)

# %% The figure
page = figure(10, 7.6)
top, bottom = page.subfigures(2, 1, height_ratios=(1.15, 1))
plain, learned = models["N(0, I), 2 latents"], models["a learned prior, 2 latents"]
axes = top.subplots(1, 3)
drawn = learned.prior.with_levels(200).sample(3000, args.seed, draw=True)
lesson.codes(axes[0], plain.encode(x_test)[0], data.y_test, "N(0, I): codes of held-out digits")
lesson.codes(axes[1], learned.encode(x_test)[0], data.y_test, "a learned prior: codes of held-out digits")
reach = np.abs(learned.encode(x_test)[0]).max() * 1.1
axes[2].hist2d(*drawn.T, bins=70, range=[[-reach, reach]] * 2, cmap="gray_r")
axes[2].set_title("and where that prior draws new codes", fontsize=10)
axes[2].set_xlabel("first latent", fontsize=8)
axes[2].tick_params(labelsize=8)
for ax in axes[1:]:
    ax.set_xlim(-reach, reach)
    ax.set_ylim(-reach, reach)
    ax.set_aspect("equal")
ax_parts, ax_old, ax_new = bottom.subplots(1, 3)
for name, color in (("N(0, I), 16 latents", lesson.ORANGE), ("a learned prior, 16 latents", lesson.BLUE)):
    epoch, reconstruction, entropy, log_prior = np.array(parts[name]).T
    for values, style, what in ((reconstruction, "-", "reconstruction"), (entropy, "--", "entropy of q"),
                                (log_prior, ":", "bound on log p(z)")):
        ax_parts.plot(epoch, values, style, color=color, linewidth=1.2,
                      label=what if color == lesson.BLUE else None)
ax_parts.set_title("16 latents: parts of the bound", fontsize=10)
ax_parts.set_xlabel("epoch; blue: a learned prior, orange: N(0, I)", fontsize=8)
ax_parts.set_ylabel("nats", fontsize=8)
ax_parts.legend(fontsize=8)
ax_parts.tick_params(labelsize=7)
for ax, name in ((ax_old, "N(0, I), 16 latents"), (ax_new, "a learned prior, 16 latents")):
    images(ax, models[name].sample(48, args.seed, draw=True).reshape(6, 8, 64), data.image_shape, name)
print()
lesson.save(page, "16_prior", args)

# %% [markdown]
# ## What the default run finds
#
# The learned prior has infinitely many levels in the bound, and 200 in log p(x) and samples. Its log p(x) is from 100
# draws, the plain VAE's from 1000: more draws favour N(0, I), (5.5).
#
# With two latents log p(x) rises from -24.51 to -24.27 nats, with sixteen from -23.11 to -22.76, and the bounds from
# -24.69 to -24.57 and from -23.41 to -23.25. With `--epochs 1000` (three seeds) sixteen latents with a learned prior
# have the bound -22.73 and log p(x) -22.21; with N(0, I) it is -22.81 and -22.45. The learned prior is as good as three
# levels from the bottom up (lesson 8), with fewer parameters.
#
# In the figure: the codes no longer fill the disc of N(0, I). They may lie farther out, where the clouds can be wider
# and overlap less. Below: q has more entropy, the bound on log p(z) is lower by somewhat more, and the reconstruction
# gains more than both.
#
# ELBO(z) stands in for log p(z), so the bound shows only part of the gain, 0.08 of a nat; log p(x) by importance
# sampling shows 0.24.
#
# ## Try this
#
# - *The prior alone, afterwards.* Train a plain VAE; then a diffusion on draws of its q(z | x). So does the latent
#   diffusion of Rombach et al. 2022, for pictures. It is simpler; its q does not learn from the prior.
# - *Your own data*: `scratchvae train --data table.csv --prior diffusion --out runs/table`.
