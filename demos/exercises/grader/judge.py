"""Grade a file: run its functions beside the library's, in a process of its own with a time limit."""

from __future__ import annotations

import argparse
import ast
import errno
import multiprocessing
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from grader import explain, fill
from grader.tasks import Case, Exercise, Problem, find

SECONDS = 10.0                                         # for one file
BYTES = 10_000_000                                     # that a file may print
MEMORY = 4                                             # GB that it may take
FORK = "fork" if sys.platform == "linux" else "spawn"  # a fork has NumPy imported already


class Verdict(NamedTuple):
    """What came of a file: "done", "blank" (nothing written yet), "begun" (right as far as it goes), or "wrong"."""

    status: str
    text: str = ""
    printed: str = ""


def peeked(*args: Any, **kwargs: Any) -> Any:
    """Stand in the place of a solution of the library while the student's code runs."""
    raise SystemError("the library's own")


def seconds(text: str) -> float:
    """Read a time limit of the command line."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"a number of seconds above 0, and at most 3600, is needed; got {text!r}")
    return value


@contextmanager
def shut(exercise: Exercise) -> Iterator[None]:
    """Take the solutions out of the library while a ``with`` block lasts: what was not done never passes."""
    right = {code: code.__code__ for code in exercise.solutions()}
    try:
        for code in right:
            code.__code__ = peeked.__code__
        yield
    finally:
        for code, inner in right.items():
            code.__code__ = inner


def where(error: BaseException, path: str, text: str) -> str:
    """Say in which line of the student's file an error came up: " in line 12: return x @ W"."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    if not lines or not lines[-1]:
        return ""
    return f", in line {lines[-1]}: {text.splitlines()[lines[-1] - 1].strip()}"


def plainly(message: str) -> str:
    """Return what NumPy says of shapes that do not fit, in plain words; empty if it speaks of something else."""
    inner = re.search(r"matmul: .*\(size (\d+) is different from (\d+)\)", message)
    if inner:
        return ("In a matrix product the left array must have as many columns as the right one has rows; here they are "
                f"{inner[2]} and {inner[1]}.")
    pair = re.search(r"could not be broadcast together with shapes (\([\d,]*\)) (\([\d,]*\))", message)
    if pair:
        return f"Arrays of shapes {pair[1]} and {pair[2]} cannot be combined entry by entry."
    into = re.search(r"could not broadcast input array from shape (\([\d,]*\)) into shape (\([\d,]*\))", message)
    if into:
        return f"An array of shape {into[1]} does not fit into one of shape {into[2]}."
    return ""


def raised(error: BaseException, path: str, text: str, what: str) -> Verdict:
    """Return a sentence on an error that came out of the student's code."""
    if isinstance(error, Problem):
        return Verdict("wrong", f"{error}" + (f" This was with {what}." if what else ""))
    place, during = where(error, path, text), f" This was with {what}." if what else ""
    if isinstance(error, SystemError) and str(error) == "the library's own":
        return Verdict("wrong", f"The code calls the library's own solution{place}. Write this function out yourself.")
    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        return Verdict("wrong", f"The code ends the program{place}. Leave that out: the grader still needs it.")
    if isinstance(error, NotImplementedError):
        return Verdict("wrong", f"The code comes to a NotImplementedError{place}. Is a part still missing?{during}")
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return Verdict("wrong", f"The code prints more than {BYTES // 1_000_000} MB{place}. Print less.")
    if isinstance(error, RecursionError):
        return Verdict("wrong", f"A function calls itself without end{place}.")
    if isinstance(error, MemoryError):
        return Verdict("wrong", f"The code takes more than {MEMORY} GB of memory{place}.")
    if shapes := plainly(str(error)):
        return Verdict("wrong", f"{shapes}{place.replace(', in', ' It is in', 1)}.{during}" if place else shapes)
    message = " ".join(str(error).split()) or "without a message"
    return Verdict("wrong", f"The code raises {type(error).__name__} ({message}){place}.{during}")


def judge(exercise: Exercise, path: str) -> Verdict:
    """Grade a file in this process: only for a process that may be lost."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")    # some editors put a mark, a BOM, in front
        tree = ast.parse(text, path)
    except FileNotFoundError:
        return Verdict("blank", f"There is no file {Path(path).name} in {Path(path).parent}.")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        return Verdict("wrong", f"The file cannot be read as text: {error}.")
    except SyntaxError as error:
        line = (error.text or "").strip()
        return Verdict("wrong", f"Python cannot read line {error.lineno}: {error.msg}.\n    {line}")

    if not tree.body:
        return Verdict("blank", "The file has no code. This writes blank copies: python demos/exercises --start FOLDER")
    blanks = []
    for target in exercise.targets:
        node = fill.function(tree, target)
        if node is None:
            line = f"def {target.split('.')[-1]}(...)"
            return Verdict("wrong", f"The file has no function {target} any more. Keep the line `{line}` as it was.")
        blanks.append(fill.is_blank(node))
    if all(blanks):
        return Verdict("blank", f"{' and '.join(exercise.targets)}: nothing is written yet.")

    space: dict[str, Any] = {"__name__": "exercise", "__file__": path}
    try:
        with shut(exercise):
            exec(compile(text, path, "exec"), space)
    except BaseException as error:                     # a student's file may raise anything
        return raised(error, path, text, "")
    code = SimpleNamespace(**{name: space[name] for name in {target.split(".")[0] for target in exercise.targets}
                              if name in space})
    for target in exercise.targets:
        try:
            own = isinstance(find(code, target), FunctionType) and find(code, target).__globals__ is space
        except AttributeError:
            own = False
        if not own:
            return Verdict("wrong", f"{target} is not a function of this file. Write it with def, as it was.")

    for case in exercise.cases():
        if blanks[case.target]:
            text = f"{exercise.targets[case.target]}: nothing is written yet."
            if case.target == 0:
                return Verdict("blank", f"{text} Write it first: {exercise.targets[1]} is graded after it.")
            return Verdict("begun", f"{exercise.targets[0]}: right so far. {text}")
        verdict = one(exercise, case, code, path, text)
        if verdict is not None:
            return verdict
    return Verdict("done")


def one(exercise: Exercise, case: Case, code: Any, path: str, text: str) -> Verdict | None:
    """Return a verdict if the code fails this case, else None."""
    wanted = case.run(exercise.library(), **explain.copies(case))
    given = explain.copies(case)
    try:
        with shut(exercise), np.errstate(all="ignore"):
            results = case.run(code, **given)
            results = {name: explain.numbers(name, results[name], np.asarray(wanted[name], float)) for name in wanted}
    except BaseException as error:
        return raised(error, path, text, case.what)
    for name, (got, sentence) in results.items():
        if got is None:
            return Verdict("wrong", f"{sentence} This was with {case.what}.")
        if not explain.close(got, np.asarray(wanted[name], float), case.slack.get(name, 0.0)).all():
            return Verdict("wrong", explain.wrong(exercise, case, code, name, got, np.asarray(wanted[name], float)))
    for name, value in case.inputs.items():
        if not np.array_equal(value, given[name]):
            return Verdict("wrong", f"The numbers are right, but {exercise.targets[case.target]} changes its input "
                                    f"{name}, which others may still need. Make a new array instead of changing it.")
    return None


def work(exercise: Exercise | int, path: str, output: str, pipe: Connection) -> None:
    """Grade in a process of its own: what it prints goes to a file, the verdict into the pipe."""
    if isinstance(exercise, int):                      # under spawn, which cannot send functions
        from grader.table import EXERCISES
        exercise = EXERCISES[exercise]
    file = os.open(output, os.O_WRONLY | os.O_TRUNC)
    null = os.open(os.devnull, os.O_RDONLY)
    for number, to in ((0, null), (1, file), (2, file)):
        os.dup2(to, number)
    sys.stdout = open(1, "w", encoding="utf-8", errors="replace", closefd=False)
    sys.stderr = open(2, "w", encoding="utf-8", errors="replace", closefd=False)
    sys.stdin = open(0, encoding="utf-8", closefd=False)
    try:
        import resource
        import signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (BYTES, BYTES))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY << 30, MEMORY << 30))
    except (ImportError, ValueError, OSError):         # not every system has these limits
        pass
    verdict = judge(exercise, path)
    try:
        sys.stdout.flush()
    except OSError:
        pass
    pipe.send(tuple(verdict))
    pipe.close()
    os._exit(0)                                        # whatever the file has left behind: threads, atexit


def grade(exercise: Exercise, path: Path | str, seconds: float = SECONDS) -> Verdict:
    """Grade a file in a process of its own."""
    from grader.table import EXERCISES
    context: Any = multiprocessing.get_context(FORK)
    ours, theirs = context.Pipe(duplex=False)
    handle, output = tempfile.mkstemp(prefix="exercise-")
    os.close(handle)
    sent: Exercise | int = exercise if FORK == "fork" else EXERCISES.index(exercise)
    sys.stdout.flush()                                 # else a fork would print it again
    process = context.Process(target=work, args=(sent, str(path), output, theirs), daemon=True)
    try:
        process.start()
        theirs.close()
        if not ours.poll(seconds):
            verdict = Verdict("wrong", f"The code did not come to an end within {seconds:g} seconds. Is there a loop "
                                       "that never ends?")
        else:
            try:
                verdict = Verdict(*ours.recv())
            except (EOFError, OSError):
                verdict = Verdict("wrong", "The code ended the whole process before it could be graded.")
        printed = Path(output).read_bytes()[:4000].decode("utf-8", "replace")
    finally:
        if process.is_alive():
            process.kill()
        process.join()
        ours.close()
        os.unlink(output)
    return verdict._replace(printed=printed)
