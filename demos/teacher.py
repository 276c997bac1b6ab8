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
import json
import os
import re
import subprocess
import sys
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
STYLE = """body { font: 11pt/1.4 Georgia, serif; max-width: 46em; margin: 2em auto; padding: 0 1em }
pre { font: 9.5pt/1.3 monospace; white-space: pre-wrap; overflow-wrap: anywhere }
section { break-after: page } h2 { margin-bottom: 0 } .write { border: 1px solid #999; height: 11em }
@media print { body { margin: 0; max-width: none } }"""


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


def blackboard() -> tuple[str, str]:
    """Return the blackboard of lesson 1, blank and filled: what the lesson prints up to the library's answer."""
    done = subprocess.run([sys.executable, str(HERE / "01_backprop_by_hand.py")], capture_output=True, text=True,
                          check=True, cwd=HERE.parent)
    text = done.stdout.partition("\nThe library:")[0]
    given = ("W1 = 1    -1        b1 = 0  0.5        W2 = 2        b2 = 0.5\n"
             "     0.5   1                             -1\n\n")
    lines, keep = [], False
    for line in text.splitlines():
        name = re.match(r" *(\S.*?) += ", line)
        keep = name[1] in ("x", "t") if name else keep and line.startswith("   ")
        if name and "·" in line:
            line = line[:name.end()]
        elif not keep and re.match(r" +[-\w ]*=? +-?[\d.]", line):
            head = name[0] if name else "         "
            line = head + re.sub(r"-?\d[\d.]*", "______", line[len(head):])
        lines.append(line)
    return given + "\n".join(lines), given + text


def sheets(folder: Path) -> None:
    """Write the sheets: lesson 1 blank and filled, the exercises, and their solutions apart from them."""
    folder.mkdir(parents=True, exist_ok=True)
    empty, full = (f"<pre>{escape(text)}</pre>" for text in blackboard())
    tasks, answers = [], []
    for number, (exercise, minutes) in enumerate(zip(EXERCISES, MINUTES), start=1):
        text = blank(exercise)
        head = f"<h2>{number}. {escape(exercise.title)}</h2><p>{minutes} minutes</p>"
        task, code = ast.get_docstring(ast.parse(text)) or "", text.split('"""', 2)[2].strip()
        tasks.append(f"{head}<pre>{escape(task.partition(chr(10))[2].partition('Grade it:')[0].strip())}</pre>"
                     f"<pre>{escape(code)}</pre><div class=write></div>")
        answers.append(f"{head}<pre>{escape(filled(exercise).split(chr(34) * 3, 2)[2].strip())}</pre>")
    for name, title, sections in (("lesson_1", "Backprop by hand", [empty]),
                                  ("lesson_1_solution", "Backprop by hand: the numbers", [full]),
                                  ("exercises", "Exercises", tasks), ("exercises_solutions", "Solutions", answers)):
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
