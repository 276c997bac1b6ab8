# %% [markdown]
# # 2. Is my gradient right?
#
# **What you will see.** A derivative worked out by hand (lesson 1) may be wrong, and often trains all the same, only
# worse. So we compare it with a number that needs no derivation. You will see three ways to that number, and how many
# digits each gives. Then five mistakes: three that a check catches, one of them only at the right point, and two that
# it cannot catch.
#
# **Words.** A *gradient check* compares the gradient g with the change of the loss f when the parameters θ move a
# little, by h, in some direction v:
#
#     forward difference    [ f(θ + h v) - f(θ) ] / h                   error of order h
#     central difference    [ f(θ + h v) - f(θ - h v) ] / (2h)          error of order h²
#     complex step          Im f(θ + i h v) / h                         error of order h², and nothing is subtracted
#
# All three should be g·v, the sum of the products of the entries of g and v. v is drawn at random, so that one
# comparison looks at all entries of g at once. The *relative error* is the difference of the two numbers divided by
# their size: 1e-6 means that some 6 digits agree.
#
# In the *complex step*, i is the imaginary unit, i² = -1, and Im the imaginary part. It works because Taylor's series
# holds for complex arguments as well: f(θ + i h v) = f + i h (g·v) - (h²/2) f'' - i (h³/6) f''' + ..., where f'' and
# f''' are derivatives along v. The real part holds f, and the imaginary part holds h (g·v), up to terms of order h³. So
# dividing the imaginary part by h gives g·v, and f need not be subtracted.
#
# **The math.** MATH (10.1) is the complex step, (10.2) the central difference; (1.2) and (1.3) are the layers whose
# gradient is checked.
#
# `python demos/02_gradient_check.py` takes a second or two.

# %%
import lesson                                          # first: it sets the number of threads

import numpy as np

from scratchvae.mlp import MLP, pack
from scratchvae.train.plotting import figure
from scratchvae.verify.gradcheck import check_function

parser = lesson.options("Lesson 2: forward and central differences, the complex step, what a check catches.")
parser.add_argument("--float32", action="store_true", help="compute in float32, which has half the digits of float64")
parser.add_argument("--activation", choices=("tanh", "relu"), default="tanh", help="of the network (default tanh)")
args = lesson.parse(parser)
real, complex_ = (np.float32, np.complex64) if args.float32 else (np.float64, np.complex128)
rng = np.random.default_rng(args.seed)

# %% [markdown]
# ## A loss, its gradient, a direction
#
# A network of 5-8-3 with tanh, five random examples. `pack` lays all 75 parameters in one vector, theta, and their
# gradients in another; it also makes the network complex if asked to.

# %%
net = MLP((5, 8, 3), args.activation, rng)
theta, gradient, _, _ = pack(net.layers, complex_)                     # complex numbers hold real ones, too
theta += 0.1 * rng.standard_normal(theta.size)                         # no bias is left at 0
x, t = rng.standard_normal((5, 5)).astype(real), rng.standard_normal((5, 3)).astype(real)


def loss(move):
    """Return the loss at theta + move."""
    start = theta.copy()
    theta[:] = start + move
    y, _ = net.forward(x)
    theta[:] = start
    return 0.5 * ((y - t) * (y - t)).sum()


y, cache = net.forward(x)
net.backward(y - t, cache)
v = rng.standard_normal(theta.size).astype(real)
by_hand = (gradient.real * v).sum()

# %% [markdown]
# ## The error against the step size
#
# Small steps should be better: the errors above are of order h or h². But f has only 16 digits. For small h the two
# values of a difference agree in most of them, and those digits are lost. So the error falls, and then rises again: a
# V. The complex step subtracts nothing, so h can be tiny, and the error is that of f itself.

# %%
steps = 10.0 ** np.arange(-1, -20.5, -0.5)
ways = {"forward difference": lambda h: (loss(h * v) - loss(0 * v)).real / h,
        "central difference": lambda h: (loss(h * v) - loss(-h * v)).real / (2 * h),
        "complex step": lambda h: loss(1j * h * v).imag / h}
errors = {name: np.array([abs(way(h) - by_hand) / abs(by_hand) for h in steps]) for name, way in ways.items()}
print(f"A network of 5-8-3, {theta.size} parameters, loss {loss(0 * v).real:.4f}, gradient along v {by_hand:.6f}\n")
print(f"{'step h':>8}" + "".join(f"{name:>20}" for name in ways))
for k in range(0, len(steps), 4):
    print(f"{steps[k]:8.0e}" + "".join(f"{errors[name][k]:20.1e}" for name in ways))
print()
for name in ("forward difference", "central difference"):
    best = errors[name].argmin()
    print(f"{name}: least error {errors[name][best]:.0e}, at h = {steps[best]:.0e}")
print(f"complex step: error {abs(ways['complex step'](1e-30) - by_hand) / abs(by_hand):.0e} at h = 1e-30")

# %% [markdown]
# The run prints `forward difference: least error 4e-08, at h = 1e-08` and `central difference: least error 4e-11, at
# h = 1e-05`: 7 and 10 digits at the best step, fewer at others. It prints `complex step: error 2e-16 at h = 1e-30`: all
# the digits there are. So the library's forward passes accept complex numbers, and its checks demand 12 digits.
#
# ## What a check catches, and what it cannot
#
# `check_function(forward, backward, inputs)` does this for any function of the library or of your own. Here are five
# mistakes in the draw z = mu + σ eps, σ = exp(logvar / 2), and in the KL divergence; the third mistake is looked at
# twice, at two points. (`logvar` is log σ², the logarithm of a variance. Both functions are explained in lessons 3 to
# 6: for now they are just functions with a forward and a backward.)

# %%
mu, logvar, eps = rng.standard_normal((3, 4, 2))


def draw(mu, logvar):
    """Forward as it should be."""
    return mu + np.exp(logvar / 2) * eps, (logvar, eps)


def kl(mu, logvar):
    """Forward as it should be."""
    return 0.5 * (np.exp(logvar) - 1 - logvar + mu * mu).sum(axis=1), (mu, logvar)


def right(dz, cache):
    """∂z/∂mu = 1, ∂z/∂logvar = σ eps / 2."""
    logvar, eps = cache
    return dz, dz * np.exp(logvar / 2) * eps / 2


def one_entry(dz, cache):
    """Right, but for a thousandth of one entry."""
    dmu, dlogvar = (d.copy() for d in right(dz, cache))
    dlogvar[0, 0] *= 1.001
    return dmu, dlogvar


def no_half(dz, cache):
    """Forgets the 1/2 of d exp(l/2)/dl = exp(l/2)/2."""
    dmu, dlogvar = right(dz, cache)
    return dmu, 2 * dlogvar


def no_sigma(dz, cache):
    """Forgets σ: right only where logvar = 0."""
    logvar, eps = cache
    return dz, dz * eps / 2


def wrong_kl(mu, logvar):
    """Forward without its factor 1/2 ..."""
    return (np.exp(logvar) - 1 - logvar + mu * mu).sum(axis=1), (mu, logvar)


def wrong_kl_backward(dkl, cache):
    """... and the backward that belongs to it."""
    mu, logvar = cache
    return dkl[:, None] * 2 * mu, dkl[:, None] * (np.exp(logvar) - 1)


def std_draw(mu, logvar):
    """Takes exp(logvar), which is σ², for σ ..."""
    return mu + np.exp(logvar) * eps, (logvar, eps)


def std_backward(dz, cache):
    """... in backward as well."""
    logvar, eps = cache
    return dz, dz * np.exp(logvar) * eps


cases = [("no mistake", draw, right, logvar),
         ("one entry wrong by 0.1 %", draw, one_entry, logvar),
         ("factor 1/2 forgotten in backward", draw, no_half, logvar),
         ("σ forgotten in backward", draw, no_sigma, logvar),
         ("the same, looked at where logvar = 0", draw, no_sigma, 0 * logvar),
         ("KL without 1/2, forward and backward", wrong_kl, wrong_kl_backward, logvar),
         ("σ = exp(logvar), forward and backward", std_draw, std_backward, logvar)]
print(f"\n{'':<40}{'complex step':>16}{'central':>16}")
for name, forward, backward, at in cases:
    ledgers = [check_function(forward, backward, mu, at, method=method) for method in ("complex", "central")]
    print(f"{name:<40}" + "".join(f"{ledger.worst.error:10.1e} {'ok   ' if ledger.ok else 'WRONG'}"
                                  for ledger in ledgers))

# %% [markdown]
# Read the last three lines with care: they say ok, and in all three something is wrong.
#
# - The first of them is the third mistake once more. At logvar = 0, where σ = 1, it cannot be seen. *So check at a
#   point where nothing is special*: move the parameters away from the zeros that they start with.
# - The last two compute the wrong thing, and differentiate it correctly. *A gradient check compares backward with
#   forward. Whether forward matches the math is another question*, and needs another answer: a known value, a density
#   of SciPy, a model in which everything is known (lesson 5). Lesson 10 has 40 such mistakes, and shows which of eleven
#   checks catches which.

# %%
page = figure(7.5, 5)
ax = page.subplots()
for name, style, colour in (("forward difference", "o--", lesson.ORANGE), ("central difference", "s-.", lesson.BLUE),
                            ("complex step", "^-", "black")):
    ax.loglog(steps, np.maximum(errors[name], 1e-17), style, color=colour, markersize=4, linewidth=1.3, label=name)
ax.invert_xaxis()
ax.set(ylim=(3e-18, 30))
ax.set_xlabel("step size h (smaller to the right)")
ax.set_ylabel("relative error of the derivative")
spacing = np.finfo(real).eps
ax.axhline(spacing, color="0.6", linewidth=0.8)
ax.text(0.05, 1.4 * spacing, f"spacing of {np.dtype(real)} numbers", fontsize=8, color="0.35", va="bottom")
ax.text(3e-19, 3, "all digits lost", fontsize=8, color="0.35", ha="center")
ax.set_title("Two differences have a best step; the complex step has none to look for", fontsize=11)
ax.grid(alpha=0.3)
ax.legend(fontsize=9, loc="center right", bbox_to_anchor=(1, 0.55))
lesson.save(page, "02_gradient_check", args)

# %% [markdown]
# An error of exactly 0, which happens when all digits agree, has no logarithm: it is drawn as 1e-17.
#
# ## Try this
#
# - *Half the digits*: `python demos/02_gradient_check.py --float32` prints `forward difference: least error 2e-04, at
#   h = 3e-04`. Differences in float32 have 4 to 6 digits at their best steps. One entry wrong by a thousandth is an
#   error of about that size: it may show, or not. So check in float64, even if you train in float32. (The table of
#   mistakes is in float64 in either case.)
# - *A kink*: `python demos/02_gradient_check.py --activation relu` prints `forward difference: least error 2e-08, at h
#   = 1e-08`. No kink lies within such a small step of this point, and within a piece without kinks a difference is as
#   good as for tanh; at the larger steps of the table the slopes of both sides are mixed.
# - *A mistake in the check itself*: choosing the same random numbers as direction for two arrays, or as dy and as x. An
#   error in one term can then be hidden by an equal and opposite error in another. gradcheck.py draws independent
#   numbers for each.
