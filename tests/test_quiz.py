"""The quiz (demos/quiz.py): every bug can be asked, every way of answering is understood, and the sheet is complete."""

import importlib
import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")
DEMOS = Path(__file__).parents[1] / "demos"
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(DEMOS))
    quiz, symptoms = importlib.import_module("quiz"), importlib.import_module("gallery.symptoms")

CURVE = [-40.0 + k for k in range(20)]
RUNS = [symptoms.Run(name, CURVE, [-20.0, *kl], -20.5, np.full((6, 64), 0.5), "")
        for name, kl in (("VAE, tanh, Adam", [2.0]), ("VAE, SGD", [2.0]), ("hierarchy", [1.0, 1.0]))]
BROKEN = [*RUNS[:2], symptoms.Run("hierarchy", CURVE[:3] + [-1e18], [], np.nan, None, "the ELBO became nan")]


@pytest.fixture
def play(monkeypatch, capsys):
    """Play a question with these lines of input, without the training; return exit code, and what was printed."""
    def call(*lines, seed=7, caught=None):
        monkeypatch.setattr(quiz, "observe", lambda: RUNS)
        monkeypatch.setattr(quiz, "observe_with", lambda bug: BROKEN)
        monkeypatch.setattr(quiz, "catch", lambda bug: caught or [False] * 4 + [True] + [False] * 6)
        monkeypatch.setattr(quiz, "write_figure", lambda folder, *runs: folder / "quiz.png")
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        return quiz.main(["--seed", str(seed)]), capsys.readouterr().out
    return call


def answers(seed=7):
    """Return the letter of the right file, and that of the right answer."""
    question = quiz.ask(seed)
    return "abcdefghij"[quiz.FILES.index(question.bug.module)], "abcdefghij"[question.right]


def test_every_bug_is_asked_and_no_answer_stands_twice():
    for on_paper in (False, True):
        found = {}
        for seed in range(600):
            question = quiz.ask(seed, on_paper)
            found[question.bug.name] = question
            assert len(set(question.options)) == len(question.options) >= 3
            assert question.options[question.right] == question.bug.story
        assert set(found) == {bug.name for bug in quiz.BUGS}
    assert quiz.ask(5) == quiz.ask(5)


def test_decoys_are_no_bugs():
    stories = {bug.story for bug in quiz.BUGS}
    assert set(quiz.DECOYS) <= set(quiz.FILES)
    assert not stories & {story for more in quiz.DECOYS.values() for story in more}


def test_right_at_once(play):
    where, what = answers()
    code, out = play(where, what)
    assert code == 0 and "figure: out/quiz.png" in out.replace("\\", "/") and "Right. 12 of 12 points." in out
    assert "It is: Adam's betas swapped." in out and "- m *= self.beta1" in out and "+ m *= self.beta2" in out
    assert "Caught by this check alone: steps by hand." in out


def test_checks_and_wrong_answers_cost_and_are_not_charged_twice(play):
    where, what = answers()
    wrong_file, wrong = next(c for c in "ab" if c != where), next(c for c in "ab" if c != what)
    code, out = play("5", "check 5", "gradient", wrong_file, wrong_file, where, wrong, what)
    assert "steps by hand: it CATCHES the bug. 11 points left." in out
    assert "steps by hand: it CATCHES the bug. You knew." in out
    assert "gradient: it passes, and sees nothing. 10 points left." in out
    assert "is as it should be. 7 points left." in out and "You have tried that one already" in out
    assert "No, that is not it. 5 points left." in out and "Right. 5 of 12 points." in out


def test_points_do_not_fall_below_zero(play):
    where, _ = answers()
    _, out = play(*[c for c in "abcdefgh" if c != where], "3")
    assert "0 points left." in out and "-" not in "".join(re.findall(r"(\S+) points left", out))


def test_bad_input_gets_a_sentence_and_the_end_of_input_is_polite(play):
    code, out = play("eleven", "0", "12", "z", "", "²", "layers.py", "help", "symptoms", "samples")
    assert code == 0 and out.count("is not a choice here. Say a number from 1 to 11 for a check") == 5
    assert "'eleven' is not" in out and "layers.py is as it should be" in out
    assert "none: training broke down" in out and "Training broke down: the ELBO became nan." in out
    assert out.rstrip().endswith("There is no more input, so the quiz ends here. The same again: --seed 7")


def test_giving_up(play):
    code, out = play("give up")
    assert code == 0 and "It is: Adam's betas swapped." in out


@pytest.mark.parametrize("arguments, words", [
    (["--seed", "-1"], "at least 0"), (["--seed", "x"], "--seed"), (["--n", "0"], "from 1 to"),
    (["--n", "99"], "from 1 to"),
    (["--sheet", "quiz.doc"], "should end in .pdf, .md or .txt"),
])
def test_bad_arguments(arguments, words, capsys):
    with pytest.raises(SystemExit) as end:
        quiz.main(arguments)
    assert end.value.code == 2 and words in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["txt", "md", "pdf"])
def test_the_sheet_and_the_solutions_apart(suffix, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quiz, "observe", lambda: RUNS)
    monkeypatch.setattr(quiz, "observe_with", lambda bug: BROKEN)
    monkeypatch.setattr(quiz, "catch", lambda bug: [name in ("densities", "data") for name in quiz.NAMES])
    path = tmp_path / "out" / f"quiz.{suffix}"
    n = 1 if suffix == "pdf" else 2                    # a page takes a second to draw
    assert quiz.main(["--seed", "7", "--n", str(n), "--sheet", str(path)]) == 0
    solutions = path.with_name(f"quiz_solutions.{suffix}")
    assert str(solutions) in capsys.readouterr().out
    if suffix == "pdf":
        assert path.read_bytes().startswith(b"%PDF") and path.stat().st_size > 10_000 < solutions.stat().st_size
        assert path.read_bytes().count(b"/Type /Page ") == n
        return
    sheet, key = path.read_text(), solutions.read_text()
    for question in quiz.questions(7, 2):
        assert all(" ".join(story.split()) in " ".join(sheet.split()) for story in question.options)
        assert all(" ".join(check.__doc__.split()) in " ".join(sheet.split()) for check in quiz.CHECKS.values())
        assert question.bug.name in key and question.bug.name not in sheet
    assert key.count("CATCHES") == 4 and key.count("passes") == 18 and "CATCHES" not in sheet
    assert "densities: CATCHES" in key and "Caught by these checks: densities, data." in key


def test_a_sheet_that_cannot_be_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quiz, "observe", lambda: RUNS)
    (tmp_path / "file").write_text("")
    assert quiz.main(["--sheet", str(tmp_path / "file" / "quiz.txt")]) == 1
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.slow
def test_what_training_shows():
    """The library as it is learns; a bug that breaks it shows; the same bug shows the same."""
    healthy, bug = symptoms.observe(), next(bug for bug in quiz.BUGS if bug.name == "Adam's betas swapped")
    assert all(run.curve[-1] > run.curve[0] and run.log_p >= run.parts[0] - sum(run.parts[1:]) for run in healthy)
    sick = symptoms.observe_with(bug)
    assert sick[0].curve[-1] < -1000 and sick[2].note and sick[1].curve == healthy[1].curve


@pytest.mark.slow
def test_the_command_through_a_pipe(tmp_path):
    where, what = answers()
    done = subprocess.run([sys.executable, str(DEMOS / "quiz.py"), "--seed", "7"], input=f"5\n{where}\n{what}\n",
                          capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0 and done.stderr == "" and "Right. 11 of 12 points." in done.stdout
    assert (tmp_path / "out" / "quiz.png").stat().st_size > 10_000
