# %% [markdown]
# # 6. The VAE, line by line
#
# **What you will see.** Three handwritten digits go through a VAE: from the pixels to the latents, to the pixels again,
# to the bound; then the gradient goes the same way back, to the first weight of the encoder. Every line of `vae.py` is
# called by itself, and its result printed. At the end all gradients of two full-size models are compared with
# derivatives that need no derivation (lesson 2): the *ledger*.
#
# **Words.** They are those of lessons 1, 3 and 5. A *logit* l is any real number that stands for a probability, 1/(1 +
# e⁻ˡ): 0 for 1/2, large for nearly 1. `logvar` is log σ², any real number that stands for a variance. The *batch* is
# the examples that go through together.
#
# **The math.** MATH (6.2) has forward and backward side by side. Its lines are (3.2), the draw; (4.1), the Bernoulli
# log-probability; (3.5), the KL; (2.1), the networks; and (5.4), the loss with which backward begins.
#
# `python demos/06_vae.py` takes some 10 seconds; `--break` spoils one entry of one gradient of each of the two models
# by a thousandth.

# %%
import lesson                                          # first: it sets the number of threads

import time

import numpy as np

from scratchvae import HVAE, VAE, fit, gaussian
from scratchvae.data import binarize, digits
from scratchvae.explain import explain
from scratchvae.layers import Dense
from scratchvae.objective import ELBO
from scratchvae.train.plotting import figure, images
from scratchvae.verify.gradcheck import check_model

parser = lesson.options("Lesson 6: the VAE line by line, and the ledger of its gradients.", epochs=20)
parser.add_argument("--break", dest="broken", action="store_true", help="spoil one entry of each model by 0.1 %%")
parser.add_argument("--all", action="store_true", help="print every line of both ledgers")
args = lesson.parse(parser)

# %% [markdown]
# ## A small VAE, a little trained
#
# 64 pixels, one hidden layer of 16, four latents, in float64 so that digits can be compared.

# %%
data = digits()
x_train = binarize(data.x_train, "sample", rng=1)
model = VAE(64, 4, (16,), x_mean=x_train.mean(axis=0), rng=args.seed, dtype=float)
fit(model, x_train, epochs=args.epochs, rng=args.seed, learning_rate=3e-3)
chosen = [0, 3, 8]
x = binarize(data.x_test, "sample", rng=2)[chosen].astype(float)       # (3, 64)
eps = model.draw_noise(3, np.random.default_rng(args.seed))            # (3, 4): the noise is an input, lesson 4


def show(name, value, what):
    """Print an array's shape and its first numbers for the first example."""
    first = np.atleast_2d(value)[0] if value.ndim > 1 else value
    numbers = " ".join(f"{number:8.4f}" for number in first[:4]) + (" ..." if len(first) > 4 else "")
    print(f"{name:<16} {str(value.shape):<9} {numbers:<40}  {what}")


# %% [markdown]
# ## Forward
#
# The first numbers of the first digit at each line. n = 3 examples, D = 64 pixels, d = 4 latents.

# %%
print("Forward")
q, q_cache = model.q.forward(x)
z, z_cache = gaussian.draw(q, eps)
h, p_cache = model.p.forward(z)
reconstruction, r_cache = model.likelihood.log_prob(x, h)
prior_matching, k_cache = model.compare.forward(z, q, np.zeros_like(q))
elbo = ELBO(reconstruction, prior_matching, np.zeros((len(x), 0)))    # one level: no third part
loss = elbo.loss()
mu, logvar = gaussian.halves(q)
show("x", x, "pixels, 0 or 1")
show("q", q, "the encoder's output, [ mu | logvar ]")
show("mu", mu, "its left half: the mean of q(z | x)")
show("logvar", logvar, "its right half: log σ²")
show("eps", eps, "noise from N(0, I)")
show("z", z, "mu + exp(logvar / 2) · eps")
show("h", h, "the decoder's output: logits of the pixels")
show("reconstruction", reconstruction, "log p(x | z) = Σ x l - log(1 + eˡ), nats")
show("prior_matching", prior_matching, "the KL to N(0, I), Σ (σ² - 1 - logvar + mu²)/2")
show("elbo.total", elbo.total, "their difference")
print(f"loss = -(mean of the three) = {loss:.4f} nats\n")

# %% [markdown]
# ## Backward
#
# From the last line up. Each line of forward has its line here, one derivative that you can do on paper. It begins with
# the loss: a mean over n digits of prior matching minus reconstruction. One array was used twice, q: by the draw and by
# the KL. Its gradient is a sum of two.

# %%
print("Backward, from the bottom of forward to its top")
delbo = elbo.loss_backward()
_, dq_k, _ = model.compare.backward(delbo.dprior_matching, k_cache)    # this KL depends on q alone: z and p get 0
_, dh = model.likelihood.log_prob_backward(delbo.dreconstruction, r_cache)
dz = model.p.backward(dh, p_cache)
dq_z = gaussian.draw_backward(dz, z_cache)
dq = dq_z + dq_k
model.q.backward(dq, q_cache)
(dmu_k, dlogvar_k), (dmu_z, dlogvar_z) = gaussian.halves(dq_k), gaussian.halves(dq_z)
show("dreconstruction", delbo.dreconstruction, "-1/n")
show("dprior_matching", delbo.dprior_matching, "+1/n")
show("dmu_k", dmu_k, "mu / n: the KL pulls mu to 0")
show("dlogvar_k", dlogvar_k, "(σ² - 1) / 2n: and σ to 1")
show("dh", dh, "(sigmoid(l) - x) / n: what was expected minus what is there")
show("dz", dz, "through the decoder")
show("dmu_z", dmu_z, "dz: moving mu moves z")
show("dlogvar_z", dlogvar_z, "dz · (z - mu) / 2")
show("dq", dq, "[ dmu | dlogvar ], each the sum of both uses")

dW = model.gradients["q1.dense1.W"]                                    # (64, 16): the encoder's first weights
pixel = int(np.argmax(np.abs(dW).sum(axis=1)))
by_hand = dW[pixel, 0]
print(f"and so to the gradient of a first weight, from pixel {pixel} to hidden unit 1: {by_hand:.10f}")

# %% [markdown]
# ## Is it right?
#
# The library's `model.backward`, which is these lines, must give the same number, and so must the complex step of
# lesson 2, which uses none of them.

# %%
elbo, cache = model.forward(x, eps)
model.backward(elbo.loss_backward(), cache)
twin = model.astype(np.complex128)
twin.parameters["q1.dense1.W"][pixel, 0] += 1e-30j
by_step = twin.bound(x.astype(complex), eps)[0].loss().imag / 1e-30
print(f"{'by model.backward':>74}: {model.gradients['q1.dense1.W'][pixel, 0]:.10f}")
print(f"{'by the complex step':>74}: {by_step:.10f}")
print(f"relative difference: {abs(by_step - by_hand) / abs(by_hand):.0e}\n")

# %% [markdown]
# By hand, by the library and by the complex step the run prints -0.0958691126: `relative difference: 1e-16`.
#
# ## The ledger
#
# The same for *every* array of parameters and for x, for the loss and each part of the bound, in two full-size models.
# An array has up to 400,000 entries. They are checked all at once along a random direction. Errors are relative to the
# gradient of the whole array, so that one entry among 300,000 or 400,000, wrong by a thousandth, is an error of some
# 1e-8 to 1e-5: small, and far above 1e-12.

# %%
if args.broken:
    original = Dense.backward

    def wrong(self, dy, cache, input_gradient=True):
        """Backward as it is, but for the last entry of dW of the first layer, the only one with 784 inputs."""
        dx = original(self, dy, cache, input_gradient)
        if self.W.shape[0] == 784:
            self.dW[-1, -1] *= 1.001
        return dx

    setattr(Dense, "backward", wrong)

rng = np.random.default_rng(args.seed)
pixels = rng.random((8, 784))
models = {
    "VAE 784-400-20": VAE(784, 20, (400,), activation="relu", rng=args.seed),
    "five levels on 784 pixels": HVAE(784, (64, 32, 16, 8, 4), [(n, n) for n in (512, 256, 128, 64, 32)],
                                      activation="leaky_relu", rng=args.seed),
}
for name, large in models.items():
    large.theta += 0.01 * rng.standard_normal(large.theta.size).astype(large.dtype)      # no bias left at zero
    start = time.perf_counter()
    ledger = check_model(large, pixels, directions=1, rng=args.seed)
    print(f"{name}: {large.theta.size:,} parameters, {time.perf_counter() - start:.1f} s")
    wrong_ones = [entry for entry in ledger.entries if not entry.ok]
    if args.all:
        print(ledger)
    else:
        print(" ", str(ledger).splitlines()[0])
        for entry in wrong_ones or [entry for entry in ledger.entries if entry.of == "loss"][:8]:
            print(" ", entry)
        print(" ", "..." if not wrong_ones else "", ledger.summary())
    print()

# %% [markdown]
# ## The figure
#
# Left: the three digits in grey, the black and white drawn from them (x, all that the model sees), and the
# probabilities that the decoder gives to their pixels; after 20 epochs they are still vague. Right: the gradient of the
# first weights of four hidden units, each drawn as a picture of the 64 pixels that it sees, for each part of the bound
# alone and for the loss. Where no digit of the batch has ink, x is 0, and dW = xᵀ dy is 0.

# %%
parts = {}
for name, alpha, beta in (("reconstruction", 1, 0), ("prior matching", 0, 1), ("loss: the sum", 1, 1)):
    model.backward(elbo.loss_backward(beta, alpha), cache)
    parts[name] = model.gradients["q1.dense1.W"].T[:4].copy()          # (4, 64)

page = figure(10, 4.6)
left, right = page.subfigures(1, 2, width_ratios=(1, 1.25))
ax = left.subplots()
images(ax, np.stack([data.x_test[chosen], x, model.likelihood.mean(h)]), data.image_shape, "",
       ["grey", "x", "E[x | z]"], [f"a {digit}" for digit in data.y_test[chosen]])
ax.set_title("three digits, and what the decoder expects\n(white 0, black 1)", fontsize=10)
axes = right.subplots(len(parts), 4)
size = max(np.abs(table).max() for table in parts.values())
for i, (row, (name, table)) in enumerate(zip(axes, parts.items())):
    for unit, (ax, weights) in enumerate(zip(row, table)):
        picture = ax.imshow(weights.reshape(data.image_shape), cmap="PuOr_r", vmin=-size, vmax=size)
        ax.set(xticks=[], yticks=[])
        if ax is row[0]:
            ax.set_ylabel(name, fontsize=8)
        if i == 0:
            ax.set_title(f"hidden unit {unit + 1}", fontsize=9)
bar = right.colorbar(picture, ax=axes, shrink=0.8)
bar.set_label("gradient of the weight, nats per unit", fontsize=8)
bar.ax.tick_params(labelsize=8)
right.suptitle("dW of the encoder's first layer, as pictures", fontsize=10)
lesson.save(page, "06_vae", args)

# %% [markdown]
# ## The same pass as a page
#
# Every line of `bound` with the line of `backward` that answers it, a sentence and its equation, how far the equation
# is from what the line computed, the arrays it made, and for each gradient its distance from the complex step. Each
# call unfolds to its own lines, down to dW = xᵀ dy; a click on one of its numbers shows the sum that it is. Open it in
# a browser. On paper all calls are unfolded. `scratchvae explain --model hvae --out three.html` writes one for a
# hierarchy.

# %%
path = args.out / "06_vae.html"
if args.broken:
    print("page: none with --break, which spoils layers of 784 inputs: the small model has none")
else:
    print(f"page: {path}: {explain(model, x, eps, path, about='The model and three digits of lesson 6.').verdict}")

# %% [markdown]
# `41 gradients are shown`, and each agrees with the complex step.
#
# ## Try this
#
# - *Spoil one entry*: `python demos/06_vae.py --break` multiplies one entry of the first dW of *each* model by 1.001:
#   one of 313,600 in the VAE, and one of 401,408 in the five levels. It prints `loss q1.dense1.W 784x400 1.0236e+02
#   1.0236e+02 1.7e-06 WRONG` and a line like it for each part of the bound that knows this array: 3 lines for the VAE
#   and 7 for the five levels, with errors from 4e-7 to 3.3e-6. All of them are of q1.dense1.W, and no other line is
#   wrong, so one knows where to look.
# - *The whole ledger*: `--all` prints every line: 27 for the VAE, 427 for the five levels. Each part of the bound is
#   checked alone, as a mistake in a small part may hide in the sum.
# - *See a mistake at its line*: write `dmu = -dkl[:, None] * mu` in `gaussian.kl_standard_backward`, and open the page
#   again: the line is marked, and stands first among all that are wrong because of it.
# - *Follow another weight*: put another `pixel` in place of the one with the largest gradients. For a corner pixel,
#   which has no ink in these three digits, the gradient is exactly 0, by hand and by the complex step: dW = xᵀ dy.
