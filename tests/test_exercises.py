"""The exercises and their grader (demos/exercises): what is right is accepted, what is wrong is told kindly.

The whole proof, with every mutant of every solution, is a command of its own: python tests/exercises.
"""

import ast
import doctest
import importlib.util
import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "demos" / "exercises"
with pytest.MonkeyPatch.context() as patch:
    for folder in (ROOT / "demos", FOLDER, ROOT / "tests" / "exercises"):
        patch.syspath_prepend(str(folder))
    from gallery.bugs import edited
    from grader import fill, judge
    from grader.table import EXERCISES
    from right import solutions
    spec = importlib.util.spec_from_file_location("exercises", FOLDER / "__main__.py")
    command = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(command)

RIGHT = [(exercise, title, text) for exercise in EXERCISES for title, text in solutions(exercise).items()]
WRONG = [(exercise, title, text) for exercise in EXERCISES for title, text in solutions(exercise, "wrong").items()]
ALONE = ("sys.exit", "the whole process ended", "a loop that never ends", "prints without end", "too much memory")
each_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)


@pytest.fixture
def run(capfd):
    """Run the command, without the second that a new Python takes; return its exit code, and what it says."""
    def call(*arguments):
        try:
            code = command.main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        return (code, *capfd.readouterr())
    return call


def submit(folder, exercise, text):
    path = folder / exercise.file
    path.write_text(text, encoding="utf-8")
    return path


# right and wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize("exercise, title, text", RIGHT, ids=[f"{e.name}: {title}" for e, title, _ in RIGHT])
def test_a_right_solution_is_accepted_however_it_is_written(exercise, title, text, tmp_path):
    verdict = judge.judge(exercise, str(submit(tmp_path, exercise, text)))
    assert verdict.status == "done", verdict.text


@each_exercise
def test_there_are_at_least_five_right_solutions(exercise):
    assert sum(other is exercise for other, _, _ in RIGHT) >= 5


@pytest.mark.parametrize("exercise, title, text", WRONG, ids=[f"{e.name}: {t}" for e, t, _ in WRONG])
def test_a_wrong_solution_is_rejected_with_the_right_words(exercise, title, text, tmp_path):
    name, _, words = title.partition(": ")
    path = submit(tmp_path, exercise, text)
    verdict = judge.grade(exercise, path, seconds=1) if name in ALONE else judge.judge(exercise, str(path))
    assert verdict.status == ("begun" if name == "backward blank" else "wrong")
    assert words and words in verdict.text
    assert "Traceback" not in verdict.text and len(verdict.text) < 2500


def test_mistakes_of_one_part_in_ten_thousand_are_seen(tmp_path):
    exercise = EXERCISES[0]
    text = fill.filled(exercise).replace("+ self.b", "* 1.0001 + self.b")
    assert "Every" not in judge.judge(exercise, str(submit(tmp_path, exercise, text))).text
    assert judge.judge(exercise, str(submit(tmp_path, exercise, text))).status == "wrong"


# what the files and the table say --------------------------------------------------------------


@each_exercise
def test_the_blank_and_the_filled_file(exercise, tmp_path):
    """A blank file is blank, and with the library's bodies it is right, and its numbers by hand are so."""
    assert judge.judge(exercise, str(FOLDER / exercise.file)).status == "blank"
    text = fill.filled(exercise)
    assert judge.judge(exercise, str(submit(tmp_path, exercise, text))).status == "done"
    space = {}
    exec(compile(text, exercise.file, "exec"), space)
    numbers = doctest.DocTestParser().get_doctest(ast.get_docstring(ast.parse(text)), space, exercise.name, None, 0)
    assert len(numbers.examples) >= 2 or exercise.name[3:] in ("vae", "hvae_backward")
    assert doctest.DocTestRunner().run(numbers).failed == 0


@each_exercise
def test_the_solution_is_the_library_s_text(exercise):
    tree = ast.parse(fill.filled(exercise))
    blank = ast.parse(fill.blank(exercise))
    for target, code in zip(exercise.targets, exercise.solutions()):
        ours, theirs = fill.function(tree, target), ast.parse(fill.textwrap.dedent(inspect.getsource(code))).body[0]
        assert [ast.dump(line) for line in fill.body(ours)] == [ast.dump(line) for line in fill.body(theirs)]
        assert [a.arg for a in fill.function(blank, target).args.args] == [a.arg for a in theirs.args.args]


@each_exercise
def test_every_entry_that_is_worked_out_adds_up_to_the_library_s(exercise):
    shown = 0
    for case in exercise.cases():
        results = case.run(exercise.library(), **judge.explain.copies(case))
        for name, value in results.items():
            value = np.asarray(value, float)
            for at in list(np.ndindex(value.shape))[:6] if name in case.terms else []:
                terms = case.terms[name](*at)
                assert sum(term[2] for term in terms) == pytest.approx(value[at], rel=1e-9, abs=1e-9)
                shown += 1
    assert shown > 10


@each_exercise
def test_every_mistake_of_the_table_can_still_be_made(exercise):
    for bug in exercise.bugs():
        assert edited(bug)
    assert len({bug.name for bug in exercise.bugs()}) == len(exercise.bugs())


@each_exercise
def test_hints_and_titles(exercise):
    assert len(exercise.hint.split()) > 10 and len(exercise.title) > 3
    text = fill.blank(exercise)
    assert " ".join(exercise.hint.split())[:60] not in " ".join(text.split())
    number = int(exercise.name[:2])
    assert text.startswith(f'"""Exercise {number}: ') and f"python demos/exercises --hint {number}\n" in text
    assert "scratchvae/" in exercise.source()


def test_a_mistake_that_is_not_known_here_is_taken_to_the_diagnosis(tmp_path, monkeypatch):
    """Where scratchvae.diagnose is there; without it, or with one that fails, the rest is said all the same."""
    asked = []

    def diagnose_function(forward, backward, *inputs, names, name):
        asked.append((name, names, forward(*inputs)[0].shape, backward(np.ones((2, 3)), forward(*inputs)[1])))
        finding = types.SimpleNamespace(kind="a kind", says="it says so", hint="do this")
        return types.SimpleNamespace(findings=[finding])

    exercise = EXERCISES[5]
    path = str(submit(tmp_path, exercise, fill.filled(exercise).replace("offset / 2", "offset ** 2 / 2")))
    for tool, words in ((None, ""), (types.SimpleNamespace(), ""),
                        (types.SimpleNamespace(diagnose_function=diagnose_function),
                         "What it looks like: it says so. Instead: do this.")):
        monkeypatch.setitem(sys.modules, "scratchvae.diagnose", tool)
        verdict = judge.judge(exercise, path)
        assert verdict.text.startswith("dlogvar is not right yet: 6 of its 6 entries are wrong")
        assert ("looks like" in verdict.text) == bool(words) and words in verdict.text
    assert asked[0][:3] == ("sample_backward", ("mu", "logvar"), (2, 3))


@pytest.mark.skipif(importlib.util.find_spec("scratchvae.diagnose") is None, reason="no scratchvae.diagnose here")
@pytest.mark.parametrize("k, old, new", [(1, "x.T, dy", "x.T ** 2, dy"), (2, "1 - y * y", "(1 - y * y) ** 2"),
                                         (5, "offset / 2", "offset ** 2 / 2"), (10, "+ dq_k", "+ dq_k ** 2"),
                                         (11, "dz_p[t] + dz_k[t]", "dz_p[t] ** 2 + dz_k[t]")])
def test_the_diagnosis_of_the_library_is_asked_as_it_wants_to_be(k, old, new, tmp_path, monkeypatch):
    failed = []
    monkeypatch.setattr(judge.explain, "diagnosed", lambda case, code: failed.append(  # without the guard around it
        case.diagnose(code, importlib.import_module("scratchvae.diagnose"), **judge.explain.copies(case)).ok) or "")
    text = fill.filled(EXERCISES[k])
    assert old in text
    judge.judge(EXERCISES[k], str(submit(tmp_path, EXERCISES[k], text.replace(old, new))))
    assert failed == [False]


# what a file may do ----------------------------------------------------------------------------


@pytest.mark.parametrize("text, status, words", [
    ("", "blank", "The file has no code."), ("# later\n", "blank", "The file has no code."),
    ("x = 1\n", "wrong", "no function Dense.forward any more. Keep the line `def forward(...)` as it was."),
    ("\xff\xfe", "wrong", "cannot be read as text"),
    ("x = 1\0", "wrong", "null"),
    ("import nothing_of_this_name\nclass Dense:\n    def forward(self, x):\n        return x\n", "wrong", "in line 1"),
    ("class Dense:\n    def forward(self, x):\n        pass\n", "blank", "nothing is written yet"),
    ("class Dense:\n    def forward(self, x):\n        '''Do.'''\n        raise NotImplementedError('later')\n",
     "blank", ""),
    ("class Dense:\n    def __init__(self):\n        pass\n    def forward(self, x):\n        return x @ self.W\n",
     "wrong", "raises TypeError"),
    ("def Dense(*args):\n    return None\n", "wrong", "has no function Dense.forward"),
    ("class Dense:\n    def forward(self, x):\n        return 1\nDense = 3\n", "wrong", "not a function of this file"),
], ids=range(11))
def test_strange_files(text, status, words, tmp_path):
    path = tmp_path / "01_dense_forward.py"
    path.write_bytes(text.encode("latin-1"))
    verdict = judge.judge(EXERCISES[0], str(path))
    assert verdict.status == status and words in verdict.text


def test_the_mark_that_some_editors_put_in_front_of_a_file_is_no_mistake(tmp_path):
    path = tmp_path / "01_dense_forward.py"
    path.write_text(fill.filled(EXERCISES[0]), encoding="utf-8-sig")
    assert path.read_bytes().startswith(b"\xef\xbb\xbf") and judge.judge(EXERCISES[0], str(path)).status == "done"


def test_what_was_not_graded_is_not_called_right(tmp_path):
    text = fill.blank(EXERCISES[4]).replace("raise NotImplementedError", "return 7 + 0 * x")
    text = text.replace("return 7 + 0 * x", "raise NotImplementedError", 1)
    verdict = judge.judge(EXERCISES[4], str(submit(tmp_path, EXERCISES[4], text)))
    assert verdict.status == "blank"
    assert verdict.text == "softplus: nothing is written yet. Write it first: sigmoid is graded after it."


def test_the_library_s_solution_under_another_name_is_not_accepted(tmp_path):
    text = fill.blank(EXERCISES[2]).replace("raise NotImplementedError", "return layers.Tanh().forward(x)", 1)
    text = text.replace("raise NotImplementedError", "return layers.Tanh().backward(dy, cache)")
    assert "the library's own solution" in judge.judge(EXERCISES[2], str(submit(tmp_path, EXERCISES[2], text))).text
    before = EXERCISES[2].solutions()[0].__code__
    assert before.co_name == "forward"                 # the library is whole again


@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_processes_of_either_kind(way, tmp_path, monkeypatch):
    if way == "fork" and not hasattr(os, "fork"):
        pytest.skip("there is no fork here")
    monkeypatch.setattr(judge, "FORK", way)
    monkeypatch.setattr(sys, "path", [str(ROOT), str(ROOT / "demos"), str(FOLDER), *sys.path])
    text = fill.filled(EXERCISES[0]).replace("return x @", "print('here I am')\n        return x @")
    verdict = judge.grade(EXERCISES[0], submit(tmp_path, EXERCISES[0], text), seconds=60)
    assert verdict.status == "done" and "here I am" in verdict.printed


# the command -----------------------------------------------------------------------------------


def test_blank_files_fail_politely():
    done = subprocess.run([sys.executable, str(FOLDER)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1 and done.stderr == ""
    assert "0 of 13 done." in done.stdout and done.stdout.count("not begun") == 14
    assert "Nothing is written yet, so there is nothing wrong yet either." in done.stdout


def test_filled_from_the_library_all_are_done(run, tmp_path):
    assert run("--fill", tmp_path)[0] == 0
    code, out, _ = run("--folder", tmp_path)
    assert code == 0 and "13 of 13 done." in out and "Well done" in out
    code, out, _ = run("--folder", tmp_path, "tanh")
    assert code == 0 and "Compare it with the library's own: scratchvae/layers.py, Tanh.forward" in out


@pytest.mark.parametrize("option", ["--fill", "--start"])
def test_nobody_s_work_is_overwritten(option, run, tmp_path):
    (tmp_path / "03_tanh.py").write_text("my work")
    code, _, err = run(option, tmp_path)
    assert code == 1 and "nothing was written" in err
    assert [path.name for path in tmp_path.iterdir()] == ["03_tanh.py"]
    assert (tmp_path / "03_tanh.py").read_text() == "my work"


def test_blank_copies_are_blank_and_say_how_to_grade_them(run, tmp_path):
    folder = tmp_path / "my"
    assert run("--start", folder)[0] == 0
    copies = [(folder / exercise.file).read_text() for exercise in EXERCISES]
    assert [text.replace(f"--folder {folder} ", "") for text in copies] == list(map(fill.blank, EXERCISES))
    assert f"Grade it:  python demos/exercises --folder {folder} 1 " in copies[0]


def test_a_terminal_without_greek_letters(tmp_path):
    text = fill.filled(EXERCISES[12]).replace("x -= w", "x += w")
    submit(tmp_path, EXERCISES[12], text)
    done = subprocess.run([sys.executable, str(FOLDER), "13", "--folder", str(tmp_path)], capture_output=True,
                          timeout=100, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 1 and b"-learning_rate" in done.stdout and b"Traceback" not in done.stderr


def test_only_the_first_that_is_wrong_is_shown_and_one_may_start_in_the_middle(run, tmp_path):
    for exercise in EXERCISES[:4]:
        submit(tmp_path, exercise, fill.filled(exercise))
    for exercise in (EXERCISES[2], EXERCISES[4]):
        submit(tmp_path, exercise, list(solutions(exercise, "wrong").values())[0])
    code, out, _ = run("--folder", tmp_path, 1, 2, 3, 4, "softplus")
    assert code == 1 and "3 of 5 done." in out
    assert "03_tanh: not right yet." in out and "05_softplus: not" not in out
    code, out, _ = run("--folder", tmp_path, 1, 2, 3, 4, 5, "--from", "4")
    assert code == 1 and "1 of 2 done." in out and "05_softplus: not right yet." in out and "03_tanh" not in out
    assert run("--folder", tmp_path, "2", "04_relu.py")[1].endswith("file by file.\n")


def test_what_a_file_prints_is_shown(run, tmp_path):
    text = fill.filled(EXERCISES[0]).replace("return x @", "print('\\n'.join(map(str, range(12))))\n        return x @")
    submit(tmp_path, EXERCISES[0], text.replace("+ self.b", ""))
    code, out, _ = run("1", "--folder", tmp_path)
    assert code == 1 and "Your file printed:\n        0\n        1\n" in out and "lines or more" in out


def test_hints_are_given_when_asked_for_and_not_before(run):
    code, out, _ = run("--hint", "dense_backward")
    assert code == 0 and "W[k, j]. It meets x[i, k]" in " ".join(out.split())
    assert "It meets" not in run("2")[1]


@pytest.mark.parametrize("arguments, words", [
    (["--hint", "99"], "there is no exercise '99'; take a number from 1 to 13"), (["nothing"], "there is no exercise"),
    (["--folder", "/no/such/folder"], "there is no folder"), (["--seconds", "soon"], "a number of seconds"),
    (["--seconds", "nan"], "a number of seconds"), (["--seconds", "0"], "above 0"),
    (["1", "--from", "4"], "stand before"), (["--no-such"], "--no-such"),
])
def test_a_command_that_cannot_be_understood(arguments, words, run):
    code, _, err = run(*arguments)
    assert code == 2 and words in err and "Traceback" not in err


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is sent as a signal")
def test_watching(tmp_path):
    """A file is graded again when it is saved; Ctrl-C ends it; all done ends it too."""
    exercise = EXERCISES[2]
    shutil.copy(FOLDER / exercise.file, tmp_path)
    watching = [sys.executable, str(FOLDER), "--watch", "3", "--folder", str(tmp_path)]
    seen = tmp_path / "seen"
    for last in ("Ctrl-C", "all done"):
        with seen.open("w") as file, subprocess.Popen(watching, stdout=file, stderr=subprocess.STDOUT) as process:
            try:
                wait_for(seen, "Watching; save a file")
                if last == "all done":
                    submit(tmp_path, exercise, fill.filled(exercise))
                else:
                    process.send_signal(signal.SIGINT)
                code = process.wait(timeout=60)
            finally:
                process.kill()                         # of no effect where it has ended
        assert (code, "03_tanh: done." in seen.read_text()) == ((0, True) if last == "all done" else (1, False))
        assert "Traceback" not in seen.read_text()


def wait_for(path, words):
    end = time.monotonic() + 60
    while words not in path.read_text():
        assert time.monotonic() < end, path.read_text()
        time.sleep(0.05)


def test_the_grader_imports_nothing_but_the_product_s_packages():
    allowed = {"numpy", "scratchvae", "gallery", "grader", *sys.stdlib_module_names}
    for path in [*FOLDER.glob("*.py"), *FOLDER.glob("grader/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.module.split(".")[0] in allowed, path
            elif isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed, path


@pytest.mark.slow
def test_the_command_that_puts_the_grader_to_the_test():
    pytest.importorskip("mutmut")
    done = subprocess.run([sys.executable, str(ROOT / "tests" / "exercises"), "dense_forward", "kl_standard"],
                          capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"2 exercises, \d+ mutants: \d+ rejected, 1 equivalent; 11 of 11 right solutions accepted; 0 f",
                     done.stdout)


def test_the_readme_names_commands_that_exist(run):
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    known = run("--help")[1]
    assert {flag for flag in re.findall(r"exercises (--\w+)", text)} <= set(re.findall(r"--\w+", known))
    assert f"{len(EXERCISES)} exercises" in text
