"""The page: every statement of a pass with its equation, what it made, and the check of its gradient.

Forward stands on the left, from the first line down; beside each line stands the line
of backward that answers it, so that backward reads from the last line up.  A call
unfolds in place, in the same two columns.
"""

from __future__ import annotations

import json
import re
from html import escape
from typing import Any

import numpy as np

from ..layers import Array
from . import figures, pictures
from .equations import Equation, base, read, sections, symbols
from .evaluate import source
from .mathml import broken
from .trace import Call, Key, Made, Visit, is_array, key_of
from .verdict import TOLERANCE, Record, is_gradient

ALL = 640                                              # an array of so many numbers is written out; of a larger one,
FEW, SOME, MANY = 8, 160, 4096                                 # the first so many; the script can sum over so many
SUM = re.compile(r"(\w+\[[^]]+\]) = Σ(\w)\((\w+\[[^]]+\](?: \* \w+\[[^]]+\])?)\)( \+ \w+\[[^]]+\])?")


class Writer:
    """Writes the page of one pass."""

    def __init__(self, found: Record) -> None:
        self.found, self.ids, self.written = found, set[int](), set[tuple[Any, bytes]]()
        self.arrays: dict[int, Any] = {}               # whose entries the script sums
        self.cited: dict[str, str] = {}                # numbers of MATH.md, with the equations that stand here

    # small things -----------------------------------------------------------------------------------

    def name(self, label: str, key: Key) -> str:
        """Return the name of an array; the first in the document is where links to it lead."""
        number = self.found.trace.numbers.get(key)
        if number is None:
            return f'<span class="name">{escape(label)}</span>'
        here = "" if number in self.ids else f' id="a{number}"'
        self.ids.add(number)
        return f'<span class="name" tabindex="-1"{here} data-a="{number}">{escape(label)}</span>'

    def array(self, label: str, key: Key, value: Array, check: str = "", classes: str = "") -> str:
        """Return a line about an array: its name, shape, picture, a few numbers, and all of them to unfold."""
        value = np.real(value)
        name = self.name(label, key)
        if value.ndim == 0:
            return f'<div class="made {classes}">{name} <span class="v">{float(value):.6g}</span> {check}</div>'
        if value.size == 0:
            return f'<div class="made">{name} <span class="faint">{value.shape}: no columns</span></div>'
        seen = value[~np.isnan(value)]
        said = (", ".join(f"{number:.4g}" for number in value.ravel()) if value.size <= FEW else
                f"min {seen.min():.3g}, mean {seen.mean():.3g}, max {seen.max():.3g}")
        said = (f'<span class="faint">{value.shape}</span> {pictures.heat_map(value, label, self.found.picture)} '
                f'<span>{said}</span>')
        once = (key, value.tobytes())
        numbers = ""
        if once not in self.written:
            self.written.add(once)
            numbers = "" if value.size <= FEW else self.numbers(label, value)
        return f'<div class="made {classes}">{name} {said} {check}{numbers}</div>'

    def numbers(self, label: str, value: Array) -> str:
        """Return the numbers of an array with their indices: all, or of a large one the first rows that are not 0."""
        grid = np.atleast_2d(value if value.ndim <= 2 else value.reshape(len(value), -1))
        rows, columns, left = np.arange(len(grid)), min(grid.shape[1], ALL), ""
        if grid.size > ALL:
            columns = min(grid.shape[1], 64)
            rows = np.flatnonzero(grid[:, :columns].any(axis=1))[:max(1, SOME // columns)]
            left = f"\n{len(rows)} rows that are not all 0, of {len(grid)}; {columns} of {grid.shape[1]} columns"
        blocks, high = [("", grid[rows, :columns], rows)], self.found.picture
        if high is not None and grid.shape[1] == columns == high[0] * high[1]:         # a picture is written as one
            blocks = [(f"row {i}, as {high[0]} by {high[1]} pixels\n", grid[i].reshape(high), np.arange(high[0]))
                      for i in rows]
        out = []
        for head, shown, names in blocks:
            said = [["", *map(str, range(shown.shape[1]))],
                    *([str(name), *(f"{number:.4g}" for number in line)] for name, line in zip(names, shown))]
            width = [max(len(line[0]) for line in said), max(len(cell) for line in said for cell in line[1:])]
            out.append(head + "\n".join(" ".join([line[0].rjust(width[0]) + ":" * bool(line[0]) + " " * (not line[0]),
                                                  *(cell.rjust(width[1]) for cell in line[1:])]) for line in said))
        few = " few" if grid.size <= 64 or label in ("x", "self.dW") else ""
        return (f'<details class="numbers{few}"><summary>numbers of {escape(label)}</summary>'
                f'<pre tabindex="0">{chr(10).join(out)}{left}</pre></details>')

    def code(self, visit: Visit) -> str:
        """Return a statement's source, its arrays as links to where they were made."""
        function, statement = visit.call.function, visit.statement
        lines = function.lines[statement.first - 1:statement.last]
        indent = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
        spans: dict[int, list[tuple[int, int, int]]] = {}
        for node, key in visit.used:
            if node.lineno == node.end_lineno and key in self.found.trace.numbers:
                raw = function.lines[node.lineno - 1].encode()
                start, end = (len(raw[:c or 0].decode()) for c in (node.col_offset, node.end_col_offset))
                spans.setdefault(node.lineno, []).append((start, end, self.found.trace.numbers[key]))
        out = []
        for number, line in enumerate(lines, start=statement.first):
            at, said = indent, ""
            for start, end, array in sorted(set(spans.get(number, []))):
                if start >= at:
                    said += escape(line[at:start])
                    said += f'<a href="#a{array}" data-a="{array}">{escape(line[start:end])}</a>'
                    at = end
            rest = line[at:]
            code, hash_, comment = rest.partition("#")
            out.append(said + escape(code.rstrip() + ("  " if hash_ else ""))
                       + (f'<span class="c"># {escape(comment.strip())}</span>' if hash_ else ""))
        return f'<pre class="code">{chr(10).join(out)}</pre>'

    def equations(self, visit: Visit) -> str:
        """Return the equations of a statement, each with a sentence, and with how well the numbers obey it."""
        out = []
        for equation, error in self.found.equations(visit):
            word = ("not computed here" if error is None else "gives the same" + (f" to {error:.0e}" if error else "")
                    if error <= TOLERANCE else f"gives another number: off by {error:.1e}")
            kind = "faint" if error is None else "good" if error <= TOLERANCE else "wrong"
            worked = self.found.evaluator(visit).worked(equation) if kind == "good" else None
            self.cited[equation.number] = self.cited.get(equation.number, "") + " " + equation.text
            title = sections()[equation.number][0]
            out.append(f'<p class="words">{escape(equation.words)}</p><div class="eq"{self.summed(visit, equation)}>'
                       f'<a class="no" href="#m{equation.number}">({equation.number}) {escape(title)}</a>'
                       f'{broken(equation.text)} '
                       f'<span class="{kind}" data-equation="{error}">the equation {word}</span>'
                       + (f'<div class="worked">{escape(worked)}</div>' if worked else "") + "</div>")
        found = visit.call.function.reference(visit.statement)
        if found is not None and not out and not visit.values:   # a statement about expectations
            self.cited.setdefault(found[0], "")
            out.append(f'<div class="eq"><a class="no" href="#m{found[0]}">see ({found[0]}) '
                       f'{escape(sections()[found[0]][0])}</a></div>')
        return "".join(out)

    def summed(self, visit: Visit, equation: Equation) -> str:
        """Return what the script needs to write out the sum of any entry: index, factors and what is added."""
        text = f"{source(equation.left)} = {source(equation.right)}"
        found = SUM.fullmatch(text)
        used = {base(source(node)): self.found.trace.numbers[key] for node, key in visit.used} if found else {}
        parts = re.findall(r"(\w+)\[([^]]+)\]", text)
        if found is None or any(name not in used for name, _ in parts[1:]):
            return ""
        for name, _ in parts[1:]:
            value = np.asarray(self.found.evaluator(visit).name(name), float)
            if value.size > MANY:
                return ""
            if used[name] not in self.arrays:
                self.arrays[used[name]] = [[float(f"{number:.4g}") for number in row] for row in np.atleast_2d(value)]
        entries = [[used.get(name, 0), name, index.split(", ")] for name, index in parts]
        of = {"of": entries[0], "over": found[2], "times": entries[1:len(entries) - bool(found[4])],
              "plus": entries[len(entries) - bool(found[4]):]}
        return f" data-sum='{escape(json.dumps(of, separators=(',', ':')))}'"

    def sections(self) -> str:
        """Return the equations of MATH.md that the page cites, with their derivations."""
        out = []
        for number in sorted(self.cited, key=lambda number: [int(part) for part in number.split(".")]):
            title, body = sections()[number]
            text = body.partition("\ncode:")[0] + "\n"
            parts = re.split(r"((?:^    .*\n?|^\n(?=    ))+)", text, flags=re.MULTILINE)
            said = "".join(f'<pre tabindex="0">{escape(part.rstrip())}</pre>' if part.startswith("    ") else
                           f"<p>{escape(part.strip()).replace('`', '')}</p>" for part in parts if part.strip())
            out.append(f'<details class="derived" id="m{number}"><summary>({number}) {escape(title)}</summary>{said}'
                       "</details>")
        return "".join(out)

    def legend(self) -> str:
        """Return what the symbols on this page mean: the rows of MATH.md's table that are met here."""
        met = set(re.findall(r"[^\W\d]+", " ".join(self.cited.values()))) | {"x", "h", "eps", "n"}
        rows = [(name, meaning) for name, meaning in symbols() if met & set(re.findall(r"[^\W\d]+", name))]
        rows += [("n", "the number of examples; as an index, one of them; i, j: columns"),
                 ("dv", "of any v: the gradient of the loss by v, of the same shape"),
                 ("noise", "the eps of the pass; in a hierarchy one array for each level"),
                 ("K", "the draws of z for each example, if there are several")][:3 + (self.found.K > 1)]
        return "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(meaning)}</td></tr>'
                       for name, meaning in rows)

    def checked(self, visit: Visit, made: Made) -> tuple[str, str]:
        """Return what the complex step says of a gradient, and a class for its line."""
        first = self.found.origin == (visit.end, made.key)
        if not (first or is_gradient(visit, made)):
            return "", ""
        check = self.found.check(visit, made)
        if check is None and first:
            return '<span class="wrong check">✗ wrong, and the first in the order of backward</span>', "origin"
        if check is None:
            return '<span class="faint">not compared by itself</span>', ""
        if check.error <= TOLERANCE:
            return (f'<span class="good check" data-error="{check.error:.3e}">✓ complex step: '
                    f'{f"off by {check.error:.1e}" if check.error else "the same"}</span>'), ""
        if first:
            return (f'<span class="wrong check" data-error="{check.error:.3e}">✗ wrong, and the first in the order of '
                    f'backward: off by {check.error:.1e}</span>'), "origin"
        return (f'<span class="wrong check" data-error="{check.error:.3e}">✗ off by {check.error:.1e}: wrong as well, '
                'after the first</span>'), ""

    # statements ---------------------------------------------------------------------------------------

    def step(self, visit: Visit, number: int | None) -> str:
        """Return one statement: number, source, equation, and what it made."""
        kind = "math" if visit.call.function.reference(visit.statement) else "plumbing"
        at = f"{visit.call.function.name}:{visit.statement.first}"
        made = []
        for m in visit.new():
            check, classes = self.checked(visit, m)
            made.append(self.array(m.label, m.key, m.value, check, classes))
        notes = [f'<div class="made faint">{escape(", ".join(visit.numbers))}</div>'] if visit.numbers else []
        shown = "" if number is None else str(number)
        return (f'<div class="step {kind}" data-line="{escape(at)}"><div class="n">{shown}</div><div>{self.code(visit)}'
                f'{self.equations(visit)}{"".join(notes)}{"".join(made)}</div></div>')

    def words(self, call: Call) -> str:
        """Return the first sentences of a function's docstring, and where it stands."""
        doc = re.split(r"\n\n|\n-+\n", call.function.doc)[0].replace("`", "").replace("\n", " ")
        file = call.function.name.partition(".")[0]
        return (f'<p class="words"><code>{escape(call.function.name)}</code> '
                f'<span class="faint">{escape(file)}.py, line {call.function.first}.</span> {escape(doc)}</p>')

    def unfold(self, forward: Call | None, backward: Call | None, depth: int) -> str:
        """Return a call, folded: forward and the backward that answers it side by side, or one of them alone."""
        title = " and ".join(f"{self.found.title(call)}" for call in (forward, backward) if call is not None)
        level = min(6, 2 + depth)
        inside = (self.mirror(forward, backward, depth) if forward is not None and backward is not None else
                  self.alone(forward or backward, depth))              # type: ignore[arg-type]
        said = "".join(self.words(call) for call in (forward, backward) if call is not None)
        return (f'<details class="unfold{" top" if depth == 1 else ""}"><summary>unfold {escape(title)}</summary>'
                f'<div class="inside"><h{level}>{escape(title)}</h{level}>{said}{inside}</div></details>')

    def alone(self, call: Call, depth: int) -> str:
        """Return the statements of a call that has no counterpart."""
        out, number = [], 0
        for visit in call.visits:
            number += 1
            inner = "".join(self.unfold(c, None, depth + 1) for c in visit.calls if c.visits)
            out.append(f'<div class="one">{self.step(visit, number)}{inner}</div>')
        return "".join(out)

    def mirror(self, forward: Call, backward: Call, depth: int) -> str:
        """Return forward's statements, and beside each the statements of backward that answer it."""
        rows = forward.visits
        anchors = self.anchors(rows, backward)
        beside: dict[int, list[Visit]] = {}
        for visit in backward.visits:
            beside.setdefault(anchors[id(visit)], []).insert(0, visit)         # the later, the higher: it runs up
        numbers = {id(v): i for i, v in enumerate((*rows, *backward.visits), start=1)}
        out = ['<div class="pair heads" aria-hidden="true"><div>forward, down</div><div>backward, up</div></div>']
        for i, visit in enumerate(rows):
            left, right = visit, beside.get(i, [])
            step, steps = self.step(left, numbers.get(id(left))), [self.step(v, numbers.get(id(v))) for v in right]
            inner, taken = [], set[int]()              # written after the steps: numbers stand where they come first
            for call in left.calls:
                answer = self.found.answers.get(call.index)
                if answer is not None and any(answer in v.calls for v in right):
                    inner.append(self.unfold(call, answer, depth + 1))
                    taken.add(answer.index)
                elif call.visits:
                    inner.append(self.unfold(call, None, depth + 1))
            for v in right:
                inner += [self.unfold(None, c, depth + 1) for c in v.calls if c.index not in taken and c.visits]
            out.append(f'<div class="pair"><div class="cell">{step}</div>'
                       f'<div class="cell{" back" if right else ""}">{"".join(steps)}</div>'
                       f'{"".join(inner)}</div>')
        return "".join(out)

    def anchors(self, rows: list[Visit], backward: Call) -> dict[int, int]:
        """Return, for each statement of backward, the row of the statement of forward that it answers.

        One that answers none, such as a sum of gradients or the head of a loop, is for the one that comes next.
        """
        row_of_call = {call.index: i for i, visit in enumerate(rows) for call in visit.calls}
        row_of_name: dict[str, int] = {}
        for i, visit in enumerate(rows):
            for made in visit.made:
                row_of_name.setdefault(made.label, i)
        found: dict[int, int] = {}
        for visit in backward.visits:
            called = [row_of_call[self.found.pairs[c.index].index] for c in visit.calls
                      if c.index in self.found.pairs and self.found.pairs[c.index].index in row_of_call]
            named = [row_of_name[m.label[1:]] for m in visit.made if m.label[1:] in row_of_name and m.label[:1] == "d"]
            if called or named:
                found[id(visit)] = max(called or named)
        ahead = 0
        for visit in reversed(backward.visits):
            ahead = found.setdefault(id(visit), ahead)
        return found

    # the whole ----------------------------------------------------------------------------------------

    def given(self) -> str:
        """Return what the pass was given: x, the noise, and the parameters."""
        found, out = self.found, []
        arrays = [("x", found.x)]
        noise = found.noise if isinstance(found.noise, (list, tuple)) else [found.noise]
        arrays += [("noise" if len(noise) == 1 else f"noise[{i}]", eps) for i, eps in enumerate(noise) if is_array(eps)]
        for label, value in arrays + list(found.model.parameters.items()):
            found.trace.note(value)
            out.append(self.array(label, key_of(value), value))
        return "".join(out)

    def linked(self, lines: str) -> str:
        """Return the lines, an array that is not shown anywhere as its name alone, not as a link to it."""
        return re.sub(r'<a href="#a(\d+)"( data-a="\d+")>([^<]*)</a>', lambda found: found.group() if
                      int(found.group(1)) in self.ids else f"<span{found.group(2)}>{found.group(3)}</span>", lines)

    def page(self) -> str:
        """Return the whole document."""
        found = self.found
        name, owner = type(found.model).__name__, type(found.bound.owner).__name__
        right = found.origin is None
        verdict = (f'<p class="{"good" if right else "wrong"}">{escape(found.verdict)}.'
                   + ("" if right else ' <a href="#wrong">Go to it.</a>') + "</p>")
        columns = f'<p class="words">Columns of x: {escape(", ".join(found.columns))}.</p>' if found.columns else ""
        given, strip, graph = self.given(), figures.strip(found), figures.graph(found)
        lines = self.mirror(found.bound, found.backward, 0)
        summed = self.mirror(found.summed, found.begun, 0) if found.begun else self.alone(found.summed, 0)
        if found.origin is not None:
            lines = opened(lines)
        lines, summed = self.linked(lines), self.linked(summed)
        return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}, line by line</title><style>{read("explain/page.css")}</style></head><body>
<header><h1>{name}, line by line, with numbers</h1><p>{escape(found.about)}</p></header>
<main>
<section aria-labelledby="s1"><h2 id="s1">The bound, and whether its gradient is right</h2>{verdict}
<div class="strip">{strip}</div></section>
<section aria-labelledby="s2"><h2 id="s2">The model: the value and the gradient at every node</h2>
<p class="words">Each box has a name, the Euclidean norm of what it made, and below it that of the gradient of the
loss by it, which flows back into it. The thicker an edge, the larger the gradient that flows along it. Where the graph
is wider than the screen, it scrolls sideways.</p>
<div class="wide" tabindex="0" role="region" aria-label="the graph">{graph}</div></section>
<section aria-labelledby="s3"><h2 id="s3">How to read the lines</h2>
<p class="words">Forward stands on the left and runs down. Beside each of its lines stands the line of backward that
answers it, so backward runs up; the small numbers tell the order. On a narrow screen the answer stands below its
line. A line that calls a function can be unfolded. Under each line stand its equation, as MATH.md of the package
derives it (the number leads there), how far what it says is from what the line computed, for a product or a sum one
entry with its numbers (click a number of a matrix product to see how that one is made), and the arrays that the line
made. An equation is computed as it stands, from the arrays of
this pass, not by the code of the line. In a picture blue is negative, white is 0 and red is positive; pictures of x
are grey. All is computed in float64. Point at the name of an array, or go to it with the Tab key, to see every place
where it is used; follow it to where it was made. A pale line hands things on and computes nothing. Behind each
gradient stands how far it is from the derivative by the complex step, MATH (10.1): the pass is run again with the
array moved by a tiny imaginary number, and the imaginary part of the loss is the derivative, with nothing subtracted.
It is relative to its size (or to a hundredth of the parts of the loss, if it is smaller than that): a right one is
off by rounding alone, less than 1e-12. What a layer, a density or a draw gets and gives is compared; a part of a sum
is no gradient of the loss by itself, and is not.</p></section>
<section aria-labelledby="s4"><h2 id="s4">What the pass was given</h2>{columns}
<details class="unfold"><summary>x, the noise and the parameters</summary><div class="inside">{given}</div></details>
</section>
<section aria-labelledby="s5"><h2 id="s5">{owner}.bound and {owner}.backward</h2>{self.words(found.bound)}
{self.words(found.backward)}{lines}</section>
<section aria-labelledby="s6"><h2 id="s6">The loss, with which backward begins</h2>
<p>It is {found.loss:.6g} nats, a mean over the examples.</p>{self.words(found.summed)}
{self.words(found.begun) if found.begun else ""}{summed}
</section>
<section aria-labelledby="s7"><h2 id="s7">The symbols of this page</h2><table>{self.legend()}</table></section>
<section aria-labelledby="s8"><h2 id="s8">The equations, as MATH.md derives them</h2>{self.sections()}</section>
</main>
<script>const arrays={json.dumps(self.arrays, separators=(',', ':'))};
{read("explain/page.js")}</script></body></html>
"""


def opened(lines: str) -> str:
    """Return the lines with every fold open in which the first wrong gradient lies."""
    lines = lines.replace('class="made origin"', 'class="made origin" id="wrong"', 1)
    at = lines.find('id="wrong"')
    opening: list[Any] = []
    for found in re.finditer(r"<details[^>]*>|</details>", lines[:at]):
        if found.group() == "</details>":
            opening.pop()
        else:
            opening.append(found.start())
    for start in reversed(opening):
        lines = lines[:start] + "<details open" + lines[start + len("<details"):]
    return lines
