"""What each sub-command does: train, evaluate, sample, reconstruct, interpolate, encode, gradcheck, explain."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .. import startup
from ..data import columns
from ..data.tables import listed
from ..data.writing import make_folder
from ..diagnose import diagnose_model
from ..explain import explain as write_page
from ..layers import Array
from ..train import imputation
from ..train.budget import budget
from ..train.evaluation import Evaluation, evaluate
from ..train.fit import fit
from ..train.progress import Interrupted
from ..verify.gradcheck import check_model
from . import examples, folders, options, output, runs
from .examples import Config, Data
from .inputs import FOR_FILES, Shown, new_config, opened, shown
from .output import note
from .runs import Run

GREY = ("grey values under a Bernoulli likelihood: log p(x) and its bound are lower bounds on the mean log p of the "
        "black-and-white pictures that may be drawn from them; see train --binarize")


def train(args: argparse.Namespace, given: Config) -> int:
    """Train a model, or go on training one.

    examples:
      the data of this package, 8x8 digits, in some seconds:
        scratchvae train --data digits --binarize resample-each-epoch --out runs/digits

      a hierarchy of three levels, beta rising for 50 epochs so that none is given up:
        scratchvae train --model hvae --latents 16,8,4 --warm-up 50 --epochs 300 \\
            --binarize resample-each-epoch --out runs/three

      two levels with networks of their own (200-200 below, 100-100 above), inferred from
      the top down, and an average of the parameters over the last 5000 steps or so:
        scratchvae train --data mnist --binarize sample --model topdown --latents 100,50 \\
            --hidden 200,200/100,100 --schedule exponential:1e-4 --average 0.9998 --out runs/mnist

      importance-weighted, five draws of z for each digit, q's gradient doubly reparameterised:
        scratchvae train --objective iwae --importance 5 --estimator dreg --batch-size 20 \\
            --binarize resample-each-epoch --out runs/iwae

      a diffusion, its network two hidden layers of 256:
        scratchvae train --model diffusion --binarize resample-each-epoch --batch-size 128 \\
            --epochs 500 --learning-rate 2e-3 --schedule exponential:1e-4 --out runs/diffusion

      your table, with text, numbers and empty cells; training ends when it no longer helps:
        scratchvae train --data table.csv --out runs/table
        scratchvae train --data table.csv --labels -1 --kinds visits=poisson --out runs/table

      go on after Ctrl-C, a crash or kill -9; or train an old run for longer:
        scratchvae train --resume runs/table
        scratchvae train --resume runs/table --epochs 500

    the folder then holds config.json, history.csv (its columns valid_... are of the rows
    held out), held_out.csv (their numbers in the file), checkpoint.npz (and the one before
    it), curves.png, samples.png and, where the data are no images, samples.csv.
    """
    if args.resume is not None:
        with folders.alone(args.resume) as place:
            run, data, x, held_out = go_on(args, given)
            run.place = place
            return train_to_the_end(run, data, x, held_out)
    config, data = new_config(given)
    counted = given.keys() & {"epochs", "patience", "schedule", "warm_up"}
    if not counted and "test" in data.x and examples.is_table(config):
        config.update({"average": 0.999, **budget(len(data.x["train"]), config["batch_size"])._asdict(), **given})
    x, held_out = examples.for_training(config, data)
    if config["patience"] and held_out is None:
        raise ValueError("--patience needs rows that are held out, such as --hold-out 10")
    doubts = examples.doubts(config, data.x["train"])
    run = runs.new(args.out, config, x)           # a mistake has come out by now: nothing is on disk
    make_folder(run.folder)
    with folders.alone(run.folder) as run.place:
        folders.begin(run, args.overwrite)
        return train_to_the_end(run, data, x, held_out, doubts)


def train_to_the_end(run: Run, data: Data, x: Array, held_out: Array | None, doubts: Sequence[str] = ()) -> int:
    """Say what will be done, and do it."""
    config, state = run.config, run.state
    watched = "none held out" if held_out is None else f"{len(held_out)} held out ({data.watched})"
    width = f"{len(config['cells'])} columns" if config["cells"] else config["x_dim"]
    output.say(f"{config['data']}: {len(x)} rows of {width} to train on, {watched}; {run.scaling}")
    if config["columns"] and config["image_shape"] is None:
        output.say(f"columns: {listed(config['columns'])}; labels: {config['labels'] or 'none (see --labels)'}")
    if "test" in data.numbers:
        output.write_numbers(run.folder / "held_out.csv", {"row": data.numbers["test"]})
        output.say(f"held out: every {config['hold_out']}th row; their numbers, counted from 0, are in "
                   f"{run.folder / 'held_out.csv'}")
    for line in [*examples.kinds(config), *doubts]:
        output.say(line)
    if config["passes"]:
        output.say(f"an epoch: {config['passes']} times all rows; training ends when the bound on the rows held out "
                   f"has not risen for {config['patience']} epochs, or after {config['epochs']}")
    if config["binarize"] == "none" and examples.is_grey(config, x):
        output.say(GREY)
    began = f"; {run.folder} goes on after epoch {state.epoch}, step {state.step} of the next"
    output.say(f"{config['model']}: {run.model.theta.size} parameters, {config['epochs'] - state.epoch} epochs to go"
               + (began if state.epoch + state.step else ""))
    try:
        run.train(x, held_out, progress=sys.stdout)
    except Interrupted:
        output.say(f"stopped after {state.epoch} epochs and saved; scratchvae train --resume {run.folder} goes on")
        return 130
    if config["patience"]:
        best, _ = run.take_best()
        bound = state.history["valid_elbo"][best - 1]
        output.say(f"kept: the parameters of epoch {best}, with the highest held-out bound, {bound:.2f} nats")
        if run.stale < config["patience"]:
            output.say(f"it was still rising: scratchvae train --resume {run.folder} --epochs {2 * config['epochs']}")
    finish(run, x[:1000, :config["x_dim"]])
    output.say(f"done; scratchvae evaluate {run.folder}{'' if 'test' in data.x else ' --split train'} measures it")
    return 0


def go_on(args: argparse.Namespace, given: Config) -> tuple[Run, Data, Array, Array | None]:
    """Return a run where it stands, its data, and the rows to train on and held out."""
    for name in given.keys() - set(runs.MAY_CHANGE):
        raise ValueError(f"--resume goes on with the run's own options: leave out {options.word(name)}")
    if args.overwrite:
        raise ValueError("--resume goes on with a run: leave out --overwrite, which replaces it")
    run, _ = opened(args.resume)
    workers = run.config["workers"]
    run.config.update(given)
    if run.config["epochs"] < run.state.epoch:
        raise ValueError(f"--epochs must be at least {run.state.epoch}, the epochs so far; got {run.config['epochs']}")
    data = examples.read_own(run.config)
    x, held_out = examples.for_training(run.config, data)
    from ..train import team                           # multiprocessing takes its time
    in_a_step = min(run.config["batch_size"], len(x) * (run.config["passes"] or 1)) * run.config["importance"]
    began, now = (team.chosen(n, run.model, run.optimizer, in_a_step) for n in (workers, run.config["workers"]))
    if (began is None) != (now is None) and run.state.epoch + run.state.step:
        change = "without workers and goes on with them" if began is None else "with workers and goes on without them"
        note(f"the run began {change}: from here on its random numbers differ from those of a run without a pause")
    if (threads := run.config["threads"]) not in (None, startup.threads()):
        note(f"the run began with OPENBLAS_NUM_THREADS={threads} and goes on with {startup.threads()}: its last bits "
             "may differ from a run without a pause")
    folders.go_on(run)
    return run, data, x, held_out


def finish(run: Run, real: Array) -> None:
    """Draw the curves, and some samples beside real rows."""
    table = run.config["image_shape"] is None
    x = runs.drawn_from(run.model, 1000 if table else 100, run.config["seed"], table)
    if table:
        output.write_numbers(run.folder / "samples.csv", {"x": run.scaling.invert(x[:100], drawn=True)},
                             run.config["columns"])
    try:
        output.write_curves(run.folder / "curves.png", run.state.history, min(run.config["warm_up"], run.state.epoch))
        if table:
            output.write_table(run.folder / "samples.png", run.config, real, x)
        else:
            output.write_picture(run.folder / "samples.png", run.config, {"samples": x}, 10)
    except ImportError as error:                       # no matplotlib: the run is no worse for it
        note(str(error))


def measure(args: argparse.Namespace, given: Config) -> None:
    """Measure a model: the parts of its bound, log p(x), its active units.

    examples:
      scratchvae evaluate runs/digits
      scratchvae evaluate runs/mnist --samples 5000 --json > mnist.json
      scratchvae evaluate runs/table --data new.csv
      scratchvae evaluate runs/table --data new.csv --rows scores.csv     # the unlikely rows: sort by log_likelihood

    An active unit is a latent that does something: its mean moves with x, with a
    variance above 0.01 (Burda et al. 2016); or its KL is above 0.01 nats.  One row
    alone does not tell.
    """
    run, epoch = opened(args.run, best=True)
    if args.rows is not None:
        output.check_path(args.rows, output.NUMBERS, run.config, args.data, "--rows")
    x, name = (look := shown(run, args, given)).x, look.name
    grey, scaling = examples.is_grey(run.config, x), str(run.scaling)
    of_model = {"diffusion": 10}.get(run.config["model"], 100 if run.config["prior"] == "diffusion" else 1000)
    n_samples = args.samples or of_model
    found = evaluate(run.model, x, n_samples=n_samples, rng=given.get("seed", 0),
                     progress=sys.stderr if sys.stderr.isatty() else None, workers=args.workers)
    is_density = run.config["likelihood"] != "bernoulli" and run.config["binarize"] == "none"
    log_scale = float(np.mean(run.log_scales(x)))
    mean = float(found.log_likelihood.mean())
    if not np.isfinite(mean):
        note(f"log p(x) is not finite: some rows of {name} are too far from those trained on")
    if args.rows is not None:
        write_rows(args.rows, run, look, found, n_samples)
    if args.json:
        facts = {"run": str(run.folder), "data": name, "scaling": scaling, "binarize": run.config["binarize"],
                 "grey_values": grey, "epochs": epoch, **found.as_dict(),
                 "log_likelihood_per_dimension": mean / run.config["x_dim"],
                 "log_likelihood_before_scaling": mean - log_scale if is_density else None}
        output.say(json.dumps(json.loads(json.dumps(facts), parse_constant=lambda nan: None), indent=1))
        return
    output.say(f"{run.folder} after {epoch} epochs, on {len(x)} rows of {name}; {scaling}")
    if grey:
        output.say(GREY)
    output.say(found)
    if not run.config["cells"]:                        # a table's columns are no dimensions of one kind
        output.say(f"per dimension   {mean / run.config['x_dim']:10.3f} nats")
    if log_scale:
        output.say(f"before scaling  {mean - log_scale:10.3f} nats: the density of x as it is stored")


def write_rows(path: Path, run: Run, look: Shown, found: Evaluation, n_samples: int) -> None:
    """Write a line for each row: its number, its label, log p(x) in the data's units, and the parts of the bound."""
    elbo, log_scale, how = found.elbo, run.log_scales(look.x), run.scaling
    arrays = {"row": look.numbers, **look.labels, "log_likelihood": found.log_likelihood - log_scale,
              "elbo": elbo.total - log_scale, "reconstruction": elbo.reconstruction - log_scale,
              "prior_matching": elbo.prior_matching,
              **{f"consistency_{t}": kl for t, kl in enumerate(elbo.consistency.T, start=1)}}
    if isinstance(how, columns.Table) and len(look.x) > 1:     # log p of each cell given the others, less its mean
        first = np.cumsum([0, *(len(columns.PARTS[column.kind]) for column in how.columns)])[:-1]
        share = np.add.reduceat(imputation.shares(run.model, look.x, n_samples), first, axis=1)
        share[np.isnan(how.numbers(look.stored))] = np.nan
        share = np.nan_to_num(share - np.nanmean(share, axis=0))               # a missing cell is no surprise: 0
        names = np.array([column.name for column in how.columns], object)
        arrays.update({"score": share.sum(axis=1), "oddest": names[share.argmin(axis=1)],
                       **{f"share_{name}": cells for name, cells in zip(names, share.T)}})
    output.write_numbers(path, arrays)


def looked_at(args: argparse.Namespace, given: Config, endings: Sequence[str]) -> tuple[Run, Shown]:
    """Return the run and the rows that a command looks at, if what it makes of them may be written."""
    run, _ = opened(args.run, best=True)
    output.check_path(args.out, endings, run.config, args.data)
    return run, shown(run, args, given)


def sample(args: argparse.Namespace, given: Config) -> None:
    """Draw from a model.

    examples:
      scratchvae sample runs/digits --out digits.png
      scratchvae sample runs/table --count 1000 --out synthetic.csv
      scratchvae sample runs/diffusion --steps 20 --out digits.png

    A diffusion passes through --steps levels without new noise.  The bound that
    evaluate prints is that of all its levels, and of their noise.
    """
    run, _ = opened(args.run, best=True)
    output.check_path(args.out, output.ALL, run.config)
    draw = args.draw or run.config["image_shape"] is None
    if args.label is not None and run.config["classes"] is None:
        raise ValueError("--label is for a model that was trained --given labels: leave it out")
    model = run.model if args.label is None else run.model.given(examples.one_hot(run.config, args.label))
    x = runs.drawn_from(model, args.count, given.get("seed", 0), draw, args.steps)
    output.write(args.out, run.config, {"x": x}, 10,
                 f"{args.count} samples, {'x ~ p(x | z)' if draw else 'E[x | z]'} for z drawn from the prior",
                 drawn=draw)


def impute(args: argparse.Namespace, given: Config) -> None:
    """Fill the empty cells of a table.

    examples:
      scratchvae impute runs/table --data table.csv --out full.csv
      scratchvae impute runs/table --data table.csv --draw --seed 1 --out one.csv
    """
    run, look = looked_at(args, given, output.NUMBERS)
    filled = imputation.fill(run.model, look.x, args.samples or 1000, given.get("seed", 0), args.draw)
    cells, empty = run.scaling.invert(filled, drawn=True), run.scaling.invert(look.x) == ""
    output.write_numbers(args.out, {"x": np.where(empty, cells, look.stored), **look.labels}, run.config["columns"])
    output.say(f"wrote {args.out}: {len(cells)} rows of {look.name}, {empty.sum()} cells filled")


def reconstruct(args: argparse.Namespace, given: Config) -> None:
    """Encode examples and decode them.

    examples:
      scratchvae reconstruct runs/digits --out pairs.png
      scratchvae reconstruct runs/three --level 3 --out pairs.png     # what the top level still knows
      scratchvae reconstruct runs/table --data new.csv --count 500 --out again.csv
    """
    run, look = looked_at(args, given, output.ALL)
    x, grey = look.x[:args.count], {}
    if run.config["binarize"] != "none" and args.out.suffix in output.PICTURES:
        grey = {"grey": examples.prepare(run.config, look.stored[:args.count], "test", grey=True)}
    output.write(args.out, run.config, {**grey, "x": x, "reconstruction": runs.rebuilt(run.model, x, args.level)}, 10,
                 f"{len(x)} rows and their reconstructions from level {args.level}; {look.name}",
                 stored={"x": look.stored[:args.count]} if run.config["binarize"] == "none" else {})


def interpolate(args: argparse.Namespace, given: Config) -> None:
    """Walk from one example to another, in equal steps through the latents.

    examples:
      scratchvae interpolate runs/digits --between 3,8 --out walk.png
      scratchvae interpolate runs/three --between 3,8 --level 3 --steps 12 --out walk.png
    """
    run, look = looked_at(args, given, output.ALL)
    if len(args.between) != 2 or max(args.between) >= len(look.x):
        raise ValueError(f"--between must be two of the {len(look.x)} rows of {look.name}, counted from 0; "
                         f"got {','.join(map(str, args.between))}")
    ends, (i, j), labels = look.x[args.between], args.between, []
    first, last = runs.means_at(run.model, ends, args.level)
    share = np.linspace(0, 1, args.steps, dtype=ends.dtype)[:, None]
    walk = runs.decoded(run.model, (1 - share) * first + share * last, args.level)
    what = f"{args.steps} steps from row {i} to row {j} of {look.name}"
    if args.out.suffix in output.PICTURES:                 # the two rows themselves stand at its ends
        walk, labels = np.concatenate([ends[:1], walk, ends[1:]]), [f"row {i}", *[""] * args.steps, f"row {j}"]
        what += ", with the rows themselves at both ends"
    output.write(args.out, run.config, {"x": walk}, len(walk), what, labels)


def encode(args: argparse.Namespace, given: Config) -> None:
    """Write mu and logvar of every level.

    examples:
      scratchvae encode runs/digits --out codes.npz       # mu_1, logvar_1, and the labels
      scratchvae encode runs/table --data new.csv --out codes.csv
    """
    run, look = looked_at(args, given, output.NUMBERS)
    arrays = {f"{name}_{t}": array for t, level in enumerate(runs.levels(run.model, look.x), start=1)
              for name, array in zip(("mu", "logvar"), level)}
    arrays.update(look.labels)
    output.write_numbers(args.out, arrays)
    output.say(f"wrote {args.out}: {', '.join(arrays)} of {len(look.x)} rows of {look.name}")


def gradcheck(args: argparse.Namespace, given: Config) -> int:
    """Check every gradient of the model that these options describe.

    examples:
      scratchvae gradcheck
      scratchvae gradcheck --model hvae --latents 16,8,4 --activation relu --likelihood gaussian

    Every gradient of every part of the bound is compared with its complex-step
    derivative, which is exact to rounding; one that is wrong makes the exit code 1.
    Then the function whose backward is wrong is printed first, with the likely kind of
    mistake, and after it the gradients that are wrong only because of it.
    """
    config, data = new_config(given)
    x = examples.with_labels(config, examples.prepare(config, data.x["train"], "train"), data.y.get("train"))
    model, x, rng = runs.build(config, x), x[:args.rows], np.random.default_rng(config["seed"])
    model.theta += 0.01 * model.normal(rng, model.theta.size)                  # fresh, it would hide mistakes in logvar
    ledger = check_model(model, x, directions=args.directions, rng=rng)
    if not ledger.ok:
        output.say(f"{diagnose_model(model, x)}\n")
    output.say(ledger)
    return 0 if ledger.ok else 1


def explain(args: argparse.Namespace, given: Config) -> int:
    """Write a page that shows every line of a pass at work.

    examples:
      scratchvae explain --out vae.html                   # a small VAE, 10 epochs on the digits of this package
      scratchvae explain --model hvae --out three.html    # three levels, 60 epochs: until the upper ones are alive
      scratchvae explain --importance 5 --out weights.html
      scratchvae explain runs/digits --out page.html      # a run, with its own data
      scratchvae explain runs/table --data new.csv --rows 1 --out page.html

    The page is one file, which needs no network. Every line of the forward pass has beside it
    its equation in words and in symbols, how far it is from what the line computed, the arrays
    that the line made, the line of backward that answers it, and for each gradient how far it is
    from its complex-step derivative. All is computed in float64. A gradient that is wrong makes
    the exit code 1, and its line is marked.
    """
    if args.run is not None:
        for name in given.keys() - {"data", *FOR_FILES}:
            raise ValueError(f"{args.run} has its own model and scaling: leave out {options.word(name)}")
        if args.train_epochs is not None:
            raise ValueError("--train-epochs is for a fresh model: leave it out")
        run, epoch = opened(args.run, best=True)
        config, model, look = run.config, run.model, shown(run, args, given)
        x, about = look.x[:args.rows], f"{run.folder} after {epoch} epochs, on rows of {look.name}."
    else:
        if args.split:
            raise ValueError("--split is for a run, which has held rows out")
        config, data = new_config({"hidden": [8], **SMALL[given.get("model", "vae")], **given})
        by_default = 60 if config["model"] in ("hvae", "topdown") else 10      # 60: the upper levels are alive by then
        epochs = by_default if args.train_epochs is None else args.train_epochs
        rows, held_out = examples.for_training(config, data)
        model, part = runs.build(config, rows), "trained on" if held_out is None else "held out"
        x = (rows if held_out is None else held_out)[:args.rows]
        about = (f"A {config['model']} of {model.theta.size} parameters after {epochs} epochs on {config['data']}. "
                 f"Rows: {len(x)}, {part}.")
    if args.importance and config["consistency"] == "printed":
        raise ValueError("--importance needs --consistency exact: the printed form has no importance weights")
    output.check_path(args.out, (".html",), config, args.data)
    if args.run is None and epochs:
        fit(model, rows, epochs=epochs, learning_rate=3e-3, rng=config["seed"])
    shape = config["image_shape"]
    page = write_page(model, x, path=args.out, n_samples=args.importance, image_shape=shape and (shape[0], shape[1]),
                      about=about, columns=config["columns"] or ())
    output.say(f"wrote {args.out}: {args.out.stat().st_size / 1e6:.2f} MB; {page.verdict}")
    return 0 if page.ok else 1


SMALL: dict[str, Config] = {                           # the fresh models of explain
    "vae": {"latents": [2]}, "diffusion": {"levels": 20},
    **dict.fromkeys(("hvae", "topdown"), {"latents": [4, 3, 2], "hidden": [16]})}
COMMANDS: dict[str, Callable[..., int | None]] = {
    "train": train, "evaluate": measure, "sample": sample, "reconstruct": reconstruct, "impute": impute,
    "interpolate": interpolate, "encode": encode, "gradcheck": gradcheck, "explain": explain}
