"""MNIST: read from this machine, or downloaded; and the fixed binarisation that papers compare on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..layers import Array
from . import files
from .datasets import Dataset
from .download import Folder, cache, download, find
from .scaling import Scaling

MNIST_MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/",
                 "https://storage.googleapis.com/cvdf-datasets/mnist/")
MNIST_FILES = {                                              # bytes and md5, as published
    "train-images-idx3-ubyte.gz": (9912422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    "train-labels-idx1-ubyte.gz": (28881, "d53e105ee54ea40749a09fcbcd1e9432"),
    "t10k-images-idx3-ubyte.gz": (1648877, "9fb629c4189551a2d022fa330f9573f3"),
    "t10k-labels-idx1-ubyte.gz": (4542, "ec29112dd5afa0611ce80d1b7f02629c"),
}
BINARIZED_ROWS = {"train": 50000, "valid": 10000, "test": 10000}
BINARIZED_URL = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"


def mnist(folder: Folder = None, *, mirrors: Sequence[str] = MNIST_MIRRORS, timeout: float = 15.0) -> Dataset:
    """Load MNIST: 70000 handwritten digits of 28x28 pixels (LeCun, Cortes and Burges 1998).

    Its four IDX files, plain or .gz, are looked for in the folder, in the folder
    that the environment variable SCRATCHVAE_DATA names, and in the user's cache
    (``$XDG_CACHE_HOME/scratchvae`` or ``~/.cache/scratchvae``), in each also
    below ``mnist/``.  What is missing is downloaded, and its md5 checked: to where
    some of the files are, else to the folder if there is one, else to the cache.

    Parameters
    ----------
    folder : path, optional
        Where to look first.  Four files are read whatever they hold, so data sets
        with the same file names, such as Fashion-MNIST, work.
    mirrors : sequence of str
        URLs to download from, in this order, to which the names are appended.
    timeout : float, default 15
        Seconds to wait for a mirror that is silent.

    Returns
    -------
    Dataset
        x float32 of shape (60000, 784) and (10000, 784), the 8-bit pixels divided by
        255; labels int64, 0 to 9; image_shape (28, 28).

    Raises
    ------
    ValueError
        If a file is not what it should be.
    OSError
        If the files are nowhere and cannot be downloaded; the message says where to
        put them.
    """
    paths = find("mnist", folder, [name.removesuffix(".gz") for name in MNIST_FILES])
    if not paths or not all(path.is_file() for path in paths):
        target = paths[0].parent if paths else cache() / "mnist" if folder is None else Path(folder)
        paths = download(MNIST_FILES, target, mirrors, timeout)
    (x_train, y_train, image_shape), (x_test, y_test, test_shape) = _mnist_part(*paths[:2]), _mnist_part(*paths[2:])
    if image_shape != test_shape:
        raise ValueError(f"{str(paths[2])!r}: must have pictures of shape {image_shape}; has {test_shape}")
    return Dataset(x_train, y_train, x_test, y_test, image_shape)


def _mnist_part(images_path: Path, labels_path: Path) -> tuple[Array, Array, tuple[int, int]]:
    images, _, image_shape, _ = files.load(images_path)
    labels = files.read(labels_path)
    if images.dtype != np.uint8 or image_shape is None:
        raise ValueError(f"{str(images_path)!r}: must have pictures of 8-bit pixels, of shape (n, height, width)")
    if labels.dtype != np.uint8 or labels.shape != (len(images),):
        raise ValueError(f"{str(labels_path)!r}: must have one 8-bit label for each of {len(images)} pictures; "
                         f"has {labels.dtype} of shape {labels.shape}")
    return Scaling(scale=255).apply(images), labels.astype(np.int64), image_shape


def binarized_mnist(folder: Folder = None) -> Dataset:
    """Load the MNIST digits that Larochelle made black and white once and for all.

    Papers compare log p(x) on this fixed binarisation (Salakhutdinov and Murray
    2008).  It is read from binarized_mnist_train.amat, ..._valid.amat and
    ..._test.amat (text, also .gz), or from binarized_mnist_packed.npz with arrays
    train, valid and test, eight pixels to a byte as by ``numpy.packbits(axis=1)``.

    Parameters
    ----------
    folder : path, optional
        Looked in first; then $SCRATCHVAE_DATA and the user's cache as in `mnist`,
        in each also below ``binarized_mnist/``.

    Returns
    -------
    Dataset
        x float32, zeros and ones, of shape (50000, 784) to train on, (10000, 784) to
        validate and (10000, 784) to test; no labels; image_shape (28, 28).

    Raises
    ------
    ValueError
        If a file is not what it should be.
    OSError
        If the files are nowhere; the message says where they can be had.

    Notes
    -----
    The rows to test on come sorted by class: for a quick look take random ones,
    never the first.
    """
    texts = [f"binarized_mnist_{part}.amat" for part in BINARIZED_ROWS]
    paths = find("binarized_mnist", folder, ["binarized_mnist_packed.npz"], texts)
    if not paths:
        raise FileNotFoundError(
            f"binarised MNIST is not on this machine: get {', '.join(texts)} from {BINARIZED_URL} and put them into "
            f"{str(folder or cache())!r}, or set SCRATCHVAE_DATA to the folder that has them")
    x_train, x_valid, x_test = ([_packed(paths[0], part, n) for part, n in BINARIZED_ROWS.items()] if len(paths) == 1
                                else [_amat(path, n) for path, n in zip(paths, BINARIZED_ROWS.values())])
    return Dataset(x_train, None, x_test, None, (28, 28), x_valid)


def _packed(path: Path, part: str, n: int) -> Array:
    """Read an array of n rows, eight pixels to a byte."""
    packed = files.read(path, part)
    if packed.dtype != np.uint8 or packed.shape != (n, 98):
        raise ValueError(f"{str(path)!r}: {part!r} must be uint8 of shape ({n}, 98); got {packed.dtype} {packed.shape}")
    return np.unpackbits(packed, axis=1).astype(np.float32)


def _amat(path: Path, n: int) -> Array:
    """Read n lines, all of the same form: 784 characters 0 or 1, spaces between them."""
    with files.opened(path) as file:
        text = file.read(n * 1600).replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n"
        width = text.index(b"\n") + 1
        if len(text) == n * width and width > 2 * 784 - 1:
            lines = np.frombuffer(text, np.uint8).reshape(n, width)
            bits, between, end = lines[:, 0:1568:2] - ord("0"), lines[:, 1:1567:2], lines[:, 1567:]
            if (bits <= 1).all() and (between == ord(" ")).all() and np.isin(end, list(b" \n")).all():
                return bits.astype(np.float32)
        raise ValueError(f"must have {n} lines of 784 zeros and ones with a space between")
