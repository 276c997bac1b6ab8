"""Right code, at random: the diagnosis must find nothing in it.

    python tests/mistakes/silence.py           # 1000 layers, functions and models; some minutes

The library's own layers, densities and models; and functions of planted.py with others beside them: layer norm, batch
norm, dropout, softmax, attention, a small RNN; shapes, seeds and sizes of the inputs at random; some
with a forward that takes no complex numbers.
"""

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).parent)]

import numpy as np                                     # noqa: E402

from planted import RIGHT                              # noqa: E402
from scratchvae import HVAE, MLP, VAE, Autoencoder, Bernoulli, Gaussian, gaussian, layers  # noqa: E402
from scratchvae.diagnose import diagnose_function, diagnose_layer, diagnose_model          # noqa: E402


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
    kind = rng.choice(3)
    dims = tuple(int(k) for k in rng.integers(1, 4, rng.integers(1, 4)))
    model = (Autoencoder(d, dims[0], hidden, **options) if kind == 0 else
             VAE(d, dims[0], hidden, **options) if kind == 1 else
             HVAE(d, dims, hidden, consistency=str(rng.choice(["exact", "printed"])), **options))
    model.theta += rng.choice([0.01, 0.5]) * rng.standard_normal(model.theta.size)
    return type(model).__name__, diagnose_model(model, rng.random((rng.integers(1, 5), d)))


def main(n: int = 1000) -> int:
    cries, start = 0, time.perf_counter()
    makers = [some_planted] * 4 + [some_layer] * 3 + [some_density] * 2 + [some_model]
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
