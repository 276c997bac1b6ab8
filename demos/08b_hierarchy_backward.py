# %% [markdown]
# # 8b. The hierarchy, backward
#
# **What you will see.** Lesson 6 took the gradient of a VAE apart, line by line. Here is the same for a hierarchy. One
# thing is new: a latent z_t is used up to *three times*, so its gradient is a sum of three. First two levels with
# numbers that you can compute on paper. Then any number of levels, T. Then three levels on digits, with the share of
# each use. At the end each use is forgotten once, to see what becomes of the training. Exercise 12 follows this lesson.
#
# **Words.** They are those of lessons 6 and 8. q(z_t | z_{t-1}) goes up, p(z_{t-1} | z_t) comes down, and x is z_0.
# All but p(x | z_1) are Gaussians, and a network gives each as one array, [ mu | logvar ]. We call these arrays q[t]
# and p[t - 1]; p[0] holds the logits of x. The *entropy* of a density is H[q] = -E_q[ log q ]: how spread out it is.
# For a Gaussian it is (1/2)( log 2π + 1 + logvar ), as E[ (z - mu)² ] = σ².
#
# **The math.** MATH (7.2) has the three parts of the bound, (7.3) the consistency part as it is computed, and (7.4) the
# backward pass. The pieces: (1.1), what is used twice has the sum of both gradients; (3.2), the draw; (3.3), the
# log-density; (3.4), the entropy; (3.5), the KL.
#
# `python demos/08b_hierarchy_backward.py` takes some 5 seconds.

# %%
import lesson                                          # first: it sets the number of threads

import numpy as np

from scratchvae import HVAE, Adam, Gaussian, evaluate, fit, gaussian
from scratchvae.data import binarize, digits
from scratchvae.train.plotting import figure

parser = lesson.options("Lesson 8b: the backward pass of the hierarchy, and the three uses of a latent.", epochs=60)
args = lesson.parse(parser)

# %% [markdown]
# ## Where z_1 is used
#
# The ELBO is the mean of log p(x, z) - log q(z | x), lesson 5. With two levels both are products. Take the logarithms,
# and put each p beside the q of the same variable:
#
#     log p(x | z_1)  -  [ log q(z_2 | z_1) - log p(z_2) ]  -  [ log q(z_1 | x) - log p(z_1 | z_2) ]
#
# These are the three parts of the bound, MATH (7.2). In the first bracket only z_2 is drawn, from q(z_2 | z_1): its
# mean is a KL, which has a formula. In the second, log p(z_1 | z_2) contains z_2, which was drawn from z_1. So z_2 is
# not fixed while we average over z_1, and the bracket is not a KL. Only the mean of log q(z_1 | x) over its own draw is
# known: it is -H. log p(z_1 | z_2) is taken at the draw. This is the *exact form*, (7.3). For one draw of z_1 and z_2:
#
#     loss = -log p(x | z_1)  +  KL( q(z_2 | z_1) || N(0, I) )  -  H[ q(z_1 | x) ] - log p(z_1 | z_2)
#
# Look for z_1. It is used three times:
#
#     use 1   in q(z_2 | z_1), as the condition      the way up: z_1 made z_2
#     use 2   in p(x | z_1), as the condition        the way down: z_1 makes x
#     use 3   in p(z_1 | z_2), as the point          does z_1 lie where the level above expects it?
#
# H does not contain z_1: the entropy of a Gaussian depends on its logvar alone. (What if log q(z_1 | x) is taken at the
# draw, too? With z_1 = mu + σ eps put in, it is -(1/2)( log 2π + logvar + eps² ): the same gradient as -H, 0 for mu and
# -1/2 for logvar.) z_2, at the top, has use 2 only: it is the condition of p(z_1 | z_2).
#
# ## On the blackboard: two levels, one number each
#
# Every network is a product with one number, and every variance is 1 (logvar = 0):
#
#     q(z_1 | x) = N(a_1 x, 1)       q(z_2 | z_1) = N(a_2 z_1, 1)       a_1 = a_2 = 1/2
#     p(x | z_1) = N(b_1 z_1, 1)     p(z_1 | z_2) = N(b_2 z_2, 1)       b_1 = 1, b_2 = 1/2
#     x = 2,   eps_1 = 0.5,   eps_2 = 0.75
#
# *Forward.* Do it yourself first; the run prints the results.
#
#     mu_q1 = a_1 x   = 1.00      z_1 = 1.00 + 0.5  = 1.5
#     mu_q2 = a_2 z_1 = 0.75      z_2 = 0.75 + 0.75 = 1.5
#     mu_p1 = b_2 z_2 = 0.75      h   = b_1 z_1     = 1.5
#
#     R = -(1/2)( log 2π + (x - h)² )                                  = -1.0439     (x - h)² = 0.25
#     P =  (1/2) mu_q2²                                                =  0.2812
#     C = -(1/2)( log 2π + 1 ) + (1/2)( log 2π + (z_1 - mu_p1)² )      = -0.2188     (z_1 - mu_p1)² = 0.5625
#     loss = -R + P + C                                                =  1.1064
#
# C is negative. This is right: one draw of it may be negative, and even its mean. Only the mean of P + C may not, as
# the sum is a KL, MATH (7.2).
#
# *Backward.* First R and C; then from the top level down to x. P contains mu_q2 itself, so its derivative is added in
# the line of dmu_q2.
#
#     dh     = h - x               = -0.5        R: the mean wants to be at x
#     dmu_p1 = -(z_1 - mu_p1)      = -0.75       C: p's mean wants to be at z_1 ...
#     use 3  =   z_1 - mu_p1       =  0.75       ... and z_1 wants to be at p's mean
#
#     z_2: use 2 = b_2 dmu_p1      = -0.375      the only use of z_2: dz = -0.375
#     dmu_q2 = dz + mu_q2          =  0.375      by the draw, and by the KL
#
#     z_1: use 1 = a_2 dmu_q2      =  0.1875     what the level above has found
#          use 2 = b_1 dh          = -0.5
#          use 3                   =  0.75
#          dz = 0.1875 - 0.5 + 0.75 = 0.4375     their sum, (1.1)
#     dmu_q1 = dz                  =  0.4375     by the draw alone: the entropy has no mu
#
#     da_1   = x dmu_q1   =  0.875      da_2 = z_1 dmu_q2 =  0.5625
#     db_1   = z_1 dh     = -0.75       db_2 = z_2 dmu_p1 = -1.125
#
# Use 1 needs dmu_q2, which needs the dz of z_2, *complete*. So backward goes from the top level down, as forward went
# up.
#
# The logvars have gradients as well. Here every σ is 1, so exp(logvar) and exp(-logvar) are 1, but their derivatives
# are not 0:
#
#     dlogvar_p1 = (1 - (z_1 - mu_p1)²)/2                       =  0.21875     C: log p(z_1 | z_2), (3.3)
#     dlogvar_q2 = dz (z_2 - mu_q2)/2 + (σ² - 1)/2              = -0.140625    by the draw, (3.2), and the KL, (3.5)
#     dlogvar_q1 = dz (z_1 - mu_q1)/2 - 1/2                     = -0.390625    by the draw, and the entropy, (3.4)
#
# In each line dz is that of the z that was drawn. For another σ, use 3 is (z - mu)/σ², dmu_p is minus that, and
# dlogvar_p is (1 - (z - mu)²/σ²)/2. Here the logvars of the networks do not depend on their inputs, so use 1 is
# a_2 dmu_q2, and use 2 of z_2 is b_2 dmu_p1. In general both halves, dmu and dlogvar, go back through the network.

# %%
board = HVAE(1, (1, 1), (), likelihood=Gaussian(1, logvar=0.0), dtype=float)
board.theta[:] = 0
for name, slope in (("q1", 0.5), ("q2", 0.5), ("p2", 0.5), ("p1", 1.0)):
    board.parameters[f"{name}.dense1.W"][0, 0] = slope                 # its columns: mu, logvar
x, eps = np.array([[2.0]]), [np.array([[0.5]]), np.array([[0.75]])]


def by_library(model, x, eps):
    """Return the loss, and the gradient of all parameters, by the model's own forward and backward."""
    elbo, cache = model.forward(x, eps)
    model.backward(elbo.loss_backward(), cache)
    return -elbo.total.mean(), model.gradient.copy()


loss, _ = by_library(board, x, eps)
da_1 = board.gradients["q1.dense1.W"][0, 0]
print(f"The blackboard, by the library: loss = {loss:.4f} nats")
for name, gradients in board.gradients.items():
    shown = [f"d{half} {value:9.6f}" for half, value in zip(("mu", "logvar"), gradients.ravel())]
    print(f"  {name:<11} {', '.join(shown)}")
board.parameters["q1.dense1.W"][0, 0] += 0.001
moved = by_library(board, x, eps)[0] - loss
print(f"  nudge a_1 by 0.001: the loss moves by {moved:.6f}, and da_1 = {da_1:.3f} promised {0.001 * da_1:.6f}\n")

# %% [markdown]
# q1.dense1.W is a_1, q2.dense1.W is a_2, and p1 and p2 have b_1 and b_2; the b of each network is a bias, 0 on the
# blackboard. The run prints `loss = 1.1064 nats`, and for a_1 `q1.dense1.W dmu 0.875000, dlogvar -0.781250`. The first
# is da_1; the second is x dlogvar_q1 = 2 · (-0.390625).
#
# ## Any number of levels
#
# With T levels nothing new comes (the entropy of level t + 1 depends on z_t by its logvar: that is a part of use 1).
# z_t has its three uses if a level stands above it; z_T, at the top, has use 2 alone. This is the whole of `HVAE.bound`
# and of `HVAE.backward`, MATH (7.4): two passes of three loops each. (There, the lines of C are in compare.py, so
# another form can replace them.) dz_q[t], dz_p[t] and dz_k[t] are what uses 1, 2 and 3 give z_t: q and p for the
# network whose condition z_t is, k for the comparison. Read a line of the first, then the line with the same comment in
# the second.


# %%
def forward(model, x, eps):
    """Return R, P and [C_1, ..., C_{T-1}], of shape (n,) each, and a cache."""
    T, z, q, p, cache = model.T, {0: x}, {}, {}, {}
    for t in range(1, T + 1):                                          # up
        q[t], cache["q", t] = model.q[t].forward(z[t - 1])             # use 1 of z_{t-1}
        z[t], cache["z", t] = gaussian.draw(q[t], eps[t - 1])        # the draw
    for t in range(1, T + 1):
        p[t - 1], cache["p", t] = model.p[t].forward(z[t])             # use 2 of z_t
    R, cache["R"] = model.likelihood.log_prob(x, p[0])
    P, cache["P"] = gaussian.kl_standard(*gaussian.halves(q[T]))
    C = []
    for t in range(1, T):
        entropy, cache["H", t] = gaussian.entropy(gaussian.halves(q[t])[1])
        log_p, cache["C", t] = gaussian.log_prob(z[t], *gaussian.halves(p[t]))            # use 3 of z_t
        C.append(-entropy - log_p)
    return R, P, C, (z, q, p, cache)


def backward(model, kept, forget=()):
    """Fill model.gradient with that of the mean of -R + P + C_1 + ...; leave out the uses to forget."""
    z, q, p, cache = kept
    n, T = len(z[0]), model.T
    dkl = np.full(n, 1 / n, model.dtype)                               # the loss is a mean over n examples, of C, P ...
    dR = -dkl                                                          # ... and -R
    dz_q, dz_p, dz_k = {T: 0 * z[T]}, {}, {T: 0 * z[T]}                # z_T has only use 2
    dq, dp = {}, {}
    for t in range(1, T):                                              # C = -entropy - log_p
        dlogvar_q = gaussian.entropy_backward(-dkl, cache["H", t])
        dq[t] = gaussian.halves_backward(0 * dlogvar_q, dlogvar_q)
        dz_k[t], dmu_p, dlogvar_p = gaussian.log_prob_backward(-dkl, cache["C", t])       # use 3 of z_t
        dp[t] = gaussian.halves_backward(dmu_p, dlogvar_p)
    dq[T] = gaussian.halves_backward(*gaussian.kl_standard_backward(dkl, cache["P"]))     # P
    _, dp[0] = model.likelihood.log_prob_backward(dR, cache["R"])      # R
    for t in range(1, T + 1):
        dz_p[t] = model.p[t].backward(dp[t - 1], cache["p", t])        # use 2 of z_t
    for t in range(T, 0, -1):                                          # down
        dz = sum(dv[t] for use, dv in ((1, dz_q), (2, dz_p), (3, dz_k)) if use not in forget)
        dq[t] = gaussian.draw_backward(dz, cache["z", t]) + dq[t]      # the draw
        dz_q[t - 1] = model.q[t].backward(dq[t], cache["q", t])        # use 1 of z_{t-1}
    return dz_q, dz_p, dz_k, dq, dp


# %% [markdown]
# Are they right for any T? Against the library's backward, and against the complex step of lesson 2, which knows none
# of these lines: the derivative along a random direction v must be the gradient times v.

# %%
data = digits()
x_train, x_test = binarize(data.x_train, "sample", rng=1), binarize(data.x_test, "sample", rng=2)
x = x_test[[0, 3, 8]].astype(float)                                    # (3, 64)
rng = np.random.default_rng(args.seed)
print("Any number of levels: how far these loops are, relatively")
for T in (1, 2, 3, 5, 8):
    model = HVAE(64, (8, 7, 6, 5, 4, 3, 2, 1)[:T], (16,), rng=args.seed, dtype=float)
    model.theta += 0.1 * rng.standard_normal(model.theta.size)         # no parameter left at 0
    eps, v = model.draw_noise(3, rng), rng.standard_normal(model.theta.size)
    backward(model, forward(model, x, eps)[3])
    by_hand = model.gradient.copy()
    twin = model.astype(np.complex128)
    twin.theta += 1e-30j * v
    R, P, C, _ = forward(twin, x.astype(complex), eps)
    by_step = (-R + P + sum(C)).mean().imag / 1e-30
    _, by_its_own = by_library(model, x, eps)
    print(f"  T = {T}, {len(v)} parameters: {np.abs(by_hand - by_its_own).max() / np.abs(by_hand).max():.0e} from the "
          f"library's gradient, {abs(by_hand @ v - by_step) / np.linalg.norm(by_hand):.0e} from the complex step")

# %% [markdown]
# With T = 1 the loops over t < T are empty: this is the VAE of lesson 6, whose z has use 2 alone.
#
# ## Three levels on digits
#
# Latents 8, 4 and 2, one hidden layer of 32, a little trained, in float64. The first numbers of the first digit.

# %%
model = HVAE(64, (8, 4, 2), (32,), x_mean=x_train.mean(axis=0), rng=args.seed, dtype=float)
fit(model, x_train, epochs=args.epochs, rng=args.seed, learning_rate=3e-3)
eps = model.draw_noise(3, np.random.default_rng(args.seed))


def show(name, value, what):
    """Print an array's shape and its first numbers for the first example."""
    first = value[0] if value.ndim > 1 else value
    numbers = " ".join(f"{number:8.4f}" for number in first[:4]) + (" ..." if len(first) > 4 else "")
    print(f"{name:<8} {str(value.shape):<8} {numbers:<40}  {what}")


R, P, C, kept = forward(model, x, eps)
z, q, p, cache = kept
print("\nForward")
for t in model.levels:
    show(f"q[{t}]", q[t], f"[ mu | logvar ] of q(z_{t} | {f'z_{t - 1}' if t > 1 else 'x'})")
    show(f"z[{t}]", z[t], "drawn from it")
for t in model.levels:
    show(f"p[{t - 1}]", p[t - 1], f"[ mu | logvar ] of p(z_{t - 1} | z_{t})" if t > 1 else "logits of p(x | z_1)")
show("R", R, "log p(x | z_1), nats, of the three digits")
for t in range(1, model.T):
    show(f"C_{t}", C[t - 1], f"-H[ q ] - log p(z_{t} | z_{t + 1}), nats")
show("P", P, "KL( q(z_3 | z_2) || N(0, I) ), nats")
print(f"loss = mean of -R + P + C_1 + C_2 = {(-R + P + sum(C)).mean():.4f} nats\n")

dz_q, dz_p, dz_k, dq, dp = backward(model, kept)
print("Backward: all densities first, then down from the top")
show("dp[0]", dp[0], "(sigmoid(l) - x) / n")
for t in (1, 2):
    show(f"dp[{t}]", dp[t], f"of log p(z_{t} | z_{t + 1}): -u / n for mu, u = (z - mu)/σ²")
for t in (3, 2, 1):
    print(f"level {t}")
    below = f"z_{t - 1}" if t > 1 else "x"
    for use, name, dv, what in ((1, "q", dz_q, f"back through q's network of z_{t + 1}"),
                                (2, "p", dz_p, f"back through p's network of {below}"), (3, "k", dz_k, "u / n")):
        if t < 3 or use == 2:
            show(f"dz_{name}[{t}]", dv[t], f"use {use}: {what}")
    show("dz", dz_q[t] + dz_p[t] + dz_k[t], "their sum")
    show(f"dq[{t}]", dq[t], "by the draw, and by the " + ("KL" if t == 3 else "entropy"))

# %% [markdown]
# How much does each use give? The root mean square over many digits, noise and latents, level by level.

# %%
many = x_train[:500].astype(float)
_, _, _, kept_many = forward(model, many, model.draw_noise(500, np.random.default_rng(args.seed)))
shares = backward(model, kept_many)[:3]
print("\nroot mean square of n · dz over 500 digits")
for t in model.levels:
    sizes = [500 * np.sqrt((dv[t] ** 2).mean()) for dv in shares]
    whole = 500 * np.sqrt((sum(dv[t] for dv in shares) ** 2).mean())
    print(f"  z_{t}: use 1 {sizes[0]:.3f}, use 2 {sizes[1]:.3f}, use 3 {sizes[2]:.3f}, their sum {whole:.3f}")

# %% [markdown]
# The two largest are use 2, which pulls z_1 to where the digit is likely, and use 3, which pulls it to where the level
# above expects it. The run prints `z_1: use 1 0.464, use 2 1.065, use 3 0.931`. Use 1 is the smallest of the
# three. But it is not small, and without it the gradient is wrong.
#
# ## Forget one
#
# Four models, with the same first weights, data and noise. The first is trained with the right gradient, each of the
# others without one use, at every level. How wrong the gradient is then is measured on the model above, with its three
# digits. Which mistakes would you notice?

# %%
curves, found = {}, {}
print(f"\nlatents 8, 4, 2 after {args.epochs} epochs, in nats per digit of {len(x_test)} held out")
for forget in ((), (1,), (2,), (3,)):
    pupil = HVAE(64, (8, 4, 2), (32,), x_mean=x_train.mean(axis=0), rng=args.seed)
    optimizer, rng, name = Adam(learning_rate=3e-3), np.random.default_rng(args.seed), ", ".join(map(str, forget))
    curves[forget] = []
    for epoch in range(args.epochs):
        elbos = []
        for rows in np.array_split(rng.permutation(len(x_train)), len(x_train) // 64):
            R, P, C, kept_rows = forward(pupil, x_train[rows], pupil.draw_noise(len(rows), rng))
            backward(pupil, kept_rows, forget)
            optimizer.step(pupil.theta, pupil.gradient)
            elbos.append((R - P - sum(C)).mean())
        curves[forget].append(np.mean(elbos))
    measured = evaluate(pupil, x_test, n_samples=200, rng=args.seed)
    backward(model, kept, forget)                                      # the trained model above, and its three digits
    wrong = model.gradient.copy()
    backward(model, kept)
    error = np.linalg.norm(wrong - model.gradient) / np.linalg.norm(model.gradient)
    sigma = np.exp(pupil.encode(x_test)[0][1] / 2).mean()
    print(f"  {f'without use {name}' if forget else 'all three uses':<15} "
          f"log p(x) {measured.log_likelihood.mean():7.2f}, "
          f"reconstruction {measured.elbo.reconstruction.mean():7.2f}, σ of z_1 {sigma:.2f}; "
          f"the gradient is wrong by {error:.0%}")

# %% [markdown]
# The run prints `all three uses log p(x) -23.63` and `without use 1 log p(x) -23.63`: *the loss shows nothing*. It
# falls as it should, and yet the run prints that the gradient `is wrong by 19%`. Nobody finds this by looking at a
# training curve. A gradient check finds it in a second.
#
# The other two can be seen, if you know what to expect. Without use 2 the reconstruction has no effect on q, and
# the latents hold nothing. Without use 3 σ grows: the entropy rewards a larger σ, as dlogvar_q has the term -1/2,
# and use 3 answers it. In the mean over eps_t, with p held fixed, both together give dlogvar_q = (σ_q²/σ_p² - 1)/2,
# which is 0 where q is as wide as p. Without use 3 σ grows, here beyond 10, and z_1 is all noise.
#
# ## The figure
#
# Left: the three levels. Up and down are networks, to the right are the points at which p is taken, and each part of
# the bound stands beside its variable. The coloured arrows are the uses of z_1. No arrow goes from z_3 to P, which
# needs q(z_3 | z_2) alone. Middle: what each use gives the eight numbers of z_1, for the first digit. Right:
# training, with and without.

# %%
colours = {1: lesson.BLUE, 2: lesson.ORANGE, 3: lesson.GREEN}
page = figure(11, 4.4)
ax_graph, ax_uses, ax_time = page.subplots(1, 3, width_ratios=(1.05, 1.1, 1.2))


def arrow(start, end, colour="0.7", width=1.2):
    """Draw an arrow from one point to another."""
    ax_graph.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": width})


ax_graph.set(xlim=(-1.5, 1.75), ylim=(-0.4, 3.45))
ax_graph.axis("off")
for t in range(4):
    ax_graph.text(0, t, f"$z_{t}$" if t else "x", ha="center", va="center", fontsize=12,
                  bbox={"boxstyle": "circle,pad=0.35", "facecolor": "white", "edgecolor": "0.4"})
    part = {0: "R", 3: "P"}.get(t, f"$C_{t}$")
    ax_graph.text(1.35, t, part, ha="center", va="center", fontsize=12,
                  bbox={"boxstyle": "square,pad=0.35", "facecolor": "0.93", "edgecolor": "none"})
    own = t == 1
    if t < 3:                                          # q up, on the left; p down, on the right
        arrow((-0.12, t + 0.24), (-0.12, t + 0.76), *((colours[1], 2.2) if own else ()))
        below = f"z_{t}" if t else "x"
        ax_graph.text(-0.2, t + 0.5, f"$q(z_{t + 1}\\,|\\,{below})$", ha="right", va="center", fontsize=9)
        arrow((0.2, t + 0.82), (1.1, t + 0.14), *((colours[2], 2.2) if t == 0 else ()))
        ax_graph.text(0.82, t + 0.52, f"$p({below}\\,|\\,z_{t + 1})$", ha="left", va="center", fontsize=9)
        arrow((0.27, t), (1.1, t), *((colours[3], 2.2) if own else ()))
ax_graph.set_title("the three uses of $z_1$", fontsize=10)
for use, place in ((1, (-0.02, 1.5)), (2, (0.35, 0.5)), (3, (0.6, 1.12))):
    ax_graph.text(*place, str(use), color=colours[use], fontsize=12, fontweight="bold", va="center")

at = np.arange(8)
for use, dv in ((1, dz_q), (2, dz_p), (3, dz_k)):
    ax_uses.bar(at + 0.25 * (use - 2), 3 * dv[1][0], width=0.25, color=colours[use], label=f"use {use}")
ax_uses.plot(at, 3 * (dz_q[1] + dz_p[1] + dz_k[1])[0], "_", color="black", markersize=18, markeredgewidth=2,
             label="their sum")
ax_uses.axhline(0, color="0.4", linewidth=0.8)
ax_uses.set_xticks(at, at + 1)
ax_uses.set(xlabel="number of $z_1$", ylabel="gradient of -ELBO, nats per unit")
ax_uses.set_title("the first digit: what each use gives $z_1$", fontsize=10)
ax_uses.legend(fontsize=8)

for forget, curve in curves.items():
    name = f"without use {', '.join(map(str, forget))}" if forget else "all three uses"
    ax_time.plot(np.arange(1, args.epochs + 1), curve, "--" if forget == (1,) else "-", label=name,
                 color=colours[forget[0]] if len(forget) == 1 else "0.6" if forget else "black",
                 linewidth=1.4, zorder=3 if forget == (1,) else 2)
ax_time.set_ylim(-34, -21.5)                             # room for the legend
ax_time.set(xlabel="epoch", ylabel="ELBO, nats per training digit")
ax_time.set_title("which mistake would you notice?", fontsize=10)
ax_time.legend(fontsize=8, loc="upper center", ncols=2)
for ax in (ax_uses, ax_time):
    ax.grid(alpha=0.3)
    ax.tick_params(labelsize=8)
lesson.save(page, "08b_hierarchy_backward", args)

# %% [markdown]
# ## Where it goes on
#
# - In the *printed form* of the third part (lesson 9), a KL compares q[t] and p[t] without looking at z_t. So use 3 is
#   gone, MATH (7.4).
# - A q that *comes down from the top* (lesson 11): given the level above, z_t is drawn afresh, so the third part is a
#   KL again, and exact. q meets z_{t+1} only through p's network, so one use is left, use 2. Backward goes up where
#   forward came down: MATH (12.5).
# - *Diffusion* (lesson 12) writes its q from the top as well, MATH (13.4). That q is fixed and has no parameters, so
#   nothing goes back along the way up. The parameters are met only where p's network reads a z, MATH (13.9). With
#   infinitely many levels the sum over levels is an integral, MATH (13.7). One level, drawn at random, stands for it,
#   and backward is as short as for one.
#
# ## Try this
#
# - *On paper*: let eps_2 = -0.75 on the blackboard. Then z_2 = 0, use 1 gives nothing, and da_1 = 2. Put it into
#   the code and compare.
# - *Longer*: does use 1 never matter? `python demos/08b_hierarchy_backward.py --epochs 300` prints `all three uses
#   log p(x) -22.96` and `without use 1 log p(x) -23.01`. Another `--seed` moves either of them as much.
# - *Forget two*: put (1, 3) in the list of what to forget. The run prints a σ of z_1 of about 2e16, where without use 3
#   alone it was 12. So what else holds σ?
# - *The page*: `scratchvae explain --model hvae --out three.html` writes this pass with the equation of every line.
# - Now do exercise 12: `python demos/exercises 12`.
