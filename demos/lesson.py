"""What the lessons share: their options, pictures of two latents, how a figure is saved, and colours for everyone.

Import it before NumPy: it sets the number of threads.  The pictures of the syllabus (README.md) are the lessons'
figures, made small::

    python demos/lesson.py out                         # from out/01_backprop_by_hand.png, ... to demos/thumbnails
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")      # for small products a second thread is only in the way

import argparse
import re
import sys
from pathlib import Path

import numpy as np
from matplotlib.colors import ListedColormap

from scratchvae.train.plotting import BLUE, GREEN, GREY, ORANGE, RED, SKY    # noqa: F401: the lessons' colours
from scratchvae.train.plotting import images, label

TEN = ("#332288", "#88CCEE", "#117733", "#DDCC77", "#CC6677", "#882255", "#44AA99", "#999933", "#AA4499", "0.6")  # Tol
THUMBNAILS = Path(__file__).parent / "thumbnails"
THUMBNAIL_WIDTH = 320                                  # pixels


def options(about, epochs=None):
    """Return a parser with the options of every lesson; a lesson may add its own."""
    parser = argparse.ArgumentParser(description=about, allow_abbrev=False)
    if epochs is not None:
        parser.add_argument("--epochs", type=whole, default=epochs,
                            help=f"passes over the training data (default {epochs})")
    parser.add_argument("--seed", type=whole, default=0, help="same seed, same numbers (default 0)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the figure (default out)")
    parser.add_argument("--format", choices=("png", "pdf", "svg"), default="png",
                        help="of the figure (default png); pdf and svg are for slides")
    return parser


def whole(text):
    """Read a whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"it must be a whole number of at least 0; got {text!r}")
    return int(text)


def in_notebook():
    """Tell whether the lesson runs as a notebook, whose command line is not the lesson's."""
    return "ipykernel" in sys.modules


def parse(parser, **given):
    """Return the options of the command line; in a notebook, the defaults, and what is ``given`` in their place."""
    flags = {action.dest: action.option_strings[-1] for action in parser._actions}

    def told(message):
        """Say what is wrong with the variables of a notebook, not with options that it does not have."""
        for name, option in flags.items():
            message = re.sub(rf"(argument )?{option}\b", name.upper(), message)
        raise SystemExit(message)

    line = []                                          # what is given, as a command line would say it
    for name, value in given.items():
        if isinstance(value, list):
            line += [flags[name], *map(str, value)]
        elif value is not None and value is not False:
            line.append(flags[name] if value is True else f"{flags[name]}={value}")
    if given:
        parser.error = told
    args, unknown = parser.parse_known_args(line if given or in_notebook() else None)
    if unknown:
        parser.error(f"there is no option {' '.join(unknown)}")
    if getattr(args, "epochs", 1) < 1:
        parser.error("--epochs must be at least 1")
    return args


def codes(ax, z, labels, title=""):
    """Draw two-dimensional codes as points, a colour for each label.

    A circle of radius 2 shows where N(0, I) has most of its draws, some 86 % of them.
    """
    angle = np.linspace(0, 2 * np.pi, 100)
    ax.plot(2 * np.cos(angle), 2 * np.sin(angle), color="0.3", linewidth=0.8, label="86 % of N(0, I)")
    ax.legend(fontsize=7)
    ax.scatter(z[:, 0], z[:, 1], c=labels, cmap=ListedColormap(TEN), vmin=-0.5, vmax=9.5, s=8, linewidth=0)
    label(ax, title, "first latent", "second latent")


def plane(ax, model, image_shape, ticks, title=""):
    """Draw what a model with two latents decodes at every crossing of the ticks."""
    grid = np.array([[(z1, z2) for z1 in ticks] for z2 in ticks[::-1]])          # z2 grows upwards
    decoded = model.decode(grid.reshape(-1, 2)).reshape(len(ticks), len(ticks), -1)
    images(ax, decoded, image_shape, "", [f"{t:+.1f}" for t in ticks[::-1]], [f"{t:+.1f}" for t in ticks])
    label(ax, title, "first latent", "second latent")


def save(page, name, args):
    """Write the figure of a lesson, say where, and show it if this is a notebook."""
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{name}.{args.format}"
    page.savefig(path)
    print(f"figure: {path}")
    if in_notebook():
        from io import BytesIO

        from IPython.display import Image, display
        picture = BytesIO()
        page.savefig(picture, format="png", dpi=100)
        display(Image(picture.getvalue()))


def thumbnails(folder):
    """Make the figures of the lessons small: each pixel becomes the mean of a square of pixels."""
    from matplotlib import image

    THUMBNAILS.mkdir(exist_ok=True)
    for path in sorted(folder.glob("[0-9][0-9]*_*.png")):
        page = image.imread(path)[..., :3]
        k = max(1, page.shape[1] // THUMBNAIL_WIDTH)
        rows, columns = page.shape[0] // k, page.shape[1] // k
        small = page[:rows * k, :columns * k].reshape(rows, k, columns, k, 3).mean(axis=(1, 3))
        image.imsave(THUMBNAILS / f"{path.name.split('_')[0]}.png", small)


if __name__ == "__main__":
    thumbnails(Path(sys.argv[1]))
