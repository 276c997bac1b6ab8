"""The quiz: one bug of the gallery is planted in the library.  Where is it, and what is it?

You see what its author sees: curves of training, samples, a few numbers, beside
those of the library without the bug.  You may run eleven checks, each for a point.
Then say in which file the bug is, and which of the mistakes described it is.

    python demos/quiz.py                      # a bug at random; draws out/quiz.png
    python demos/quiz.py --seed 7             # always the same one
    python demos/quiz.py --sheet out/quiz.pdf # a sheet for a class, and out/quiz_solutions.pdf

The sheet may also be .md or .txt.  It takes some seconds for each bug.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")      # for small products a second thread is only in the way

import argparse
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gallery.bugs import BUGS, Bug
from gallery.checks import CHECKS, catch
from gallery.symptoms import Run, ascii_art, draw, observe, observe_with, table

FILES = list(dict.fromkeys(bug.module for bug in BUGS))
NAMES = [" ".join(name.split()) for name in CHECKS]
POINTS, CHECK, WRONG_FILE, WRONG_BUG = 12, 1, 3, 2      # at the start; what is paid for each
DECOYS = {                                             # for files with few bugs: what might be, and is not
    "vae": ["The KL's gradient is added to mu twice, to logvar not at all.",
            "The loss is a sum over the batch, its gradient a mean.", "z, not mu, goes into the KL."],
    "compare": ["log p(z_t | z_{t+1}) is taken at the mean of q, not at z_t.", "KL(q || p) lacks its 1/2."],
    "model": ["The weights are averaged over the batch, not over the samples.",
              "log q is added to log p, where it should be subtracted."],
    "data/datasets": ["The pixels are inverted: ink is 0, paper is 1.", "Labels and images are shuffled apart."],
}


class Question(NamedTuple):
    """A planted bug, and the answers from which to choose once the file is found."""

    seed: int
    bug: Bug
    options: list[str]

    @property
    def right(self) -> int:
        """The place of the right answer."""
        return self.options.index(self.bug.story)


def ask(seed: int, on_paper: bool = False) -> Question:
    """Choose a bug, and other mistakes of its file; on paper of other files too, as all is read at once."""
    rng = np.random.default_rng(seed)
    bug = BUGS[rng.integers(len(BUGS))]
    others = [other.story for other in BUGS if other.module == bug.module and other is not bug]
    others += DECOYS.get(bug.module, [])
    chosen = [bug.story, *rng.permutation(others)[:2 if on_paper else 4].tolist()]
    if on_paper:
        elsewhere = [other.story for other in BUGS if other.module != bug.module]
        chosen += rng.permutation(elsewhere)[:5].tolist()
    return Question(seed, bug, rng.permutation(chosen).tolist())


def solution(question: Question, caught: list[bool]) -> list[str]:
    """Return what the bug is, as lines: its name, the changed lines, and which checks catch it."""
    bug = question.bug
    lines = [f"It is: {bug.name}. {bug.story}"]
    for where, old, new in bug.changes:
        module, _, function = where.partition(":")
        lines += [f"  {module}.py, {function}", f"    - {' '.join(old.split())}",
                  f"    + {' '.join(new.split()) or '(nothing)'}"]
    found = [name for name, cell in zip(NAMES, caught) if cell]
    return [*lines, f"Caught by {'this check alone' if len(found) == 1 else 'these checks'}: {', '.join(found)}."]


def in_lines(items: list[str]) -> list[str]:
    """Return short items in lines, none of them broken."""
    lines = textwrap.wrap("   ".join(item.replace(" ", "\u00a0") for item in items), 100)
    return [line.replace("\u00a0", " ") for line in lines]


def letters(texts: list[str], indent: str = "  ") -> list[str]:
    """Return a list of choices: a, b, c, ..."""
    return [line for letter, text in zip("abcdefghij", texts)
            for line in textwrap.wrap(f"{indent}{letter}  {text}", 100, subsequent_indent=f"{indent}   ")]


def write_figure(folder: Path, sick: list[Run], healthy: list[Run]) -> Path:
    """Draw the curves and the samples; return where the figure is."""
    from scratchvae.train.plotting import figure
    folder.mkdir(parents=True, exist_ok=True)
    page = figure(8.27, 5.5)
    draw(page, sick, healthy)
    page.savefig(folder / "quiz.png")
    return folder / "quiz.png"


# The game ---------------------------------------------------------------------------------------


class Game:
    """One question, asked at a terminal or through a pipe."""

    def __init__(self, question: Question) -> None:
        self.question, self.points = question, POINTS
        self.asked: set[int] = set()
        self.tried: set[tuple[bool, int]] = set()
        self.found_file = False
        print("The bug is planted; training with it, and without. This takes some seconds.", flush=True)
        self.healthy, self.sick = observe(), observe_with(question.bug)
        self.caught = catch(question.bug)

    def symptoms(self) -> None:
        """Print the numbers."""
        print("\n".join(["", *table(self.sick, self.healthy)]))

    def samples(self) -> None:
        """Print samples as text."""
        for runs, who in ((self.sick, "with the bug"), (self.healthy, "without")):
            for run in (runs[0], runs[2]):
                print(f"\nSamples, {run.name}, {who}:")
                print("\n".join(ascii_art(run.samples)) if run.samples is not None else "none: training broke down")

    def help(self) -> None:
        """Print what may be said, and the choices."""
        print(f"\nYou have {self.points} points. What you may say:")
        print(f"  1 ... {len(NAMES)}     ask a check, 1 point each; it passes, or it catches the bug")
        for k, (name, check) in enumerate(zip(NAMES, CHECKS.values()), start=1):
            told = ("" if k - 1 not in self.asked else " -> CATCHES it" if self.caught[k - 1] else " -> passes")
            print("\n".join(textwrap.wrap(f"    {k:>2}  {name}: {check.__doc__.strip()}{told}", 100,
                                          subsequent_indent="        ")))
        print("  symptoms     show the numbers again\n  samples      show samples as text\n"
              "  give up      be told the answer")
        if self.found_file:
            print(f"  a letter     what the bug in {self.question.bug.module}.py is; {WRONG_BUG} points if it is not")
            print("\n".join(letters(self.question.options, "    ")))
        else:
            print(f"  a letter     in which file the bug is; {WRONG_FILE} points if it is not there")
            print("\n".join(letters([f"{name}.py" for name in FILES], "    ")))

    def pay(self, points: int) -> str:
        """Take points off, and say how many are left."""
        self.points = max(0, self.points - points)
        return f"{self.points} point{'' if self.points == 1 else 's'} left."

    def check(self, k: int) -> None:
        """Tell the verdict of a check."""
        cost = "You knew." if k in self.asked else self.pay(CHECK)
        self.asked.add(k)
        print(f"{NAMES[k]}: {'it CATCHES the bug' if self.caught[k] else 'it passes, and sees nothing'}. {cost}")

    def answer(self, k: int) -> bool:
        """Take a letter; return whether the quiz is over."""
        question = self.question
        if (self.found_file, k) in self.tried:
            print("You have tried that one already; it costs nothing more.")
            return False
        self.tried.add((self.found_file, k))
        if self.found_file:
            if k == question.right:
                print(f"Right. {self.points} of {POINTS} points.")
                print("\n".join(["", *solution(question, self.caught)]))
                return True
            print(f"No, that is not it. {self.pay(WRONG_BUG)}")
        elif FILES[k] == question.bug.module:
            self.found_file = True
            print(f"Yes, it is in {FILES[k]}.py. Which of these is it? Now a letter means one of the following "
                  "mistakes; a wrong one costs 2 points. You may still run checks.")
            print("\n".join(letters(question.options)))
        else:
            print(f"No, {FILES[k]}.py is as it should be. {self.pay(WRONG_FILE)}")
        return False

    def say(self, text: str) -> bool:
        """Take one line of the learner; return whether the quiz is over."""
        word = " ".join(text.lower().split()).removeprefix("check ").removeprefix("answer ")
        choices = list("abcdefghij"[:len(self.question.options if self.found_file else FILES)])
        if word in ("give up", "quit", "exit"):
            print("\n".join(["", *solution(self.question, self.caught)]))
            return True
        if word in ("symptoms", "samples", "help", "?"):
            {"symptoms": self.symptoms, "samples": self.samples}.get(word, self.help)()
        elif word.isdecimal() and 1 <= int(word) <= len(NAMES):
            self.check(int(word) - 1)
        elif word in NAMES:
            self.check(NAMES.index(word))
        elif word in choices:
            return self.answer(choices.index(word))
        elif not self.found_file and word.removesuffix(".py") in FILES:
            return self.answer(FILES.index(word.removesuffix(".py")))
        elif word:
            print(f"{text.strip()[:40]!r} is not a choice here. Say a number from 1 to {len(NAMES)} for a check, "
                  f"a letter from a to {choices[-1]} to answer, or help.")
        return False

    def play(self, lines, folder: Path) -> int:
        """Ask until the answer is right, or given up, or there is no more to read."""
        self.symptoms()
        print(f"\nfigure: {write_figure(folder, self.sick, self.healthy)}")
        self.help()
        over = False
        while not over:
            print("\n> ", end="", flush=True)
            line = lines.readline()
            if not line:
                print(f"\nThere is no more input, so the quiz ends here. The same again: --seed {self.question.seed}")
                return 0
            if not lines.isatty():
                print(line.strip())                    # so that what was said can be read between the answers
            over = self.say(line)
        print(f"Another one: python demos/quiz.py. The same bug again: --seed {self.question.seed}")
        return 0


# The sheet --------------------------------------------------------------------------------------


def sheet_text(k: int, question: Question) -> list[str]:
    """Return the words below the figures of one question on the sheet."""
    lines = [f"Question {k}. One bug is in the library. Where is it, and what is it?", "",
             f"Start with {POINTS} points. A check costs {CHECK}: it shows whether it catches the bug.",
             *(line for name, check in zip(NAMES, CHECKS.values()) for line in
               textwrap.wrap(f"[ ] {name}: {check.__doc__.strip()}", 135, subsequent_indent="      ")), "",
             f"In which file? A wrong answer costs {WRONG_FILE}.",
             *in_lines([f"{letter} {name}.py" for letter, name in zip("abcdefghij", FILES)]), "",
             f"What is it? A wrong answer costs {WRONG_BUG}."]
    return [*lines, *letters(question.options, ""), "", "Points left: ______"]


def key_text(k: int, question: Question, caught: list[bool]) -> list[str]:
    """Return the solution of one question: what to tell of each check, and the answer."""
    told = [f"{name}: {'CATCHES' if cell else 'passes'}" for name, cell in zip(NAMES, caught)]
    return [f"Question {k} (--seed {question.seed})", *in_lines(told),
            f"File: {'abcdefghij'[FILES.index(question.bug.module)]} {question.bug.module}.py.  "
            f"Answer: {'abcdefghij'[question.right]}", *solution(question, caught), ""]


def questions(seed: int, n: int) -> list[Question]:
    """Return n questions with different bugs."""
    found: dict[str, Question] = {}
    while len(found) < n:
        question = ask(seed, on_paper=True)
        found.setdefault(question.bug.name, question)
        seed += 1
    return list(found.values())


def sheet_page(lines: list[str], sick: list[Run], healthy: list[Run]) -> Any:
    """Return a page of the sheet as a figure."""
    from scratchvae.train.plotting import figure
    page = figure(8.27, 11.69)                         # A4
    words, pictures, numbers = page.subfigures(3, 1, height_ratios=[1.55, 1.35, 1.1])
    words.text(0.06, 0.96, lines[0], fontsize=11, va="top", weight="bold")
    words.text(0.06, 0.91, "\n".join(lines[2:]), fontsize=8, va="top", linespacing=1.25)
    draw(pictures, sick, healthy)
    lines = [textwrap.fill(line, 115) for line in table(sick, healthy)]
    numbers.text(0.06, 0.95, "\n".join(lines), fontsize=6.5, va="top", family="monospace")
    return page


def write_sheet(path: Path, chosen: list[Question]) -> Path:
    """Write the sheet, and beside it the solutions; return where these are."""
    solutions = path.with_name(f"{path.stem}_solutions{path.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    healthy = observe()
    keys, pages = [], []
    for k, question in enumerate(chosen, start=1):
        pages.append((sheet_text(k, question), observe_with(question.bug)))
        keys.append(key_text(k, question, catch(question.bug)))
    if path.suffix == ".pdf":
        from matplotlib.backends.backend_pdf import PdfPages

        from scratchvae.train.plotting import figure
        with PdfPages(path) as book:
            for lines, sick in pages:
                book.savefig(sheet_page(lines, sick, healthy))
        with PdfPages(solutions) as book:
            for first in range(0, len(keys), 3):
                page = figure(8.27, 11.69)
                text = "\n".join(line for key in keys[first:first + 3] for line in key)
                page.text(0.06, 0.96, text, fontsize=8, va="top", family="monospace")
                book.savefig(page)
    else:
        fence = ["```"] if path.suffix == ".md" else []
        body = [line for lines, sick in pages for line in
                (*fence, *lines, "", *table(sick, healthy), "", "Samples of the VAE with the bug",
                 *(ascii_art(sick[0].samples) if sick[0].samples is not None else ["none: training broke down"]),
                 *fence, "\f" if not fence else "")]
        path.write_text("\n".join(body), encoding="utf-8")
        solutions.write_text("\n".join([*fence, *(line for key in keys for line in key), *fence, ""]), encoding="utf-8")
    return solutions


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python demos/quiz.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, help="which bug; by default one at random")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the figure (default out)")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="write a sheet for a class: .pdf, .md or .txt")
    parser.add_argument("--n", type=int, default=6, help="bugs on the sheet (default %(default)s)")
    args = parser.parse_args(arguments)
    if args.seed is not None and args.seed < 0:
        parser.error(f"argument --seed: a whole number of at least 0 is needed; got {args.seed}")
    if not 1 <= args.n <= len(BUGS):
        parser.error(f"argument --n: a whole number from 1 to {len(BUGS)} is needed; got {args.n}")
    if args.sheet and args.sheet.suffix not in (".pdf", ".md", ".txt"):
        parser.error(f"argument --sheet: the name should end in .pdf, .md or .txt; got {args.sheet}")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")       # a terminal that has no Σ shows a ?
    seed = int(np.random.default_rng().integers(10_000)) if args.seed is None else args.seed
    try:
        if args.sheet:
            solutions = write_sheet(args.sheet, questions(seed, args.n))
            print(f"the sheet: {args.sheet}; the solutions: {solutions}; the same again: --seed {seed} --n {args.n}")
            return 0
        return Game(ask(seed)).play(sys.stdin, args.out)
    except KeyboardInterrupt:
        print(f"\nStopped. The same bug again: --seed {seed}")
        return 1
    except OSError as error:
        print(f"{error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
