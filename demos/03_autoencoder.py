# %% [markdown]
# # 3. Why not a plain autoencoder?
#
# **What you will see.** An *autoencoder* squeezes a digit of 64 pixels into two numbers, the *code* z, and unfolds them
# again. It is trained to give back what went in. To make new digits, unfold new codes. But which codes? The autoencoder
# puts them anywhere: far out, and in patches of unequal size. The *variational autoencoder* (VAE) solves this. You will
# see both, side by side.
#
# **Words.** The *encoder* is the network from x to z, the *decoder* the one from z to x. The numbers of z are called
# *latents*, which means hidden: x is seen, z is not. For black-and-white pixels the decoder's output is a *logit* for
# each pixel, a real number that stands for a probability of ink (0 for 1/2, large for nearly 1); these probabilities
# are E[x | z]. They make up p(x | z), the probability of a whole picture x if its code is z. The *reconstruction* is
# log p(x | z), the log-probability of the true pixels, summed over the 64: it is never above 0, and the closer to 0 the
# better. Its unit is the *nat*, the unit of natural logarithms. N(0, I) is the *standard normal*: each number
# independent, with mean 0 and variance 1. *Held-out* digits are not used in training, so a measurement on them is not
# mere memory. An *epoch* is one pass over the training data.
#
# The VAE's encoder gives for each x not a point but a cloud, the normal distribution q(z | x) = N(mu, σ²), and z is
# drawn from it. It pays, in nats, for each cloud's distance from N(0, I): this price is the *KL divergence*, here
# called *prior matching*. So the clouds gather around the origin and overlap, and each place there is in some digit's
# cloud.
#
# **The math.** MATH (6.1) is the autoencoder, (6.2) the VAE, (4.1) the reconstruction, (3.5) the price. Lesson 5 is
# about the bound that reconstruction and price make together; lesson 6 goes through the VAE line by line.
#
# `python demos/03_autoencoder.py` takes some 15 seconds.

# %%
import lesson                                          # first: it sets the number of threads

import numpy as np

from scratchvae import VAE, Autoencoder, evaluate, fit, warm_up
from scratchvae.data import binarize, digits
from scratchvae.layers import softplus
from scratchvae.train.plotting import figure, images

parser = lesson.options("Lesson 3: the autoencoder and the VAE, in two latents.", epochs=300)
parser.add_argument("--beta", type=float, default=1.0, help="the weight of the VAE's price (default 1)")
args = lesson.parse(parser)

# %% [markdown]
# ## Two models, the same networks, the same data
#
# The digits are grey. `binarize(grey, "sample")` makes them black and white: each pixel becomes 1 with its grey value
# as probability. `resample=True` draws them anew for each batch. `fit` trains with *Adam*, an *optimiser*: a rule that
# turns gradients into steps (MATH (9.2), exercise 13). `warm_up` raises beta, the weight of the price, from 0 to 1 in
# the first quarter of the epochs: the decoder first learns to use z, then z is paid for (lesson 7).

# %%
data = digits()
x_train, x_test = binarize(data.x_train, "sample", rng=1), binarize(data.x_test, "sample", rng=2)
options = dict(hidden_dims=(128,), x_mean=x_train.mean(axis=0), rng=args.seed)

autoencoder = Autoencoder(64, 2, **options)
fit(autoencoder, data.x_train, epochs=args.epochs, rng=args.seed, resample=True)
vae, rise = VAE(64, 2, **options), warm_up(max(1, args.epochs // 4))
fit(vae, data.x_train, epochs=args.epochs, rng=args.seed, resample=True, beta=lambda epoch: args.beta * rise(epoch))

z_auto = autoencoder.encode(x_test)
z_vae, _ = vae.encode(x_test)
reconstruction = autoencoder.forward(x_test, None)[0].reconstruction.mean()
print(f"autoencoder: {len(x_test)} held-out digits, reconstruction {reconstruction:.2f} nats; "
      f"codes have standard deviation {z_auto.std():.2f}")
print(f"VAE: {len(x_test)} held-out digits; codes have standard deviation {z_vae.std():.2f}")
print(evaluate(vae, x_test, n_samples=200, rng=args.seed))

# %% [markdown]
# The run prints `reconstruction -20.33 nats; codes have standard deviation 4.54` for the autoencoder, and for the VAE
# `codes have standard deviation 0.97`. The VAE's reconstruction is lower, `reconstruction -22.292 nats`: its clouds are
# less precise than points. The price is `prior matching 2.205 nats`. But the VAE's total, the *ELBO* (reconstruction
# minus price), is a lower bound on log p(x), the log-probability of a digit under the whole model, whatever its code
# (lesson 5). The autoencoder's number is not. (The last line calls the VAE's only set of latents level 1: a *level* is
# one set of latents, and lesson 8 has several.)
#
# ## What is it worth to know where the codes lie, in nats?
#
# A decoder and a distribution of codes together make pictures: draw z, unfold it, draw the pixels. So they have a p(x),
# the mean of p(x | z) over the draws. How probable are held-out digits under it? With two latents 20,000 draws are
# enough to compute that mean. N(0, I) may be unfair to the autoencoder, which was not trained for it. So it also gets
# the normal distribution that fits its codes best, with their mean and covariance (the table of the variances of the
# codes and of how they vary together).

# %%
rng = np.random.default_rng(args.seed)


def log_p(logits):
    """Return log p(x) of every held-out digit, the log of the mean of p(x | z) over draws of z, from their logits."""
    log_p_x_z = x_test @ logits.T - softplus(logits).sum(axis=1)       # (359, draws): log p(x | z), MATH (4.1)
    return np.logaddexp.reduce(log_p_x_z, axis=1) - np.log(len(logits))


z_train = autoencoder.encode(x_train)
eps = rng.standard_normal((20_000, 2)).astype(np.float32)
fitted = z_train.mean(axis=0) + eps @ np.linalg.cholesky(np.cov(z_train.T)).T.astype(np.float32)
draws = {"autoencoder, z ~ N(0, I)": autoencoder.g.forward(eps)[0],
         "autoencoder, z ~ fitted normal": autoencoder.g.forward(fitted)[0], "VAE, z ~ N(0, I)": vae.p.forward(eps)[0]}
for name, logits in draws.items():
    print(f"{name:<31} log p(x) of held-out digits {log_p(logits).mean():8.2f} nats")

# %% [markdown]
# - The autoencoder prints `autoencoder, z ~ N(0, I) log p(x) of held-out digits -26.44 nats`. Draws of N(0, I) meet
#   only the middle of its codes, and never a 4, a 6 or a 2 (see the figure). The number that it was trained for,
#   -20.33, said nothing of this.
# - It also prints `autoencoder, z ~ fitted normal log p(x) of held-out digits -23.81 nats`. With a distribution fitted
#   *afterwards* it is even better than the VAE, by 0.35 nats. So its decoder is fine: what its training lacks is a
#   distribution of z. This one is a second model, fitted to the codes of the first.
# - The VAE prints `VAE, z ~ N(0, I) log p(x) of held-out digits -24.16 nats`. It needs no second model: one training
#   gives the decoder and fits the codes to the distribution of z. Its objective is a bound on the very number that is
#   printed here.
#
# Further up, the run prints `log p(x) -24.185 nats` for the VAE. It is the same quantity for the same digits, estimated
# in another way. There, for each digit, 200 draws of z came from q(z | x), near the codes that fit this x, and were
# weighted to make up for it (*importance samples*, lesson 5). Here 20,000 draws came from N(0, I), the same for all
# digits. Both are slightly too low in expectation, and more so with fewer draws: 2000 importance samples give -24.17.
#
# ## The figure
#
# Above: the codes of held-out digits. The circle holds 86 % of the draws of N(0, I). Middle: what the decoders unfold
# over the latent plane, for the autoencoder over the range of its codes. Below: the same forty draws of N(0, I),
# unfolded by both.

# %%
page = figure(9, 11)
(ax_auto, ax_vae), (ax_holes, ax_plane), (ax_new_auto, ax_new_vae) = page.subplots(3, 2, height_ratios=(1, 1, 0.5))
lesson.codes(ax_auto, z_auto, data.y_test, "autoencoder: codes of held-out digits")
lesson.codes(ax_vae, z_vae, data.y_test, "VAE: means of q(z | x) for held-out digits")
for ax, z in ((ax_auto, z_auto), (ax_vae, z_vae)):     # the digits themselves, where one looks for them
    for digit in range(10):
        left, up = np.median(z[data.y_test == digit], axis=0)
        ax.text(left, up, str(digit), fontsize=9, weight="bold", ha="center", va="center",
                bbox={"facecolor": "white", "edgecolor": "0.5", "pad": 1, "alpha": 0.8})
    ax.set_aspect("equal", adjustable="datalim")
low, high = np.quantile(z_train, (0.02, 0.98), axis=0)
grid = np.stack(np.meshgrid(np.linspace(low[0], high[0], 11), np.linspace(high[1], low[1], 11)), axis=-1)
images(ax_holes, autoencoder.decode(grid.reshape(-1, 2)).reshape(11, 11, 64), data.image_shape,
       "autoencoder: E[x | z] over the range of its codes")
lesson.plane(ax_plane, vae, data.image_shape, np.linspace(-2.4, 2.4, 11), "VAE: E[x | z] over the latent plane")
z = np.random.default_rng(args.seed).standard_normal((40, 2))
for ax, model, name in ((ax_new_auto, autoencoder, "autoencoder"), (ax_new_vae, vae, "VAE")):
    images(ax, model.decode(z).reshape(4, 10, 64), data.image_shape, f"{name}: E[x | z] at forty z ~ N(0, I)")
lesson.save(page, "03_autoencoder", args)

# %% [markdown]
# ## Try this
#
# - *A tenth of the price*: `python demos/03_autoencoder.py --beta 0.1` prints `reconstruction -20.456 nats` and `prior
#   matching 5.409 nats` and `ELBO -25.865 nats`. With a small beta the VAE comes close to an autoencoder: the
#   reconstruction is nearly as good, the clouds are smaller and lie farther out. And log p(x)? The
#   run prints `log p(x) -24.881 nats`, 0.7 worse than with beta = 1, and, from 20,000 draws of N(0, I), it prints `VAE,
#   z ~ N(0, I) log p(x) of held-out digits -24.00 nats`, 0.2 better. Both estimate one number of one model. The first
#   is 0.9 nats too low: its 200 draws come from a q that is too narrow (σ is 0.11 on average), and miss most of the z
#   that could have made x. With 20,000 draws from q it still has -24.54. *An estimate by importance sampling is a lower
#   bound, and how far it is below depends on q.* So a low number may be the fault of q, not of the model.
# - *Who owns which place?* In the figure, find the places of the VAE's plane where one digit turns into another, such
#   as 4 into 9 and 7. Two latents are too few for ten digits: lesson 6 has 4, lesson 8 has 28.
