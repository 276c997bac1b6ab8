"""For a teacher: the lessons as notebooks, sheets to print, and a table of the scores of a class.

    python demos/teacher.py notebooks out/notebooks    # an .ipynb of each lesson; its options are variables at the top
    python demos/teacher.py sheets out/sheets          # HTML to print: lesson 1 blank and filled, exercises, solutions
    python demos/teacher.py scores submissions         # grades submissions/ada, submissions/bob, ...
    python demos/teacher.py scores submissions --csv scores.csv

The notebooks need Jupyter (pip install jupyter).  They find the lessons from the folder that they are written to: run
them there.
"""

from __future__ import annotations

import argparse
import ast
import csv
import inspect
import json
import os
import re
import subprocess
import sys
import textwrap
from collections import Counter
from html import escape
from pathlib import Path

import lesson

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "exercises"), str(HERE), str(HERE.parent)]

from grader.fill import blank, filled
from grader.judge import SECONDS, grade, seconds
from grader.table import EXERCISES

MINUTES = (5, 15, 8, 8, 15, 10, 20, 10, 20, 15, 25, 30, 15)    # for each exercise, by hand and in NumPy: estimates
MARKS = {"done": "done", "begun": "part", "wrong": "wrong", "blank": "-"}
LEGEND = """done: right.  part: right so far, but one of its two functions is not written yet.  wrong: not right yet.
-: nothing is written, or there is no file.  To see why, name the student's folder and the exercise:
    python demos/exercises --folder "{}" 2"""
STYLE = """body { font: 11pt/1.4 Georgia, serif; max-width: 50em; margin: 2em auto; padding: 0 1em }
pre { font: 7.2pt/1.35 "DejaVu Sans Mono", monospace; white-space: pre-wrap; overflow-wrap: anywhere }
h1 { margin: 0 } h2 { margin-bottom: 0; break-after: avoid } p { margin: 0.4em 0 } section { break-after: page }
pre, .write { break-inside: avoid } .write { border: 1px solid #999 }
.rules, .board pre { font-size: 9.5pt } .two { display: grid; grid-template-columns: 1fr 1fr; gap: 2em }
.blank pre { line-height: 2.2 }
@page { size: A4; margin: 12mm } @media print { body { margin: 0; padding: 0; max-width: none } }"""
RULES = """Forward:   a = x W1 + b1,  h = max(a, 0),  y = h W2 + b2,  loss = Σ (y - t)²/2
Backward:  dy = y - t,  dh = dy W2ᵀ,  da = dh where a > 0, and 0 elsewhere,
           dW2 = hᵀ dy,  db2 = Σ dy,  dW1 = xᵀ da,  db1 = Σ da
Σ is the sum over the three examples.

W1 = 1    -1      b1 = 0  0.5      W2 =  2      b2 = 0.5
     0.5   1                            -1"""
BY_WEIGHT = ("Weight by weight: dW1[i, j] = Σ x_i · [a_j > 0] · W2[j] · (y - t), and dW2[j] = Σ h_j · (y - t). "
             "[a_j > 0] is 1 where a_j > 0, and 0 elsewhere.")
ADAM = """if self.m is None:
    self.m, self.v = np.zeros_like(theta), np.zeros_like(theta)
self.t += 1
self.m += (1 - self.beta1) * (gradient - self.m)
self.v += (1 - self.beta2) * (gradient ** 2 - self.v)
m, v = self.m / (1 - self.beta1 ** self.t), self.v / (1 - self.beta2 ** self.t)
theta -= self.learning_rate * m / (np.sqrt(v) + self.epsilon)
# The library's form, made for speed: scratchvae/train/optim.py"""


# Notebooks ---------------------------------------------------------------------------------------


def options(source: str) -> dict[str, object]:
    """Return the options of a lesson and their defaults, from its own parser."""
    tree, space = ast.parse(source), {"lesson": lesson}
    for node in tree.body:                             # parser = lesson.options(...), parser.add_argument(...), ...
        if ast.unparse(node).startswith("parser"):
            exec(ast.unparse(node), space)
    call = next(node for node in ast.walk(tree)
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "lesson.parse")
    return vars(eval(ast.unparse(call.args[0]), space).parse_args([]))


def notebook(path: Path, folder: Path) -> dict:
    """Return a lesson as a notebook: what `json` writes into an .ipynb file."""
    source = path.read_text(encoding="utf-8")
    first = ["import sys", f"sys.path.insert(0, {os.path.relpath(HERE, folder)!r})",
             f"__file__ = sys.path[0] + '/{path.name}'"]
    if "lesson.parse(" in source:
        given = options(source)
        first += ["", "# The options of this lesson: change them here, and run all cells."]
        first += [f"{name.upper()} = {str(value)!r}" if isinstance(value, Path) else f"{name.upper()} = {value!r}"
                  for name, value in given.items()]
        names = ", ".join(f"{name}={name.upper()}" for name in given)
        source = re.sub(r"lesson\.parse\((.*)\)\n", rf"lesson.parse(\1, {names})\n", source)
    cells = [("code", "\n".join(first))]
    parts = re.findall(r"^# %%([^\n]*)\n(.*?)(?=^# %%|\Z)", source, re.MULTILINE | re.DOTALL)
    for head, text in parts or [("", source)]:         # lesson 0 is one cell
        is_text = "[markdown]" in head
        text = re.sub(r"^# ?", "", text, flags=re.MULTILINE) if is_text else text
        cells.append(("markdown" if is_text else "code", text.strip("\n")))
    extra = {"markdown": {}, "code": {"outputs": [], "execution_count": None}}
    return {"nbformat": 4, "nbformat_minor": 5,
            "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
            "cells": [{"cell_type": kind, "id": f"cell{i}", "metadata": {}, "source": text, **extra[kind]}
                      for i, (kind, text) in enumerate(cells)]}


def notebooks(folder: Path) -> None:
    """Write every lesson as a notebook."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = sorted(HERE.glob("[0-9]*.py"))
    for path in paths:
        text = json.dumps(notebook(path, folder.resolve()), indent=1)
        (folder / f"{path.stem}.ipynb").write_text(text, encoding="utf-8")
    print(f"{len(paths)} notebooks in {folder}")


# Sheets ------------------------------------------------------------------------------------------


def page(title: str, sections: list[str]) -> str:
    """Return a page of HTML, one section on each sheet of paper."""
    body = "\n".join(f"<section>{section}</section>" for section in sections)
    return (f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f"<title>{escape(title)}</title><style>{STYLE}</style><h1>{escape(title)}</h1>\n{body}\n</html>\n")


def blanks(text: str) -> str:
    """Return a part of lesson 1's blackboard with blanks for its numbers; x and t are given."""
    lines, name = [], ""
    for line in text.splitlines():
        name = line[:6].strip() or name
        cells = [cell if name in ("x", "t") else "______" for cell in line[9:].split()]
        lines.append(line[:9] + "  ".join(f"{cell:>6}" for cell in cells))
    return "\n".join(lines)


def blackboard() -> tuple[str, str]:
    """Return the blackboard of lesson 1, blank and filled: what the lesson prints up to the library's answer."""
    done = subprocess.run([sys.executable, str(HERE / "01_backprop_by_hand.py")], capture_output=True, text=True,
                          check=True, cwd=HERE.parent)
    (up, forward), (down, backward), (_, ways) = (part.split("\n", 1) for part in done.stdout.split("\n\n")[:3])
    term = "_" * 15
    no_ways = re.sub("= .*", f"= {term} + {term} + {term} = ______", ways)

    def board(name: str, forward: str, backward: str, ways: str) -> str:
        return (f'<pre class=rules>{escape(RULES)}</pre><div class="board {name}"><div class=two>'
                f"<div><p>{up}</p><pre>{forward}</pre></div><div><p>{down}</p><pre>{backward}</pre></div></div>"
                f"<p>{escape(BY_WEIGHT)}</p><pre>{ways}</pre></div>")

    return board("blank", blanks(forward), blanks(backward), no_ways), board("full", forward, backward, ways)


def paragraphs(text: str) -> str:
    """Return a text as HTML: what is indented stays as it is, the rest may be set in lines of any length."""
    return "".join(f"<pre>{escape(textwrap.dedent(part))}</pre>" if part.startswith(" ") else f"<p>{escape(part)}</p>"
                   for part in re.split(r"\n\n+", text.strip()))


def sheets(folder: Path) -> None:
    """Write the sheets: lesson 1 blank and filled, the exercises, and their solutions apart from them."""
    folder.mkdir(parents=True, exist_ok=True)
    empty, full = blackboard()
    tasks, answers = [], []
    for number, (exercise, minutes) in enumerate(zip(EXERCISES, MINUTES), start=1):
        text, right = blank(exercise), filled(exercise)
        head = f"<h2>{number}. {escape(exercise.title)} ({minutes} minutes)</h2>"
        task, code = ast.get_docstring(ast.parse(text)) or "", text.split('"""', 2)[2].strip()
        if exercise.name == "12_hvae_backward":        # it begins with reading this
            code = f"{code}\n\n\n# HVAE.bound of the library\n\n{inspect.getsource(exercise.library().HVAE.bound)}"
        if exercise.name == "13_adam":                 # the library's is made for speed
            right = text.replace("raise NotImplementedError", textwrap.indent(ADAM, " " * 8).strip())
        tasks.append(f"{head}{paragraphs(task.partition(chr(10))[2].partition('Grade it:')[0])}"
                     f'<pre>{escape(code)}</pre><div class=write style="height: {5 * minutes}mm"></div>')
        answers.append(f"{head}<pre>{escape(right.split(chr(34) * 3, 2)[2].strip())}</pre>")
    answers.insert(0, "<p>Numbers such as (1.2) are those of the equations in scratchvae/MATH.md.</p>")
    for name, title, sections in (("lesson_1", "Backprop by hand", [empty]),
                                  ("lesson_1_solution", "Backprop by hand: the numbers", [full]),
                                  ("exercises", "Exercises", tasks),
                                  ("exercises_solutions", "Solutions", ["".join(answers)])):
        (folder / f"{name}.html").write_text(page(title, sections), encoding="utf-8")
    print(f"4 sheets in {folder}: open them in a browser, and print")


# Scores ------------------------------------------------------------------------------------------


def csv_file(text: str) -> Path:
    """Read the name of a file, and see whether it can be written before any work is done."""
    try:
        open(text, "a").close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"a file in a folder that exists is needed; got {text!r} ({error.strerror})"
                                         ) from None
    return Path(text)


def left_out(student: Path) -> list[str]:
    """Say which files of a student are not graded: those in folders below, and those with other names."""
    files = {exercise.file for exercise in EXERCISES}
    below = Counter(path.parent for path in sorted(student.glob("*/**/*.py")) if path.name in files)
    other = [path.name for path in sorted(student.iterdir())
             if path.is_file() and path.name not in files and not path.name.startswith(".")]
    lines = [f"{student.name}: exercises in {folder} ({n}) are not graded; they must be directly in {student}"
             for folder, n in below.items()]
    names = ", ".join(other[:3]) + ", ..." * (len(other) > 3)
    return lines + [f"{student.name}: not graded, as no exercise has such a name: {names}"] * bool(other)


def scores(folder: Path, path: Path | None, seconds: float) -> int:
    """Print a row for each student's folder, and a row for the class; write the same as CSV if asked to."""
    students = [child for child in sorted(folder.iterdir() if folder.is_dir() else [])
                if child.is_dir() and not child.name.startswith((".", "__"))]       # no .git, no __MACOSX
    if not students:
        print(f"{folder} must have a folder for each student, such as {folder / 'ada'}", file=sys.stderr)
        return 2
    rows = []
    for student in students:
        marks = [MARKS[grade(exercise, student / exercise.file, seconds).status]
                 if (student / exercise.file).exists() else "-" for exercise in EXERCISES]
        rows.append([student.name, *marks, str(marks.count("done"))])
    done = [sum(row[i + 1] == "done" for row in rows) for i in range(len(EXERCISES))]
    rows.append(["done by", *map(str, done), str(sum(done))])
    heads = ["student", *(exercise.name[:2] for exercise in EXERCISES), "done"]
    width = max(len(row[0]) for row in [heads, *rows])
    for row in [heads, *rows]:
        print(f"{row[0]:<{width}} " + " ".join(f"{cell:>5}" for cell in row[1:]))
    print(f"\n{LEGEND.format(students[0])}")
    for line in (line for student in students for line in left_out(student)):
        print(line, file=sys.stderr)
    if path is not None:
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([heads, *rows])
    return 0


def main(argv: list[str] | None = None) -> int:
    """Understand the command line, and do what it says."""
    parser = argparse.ArgumentParser(prog="python demos/teacher.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    for name, about in (("notebooks", "Write an .ipynb of each lesson."), ("sheets", "Write HTML to print.")):
        commands.add_parser(name, description=about).add_argument("folder", type=Path, help="where to write")
    grading = commands.add_parser("scores", description="Grade a class, and print a table.",
                                  epilog=LEGEND.format("submissions/bob"),
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    grading.add_argument("folder", type=Path, help="it has a folder for each student, with the files directly in it")
    grading.add_argument("--csv", type=csv_file, metavar="FILE", help="write the table into this file, too")
    grading.add_argument("--seconds", type=seconds, default=SECONDS, help="limit for each file (default %(default)g)")
    args = parser.parse_args(argv)
    if args.what == "scores":
        return scores(args.folder, args.csv, args.seconds)
    try:
        (notebooks if args.what == "notebooks" else sheets)(args.folder)
    except OSError as error:
        parser.error(f"argument folder: a folder to write into is needed; got {args.folder} ({error.strerror})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
