# %% [markdown]
# # 7. Latents that die
#
# **What you will see.** A VAE with more latents than it needs switches some off: their q(z | x) becomes N(0, 1) for
# every x, their KL is 0, and the decoder ignores them. For a linear VAE, theory says exactly which and when, and
# training agrees. On digits, without such a theory, you will see what two well-known remedies do and do not: a
# *warm-up* of beta, and *free bits*.
#
# **Words.** A latent is *active* if it costs more than 0.01 nats of KL, a mean over the digits; otherwise it is *dead*.
# A *hierarchy* (HVAE, hierarchical VAE) has several sets of latents, here three, one above the other; each set is a
# *level*, and lesson 8 explains them. PCA (principal component analysis) turns data to the axes along which they vary
# most; the variance along the i-th axis is the *eigenvalue* l_i of their covariance.
#
# **The math.** MATH (11.6): with noise of variance s² on x, the best linear VAE uses the axis i if and only if l_i >
# s², and that latent then holds (1/2) log(l_i / s²) nats. A direction that varies less than the noise is not worth its
# price. (3.5) is the KL, (5.4) the loss with its weight beta.
#
# `python demos/07_dead_latents.py` takes under a minute.

# %%
import lesson                                          # first: it sets the number of threads

import numpy as np

from scratchvae import HVAE, VAE, Gaussian, decay, evaluate, fit, warm_up
from scratchvae.data import binarize, digits
from scratchvae.train.plotting import figure

parser = lesson.options("Lesson 7: latents that die, in theory and in practice.", epochs=100)
parser.add_argument("--free-bits", type=float, default=1.5, help="nats that cost a level nothing (default 1.5)")
args = lesson.parse(parser)
data = digits()

# %% [markdown]
# ## In theory: the linear VAE
#
# The grey digits, 64 pixels, and a VAE with linear maps and 10 latents. The noise s² is fixed, each time at another
# value. From the eigenvalues, theory says how many latents will be active; training starts from random weights.

# %%
x = data.x_train - data.x_train.mean(axis=0)
eigenvalues = np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1]
noises = (0.03, 0.1, 0.18, 0.25, 0.35, 0.5)
print(f"the ten largest eigenvalues of the digits: {' '.join(f'{l:.3f}' for l in eigenvalues[:10])}\n\n"
      f"{'noise s²':>8} {'active, theory':>15} {'trained':>8} {'KL, theory':>11} {'trained':>8}")
theory, trained = {}, {}
for s2 in noises:
    linear = VAE(64, 10, (), likelihood=Gaussian(64, logvar=np.log(s2)), rng=args.seed)
    fit(linear, x, epochs=4 * args.epochs, batch_size=128, rng=args.seed,
        learning_rate=decay(1e-2, 5e-4, 4 * args.epochs))
    mu, logvar = linear.encode(x)
    trained[s2] = np.sort(0.5 * (np.exp(logvar) - 1 - logvar + mu * mu).mean(axis=0))[::-1]
    theory[s2] = 0.5 * np.log(np.maximum(eigenvalues[:10] / s2, 1))
    print(f"{s2:8.2f} {(theory[s2] > 0.01).sum():>15} {(trained[s2] > 0.01).sum():>8} "
          f"{theory[s2].sum():11.2f} {trained[s2].sum():8.2f}")

# %% [markdown]
# For the noise 0.18 the run prints `0.18 7 7 2.71 2.70`, and for 0.35 `0.35 4 4 0.97 0.96`: as many latents live as
# eigenvalues lie above the noise, and they hold as much as theory says. (At 0.25 it may count one more: the sixth
# eigenvalue, 0.231, lies just below the noise, so that latent costs next to nothing either way, and dies slowly.) Such
# deaths are not a failure: these latents were not worth their price.
#
# ## In practice: digits
#
# Black-and-white digits, and two models: a VAE with 32 latents, far more than it needs, and a hierarchy whose three
# levels have 16, 8 and 4 latents. (In the code both are an HVAE: with one level it is a VAE.) Each is trained in three
# ways.
#
# - *beta = 1* from the first step: the full price at once. The usual explanation: at the start the decoder does not use
#   the latents yet, so they do not repay their cost, and are given up.
# - *warm-up*: beta rises from 0 to 1 in the first quarter of the training. While it is small, latents are cheap, and
#   the networks learn to use them.
# - *free bits*: where a level's mean KL in a batch is at most 1.5 nats, its beta is 0 for this step, otherwise 1. So a
#   level gains nothing by giving up its last nats.

# %%
x_train, x_test = binarize(data.x_train, "sample", rng=1), binarize(data.x_test, "sample", rng=2)
ways = {"beta = 1": {}, "warm-up": {"beta": warm_up(max(1, args.epochs // 4))},
        f"free bits, {args.free_bits:g} nats": {"free_bits": args.free_bits}}
measured = {}
print(f"\n{len(x_test)} held-out digits, {args.epochs} epochs, nats per digit\n"
      f"{'latents':<10} {'':<20}{'log p(x)':>9}{'ELBO':>8}   active     KL of level 1, 2, 3")
for latents in ((32,), (16, 8, 4)):
    for name, options in ways.items():
        model = HVAE(64, latents, (64,), x_mean=x_train.mean(axis=0), rng=args.seed)
        fit(model, data.x_train, epochs=args.epochs, rng=args.seed, resample=True, learning_rate=2e-3, **options)
        found = measured[latents, name] = evaluate(model, x_test, n_samples=200, n_draws=10, rng=args.seed)
        print(f"{', '.join(map(str, latents)):<10} {name:<20}{found.log_likelihood.mean():9.2f}"
              f"{found.elbo.total.mean():8.2f}   {', '.join(map(str, found.active_units_kl)):<8}"
              + "".join(f"{kl:7.2f}" for kl in found.elbo.kl.mean(axis=0)), flush=True)

# %% [markdown]
# The numbers are less simple than the usual advice.
#
# - The VAE prints `32 beta = 1 -23.35 -23.71 24 4.73` and `32 warm-up -23.35 -23.79 19 5.30`. With warm-up fewer
#   latents are active (19 against 24), though they hold more (5.30 against 4.73 nats), and the ELBO is a little lower.
#   log p(x) is the same: a dead latent costs nothing here.
# - The hierarchy prints `16, 8, 4 beta = 1 -23.14 -23.57 16, 8, 4 2.39 1.56 0.72` and `16, 8, 4 warm-up -23.03 -23.49
#   16, 8, 4 2.58 1.71 0.98`. No latent dies, but with warm-up the top level holds a third more, and log p(x) is higher
#   by a tenth of a nat.
# - It also prints `16, 8, 4 free bits, 1.5 nats -23.03 -23.53 16, 8, 4 1.93 1.88 1.58`. Free bits do what they
#   promise: no level holds less than 1.5 nats. log p(x) is that of warm-up, and the ELBO is a little lower, as nats
#   that cost nothing in training do cost in the bound.

# %%
page = figure(10.5, 4.2)
ax_theory, ax_levels, ax_units = page.subplots(1, 3, width_ratios=(1, 0.9, 1.1))
looks = [("o", lesson.BLUE), ("s", lesson.ORANGE), ("^", lesson.GREEN), ("x", lesson.RED), ("v", "black"), ("D", "0.5")]
for (marker, colour), s2 in zip(looks, noises):
    ax_theory.plot(theory[s2], trained[s2], marker, color=colour, markersize=5, label=f"{s2:g}", alpha=0.8)
top = 1.05 * max(values.max() for values in theory.values())
ax_theory.plot([0, top], [0, top], color="0.6", linewidth=0.8)
ax_theory.set(xlabel="KL by theory, nats", ylabel="KL after training, nats")
ax_theory.set_title("linear VAE: each latent's KL", fontsize=10)
ax_theory.legend(title="noise s²", fontsize=8, title_fontsize=8)

hatches, shades = ("", "///", "..."), ("0.85", "#9ecae1", "#fdd0a2")
for i, name in enumerate(ways):
    kl = measured[(16, 8, 4), name].elbo.kl.mean(axis=0)
    bars = ax_levels.bar(np.arange(3) + 0.27 * (i - 1), kl, 0.25, color=shades[i], hatch=hatches[i], edgecolor="0.2",
                         label=name)
    ax_levels.bar_label(bars, [f"{round(float(value), 1) + 0:.1f}" for value in kl], fontsize=7)
ax_levels.set_xticks(range(3), ["level 1", "level 2", "level 3"])
ax_levels.set_ylabel("KL, nats per digit")
ax_levels.set_title("hierarchy: what each level holds", fontsize=10)
ax_levels.margins(y=0.35)
ax_levels.legend(fontsize=8, loc="upper right")

for (marker, colour), name in zip(looks, ways):
    kls = np.sort(measured[(32,), name].kls[0])[::-1]
    ax_units.semilogy(np.arange(1, 33), np.maximum(kls, 1e-4), marker, color=colour, markersize=4, label=name)
ax_units.axhline(0.01, color="0.4", linewidth=0.8, linestyle="--")
ax_units.text(0.5, 0.0108, "active", fontsize=7, va="bottom")
ax_units.text(0.5, 0.0092, "dead", fontsize=7, va="top")
ax_units.set(ylim=(6e-5, 5), xlabel="latent, sorted by its KL", ylabel="its own KL, nats")
ax_units.set_title("VAE with 32 latents: each latent", fontsize=10)
ax_units.legend(fontsize=8, loc="lower left")
for ax in (ax_theory, ax_levels, ax_units):
    ax.tick_params(labelsize=8)
    ax.grid(alpha=0.3)
lesson.save(page, "07_dead_latents", args)

# %% [markdown]
# ## Try this
#
# - *A tenth of the training*: `python demos/07_dead_latents.py --epochs 10` prints `0.35 4 9 0.97 0.76` and `32 beta =
#   1 -24.74 -25.43 32 2.32`. Latents that are not worth their price die slowly: after 10 epochs all 32 of the VAE are
#   alive, and in the linear VAE nine where four will stay. So wait before you count.
# - *Is it always so mild?* These digits are small, and the networks shallow. With the printed form of the third part
#   of the bound the upper levels die entirely: lesson 9.
# - *Which axes?* In the linear VAE with noise 0.35, four latents live. Compare the rows of its decoder's W with the
#   first four axes of PCA: they span the same space, and for the best q they are the same axes, MATH (11.5).
