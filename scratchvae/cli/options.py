"""The command line's words: sub-commands and options, and how each is read."""

from __future__ import annotations

import argparse
import csv
import difflib
import inspect
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from .. import __version__, check
from ..hvae import HVAE
from ..importance import ESTIMATORS, OBJECTIVES
from ..data.columns import KINDS
from ..data.tables import is_number
from ..data.writing import as_csv
from ..layers import ACTIVATIONS
from ..likelihood import LIKELIHOODS

DEFAULTS: dict[str, Any] = {                           # what a run's config.json says, unless asked otherwise
    "data": "digits", "key": None, "labels": None, "header": "auto", "image_shape": None, "hold_out": 10,
    "max_bytes": None, "keep": None, "without": None, "decimal": None, "kinds": None, "missing": "leave-out",
    "scaling": "auto", "binarize": "none", "model": "vae", "latents": None, "hidden": [128], "activation": "tanh",
    "likelihood": None, "consistency": "exact", "prior": "normal", "given": "nothing", "levels": "inf",
    "log_noise": [-3.0, 8.0], "dtype": "float32", "epochs": 100, "batch_size": 64, "learning_rate": 1e-3,
    "schedule": "constant", "beta": 1.0, "warm_up": 0, "free_bits": None, "objective": "elbo", "importance": 1,
    "estimator": "plain", "average": None, "patience": 0, "seed": 0, "checkpoint_every": 60.0, "workers": None}


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, for `cli.main` to print; its help keeps the lines of its texts."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        """Raise a ValueError instead of printing the usage and leaving."""
        raise ValueError(f"{message} (see {self.prog} --help)")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Raise a ValueError for an unknown word, before what is missing is named; it names the sub-command's help."""
        known = self._option_string_actions
        for option in (text.partition("=")[0] for text in args if text[:2] == "--" and self._subparsers is None):
            if option not in (*known, "--"):
                near = difflib.get_close_matches(option[2:], [name[2:] for name in known], 1)
                self.error(f"unrecognized arguments: {option}" + (f"; did you mean --{near[0]}?" if near else ""))
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return found, rest


def as_argument(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Let the words of a ValueError through, where argparse would say only that the value is invalid."""
    def typed(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    return typed


def integer(low: int = 1, high: float = np.inf, word: str = "") -> Callable[[str], Any]:
    """Read a whole number from ``low`` to ``high``; or the word, if there is one."""
    return as_argument(lambda text: text if word and text == word else
                       check.size("it", int(text) if text.isdecimal() else text, low, high, word))


def number(low: float = 0, high: float = np.inf, open_low: bool = False) -> Callable[[str], float]:
    """Read a number from low, or above it, to below high."""
    return as_argument(lambda text: check.number("it", float(text) if is_number(text) else text, low, high,
                                                 open_low=open_low))


def word(name: str) -> str:
    """Return how an option is spelled: `columns` is what a config has found, `keep` what was asked for."""
    return "--columns" if name == "keep" else f"--{name.replace('_', '-')}"


@as_argument
def names(text: str) -> list[str]:
    """Read names of columns, with commas between them; a name that has a comma is in quotes."""
    try:
        found = next(csv.reader([text], skipinitialspace=True), [])
    except csv.Error:                                  # a name without end
        found = [""]
    if "" in found or len(text.splitlines()) != 1:
        raise ValueError(f"it must be names of columns with commas between them; got {text!r}")
    return found


def several(entry: Callable[[str], Any], example: str) -> Callable[[str], list[Any]]:
    """Read a list, with commas between its entries."""
    def typed(text: str) -> list[Any]:
        try:
            return [entry(part) for part in text.split(",")]
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentTypeError(f"{error}; separate several by commas: {example}") from None
    return typed


COUNT: dict[str, Any] = {"metavar": "N", "type": integer()}
FROM_0 = {**COUNT, "type": integer(0)}
NAMES: dict[str, Any] = {"metavar": "NAME,...", "type": names}
FOLDER: dict[str, Any] = {"metavar": "DIR", "type": as_argument(lambda text: Path(check.path("it", text)))}
FILE = {**FOLDER, "metavar": "FILE"}


def hidden(text: str) -> list[Any]:
    """Read 512,256 for all levels, or 200,200/100,100 for each its own; an empty text is no hidden layer."""
    levels = [several(integer(), "512,256")(level) if level else [] for level in text.split("/")]
    return levels if len(levels) > 1 else levels[0]


def add(parser: Any, name: str, purpose: str, **options: Any) -> None:
    """Add an option that is None if it is not given; the help gives its default."""
    default = DEFAULTS.get(name[2:].replace("-", "_"))
    shown = ",".join(map(str, default)) if isinstance(default, list) else default
    parser.add_argument(name, help=purpose if default is None else f"{purpose} (default {shown})", **options)


def add_data_options(parser: Any) -> None:
    """Say which data, and how to read them."""
    parser.add_argument("--data", metavar="DATA", help="digits, mnist, binarized-mnist, or a file: "
                        "CSV, IDX or npy, gzipped or not, or npz")
    add(parser, "--key", "which array of an npz file", metavar="NAME")
    add(parser, "--labels", "where the labels are: a column of a CSV file, by name or number (-1: the last); an array "
                            "of an npz file; or another IDX or npy file", metavar="NAME")
    add(parser, "--header", "whether the first line of a CSV file names the columns; auto: if it has no number, or "
                            "the numbers 0, 1, 2, ...", choices=("auto", "yes", "no"))
    add(parser, "--image-shape", "each row is a picture of this size", metavar="H,W", type=several(integer(), "28,28"))
    add(parser, "--max-bytes", "read at most N bytes (default 4 GiB; of compressed data 30 times its size, at least "
                               "32 MiB)", **COUNT)
    add(parser, "--columns", "use only these columns of a table, by name or by number from 0", dest="keep", **NAMES)
    add(parser, "--without", "leave out these columns of a table", **NAMES)
    add(parser, "--decimal", "point or comma, of numbers as 1.234,5 or $1,234.5", metavar="MARK", choices=(".", ","))


def add_view_options(parser: Any) -> None:
    """Say how the model looks at the data."""
    add(parser, "--scaling", "unit: divide, to lie in [0, 1]; standardise: mean 0 and variance 1; auto: unit for "
                             "pixels, else standardise", choices=("auto", "none", "unit", "standardise"))
    add(parser, "--binarize", "make grey pixels black and white: at 1/2; or by chance, once or anew for each batch",
        choices=("none", "threshold", "sample", "resample-each-epoch"))


def add_model_options(parser: Any) -> None:
    """Say which model."""
    add(parser, "--model", "vae: one level; hvae: several, inferred bottom-up; topdown: several, inferred top-down; "
                           "diffusion", choices=("vae", "hvae", "topdown", "diffusion"))
    add(parser, "--latents", "numbers of latents, for each level (default 16, or 16,8,4)", metavar="D,...",
        type=several(integer(), "16,8,4"))
    add(parser, "--hidden", "widths of the hidden layers, from the data upwards; A,B/C,D for each level its own; "
                            "'' for none", metavar="H,...", type=hidden)
    add(parser, "--activation", "between layers", choices=tuple(ACTIVATIONS))
    add(parser, "--likelihood", "p(x | z_1): bernoulli for [0, 1], gaussian for any numbers, mixed for a table "
                                "(default mixed for CSV, else bernoulli)", choices=(*LIKELIHOODS, "mixed"))
    add(parser, "--kinds", f"of a mixed table: the kinds of these columns, from {', '.join(KINDS)}; poisson is for "
                           "counts, hurdle for 0 or lognormal", metavar="NAME=KIND,...", type=names)
    add(parser, "--missing", "of a mixed table: leave empty cells out, or refuse them", choices=("leave-out", "refuse"))
    add(parser, "--consistency", "of an hvae, the KL of levels below the top: exact, or as Luo 2022 prints it",
        choices=tuple(HVAE.forms), type=check.new_name)
    add(parser, "--prior", "of a vae: N(0, I), or a diffusion that is trained with it", choices=("normal", "diffusion"))
    add(parser, "--given", "labels: model p(x | label); see sample --label", choices=("nothing", "labels"))
    add(parser, "--levels", "of a diffusion: number of levels; inf: continuous time", metavar="T",
        type=integer(word="inf"))
    add(parser, "--log-noise", "of a diffusion: log noise-to-signal ratio of the first and last level, as in "
                               "--log-noise=-3,8", metavar="A,B", type=several(number(-np.inf, open_low=True), "-3,8"))
    add(parser, "--dtype", "precision", choices=("float32", "float64"))


def add_fit_options(parser: Any) -> None:
    """Say how to train."""
    add(parser, "--hold-out", "hold out every N-th row of a file, to evaluate on; 0: none", **FROM_0)
    add(parser, "--epochs", "passes over the data; without it, a table is trained for as long as it helps", **COUNT)
    add(parser, "--batch-size", "rows in a step", **COUNT)
    add(parser, "--learning-rate", "of Adam", metavar="RATE", type=number(open_low=True))
    add(parser, "--schedule", "of the learning rate: constant; exponential:1e-4, falling to that in the last epoch; or "
                              "steps:50=3e-4,80=1e-4, from these epochs on", metavar="S")
    add(parser, "--beta", "the KL's weight; the bound that is recorded has weight 1", metavar="BETA", type=number())
    add(parser, "--warm-up", "epochs over which the KL's weight rises to --beta", **FROM_0)
    add(parser, "--free-bits", "nats of KL without cost: one number, or one for each level", metavar="X,...",
        type=several(number(), "0.5,0.1"))
    add(parser, "--average", "exponential moving average of the parameters, e.g. 0.999; used for evaluation and saved",
        metavar="DECAY", type=number(0, 1, open_low=True))
    add(parser, "--objective", "the ELBO; or iwae, the log of a mean of importance weights", choices=OBJECTIVES)
    add(parser, "--importance", "draws of z for each row in a step", **COUNT)
    add(parser, "--estimator", "of q's gradient with iwae: plain; stl, without the direct gradient of log q; or dreg, "
                               "doubly reparameterised, the same without bias", choices=ESTIMATORS, type=check.new_name)
    add(parser, "--patience", "stop after N epochs without a rise of the held-out bound, and keep the best parameters; "
                              "0: never", **FROM_0)
    add(parser, "--checkpoint-every", "seconds of training that a kill may cost", metavar="SECONDS", type=number())
    add_workers(parser)


def add_workers(parser: Any) -> None:
    """Say how many cores."""
    add(parser, "--workers", "number of worker processes, one core each, or auto; results do not depend on it",
        metavar="N", type=integer(high=check.MOST, word="auto"))


def add_train_options(parser: Any) -> None:
    """Say all that a run is made from."""
    add(parser, "--seed", "same seed, same numbers", **FROM_0)
    data = parser.add_argument_group(f"data (default {DEFAULTS['data']})")
    add_data_options(data)
    add_view_options(data)
    add_model_options(parser.add_argument_group("model"))


def parser(program: str, manual: Mapping[str, str]) -> Parser:
    """Return the parser of the whole command line; the manual has a text for each sub-command, its purpose first."""
    top = Parser(prog="scratchvae", description=program)
    top.add_argument("--version", action="version", version=f"scratchvae {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, usage: str = "") -> Parser:
        purpose, _, examples = inspect.cleandoc(manual[name]).partition("\n\n")
        return commands.add_parser(name, help=purpose[0].lower() + purpose[1:-1], description=purpose, epilog=examples,
                                   usage=f"scratchvae {name} {usage}[options]")

    def reader(name: str, out: str, seed: bool = False) -> Parser:
        made = command(name, f"DIR {'--out FILE ' if out else ''}")
        made.add_argument("run", help="the folder of a run", **FOLDER)
        if out:
            made.add_argument("--out", required=True, help=out, **FILE)
        if seed:
            add(made, "--seed", "same seed, same numbers", **FROM_0)
        return made

    def looks_at_data(made: Parser) -> None:
        made.add_argument("--split", choices=("test", "valid", "train"), help="which rows of the run's own data: test, "
                          "held out (default); train; valid, held out to watch training, of binarized-mnist")
        add_data_options(made.add_argument_group("or other data, which is scaled as the run's own"))

    train = command("train", "(--out DIR | --resume DIR) ")
    where = train.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", help="a new folder for the run", **FOLDER)
    where.add_argument("--resume", help="go on with this run and its options; only --epochs, --checkpoint-every, "
                       "--workers, --learning-rate, --schedule and --warm-up may change", **FOLDER)
    train.add_argument("--overwrite", action="store_true", help="let --out replace the run that is there")
    add_train_options(train)
    add_fit_options(train.add_argument_group("training"))

    evaluate = reader("evaluate", "", seed=True)
    evaluate.add_argument("--samples", help="importance samples for log p(x) (default 1000; 100 "
                          "with a diffusion as prior, 10 for a diffusion)", **COUNT)
    evaluate.add_argument("--rows", help="write for every row its number, its label, log p(x) "
                          "in the units of the data, and the parts of its bound (.npz, .csv)", **FILE)
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    add_workers(evaluate)
    looks_at_data(evaluate)

    drawn = "a picture (.png, .pdf, .svg), or the numbers (.npz, .csv)"
    sample = reader("sample", drawn, seed=True)
    sample.add_argument("--count", default=100, help="how many (default 100)", **COUNT)
    sample.add_argument("--steps", help="of a diffusion: the number of levels to pass through, "
                        "without new noise (default 50)", **COUNT)
    sample.add_argument("--label", metavar="LABEL", help="draw x of this label (default: all in turn), if the model "
                        "was trained with --given labels")
    sample.add_argument("--draw", action="store_true", help="draw pictures from p(x | z), instead of "
                        "their mean, which is smoother")

    reconstruct = reader("reconstruct", drawn)
    reconstruct.add_argument("--count", default=10, help="the first N rows (default 10)", **COUNT)
    reconstruct.add_argument("--level", default=1, help="up to this level (default 1)", **COUNT)
    looks_at_data(reconstruct)

    impute = reader("impute", "the table again (.npz, .csv)", seed=True)
    impute.add_argument("--samples", help="importance samples (default 1000)", **COUNT)
    impute.add_argument("--draw", action="store_true", help="fill with a draw given the other cells, not with the mean")
    looks_at_data(impute)

    interpolate = reader("interpolate", drawn)
    interpolate.add_argument("--between", type=several(integer(0), "3,8"), default=[0, 1], metavar="I,J",
                             help="rows of the data, counted from 0 (default 0,1)")
    interpolate.add_argument("--steps", type=integer(2), default=10, metavar="N", help="both ends counted (default 10)")
    interpolate.add_argument("--level", default=1, help="in the latents of this level (default 1)", **COUNT)
    looks_at_data(interpolate)

    looks_at_data(reader("encode", "the latents (.npz, .csv)"))

    gradcheck = command("gradcheck")
    add_train_options(gradcheck)
    gradcheck.add_argument("--rows", default=4, help="of the data (default 4)", **COUNT)
    gradcheck.add_argument("--directions", help="check N random directions of each array, not each entry", **COUNT)

    explain = command("explain", "[DIR] --out FILE ")
    explain.add_argument("run", nargs="?", help="the folder of a run (default: a small fresh model)", **FOLDER)
    explain.add_argument("--out", required=True, help="the page (.html)", **FILE)
    explain.add_argument("--rows", type=integer(1, 64), default=2, metavar="N", help="of the data (default 2)")
    explain.add_argument("--importance", type=integer(1, 50), metavar="K", help="the bound with K importance weights")
    explain.add_argument("--train-epochs", help="train the fresh model first (default 10, a hierarchy 60)", **FROM_0)
    looks_at_data(explain)
    fresh = explain.add_argument_group("a fresh model (latents 2, hidden 8; hvae 4,3,2 and 16; diffusion 20 levels)")
    add_view_options(fresh)
    add_model_options(fresh)
    return top


def text(value: Any) -> str:
    """Return what stands behind an option for such a value."""
    if isinstance(value, list) and any(isinstance(entry, list) for entry in value):
        return "/".join(map(text, value))
    return as_csv([value])[:-1] if isinstance(value, list) else str(value)


def mended(words: Sequence[str], args: argparse.Namespace, fix: dict[str, Any]) -> str:
    """Return a command as it was given, but with what mends it: `columns.Unusable` has that."""
    line = f"scratchvae {shlex.join(words)}"
    for name, value in fix.items():
        value = [*(getattr(args, name) or []), *value] if isinstance(value, list) else value
        line = re.sub(rf" --{name}[ =]('[^']*'|\S)+", "", line) + f" --{name} {shlex.quote(text(value))}"
    return line


def confirm(config: dict[str, Any]) -> None:
    """Raise a ValueError unless the options of a config are such as `train` makes of words."""
    train = Parser(prog="scratchvae train")
    add_train_options(train)
    add_fit_options(train)
    words = [f"{word(name)}={text(config[name])}" for name in DEFAULTS if config[name] is not None]
    found = vars(train.parse_args(words))
    for name, default in DEFAULTS.items():
        if found[name] != config[name] or (config[name] is None and default is not None):
            raise ValueError(f"{name} cannot be {check.shown(config[name])}")
