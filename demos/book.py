"""The course as a book: HTML pages that need no network, for a browser, a phone and paper.

    python demos/book.py out/book                     # every lesson runs once, with its default options
    python demos/book.py out/book --epochs 2          # quicker: the lessons are trained for two epochs
    python demos/book.py out/book --lessons 01 02     # these lessons only

MATH.md section by section, the lessons with their output and figures, the exercises with their solutions on pages of
their own, EXTEND.md, and the pages of lines of four models.  An equation's number links to the equation.  It needs
markdown-it-py (``pip install -e '.[book]'``).
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")      # for small products a second thread is only in the way

import argparse
import contextlib
import io
import re
import shutil
import sys
from html import escape, unescape
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent / "scratchvae"
sys.path[:0] = [str(HERE), str(HERE / "exercises"), str(HERE.parent)]

import lesson
from grader.fill import blank, filled
from grader.table import EXERCISES
from teacher import MINUTES, options

from scratchvae.cli import main as scratchvae
from scratchvae.explain.mathml import LETTER, broken

try:
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import emphasis
except ImportError:
    raise SystemExit("the book needs markdown-it-py: pip install -e '.[book]'") from None

MODELS = ("vae", "hvae", "topdown", "diffusion")
STYLE = """:root{color-scheme:light dark}*{box-sizing:border-box}
body{font:1.05rem/1.55 Georgia,serif;max-width:46rem;margin:0 auto;padding:.8rem;overflow-wrap:break-word}
pre,code{font:.82em/1.45 ui-monospace,"DejaVu Sans Mono",Menlo,monospace}code{overflow-wrap:anywhere}
sub,sup{font-size:.75em;line-height:0;white-space:nowrap}
pre{overflow-x:auto;padding:.5rem;border-left:3px solid #8884;margin:.7rem 0}pre.out{border-color:#E69F00}
img{max-width:100%;height:auto;background:#fff}nav{font-size:.9rem;margin:.6rem 0}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem}
td,th{border-top:1px solid #8884;padding:.25rem .5rem;text-align:left;vertical-align:top}td img{min-width:80px}
.eq{overflow-x:auto;overflow-y:hidden;margin:.7rem 0;padding:.1rem 0 .1rem .7rem;border-left:3px solid #0072B2}
.line{display:flex;flex-wrap:wrap;gap:0 1.6rem;align-items:baseline;padding:.12rem 0}
.line+.line{border-top:1px dotted #8886}
:target{background:#ffe58a55}h2,h3{line-height:1.25;scroll-margin-top:1rem}
@page{margin:16mm}@media print{body{max-width:none;font-size:10pt;padding:0}nav{display:none}pre{white-space:pre-wrap}
pre,.eq,img{break-inside:avoid}h2,h3{break-after:avoid}a{color:inherit;text-decoration:none}}"""

ONE = rf"(?![ΣΠ])[{LETTER}][\u0300-\u036f]?"
LONG = "eps|gamma|hat|off|out|post|rest|simple|there"   # the indices of three letters and more
INDEX = re.compile(rf"(?<![{LETTER}0-9_])((?!log_)(?:[{LETTER}]|[\u0300-\u036f])+|[]∇)])('*)_"
                   rf"(?:\{{([^{{}}]*)\}}|({LONG}|[A-Za-z0-9φ]{{1,2}})(?![A-Za-z0-9_]))")
POWER = re.compile(r"\^(?:\(((?:[^()]|\([^()]*\))*)\)|(-?\w+(?:(?<=min)\([^()]*\))?))")
LETTERS = re.compile(rf"(?<![{LETTER}0-9_'.])(?!A(?:\s[A-Z]?[a-z]|\s*$)|a(?:\s\w|\s*$|-)|(?<=\d )s$)"   # a draw, 20 s
                     rf"({ONE})(?![{LETTER}0-9_\u0300-\u036f]|\.\w)")


def prose(text: str) -> str:
    """Return a text with its formulas set: indices as in z_{t+1}, powers as in e^(-x), single letters in italics."""
    def index(found: re.Match[str]) -> str:
        name, below = (f"<i>{part}</i>" if re.fullmatch(ONE, part) else part
                       for part in (found[1], found[3] or found[4]))
        return f"{name}{found[2]}<sub>{below}</sub>"

    text = POWER.sub(lambda found: f"<sup>{found[1] or found[2]}</sup>", INDEX.sub(index, escape(text, quote=False)))
    return "".join(part if part.startswith("<") else LETTERS.sub(r"<i>\1</i>", part)
                   for part in re.split(r"(<i>.*?</i>|<[^>]*>)", text))


def joined(state: Any) -> None:
    """Join the lines of a paragraph, so that a formula may go over the end of one."""
    for token in state.tokens:
        for child in token.children or []:
            if child.type == "softbreak":
                child.type, child.content = "text", "\n"


def formulas(text: str) -> str:
    """Return an indented block as formulas, a row for each line; what stands apart in a line stands apart here, too."""
    lines = []
    for line in text.rstrip("\n").split("\n"):
        line = re.sub(r" {2,}(?=(?:[-=+→·]|[<>]=) )|(?<=[-=+→·]) {2,}", " ", line)  # an operator does not stand apart
        line = re.sub(r"(?<=,) {2,}(?=[^([]*\))", " ", line)                   # nor does what a bracket holds
        parts = "".join(f"<span>{broken(part)}</span>" for part in re.split(r" {2,}", line.strip()) if part)
        lines.append(f'<div class="line">{parts}</div>' if parts else "")
    return f'<div class="eq">{"".join(lines)}</div>'


def is_program(text: str) -> bool:
    """Tell whether an indented block is a command or a listing, and no formula."""
    return bool(re.match(r"(python|pip|scratchvae|\.venv)\b", text)) or not re.search(r"[=<≤→←~∝σ]|log p", text)


class Book:
    """The pages, and how a text becomes one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.pages = folder, []           # each page: file, title, body
        self.math = (PACKAGE / "MATH.md").read_text(encoding="utf-8")
        self.home = {number: f"math-{number.split('.')[0]}.html#eq-{number}"
                     for number in re.findall(r"^### \((\d+\.\d+)\)", self.math, re.MULTILINE)}
        self.lessons = {path.stem: f"lesson-{path.stem.split('_')[0]}.html" for path in sorted(HERE.glob("[0-9]*.py"))}
        self.md = MarkdownIt("commonmark").enable("table")
        self.md.inline.ruler.at("emphasis", lambda state, silent: state.src[state.pos] != "_"   # an index
                                and emphasis.tokenize(state, silent))
        self.md.core.ruler.before("text_join", "joined", joined)
        self.md.renderer.rules.update(
            text=lambda tokens, i, *rest: self.numbers(prose(tokens[i].content)),
            code_block=self.block, heading_open=self.heading, link_open=self.link, image=self.image,
            table_open=lambda *rest: '<div class="wide"><table>', table_close=lambda *rest: "</table></div>")

    def numbers(self, text: str) -> str:
        """Make a link of the number of each equation."""
        return re.sub(r"\((\d+\.\d+)\)", lambda found: f'<a href="{self.home[found[1]]}">{found[0]}</a>'
                      if found[1] in self.home else found[0], text)

    def block(self, tokens: Any, i: int, *rest: Any) -> str:
        """Set an indented block: formulas, or a program."""
        text = tokens[i].content
        return f"<pre>{escape(text)}</pre>" if is_program(text) else formulas(text)

    def heading(self, tokens: Any, i: int, *rest: Any) -> str:
        """Give the heading of an equation its number as id."""
        number = re.match(r"\((\d+\.\d+)\)", tokens[i + 1].content)
        name = f' id="eq-{number[1]}"' if number else ""
        if number:                                     # no link from a heading to itself
            tokens[i + 1].children[0].content = tokens[i + 1].children[0].content.replace("(", "(\u2060", 1)
        return f"<{tokens[i].tag}{name}>"

    def target(self, href: str) -> str:
        """Return the page of this book that a link of a text leads to, or nothing."""
        path, _, place = href.partition("#")
        section = re.match(r"(\d+)-", place)
        if href.startswith("http"):
            return href
        if path.endswith("MATH.md") or not path and section:
            return f"math-{section[1]}.html" if section else "math.html"
        if path.endswith("EXTEND.md"):
            return "extend.html"
        return "exercises.html" if "exercises" in path else self.lessons.get(Path(path).stem, "")

    def link(self, tokens: Any, i: int, *rest: Any) -> str:
        """Lead a link to its page here; what the book does not have is no link."""
        target = self.target(tokens[i].attrGet("href"))
        return f'<a href="{target}">' if target else "<a>"

    def image(self, tokens: Any, i: int, *rest: Any) -> str:
        """Copy an image of a text into the book."""
        source = next((base / tokens[i].attrGet("src") for base in (HERE, HERE.parent, PACKAGE)
                       if (base / tokens[i].attrGet("src")).exists()), None)
        if source is None:
            return ""
        shutil.copy(source, self.folder / source.name)
        return f'<img src="{source.name}" alt="{escape(tokens[i].content)}">'

    def add(self, file: str, title: str, body: str) -> None:
        """Add a page."""
        self.pages.append((file, title, body))

    def write(self) -> None:
        """Write all pages, each with the links to those beside it."""
        for i, (file, title, body) in enumerate(self.pages):
            beside = [f'<a href="{self.pages[j][0]}">{escape(mark + self.pages[j][1])}</a>' for j, mark in
                      ((i - 1, "← "), (i + 1, "→ ")) if 0 <= j < len(self.pages)]
            nav = f'<nav>{" · ".join(["<a href=index.html>contents</a>", *beside])}</nav>'
            (self.folder / file).write_text(
                '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width='
                f'device-width,initial-scale=1"><title>{escape(title)}</title><style>{STYLE}</style></head><body>{nav}'
                f"<main>{body}</main>{nav}</body></html>\n", encoding="utf-8")


def run(path: Path, args: list[str], book: Book) -> str:
    """Run a lesson cell by cell; return its text, code, output and figure as HTML."""
    source, space, out = path.read_text(encoding="utf-8"), {"__name__": "__main__", "__file__": str(path)}, []
    cells = list(re.finditer(r"^# %%([^\n]*)\n(.*?)(?=^# %%|\Z)", source, re.MULTILINE | re.DOTALL))
    argv, sys.argv = sys.argv, [path.name, *args]
    for head, text, start in [(m[1], m[2], m.start(2)) for m in cells] or [("", source, 0)]:
        if "[markdown]" in head:
            out.append(book.md.render(re.sub(r"^# ?", "", text, flags=re.MULTILINE)))
            continue
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile("\n" * source.count("\n", 0, start) + text, str(path), "exec"), space)
        out.append(f"<pre>{escape(text.strip())}</pre>")
        if said.getvalue().strip():
            out.append(f'<pre class="out">{escape(said.getvalue().rstrip())}</pre>')
        for figure in re.findall(r"figure: (.*\.png)", said.getvalue()):
            name = Path(figure).name
            out.append(f'<p><img src="{name}" alt="the figure of this lesson"></p>')
    sys.argv = argv
    return "".join(out)


def mathematics(book: Book) -> None:
    """Add MATH.md: what stands before its sections, and a page for each of them."""
    front, *sections = re.split(r"^(?=## \d+\. )", book.math, flags=re.MULTILINE)
    titles = [section.split("\n")[0][3:] for section in sections]
    book.add("math.html", "The mathematics", book.md.render(front))
    for i, (title, section) in enumerate(zip(titles, sections), start=1):
        book.add(f"math-{i}.html", title, book.md.render(section))


def exercises(book: Book) -> None:
    """Add the exercises, and their solutions on another page."""
    tasks, answers = book.md.render((HERE / "exercises" / "README.md").read_text(encoding="utf-8")), ""
    for number, (exercise, minutes) in enumerate(zip(EXERCISES, MINUTES), start=1):
        head = f"<h2>{number}. {prose(exercise.title)} ({minutes} minutes)</h2>"
        tasks += (f"{head}<pre>{escape(blank(exercise))}</pre><details><summary>a hint</summary>"
                  f"<p>{prose(' '.join(exercise.hint.split()))}</p></details>")
        answers += f"{head}<pre>{escape(filled(exercise).split(chr(34) * 3, 2)[2].strip())}</pre>"
    book.add("exercises.html", "Exercises", tasks)
    book.add("solutions.html", "Solutions of the exercises", f"<h1>Solutions</h1>{answers}")


def main(argv: list[str] | None = None) -> int:
    """Write the book."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=lesson.whole, help="of the lessons that train (default: their own)")
    parser.add_argument("--lessons", nargs="+", help="their numbers, such as 01 08b (default all)")
    args = parser.parse_args(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    book = Book(args.folder)
    chosen = {name: file for name, file in book.lessons.items()
              if args.lessons is None or name.split("_")[0] in args.lessons}
    book.lessons = chosen
    book.add("index.html", "The course", book.md.render((HERE / "README.md").read_text(encoding="utf-8")))
    for name, file in chosen.items():
        print(name, flush=True)
        path = HERE / f"{name}.py"
        known = options(path.read_text(encoding="utf-8")) if name != "00_one_page" else {}
        given = ["--out", str(args.folder)] if known else []
        given += ["--epochs", str(args.epochs)] if args.epochs is not None and "epochs" in known else []
        body = run(path, given, book)
        title = re.search(r"<h1>(.*?)</h1>", body)
        book.add(file, unescape(re.sub("<.*?>", "", title[1])) if title else "0. All of it on one page", body)
    mathematics(book)
    exercises(book)
    book.add("extend.html", "Write your own", book.md.render((PACKAGE / "EXTEND.md").read_text(encoding="utf-8")))
    for model in MODELS:
        scratchvae(["explain", "--model", model, "--out", str(args.folder / f"lines-{model}.html")])
    rest = [*((file, title) for file, title, _ in book.pages[1:]),
            *((f"lines-{model}.html", f"The lines of {model}") for model in MODELS)]
    file, title, body = book.pages[0]
    links = "".join(f'<li><a href="{file}">{escape(title)}</a></li>' for file, title in rest)
    book.pages[0] = file, title, f"{body}<h2>All pages</h2><ul>{links}</ul>"
    book.write()
    print(f"{len(rest) + 1} pages in {args.folder}: open {args.folder / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
