# %% [markdown]
# # 14. Many draws: the importance-weighted bound
#
# **What you will see.** The earlier lessons *measured* log p(x) with 1000 draws, and *trained* the ELBO with one.
# Between the two is the bound L_K, with K draws. It can be trained on as well. What do more draws buy, and what do they
# cost?
#
# **Words.** A *weight* is w = p(x, z)/q(z | x) at a draw z ~ q(z | x). Its mean is p(x), so the log of a mean of K
# weights is near log p(x), and the ELBO is the case K = 1, MATH (5.5). The *normalised weights* w̃_k = w_k/Σⱼ w_j add
# up to 1. *Signal to noise*: the length of the mean of a gradient, over the standard deviation of one draw.
#
# **The idea.** The derivative of log (1/K) Σₖ w_k by log w_k is w̃_k. So backward is the one that we have, with a
# weight for each row instead of 1/K, MATH (14.3). For q there are three forms of it. q's parameters enter log w_k as
# those of the density log q(z_k | x), and through the draw z_k = mu + σ eps_k:
#
# - *plain*: both ways;
# - *stl*, sticking the landing: through z_k alone, MATH (14.4). Where q is the posterior nothing is left, for every
#   draw;
# - *dreg*, doubly reparameterised: through z_k alone, with w̃_k² instead of w̃_k, MATH (14.5).
#
# A framework needs "stop gradient" for this. Here we subtract: the whole gradient, minus the *direct* gradient, that of
# log q at a fixed z. For a VAE (`importance.py`):
#
#     whole                model.backward(delbo, cache)
#     direct               _, dq, _ = model.compare.backward(delbo.dprior_matching, k_cache)
#                          model.q.backward(dq, q_cache, False)
#
# model.compare is log q(z | x) - log p(z) at the draw, and dq is the gradient of log q by its mu and logvar.
#
# `python demos/14_importance.py` takes under a minute.

# %%
import lesson                                          # first: it sets the number of threads

import time

import numpy as np

from scratchvae import HVAE, Importance, decay, evaluate, fit, warm_up
from scratchvae.data import binarize, digits
from scratchvae.train.plotting import figure
from scratchvae.verify import exact

parser = lesson.options("Lesson 14: the importance-weighted bound, and three gradients.", epochs=200)
parser.add_argument("--draws", type=int, nargs="+", default=[1, 5], help="K, draws for each digit (default 1 5)")
parser.add_argument("--estimator", default="dreg", choices=("plain", "stl", "dreg"),
                    help="q's gradient on the digits, for K above 1 (default dreg)")
parser.add_argument("--repeats", type=int, default=1000, help="of each gradient of part 2 (default 1000)")
args = lesson.parse(parser)

# %% [markdown]
# ## 1. Where everything is known
#
# A linear-Gaussian model (lesson 9) with three latents, and one x. log p(x) has a closed form. q is the posterior,
# moved by 0.3 of its standard deviations and with 1.4 times its variance: as good as a trained q may be.

# %%
model = exact.linear_hvae(6, (3,), rng=args.seed)
exact.turn(model)
exact.set_q(model, exact.posterior(model))
x = np.random.default_rng(args.seed).normal(size=(1, 6)) * 2
log_p = exact.log_likelihood(model, x)[0]
of_q = np.concatenate([np.full(view.size, name.startswith("q")) for name, view in model.parameters.items()])


def gradients(K, repeats, seed=0):
    """Return q's gradient by each estimator, a row for each repeat, all at the same noise."""
    rng, found = np.random.default_rng(seed), {name: [] for name in ("plain", "stl", "dreg")}
    for _ in range(repeats):
        noise = model.draw_noise(K, rng)
        for name, rows in found.items():
            many = Importance(model, K, estimator=name)
            _, cache = many.bound(x, noise)
            many.backward(cache)
            rows.append(model.gradient[of_q])
    return {name: np.array(rows) for name, rows in found.items()}


print("q = the posterior: the largest entry of q's gradient, over 100 draws with K = 5")
for name, rows in gradients(5, 100).items():
    print(f"  {name:<5} {np.abs(rows).max():.1e}")

rng = np.random.default_rng(args.seed)
exact.set_q(model, {1: exact.Affine(f.W, f.b + 0.3 * np.sqrt(np.diag(f.cov)) * rng.normal(size=3), 1.4 * f.cov)
                    for f in exact.inference(model).values()})
Ks = np.array([1, 4, 16, 64])
L = {}
for K in Ks:
    many = Importance(model, int(K))
    rows = np.repeat(x, 4000, axis=0)
    elbo, _ = many.bound(rows, many.draw_noise(len(rows), np.random.default_rng(int(K))))
    L[K] = many.value(elbo)[0]
print(f"\nq near the posterior: log p(x) = {log_p:.4f}; below it\n"
      + "\n".join(f"  L_{K:<3} by {log_p - L[K].mean():.4f} nats" for K in Ks))

# %% [markdown]
# ## 2. What more draws cost q
#
# The better the bound, the less it depends on q: for K → ∞ it is log p(x), whatever q is. So q's gradient becomes
# small, as 1/K, and the noise of the plain one only as 1/√K: the signal drowns. With w̃_k² the noise falls faster than
# the signal. (*stl* has the noise of the plain one or less, but for K > 1 another mean: it is biased.)

# %%
ratio, noise_of, signal, bias = {"plain": [], "dreg": []}, {"plain": [], "dreg": []}, [], []
for K in Ks:
    found = gradients(int(K), args.repeats, seed=1)
    mean = found["dreg"].mean(axis=0)                  # that of the plain one too, and with less noise
    signal.append(np.linalg.norm(mean))
    bias.append(np.linalg.norm(found["stl"].mean(axis=0) - mean) / signal[-1])
    for name in ratio:
        noise_of[name].append(np.linalg.norm(found[name].std(axis=0)))
        ratio[name].append(signal[-1] / noise_of[name][-1])
print("\nq's gradient at one x, its signal to noise; and the bias of stl, over the signal")
print(f"  {'K':>3} {'signal':>8} {'plain':>8} {'dreg':>8} {'bias of stl':>12}")
for i, K in enumerate(Ks):
    print(f"  {K:>3} {signal[i]:8.4f} {ratio['plain'][i]:8.3f} {ratio['dreg'][i]:8.3f} {bias[i]:12.1f}")
slope = {name: np.polyfit(np.log(Ks[1:]), np.log(values[1:]), 1)[0] for name, values in ratio.items()}
print(f"from K = 4 on, signal to noise is K to the power of {slope['plain']:.2f} (plain), "
      f"{slope['dreg']:.2f} (dreg)")

# %% [markdown]
# ## 3. Digits
#
# The hierarchy of lesson 8, measured by log p(x) with 1000 draws, and the ELBO.

# %%
data = digits()
x_train, x_test = binarize(data.x_train, "sample", rng=1), binarize(data.x_test, "sample", rng=2)
measured = {}
print(f"\n{args.epochs} epochs; in nats per digit of {len(x_test)} held out:\n"
      f"{'trained on':<11} {'log p(x)':>9} {'ELBO':>8} {'gap':>6}   KL of level 1, 2, 3   processor")
for K in args.draws:
    hierarchy = HVAE(64, (16, 8, 4), (128,), x_mean=x_train.mean(axis=0), rng=args.seed)
    began = time.process_time()
    fit(hierarchy, data.x_train, epochs=args.epochs, rng=args.seed, resample=True,
        beta=warm_up(max(1, args.epochs // 4)), learning_rate=decay(2e-3, 2e-4, args.epochs),
        objective="elbo" if K == 1 else "iwae", n_samples=K, estimator="plain" if K == 1 else args.estimator)
    seconds = time.process_time() - began
    found = evaluate(hierarchy, x_test, n_draws=100, rng=args.seed)
    measured[K] = mean, elbo = found.log_likelihood.mean(), found.elbo.total.mean()
    levels = "".join(f"{kl:7.2f}" for kl in found.elbo.kl.mean(axis=0))
    print(f"{'the ELBO' if K == 1 else f'L_{K}':<11} {mean:9.2f} {elbo:8.2f} {mean - elbo:6.2f}  {levels}"
          f"{seconds:11.0f} s", flush=True)

# %%
page = figure(10, 3.4)
ax_L, ax_ratio, ax_fit = page.subplots(1, 3)
means, errors = [L[K].mean() for K in Ks], [4 * L[K].std() / np.sqrt(len(L[K])) for K in Ks]
ax_L.errorbar(Ks, means, errors, fmt="o-", color=lesson.BLUE, markersize=4, linewidth=1.2,
              label="$L_K$, ± 4 standard errors")
ax_L.axhline(log_p, color="0.2", linestyle="--", linewidth=1, label="log p(x)")
ax_L.set_title("the bound rises to log p(x)", fontsize=10)
ax_L.set_ylabel("nats", fontsize=8)
for name, colour, mark in (("plain", lesson.RED, "s-"), ("dreg", lesson.GREEN, "o-")):
    ax_ratio.plot(Ks, ratio[name], mark, color=colour, markersize=4, linewidth=1.2, label=name)
ax_ratio.plot(Ks, ratio["plain"][1] * np.sqrt(Ks[1] / Ks), ":", color="0.3", linewidth=1, label="as $1/\\sqrt{K}$")
ax_ratio.plot(Ks, ratio["dreg"][1] * np.sqrt(Ks / Ks[1]), "--", color="0.3", linewidth=1, label="as $\\sqrt{K}$")
ax_ratio.set_yscale("log")
ax_ratio.set_title("signal to noise of q's gradient", fontsize=10)
for ax in (ax_L, ax_ratio):
    ax.set_xscale("log", base=2)
    ax.set_xticks(Ks, [str(K) for K in Ks])
    ax.set_xlabel("K, draws for each x", fontsize=8)
for at, (log_p_x, elbo) in enumerate(measured.values()):
    ax_fit.plot([at, at], [elbo, log_p_x], color="0.7", linewidth=4, zorder=1, solid_capstyle="butt")
    ax_fit.plot(at, log_p_x, "D", color=lesson.ORANGE, label="log p(x)" if at == 0 else None)
    ax_fit.plot(at, elbo, "o", color=lesson.BLUE, label="ELBO" if at == 0 else None)
ax_fit.set_xticks(range(len(measured)), ["the ELBO" if K == 1 else f"$L_{{{K}}}$" for K in measured])
ax_fit.margins(x=0.4, y=0.3)
ax_fit.set_title("digits: trained on ...", fontsize=10)
ax_fit.set_ylabel("nats per held-out digit", fontsize=8)
for ax in (ax_L, ax_ratio, ax_fit):
    ax.tick_params(labelsize=8)
    ax.grid(alpha=0.3)
    ax.set_axisbelow(True)
    ax.legend(fontsize=7)
lesson.save(page, "14_importance", args)

# %% [markdown]
# ## What was bought, and what it cost
#
# *Bought*: log p(x). With 1000 epochs (`python demos/14_importance.py --epochs 1000 --draws 1 5 50`, some 20 minutes,
# 18 of them for 50 draws) the model that was trained on the ELBO ends at -22.24 nats, on L_5 at -21.98, on L_50 at
# -21.89.
#
# *Paid*: q. The ELBO of the same three models is -22.64, -22.78 and -23.81: the gap, KL( q(z | x) || p(z | x) ), grows
# from 0.40 to 0.80 and 1.92 nats. A bound that forgives bad draws, if one of K is good, allows a posterior that a
# Gaussian cannot follow. If you want q itself, as a code for x, that is a loss.
#
# ## Try this
#
# - *What the default run finds*: it prints `the ELBO -22.77 -23.14` and `L_5 -22.42 -23.21`, and for 64 draws it prints
#   `64 0.0087 0.012 2.538 70.4`: the signal, its ratio to the noise of either gradient, and a bias of stl that is 70
#   times the signal.
# - *The plain gradient*: `--estimator plain --draws 5 --epochs 1000` ends at -22.07 nats, where dreg has -21.98.
# - *The biased one*: `--estimator stl`. For many draws it follows another objective, KL( p(z | x) || q(z | x) ):
#   MATH (14.4). Is that bad for q?
# - *In your own loop*: `many = Importance(model, 5)`, then for each batch `many.gradient(x, rng)` and a step of the
#   optimiser.
