"""Your own table, with --data and --out alone: what is decided, what is refused, and the command that works then."""

import csv
import json
import shlex
import zipfile

import numpy as np
import pytest
from test_mixed_tables import run

from scratchvae import cli
from scratchvae.data import columns
from scratchvae.likelihood import Bernoulli
from scratchvae.mixed import LogNormal

FAST = ["--epochs", "2", "--hidden", "4", "--latents", "2"]


def write(path, names, rows, delimiter=","):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([names, *rows])


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.commands, "finish", lambda *_: None)
    return tmp_path


def train(capsys, *words, code=0):
    return run(capsys, "train", "--data", "t.csv", "--out", "run", "--overwrite", *words, code=code)


def config():
    with open("run/config.json", encoding="utf-8") as file:
        return json.load(file)


def answers(n=60):
    rng = np.random.default_rng(0)
    return rng.integers(1, 7, (n, 3)).tolist()


def test_answers_from_1_to_6_are_no_pixels(home, capsys):
    write("t.csv", "abc", answers())
    assert "gaussian: 'a', 'b', 'c'" in train(capsys, *FAST)
    found = config()
    assert found["likelihood"] == "mixed" and found["missing"] == "leave-out"
    assert all(cell["scale"] < 3 and cell["decimals"] == 0 and cell["high"] == 6 for cell in found["cells"])
    train(capsys, *FAST, "--likelihood", "gaussian")
    assert len(config()["scale"]) == 3, "standardised one by one"
    train(capsys, *FAST, "--likelihood", "bernoulli")
    assert config()["scale"] == 16, "who asks for pixels gets them"


def test_training_ends_by_itself_and_epochs_are_obeyed(home, capsys):
    write("t.csv", "abc", answers(30))
    out = train(capsys, "--hidden", "4", "--latents", "1", "--learning-rate", "0.01")
    found = config()
    assert (found["passes"], found["patience"], found["average"]) == (100, 20, 0.999)
    assert "an epoch: 100 times all rows" in out and "kept: the parameters of epoch" in out
    assert len(read("run/history.csv")) - 1 < found["epochs"] == 200
    assert "27 rows of 3 columns to train on, 3 held out (test)" in out
    assert "2 epochs to go" in train(capsys, *FAST) and config()["passes"] is None


def test_a_refusal_lists_everything_and_its_command_works(home, capsys):
    rng = np.random.default_rng(0)
    rows = [[f"name {i}", f"{i},5", rng.choice(["x", "y"]), "7", f"${i},000", rng.random()] for i in range(40)]
    write("t.csv", ["who", "width", "kind", "same", "pay", "height"], rows, ";")
    says = train(capsys, *FAST, code=2)
    for line in ("column 'who' has 40 different texts in 40 cells", "column 'width' has numbers written as text",
                 "column 'same' has the same value in every row", "column 'pay' has numbers written as text"):
        assert line in says
    command = says.partition("this works: ")[2].strip()
    out = run(capsys, *shlex.split(command)[1:])
    assert "'width'" in next(line for line in out.splitlines() if line.startswith("gaussian"))


def test_text_among_numbers_is_named_and_no_command_is_said_to_work(home, capsys):
    rows = [[f"{i}.5", f"${i},000", i % 7] for i in range(40)]
    rows[30][0] = "1O.5"
    write("t.csv", "abc", rows)
    for words in ([], ["--decimal", "."]):
        says = train(capsys, *FAST, *words, code=2)
        assert "'t.csv': read as CSV, line 32: column 'a' has numbers, but also text, such as '1O.5': correct " in says
        assert "this works" not in says and ("column 'b' has numbers written as text" in says) == (not words)
    write("t.csv", "ab", [[f"${i},000", f"{i},5"] for i in range(40)])         # one mark is enough for both
    run(capsys, *shlex.split(train(capsys, *FAST, code=2).partition("this works: ")[2])[1:])


def test_a_table_of_one_row_needs_another(home, capsys):
    for n in (1, 30):
        write("t.csv", "ab", [[1, 2]] * n)
        says = train(capsys, *FAST, code=2)
        assert says.endswith("every column has the same value in all rows: a model needs at least two different rows\n")
        assert "this works" not in train(capsys, *FAST, "--likelihood", "gaussian", code=2)
    write("t.csv", "ab", [[1, f"name {i}"] for i in range(30)])
    assert "this works" not in train(capsys, *FAST, code=2), "no column would be left"


def test_the_command_keeps_what_was_given(home, capsys):
    write("t.csv", ["a", "b, c", "d", "e"], [[1, i, i % 3, i * i] for i in range(20)])
    says = train(capsys, "--without", "d", *FAST, code=2)
    assert says.endswith("--without d,a\n") and says.count("--without") == 1
    run(capsys, *shlex.split(says.partition("this works: ")[2])[1:])
    assert config()["columns"] == ["b, c", "e"]


def test_two_columns_of_one_name_are_refused(home, capsys):
    """By name the second one would be read as the first."""
    write("t.csv", "aba", answers())
    for words in ([], ["--likelihood", "gaussian"]):
        assert "two columns are called 'a' (columns 0 and 2): rename one" in train(capsys, *FAST, *words, code=2)
    train(capsys, *FAST, "--without", "2")
    write("other.csv", "aab", answers())
    assert "two columns are called 'a'" in run(capsys, "evaluate", "run", "--data", "other.csv", code=2)


def test_an_index_without_a_name_is_left_out(home, capsys):
    write("t.csv", ["", "a", "b"], [[i, *row[:2]] for i, row in enumerate(answers())])
    assert "left out: column 0, which has no name, as an index" in train(capsys, *FAST)
    assert config()["columns"] == ["a", "b"]
    (home / "t.csv").write_text("sep=;\na;b\n" + "".join(f"{a};{b}\n" for a, b, _ in answers()))
    train(capsys, *FAST)
    assert config()["columns"] == ["a", "b"]


def test_kinds_are_suggested_where_the_column_supports_them(home, capsys):
    rng = np.random.default_rng(0)
    rows = [[i + 1, rng.poisson(2), int(rng.normal(4000, 800)), rng.lognormal(10, 2), rng.normal(-2)]
            for i in range(80)]
    write("t.csv", ["id", "visits", "mass", "people", "cold"], rows)
    out = train(capsys, *FAST).splitlines()
    assert "lognormal: 'people'" in out
    assert any("--kinds visits=poisson" in line for line in out) and not any("mass=poisson" in line for line in out)
    assert any(line.startswith("column 'id' has numbers that count the rows") for line in out)
    run(capsys, "sample", "run", "--count", "200", "--out", "new.csv")
    drawn = np.array(read("new.csv")[1:], float)
    people = [row[3] for row in rows]
    assert min(people) - 1e-6 <= drawn[:, 3].min() and (drawn[:, :3] == drawn[:, :3].round()).all()


def test_empty_cells_are_filled_and_the_others_stay(home, capsys):
    rng = np.random.default_rng(0)
    rows = [[f"{x:.2f}", f"{2 * x + 1:.1f}", "ab"[int(x > 0)]] for x in rng.standard_normal(80)]
    rows[4][1] = rows[7][2] = ""
    write("t.csv", "abc", rows)
    train(capsys, *FAST)
    assert "80 rows of t.csv, 2 cells filled" in run(capsys, "impute", "run", "--data", "t.csv", "--out", "full.csv")
    names, *full = read("full.csv")
    assert names == list("abc") and full[7][2] in "ab" and float(full[4][1]) == round(float(full[4][1]), 1)
    assert [*full[:4], *full[5:7], *full[8:]] == [*rows[:4], *rows[5:7], *rows[8:]]
    run(capsys, "impute", "run", "--data", "t.csv", "--draw", "--seed", "3", "--out", "full.npz")


def test_one_row_is_scored_and_a_run_without_rows_held_out_says_which_to_measure(home, capsys):
    write("t.csv", "abc", [[*row[:2], "xy"[row[2] % 2]] for row in answers()])
    out = train(capsys, *FAST, "--hold-out", "0")
    assert "60 rows of 3 columns to train on" in out
    assert out.endswith("done; scratchvae evaluate run --split train measures it\n")
    assert "per dimension" not in run(capsys, "evaluate", "run", "--split", "train", "--samples", "5")
    assert train(capsys, *FAST).endswith("done; scratchvae evaluate run measures it\n")
    for n in (1, 2):
        write("new.csv", "abc", [[1, 2, "x"]] * n)
        out = run(capsys, "evaluate", "run", "--data", "new.csv", "--samples", "5", "--rows", "s.csv")
        assert ("active" in out, "standard error" in out, "oddest" in read("s.csv")[0]) == (n > 1,) * 3
        assert np.isfinite(float(read("s.csv")[1][1])) and "level 1: KL" in out and "nan" not in out
        found = json.loads(run(capsys, "evaluate", "run", "--data", "new.csv", "--samples", "5", "--json"))
        assert ("active_units" in found["levels"][0], found["elbo_standard_error"] is not None) == (n > 1,) * 2


def test_options_that_would_do_nothing_are_refused(home, capsys):
    write("t.csv", "abc", answers())
    np.save("x.npy", np.eye(40))
    for data in ("digits", "x.npy"):
        for words in (["--kinds", "a=poisson"], ["--missing", "refuse"]):
            says = run(capsys, "train", "--data", data, "--out", "run", *words, code=2)
            assert f"{words[0]} is only for --likelihood mixed; got bernoulli" in says
    says = train(capsys, "--kinds", "a=poisson,0=gaussian", code=2)
    assert "--kinds must name a column once; got a=poisson,0=gaussian" in says


def test_gradients_are_checked_on_a_table_that_begins_with_zeros(home, capsys):
    rng = np.random.default_rng(1)
    write("t.csv", "ab", [[i % 7, 0 if i < 30 else round(rng.lognormal(1, 1), 2)] for i in range(80)])
    run(capsys, "gradcheck", "--data", "t.csv", *FAST[2:])


def test_the_oddest_cell_is_named(home, capsys):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 3)) @ np.array([[1, 1, 0], [0, 0.2, 0], [0, 0, 1]])
    write("t.csv", "abc", x.round(3).tolist())
    train(capsys, "--epochs", "60", "--latents", "2", "--hidden", "16", "--learning-rate", "0.01")
    write("odd.csv", "cba", [[0.1, 4.0, 0.5], [6.0, 0.2, 0.2], ["", 0.2, 0.2], [0, 0, 0], [0.5, -1, -1]])
    run(capsys, "evaluate", "run", "--data", "odd.csv", "--rows", "s.csv", "--samples", "200")
    names, *rows = read("s.csv")
    found = [dict(zip(names, row)) for row in rows]
    assert found[1]["oddest"] == "c" and found[0]["oddest"] in "ab"
    assert float(found[2]["share_c"]) == 0
    score = [float(row["score"]) for row in found]
    assert max(score[:2]) < min(score[2:]), "the two odd rows"


def test_a_run_reads_a_frame_by_its_names(home, capsys):
    class Frame:
        columns = ["c", "a", "b"]

        def to_numpy(self):
            return np.array([[row[2], row[0], row[1]] for row in answers()])

    write("t.csv", "abc", answers())
    train(capsys, *FAST)
    found = cli.load("run")
    scores = found.log_likelihood(answers(), 20)
    np.testing.assert_array_equal(found.log_likelihood(Frame(), 20), scores)
    assert found.reconstruct(Frame()).shape == found.impute(Frame(), 5).shape == (60, 3)
    assert found.encode(Frame())[0][0].shape == (60, 2) and found.sample(5).shape == (5, 3)
    Frame.columns = ["c", "a", "B"]
    with pytest.raises(ValueError, match="it lacks 'b' and has 'B' besides"):
        found.log_likelihood(Frame())


@pytest.mark.parametrize("content, says", [
    (b"PAR1\x15\0", "is Parquet: save the table as CSV"), (b'{"a": 1}', "is JSON: save the table as CSV"),
    ("größe,b\n1,2\n".encode("latin-1"), "in Excel: CSV UTF-8"), (b"\x89PNG\r\n", "is one picture"),
    (b"My table\na,b\n1,2\n", "if line 1 is a title above the table, take it out")])
def test_other_formats_are_refused_with_what_to_do(home, capsys, content, says):
    (home / "t.csv").write_bytes(content)
    assert says in train(capsys, code=2)


def test_a_workbook_is_refused_with_what_to_do(home, capsys):
    with zipfile.ZipFile("t.csv", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("[Content_Types].xml", "_rels/.rels", "xl/workbook.xml", "xl/worksheets/sheet1.xml"):
            archive.writestr(name, "<xml/>")
    assert "'t.csv': is an Excel workbook: save the sheet as CSV UTF-8" in train(capsys, code=2)


NUMBERS = [f"{0.1 * 1.2 ** i:.1f}" for i in range(4, 43)]
RAIN = np.array([[text] for text in ["0", "0.0", "", *NUMBERS, *["0"] * 20]], object)


def test_many_zeros_are_a_hurdle_and_come_back_as_zeros():
    """The model sees whether a number is above 0, and the number only then; log p is the sum of the two."""
    table = columns.standardised(columns.choose(RAIN, ["rain"], {}, True), RAIN)
    assert [column.kind for column in table.columns] == ["hurdle"] and table.x_dim == 2
    x = table.apply(RAIN, np.float64)
    assert x[:2].tolist()[0][0] == 0 and np.isnan(x[0, 1]) and np.isnan(x[2]).all() and x[3, 0] == 1
    assert np.log(x[3:-20, 1]).mean() == pytest.approx(0, abs=1e-12)
    assert table.invert(x, drawn=True)[:4, 0].tolist() == ["0.0", "0.0", "", "0.2"]
    assert table.invert(np.array([[0.25, 2.0]])) == [[str(0.5 * table.columns[0].scale)]]
    assert table.log_scale(x)[:4].tolist() == [0, 0, 0, np.log(table.columns[0].scale)]
    h = np.array([[0.3, -0.2, 0.1]] * 2)
    parts = [Bernoulli(1).log_prob(x[[0, 3], :1], h[:, :1])[0], LogNormal(1).log_prob(x[[3, 3], 1:], h[:, 1:])[0]]
    assert table.likelihood().log_prob(x[[0, 3]], h)[0] == pytest.approx([parts[0][0], parts[0][1] + parts[1][1]])
    assert columns.choose(np.array([[str(i % 60)] for i in range(240)] + 40 * [["0"]], object), ["minute"], {},
                          True).columns[0].kind == "gaussian", "0 to 59, as often each"
    with pytest.raises(ValueError, match="^row 0, counted from 0: column 'rain' must have numbers .* got '-1'"):
        table.apply([["-1"]])


def test_samples_of_a_hurdle_are_0_as_often_and_each_row_has_one_share(home, capsys):
    rng = np.random.default_rng(1)
    rain = np.where(rng.random(400) < 0.6, 0, rng.lognormal(1, 1, 400)).round(1)
    write("t.csv", ["rain", "warm"], [[cell, f"{warm:.2f}"] for cell, warm in zip(rain, rng.standard_normal(400))])
    assert "hurdle: 'rain'" in train(capsys, "--hidden", "8", "--latents", "2", "--epochs", "60")
    run(capsys, "sample", "run", "--count", "2000", "--out", "new.csv")
    drawn = np.array(read("new.csv")[1:], float)
    assert abs((drawn[:, 0] == 0).mean() - (rain == 0).mean()) < 0.05 and drawn.min(axis=0)[0] == 0
    run(capsys, "evaluate", "run", "--samples", "20", "--rows", "rows.csv")
    assert read("rows.csv")[0][-3:] == ["oddest", "share_rain", "share_warm"]
