# %% [markdown]
# # 15. The same network without noise
#
# **What you will see.** A diffusion goes down in a thousand noisy steps. The same network can also go down without
# noise. Then ten or twenty steps are enough, a z_T always ends in the same digit, and log p(x) is an exact integral.
#
# **Words.** In u = z/√ᾱ the signal keeps its size, and only the noise grows with gamma, the log of noise over signal.
# The *probability flow* moves u by du/dgamma = (u - â)/2: a little away from the guess â on the way up, towards it on
# the way down. It has the same density as the diffusion at every gamma, MATH (13.15). *DDIM* is the flow in steps, or,
# with `eta` between 0 and 1, something between the flow and the diffusion, MATH (13.14). log p needs the *trace* Σᵢ
# ∂âᵢ/∂uᵢ, by which the flow squeezes a small volume. Most code estimates it by a *random probe*. Here it is exact: a
# unit vector for each column goes up through the network, MATH (13.16).
#
# 1. Digits: the same z_T, with more and more steps.
# 2. How many steps? The bound and the samples do not agree.
# 3. Is log p(x) right? Two densities that are known.
# 4. The density of lesson 12's points in the plane, and log p(x) of digits.
#
# `python demos/15_flow.py` takes some 80 seconds.

# %%
import lesson                                          # first: it sets the number of threads

import math
import time

import numpy as np

from scratchvae import Diffusion, decay, fit, flow
from scratchvae.data import binarize, digits
from scratchvae.schedule import signal
from scratchvae.train.plotting import figure, images

args = lesson.parse(lesson.options("Lesson 15: the probability flow, DDIM, and exact log p(x).", epochs=150))
rng = np.random.default_rng(args.seed)
data = digits()
x_train, x_test = (binarize(x, "sample", rng=seed) for x, seed in ((data.x_train, 1), (data.x_test, 2)))
model = Diffusion(64, math.inf, (256, 256), log_noise=(-3, 8), x_mean=x_train.mean(axis=0), rng=args.seed)
fit(model, data.x_train, epochs=args.epochs, batch_size=128, resample=True, rng=args.seed, average=0.998,
    learning_rate=decay(2e-3, 1e-4, args.epochs))

# %% [markdown]
# ## 1. One z_T in each column
#
# The end of the flow is where an exact solver brings the same z_T.

# %%
exact = model.astype(np.float64)
first, last = exact.gamma[[1, -1]]


def guess(u, gamma):
    """Return the network's guess from u = z/√ᾱ, and 0 for a trace that is not needed."""
    h, _ = exact.read(u * signal(gamma), np.array([gamma]))
    return exact.signal.guess(h), 0


def down(steps, eta=0.0):
    """Return z_1 of 100 samples whose z_T are the same for any number of steps."""
    *_, (_, z) = exact.descend(100, args.seed, steps, eta)
    return z


_, z_T = next(exact.descend(100, args.seed))
u_1, _ = flow.integrate(guess, z_T / signal(last), last, first, rtol=1e-8)
z_1 = u_1 * signal(first)
numbers = (5, 10, 20, 50, 100, 200, 400)
distances = [np.median(np.sqrt(((down(steps) - z_1) ** 2).mean(axis=1))) for steps in numbers]
slope = np.polyfit(np.log(numbers), np.log(distances), 1)[0]
print("steps of DDIM, and the distance of z_1 to the end of the flow (the median digit, per pixel):")
print("  " + "   ".join(f"{steps}: {distance:.4f}" for steps, distance in zip(numbers, distances)))
print(f"  the distance falls as steps to the power of {slope:.2f}")


def shown(z):
    return exact.likelihood.mean(exact.read(z, exact.gamma[1:2])[0])[:12]


ways = {**{f"DDIM, {steps}": shown(down(steps)) for steps in (5, 10, 20, 50, 200)}, "the flow": shown(z_1),
        **{f"noisy, {steps}": shown(down(steps, 1.0)) for steps in (10, 50, 200)}}

# %% [markdown]
# ## 2. How many steps?
#
# MMD² compares 1000 samples with the training digits: it is 0 in the mean if both come from the same distribution
# (Gretton et al. 2012; here with the kernel exp(-|x - y|²/32)).

# %%


def kernel(a, b):
    return np.exp(-((a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * a @ b.T) / 32)


def mmd(x, y):
    """Return the unbiased estimate of MMD²; in each set the pairs of an x with itself are left out."""
    n, m = len(x), len(y)
    return ((kernel(x, x).sum() - n) / (n * (n - 1)) + (kernel(y, y).sum() - m) / (m * (m - 1))
            - 2 * kernel(x, y).mean())


reference = binarize(data.x_train, "sample", rng=77).astype(np.float32)
print(f"\n{'levels':>6} {'bound':>9} {'1000 MMD², noisy':>18} {'without noise':>14}    seconds for 1000 digits")
for steps in (5, 10, 20, 50, 1000):
    chain = model.with_levels(steps)
    bound = chain.bound_by_level(x_test[::4], args.seed).total.mean()
    began, found = time.process_time(), []
    for eta in (1, 0):
        found.append(1000 * mmd(chain.sample(1000, args.seed + 1, draw=True, eta=eta), reference))
    print(f"{steps:>6} {bound:>9.2f} {found[0]:>18.2f} {found[1]:>14.2f} {(time.process_time() - began) / 2:>14.2f}")

# %% [markdown]
# ## 3. Two densities that are known
#
# If the data are normal, or a finite set of points with noise, the best guess E[a | u] and its trace have closed forms.
# So has log p(u). With them instead of the network, what is left is the error of the solver.

# %%
variances = rng.uniform(0.1, 2, 64)
a = 2 * x_train.astype(float) - 1                      # 1438 points


def of_normal(u, gamma):
    shrink = variances / (variances + np.exp(gamma))
    return shrink * u, shrink.sum()


def log_p_normal(u, gamma):
    v = variances + np.exp(gamma)
    return -0.5 * (u * u / v + np.log(2 * np.pi * v)).sum(axis=1)


def weights(u, gamma):
    """Return log Σ exp of the exponents, and the probability of each point given u."""
    log_w = -((u * u).sum(axis=1)[:, None] + (a * a).sum(axis=1) - 2 * u @ a.T) / (2 * np.exp(gamma))
    m = log_w.max(axis=1, keepdims=True)
    w = np.exp(log_w - m)
    return m[:, 0] + np.log(w.sum(axis=1)), w / w.sum(axis=1, keepdims=True)


def of_points(u, gamma):
    _, w = weights(u, gamma)
    a_hat = w @ a
    return a_hat, ((w @ (a * a)) - a_hat ** 2).sum(axis=1) / np.exp(gamma)


def log_p_points(u, gamma):
    return weights(u, gamma)[0] - np.log(len(a)) - 32 * np.log(2 * np.pi * np.exp(gamma))


tolerances, errors = 10.0 ** -np.arange(2, 11), {}
print()
for name, denoiser, log_p, low, x in (
        ("normal data", of_normal, log_p_normal, -5.0, rng.standard_normal((8, 64)) * np.sqrt(variances)),
        ("1438 points", of_points, log_p_points, -1.0, 2 * x_test[:8] - 1 + 0.6 * rng.standard_normal((8, 64)))):
    errors[name] = []
    for rtol in tolerances:
        u, change = flow.integrate(denoiser, x, low, 8.0, rtol)
        errors[name].append(np.abs(log_p(u, 8.0) + change - log_p(x, low)).max())
    print(f"{name}: the largest error of log p is {errors[name][4]:.0e} nats at a tolerance of 1e-06, and "
          f"{errors[name][8]:.0e} at 1e-10")

# %% [markdown]
# ## 4. log p(x) by the network
#
# For the points, the density of x with the little noise of z_1. It is a density whatever the network is, so it
# integrates to 1.

# %%
corner = rng.integers(0, 8, 3000) * (2 * np.pi / 8)
points = np.column_stack([np.cos(corner), np.sin(corner)]) * math.sqrt(2) + 0.1 * rng.standard_normal((3000, 2))
points, held_out = points[:2000], points[2000:]
centres = math.sqrt(2) * np.column_stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)])
toy = Diffusion(2, math.inf, (64, 64), log_noise=(-7, 5), likelihood="gaussian", rng=args.seed)
fit(toy, points, epochs=250, batch_size=200, learning_rate=decay(1e-2, 5e-4, 250), rng=args.seed)


def log_p_blobs(x, variance=0.01):
    square = ((x[:, None] - centres) ** 2).sum(axis=2)
    return np.log(np.exp(-square / (2 * variance)).mean(axis=1) / (2 * np.pi * variance))


def log_p_flow(x, rtol=1e-5):
    s = signal(toy.gamma[1])
    return flow.log_density(toy.astype(np.float64), s * x, rtol) + 2 * np.log(s)


ticks = np.linspace(-2.6, 2.6, 131)
grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
density = np.exp(log_p_flow(grid))
bound = toy.bound_by_level(held_out, args.seed, n_times=300).total
print(f"\npoints in the plane, {len(held_out)} held out: bound {bound.mean():.3f}, "
      f"flow {log_p_flow(held_out).mean():.3f}, exact {log_p_blobs(held_out).mean():.3f} nats")
print(f"  the flow's density, summed over the grid: {density.sum() * (ticks[1] - ticks[0]) ** 2:.3f}")

began = time.process_time()
log_w = flow.log_weight(model, x_test, args.seed)
seconds, n = time.process_time() - began, len(x_test)
bound = model.bound_by_level(x_test, args.seed, n_times=200).total
print(f"\n{n} held-out digits, one draw of z_1 each, {seconds:.0f} s: by the flow {log_w.mean():.2f} nats, "
      f"bound of the diffusion {bound.mean():.2f} (standard errors {log_w.std() / math.sqrt(n):.2f}, "
      f"{bound.std() / math.sqrt(n):.2f})")


def probe(signs):
    """Return a denoiser whose trace is that of one random probe: e J eᵀ by the library's backward."""
    def denoiser(u, gamma):
        h, cache = exact.read(u * signal(gamma), np.array([gamma]))
        guessed = exact.signal.guess(h)
        dz = exact.read_backward(exact.signal.guess_backward(signs, guessed), cache, True)
        return guessed, signal(gamma) * (dz * signs).sum(axis=1)
    return denoiser


u = (2 * x_test[:60] - 1) + np.exp(first / 2) * rng.standard_normal((60, 64))
_, change = flow.integrate(lambda u, gamma: flow.denoise(exact, u, gamma), u, first, last)
probes = [flow.integrate(probe(rng.choice([-1.0, 1.0], u.shape)), u, first, last)[1] - change for _ in range(8)]
scatter = np.std(probes, axis=0).mean()
print(f"  one random probe instead of the exact trace: log p scatters by {scatter:.1f} nats for a digit")

# %% The figure
page = figure(10, 8.6)
top, bottom = page.subfigures(2, 1, height_ratios=(5, 3.4))
left, right = top.subfigures(1, 2, width_ratios=(1.5, 1))
images(left.subplots(), np.stack(list(ways.values())), data.image_shape, "the same z_T in each column", list(ways))
ax_distance, ax_error = right.subplots(2, 1)
ax_distance.loglog(numbers, distances, "o-", color=lesson.BLUE, markersize=4)
ax_distance.loglog(numbers, distances[-1] * numbers[-1] / np.array(numbers), "--", color=lesson.GREY, linewidth=1,
                   label="one over the number of steps")
ax_distance.set_xlabel("steps of DDIM", fontsize=8)
ax_distance.set_ylabel("distance of z_1", fontsize=8)
ax_distance.set_title("how far from the end of the flow", fontsize=10)
for (name, found), colour in zip(errors.items(), (lesson.BLUE, lesson.ORANGE)):
    ax_error.loglog(tolerances, found, "o-", color=colour, markersize=4, label=name)
ax_error.axhline(scatter, color=lesson.RED, linewidth=1, linestyle="--", label="one random probe, digits")
ax_error.invert_xaxis()
ax_error.minorticks_off()
ax_error.set_xlabel("tolerance of the solver", fontsize=8)
ax_error.set_ylabel("error of log p(x), nats", fontsize=8)
ax_error.set_title("is log p(x) right?", fontsize=10)
for ax in (ax_distance, ax_error):
    ax.tick_params(labelsize=7)
    ax.grid(alpha=0.3)
    ax.legend(fontsize=7)
maps = bottom.subplots(1, 3)
p_blobs = np.exp(log_p_blobs(grid, 0.01 + math.exp(-7)))
for ax, p, title in zip(maps, (p_blobs, density), ("points in the plane: exact density", "density of the flow")):
    ax.imshow(p.reshape(131, 131), cmap="gray_r", vmin=0, vmax=p_blobs.max(), extent=[-2.6, 2.6, -2.6, 2.6],
              origin="lower")
    ax.set_title(title, fontsize=10)
    ax.set_xlabel("first column", fontsize=8)
maps[2].plot(ticks, np.exp(log_p_flow(np.column_stack([ticks, 0 * ticks]))), color=lesson.ORANGE, label="flow")
maps[2].plot(ticks, np.exp(log_p_blobs(np.column_stack([ticks, 0 * ticks]), 0.01 + math.exp(-7))), "--",
             color=lesson.BLUE, label="exact")
maps[2].set_title("along the horizontal axis", fontsize=10)
maps[2].set_xlabel("first column", fontsize=8)
maps[2].legend(fontsize=8)
for ax in maps:
    ax.tick_params(labelsize=7)
print()
lesson.save(page, "15_flow", args)

# %% [markdown]
# ## What the default run finds
#
# *Steps.* Down a column the digit is the same from 10 steps on; with noise each number of steps ends in another one.
# The distance to the end of the flow falls as steps to the power of -1.13, for many steps as one over their number:
# DDIM is Euler's method, MATH (13.15). (That is the median. A few z_T lie between two digits, and arrive at one of them
# only with many steps.)
#
# *The bound and the samples differ.* With 20 levels the bound is -32.8 nats, eight below that of 1000, and the
# samples without noise are already as good as they get: MMD² -0.06 of a thousandth, where noisy ones have 0.59. The
# bound charges for every level at which q and p differ a little. 50 steps without noise, the default of `sample` for
# infinitely many levels, take a twentieth of the time of 1000 with noise.
#
# *Is it right?* The lesson prints `normal data: the largest error of log p is 7e-05 nats at a tolerance of 1e-06`, and
# for the points, whose density has 1438 peaks, it prints `2e-08 at 1e-10`. A random probe is right in the mean, but one
# of them scatters by 1.8 nats for a digit.
#
# *Another model with the same network.* The flow's log p(x) is exact, but it is the log p of the flow. For the points
# in the plane it is -0.499 nats on average, where the diffusion's bound is -0.501 and the truth -0.358. For the digits
# it is -23.38 and the bound -23.52. It may lie above or below: these are different models, one with noise on the way
# down and one without. The density sums to 1.00 over the grid, as for any network.
#
# ## Try this
#
# - *Between the two.* `model.sample(1000, 0, steps=20, eta=0.5)` adds noise half as large as that of p.
# - *There and back.* `flow.integrate` from gamma_1 to gamma_T and down again returns the u that you began with: z_T is
#   a code of x, and nothing was learned for it. Decode the mean of two codes.
# - *More draws.* log p(x) by `importance.log_mean_exp` of several `flow.log_weight` is nearer to that of the flow than
#   one draw, MATH (13.17).
# - *Longer training*: with `--epochs 2000` the flow has -22.6 nats, and so has the bound.
