# %% [markdown]
# # 17. Conditions: tell the model what to draw
#
# **What you will see.** A diffusion with the digit as ten more columns of its network's input, MATH
# (15.4). Then *guidance*, which makes the samples more certain of their label, MATH (15.5), and its cost. And what
# guidance and inpainting do with a perfect model: not what one would expect, MATH (15.6), (15.7).
#
# **Words.** A *label* y is an extra input, here the class of a digit, as a row with one 1. *Dropped* labels are
# rows of zeros: the same network learns p(x | y) and p(x). *Guidance* goes further in the direction from the guess
# without a label, u, to the guess with it, c: (1 + w) c - w u, or u + s (c - u) with s = 1 + w. *Classifier guidance*
# has that direction from a classifier of noisy digits instead. *Diversity* is how much two samples of the same label
# differ, in pixels. *MMD²* is a distance between two sets of pictures; its mean is 0 if they are of the same
# distribution. *Inpainting* is to fill in the missing part of a picture. *Replacement* does it by putting the known
# part, with fresh noise, into z before each step down; *RePaint* goes back up and down again, R times for each level.
#
# 1. A label is worth at most log 10 = 2.3 nats.
# 2. Ten labels, without guidance and with it: accuracy against diversity.
# 3. A perfect model: three variances, where one would expect one; a slope that is too small.
#
# `python demos/17_conditions.py` takes about a minute; with `--epochs 160` two, for the numbers below.

# %%
import lesson                                          # first: it sets the number of threads

import math

import numpy as np

from scratchvae import Adam, Conditional, Diffusion, decay, fit
from scratchvae.data import binarize, digits
from scratchvae.mlp import MLP, pack
from scratchvae.schedule import signal, spread
from scratchvae.train.plotting import figure, images

parser = lesson.options("Lesson 17: tell the model what to draw.", epochs=80)
parser.add_argument("--samples", type=lesson.whole, default=300, help="digits for each row of the table (default 300)")
args = lesson.parse(parser)
data = digits()
x_train, x_test = binarize(data.x_train, "sample", rng=1), binarize(data.x_test, "sample", rng=2)
eye = np.eye(10, dtype=np.float32)

# %% [markdown]
# ## 1. Train: a row is [ x | y ], and one row in five has no label
#
# Five copies of the digits; in the last one the label is left out. An epoch is five passes.

# %%
labels = np.concatenate([eye[data.y_train]] * 4 + [0 * eye[data.y_train]])
rows = np.hstack([np.tile(data.x_train, (5, 1)), labels])
model = Conditional(Diffusion(64, math.inf, (256, 256), log_noise=(-3, 8), x_mean=x_train.mean(axis=0), rng=args.seed),
                    10)
history = fit(model, rows, epochs=args.epochs, batch_size=128, resample=True, rng=args.seed, average=0.998,
              learning_rate=decay(2e-3, 1e-4, args.epochs))


def bound(y, draws=100):
    """Return the bound of each held-out digit given these labels, a mean over stratified times."""
    total, rng = np.zeros(len(x_test)), np.random.default_rng(args.seed)
    for k in range(draws):
        noise = model.draw_noise(len(x_test), rng)
        noise[0] = ((k + noise[0]) / draws).astype(np.float32)
        total += model.forward(np.hstack([x_test, y]), noise)[0].total / draws
    return total


told, untold = bound(eye[data.y_test]), bound(0 * eye[data.y_test])
print(f"{model.theta.size} parameters, {history['seconds'][-1]:.0f} s; {len(x_test)} held-out digits: bound "
      f"{untold.mean():.2f} nats without a label, {told.mean():.2f} with it: "
      f"the two bounds differ by {(told - untold).mean():.2f} nats (a label is worth at most log 10 = "
      f"{math.log(10):.2f})\n")


# %% [markdown]
# ## 2. A classifier by hand, to judge the samples; and one of noisy digits, to guide
#
# p(y | x) = softmax(f(x)), and ∂log p(y | x)/∂f = y - p, where y is a row with one 1. MLP.backward does the rest;
# classifier guidance needs its dx.

# %%
class Classifier:
    def __init__(self, n_in, hidden):
        self.f = MLP((n_in, *hidden, 10), "leaky_relu", np.random.default_rng(0))
        self.theta, self.gradient, *_ = pack(self.f.layers, np.float32)

    def forward(self, x):                              # p, of shape (n, 10)
        h, cache = self.f.forward(x)
        e = np.exp(h - h.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        return p, (p, cache)

    def backward(self, y, cache, input_gradient):      # of Σ log p(y | x): by the parameters, and by x
        p, cache = cache
        return self.f.backward(eye[y] - p, cache, input_gradient)

    def train(self, inputs, epochs):
        rng, optimizer, n = np.random.default_rng(0), Adam(), len(data.x_train)
        for epoch in range(epochs):
            optimizer.learning_rate = 2e-3 * (1 - epoch / epochs) + 1e-5
            order = rng.permutation(n)
            for i in range(0, n, 64):
                j = order[i:i + 64]
                _, cache = self.forward(inputs(binarize(data.x_train[j], "sample", rng), rng))
                self.backward(data.y_train[j], cache, False)
                self.gradient *= -1 / len(j)
                optimizer.step(self.theta, self.gradient)
        return self


def with_noise(z, gamma):
    """Return the input of the second classifier: z, and the noise in it as cosines."""
    time = np.broadcast_to((gamma + 3) * np.pi / 11, len(z))
    return np.hstack([z, np.cos(np.outer(time, np.arange(1, 5)))]).astype(np.float32)


def noisy(x, rng):
    gamma = -3 + 11 * rng.random(len(x))
    z = signal(gamma)[:, None] * (2 * x - 1) + spread(gamma)[:, None] * rng.standard_normal(x.shape)
    return with_noise(z, gamma)


judge = Classifier(64, (128,)).train(lambda x, rng: x, 200)
guide = Classifier(68, (128, 128)).train(noisy, 200)
print(f"the judge on held-out digits: {(judge.forward(x_test)[0].argmax(axis=1) == data.y_test).mean():.3f} right")


# %% [markdown]
# ## Ten labels, and guidance: the way down needs only `guess`, and guidance replaces it
#
# (The last line, x ~ p(x | z_1), needs no guess: it is not guided.)

# %%
def beside(y):
    """Return the diffusion of digits with these labels, and that of digits without one; they share all parameters."""
    return model.beside(eye[y]), model.beside(0 * eye[y])


def classifier_free(y, w):
    given, free = beside(y)
    c, u = given.guess, free.guess
    given.guess = lambda z, gamma: c(z, gamma) if w == 0 else (1 + w) * c(z, gamma) - w * u(z, gamma)
    return given


def by_classifier(y, s):
    _, free = beside(y)
    u = free.guess

    def guess(z, gamma):                               # the score of z by s times ∇log p(y | z), MATH (15.5)
        _, cache = guide.forward(with_noise(z, gamma))
        dz = guide.backward(y, cache, True)[:, :64]
        return u(z, gamma) + np.float32(s * spread(gamma)[0] ** 2 / signal(gamma)[0]) * dz

    free.guess = guess
    return free


def mmd2(a, b):
    """Return the unbiased MMD² of two sets with the kernel exp(-|x - y|²/32)."""
    def k(a, b):
        return np.exp(-np.maximum((a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * a @ b.T, 0) / 32)
    n, m = len(a), len(b)
    return (k(a, a).sum() - n) / (n * (n - 1)) + (k(b, b).sum() - m) / (m * (m - 1)) - 2 * k(a, b).mean()


def judged(x, y):
    """Return accuracy by the judge, the pixels by which two samples of a label differ, and MMD² to the data."""
    differ = [(x[y == k][:, None] != x[y == k]).sum() / ((y == k).sum() * ((y == k).sum() - 1)) for k in range(10)]
    return (judge.forward(x)[0].argmax(axis=1) == y).mean(), np.mean(differ), 1e3 * mmd2(x, x_train)


y = np.arange(args.samples) % 10
ways = {"no label": beside(y)[1], **{f"w = {w}": classifier_free(y, w) for w in (0, 0.5, 1, 2, 3)},
        **{f"classifier, s = {s}": by_classifier(y, s) for s in (1, 4)}}
print(f"\n{'':<18}{'accuracy':>9}{'diversity':>10}{'1000 MMD²':>11}")
truth = judged(x_test, data.y_test)
print(f"{'held-out digits':<18}{truth[0]:>9.3f}{truth[1]:>10.2f}{truth[2]:>11.2f}")
samples, table = {}, {}
for name, way in ways.items():
    samples[name] = way.sample(args.samples, args.seed + 1, draw=True, steps=50, eta=1.0)
    table[name] = judged(samples[name], y)
    print(f"{name:<18}{table[name][0]:>9.3f}{table[name][1]:>10.2f}{table[name][2]:>11.2f}", flush=True)

# %% [markdown]
# ## 3. A perfect model: p(x) = N(0, 1), p(x | y) = N(m, 1/2)
#
# What would you expect guidance to draw from? Most would say p(x | y)^(1 + w)/p(x)^w, scaled to a density. It draws
# from another one: MATH (15.6). And of two columns with correlation r, one known, replacement gives the other with a
# slope below r; R times up and down bring it nearer: MATH (15.7).

# %%
v, w = 0.5, np.linspace(0, 3, 61)
expected, by_flow = v / (1 + w - w * v), v ** (1 + w)
new_noise = (v - v ** (2 + 2 * w)) / ((1 - v) * (1 + 2 * w))
at = np.searchsorted(w, 1)
print(f"\na perfect model, w = 1: expected variance {expected[at]:.4f}, flow {by_flow[at]:.4f}, "
      f"with new noise {new_noise[at]:.4f}")


def replacement(r, times):
    """Return the slope of x_2 on the known x_1, by MATH (15.7): an integral over s = t/(1 - t)."""
    t = (np.arange(20_000) + 0.5) / 20_000
    s, g0 = t / (1 - t), math.sqrt(1 - r * r)
    g = np.sqrt((1 + s) ** 2 - r * r)
    return (times * r * (g0 / g) ** times / g ** 2 / (1 - t) ** 2).mean()


slopes = ", ".join(f"{times} time{'s' * (times > 1)} {replacement(0.9, times):.3f}" for times in (1, 5, 20))
print(f"filling in x_2, where the right slope is 0.9: {slopes}")

# %% The figure
page = figure(10, 6.4)
top, bottom = page.subfigures(2, 1, height_ratios=(1, 1.2))
shown = ["no label", "w = 0", "w = 1", "w = 3", "classifier, s = 4"]
ax = top.subplots()
images(ax, np.stack([samples[name][:20] for name in shown]), data.image_shape,
       "labels 0 to 9, twice each; the first row has none", shown)
left, middle, right = bottom.subplots(1, 3)
free = [name for name in table if name.startswith("w")]
strengths = [float(name[4:]) for name in free]
left.plot(strengths, [table[name][0] for name in free], "o-", color=lesson.BLUE, label="accuracy")
left.set_ylim(top=1.01)
twin = left.twinx()
twin.plot(strengths, [table[name][1] for name in free], "s--", color=lesson.ORANGE, label="diversity, pixels")
twin.axhline(truth[1], color=lesson.GREY, linewidth=0.8, linestyle=":")
twin.set_ylim(0, 18)
left.set_title("guidance: certain, but alike", fontsize=10)
left.set_xlabel("w", fontsize=8)
left.set_ylabel("accuracy (circles)", fontsize=8, color=lesson.BLUE)
twin.set_ylabel("pixels by which two samples differ (squares)", fontsize=7, color=lesson.ORANGE)
for line, style, name in ((expected, "-", "expected"), (new_noise, "--", "with new noise"), (by_flow, ":", "flow")):
    middle.plot(w, line, style, color="0.1", label=name)
middle.set_title("a perfect model: variance", fontsize=10)
middle.set_xlabel("w", fontsize=8)
middle.legend(fontsize=8)
r = np.linspace(0.01, 0.99, 60)
right.plot(r, r, color=lesson.GREY, linewidth=0.8, label="right")
for times, style in ((20, "-."), (5, "--"), (1, "-")):
    right.plot(r, [replacement(value, times) for value in r], style, color="0.1",
               label=f"{times} times" if times > 1 else "replacement")
right.set_title("inpainting: slope of x₂ on x₁", fontsize=10)
right.set_xlabel("correlation", fontsize=8)
right.legend(fontsize=8)
for ax in (left, twin, middle, right):
    ax.tick_params(labelsize=7)

print()
lesson.save(page, "17_conditions", args)

# %% [markdown]
# ## What `--epochs 160 --samples 1000` finds
#
# Three seeds; the judge is right for 0.905 of the held-out digits.
#
# - *A label is worth at most log 10 = 2.30 nats.* With it the bound is -20.4. A model of its own for p(x) has -22.6
#   (lesson 12, with more epochs), a difference of 2.2. The same network without the label has only -23.3, a difference
#   of 2.9: it trained without labels on one row in five, and shares its 102,464 parameters. (A difference of bounds is
#   not one of log p(x): their gaps differ.)
# - *Accuracy against diversity.* w = 0: 0.85 right, and two samples of a label differ in 14.1 pixels, as two held-out
#   digits do (14.2). w = 1: 0.99 and 11.3. w = 3: 1.00 and 9.2. Real digits are 0.905 right: the guided ones are more
#   certain, and MMD² to the data grows with w. The classifier's guidance is weaker: s = 4 has 0.92 right with a
#   diversity of 14.2, where (15.5) says that w = 3 is the same for an exact classifier. Only a classifier's slope is
#   used here, but its value was trained.
# - *A perfect model* loses diversity as well, and more than one would expect: 1/4 or 7/24 instead of 1/3.
#
# ## Try this
#
# - *Ten classifiers for one*: the bound of a digit under each of the ten labels is a classifier, log p(x | y) + log
#   p(y). `bound(np.tile(eye[k], (len(x_test), 1)))` for k = 0, ..., 9.
# - *Inpainting.* In a loop over `model.model.schedule.way_down(250)`, put the known pixels of z in before each step: √ᾱ
#   a + √(1 - ᾱ) eps. For RePaint, go up again by one level before the next step, and repeat.
# - *The command line*: `scratchvae train --model diffusion --given labels --binarize resample-each-epoch --out runs/d`,
#   then `scratchvae sample runs/d --label 3 --out threes.png`.
