"""Right code, at random: the diagnosis must find nothing in it.

    python tests/mistakes/silence.py           # 1000 layers, functions and models; some minutes

The library's own layers, densities and models, top-down inference and diffusion among them; the functions of
planted.py and held_out.py; layers with abs, var, norm, a mask drawn in forward or a cast to float32, alone, in a
stack and in a VAE; losses with kinks.  Shapes, seeds and sizes of the inputs are random.
"""

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).parent)]

import numpy as np                                     # noqa: E402

import held_out                                        # noqa: E402
import planted                                         # noqa: E402
from scratchvae import (HVAE, MLP, VAE, Autoencoder, Bernoulli, Diffusion, Gaussian, TopDown, gaussian,  # noqa: E402
                        layers)
from scratchvae.diagnose import diagnose_function, diagnose_layer, diagnose_model          # noqa: E402

RIGHT = {**planted.RIGHT, **held_out.RIGHT}


def some_planted(rng):
    """A function of planted.py; now and then with a forward that is not for complex numbers."""
    name = str(rng.choice(list(RIGHT)))
    source, space = RIGHT[name][1], {"np": np}
    if rng.random() < 0.3:
        source = source.replace("    return", "    np.abs(1.0).real\n    return", 1)
        for old, new in (("(c * c).mean(axis=1, keepdims=True)", "x.var(axis=1, keepdims=True)"),
                         ("(c * c).mean(axis=0)", "x.var(axis=0)"), ("(r * r)", "(np.abs(r) ** 2)"),
                         ("y = x * x", "y = np.abs(x) ** 2"), ("y = np.tanh(x)", "y = np.tanh(np.real(x))")):
            source = source.replace(old, new)
    exec(compile(source, f"<{name}>", "exec"), space)
    sizes = dict(zip("ndm", rng.integers(1, 9, 3)))
    sizes["d"] = max(sizes["d"], 3) if name == "cross entropy" else sizes["d"]         # as many as there are labels
    sizes["z"] = 4 * sizes["m"]
    inputs = {}
    for entry in RIGHT[name][0].split():
        argument, _, axes = entry.partition(":")
        a = rng.standard_normal([sizes[axis] if axis in sizes else int(axis) for axis in axes.split(",")])
        inputs[argument] = a * rng.choice([0.1, 1, 2])
        if argument == "mask":
            inputs[argument] = (a > 0).astype(float)
    return name, diagnose_function(space["forward"], space["backward"], **inputs)


def some_layer(rng):
    """A layer, or a stack of them; with zeros in the input, on the kinks, now and then."""
    d, m = rng.integers(1, 9, 2)
    kind = str(rng.choice(["dense", "mlp", *layers.ACTIVATIONS]))
    x = rng.standard_normal((rng.integers(1, 8), d)) * rng.choice([0.01, 1, 5, 30])
    if rng.random() < 0.3:
        x[rng.random(x.shape) < 0.3] = 0
    if kind == "dense":
        return kind, diagnose_layer(layers.Dense(d, m, rng), x)
    if kind == "mlp":
        return kind, diagnose_layer(MLP((d, m, 3, 2), str(rng.choice(list(layers.ACTIVATIONS))), rng), x)
    return kind, diagnose_layer(layers.ACTIVATIONS[kind](), x)


def some_density(rng):
    """A density of the library."""
    n, d = rng.integers(1, 7, 2)
    name = str(rng.choice(["sample", "log_prob", "entropy", "kl", "kl_standard", "Bernoulli", "Gaussian", "fixed"]))
    if name in ("Bernoulli", "Gaussian", "fixed"):
        likelihood = {"Bernoulli": Bernoulli, "Gaussian": Gaussian, "fixed": lambda d: Gaussian(d, 0.3)}[name](d)
        x = rng.random((n, d)) if rng.random() < 0.5 else rng.integers(0, 2, (n, d)).astype(float)
        h = rng.standard_normal((n, likelihood.n_outputs)) * rng.choice([0.1, 1, 5])
        return name, diagnose_function(likelihood.log_prob, likelihood.log_prob_backward, x, h)
    n_arguments = {"sample": 3, "log_prob": 3, "entropy": 1, "kl": 4, "kl_standard": 2}[name]
    forward, backward = getattr(gaussian, name), getattr(gaussian, f"{name}_backward")
    inputs = list(rng.standard_normal((n_arguments, n, d)) * rng.choice([0.1, 1, 2]))
    if name == "sample":                               # eps has no gradient, as nothing before it needs one
        eps = inputs.pop()
        return name, diagnose_function(lambda mu, logvar: forward(mu, logvar, eps), backward, *inputs)
    return name, diagnose_function(forward, backward, *inputs)


def some_model(rng):
    """A model of the library, its parameters at random."""
    d, hidden = int(rng.integers(2, 6)), tuple(int(k) for k in rng.integers(1, 5, rng.integers(0, 3)))
    options = {"activation": str(rng.choice(list(layers.ACTIVATIONS))),
               "likelihood": str(rng.choice(["bernoulli", "gaussian"])), "rng": int(rng.integers(1000)),
               "dtype": rng.choice([np.float32, np.float64])}
    dims = tuple(int(k) for k in rng.integers(1, 4, rng.integers(1, 4)))
    kind = rng.choice(5)
    model = (Autoencoder(d, dims[0], hidden, **options) if kind == 0 else
             VAE(d, dims[0], hidden, **options) if kind == 1 else
             TopDown(d, dims, hidden, **options) if kind == 2 else
             Diffusion(d, int(rng.integers(2, 6)), hidden, activation=options["activation"]) if kind == 3 else
             HVAE(d, dims, hidden, consistency=str(rng.choice(["exact", "printed"])), **options))
    model.theta += rng.choice([0.01, 0.5]) * rng.standard_normal(model.theta.size)
    return type(model).__name__, diagnose_model(model, rng.random((rng.integers(1, 5), d)))


class Own(layers.Layer):
    """A layer of one's own, by the functions of a line."""

    def __init__(self, name):
        self.name, self.rng = name, np.random.default_rng(0)

    def forward(self, x):
        if self.name == "dropout":
            mask = (self.rng.random(x.shape) < 0.7) / 0.7
            return x * mask, mask
        return OWN[self.name][0](x), x

    def backward(self, dy, cache):
        return dy * cache if self.name == "dropout" else OWN[self.name][1](dy, cache)


def centred(dy, x):
    s = np.sqrt(x.var(1, keepdims=True) + 1e-3)
    h = (x - x.mean(1, keepdims=True)) / s
    return (dy - dy.mean(1, keepdims=True) - h * (dy * h).mean(1, keepdims=True)) / s


def of_length(dy, x):
    s = np.sqrt((x * x).sum(1, keepdims=True))
    return dy / (1 + s) - x * (dy * x).sum(1, keepdims=True) / (s * (1 + s) ** 2)


OWN = {"softsign": (lambda x: x / (1 + np.abs(x)), lambda dy, x: dy / (1 + np.abs(x)) ** 2),
       "abs relu": (lambda x: (x + np.abs(x)) / 2, lambda dy, x: dy * (x > 0)),
       "shrink": (lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.1, 0), lambda dy, x: dy * (np.abs(x) > 0.1)),
       "norm": (lambda x: (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-3), centred),
       "length": (lambda x: x / (1 + np.linalg.norm(x, axis=1, keepdims=True)), of_length),
       "float32": (lambda x: np.tanh(np.float32(x)), lambda dy, x: dy * (1 - np.tanh(np.float32(x)) ** 2)),
       "cast": (lambda x: np.maximum(x.astype(np.float32), 0), lambda dy, x: (dy * (x > 0)).astype(np.float32)),
       "dropout": ()}


def some_own(rng):
    """A layer of one's own, alone, in a stack or in a VAE."""
    name, (n, d) = str(rng.choice(list(OWN))), rng.integers(2, 8, 2)
    x, place = rng.standard_normal((n, d)), int(rng.integers(3))
    if place == 0:
        return name, diagnose_layer(Own(name), x)
    stack = MLP((d, 5, 3), "tanh", rng) if place == 1 else VAE(d, 2, (5,), likelihood="gaussian", rng=rng)
    if place == 2:
        stack.theta += 0.3 * rng.standard_normal(stack.theta.size).astype(stack.theta.dtype)
    target = stack if place == 1 else stack.networks[str(rng.choice(["q1", "p1"]))]
    items = list(target.layers.items())
    items.insert(2, ("own1", Own(name)))
    target.layers = dict(items)
    return name, diagnose_layer(stack, x) if place == 1 else diagnose_model(stack, x)


LOSSES = {"L1": (lambda p, t: np.abs(p - t).sum(axis=1), lambda d, p, t: d[:, None] * np.sign(p - t)),
          "hinge": (lambda p, t: np.maximum(1 - p * np.sign(t), 0).sum(axis=1),
                    lambda d, p, t: -d[:, None] * np.sign(t) * (1 - p * np.sign(t) > 0)),
          "huber": (lambda p, t: np.where(np.abs(p - t) < 1, 0.5 * (p - t) ** 2, np.abs(p - t) - 0.5).sum(axis=1),
                    lambda d, p, t: d[:, None] * np.clip(p - t, -1, 1))}


def some_loss(rng):
    """A loss with kinks, at any size, and now and then on them."""
    name = str(rng.choice(list(LOSSES)))
    forward, backward = LOSSES[name]
    p, target = rng.standard_normal((2, *rng.integers(1, 30, 2)))
    if rng.random() < 0.3:
        p[rng.random(p.shape) < 0.1] = 0
        target[rng.random(p.shape) < 0.1] = 0
    return name, diagnose_function(lambda p: (forward(p, target), p), lambda d, p: backward(d, p, target), p)


def main(n: int = 1000) -> int:
    cries, start = 0, time.perf_counter()
    makers = [some_planted] * 3 + [some_layer] * 2 + [some_density, some_model, some_own, some_own, some_loss]
    counts: dict[str, int] = {}
    for seed in range(n):
        maker = makers[seed % len(makers)]
        name, diagnosis = maker(np.random.default_rng(seed))
        counts[maker.__name__] = counts.get(maker.__name__, 0) + 1
        if not diagnosis.ok:
            cries += 1
            print(f"seed {seed}, {name}:\n{diagnosis}\n")
    print(f"{n} right pieces of code ({', '.join(f'{k} {name[5:]}' for name, k in counts.items())}): "
          f"{cries} diagnosed; {time.perf_counter() - start:.0f} s")
    return int(cries > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
