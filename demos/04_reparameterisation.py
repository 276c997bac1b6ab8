# %% [markdown]
# # 4. The reparameterisation trick
#
# **What you will see.** The VAE of lesson 3 draws its code z at random, and its loss is a mean over these draws. To
# train it we need the gradient of such a mean. There are two ways to estimate it from draws. Both are right on average,
# but the noise of one grows with the number of latents. Here is a problem whose answer is known, so both can be
# measured.
#
# **Words.** E[f(z)], the *expectation* of f, is its mean over all draws z. An *estimate* is a number computed from a
# few draws; it is *unbiased* if its own expectation is the number that we want. Its *variance* is the mean of its
# squared distance from its expectation, and the square root of that is its *standard deviation*: how far off a single
# estimate usually is. The mean of K independent estimates has a standard deviation that is √K times smaller.
#
# **The problem.** z has d dimensions and is normal, z ~ N(mu, I): each z_i has mean mu_i and variance 1. And f(z) =
# z_1² + ... + z_d². Then E[f(z)] = |mu|² + d, and its gradient by mu is 2 mu. All mu_i are 1/√d, so that |mu| = 1.
#
# **Two estimates of the gradient by mu_1 from one draw.**
#
# - *Score function.* The gradient of an expectation is ∫ f(z) ∂p(z)/∂mu dz, and as ∂p/∂mu = p · ∂log p/∂mu, it is
#   E[f(z) ∂log p(z)/∂mu]. For our normal this is E[f(z) (z_1 - mu_1)]. It needs no derivative of f. It moves mu towards
#   the draws with a high f.
# - *Reparameterisation.* Write z = mu + eps with eps ~ N(0, I). Now the randomness is in eps, which does not depend on
#   mu, and the derivative goes inside: E[∂f/∂z_1 · ∂z_1/∂mu_1] = E[2 z_1]. It uses the slope of f, from backprop.
#
# **The math.** MATH (3.2) is the draw and why its gradient is unbiased, (3.3) the log-density and its derivative by
# mu.
#
# `python demos/04_reparameterisation.py` takes some seconds.

# %%
import lesson                                          # first: it sets the number of threads

import numpy as np

from scratchvae import VAE, gaussian
from scratchvae.train.plotting import figure

parser = lesson.options("Lesson 4: two estimates of the gradient of an expectation.")
parser.add_argument("--draws", type=int, default=100_000, help="for each dimension (default 100000)")
args = lesson.parse(parser)
if args.draws < 100:
    parser.error("--draws must be at least 100")
rng = np.random.default_rng(args.seed)

# %% [markdown]
# ## Both estimates, by the library's own draw and density
#
# `sample` and `sample_backward` are the reparameterised draw and its gradient. `log_prob_backward` has the derivative
# of log p by mu, and a third estimate takes a *baseline* off: as E[∂log p/∂mu] = 0, any constant may be subtracted
# from f, and E[f] is a good one.


# %%
def estimates(mu, draws):
    """Return one estimate of the gradient by mu_1 for each draw, in each of three ways."""
    eps = rng.standard_normal((draws, len(mu)))
    means, logvar = np.tile(mu, (draws, 1)), np.zeros((draws, len(mu)))
    z, cache = gaussian.sample(means, logvar, eps)
    f, df = (z * z).sum(axis=1), 2 * z
    _, p_cache = gaussian.log_prob(z, means, logvar)
    score = gaussian.log_prob_backward(np.ones(draws), p_cache)[1][:, 0]       # ∂log p/∂mu_1
    return {"score function": f * score,
            "score function, baseline": (f - (mu @ mu + len(mu))) * score,
            "reparameterisation": gaussian.sample_backward(df, cache)[0][:, 0]}


def exact_variance(way, d):
    """Return the variance of one estimate; from E[eps²] = 1, E[eps⁴] = 3, and so on (this sum may be skipped)."""
    c = 1 / d                                          # mu_1²
    second = 1 + 4 + 8 * c + (d + 2) * (d + 4) + 2 * (d + 2)                   # E[ f² eps_1² ]
    return {"score function": second - 4 * c,
            "score function, baseline": second - 2 * (1 + d) * (3 + d) + (1 + d) ** 2 - 4 * c,
            "reparameterisation": 4.0}[way]


dims = (1, 2, 4, 8, 16, 32, 64, 128, 256)
print(f"The gradient by mu_1 of E[f(z)], from {args.draws} draws of each dimension d.\n"
      f"{'':>4} {'truth':>7}   {'mean of the estimates, and (standard deviation of one estimate)'}\n"
      f"{'d':>4} {'2 mu_1':>7}" + "".join(f"{way:>26}" for way in estimates(np.ones(1), 2)))
found = {}
for d in dims:
    mu = np.full(d, d ** -0.5)
    parts = [estimates(mu, min(args.draws, 10_000)) for _ in range(max(1, args.draws // 10_000))]
    found[d] = {way: np.concatenate([part[way] for part in parts]) for way in parts[0]}
    cells = [f"{values.mean():16.3f} ({values.std():7.2f})" for values in found[d].values()]
    print(f"{d:>4} {2 * mu[0]:7.3f}", *cells, sep="")

# %% [markdown]
# Read a row: the three means agree with the truth up to their noise, as all three are unbiased. How large is this
# noise? A mean over 100,000 draws has a standard deviation, its *standard error*, that is √100,000 = 316 times smaller
# than that of one estimate. At d = 128 it is 131.97/316 = 0.42 for the score function, so a mean of 0.545 for a truth
# of 0.177 is no contradiction: it is off by less than one standard error.
#
# Read a column: for large d the standard deviation of the score function grows like d, as f does; with a baseline, for
# large d, like √(2d); that of reparameterisation is 2, whatever d. The other dimensions add noise to f, but not to its
# slope ∂f/∂z_1.
#
# How many draws of the score function are as good as *one* reparameterised draw? The ratio of the variances:

# %%
for d in (16, 256):
    ratios = [exact_variance(way, d) / exact_variance("reparameterisation", d)
              for way in ("score function", "score function, baseline")]
    print(f"d = {d}: the score function needs {ratios[0]:.0f} draws for one reparameterised draw; "
          f"with a baseline {ratios[1]:.0f}")

# %% [markdown]
# The run prints `d = 16: the score function needs 100 draws for one reparameterised draw` and `d = 256: the score
# function needs 16900 draws`. This is why VAEs train with a single draw of z for each example and step.
#
# ## Bias: what more draws do not repair
#
# The noise of an unbiased estimate goes down like 1/√K with the number of draws K. A *bias* stays. A mistake in real
# code: backward draws its own noise instead of using the eps of forward. It shows in the gradient by `logvar`, which is
# log σ²: networks return the logarithm of the variance, as it may be any real number. Here σ = 1 and logvar = 0. As σ =
# exp(logvar / 2), z = mu + σ eps gives ∂z/∂logvar = σ eps / 2. With noise eps' of its own the estimate has the
# expectation E[2 z_1 eps'_1 / 2] = 0, as eps' has nothing to do with z. The truth is ∂(|mu|² + Σ σ²)/∂logvar_1 = σ_1² =
# 1.

# %%
d, counts = 16, np.unique(np.geomspace(1, 10_000, 17).astype(int))
mu = np.full(d, d ** -0.5)
repeats = 200
errors = {"score function": [], "score function, baseline": [], "reparameterisation": [], "noise drawn twice": []}
for K in counts:
    off = {way: [] for way in errors}
    for _ in range(repeats if K < 2000 else 30):
        eps, other = rng.standard_normal((2, K))
        rest = rng.standard_normal((K, d - 1)) + mu[1:]
        z = mu[0] + eps
        f = z * z + (rest * rest).sum(axis=1)
        score = (eps * eps - 1) / 2                    # ∂log p/∂logvar_1, MATH (3.3)
        off["score function"].append((f * score).mean() - 1)
        off["score function, baseline"].append(((f - 1 - d) * score).mean() - 1)
        off["reparameterisation"].append((2 * z * eps / 2).mean() - 1)
        off["noise drawn twice"].append((2 * z * other / 2).mean() - 1)
    for way, values in off.items():
        errors[way].append(np.sqrt(np.mean(np.square(values))))
print(f"\nThe gradient by logvar_1 at d = {d} (truth 1): root mean square error of the mean of K draws\n"
      f"{'K':>6}" + "".join(f"{way:>26}" for way in errors))
for k in range(0, len(counts), 4):
    print(f"{counts[k]:>6}" + "".join(f"{errors[way][k]:26.3f}" for way in errors))

# %% [markdown]
# With one draw the mistake does not look worse than the right estimate: the table has 1.338 for it, and 1.604 for
# reparameterisation. Both are mostly noise. But with more draws the noise averages out, and the error of the mistake
# stays at 1: the bias. Training takes one draw a step, but thousands of steps: noise averages out there as well, and
# bias does not.
#
# ## Noise is an input
#
# So forward and backward must use the same eps. In this library it is an argument: `model.forward(x, noise)`. Then the
# bound is an ordinary function of the parameters, and can be checked as in lesson 2. With fresh noise in each call, the
# difference of two calls is mostly that of two draws.

# %%
model = VAE(6, 3, (8,), rng=args.seed, dtype=float)
model.theta += 0.1 * rng.standard_normal(model.theta.size)
x = rng.integers(0, 2, (4, 6)).astype(float)
noise = model.draw_noise(len(x), rng)
elbo, cache = model.forward(x, noise)
model.backward(elbo.loss_backward(), cache)
v, h = rng.standard_normal(model.theta.size), 1e-5
by_hand = model.gradient @ v
start = model.theta.copy()
print(f"\nA VAE's gradient along v by backward: {by_hand:.6f}")
draws = {"the same noise twice": lambda: noise, "fresh noise each time": lambda: model.draw_noise(len(x), rng)}
for name, draw in draws.items():
    values = []
    for sign in (1, -1):
        model.theta[:] = start + sign * h * v
        values.append(model.forward(x, draw())[0].loss())
    print(f"central difference, {name}: {(values[0] - values[1]) / (2 * h):.6f}")
model.theta[:] = start

# %%
page = figure(10, 4.3)
ax_d, ax_k = page.subplots(1, 2)
looks = {"score function": (lesson.ORANGE, "o--"), "score function, baseline": (lesson.BLUE, "s-."),
         "reparameterisation": ("black", "^-"), "noise drawn twice": (lesson.RED, "x:")}
for way, (colour, style) in looks.items():
    if way in found[1]:
        ax_d.loglog(dims, [found[d][way].std() for d in dims], style[0], color=colour, markersize=6, label=way)
        ax_d.loglog(dims, [exact_variance(way, d) ** 0.5 for d in dims], style[1:], color=colour, linewidth=1.2)
    ax_k.loglog(counts, errors[way], style, color=colour, markersize=4, linewidth=1.2, label=way)
ax_d.set(xticks=(1, 4, 16, 64, 256), xticklabels=(1, 4, 16, 64, 256))
ax_d.set_xlabel("dimensions d")
ax_d.set_ylabel("standard deviation of one estimate")
ax_d.set_title("gradient by mu: noise against dimension\n(marks: measured; lines: exact)", fontsize=10)
ax_k.set_xlabel("draws K")
ax_k.set_ylabel("root mean square error")
ax_k.set_title(f"gradient by logvar, d = {d}: noise goes down\nas 1/√K, bias stays", fontsize=10)
for ax in (ax_d, ax_k):
    ax.grid(alpha=0.3)
ax_d.legend(fontsize=8)
ax_k.legend(fontsize=8, loc="lower left")
lesson.save(page, "04_reparameterisation", args)

# %% [markdown]
# ## Try this
#
# - *Fewer draws*: `python demos/04_reparameterisation.py --draws 1000` prints, at d = 256, `256 0.125 0.568 ( 258.01)
#   0.346 ( 21.48) 0.127 ( 2.00)`. The truth is 0.125: from 1000 draws the reparameterised estimate is right to 0.002,
#   and the score function's is not even of the right size.
# - *Other noise, other numbers*: with fresh noise, the last line says 26190 for a derivative of -1.49. `python
#   demos/04_reparameterisation.py --seed 1` prints `central difference, fresh noise each time: 6172.520833`. It is
#   noise divided by 2h, and so it grows as h falls.
# - *When only the score function works*: where z is a choice (0 or 1), no small change of a parameter moves a given z,
#   and there is no slope to use. There people use the score function, with good baselines.
