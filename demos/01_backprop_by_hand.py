# %% [markdown]
# # 1. Backprop by hand
#
# **What you will see.** A network so small that all its numbers fit on a blackboard: two inputs, two hidden units, one
# output, three examples. We compute its output, its error, and how the error changes with each weight: forward once,
# backward once. Then the library does the same, and gets the same numbers, digit for digit.
#
# **Words.** An *example* is one input x with the answer t that we want for it, the *target*. The *parameters* are the
# numbers that can be changed to make the answers better: *weights* W, which multiply, and *biases* b, which are added.
# The *loss* is one number: how wrong all answers are together. The *gradient* of the loss is the list of its
# derivatives, one for each parameter; a step against it makes the loss smaller. We write dW for ∂loss/∂W: a table with
# the shape of W; each entry is how fast the loss rises with that entry of W. *Backprop* (backward propagation) computes
# all these derivatives at once: from the loss back to the first weights.
#
# **The math.** MATH (1.1) is the chain rule, (1.2) the layer y = x W + b with its gradients, (1.4) the ReLU, (2.1) the
# chain of layers and its opposite order.
#
# `python demos/01_backprop_by_hand.py` takes a second.

# %%
import lesson                                          # first: it sets the number of threads

import numpy as np
from matplotlib.patches import FancyBboxPatch

from scratchvae.mlp import MLP
from scratchvae.train.plotting import figure

parser = lesson.options("Lesson 1: backprop by hand, in a network of 2-2-1.")
parser.add_argument("--target", type=float, default=2.0, help="what is wanted for example 1 (default 2)")
parser.add_argument("--rate", type=float, default=0.02, help="size of the step at the end (default 0.02)")
args = lesson.parse(parser)


def show(name, table):
    """Print a table of numbers under its name, as on a blackboard."""
    lines = [" ".join(f"{value:6g}" for value in row) for row in np.atleast_2d(table) + 0.0]       # + 0.0: no -0
    print(f"{name:>6} = {lines[0]}", *(f"         {line}" for line in lines[1:]), sep="\n")


def product(factors):
    """Return a product as it is written on a blackboard."""
    return "·".join(f"({factor:g})" if factor < 0 else f"{factor:g}" for factor in factors)


# %% [markdown]
# ## The network
#
# Three examples, a row for each. A hidden unit adds up its weighted inputs and its bias, a = x W1 + b1, and lets
# through only what is positive, h = max(a, 0): this is the *ReLU*. The output is y = h W2 + b2.

# %%
x = np.array([[1.0, 2.0],                              # example 1: x1 = 1, x2 = 2
              [2.0, -1.0],                             # example 2
              [-1.0, 1.0]])                            # example 3
t = np.array([[args.target], [3.0], [-1.5]])                   # the targets

W1, b1 = np.array([[1.0, -1.0], [0.5, 1.0]]), np.array([0.0, 0.5])     # W1[i, j]: from input i to hidden unit j
W2, b2 = np.array([[2.0], [-1.0]]), np.array([0.5])                    # W2[j, 0]: from hidden unit j to the output

# %% [markdown]
# ## Forward
#
# From x to the loss. The loss is half the square of the error y - t, summed over the three examples. (The library
# takes the mean over the examples; here the sum keeps the numbers short.)

# %%
a = x @ W1 + b1                                        # (3, 2): into the hidden units
h = np.maximum(a, 0)                                   # (3, 2): out of them
y = h @ W2 + b2                                        # (3, 1): the outputs
loss = 0.5 * ((y - t) ** 2).sum()

print("Forward. A row for each example, a column for each unit.")
for name, table in (("x", x), ("a", a), ("h", h), ("y", y), ("t", t), ("y - t", y - t)):
    show(name, table)
print(f"  loss = {loss:g}\n")

# %% [markdown]
# The run prints `loss = 0.75`. Look at h: example 2 does not pass the second hidden unit, example 3 does not pass the
# first. Where a is negative the ReLU is *shut*: it passes 0 on, so a small change of this a, or of the weights that
# made it, does not change the output for this example.
#
# ## Backward
#
# Start at the loss and go back line by line. Each line of forward has its line here, which passes on the derivative of
# the loss by what that line computed:
#
# | forward | local derivative | backward |
# |---|---|---|
# | loss = Σ (y - t)²/2 | ∂loss/∂y = y - t | dy = y - t |
# | y = h W2 + b2 | ∂y/∂h = W2, ∂y/∂W2 = h, ∂y/∂b2 = 1 | dh = dy W2ᵀ, dW2 = hᵀ dy, db2 = Σ dy |
# | h = max(a, 0) | ∂h/∂a = 1 where a > 0, else 0 | da = dh · [a > 0] |
# | a = x W1 + b1 | ∂a/∂W1 = x, ∂a/∂b1 = 1 | dW1 = xᵀ da, db1 = Σ da |
#
# The gradient of a weight is a *sum* over the examples, because every example uses the same weight: MATH (1.1). The
# products xᵀ da and hᵀ dy are these sums: row i of xᵀ is input i of all examples, column j of da is da_j of all
# examples, and their product is Σₙ x[n, i] da[n, j].

# %%
dy = y - t                                             # (3, 1)
dW2, db2 = h.T @ dy, dy.sum(axis=0)                    # (2, 1), (1,)
dh = dy @ W2.T                                         # (3, 2)
da = dh * (a > 0)                                      # (3, 2)
dW1, db1 = x.T @ da, da.sum(axis=0)                    # (2, 2), (2,)

print("Backward. dy means ∂loss/∂y, and so on.")
for name, table in (("dy", dy), ("dW2", dW2), ("db2", db2), ("dh", dh), ("da", da), ("dW1", dW1), ("db1", db1)):
    show(name, table)

# %% [markdown]
# ## The chain rule, edge by edge
#
# Once more for single weights, without matrices. From the weight W1[i, j] there is one way to the loss: to a_j, to h_j,
# to y, to the loss. The chain rule multiplies the local derivatives along this way, and adds over the examples:
#
#     ∂loss/∂W1[i, j] = Σ  x_i  ·  [a_j > 0]  ·  W2[j]  ·  (y - t)
#
# For W1[1, 1], the weight from x1 to the first hidden unit, the run prints `1·1·2·1 + 2·1·2·0.5 + (-1)·0·2·(-0.5) =
# 4`. (On the blackboard we count from 1, Python from 0: W1[1, 1] here is `W1[0, 0]` in the code.)

# %%
print("\nThe chain rule along each way: x_i · [a_j > 0] · W2[j] · (y - t), summed over the three examples.")
for i in range(2):
    for j in range(2):
        ways = [(x[n, i], float(a[n, j] > 0), W2[j, 0], dy[n, 0]) for n in range(3)]
        total = sum(np.prod(way) for way in ways)
        print(f"  dW1[{i + 1}, {j + 1}] = " + " + ".join(map(product, ways)) + f" = {total:g}")
        assert total == dW1[i, j]
for j in range(2):
    ways = [(h[n, j], dy[n, 0]) for n in range(3)]
    total = sum(np.prod(way) for way in ways)
    print(f"  dW2[{j + 1}]    = " + " + ".join(map(product, ways)) + f" = {total:g}")
    assert total == dW2[j, 0]

# %% [markdown]
# ## The same by the library
#
# `MLP` is a stack of such layers (mlp.py). `forward` returns y and a *cache*: what backward needs, here x, h and which
# units were shut. `backward` takes dy and the cache, and computes every gradient. All numbers here are sums of halves
# and quarters, exact in a computer, so "equal" means equal in every digit. The run prints `largest difference between
# our gradients and the library's: 0`.

# %%
net = MLP((2, 2, 1), "relu", np.random.default_rng(args.seed))         # its first weights are random: replace them
first, second = net.layers["dense1"], net.layers["dense2"]
first.W[:], first.b[:], second.W[:], second.b[:] = W1, b1, W2, b2

y_library, cache = net.forward(x)
net.backward(y_library - t, cache)

pairs = [(y, y_library), (dW1, first.dW), (db1, first.db), (dW2, second.dW), (db2, second.db)]
difference = max(np.abs(ours - theirs).max() for ours, theirs in pairs)
print(f"\nThe library: largest difference between our gradients and the library's: {difference:g}")

# %% [markdown]
# ## The Jacobian, formed once
#
# The *Jacobian* of a map is the table of all derivatives of its outputs by its inputs: a row for each output, a column
# for each input. By the chain rule, the Jacobian of a chain is the product of those of its links. So here is another
# way to the gradient of W1 and b1: form three Jacobians, and multiply.
#
# - from the 6 numbers in W1 and b1 to the 6 numbers in a (3 examples, 2 units): J1, of shape 6 x 6;
# - from a to h: J2, 6 x 6, with [a > 0] on its diagonal and 0 elsewhere;
# - from h to the 3 outputs y: J3, 3 x 6.
#
# Then ∂loss/∂(W1, b1) = dy J3 J2 J1, where dy is a row of 3 numbers. Read it from the left: a row times a matrix is a
# row. Every intermediate row is one that backward had: dy J3 is dh, and dy J3 J2 is da. That is `backward`: *it
# multiplies a row by a Jacobian, and never forms the Jacobian.*

# %%
eye = np.eye(2)
# np.kron(A, B) replaces each number of A by that number times B: [1, 2] and the 2 x 2 identity make [[1, 0, 2, 0], [0,
# 1, 0, 2]]. Its row j holds ∂a_j/∂W1[i, k], which is x_i where k = j, and otherwise 0.
J1 = np.vstack([np.hstack([np.kron(x[n], eye), eye]) for n in range(3)])       # columns: W1 row by row, then b1
J2 = np.diag((a > 0).astype(float).ravel())
J3 = np.kron(np.eye(3), W2.T)
row = dy.ravel()
print("\nThe Jacobians, formed in full. J1, from (W1, b1) to a:")
show("J1", J1)
show("J2", J2)
show("J3", J3)
print("A row from the left:")
show("dy", row)
show("dy J3", row @ J3)
show("… J2", row @ J3 @ J2)
show("… J1", row @ J3 @ J2 @ J1)
by_jacobian = row @ J3 @ J2 @ J1
assert (row @ J3 == dh.ravel()).all() and (row @ J3 @ J2 == da.ravel()).all()
print(f"This is dW1 and db1: largest difference {np.abs(by_jacobian - np.concatenate([dW1.ravel(), db1])).max():g}")
zeros = 100 * (J1.size + J2.size + J3.size - sum(map(np.count_nonzero, (J1, J2, J3)))) / (J1.size + J2.size + J3.size)
print(f"Of the {J1.size + J2.size + J3.size} entries of the three Jacobians, {zeros:.0f} % are 0.")

# %% [markdown]
# The run prints `Of the 90 entries of the three Jacobians, 69 % are 0`. In a real network nearly all are: for 400 units
# and a batch of 128 examples J2 would have (128 · 400)² = 2.6 billion entries, and 51,200 of them are not 0. Backward
# multiplies by that diagonal in 51,200 products. Each layer's `backward` is the short way to multiply by its Jacobian:
# `dy @ W.T` for J3, `dh * (a > 0)` for J2, `x.T @ da` for J1.
#
# ## Is it true?
#
# A derivative is a promise about a small change. Let W1[1, 1] rise by 0.001: the loss should rise by 4 · 0.001. And a
# step against the gradient should make the loss smaller.

# %%


def loss_at(W1, b1, W2, b2):
    """Return the loss for other parameters."""
    return 0.5 * ((np.maximum(x @ W1 + b1, 0) @ W2 + b2 - t) ** 2).sum()


nudged = W1.copy()
nudged[0, 0] += 0.001
rise = loss_at(nudged, b1, W2, b2) - loss
print(f"\nW1[1, 1] up by 0.001: the loss goes up by {rise:.6f}; promised: {0.001 * dW1[0, 0]:.6f}")
after = loss_at(*(v - args.rate * dv for v, dv in ((W1, dW1), (b1, db1), (W2, dW2), (b2, db2))))
print(f"A step of {args.rate:g} times the gradient: the loss goes from {loss:g} to {after:.4f}")

# %% [markdown]
# The run prints `the loss goes up by 0.004010; promised: 0.004000` and `the loss goes from 0.75 to 0.1837`. The
# 0.00001 is what a straight line misses of a curve. Lesson 2 makes a method of this check.
#
# ## The figure
#
# The graph of the computation, once for each example. In each box: the name, the *value* (from left to right, forward)
# and the *gradient* (from right to left, backward), here that of this example alone. On each edge: the local
# derivative. A gradient is the sum, over the edges that leave the box to the right, of the local derivative times the
# gradient at the other end. Dashed: a ReLU that is shut; its local derivative is 0, so a has gradient 0. An x that
# reaches the loss only through shut units would have 0 as well.

# %%
page = figure(9, 10.4)
places = {"x1": (0, 1), "x2": (0, 0), "a1": (1.25, 1), "a2": (1.25, 0), "h1": (2.35, 1), "h2": (2.35, 0),
          "y": (3.5, 0.5), "loss": (4.6, 0.5)}
dx = da @ W1.T
for n, ax in enumerate(page.subplots(3, 1)):
    values = dict(zip(places, [*x[n], *a[n], *h[n], *y[n], 0.5 * float(dy[n, 0] ** 2)]))
    gradients = dict(zip(places, [*dx[n], *da[n], *dh[n], *dy[n], 1.0]))
    edges = [(f"x{i + 1}", f"a{j + 1}", W1[i, j]) for i in range(2) for j in range(2)]
    edges += [(f"a{j + 1}", f"h{j + 1}", float(a[n, j] > 0)) for j in range(2)]
    edges += [(f"h{j + 1}", "y", W2[j, 0]) for j in range(2)] + [("y", "loss", dy[n, 0])]
    for start, end, local in edges:
        (x0, y0), (x1, y1) = places[start], places[end]
        shut = start[0] == "a" and local == 0
        crossing = start[0] == "x" and y0 != y1
        ax.annotate("", (x1 - 0.22, y1), (x0 + 0.22, y0), zorder=1, arrowprops={
            "arrowstyle": "-|>", "color": "0.45", "linewidth": 1.2, "linestyle": "--" if shut else "-"})
        share = 0.27 if crossing else 0.5              # where on the edge its number stands: not where edges cross
        ax.text(x0 + 0.24 + share * (x1 - x0 - 0.48), y0 + share * (y1 - y0), f"{local:g}", fontsize=10, ha="center",
                va="center", zorder=2, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5})
    for name, (left, up) in places.items():
        ax.add_patch(FancyBboxPatch((left - 0.22, up - 0.25), 0.44, 0.5, boxstyle="round,pad=0,rounding_size=0.05",
                                    facecolor="0.95", edgecolor="0.3", zorder=3))
        ax.text(left, up + 0.14, name, ha="center", va="center", fontsize=10, weight="bold", zorder=4)
        ax.text(left, up - 0.01, f"{values[name]:g}", ha="center", va="center", fontsize=10, zorder=4,
                color=lesson.BLUE)
        ax.text(left, up - 0.16, f"∂ {gradients[name] + 0.0:g}", ha="center", va="center", fontsize=10, zorder=4,
                color=lesson.RED, style="italic")
    ax.set(xlim=(-0.4, 5), ylim=(-0.4, 1.4))
    ax.axis("off")
    ax.set_title(f"example {n + 1}: x = ({x[n, 0]:g}, {x[n, 1]:g}), target {t[n, 0]:g}", fontsize=11, loc="left")
page.suptitle("in the boxes the value (forward) and ∂ = ∂loss/∂value (backward, italic); on the edges the local "
              "derivatives", fontsize=10)
lesson.save(page, "01_backprop_by_hand", args)

# %% [markdown]
# ## Try this
#
# - *Set all weights and biases to 0* and run again. Then h is 0 and W2 is 0, so dW2 and dW1 are 0 as well: only db2 is
#   not, and a step changes nothing but b2. This is why first weights are random, MATH (1.7).
# - *Let the target of example 1 be its output*: `python demos/01_backprop_by_hand.py --target 3` prints `dW1[1, 1] =
#   1·1·2·0 + 2·1·2·0.5 + (-1)·0·2·(-0.5) = 2`. Its dy is 0, and its share of every gradient vanishes.
# - *Take a larger step*: `python demos/01_backprop_by_hand.py --rate 0.2` prints `A step of 0.2 times the gradient:
#   the loss goes from 0.75 to 13.4303`. The gradient promises nothing about large changes.
