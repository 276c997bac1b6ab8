"""Files: what is stored comes back to the bit; what is malformed is refused in one sentence, in little memory."""

import gzip
import io
import lzma
import os
import pickle
import re
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from scratchvae.data import files

IDX_TYPES = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}


def idx(array, kind=None, shape=None):
    """The bytes of an IDX file, or of one whose header lies about its type or shape."""
    shape = array.shape if shape is None else shape
    kind = IDX_TYPES[array.dtype.str.lstrip("|<")] if kind is None else kind
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, kind, len(shape), *shape) + array.tobytes()


def npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npy_with(header, data=b"", version=1, length=None):
    """The bytes of an .npy file with any header."""
    text = header.encode()
    length = len(text) if length is None else length
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", length) + text + data


def npz(compressed=True, **arrays):
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def zipped(compression=zipfile.ZIP_DEFLATED, **members):
    """A zip file with any bytes as members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return file.getvalue()


def flip(data, at):
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1:]


NUMBERS = np.random.default_rng(0).integers(0, 100, (6, 4, 3))


# what is stored comes back ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("dtype", IDX_TYPES)
def test_idx_comes_back_with_its_values_type_and_picture_shape(tmp_path, dtype, pack):
    stored = NUMBERS.astype(dtype)
    (tmp_path / "a").write_bytes(pack(idx(stored)))
    x, y, image_shape, _ = files.load(tmp_path / "a")
    np.testing.assert_array_equal(x, NUMBERS.reshape(6, 12), strict=False)
    assert (x.dtype, y, image_shape) == (np.dtype(dtype).newbyteorder("="), None, (4, 3))
    assert files.read(tmp_path / "a").shape == (6, 4, 3)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda data: zipped(x=data)], ids=["plain", "gzip", "npz"])
@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "<i2", ">u4", "<i8", "<f2", ">f4", "<f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_comes_back_in_any_type_byte_order_and_memory_order(tmp_path, dtype, order, pack):
    stored = np.asarray(NUMBERS.astype(dtype), order=order)
    (tmp_path / "a").write_bytes(pack(npy(stored)))
    x, _, image_shape, _ = files.load(tmp_path / "a")
    assert (x == stored.reshape(6, 12)).all() and image_shape == (4, 3)
    assert x.dtype == np.dtype(dtype).newbyteorder("=") and x.dtype.isnative


def test_npy_of_version_2_and_vectors_without_a_picture_shape(tmp_path):
    header = "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3)}"
    (tmp_path / "a").write_bytes(npy_with(header, np.arange(6, dtype="<i2").tobytes(), version=2))
    x, _, image_shape, _ = files.load(tmp_path / "a")
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]] and image_shape is None


@pytest.mark.filterwarnings("error")
def test_npy_as_python_2_wrote_it(tmp_path):
    header = "{'descr': '<i2', 'fortran_order': False, 'shape': (2L, 3L), }"
    (tmp_path / "a").write_bytes(npy_with(header, np.arange(6, dtype="<i2").tobytes()))
    assert files.load(tmp_path / "a").x.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_pictures_may_have_an_axis_for_one_channel_or_be_rows_whose_shape_is_told(tmp_path):
    (tmp_path / "channel").write_bytes(npy(NUMBERS[..., None]))
    (tmp_path / "rows").write_bytes(npy(NUMBERS.reshape(6, 12)))
    assert files.load(tmp_path / "channel").image_shape == (4, 3)
    for name in ("channel", "rows"):
        x, _, image_shape, _ = files.load(tmp_path / name, image_shape=(4, 3))
        assert (x == NUMBERS.reshape(6, 12)).all() and image_shape == (4, 3)


@pytest.mark.parametrize("compressed", [True, False])
def test_npz_gives_the_one_array_or_the_named_one_and_its_labels(tmp_path, compressed):
    x, y = NUMBERS.reshape(6, 12), np.array([3, 1, 4, 1, 5, 9])
    (tmp_path / "one").write_bytes(npz(compressed, anything=x))
    (tmp_path / "two").write_bytes(npz(compressed, pixels=x, digit=y.astype(np.uint8)))
    (tmp_path / "three").write_bytes(npz(compressed, a=x, b=x + 1, y=y[:, None].astype(float), half=y / 2))
    assert (files.load(tmp_path / "one").x == x).all()
    assert (files.load(tmp_path / "two", key="pixels").x == x).all()
    found = files.load(tmp_path / "two", labels="digit")
    assert (found.x == x).all() and found.y.tolist() == y.tolist() and found.y.dtype == np.int64
    found = files.load(tmp_path / "three", key="b", labels="y")
    assert (found.x == x + 1).all() and found.y.tolist() == y.tolist() and found.y.dtype == np.int64
    assert files.load(tmp_path / "three", key="b", labels="half").y.tolist() == (y / 2).tolist()


def test_the_first_bytes_tell_the_format_whatever_the_name(tmp_path):
    (tmp_path / "a.csv").write_bytes(npy(NUMBERS))
    (tmp_path / "a.npy").write_bytes(b"1,2\n3,4\n")
    assert files.load(str(tmp_path / "a.csv")).image_shape == (4, 3)
    assert files.load(str(tmp_path / "a.npy")).x.tolist() == [[1, 2], [3, 4]]


def test_real_files(shared_data):
    x, y, image_shape, _ = files.load(shared_data / "digits" / "digits.csv.gz", labels=-1, image_shape=(8, 8))
    assert x.shape == (1797, 64) and x.max() == 16 and image_shape == (8, 8)
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    faces = files.load(shared_data / "frey" / "frey_faces.npz")
    assert (faces.x.shape, faces.x.dtype, faces.image_shape) == ((1965, 560), np.uint8, (28, 20))
    assert (faces.x.min(), faces.x.max()) == (8, 238)


# what is malformed is refused ---------------------------------------------------------------------------------------

MALFORMED = {}                                               # name: bytes, arguments of load, what the sentence says


def malformed(name, data, says, **arguments):
    assert name not in MALFORMED
    MALFORMED[name] = data, arguments, says


ROWS = NUMBERS.reshape(6, 12)
PIXELS = idx(NUMBERS.astype(np.uint8))
ARRAY = npy(ROWS.astype(np.float32))
ARCHIVE = npz(x=ROWS)
HEADER = "{{'descr': {}, 'fortran_order': False, 'shape': {}}}"

for n in (1, 2, 3, 4, 7, 15, 16, len(PIXELS) - 1):
    malformed(f"idx cut to {n} bytes", PIXELS[:n], "IDX|CSV|promises")
for n in (1, 5, 6, 7, 8, 9, 10, 50, 127, 128, 129, len(ARRAY) - 1):
    malformed(f"npy cut to {n} bytes", ARRAY[:n], r"CSV|\.npy|promises")
for n in (2, 3, 4, 20, 30, 60, 100, len(ARCHIVE) - 30, len(ARCHIVE) - 1):
    malformed(f"npz cut to {n} bytes", ARCHIVE[:n], "zip|CSV")
for n in (2, 3, 9, 10, 11, 30, 60, len(gzip.compress(PIXELS)) - 9, len(gzip.compress(PIXELS)) - 1):
    malformed(f"gzip cut to {n} bytes", gzip.compress(PIXELS)[:n], "compressed data are cut short or damaged")
for at in (2, 3, 12, 30, 70, -6, -1):
    malformed(f"gzip flipped at {at}", flip(gzip.compress(PIXELS), at % len(gzip.compress(PIXELS))), "compressed data")
malformed("gzip and garbage", gzip.compress(PIXELS) + b"garbage", "compressed data are cut short or damaged")
malformed("gzip of gzip", gzip.compress(gzip.compress(PIXELS)), "not IDX|UTF-8")
malformed("gzip of npz", gzip.compress(ARCHIVE), "within gzip: unpack it")
malformed("empty", b"", "is empty")
malformed("gzip of nothing", gzip.compress(b""), "is empty")

malformed("idx and one byte", PIXELS + b"\0", "promises 72 bytes of numbers and has more")
malformed("idx and one byte in gzip", gzip.compress(PIXELS + b"\0"), "promises 72 bytes of numbers and has more")
malformed("idx cut in gzip", gzip.compress(PIXELS[:-1]), "promises 72 bytes of numbers and has 71")
for kind in (0, 7, 10, 15, 255):
    malformed(f"idx of type {kind}", idx(NUMBERS.astype(np.uint8), kind), f"8, 9, 11, 12, 13, 14,.* got {kind} and 3")
for n_axes in (0, 5, 200):
    malformed(f"idx of {n_axes} axes", idx(np.zeros(1, np.uint8), 8, (1,) * n_axes), f"1 to 4 axes; got 8 and {n_axes}")
for n_axes in (1, 2, 3, 4):
    for name, pack in ("", bytes), (" in gzip", gzip.compress):
        malformed(f"idx of immense size, {n_axes} axes{name}",
                  pack(idx(np.zeros(9), 14, (2**32 - 1,) * n_axes)), "more than (4294967296|33554432) bytes")
malformed("idx just below the bound", idx(np.zeros(9, np.uint8), shape=(2, 2**31 - 1)), "promises 4294967294 .* has 9")
malformed("idx just below the bound in gzip", gzip.compress(idx(np.zeros(9, np.uint8), shape=(2, 2**31 - 1))),
          "more than 33554432 bytes")
malformed("idx of length 0", idx(np.zeros((0, 4), np.uint8)), "each of length 1 or more")
malformed("idx of labels", idx(np.arange(9, dtype=np.uint8)), r"must have shape \(n, D\)")
malformed("idx of colours", idx(np.zeros((2, 4, 4, 3), np.uint8)), r"grey pictures; got \(2, 4, 4, 3\)")
malformed("idx little-endian", struct.pack("<BBBB2I", 0, 0, 8, 2, 3, 4) + bytes(12), "more than 4294967296 bytes")
malformed("idx bomb", gzip.compress(PIXELS + bytes(30_000_000)), "has more")

malformed("npy and one byte", ARRAY + b"\0", "promises 288 bytes of numbers and has more")
malformed("npy with wrong magic", flip(ARRAY, 1), "not IDX|UTF-8")
for version in (0, 3, 9):
    malformed(f"npy of version {version}", ARRAY[:6] + bytes([version]) + ARRAY[7:], "version 1.0 or 2.0")
malformed("npy of version 1.1", ARRAY[:7] + b"\1" + ARRAY[8:], "version 1.0 or 2.0")
malformed("npy with a header of 64 KiB", npy_with("{}", length=2**16 - 1), "header of more than 10000 bytes")
malformed("npy with a header of 4 GiB", npy_with("{}", version=2, length=2**32 - 1), "header of more than 10000 bytes")
malformed("npy with a long header", npy_with(" " * 10_001, version=2), "header of more than 10000 bytes")
for name, header in {
    "nothing": "", "spaces": " " * 64, "a list": "[1, 2]", "an empty dict": "{}", "no end": "{'descr': '<f8', 'fort",
    "no shape": "{'descr': '<f8', 'fortran_order': False}",
    "a key too many": "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), 'more': 1}",
    "a function call": "__import__('os').abort()", "parentheses": "(" * 5000 + ")" * 5000, "NUL": "{'descr': '\0'}",
    "a minus thousandfold": "-" * 9000 + "1", "an immense number": HEADER.format("'<f8'", f"({'9' * 9000},)"),
    "an unknown type": HEADER.format("'garbage'", "(2, 3)"), "a type of a list": HEADER.format("[[[]]]", "(2, 3)"),
    "a number for a type": HEADER.format("8", "(2, 3)"),
    "an order of 2": HEADER.format("'<f8'", "(2, 3)").replace("False", "2"),
    "a fraction in shape": HEADER.format("'<f8'", "(2.5, 3)"),
    "text in shape": HEADER.format("'<f8'", "('2', 3)"), "a number for shape": HEADER.format("'<f8'", "6"),
    "an escape that is none": r"{'\d': 1}", "an unhashable key": "{[]: 1}",
}.items():
    malformed(f"npy header: {name}", npy_with(header, bytes(48)), r"\.npy header is damaged")
for name, shape, says in [
    ("a terabyte", "(1000000, 1000000)", "more than 4294967296 bytes"), ("10^60", "(10**60,)", "damaged"),
    ("10 to the 40", f"({10**40}, 2)", "more than 4294967296 bytes"), ("negative", "(-2, -3)", "of length 1 or more"),
    ("zero rows", "(0, 3)", "of length 1 or more"), ("zero columns", "(3, 0)", "of length 1 or more"),
    ("zero times much", f"(0, {10**30})", "of length 1 or more"), ("no axis", "()", "1 to 4 axes"),
    ("five axes", "(1, 1, 1, 2, 3)", "1 to 4 axes"), ("a hundred axes", f"({'1, ' * 100})", "1 to 4 axes"),
    ("one axis", "(6,)", r"must have shape \(n, D\)"),
    ("too small", "(2, 2)", "has more"), ("too large", "(3, 3)", "has 48"),
]:
    malformed(f"npy shape: {name}", npy_with(HEADER.format("'<f8'", shape), bytes(48)), says)
for name, kind in [("text", "'<U3'"), ("bytes", "'|S8'"), ("complex", "'<c16'"), ("dates", "'<M8[s]'"),
                   ("void", "'|V8'"), ("durations", "'<m8[s]'"), ("a structure", "[('a', '<f8')]")]:
    malformed(f"npy of {name}", npy_with(HEADER.format(kind, "(2, 3)"), bytes(96)), "must have real numbers, not")
malformed("npy of objects", npy(np.array([[1, "a"]], dtype=object)), r"Python objects \(pickles\), which are never")
malformed("npy of objects without a pickle", npy_with(HEADER.format("'|O'", "(2, 3)"), bytes(48)), "Python objects")
malformed("npz of objects", zipped(x=npy(np.array([[1, None]], dtype=object))), "array 'x' must .* Python objects")
for dtype in ("<f2", "<f4", ">f8"):
    for value in (np.nan, np.inf, -np.inf):
        array = np.ones((3, 4), dtype)
        array[1, 2] = value
        malformed(f"npy of {dtype} with {value}", npy(array), "must have finite numbers; row 1, counted from 0")
malformed("idx with NaN", idx(np.array([[0, 1], [2, np.nan]], ">f4")), "must have finite numbers; row 1")

malformed("npz without members", zipped(), "is a zip archive without arrays")
malformed("npz of text", zipped(readme=b"hello"), r"array 'readme' must be in the \.npy")
malformed("npz with two arrays", npz(a=ROWS, b=ROWS), "key must say which array to take; there is 'a', 'b'")
malformed("npz with forty arrays", npz(False, **{f"a{i}": ROWS for i in range(40)}),
          "'a7', \\.\\.\\., 'a39' .40 in all.$")
malformed("npz without that key", ARCHIVE, "array 'z' is not there; there is 'x'", key="z")
malformed("npz without those labels", ARCHIVE, "array 'y' is not there; there is 'x'", labels="y")
malformed("npz, the one array as labels", ARCHIVE, "key must say", labels="x")
malformed("npz with labels for other rows", npz(x=ROWS, y=np.arange(5)), r"shape \(6,\).*'y' has \(5,\)", labels="y")
malformed("npz with labels in a table", npz(x=ROWS, y=ROWS), r"shape \(6,\)", key="x", labels="y")
malformed("npz with text labels", npz(x=ROWS, y=np.array(list("abcdef"))), "'y' must have real numbers", labels="y")
malformed("npz with NaN", npz(x=np.array([[1.0, np.nan]])), "array 'x' must have finite numbers")
malformed("npz, flipped in the data", flip(npz(False, x=ROWS), 400), "zip archive is damaged")
malformed("npz, flipped in the directory", flip(ARCHIVE, len(ARCHIVE) - 20), "zip archive is damaged|cannot be read")
malformed("npz whose directory lies about its place", flip(ARCHIVE, len(ARCHIVE) - 4), "zip archive is damaged")
malformed("npz, flipped in the compressed data", flip(ARCHIVE, 80), "damaged")
malformed("npz, an array cut short", zipped(x=npy(ROWS)[:-8]), "array 'x' promises 576 bytes of numbers and has 568")
malformed("npz bomb: immense array", zipped(x=npy_with(HEADER.format("'<f8'", f"({10**12}, 2)"))), "more than 33554432")
malformed("npz bomb: zeros", zipped(x=npy(np.zeros((2, 2))) + bytes(30_000_000)), "array 'x' promises 32 .* has more")
malformed("npz by LZMA", zipped(zipfile.ZIP_LZMA, x=npy(ROWS)), "array 'x' must be stored or deflated")
malformed("npz by BZIP2", zipped(zipfile.ZIP_BZIP2, x=npy(ROWS)), "array 'x' must be stored or deflated")
FLAGS = ARCHIVE.index(b"PK\1\2") + 8                         # in the archive's directory
malformed("npz encrypted", ARCHIVE[:FLAGS] + b"\1" + ARCHIVE[FLAGS + 1:], "zip archive is damaged, encrypted")
malformed("a key for npy", ARRAY, "has no array 'x': only an .npz file has keys", key="x")
malformed("a key for csv", b"1,2\n", "has no array 'x': only an .npz file has keys", key="x")
malformed("labels for npy", ARRAY, "has no labels of its own, and labels is not an IDX or .npy file; got 'y'",
          labels="y")
malformed("labels for idx", PIXELS, "has no labels 0", labels=0)
for name, shape in [("others", (3, 5)), ("three", (2, 2, 3)), ("one", (12,)), ("zero", (0, 12)), ("word", "4x3"),
                    ("fractions", (4.0, 3.0))]:
    malformed(f"image_shape: {name}", ARRAY, "image_shape", image_shape=shape)
malformed("image_shape against pictures", PIXELS, r"\(3, 4\), \(height, width\), does not fit: .* 4 x 3 columns",
          image_shape=(3, 4))

for protocol in range(6):
    malformed(f"a pickle of protocol {protocol}", pickle.dumps([ROWS.tolist()], protocol), "UTF-8|CSV|not IDX")
for name, head in {"PNG": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF",
                   "PDF": b"%PDF-1.7\n1 0", "ELF": b"\x7fELF\2\1\1\0", "HDF5": b"\x89HDF\r\n\x1a\n",
                   "MATLAB": b"MATLAB 5.0 MAT-file, Platform\0", "Parquet": b"PAR1\x15\0", "GIF": b"GIF89a\1\0",
                   "XZ": lzma.compress(PIXELS), "HTML": b"<html>\n<body>\n", "JSON": b"[[1, 2]]",
                   "a PK of text": b"PKEY,b\nx,y\n"}.items():
    malformed(f"foreign: {name}", head + b"and more", "not IDX|UTF-8|read as CSV|to_csv|put all of them")
for seed in range(20):
    malformed(f"random bytes {seed}", np.random.default_rng(seed).bytes(1 + 37 * seed), "not IDX|UTF-8|read as CSV")


def refused(load, name, says):
    """Call it, expect an error whose message is one short sentence that names the file, and little memory taken."""
    tracemalloc.start()
    try:
        with pytest.raises((ValueError, OSError)) as caught:
            load()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert name in message, f"the message must name {name}: {message}"
    assert message.isprintable() and len(message) < 300 + len(name), f"not one short line: {message!r}"
    assert re.search(says, message), f"the message must say {says!r}: {message}"
    assert peak < 48 * 2**20, f"{peak / 2**20:.0f} MiB taken"


def test_there_are_enough_malformed_files():
    assert len(MALFORMED) >= 150


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.filterwarnings("error")
def test_a_malformed_file_is_refused_in_one_sentence(tmp_path, name):
    data, arguments, says = MALFORMED[name]
    path = tmp_path / "file.dat"
    path.write_bytes(data)
    refused(lambda: files.load(path, **arguments), repr(str(path)), says)
    assert path.read_bytes() == data and os.listdir(tmp_path) == ["file.dat"]


def test_a_path_that_is_no_file_is_refused_in_one_sentence(tmp_path):
    """Missing, a folder, a pipe (which must not block), a device, through a file, links in a circle, no path at all."""
    good = tmp_path / "good.npy"
    good.write_bytes(ARRAY)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for path, says in {
        tmp_path / "missing.npy": "cannot be read: No such file", tmp_path: "must be a file, not a folder",
        tmp_path / "pipe": "must be a file, not a folder or a device", "/dev/zero": "not a folder or a device",
        good / "x": "Not a directory", tmp_path / "dangling": "No such file", tmp_path / "circle": "symbolic links",
        tmp_path / ("x" * 300): "File name too long", "": "No such file", "a\0b": "null",
        0: "must be a string or a Path", None: "must be a string or a Path", b"bytes": "must be a string or a Path",
        tmp_path / "two\nlines": "cannot be read: No such file",
    }.items():
        refused(lambda: files.load(path), repr(str(path)) if isinstance(path, (str, os.PathLike)) else str(path), says)


def test_a_file_that_may_not_be_read_or_fails_in_the_middle(tmp_path, monkeypatch):
    """The privileged user may read all, so the refusal is staged; and a disk error and a lack of memory likewise."""
    path = tmp_path / "a.npy"
    path.write_bytes(ARRAY)
    for error, says in [(PermissionError(13, "Permission denied"), "cannot be read: Permission denied"),
                        (OSError(5, "Input/output error"), "cannot be read: Input/output error"),
                        (MemoryError(), "does not fit into the memory of this machine")]:
        def fail(*args, **kwargs):
            raise error
        with monkeypatch.context() as staged:
            staged.setattr(files, "_contents", fail)
            refused(lambda: files.load(path), repr(str(path)), says)
    assert type(error) is MemoryError
    if os.geteuid() != 0:
        path.chmod(0)
        refused(lambda: files.load(path), repr(str(path)), "cannot be read: Permission denied")


BASES = {"idx": PIXELS, "npy": ARRAY, "npz": ARCHIVE, "npz stored": npz(False, x=ROWS.astype(np.float32)),
         "gzip": gzip.compress(PIXELS, mtime=0), "csv": b"a,b,c\n" + b"1,2.5,-3e2\n" * 20}


@pytest.mark.parametrize("name", BASES)
@pytest.mark.filterwarnings("error")
def test_a_damaged_file_gives_finite_numbers_or_one_sentence(tmp_path, name):
    """Two hundred random wounds each: whatever the bytes, nothing but a ValueError or OSError comes out."""
    rng, base, path = np.random.default_rng(7), BASES[name], tmp_path / "file"
    for _ in range(200):
        data = bytearray(base)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            data[at] = rng.integers(256)
        wound = rng.integers(4)
        if wound == 0:
            del data[rng.integers(len(data)):]
        elif wound == 1:
            at = rng.integers(len(data))
            data[at:at] = rng.bytes(rng.integers(1, 9))
        path.write_bytes(data)
        try:
            x = files.load(path).x
        except (ValueError, OSError) as error:
            assert repr(str(path)) in str(error) and str(error).isprintable() and len(str(error)) < 400, error
        else:
            assert x.ndim == 2 and x.size and np.isfinite(x).all()


# bombs: a small file that becomes a large one -----------------------------------------------------------------------

@pytest.mark.parametrize("packed", [
    gzip.compress(b"0,0,0,0\n" * 2**13),
    gzip.compress(npy_with(HEADER.format("'|u1'", "(536870912, 4)")) + bytes(2**18)),
    zipped(x=npy_with(HEADER.format("'|u1'", "(536870912, 4)")) + bytes(2**18)),
    gzip.compress(bytes(2) + b"\x08\x02" + b"\x10\0\0\0" * 2),
], ids=["csv", "npy", "npz", "idx"])
def test_compressed_data_stop_at_a_limit_that_says_so_and_can_be_raised(tmp_path, monkeypatch, packed):
    (tmp_path / "bomb").write_bytes(packed)
    monkeypatch.setattr(files, "MIN_UNPACKED", 2**15)        # this is only to be quick
    began = time.monotonic()
    refused(lambda: files.load(tmp_path / "bomb"), "bomb", r"more than 32768 bytes, .*: --max-bytes, or max_bytes in")
    refused(lambda: files.load(tmp_path / "bomb", max_bytes=10_000), "bomb", "more than 10000 bytes")
    assert time.monotonic() - began < 20


def test_the_limit_of_compressed_data_is_a_multiple_of_their_length(tmp_path, monkeypatch):
    x = np.zeros((1000, 100), np.uint8)
    file = io.BytesIO()
    np.save(file, x)
    (tmp_path / "zeros.npy.gz").write_bytes(gzip.compress(file.getvalue()))
    monkeypatch.setattr(files, "MIN_UNPACKED", 1)
    refused(lambda: files.load(tmp_path / "zeros.npy.gz"), "zeros", "compressed data of this length")
    assert (files.load(tmp_path / "zeros.npy.gz", max_bytes=100_000 + 128).x == x).all()
    np.savez_compressed(tmp_path / "zeros.npz", x=x)
    refused(lambda: files.load(tmp_path / "zeros.npz"), "zeros", "compressed data of this length")
    np.savez(tmp_path / "stored.npz", x=x)                   # what is not compressed is as long as it says
    assert (files.load(tmp_path / "stored.npz").x == x).all()


def test_a_bool_is_no_length(tmp_path):
    (tmp_path / "x.npy").write_bytes(npy_with(HEADER.format("'<f8'", "(True, 24)")) + bytes(8 * 24))
    refused(lambda: files.load(tmp_path / "x.npy"), "x.npy", "an axis of whole length")


def test_a_file_of_old_macs_is_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("scratchvae.data.tables.MAX_LINE", 64)
    (tmp_path / "mac.csv").write_bytes(b"a,b\r" + b"1,2\r3,4\r\n" * 500)
    assert files.load(tmp_path / "mac.csv").x.tolist() == [[1, 2], [3, 4]] * 500
