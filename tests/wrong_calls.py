"""Call all that is public with wrong arguments, at random; every failure must be one sentence that names an argument.

    python tests/wrong_calls.py --seed 0 --calls 20000          # some minutes

Each call begins as a right one; then one to three of its arguments are replaced by
what some program might pass by mistake.  If it fails, then with a ValueError or a
TypeError of one sentence that names one of these arguments, and the model, the
optimiser and the state that it was given are the same as before, bit for bit.  If it
goes through, what it returns must be finite.  What checks nothing by design is said
in scratchvae/check.py, and not called here.
"""

from __future__ import annotations

import argparse
import copy
import io
import os
import sys
import tempfile
import traceback
import warnings
from functools import partial
from pathlib import Path

import numpy as np

from scratchvae import (HVAE, MLP, SGD, VAE, Adam, Autoencoder, Bernoulli, Categorical, Conditional, Diffusion,
                        Gaussian, Importance, LatentDiffusion, LogNormal, Mixed, Poisson, State, TopDown, check, decay,
                        evaluate, fit, flow, steps, warm_up)
from scratchvae.data import binarize, columns, files, mnist, scaling
from scratchvae.explain import explain
from scratchvae.layers import Dense, LeakyReLU, Softplus, Tanh, glorot, he
from scratchvae.train import budget, checkpoint, imputation, team
from scratchvae.train.estimator import TableVAE
from scratchvae.verify.gradcheck import check_function, check_layer, check_model
from scratchvae.verify.diffusion_forms import readings, three_writings

X = np.random.default_rng(0).random((5, 4))
HERE = tempfile.TemporaryDirectory(prefix="wrong_calls")                        # removed when the program ends
FOLDER = Path(HERE.name)
np.save(FOLDER / "x.npy", X)
TABLE = np.column_stack([X[:, :2], ["a", "b", "a", "b", "a"]]).astype(object)


def junk(rng):
    """Return what nobody should pass, or what is right elsewhere."""
    numbers = [0, -1, 1, 2, 3, 1.5, -0.5, np.nan, np.inf, -np.inf, 1 + 2j, True, False, 10**400, -10**400, 10**12,
               1e308, np.ma.masked,
               np.uint8(200), np.int8(-3), np.float16(0.5), np.float32(2), np.complex64(1j), np.bool_(True),
               np.datetime64("2020-01-01"), np.array(3), np.array(0.5), np.array(None)]
    texts = ["", "x", "tanh", "1e-2", "0", "a\nb", "\x1b[31m", "x" * 5000, b"x", bytearray(b"ab"), "float64", "("]
    lists = [[], (), [1], (2, 3), [1, [2, 3]], [None], ["a"], [1.5], [np.nan], list(range(3000)), {}, {"a": 1},
             {2: 0.1},
             {1, 2}, frozenset(), range(3), iter([1, 2]), (i for i in range(3)), slice(3), [[0.5] * 4] * 5, [X[0],
                                                                                                             X[1]]]
    arrays = [X, X[0], X[:, :3], X[:0], X[:1], X.T, X[None], X + 2, -X, X * np.nan, X * np.inf, X + 1j,
              X.astype(object),
              X.astype(str), X > 0.5, X.astype(np.int8), X.astype(np.float16), np.ma.masked_less(X, 0.5), np.zeros(0),
              np.zeros((0, 4)), np.zeros((5, 0)), np.ones((5, 2)), [np.ones((5, 3)), np.ones((5, 2))], np.ones(4),
              np.array([{}]), np.zeros(3, "M8[s]"), np.zeros(3, [("a", int)])]
    objects = [None, Ellipsis, object(), type, VAE, Adam, Tanh, Adam(), Tanh(), VAE(4, 2, (3,)), Bernoulli(4),
               Gaussian(3), len, abs, lambda: 3, lambda *_: None, np.float32, np.random, np.random.default_rng(0),
               np.random.RandomState(0), io.StringIO(), Path("nowhere"), FOLDER, State.start(VAE(4, 2)),
               ValueError("x"),
               NotImplemented, np.dtype("int8"), warm_up(3)]
    group = [numbers, texts, lists, arrays, objects][rng.integers(5)]
    return group[rng.integers(len(group))]


def doors():
    """Return every door by name: a function that takes keywords, and a function that makes right ones."""
    seed = dict(rng=0)
    net = dict(x_dim=4, latent_dim=2, hidden_dims=(3,), activation="tanh", likelihood="bernoulli",
               x_mean=X.mean(axis=0),
               rng=0, dtype=np.float32)
    deep = {name: value for name, value in net.items() if name != "latent_dim"}
    vae, hvae, auto = VAE(4, 2, (3,)), HVAE(4, (3, 2), (3,)), Autoencoder(4, 2, (3,))
    cells = VAE(4, 2, (3,), likelihood=Mixed([Gaussian(1)] * 3 + [Bernoulli(1)], missing=True))
    top, diffusion = TopDown(4, (3, 2), (3,)), Diffusion(4, 3, (3,))
    latent, told = LatentDiffusion(4, 2, (3,), prior_hidden_dims=(3,)), Conditional(VAE(2, 2, (3,)), 2)
    told_diffusion, gaps = Conditional(Diffusion(2, 3, (3,)), 2), np.where(X > 0.8, np.nan, X > 0.5)
    table = TableVAE(2, (3,), hold_out=2).fit(TABLE)
    two = [np.ones((5, 3)), np.ones((5, 2))]
    noises = {vae: np.ones((5, 2)), hvae: two, auto: None, top: two,
              diffusion: [np.linspace(0, 0.9, 5), np.ones((5, 4)), np.ones((5, 4))],
              latent: np.full((5, 7), 0.5), told: np.ones((5, 2)),
              told_diffusion: [np.linspace(0, 0.9, 5), np.ones((5, 2)), np.ones((5, 2))]}
    found = {
        "SGD": (SGD, dict(learning_rate=0.1, momentum=0.5)),
        "Adam": (Adam, dict(learning_rate=0.1, beta1=0.9, beta2=0.9, epsilon=1e-8)),
        "VAE": (VAE, net), "Autoencoder": (Autoencoder, net),
        "HVAE": (HVAE, dict(**deep, latent_dims=(3, 2), consistency="exact")),
        "TopDown": (TopDown, dict(**deep, latent_dims=(3, 2))),
        "Diffusion": (Diffusion, dict(**deep, T=3, log_noise=(-2.0, 3.0), variance="posterior")),
        "LatentDiffusion": (LatentDiffusion, dict(**net, prior_hidden_dims=(3,), log_noise=(-2.0, 3.0))),
        "Conditional": (Conditional, dict(model=vae, y_dim=2)), "Conditional.given": (told.given, dict(y=[0.0, 1.0])),
        "TableVAE": (lambda X, **options: TableVAE(**options).fit(X), dict(
            X=TABLE, latents=2, hidden=(3,), kinds={"0": "gaussian"}, hold_out=2, learning_rate=0.1, batch_size=3,
            random_state=0)),
        "TableVAE.set_params": (table.set_params, dict(latents=3, hidden=(4,))),
        "TableVAE.transform": (table.transform, dict(X=TABLE)),
        "TableVAE.inverse_transform": (table.inverse_transform, dict(Z=np.ones((5, 2)))),
        "TableVAE.score_samples": (table.score_samples, dict(X=TABLE, n_samples=3)),
        "TableVAE.score": (table.score, dict(X=TABLE)),
        "TableVAE.sample": (table.sample, dict(n_samples=3)),
        "TableVAE.impute": (table.impute, dict(X=TABLE, n_samples=3)),
        "imputation.shares": (imputation.shares, dict(model=cells, x=gaps, n_samples=3, rng=0)),
        "imputation.fill": (imputation.fill, dict(model=cells, x=gaps, n_samples=3, rng=0, draw=True)),
        "evaluate latent diffusion": (evaluate, dict(model=latent, x=X, n_samples=2, n_draws=2, rng=0, batch_size=3,
                                                     progress=False)),
        "evaluate conditional": (evaluate, dict(model=told, x=X, n_samples=2, n_draws=2, rng=0, batch_size=3,
                                                progress=False)),
        "Bernoulli": (Bernoulli, dict(x_dim=4)), "Gaussian": (Gaussian, dict(x_dim=4, logvar=0.5)),
        "LogNormal": (LogNormal, dict(x_dim=4)),
        "Poisson": (Poisson, dict(x_dim=4)), "Categorical": (Categorical, dict(x_dim=4)),
        "Mixed": (Mixed, dict(parts=[Gaussian(1), Categorical(3)], missing=True)),
        "MLP": (MLP, dict(dims=(4, 3, 2), activation="tanh", rng=0)),
        "Dense": (Dense, dict(n_in=4, n_out=2, rng=0, initialise=glorot)),
        "LeakyReLU": (LeakyReLU, dict(slope=0.1)),
        "glorot": (glorot, dict(n_in=4, n_out=2, rng=0)), "he": (he, dict(n_in=4, n_out=2, rng=0)),
        "warm_up": (warm_up, dict(epochs=3)), "decay": (decay, dict(first=0.1, last=0.01, epochs=3)),
        "steps": (steps, dict(first=0.1, changes={2: 0.01})),
        "State.start": (State.start, dict(model=vae, rng=0)),
        "binarize": (binarize, dict(x=X, how="sample", rng=0)),
        "evaluate": (evaluate, dict(model=vae, x=X, n_samples=2, n_draws=2, rng=0, batch_size=3, progress=False)),
        "evaluate deep": (evaluate, dict(model=hvae, x=X, n_samples=2, n_draws=2, rng=0, batch_size=3, progress=False)),
        "evaluate top down": (evaluate, dict(model=top, x=X, n_samples=2, n_draws=2, rng=0, batch_size=3,
                                             progress=False)),
        "evaluate diffusion": (evaluate, dict(model=diffusion, x=X, n_samples=2, n_draws=2, rng=0, batch_size=3,
                                              progress=False)),
        "check_function": (lambda forward, backward, x, **options: check_function(forward, backward, x, **options),
                           dict(forward=Tanh().forward, backward=Tanh().backward, x=X, method="complex", directions=2,
                                tolerance=1e-9, rng=0)),
        "check_layer": (check_layer, dict(layer=Softplus(), x=X, method="complex", directions=2, tolerance=1e-9,
                                          rng=0)),
        "check_model": (check_model, dict(model=vae, x=X, noise=noises[vae], by_part=True, method="complex",
                                          directions=1,
                                          tolerance=1e-9, rng=0)),
        "readings": (readings, dict(model=diffusion, z=np.ones((5, 4)), level=2)),
        "three_writings": (three_writings, dict(model=diffusion, x=X, rng=0)),
        "explain": (explain, dict(model=vae, x=X, noise=noises[vae], beta=1.0, alpha=1.0, n_samples=None,
                                  image_shape=(2, 2), about="")),
        "team.log_likelihood": (team.log_likelihood, dict(model=vae, x=X, n_samples=3, rng=0, max_rows=2, workers=1)),
        "mnist": (lambda folder: mnist.mnist(folder, mirrors=()), dict(folder=FOLDER)),
        "checkpoint.save": (checkpoint.save, dict(path=FOLDER / "run.npz", model=vae, optimizer=Adam(),
                                                  state=State.start(vae), config={"a": 1})),
        "checkpoint.load": (checkpoint.load, dict(path=FOLDER / "run.npz")),
        "checkpoint.load_newest": (checkpoint.load_newest, dict(path=FOLDER / "run.npz")),
        "checkpoint.previous": (checkpoint.previous, dict(path=FOLDER / "run.npz")),
        "checkpoint.every": (checkpoint.every, dict(seconds=3, save=abs)),
        "Scaling": (scaling.Scaling, dict(shift=0.5, scale=2.0)),
        "Scaling.choose": (scaling.Scaling.choose, dict(x=X, how="standardise", pictures=False)),
        "Scaling.apply": (scaling.Scaling(0.5, 2.0).apply, dict(x=X, dtype=np.float64)),
        "Scaling.invert": (scaling.Scaling(0.5, 2.0).invert, dict(x=X)),
        "files.load": (files.load, dict(path=FOLDER / "x.npy", key=None, labels=None, header=None, image_shape=(2, 2),
                                        max_bytes=10**6, text=False)),
    }
    for model, noise in noises.items():
        name = type(model).__name__ + (" of a diffusion" if model is told_diffusion else "")
        found[f"fit {name}"] = (fit, dict(model=model, x=X, epochs=2, batch_size=3, optimizer=Adam(), learning_rate=0.1,
                                          beta=0.5, free_bits=0.1, average=0.9, objective="elbo", n_samples=1,
                                          estimator="plain", rng=0, resample=False, x_valid=X,
                                          callback=None, progress=False, state=State.start(model), after_step=None))
        found[f"{name}.forward"] = (model.forward, dict(x=X, noise=noise))
        found[f"{name} loss"] = (model.forward(X, noise)[0].loss_backward, dict(beta=0.5, alpha=1.0))
        found[f"{name}.check_x"] = (model.check_x, dict(x=X))
        found[f"{name}.astype"] = (model.astype, dict(dtype=np.float64))
        one = model.given([0, 1]) if isinstance(model, Conditional) else model
        found[f"{name}.encode"] = (one.encode, dict(x=X[:, :one.x_dim]))
        found[f"{name}.reconstruct"] = (one.reconstruct, dict(x=X[:, :one.x_dim]))
        found[f"{name}.decode"] = (one.decode, dict(z=np.ones((5, one.latent_dims[0])),
                                                    **({} if model is auto else seed)))
        if model is not auto:
            found[f"{name}.draw_noise"] = (model.draw_noise, dict(n=3, rng=np.random.default_rng(0)))
            found[f"{name}.sample"] = (model.sample, dict(n=3, rng=0, draw=True))
            found[f"{name}.log_likelihood"] = (model.log_likelihood, dict(x=X, n_samples=3, rng=0, max_rows=2))
    found["cells.forward"] = (cells.forward, dict(x=X, noise=np.ones((5, 2))))
    found["cells.check_x"] = (lambda x: np.nan_to_num(cells.check_x(x)), dict(x=X))
    for model in (hvae, top):
        name = type(model).__name__
        found[f"{name}.decode"] = (model.decode, dict(z=np.ones((5, 2)), level=2, noise=noises[model], rng=0))
        found[f"{name}.reconstruct"] = (model.reconstruct, dict(x=X, level=2))
        found[f"{name}.sample"] = (model.sample, dict(n=3, rng=0, z=np.ones(2), level=2, draw=False))
    for model in (vae, hvae, top):
        found[f"fit {type(model).__name__} on weights"] = (fit, dict(
            model=model, x=X, epochs=2, batch_size=3, beta=0.5, objective="iwae", n_samples=3, estimator="dreg",
            rng=0, progress=False, state=State.start(model)))
        found[f"Importance {type(model).__name__}"] = (
            Importance, dict(model=model, n_samples=3, objective="iwae", estimator="dreg"))
    found["Diffusion.encode"] = (diffusion.encode, dict(x=X, level=2))
    found["Diffusion.decode"] = (diffusion.decode, dict(z=np.ones((5, 4)), level=2, rng=0))
    found["Diffusion.reconstruct"] = (diffusion.reconstruct, dict(x=X, level=2, rng=0))
    found["Diffusion.with_levels"] = (diffusion.with_levels, dict(T=5))
    found["Diffusion.bound_by_level"] = (diffusion.bound_by_level, dict(x=X, rng=0))
    found["Diffusion.bound_by_level of the limit"] = (Diffusion(4, np.inf, (3,)).bound_by_level,
                                                      dict(x=X, rng=0, n_times=3))
    found["Diffusion.sample"] = (diffusion.sample, dict(n=3, rng=0, draw=True, steps=2, eta=0.5))
    found["flow.log_density"] = (partial(flow.log_density, diffusion), dict(z=np.ones((5, 4)), rtol=0.1))
    found["flow.log_weight"] = (partial(flow.log_weight, diffusion), dict(x=X, rng=0, rtol=0.1))
    return found


def backward(model, noise, **weights):
    """Go forward and backward through a model, for a loss of these weights."""
    elbo, cache = model.forward(X, noise)
    return model.backward(elbo.loss_backward(**weights), cache)


FUNCTIONS = ("callback", "after_step", "beta", "learning_rate", "forward", "backward", "save", "initialise")
SAID = {"x": ("x", "numbers"), "X": ("X", "x", "column"), "Z": ("z",),
        "dims": ("dims",), "n_in": ("n_in",), "key": ("key",),
        "path": ("path", "cannot be read", "must be a file")}             # after the path itself


def snapshot(value):
    """Return what must not have changed."""
    if isinstance(value, (VAE, HVAE, Autoencoder, Diffusion, Conditional)):
        return value.theta.tobytes()
    if isinstance(value, State):
        return repr(sorted(vars(value).items(), key=str)) if not isinstance(value.rng, np.random.Generator) else (
            value.epoch, value.step, np.asarray(value.sums).tobytes(), repr(value.rng.bit_generator.state),
            repr(value.history), repr((value.average, value.weight, value.theta)))
    if isinstance(value, (SGD, Adam)):
        return repr({name: v for name, v in vars(value).items() if name != "w"})
    return None


def fault(name, error, replaced, arguments):
    """Return what is wrong with the way in which a call failed, or ''."""
    if not isinstance(error, (ValueError, TypeError)):
        if name.startswith("fit") and isinstance(error, FloatingPointError):
            return ""                                  # a learning rate that is a number, but too large
        if isinstance(error, OSError) and name.startswith(("files", "checkpoint", "mnist")):
            return ""                                  # a path that is one, to nothing that can be read
        return f"it is a {type(error).__name__}"
    text = str(error).replace("\n", " ") if isinstance(error, columns.Unusable) else str(error)    # a line a column
    if "\n" in text or not text.isprintable() or not 10 <= len(text) <= 400:
        return f"it is not one sentence, but {len(text)} characters"
    words = [word for argument in arguments for word in SAID.get(argument, (argument,))]      # or one that it must fit
    return "" if any(word in text for word in words) else f"it names none of {', '.join(replaced)}"


def nonsense(value, depth=0):
    """Return whether there is a number in what a call returned that is not finite."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "fc" and not np.isfinite(value).all()
    if isinstance(value, dict):
        value = list(value.values())
    elif hasattr(value, "theta") and depth < 3:
        value = [value.theta]
    if isinstance(value, (list, tuple)) and depth < 5:
        return any(nonsense(entry, depth + 1) for entry in value)
    return isinstance(value, float) and not np.isfinite(value)


def run(seed, calls, only=""):
    """Make the calls; return how many failed as they should, how many went through, and what was wrong."""
    rng, wrong = np.random.default_rng(seed), []
    fresh, home = doors(), Path.cwd()
    os.chdir(FOLDER)                                   # a text may be taken for the name of a file
    usual = budget.STEPS, budget.MOST_STEPS, budget.WAIT
    budget.STEPS, budget.MOST_STEPS, budget.WAIT = 2, 40, 2                     # a short training of a table
    try:
        return calls_of(rng, fresh, calls, only, wrong)
    finally:
        os.chdir(home)
        budget.STEPS, budget.MOST_STEPS, budget.WAIT = usual


def calls_of(rng, fresh, calls, only, wrong):
    """Make the calls in the folder where they may write."""
    refused = accepted = 0
    names = [name for name in fresh if only in name]
    for number in range(calls):
        name = names[rng.integers(len(names))]
        door, right = copy.deepcopy(fresh[name])       # with its models: a bound method's as well
        count = min(len(right), 1 + int(rng.integers(3)))
        replaced = [str(argument) for argument in rng.choice(list(right), count, replace=False)]
        arguments = {**right, **{argument: junk(rng) for argument in replaced}}
        watched = [*arguments.values(), getattr(door, "__self__", None)]
        before = [snapshot(value) for value in watched]
        shown = f"call {number}: {name}({', '.join(f'{a}={safe(arguments[a])}' for a in replaced)})"
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = door(**arguments)
        except Exception as error:
            problem, refused = fault(name, error, replaced, arguments), refused + 1
            diverged = isinstance(error, FloatingPointError)
            if any(callable(arguments[argument]) and argument in FUNCTIONS for argument in replaced):
                continue                               # what a function of the caller raises is its own
            if not problem and not diverged and [snapshot(value) for value in watched] != before:
                problem = "the model, the optimiser or the state has changed"
            if problem:
                where = traceback.extract_tb(error.__traceback__)[-1]
                wrong.append(f"{shown}: {problem}: {type(error).__name__}: {safe(error)} "
                             f"({Path(where.filename).name}:{where.lineno})")
        else:
            accepted += 1
            if nonsense(result):
                wrong.append(f"{shown}: it went through, and returned what is not finite")
    return refused, accepted, wrong


def safe(value):
    """Return a value in few words."""
    return f"array{value.shape} of {value.dtype}" if isinstance(value, np.ndarray) else check.shown(value)


def main():
    """Make the calls, and say what was wrong; return 0 if nothing was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--only", default="", help="doors whose name has this in it")
    args = parser.parse_args()
    refused, accepted, wrong = run(args.seed, args.calls, args.only)
    print("\n".join(wrong[:100]))
    print(f"{args.calls} calls of {len(doors())} doors: {refused} refused, {accepted} went through; {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
