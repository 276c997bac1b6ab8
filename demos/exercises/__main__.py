"""Exercises that grade themselves: backprop and VAEs by hand, from one dense layer to the hierarchy.

Each file of this folder has functions whose bodies are missing.  Write them, and
let them be graded: the first thing that is wrong is shown, with one of its
numbers worked out.

    python demos/exercises                  all of them, in order
    python demos/exercises 3                one of them; also by name: tanh
    python demos/exercises --from 6         start in the middle
    python demos/exercises --watch          again, whenever you save a file
    python demos/exercises --hint 3         a hint for one of them
    python demos/exercises --start my       write blank copies into a folder of your own, and
    python demos/exercises --folder my      grade the files in it
    python demos/exercises --fill solved    write the solutions, which are the library's own code

It exits with 0 if all that was graded is done, with 1 if not, and with 2 if the
command cannot be understood.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")      # for small products a second thread is only in the way

import argparse
import sys
import textwrap
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

from grader.fill import blank, filled
from grader.judge import SECONDS, Verdict, grade, seconds
from grader.table import EXERCISES
from grader.tasks import Exercise

WORDS = {"done": "done", "begun": "right so far", "wrong": "not right yet", "blank": "not begun"}


def chosen(name: str) -> list[Exercise]:
    """Return the exercises that a word stands for: a number, a name, or a part of one."""
    stem, folder = Path(name).stem, Path(name).parent
    if folder != Path("."):
        raise argparse.ArgumentTypeError(f"{name!r} is a path; take --folder {folder} and the name {stem}")
    if stem.isdigit():
        found = [exercise for exercise in EXERCISES if int(exercise.name[:2]) == int(stem)]
    else:
        found = ([exercise for exercise in EXERCISES if stem in (exercise.name, exercise.name[3:])]
                 or [exercise for exercise in EXERCISES if stem and stem.lower() in exercise.name])
    if not found:
        raise argparse.ArgumentTypeError(f"there is no exercise {name!r}; take a number from 1 to {len(EXERCISES)}, or "
                                         f"one of {', '.join(exercise.name[3:] for exercise in EXERCISES)}")
    return found


def table(exercises: list[Exercise], verdicts: dict[str, Verdict]) -> str:
    """Return a line for each exercise, and how many are done."""
    lines = [f"  {exercise.name:<18} {exercise.title:<46} {WORDS[verdicts[exercise.name].status]}"
             for exercise in exercises]
    done = sum(verdict.status == "done" for verdict in verdicts.values())
    return "\n".join([*lines, f"{done} of {len(exercises)} done."])


def details(exercise: Exercise, verdict: Verdict, folder: Path) -> str:
    """Return what is to be said of one exercise."""
    number = int(exercise.name[:2])
    lines = [f"{exercise.name}: {WORDS[verdict.status]}.", *verdict.text.splitlines()]
    if verdict.status == "done":
        lines.append(f"Compare it with the library's own: {exercise.source()}.")
    else:
        lines += [f"The task is at the top of {folder / exercise.file}. A hint: python demos/exercises --hint {number}"]
    if verdict.printed.strip():
        printed = verdict.printed.rstrip().splitlines()
        lines += ["Your file printed:", *(f"    {line[:200]}" for line in printed[:10])]
        lines += [f"    ... and {len(printed) - 10} lines or more"] if len(printed) > 10 else []
    wrapped = [lines[0]]
    for line in lines[1:]:                             # tables are left as they are
        wrapped += [line] if line.startswith(" ") else textwrap.wrap(line, 110) or [""]
    return "\n    ".join(wrapped)


def report(exercises: list[Exercise], verdicts: dict[str, Verdict], folder: Path) -> str:
    """Return the table, and the first exercise that is not done; of a single exercise only this."""
    first = next((exercise for exercise in exercises if verdicts[exercise.name].status != "done"), None)
    if len(exercises) == 1:
        return details(exercises[0], verdicts[exercises[0].name], folder)
    text = table(exercises, verdicts)
    if first is None:
        return f"{text}\nWell done: every one of them is right. Compare yours with the library's, file by file."
    if all(verdict.status == "blank" for verdict in verdicts.values()):
        text += "\nNothing is written yet, so there is nothing wrong yet either. Here is where to begin:"
    return f"{text}\n\n{details(first, verdicts[first.name], folder)}"


def write(folder: Path, kind: str) -> int:
    """Write the blank or the filled files into a folder; existing files are left alone."""
    texts = {exercise.file: (blank if kind == "blank" else filled)(exercise) for exercise in EXERCISES}
    command = "Grade it:  python demos/exercises "       # of this folder; in another it must name that one
    texts = {name: text.replace(command, f"{command}--folder {folder} ") for name, text in texts.items()}
    folder.mkdir(parents=True, exist_ok=True)
    there = [name for name, text in texts.items() if (folder / name).exists()
             and (folder / name).read_text(encoding="utf-8", errors="replace") != text]
    if there:
        print(f"{folder / there[0]} is there already, and may be somebody's work: nothing was written. Choose an empty "
              "folder.", file=sys.stderr)
        return 1
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    print(f"{len(texts)} {kind} files in {folder}. Grade them: python demos/exercises --folder {folder}")
    return 0


def watch(exercises: list[Exercise], folder: Path, limit: float) -> int:
    """Grade what was saved, whenever something was, until all is done or Ctrl-C is pressed."""
    seen: dict[str, float] = {}
    verdicts: dict[str, Verdict] = {}
    while True:
        changed = []
        for exercise in exercises:
            try:
                time_of = (folder / exercise.file).stat().st_mtime_ns
            except OSError:
                time_of = -1
            if seen.get(exercise.name) != time_of:
                seen[exercise.name] = time_of
                changed.append(exercise)
        if changed:
            for exercise in changed:
                verdicts[exercise.name] = grade(exercise, folder / exercise.file, limit)
            print(f"\n{time.strftime('%H:%M:%S')}  {report(exercises, verdicts, folder)}", flush=True)
            if all(verdict.status == "done" for verdict in verdicts.values()):
                return 0
            print("Watching; save a file to grade it again, Ctrl-C to stop.", flush=True)
        time.sleep(0.2)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python demos/exercises", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="*", type=chosen, help="which exercises: numbers or names; by default all")
    parser.add_argument("--from", dest="first", type=chosen, metavar="NAME", help="grade from this one on")
    parser.add_argument("--watch", action="store_true", help="grade again whenever a file is saved")
    parser.add_argument("--hint", type=chosen, metavar="NAME", help="show the hint for an exercise, and grade nothing")
    parser.add_argument("--folder", type=Path, default=HERE, help="where the files to grade are (default: this folder)")
    parser.add_argument("--start", type=Path, metavar="FOLDER", help="write blank copies into a folder of your own")
    parser.add_argument("--fill", type=Path, metavar="FOLDER", help="write the solutions into a folder")
    parser.add_argument("--seconds", type=seconds, default=SECONDS, help="time limit for a file (default %(default)g)")
    args = parser.parse_args(arguments)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")       # a terminal that has no Σ shows a ?
    try:
        if args.hint:
            for exercise in args.hint:
                lines = textwrap.wrap(" ".join(exercise.hint.split()), 100)
                print("\n    ".join([f"{exercise.name}, a hint:", *lines]))
            return 0
        if args.start or args.fill:
            return write(args.start or args.fill, "blank" if args.start else "filled")
        if not args.folder.is_dir():
            parser.error(f"argument --folder: there is no folder {args.folder}")
        start = EXERCISES.index(args.first[0]) if args.first else 0
        exercises = [exercise for exercise in EXERCISES[start:]
                     if not args.name or any(exercise in found for found in args.name)]
        if not exercises:
            parser.error("the exercises named stand before the one that --from begins with")
        if args.watch:
            return watch(exercises, args.folder, args.seconds)
        verdicts = {exercise.name: grade(exercise, args.folder / exercise.file, args.seconds) for exercise in exercises}
        print(report(exercises, verdicts, args.folder))
        return int(any(verdict.status != "done" for verdict in verdicts.values()))
    except KeyboardInterrupt:
        print("\nStopped. Your files are as you saved them.")
        return 1
    except OSError as error:
        print(f"{error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
