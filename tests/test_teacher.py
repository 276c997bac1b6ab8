"""For a teacher (demos/teacher.py): notebooks, sheets, and the scores of a class."""

import ast
import csv
import html
import importlib
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
DEMOS = Path(__file__).parents[1] / "demos"
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(DEMOS))
    teacher = importlib.import_module("teacher")
LESSONS = sorted(DEMOS.glob("[0-9]*.py"))


def code(notebook):
    return [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_notebooks_have_their_options_at_the_top(tmp_path, capsys):
    assert teacher.main(["notebooks", str(tmp_path)]) == 0 and f"{len(LESSONS)} notebooks" in capsys.readouterr().out
    for path in LESSONS:
        notebook = json.loads((tmp_path / f"{path.stem}.ipynb").read_text(encoding="utf-8"))
        for cell in code(notebook):
            compile(cell, path.stem, "exec")
        if path.stem != "00_one_page":
            assert "\nSEED = 0\n" in code(notebook)[0]
            assert any("seed=SEED" in cell and "lesson.parse(" in cell for cell in code(notebook))
    notebook = json.loads((tmp_path / "03_autoencoder.ipynb").read_text(encoding="utf-8"))
    assert "BETA = 1.0" in code(notebook)[0] and notebook["cells"][1]["source"].startswith("# 3. Why not")


def test_an_option_at_the_top_is_obeyed(tmp_path, monkeypatch, capsys):
    """The cells of lesson 1, one after the other, with another target."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["kernel"])
    first, *rest = code(teacher.notebook(DEMOS / "01_backprop_by_hand.py", tmp_path))
    space = {"__name__": "__main__"}
    exec(first.replace("TARGET = 2.0", "TARGET = 1.0"), space)
    for cell in rest:
        exec(cell, space)
    assert "loss = 2.25" in capsys.readouterr().out
    sys.path.pop(0)


@pytest.mark.parametrize("stem, name, value, words", [
    ("02_gradient_check", "FORMAT", "gif", "FORMAT: invalid choice: 'gif' (choose from"),
    ("02_gradient_check", "ACTIVATION", "sine", "ACTIVATION: invalid choice: 'sine' (choose from"),
    ("03_autoencoder", "EPOCHS", 0, "EPOCHS must be at least 1"),
    ("03_autoencoder", "SEED", -1, "SEED: it must be a whole number of at least 0; got '-1'"),
    ("03_autoencoder", "BETA", "much", "BETA: invalid float value: 'much'"),
    ("05_bound", "LATENTS", 9, "LATENTS must lie between 1 and 5"),
    ("09_consistency", "SEEDS", 0, "SEEDS must be at least 1"),
    ("14_importance", "DRAWS", [1, "x"], "DRAWS: invalid int value: 'x'"),
])
def test_a_bad_option_at_the_top_is_told_by_its_name(stem, name, value, words, capsys):
    first, *rest = code(teacher.notebook(DEMOS / f"{stem}.py", DEMOS))
    changed = re.sub(rf"^{name} = .*", f"{name} = {value!r}", first, flags=re.MULTILINE)
    assert changed != first
    space = {"__name__": "__main__"}
    with pytest.raises(SystemExit) as end, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        for cell in (changed, *rest):
            exec(cell, space)
    assert str(end.value).startswith(words) and capsys.readouterr().err == ""


@pytest.mark.parametrize("path", [path for path in LESSONS[1:] if path.stem != "10_bugs"], ids=lambda path: path.stem)
def test_the_options_at_the_top_are_the_lesson_s_own(path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["kernel", "--not-an-option-of-the-lesson"])
    space = {"__name__": "__main__"}
    for cell in code(teacher.notebook(path, DEMOS)):
        exec(cell, space)
        if "args" in space:
            break
    assert vars(space["args"]) == teacher.options(path.read_text(encoding="utf-8"))


def test_sheets_are_blank_and_solutions_apart(tmp_path):
    assert teacher.main(["sheets", str(tmp_path)]) == 0
    sheets = {path.stem: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.html")}
    assert sorted(sheets) == ["exercises", "exercises_solutions", "lesson_1", "lesson_1_solution"]
    assert "loss = ______" in sheets["lesson_1"] and "loss = 0.75" in sheets["lesson_1_solution"]
    blanks = re.findall("__+", sheets["lesson_1"])
    assert blanks.count("_" * 6) == 43 + 6 and len(blanks) == 43 + 6 * 4      # of one width; and six sums of three
    assert not re.search("(y|h|da|dW1|dW2) = +-?[0-9]", sheets["lesson_1"]) and "     -1.5\n" in sheets["lesson_1"]
    assert all(rule in sheets["lesson_1"] for rule in ("a = x W1 + b1", "dW2 = hᵀ dy", "dW2[j] = Σ h_j · (y - t)"))
    assert "raise NotImplementedError" in sheets["exercises"]
    assert "NotImplementedError" not in sheets["exercises_solutions"]
    assert all(f"({minutes} minutes)" in sheets["exercises"] for minutes in teacher.MINUTES)
    assert "def bound(self, x: Array, noise" in sheets["exercises"]              # which exercise 12 says to read
    assert "MATH.md" in sheets["exercises_solutions"]


def test_a_sheet_has_all_of_the_exercise_s_text():
    """No word is lost where paragraphs are set anew, and no line of what is indented."""
    for exercise in teacher.EXERCISES:
        text = ast.get_docstring(ast.parse(teacher.blank(exercise)))
        page = teacher.paragraphs(text)
        assert html.unescape(re.sub("<.*?>", " ", page)).split() == text.split()
        assert "<p> " not in page and all(html.escape(line.strip()) in page for line in text.splitlines())


def test_the_parameters_and_the_adam_of_the_sheets_are_right(tmp_path, monkeypatch):
    space = {"__name__": "__main__"}
    monkeypatch.setattr(sys, "path", list(sys.path))
    for cell in code(teacher.notebook(DEMOS / "01_backprop_by_hand.py", DEMOS))[:3]:
        exec(cell, space)
    given = teacher.RULES.split("\n\n")[1]
    numbers = [float(number) for number in re.findall(r"(?<=[ =])-?[0-9][0-9.]*", re.sub("[Wb][12]", "", given))]
    (w11, w12), (w21, w22), ((v1,), (v2,)), (b1, b2), (c,) = *space["W1"], space["W2"], space["b1"], space["b2"]
    assert numbers == [w11, w12, b1, b2, v1, c, w21, w22, v2]
    assert teacher.main(["sheets", str(tmp_path)]) == 0
    sheet = (tmp_path / "exercises_solutions.html").read_text(encoding="utf-8")
    solution = tmp_path / "13_adam.py"
    solution.write_text(html.unescape(re.findall("<pre>(.*?)</pre>", sheet, re.DOTALL)[-1]), encoding="utf-8")
    assert teacher.grade(teacher.EXERCISES[-1], solution).status == "done"


def test_the_minutes_are_those_of_the_readme():
    rows = re.findall(r"^\| [\d, ]+ \|.*\| ([\d, ]+) \|$",
                      (DEMOS / "exercises" / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert tuple(int(minutes) for row in rows for minutes in row.split(", ")) == teacher.MINUTES
    assert len(teacher.MINUTES) == len(teacher.EXERCISES)
    for path in (DEMOS / "README.md", DEMOS / "exercises" / "README.md"):
        assert f" {sum(teacher.MINUTES)} " in path.read_text(encoding="utf-8")


def test_scores_of_three_students(tmp_path, capsys):
    """One is right, one has done little, one is wrong once and writes nonsense once."""
    for name in ("ada", "bob", "cem"):
        (tmp_path / "class" / name).mkdir(parents=True)
    for exercise in teacher.EXERCISES[:4]:
        text = teacher.filled(exercise)
        (tmp_path / "class" / "ada" / exercise.file).write_text(text, encoding="utf-8")
        wrong = text.replace("x.T, dy, out", "x.T, 2 * dy, out") if exercise.name != "04_relu" else "def relu(:"
        (tmp_path / "class" / "cem" / exercise.file).write_text(wrong, encoding="utf-8")
    blank = teacher.blank(teacher.EXERCISES[0])
    (tmp_path / "class" / "bob" / teacher.EXERCISES[0].file).write_text(blank, encoding="utf-8")
    assert teacher.main(["scores", str(tmp_path / "class"), "--csv", str(tmp_path / "scores.csv")]) == 0
    with (tmp_path / "scores.csv").open(encoding="utf-8") as file:
        rows = {row[0]: row[1:5] + row[-1:] for row in csv.reader(file)}
    assert rows["ada"] == ["done"] * 4 + ["4"] and rows["bob"] == ["-"] * 4 + ["0"]
    assert rows["cem"] == ["done", "wrong", "done", "wrong", "2"] and rows["done by"] == ["2", "1", "2", "1", "6"]
    assert "ada" in capsys.readouterr().out


def test_what_is_not_graded_is_told(tmp_path, capsys):
    """Files one folder deeper, a copy with another name, and folders that are no students'."""
    folder = tmp_path / "class"
    for name in (".git", "__MACOSX", "bob", "eve/my"):
        (folder / name).mkdir(parents=True)
    for exercise in teacher.EXERCISES[:2]:
        (folder / "eve" / "my" / exercise.file).write_text(teacher.filled(exercise), encoding="utf-8")
    (folder / "bob" / "01_dense_forward (1).py").write_text("", encoding="utf-8")
    (folder / "bob" / teacher.EXERCISES[1].file).write_text("", encoding="utf-8")
    assert teacher.main(["scores", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert re.findall(r"^\S+", out, re.MULTILINE)[:4] == ["student", "bob", "eve", "done"] and "wrong " not in out
    assert err.splitlines() == [
        "bob: not graded, as no exercise has such a name: 01_dense_forward (1).py",
        f"eve: exercises in {folder / 'eve' / 'my'} (2) are not graded; they must be directly in {folder / 'eve'}"]
    assert "part: right so far" in out and f'demos/exercises --folder "{folder / "bob"}" 2' in out


@pytest.mark.parametrize("arguments, words", [
    (["scores", ".", "--seconds", "0"], "argument --seconds: a number of seconds above 0"),
    (["scores", ".", "--csv", "nodir/s.csv"], "argument --csv: a file in a folder that exists is needed; got 'nodir/"),
    (["scores", ".", "--csv", "."], "argument --csv: a file in a folder that exists is needed; got '.'"),
    (["sheets", "file"], "argument folder: a folder to write into is needed; got file"),
    (["notebooks", "file"], "argument folder: a folder to write into is needed; got file"),
    (["sheets", "out", "--csv", "s.csv"], "unrecognized arguments: --csv"),
])
def test_a_command_that_cannot_be_done_is_refused_at_once(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    with pytest.raises(SystemExit) as end:
        teacher.main(arguments)
    assert end.value.code == 2 and words in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_without_students_is_told(tmp_path, capsys):
    assert teacher.main(["scores", str(tmp_path / "nowhere")]) == 2
    assert "must have a folder for each student" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_notebook_runs_and_shows_its_figure(path, tmp_path):
    if not all(importlib.util.find_spec(name) for name in ("nbconvert", "ipykernel")):
        pytest.skip("nbconvert and ipykernel are needed: pip install nbconvert ipykernel")
    text = json.dumps(teacher.notebook(path, tmp_path)).replace("\\nEPOCHS = ", "\\nEPOCHS = 2  # instead of ")
    (tmp_path / "lesson.ipynb").write_text(text, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--output", "done",
                    "lesson.ipynb"], cwd=tmp_path, check=True, timeout=900)
    done = (tmp_path / "done.ipynb").read_text(encoding="utf-8")
    assert path.stem == "00_one_page" or '"image/png"' in done
