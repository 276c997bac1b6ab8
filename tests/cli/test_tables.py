"""Tables: numbers come back exactly whatever separates them; a table with a fault is refused in one sentence."""

import gzip
import time

import numpy as np
import pytest

from scratchvae import cli
from scratchvae.cli import commands
from scratchvae.data import files, tables
from test_files import refused


def load(path, text, **arguments):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return files.load(path, **arguments)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "table.csv"


@pytest.mark.parametrize("cell", [",", ";", "\t", "1,", "1 ", "xyz,", "xyz ", "12345678\x1f"])
def test_a_line_of_very_many_cells_fills_no_memory(path, cell):
    """Megabytes of them in some kB of gzip; `refused` counts the bytes."""
    many = "cells, more than 16384: such data go into an .npy" if cell[-1] in ",;\t " else "must have finite numbers"
    for n, says in (2 ** 22, "line 1 has more than 1048576 characters"), (2 ** 20 // len(cell) - 9, f"line .*{many}"):
        path.write_bytes(gzip.compress(2 * (n * cell + "1\n").encode()))
        refused(lambda: files.load(path), path.name, says)


def test_a_table_may_have_as_many_columns_as_a_spreadsheet(path):
    """Pictures of 128 by 128."""
    x = np.random.default_rng(0).integers(0, 256, (3, 2 ** 14))
    assert (load(path, "\n".join(",".join(map(str, row)) for row in x)).x == x).all()
    refused(lambda: load(path, ",".join("a" * (2 ** 14 + 1)) + "\n"), path.name, "line 1 has 16385 cells")


def test_white_space_within_a_cell_does_not_end_it(path):
    """Only spaces, and in later lines tabs, stand between cells without a delimiter."""
    assert load(path, "a\u2003b c\n1\t2\n 3  4 \n").columns == ["a\u2003b", "c"]


def test_remarks_about_columns_are_few(path, monkeypatch, capsys):
    header, ones = [f"c{i}" for i in range(2 ** 14)], ["1"] * (2 ** 14 - 1)
    path.write_text("\n".join(",".join(row) for row in [header, [*ones, "1"], [*ones, "2"], [*ones, "3"]]))
    assert cli.main(["train", "--data", str(path), "--out", str(path.parent / "run")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 20 and "(16383 columns in all)" in said[-2] and "; this works: " in said[-1]


def test_the_picture_of_a_table_has_the_pairs_that_depend_most_and_of_many_columns_takes_no_hours(rng):
    """Of all pairs of 3000 columns, four million, none is looked at in Python."""
    pytest.importorskip("matplotlib")
    from scratchvae.train import plotting
    x = rng.standard_normal((40, 3000))
    x[:, 7], x[3, 7], x[:, 900] = x[:, 2] + 1e-3 * x[:, 7], np.nan, -x[:, 4] + 0.05 * x[:, 900]
    page, start = plotting.figure(10, 5), time.process_time()
    plotting.table(page, x, x, [f"c{i}" for i in range(3000)])
    assert [(ax.get_xlabel(), ax.get_ylabel()) for ax in page.axes[5:7]] == [("c2", "c7"), ("c4", "c900")]
    assert time.process_time() - start < 5
    for n in (1, 2):
        plotting.table(plotting.figure(10, 5), x[:, :n], x[:, :n], ["a", "b"][:n])


def test_what_is_written_for_a_spreadsheet_is_read_as_it_was(path, tmp_path, monkeypatch, capsys):
    """A ' stands before what could be a formula."""
    monkeypatch.setattr(commands, "finish", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    rows = [["=a", "+b", "@c"], *[[kind, str(i * i % 17), f"{i}.5"] for i, kind in enumerate(20 * ["-x", "=y", "@z"])]]
    path.write_text("\n".join(",".join(row) for row in rows))
    assert cli.main(["train", "--data", str(path), "--out", "run", "--epochs", "1", "--hidden", "4"]) == 0
    assert cli.main(["impute", "run", "--data", str(path), "--out", "again.csv"]) == 0
    found, text = (files.load(name, text=True) for name in ("again.csv", path)), open("again.csv").read()
    (ours, _, _, names), (theirs, *_) = found
    assert text.startswith("'=a,'+b,'@c\n'-x,0") and names == rows[0] and (ours[:, 0] == theirs[:, 0]).all()
    assert cli.main(["evaluate", "run", "--data", "again.csv", "--samples", "1"]) == 0
    assert load(path, "a,y\n1,'-b\n2,'b\n", labels="y").y.tolist() == ["-b", "'b"]


def test_a_number_has_no_underscore(path):
    refused(lambda: load(path, "a,b\n1,2\n3,1_000\n"), path.name, "line 3: column 'b' must have .*; got '1_000'")
    assert load(path, "a,y\n1,10\n2,1_0\n", labels="y").y.tolist() == ["10", "1_0"]
    assert not tables.is_number("1_0") and tables.is_number("-1e3")
    wide = ",".join(map(str, range(12)))
    refused(lambda: load(path, f"{wide}\n{wide}\n", labels="1_0", header=False), path.name,
            "no single column '1_0'; there are 0 to 11")


# what is right ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("delimiter", [",", ";", "\t", " ", "   ", ", "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("header", [None, ["a", "b", "c"], ["0", "1", "2"]], ids=["no header", "words", "counting"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_numbers_come_back_to_the_last_bit(path, rng, delimiter, end, header, pack):
    x = rng.standard_normal((5, 3)) * 10.0 ** rng.integers(-30, 30, (5, 3))
    lines = ([header] if header else []) + [[repr(float(value)) for value in row] for row in x]
    found = load(path, pack(end.join(delimiter.join(line) for line in lines).encode() + end.encode()))
    assert found.x.dtype == np.float64 and (found.x == x).all()
    assert found.y is None and found.image_shape is None


@pytest.mark.parametrize("text, first", [
    ("1,2\n3,4\n", [1, 2]), ("a,b\n3,4\n", [3, 4]), ('"a","b"\n3,4\n', [3, 4]), ('"1","2"\n3,4\n', [1, 2]),
    ("0,1,2\n3,4,5\n", [3, 4, 5]), ("0.0,1.0,2.0\n3,4,5\n", [0, 1, 2]), ("0,1\n3,4\n", [0, 1]),
    ("0,1,3\n3,4,5\n", [0, 1, 3]), ("\ufeff1,2\n3,4\n", [1, 2]), ("\ufeffa,b\n3,4\n", [3, 4]),
    ("1,2\n3,4", [1, 2]), ("1,2\n3,4\n\n \n", [1, 2]), ("5\n6\n", [5]), (" 1 , 2 \n 3 , 4 \n", [1, 2]),
    ("-1e3,+.5\n3,4\n", [-1000, 0.5]), ("größe,höhe\n3,4\n", [3, 4]), ("# a b\n3 4 5\n", [3, 4, 5]),
    ("1,2\r3,4\r", [1, 2]), ("a,b\r3,4\r", [3, 4]),
    ('"a"\n5\n6\n', [5]), ('"a" "b c"\n3 4\n', [3, 4]), ('"1"\n"6"\n', [1]),
])
def test_the_first_row_of_numbers_is_found(path, text, first):
    assert load(path, text).x[0].tolist() == first


def test_header_can_be_told(path):
    assert load(path, "0,1,2\n3,4,5\n", header=False).x.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert load(path, "7,8\n3,4\n", header=True).x.tolist() == [[3, 4]]


@pytest.mark.parametrize("text, labels, y", [
    ("1,2,7\n3,4,8\n", 2, [7, 8]), ("1,2,7\n3,4,8\n", -1, [7, 8]), ("1,2,7\n3,4,8\n", "-1", [7, 8]),
    ("7,1,2\n8,3,4\n", 0, [7, 8]), ("a,b,y\n1,2,7\n3,4,8\n", "y", [7, 8]), ("a,y,b\n1,7,2\n3,8,4\n", "y", [7, 8]),
    ("a,y,b\n1,7,2\n3,8,4\n", 1, [7, 8]), ("a,b,y\n1,2,x\n3,4,z w\n", "y", ["x", "z w"]),
    ('1,2,"x,1"\n3,4,"z"\n', -1, ["x,1", "z"]), ("1,2,x\n3,4,z\n", -1, ["x", "z"]), ("1 2 x\n3 4 z\n", 2, ["x", "z"]),
    ("1,2,7.0\n3,4,8e0\n", -1, [7, 8]), ("1,2,7.5\n3,4,8\n", -1, ["7.5", "8"]),
    ("y,0,1,2\n7,1,2,0\n8,3,4,0\n", "y", [7, 8]),
    ("y,0,1,2\n7,1,2,0\n8,3,4,0\n", 0, [7, 8]), ("0,y,1,2\n1,7,2,0\n3,8,4,0\n", 1, [7, 8]),
    ("2,a,b\n7,1,2\n8,3,4\n", "2", [7, 8]), ("1,2, x \n3,4,none\n", -1, ["x", "none"]),
    ("1,2,1e300\n3,4,8\n", -1, ["1e300", "8"]),
])
def test_labels_are_a_named_or_numbered_column_and_whole_numbers_or_text(path, text, labels, y):
    header = True if text.startswith("2,a") else None
    found = load(path, text, labels=labels, header=header)
    assert found.x[:, :2].tolist() == [[1, 2], [3, 4]] and found.y.tolist() == y
    assert found.y.dtype == np.int64 if isinstance(y[0], int) else found.y.dtype.kind == "U"


@pytest.mark.parametrize("text, labels, columns", [
    ("a, b c ,y\n1,2,7\n", None, ["a", "b c", "y"]), ("a,b c,y\n1,2,7\n", "b c", ["a", "y"]),
    ('"a"\n1\n', None, ["a"]), ('"a b"\r1\r', None, ["a b"]), ('"a" "b c"\n1 2\n', None, ["a", "b c"]),
    ("a,b,y\n1,2,7\n", 0, ["b", "y"]), ("0,1,2\n1,2,7\n", -1, ["0", "1"]), ("1,2,7\n", -1, None),
    ("1,2,7\n", None, None),
])
def test_the_names_of_the_columns_come_with_them_but_for_that_of_the_labels(path, text, labels, columns):
    assert load(path, text, labels=labels).columns == columns


# what is malformed --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("text, says, arguments", [
    ("\n", "line 1 is empty", {}), ("  \n1,2\n", "line 1 is empty", {}), ("1,2\n\n3,4\n", "line 2 is empty", {}),
    ("1,2\n3,4\n\n" + "\n" * 5000, "line 3 is empty", {}), ("a,b\n", "must have a row of numbers below its header", {}),
    ("a,b\n\n", "must have a row of numbers below its header", {}),
    ("1,2\n3\n", "line 2 has 1 columns, the first line has 2", {}),
    ("1,2\n3,4,5\n", "line 2 has 3 columns, the first line has 2", {}),
    ("a,b\n1,2\n3,4,5\n", "line 3 has 3 columns", {}),
    ("1,2\n3,4,\n", "line 2 has 3 columns", {}),
    ("1,2,\n3,4,\n", "line 1: column '2' has a missing cell, '': fill it", {}),
    ("a,b c\n1,\n", "line 2: column 'b c' has a missing cell, ''", {}),
    ("1,2\n3,x\n", "line 2: column '1' must have finite numbers; got 'x': text is for cat", {}),
    ("a,b c\n1,2\n3,x\n", "line 3: column 'b c' must have .* got 'x'", {}),
    ("a,2020,b\n1,2,3\n", "line 1: column '0' must have .* got 'a'", {}),
    ("a,b,y\nx,2,z\n", "line 2: column 'a' must have .* got 'x'", {"labels": "y"}),
    ("y,a,b\nx,2,z\n", "line 2: column 'b' must have .* got 'z'", {"labels": "y"}),
    ("x,2,z\n", "column '1'", {"labels": 0}),
    ("a" * 99 + ",\x1b\nx,1\n", "column '" + "a" * 40 + "' must have", {}),
    ("\x1b,b\nx,1\n", r"column '.x1b' must have", {}),
    ("a,b\nc,d\n", "line 2: .* must have .* got 'c'", {}),
    ("1;2\n1,5;2\n", "line 2: .* got '1,5': --decimal , reads it", {}),
    ("1,5;2,5\n", "must have .* got '5;2'", {}), ("1 2\n3,4\n", "line 2 has 1 columns", {}),
    ("1,2\n3 4\n", "line 2 has 1 columns", {}), ("1,0x10\n", "got '0x10'", {}),
    ("1,2\n3,4j\n", "got '4j'", {}), ("1,2\n3,1e\n", "got '1e'", {}),
    ("a,b\n1,NA\n", "has a missing cell, 'NA': fill it, leave out its row, or use", {}),
    ("a,b\n1,?\n", "has a missing cell, '.'", {}), ("a,b\n1,True\n", "must have finite numbers; got 'True'", {}),
    ("a;b\n1;2,5\n", "got '2,5': --decimal , reads it", {}),
    ("1,nan\n", "line 1: .* has a missing cell, 'nan'", {}),
    ("1,2\ninf,3\n", "line 2: .* must have finite numbers; got 'inf'", {}),
    ("sep=;\na;b\n1;2\n3;x\n", "line 4: .* got 'x'", {}),
    ('a,b\n1,"2\n"\n3,x\n', "line 4: .* got 'x'", {}),
    ("sep=|\na|b\n1|2\n3|4|5\n", "line 4 has 3 columns", {}),
    ("1,2\n1e999,3\n", "line 2: .* must have finite numbers; got '1e999'", {}),
    (",a,b\n0,1,2\n0,3,4\n", "the first column has no name, and line 3 repeats", {}),
    ("a,,c\n0,1,2\n", "column 1 has no name: name it", {}), ('1,"2\n3,4\n', "line 2: .* got '2.n3,4'", {}),
    ('1,"' + "2" * 200_000, "cannot be told apart", {}),
    ("1,2\n3," + "x" * 1000 + "\n", "line 2: .* got '" + "x" * 40 + "'", {}),
    ("1,2\n3,\x1b[31m\n", r"line 2: .* got '.x1b\[31m'", {}), ("1,2\n3,4\0\n" + " " * 2000, "not IDX", {}),
    ("1,2\n" * 1000 + "3,4\0\n", "line 1001: .* got '4.x00'|line contains NUL", {}),     # by Python's version
    ("a,b\n1,2\n".encode("utf-16"), "text in UTF-16: save it in UTF-8", {}),
    ("My table\na,b\n1,2\n", "line 2 has 1 columns, the first line has 2; if line 1 is a title", {}),
    ("größe,b\n1,2\n".encode("latin-1"), "it is not text in UTF-8", {}),
    (b"1,2\n3,\xff\n", "it is not text", {}),
    ("1,2\n", "labels: there is no single column 'y'; there are 0 to 1", {"labels": "y"}),
    ("a,b\n1,2\n", "labels: there is no single column 'y'; there are 'a', 'b'", {"labels": "y"}),
    ("1,2\n", "no single column '2'; there are 0 to 1", {"labels": 2}),
    ("1,2\n", "no single column '-3'", {"labels": -3}),
    ("a,y,y\n1,2,3\n", "labels: there is no single column 'y'", {"labels": "y"}),
    ("7\n8\n", "a row of numbers", {"labels": 0}),
    *[(f"a,b\n1,{empty}\n", r"line 2: the label \(column 'b'\) is empty: fill it, or drop the row", {"labels": 1})
      for empty in ("", "?", "NA", "nan")],
    ("1,2\n3," + "x" * 101 + "\n", "line 2 must have a label of 1 to 100", {"labels": 1}),
    ("1,x\ny,z\n", "line 2: .* got 'y'", {"labels": 1}),
    (",".join(f"c{i}" for i in range(99)) + "\n", "'c6', 'c7', ..., 'c98' .99 in all", {"labels": "y"}),
    ("a,b\n1,2\n", "line 1: .* got 'a'", {"header": False}),
    ("1,2\n", "row of numbers below its header", {"header": True}),
])
@pytest.mark.filterwarnings("error")
def test_a_malformed_table_is_refused_in_one_sentence(path, text, says, arguments):
    refused(lambda: load(path, text, **arguments), repr(str(path)), says)


def test_a_line_without_end_and_a_table_without_end_stop_at_their_bounds(path, monkeypatch):
    """Bombs: forty kilobytes of gzip that become forty megabytes, on one line or on many."""
    refused(lambda: load(path, gzip.compress(b"0" * 40_000_000)), repr(str(path)), "line 1 has more than 1048576 char")
    monkeypatch.setattr(files, "MAX_BYTES", 80_000)
    refused(lambda: load(path, gzip.compress(b"1,2\n" * 100_000)), repr(str(path)), "it takes more than 80000 bytes")
    refused(lambda: load(path, gzip.compress(b"1,x\n" * 5000), labels=1), repr(str(path)), "it takes more than 80000")
    assert len(load(path, gzip.compress(b"1,2\n" * 4900)).x) == 4900
    monkeypatch.setattr(tables, "MAX_LINE", 8)
    refused(lambda: load(path, "1,2\n3,4,5,6,7\n"), repr(str(path)), "line 2 has more than 8 char")
