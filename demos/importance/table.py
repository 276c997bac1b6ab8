"""The rows of Table 1 of Burda et al. 2016 (arXiv 1509.00519): the command of each, and what it gives.

    python demos/importance/table.py                           # list the rows and their commands
    python demos/importance/table.py static-1-iwae-5           # train this row, measure it, print a line of the table
    python demos/importance/table.py static-1-iwae-5 --workers 2                   # by two processes, a core each
    python demos/importance/table.py static-1-iwae-5 --epochs 1 --samples 10       # does it start?
    python demos/importance/table.py --figure curves.png                           # draw the runs that are there

A row is named by its data (static: MNIST as binarised by Larochelle; resampled: drawn anew for every batch), its levels
(1 or 2), its objective (vae: the mean of K ELBOs; iwae) and K.  A run is a folder in --runs, and is gone on with if it
is there; what was trained already is not trained again.  The README in this folder has the table.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import contextlib
import io
import json
import sys
from pathlib import Path

from scratchvae import cli

DATA = {"static": "--data binarized-mnist", "resampled": "--data mnist --binarize resample-each-epoch"}
LEVELS = {1: "--latents 50 --hidden 200,200",
          2: "--model hvae --latents 100,50 --hidden 200,200/100,100 --warm-up 20"}
OBJECTIVES = {"vae": "--importance {K}", "iwae": "--objective iwae --importance {K} --estimator dreg"}
EPOCHS = {(1, 1): 600, (1, 5): 265, (1, 50): 20, (2, 1): 480, (2, 5): 165, (2, 50): 12}    # planned for half an hour
SCHEDULE = "--batch-size 100 --learning-rate 3e-3 --schedule exponential:1e-4 --average 0.9998"


def rows():
    """Return the options of each row by its name."""
    found = {}
    for data, of_data in DATA.items():
        for levels, network in LEVELS.items():
            for objective, of_objective in OBJECTIVES.items():
                for K in (1, 5, 50):
                    if objective == "iwae" and K == 1:                         # the same bound as the VAE's
                        continue
                    found[f"{data}-{levels}-{objective}-{K}"] = (
                        f"{of_data} {network} {of_objective.format(K=K)} {SCHEDULE} --epochs {EPOCHS[levels, K]}")
    return found


def line(name, folder, samples, workers):
    """Measure a run on the test images; return its line of the table."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = cli.main(["evaluate", str(folder), "--samples", str(samples), "--json", *workers])
    if code:
        sys.exit(code)
    found, run = json.loads(printed.getvalue()), cli.load(folder)
    return (f"| {name} | {found['epochs']} | {run.state.history['seconds'][-1] / 60:.1f} min | {-found['elbo']:.2f} | "
            f"{-found['log_likelihood']:.2f} | {found['log_likelihood_standard_error']:.2f} | {samples} |")


def draw(runs, path):
    """Draw the bound of the held-out images after every epoch, of each run that is there."""
    from scratchvae.train.plotting import figure
    page = figure(9, 4)
    axes = page.subplots(1, 2)
    for ax, levels in zip(axes, LEVELS):
        for name in rows():
            if f"-{levels}-" in name and (runs / name / "checkpoint.npz").exists():
                history = cli.load(runs / name).state.history
                ax.plot([second / 60 for second in history["seconds"]], history["valid_elbo"], label=name)
        ax.set(title=f"{levels} level{'s' * (levels > 1)}", xlabel="minutes of training", ylabel="held-out ELBO, nats",
               ylim=(-110, -88))
        ax.legend(fontsize=8, loc="lower right")
    page.savefig(path)


def main():
    """List the rows, make one, or draw those that are made."""
    known = rows()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("row", nargs="?", choices=known, metavar="ROW")
    parser.add_argument("--epochs", type=int, help="in the place of those of the row")
    parser.add_argument("--samples", type=int, default=5000, help="importance samples for log p(x) (default 5000)")
    parser.add_argument("--workers", type=int, help="number of processes for training and measuring")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs are (default runs)")
    parser.add_argument("--figure", type=Path, help="draw the curves of the runs into this file")
    args = parser.parse_args()
    if args.figure is not None:
        draw(args.runs, args.figure)
        return
    if args.row is None:
        print("\n".join(f"scratchvae train --out runs/{name} {options}" for name, options in known.items()))
        return
    folder, epochs = args.runs / args.row, [] if args.epochs is None else ["--epochs", str(args.epochs)]
    workers = [] if args.workers is None else ["--workers", str(args.workers)]
    words = (["--resume", str(folder)] if (folder / "checkpoint.npz").exists() else
             ["--out", str(folder), *known[args.row].split()])
    code = cli.main(["train", *words, *epochs, *workers])
    if code:
        sys.exit(code)
    print(line(args.row, folder, args.samples, workers))


if __name__ == "__main__":
    main()
