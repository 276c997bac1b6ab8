"""Arrays from files: IDX, .npy, .npz and CSV; all but .npz also within gzip.

The first bytes of a file tell its format, not its name.  No file is trusted:
the sizes that it declares are held against a bound before memory is asked for,
and against what it contains; nothing in it is ever run (no pickles).  Whatever
is wrong becomes one sentence that names the file.
"""

from __future__ import annotations

import errno
import gzip
import io
import itertools
import math
import os
import stat
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from .. import check
from ..layers import Array
from .columns import Column, Table
from .tables import lines_of, listed, number_of, read_table

MAX_BYTES = 4 * 2**30                                        # the largest array that is read: 4 GiB
MAX_RATIO, MIN_UNPACKED = 30, 32 * 2**20                     # of bytes unpacked to packed; but 32 MiB are always read
IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


class Examples(NamedTuple):
    """Rows of numbers, as stored in a file, and what the file says of them."""

    x: Array
    y: Array | None
    image_shape: tuple[int, int] | None
    columns: list[str] | None


def load(path: str | os.PathLike[str], *, key: str | None = None, labels: str | int | None = None,
         header: bool | None = None, image_shape: tuple[int, int] | None = None,
         max_bytes: int | None = None, text: bool = False) -> Examples:
    """Read examples: vectors, or pictures of shape (n, height, width); each picture becomes a row.

    Parameters
    ----------
    path : path
        An IDX, .npy or CSV file, plain or within gzip, or an .npz file.
    key : str, optional
        Which array of an .npz file; needed only where there is a choice.
    labels : str or int, optional
        Where the labels are: the key of an array in an .npz file; the name of a
        column in a CSV file, or its number, from 0, or -1 for the last; the path of
        another IDX or .npy file, where the numbers are in one of these.
    header : bool, optional
        Whether the first line of a CSV file names the columns.  By default it does
        if it holds no numbers, or three or more that count 0, 1, 2, ..., as in
        tables that pandas saved.
    image_shape : (int, int), optional
        Height and width, for pictures that are stored as rows.
    max_bytes : int, optional
        The most bytes that an array may have, and that compressed data may become.  By
        default 4 GiB; and of compressed data 30 times their own length, but at least
        32 MiB, as a small file may hold gigabytes of zeros.
    text : bool, default False
        Take the cells of a CSV file as they are, text or number.

    Returns
    -------
    Examples
        x of shape (n, D), as stored (CSV: float64, or with ``text`` strings); y of shape (n,), int64 if all are
        whole numbers, else as stored (CSV: text), or None; image_shape, or None for
        vectors; columns, the names of those of x, if it is a CSV file that has them (a first column
        without a name, an index, is left out).

    Raises
    ------
    ValueError, OSError
        If the file cannot be read, has the wrong content, or holds more than
        max_bytes.
    """
    if not (key is None or isinstance(key, str)):
        raise ValueError(f"key must be the name of an array, a string; got {check.shown(key)}")
    if not (labels is None or isinstance(labels, str)):
        labels = check.size("labels", labels, -check.MOST)
    header = None if header is None else check.flag("header", header)
    max_bytes = None if max_bytes is None else check.size("max_bytes", max_bytes, 1, np.inf)
    with opened(path, max_bytes) as file:
        x, y, columns = _contents(file, key, labels, header, max_bytes)
        if x.ndim == 4 and x.shape[3] == 1:                  # pictures with an axis for their one channel
            x = x[..., 0]
        if x.ndim not in (2, 3):
            raise ValueError(f"must have shape (n, D), or (n, height, width) for grey pictures; got {x.shape}")
        if image_shape is not None:
            shape = check.sizes("image_shape", image_shape)
            if len(shape) != 2 or x.shape[1:] not in (shape, (shape[0] * shape[1],)):
                raise ValueError(f"image_shape {shape}, (height, width), does not fit: {math.prod(shape)} pixels, and "
                                 f"a row has {' x '.join(map(str, x.shape[1:]))} columns")
            image_shape = (shape[0], shape[1])
        elif x.ndim == 3:
            image_shape = (x.shape[1], x.shape[2])
    if x.dtype == object and not check.flag("text", text):
        x = numbers(path, x, columns)
    if isinstance(labels, str) and y is None:                # in a file of their own
        if not os.path.isfile(labels):
            raise ValueError(f"{str(path)!r}: has no labels of its own, and labels is not "
                             f"an IDX or .npy file; got {check.shown(labels)}")
        y = read(labels)
        if y.shape != (len(x),):
            raise ValueError(f"{labels!r}: must have a label for each of {len(x)} rows; it has shape {y.shape}")
        y = _whole(y)
    return Examples(x.reshape(len(x), -1), y, image_shape, columns)


def format_of(path: str | os.PathLike[str]) -> str:
    """Return what the first bytes of a file say that it is: idx, npy, npz, or else csv."""
    with opened(path) as file:
        return _format(bytes(file.read(6)))


def _format(head: bytes) -> str:
    return ("npy" if head[:6] == b"\x93NUMPY" else "idx" if head[:2] == b"\0\0" else
            "npz" if head[:3] in (b"PK\3", b"PK\5") else "csv")


CSV, ARRAY = "save the table as CSV (in pandas: to_csv)", "put all of them into one array of shape (n, height, width)"
OTHERS = {b"PAR1": f"Parquet: {CSV}", b"{": f"JSON: {CSV}", b"[": f"JSON: {CSV}",
          b"\xd0\xcf\x11\xe0": "an old Excel workbook: save the sheet as CSV UTF-8",
          b"\x89PNG": f"one picture: {ARRAY}, a .npy file", b"\xff\xd8\xff": f"one picture: {ARRAY}, a .npy file",
          b"\xff\xfe": "text in UTF-16: save it in UTF-8", b"\xfe\xff": "text in UTF-16: save it in UTF-8"}


def read(path: str | os.PathLike[str], key: str | None = None) -> Array:
    """Read one array, in the shape in which it is stored; otherwise as `load`."""
    with opened(path) as file:
        return _contents(file, key)[0]


def numbers(path: str | os.PathLike[str], x: Array, columns: list[str] | None) -> Array:
    """Return the cells of a table as numbers, float64."""
    table = Table([Column(name, "gaussian") for name in columns or map(str, range(x.shape[1]))])
    return table.numbers(x, row_in(path, columns))


def row_in(path: str | os.PathLike[str], columns: list[str] | None) -> Callable[[int], str]:
    """Return a function from a row of a file to words for it: its line, if the file is a table."""
    def row(number: int) -> str:
        with opened(path) as file:
            if _format(file.peek()) != "csv":
                return f"{str(path)!r}: row {number}, counted from 0"
            line, _ = next(itertools.islice(lines_of(file), number + (columns is not None), None))
            return f"{str(path)!r}: read as CSV, line {line}"
    return row


class Unpacked(io.RawIOBase):
    """What comes out of compressed data, up to a limit."""

    def __init__(self, file: Any, packed: int, max_bytes: int | None) -> None:
        self.file = file
        self.limit = self.left = max(MIN_UNPACKED, MAX_RATIO * packed) if max_bytes is None else max_bytes

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read some bytes; raise a ValueError beyond the limit."""
        n_bytes = int(self.file.readinto(buffer))
        self.left -= n_bytes
        if self.left < 0:
            raise ValueError(f"unpacks to more than {self.limit} bytes, the most that are read of compressed data of "
                             "this length: --max-bytes, or max_bytes in Python, raises it")
        return n_bytes


def _limit(file: Any, max_bytes: int | None) -> int:
    """Return how many bytes an array in this file may have."""
    return getattr(file.raw, "limit", MAX_BYTES if max_bytes is None else max_bytes)


@contextmanager
def opened(path: str | os.PathLike[str], max_bytes: int | None = None) -> Iterator[Any]:
    """Open a file, or what gzip packed in it; turn what goes wrong inside the with into a sentence that names it."""
    if not isinstance(path, (str, os.PathLike)):
        raise ValueError(f"path must be a string or a Path; got {check.shown(path)}")
    name = repr(str(path))
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("must be a file, not a folder or a device: put pictures into one array (n, height, width)")
        with open(path, "rb") as file:
            if file.peek(2)[:2] == b"\x1f\x8b":
                with gzip.open(file) as unzipped:
                    yield io.BufferedReader(Unpacked(unzipped, os.fstat(file.fileno()).st_size, max_bytes), 2**16)
            else:
                yield file
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{name}: its compressed data are cut short or damaged ({error})") from error
    except OSError as error:
        raise type(error)(f"{name} cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise ValueError(f"{name}: its array does not fit into the memory of this machine") from error
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _contents(file: Any, key: str | None, labels: str | int | None = None, header: bool | None = None,
              max_bytes: int | None = None) -> tuple[Array, Array | None, list[str] | None]:
    """Return the array, the labels, and the names of the columns, whatever the format."""
    head = file.peek()[:1024]
    if not head:
        raise ValueError("is empty")
    for start, what in OTHERS.items():
        if head.startswith(start):
            raise ValueError(f"is {what}")
    kind = _format(head)
    if header is not None and kind != "csv":
        raise ValueError("has no header: only a CSV file may have a line of names (--header auto)")
    if kind == "npz":
        return *_npz(file, key, labels, max_bytes), None
    if key is not None:
        raise ValueError(f"has no array {key[:40]!r}: only an .npz file has keys")
    if kind != "csv":
        if not (labels is None or isinstance(labels, str)):
            raise ValueError(f"has no labels {check.shown(labels)}: they must be in another file, which labels names")
        return {"npy": _npy, "idx": _idx}[kind](file, _limit(file, max_bytes)), None, None
    if b"\0" in head:
        raise ValueError("is not IDX, .npy, .npz or CSV")
    try:
        x, y, columns = read_table(file, labels, header, MAX_BYTES if max_bytes is None else max_bytes)
    except ValueError as error:
        raise ValueError(f"read as CSV, {error}") from error
    return x, None if y is None else _whole(y), columns


def _array(file: Any, dtype: np.dtype[Any], shape: tuple[int, ...], limit: int, order: Any = "C") -> Array:
    """Read the rest of the file as numbers of this dtype, exactly as many as the shape wants."""
    if dtype.kind not in "biuf":
        what = "Python objects (pickles), which are never loaded" if dtype.hasobject else str(dtype)[:40]
        raise ValueError(f"must have real numbers, not {what}")
    if any(type(length) is not int for length in shape):     # a bool is an int, too
        raise ValueError("must have an axis of whole length; its header says otherwise")
    if not 1 <= len(shape) <= 4 or min(shape) < 1:
        raise ValueError("must have an array of 1 to 4 axes, each of length 1 or more; its header says otherwise")
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes > limit:
        raise ValueError(f"promises an array of more than {limit} bytes, the most that is read"
                         + (" of compressed data of this length" if limit != MAX_BYTES else "")
                         + ": --max-bytes, or max_bytes in Python, raises it")
    data = bytearray()                                       # grows with what is there, not with what is promised
    while len(data) <= n_bytes and (piece := file.read(min(2**20, n_bytes + 1 - len(data)))):
        data += piece
    if len(data) != n_bytes:
        raise ValueError(f"promises {n_bytes} bytes of numbers and has {'more' if len(data) > n_bytes else len(data)}")
    x = np.frombuffer(data, dtype).reshape(shape, order=order).astype(dtype.newbyteorder("="), copy=False)
    if x.dtype.kind == "f" and not (finite := np.isfinite(x).reshape(len(x), -1).all(axis=1)).all():
        raise ValueError(f"must have finite numbers; row {finite.argmin()}, counted from 0, has NaN or infinity")
    return x


def _idx(file: Any, limit: int) -> Array:
    """IDX: two zero bytes, the type, the number of axes; the length of each, big-endian; the numbers."""
    _, _, kind, n_axes = file.read(4).ljust(4, b"\0")
    if kind not in IDX_DTYPES or not 1 <= n_axes <= 4:
        raise ValueError("an IDX file must have numbers of type "
                         f"{', '.join(map(str, IDX_DTYPES))}, and 1 to 4 axes; got {kind} and {n_axes}")
    lengths = file.read(4 * n_axes)
    if len(lengths) < 4 * n_axes:
        raise ValueError("ends within its IDX header")
    return _array(file, np.dtype(IDX_DTYPES[kind]), tuple(map(int, np.frombuffer(lengths, ">u4"))), limit)


def _npy(file: Any, limit: int) -> Array:
    """NumPy's own: magic, version, the header's length, the header (a dict, as Python text), the numbers."""
    head = file.read(8)
    if head not in (b"\x93NUMPY\1\0", b"\x93NUMPY\2\0"):
        raise ValueError("must be in the .npy format, version 1.0 or 2.0")
    n, parse = (2, np.lib.format.read_array_header_1_0) if head[6] == 1 else (4, np.lib.format.read_array_header_2_0)
    length = file.read(n)
    if int.from_bytes(length, "little") > 10_000:
        raise ValueError("promises an .npy header of more than 10000 bytes, the most that is read")
    header = io.BytesIO(length + file.read(int.from_bytes(length, "little")))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shape, fortran_order, dtype = parse(header)
    except Exception as error:                               # damaged Python text may raise anything
        raise ValueError("its .npy header is damaged") from error
    return _array(file, dtype, shape, limit, "F" if fortran_order else "C")


def _npz(file: Any, key: str | None, labels: str | int | None, max_bytes: int | None) -> tuple[Array, Array | None]:
    """NumPy's archive: a zip file whose members are .npy files."""
    import zipfile  # takes ten milliseconds, and few need it

    if isinstance(file.raw, Unpacked):
        raise ValueError("is an .npz file within gzip: unpack it first")

    def member(name: Any) -> Array:
        try:
            if name not in keys:
                raise ValueError(f"is not there; there is {listed(keys)}")
            info = archive.getinfo(f"{name}.npy")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError("must be stored or deflated, as NumPy does")
            with archive.open(info) as stream:
                unpacked = io.BufferedReader(Unpacked(stream, info.compress_size, max_bytes))
                return _npy(unpacked, _limit(unpacked, max_bytes) if info.compress_type else _limit(file, max_bytes))
        except ValueError as error:
            raise ValueError(f"array {str(name)[:40]!r} {error}") from error

    try:
        with zipfile.ZipFile(file) as archive:
            keys = [name[:-4] for name in archive.namelist() if name.endswith(".npy")]
            if "[Content_Types].xml" in archive.namelist():
                raise ValueError("is an Excel workbook: save the sheet as CSV UTF-8")
            if not keys:
                raise ValueError("is a zip archive without arrays")
            choice = [name for name in keys if name != labels] if key is None else [key]
            if len(choice) != 1:
                raise ValueError(f"key must say which array to take; there is {listed(keys)}")
            x, y = member(choice[0]), None if labels is None else member(labels)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, LookupError, OverflowError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:     # EINVAL: a false offset led out of the file
            raise
        raise ValueError("its zip archive is damaged, encrypted, or of a kind that NumPy does not write") from error
    if y is not None and y.shape not in ((len(x),), (len(x), 1)):
        raise ValueError(f"labels must have shape ({len(x)},), one for each row; array {labels!r} has {y.shape}")
    return x, None if y is None else _whole(y.reshape(-1))


def _whole(y: Array) -> Array:
    """Return labels as int64 if all are whole numbers, else as they are."""
    try:
        numbers = np.array([*map(number_of, y.tolist())]) if y.dtype.kind == "U" else y.astype(float)
    except ValueError:
        return y
    whole = (numbers == np.floor(numbers)) & (abs(numbers) < 2**53)
    return numbers.astype(np.int64) if whole.all() else y
