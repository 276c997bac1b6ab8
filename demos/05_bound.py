# %% [markdown]
# # 5. The bound and its gap
#
# **What you will see.** A VAE (lessons 3 and 6) is trained on a *lower bound* of log p(x), the ELBO. Here is a model in
# which log p(x) itself is known: in training the ELBO rises towards it. Then more draws close the gap, and the weight
# beta trades one part of the bound for the other.
#
# **Words.** We see x, and model it as made from an unseen *latent* z.
#
# - The *prior* p(z): which z are likely before x is seen. Here it is N(0, I), independent normal numbers.
# - The *likelihood* p(x | z): how x is made from z.
# - The *evidence* p(x) = ∫ p(x | z) p(z) dz is how likely the model finds x, over all z. A good model has a large log
#   p(x), in *nats* (with base 2: bits).
# - The *posterior* p(z | x) = p(x | z) p(z) / p(x): which z are likely after x is seen. For a neural network it has no
#   formula, as p(x) has none. Instead we use:
# - q(z | x), the *approximate posterior*: its mean and variance come from a network that sees x, the *encoder*.
# - The *KL divergence* KL(q || p) = E_q[log q - log p]: how far q is from p; 0 only if they are equal.
# - The *ELBO* (evidence lower bound) is E_q[log p(x | z)] - KL(q(z | x) || p(z)): *reconstruction* minus the *KL*.
#
# **The math.** MATH (5.1) and (5.2), derived below: log p(x) = ELBO + KL(q(z | x) || p(z | x)). The last term is the
# *gap*, and is never negative. (5.3) is the ELBO as reconstruction minus KL, (5.5) importance sampling, and section
# 11 the model in which all is known.
#
# `python demos/05_bound.py` takes some seconds.

# %%
import lesson                                          # first: it sets the number of threads

import numpy as np

from scratchvae import VAE, Gaussian, decay, fit, gaussian
from scratchvae.train.plotting import figure
from scratchvae.verify import exact

parser = lesson.options("Lesson 5: the bound on log p(x), and its gap.", epochs=150)
parser.add_argument("--latents", type=int, default=2, help="of the model that is trained (default 2)")
args = lesson.parse(parser)
if not 1 <= args.latents <= 5:
    parser.error("--latents must lie between 1 and 5")

# %% [markdown]
# ## Where the bound comes from
#
# We want log p(x), but p(x) is an integral without a formula. Three steps lead around it.
#
# *One.* The product rule says p(x, z) = p(x) p(z | x). Divide by the last factor, MATH (5.1):
#
#     p(x) = p(x, z) / p(z | x)               for every z
#
# The left side has no z: the right side is the same for every z. But we do not know the posterior p(z | x).
#
# *Two.* Take the logarithm, and put in a density q(z | x) that we do know. It is subtracted once and added once:
#
#     log p(x) = [ log p(x, z) - log q(z | x) ] + [ log q(z | x) - log p(z | x) ]         still for every z
#
# The first bracket can be computed. The second cannot.
#
# *Three.* Average over z drawn from q. The left side stays as it is, and the second bracket becomes a KL divergence.
# No KL is negative: log u <= u - 1, so -KL(q || p) = E_q[log(p/q)] <= E_q[p/q - 1] <= 0, as E_q[p/q] = ∫ p dz is at
# most 1. This is MATH (5.2):
#
#     log p(x) = E_q[ log p(x, z) - log q(z | x) ] + KL( q(z | x) || p(z | x) )  >=  E_q[ log p(x, z) - log q(z | x) ]
#                             ELBO                              gap
#
# *How it is computed.* Split p(x, z) = p(x | z) p(z), and give p(z) to log q: reconstruction minus KL, MATH (5.3).
#
# ## On the blackboard: one number z, one number x
#
# Let z ~ N(0, 1) and x | z ~ N(z, 1), and let x = 2 be what we see. Variances add, so x ~ N(0, 2). The posterior lies
# halfway between the prior's mean 0 and x: N(1, 1/2), MATH (11.1). Suppose our q is lazy and says N(0, 1), whatever x.
# Two formulas are needed; N(z; m, v) is the normal density at z, with mean m and variance v. MATH (3.3) and (3.5):
#
#     log N(z; m, v)            = -(1/2)(log 2πv + (z - m)²/v)
#     KL(N(m, v) || N(n, w))    =  (1/2)(v/w - 1 - log(v/w) + (m - n)²/w)
#
#     log p(x)  = log N(2; 0, 2)                                     = -(1/2)(log 4π + 2)             = -2.2655
#     ELBO      = E[log N(2; z, 1)] - KL(N(0, 1) || N(0, 1))         = -(1/2)(log 2π + 4 + 1) - 0     = -3.4189
#     gap       = KL(N(0, 1) || N(1, 1/2))                           = (1/2)(2 - 1 - log 2 + 2)       =  1.1534
#
# and ELBO + gap = log p(x). In the ELBO, 4 + 1 is the mean of (2 - z)² over the lazy q: for z ~ N(0, 1) the number
# 2 - z has mean 2 and variance 1, and the mean of a square is the square of the mean plus the variance. The run
# computes log p(x), ELBO and gap separately. Then it puts a few z into the two brackets of step two.

# %%
log_p = gaussian.log_prob(*np.array([[[2.0]], [[0.0]], [[np.log(2)]]]))[0][0]
bound = -0.5 * (gaussian.LOG_2PI + (2 - 0) ** 2 + 1) - gaussian.kl_standard(np.zeros((1, 1)), np.zeros((1, 1)))[0][0]
gap = gaussian.kl(*np.array([[[0.0]], [[0.0]], [[1.0]], [[np.log(0.5)]]]))[0][0]
print(f"x = 2, q lazy: log p(x) {log_p:.4f}, ELBO {bound:.4f}, gap {gap:.4f}, ELBO + gap {bound + gap:.4f}\n")
print("the two brackets, for q lazy\n     z    first   second   their sum")
for z in np.array([[[-1.0]], [[0.0]], [[1.0]], [[2.0]]]):
    log_joint = gaussian.log_prob(z, 0 * z, 0 * z)[0][0] + gaussian.log_prob(0 * z + 2, z, 0 * z)[0][0]
    log_q, log_posterior = gaussian.log_prob(z, 0 * z, 0 * z)[0][0], gaussian.log_prob(z, 0 * z + 1, np.log(0.5))[0][0]
    first, second = log_joint - log_q, log_q - log_posterior
    print(f"{z[0, 0]:6.1f} {first:8.4f} {second:8.4f} {first + second:11.4f}")
print()

# %% [markdown]
# Each bracket changes with z, their sum does not: the run prints `-1.0 -5.4189 3.1534 -2.2655` and `2.0 -0.9189 -1.3466
# -2.2655`. The second bracket may be negative for one z; its mean over q is the gap.
#
# ## The bound rises to the evidence
#
# Now six numbers x, made from two latents by a random matrix and some noise, 500 examples. The model is a VAE with
# linear maps and a fixed variance of the noise. For it log p(x) is known whatever its parameters:
# `exact.log_likelihood`. And so is the best value that any such model can reach on these data: `exact.ppca`,
# probabilistic PCA, MATH (11.6).
#
# After each *epoch*, one pass over the data, log p(x) and the ELBO are computed. `decay` lowers the learning rate.

# %%
rng = np.random.default_rng(args.seed)
x = rng.standard_normal((500, 2)) @ rng.standard_normal((2, 6)) + 0.5 * rng.standard_normal((500, 6))
best, ceiling = exact.ppca(x, args.latents, s2=0.25)

model = VAE(6, args.latents, (), likelihood=Gaussian(6, logvar=np.log(0.25)), rng=args.seed, dtype=float)


def elbo(model):
    """Return reconstruction, KL and ELBO without drawing: E|x - z W - b|² = |x - mu W - b|² + Σ σ_i² |w_i|²."""
    mu, logvar = model.encode(x)
    W = model.p.output.W
    at_mean = model.likelihood.log_prob(x, model.p.forward(mu)[0])[0]
    reconstruction = (at_mean - 0.5 * (np.exp(logvar) * (W * W).sum(axis=1)).sum(axis=1) / 0.25).mean()
    kl = gaussian.kl_standard(mu, logvar)[0].mean()
    return reconstruction, kl, reconstruction - kl


curve = [(exact.log_likelihood(model, x).mean(), elbo(model)[2])]
early = None


def watch(model, history):
    """Note log p(x) and the bound after an epoch; keep the model of an early one."""
    global early
    curve.append((exact.log_likelihood(model, x).mean(), elbo(model)[2]))
    if len(curve) == 1 + min(10, args.epochs):
        early = model.astype(float)


fit(model, x, epochs=args.epochs, batch_size=50, learning_rate=decay(0.01, 0.001, args.epochs), rng=args.seed,
    callback=watch)
log_ps, bounds = np.array(curve).T
print(f"in nats per example, means over {len(x)} examples; the best that such a model can do is {ceiling:.3f}\n"
      f"{'epoch':>6} {'log p(x)':>9} {'ELBO':>9} {'gap':>7}")
for epoch in sorted({0, min(10, args.epochs), args.epochs // 3, args.epochs}):
    print(f"{epoch:>6} {log_ps[epoch]:9.3f} {bounds[epoch]:9.3f} {log_ps[epoch] - bounds[epoch]:7.3f}")

# %% [markdown]
# The run prints, for epochs 0 and 150, `0 -13.724 -21.564 7.840` and `150 -6.575 -6.630 0.054`. Both rise, log p(x)
# nearly to the best that is possible, and the gap becomes small as the encoder learns the posterior. For a linear model
# the posterior is a normal distribution whose mean is linear in x, as our q is. So the gap can close if the posterior
# has no correlations between the latents, as our q has none; the latents can be turned so, MATH (11.4). Training has
# not turned them all the way: of the 0.054 nats left, 0.051 are due to correlations, MATH (11.5). With a deeper decoder
# something remains in any axes.
#
# ## More draws close the gap
#
# Take the model of epoch 10, whose q is not good yet. With K draws z_1, ..., z_K from q, and *importance weights* w_k =
# p(x, z_k) / q(z_k | x), the mean of the w_k is an unbiased estimate of p(x), and log((1/K) Σ w_k) a lower bound of log
# p(x) in expectation. For K = 1 it is the ELBO; with every further draw it rises: MATH (5.5). This is how log p(x) is
# estimated where it is not known.

# %%
counts = (1, 2, 5, 10, 30, 100, 300, 1000)
truth = exact.log_likelihood(early, x).mean()
weighted = [np.mean([early.log_likelihood(x, K, rng=r).mean() for r in range(max(6, 60 // K))]) for K in counts]
print(f"\nthe model of epoch {min(10, args.epochs)}: log p(x) {truth:.3f}, ELBO {elbo(early)[2]:.3f}")
for K, value in zip(counts, weighted):
    print(f"{K:>6} draws: {value:9.3f}, below log p(x) by {max(0, truth - value):.3f}")

# %% [markdown]
# ## Beta trades
#
# In training, the KL may have a weight: loss = -(reconstruction - beta · KL), MATH (5.4). With beta = 1 it is the ELBO.
# A larger beta means less information in z: the KL falls, and so does the reconstruction.
#
# Here the best model for each beta is known. Multiplying the KL by beta is, up to a factor of the whole loss, the same
# as dividing the reconstruction by beta. For noise of variance s² the reconstruction is -(squared error)/(2 s²) and a
# constant, so that dividing it by beta turns s² into beta s²: training with beta is training as if the noise were beta
# s². The best model for a given noise is that of `exact.ppca`, MATH (11.6), which lesson 7 uses as well. A latent whose
# direction has the eigenvalue l of the data's covariance holds (1/2) log(l / (beta s²)) nats if l > beta s², and
# otherwise none. All these models are then measured in the same way, with the true noise s² and beta = 1.

# %%
betas = (0.1, 0.25, 0.5, 1, 2, 4, 8, 16)
trade = []
for beta in betas:
    p, _ = exact.ppca(x, args.latents, s2=0.25 * beta)
    rival = VAE(6, args.latents, (), likelihood=Gaussian(6, logvar=np.log(0.25)), dtype=float)
    rival.p.output.W[:], rival.p.output.b[:] = p.W, p.b
    M = p.W @ p.W.T + 0.25 * beta * np.eye(args.latents)       # its best q, MATH (11.5), at noise beta s²
    G = p.W.T @ np.linalg.inv(M)
    exact.set_q(rival, {1: exact.Affine(G, -p.b @ G, np.diag(0.25 * beta / np.diag(M)))})
    reconstruction, kl, total = elbo(rival)
    trade.append((beta, kl, reconstruction, total))
print(f"\n{'beta':>6} {'KL':>8} {'reconstr.':>10} {'ELBO':>9}")
for row in trade:
    print("{:6g} {:8.3f} {:10.3f} {:9.3f}".format(*row))

# %% [markdown]
# The ELBO is largest at beta = 1, which trains for it.

# %%
page = figure(10, 7.6)
(ax_z, ax_t), (ax_k, ax_b) = page.subplots(2, 2)
z = np.linspace(-3.5, 3.5, 300)
for mean, variance, style, colour, name in ((0, 1, "--", lesson.ORANGE, "prior, and the lazy q: N(0, 1)"),
                                            (1, 0.5, "-", lesson.BLUE, "posterior p(z | x = 2): N(1, 1/2)")):
    density = np.exp(-(z - mean) ** 2 / (2 * variance)) / np.sqrt(2 * np.pi * variance)
    ax_z.plot(z, density, style, color=colour, label=name)
ax_z.axvline(2, color="0.4", linestyle=":", label="x = 2, what was seen")
ax_z.set(ylim=(0, 0.85), xlabel="z", ylabel="density")
ax_z.set_title(f"the blackboard: a lazy q costs a gap of {gap:.2f} nats", fontsize=10)
ax_z.legend(fontsize=8, loc="upper left")

epochs = np.arange(len(curve))
ax_t.plot(epochs, log_ps, "-", color=lesson.BLUE, label="log p(x), exact")
ax_t.plot(epochs, bounds, "--", color=lesson.RED, label="ELBO")
ax_t.fill_between(epochs, bounds, log_ps, color="0.85", label="gap")
ax_t.axhline(ceiling, color="black", linewidth=0.8, linestyle=":", label="best possible")
ax_t.set(xlabel="epoch", ylabel="nats per example", ylim=(ceiling - 12, ceiling + 0.8), xlim=(0, min(60, args.epochs)))
ax_t.set_title("in training the bound rises to the evidence", fontsize=10)
ax_t.legend(fontsize=8, loc="lower right")

ax_k.semilogx(counts, weighted, "o-", color=lesson.RED, label="bound of K draws, L$_K$")
ax_k.axhline(truth, color=lesson.BLUE, label="log p(x), exact")
ax_k.set(xlabel="draws K", ylabel="nats per example")
ax_k.set_title(f"epoch {min(10, args.epochs)}: more draws close the gap", fontsize=10)
ax_k.legend(fontsize=8, loc="lower right")

_, kls, reconstructions, totals = np.array(trade).T
ax_b.plot(kls, reconstructions, "o-", color=lesson.GREEN, markersize=4)
for beta, kl, reconstruction in zip(betas, kls, reconstructions):
    ax_b.annotate(f"{beta:g}" if beta != betas[0] else f"beta = {beta:g}", (kl, reconstruction),
                  xytext=(6, -9) if beta != betas[0] else (-44, 8),
                  textcoords="offset points", fontsize=8)
ax_b.set(xlabel="KL, nats per example", ylabel="reconstruction, nats per example")
ax_b.margins(x=0.2, y=0.1)
ax_b.set_title("beta trades: what z holds against what comes back", fontsize=10)
for ax in (ax_z, ax_t, ax_k, ax_b):
    ax.grid(alpha=0.3)
lesson.save(page, "05_bound", args)

# %% [markdown]
# ## Try this
#
# - *One latent, though the data have two*: `python demos/05_bound.py --latents 1` prints `the best that such a model
#   can do is -7.467`, 0.95 nats lower: what the second latent was worth. The gap still closes; a bound may be tight
#   for a model that is too small.
# - *Five latents*: `python demos/05_bound.py --latents 5` prints `the best that such a model can do is -6.507`: three
#   more latents are worth 0.013 nats. Lesson 7 shows that most of them switch off.
# - *Where is log p(x) harder to estimate?* In the section on draws, put `model` for each `early`: for the trained model
#   1 draw is too low by 0.054 nats, 10 draws by 0.004; for that of epoch 10 it was 0.526 and 0.032. Importance sampling
#   needs few draws where q is good, and many where it is not.
