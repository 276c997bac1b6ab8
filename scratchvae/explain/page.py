"""Writes the page: every statement of a pass with its equation, what it made, and the check of its gradient.

Forward is on the left and runs down.  Beside each line is the line of backward that answers it, so backward runs up.
A call unfolds in place, in the same two columns.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from string import Template
from typing import Any

import numpy as np

from ..layers import Array
from . import figures, pictures
from .equations import Equation, base, read, sections, symbols
from .evaluate import source
from .mathml import broken
from .trace import Call, Key, Made, Visit, is_array, key_of
from .verdict import TOLERANCE, Record, is_gradient

FEW, ALL = 8, 640                                      # arrays up to FEW numbers stand in the line, up to ALL in full
SOME, MANY = 160, 4096                                 # of larger ones SOME are shown; the script sums up to MANY
SUM = re.compile(r"(\w+\[[^]]+\]) = Σ(\w)\((\w+\[[^]]+\](?: \* \w+\[[^]]+\])?)\)( \+ \w+\[[^]]+\])?")


class Writer:
    """Writes the page of one pass."""

    def __init__(self, found: Record) -> None:
        self.found, self.ids, self.written = found, set[int](), set[tuple[Any, bytes]]()
        self.arrays: dict[int, Any] = {}               # by number, for the sums of the script
        self.cited: dict[str, str] = {}                # numbers of MATH.md, with their equations on this page

    # small things -----------------------------------------------------------------------------------

    def name(self, label: str, key: Key) -> str:
        """Return the name of an array; links to it lead to the first on the page."""
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
        seen = value[~np.isnan(value)]
        said = (", ".join(f"{number:.4g}" for number in value.ravel()) if value.size <= FEW else
                f"min {seen.min():.3g}, mean {seen.mean():.3g}, max {seen.max():.3g}")
        said = (f'<span class="faint">{value.shape}</span> {pictures.heat_map(value, label, self.found.picture)} '
                f'<span>{said}</span>')
        once = (key, value.tobytes())
        numbers = "" if value.size <= FEW or once in self.written else self.numbers(label, value)
        self.written.add(once)
        return f'<div class="made {classes}">{name} {said} {check}{numbers}</div>'

    def numbers(self, label: str, value: Array) -> str:
        """Return the numbers of an array with their indices: all, or the first rows that are not 0 of a large one."""
        grid = np.atleast_2d(value if value.ndim <= 2 else value.reshape(len(value), -1))
        rows, columns, left = np.arange(len(grid)), min(grid.shape[1], ALL), ""
        if grid.size > ALL:
            columns = min(grid.shape[1], 64)
            rows = np.flatnonzero(grid[:, :columns].any(axis=1))[:max(1, SOME // columns)]
            left = f"\n{len(rows)} rows that are not all 0, of {len(grid)}; {columns} of {grid.shape[1]} columns"
        blocks, high = [("", grid[rows, :columns], rows)], self.found.picture
        if high is not None and grid.shape[1] == columns == high[0] * high[1]:         # pixels of a picture
            blocks = [(f"row {i}, as {high[0]} by {high[1]} pixels\n", grid[i].reshape(high), np.arange(high[0]))
                      for i in rows]
        out = []
        for head, shown, names in blocks:
            first = len(str(max(names, default=0)))
            width = max(len(f"{v:.4g}") for v in (shown.shape[1] - 1, *shown.flat))
            out.append(head + " " * (first + 1) + "".join(f" {k:{width}}" for k in range(shown.shape[1])))
            out += [f"{name:{first}}:" + "".join(f" {v:{width}.4g}" for v in line) for name, line in zip(names, shown)]
        few = " few" if grid.size <= 64 or label in ("x", "self.dW") else ""
        return (f'<details class="numbers{few}"><summary>numbers of {escape(label)}</summary>'
                f'<pre tabindex="0">{chr(10).join(out)}{left}</pre></details>')

    def code(self, visit: Visit) -> str:
        """Return the source of a statement, with its arrays as links to the lines that made them."""
        function, statement = visit.call.function, visit.statement
        lines = function.lines[statement.first - 1:statement.last]
        indent = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
        spans = set[tuple[int, int, int, int]]()       # line, start, end, number of the array
        for node, key in visit.used:
            if node.lineno == node.end_lineno and key in self.found.trace.numbers:
                raw = function.lines[node.lineno - 1].encode()
                start, end = (len(raw[:c or 0].decode()) for c in (node.col_offset, node.end_col_offset))
                spans.add((node.lineno, start, end, self.found.trace.numbers[key]))
        out = []
        for number, line in enumerate(lines, statement.first):
            at, said = indent, ""
            for where, start, end, array in sorted(spans):
                if where == number and start >= at:
                    said += escape(line[at:start])
                    said += f'<a href="#a{array}" data-a="{array}">{escape(line[start:end])}</a>'
                    at = end
            code, hash_, comment = line[at:].partition("#")
            out.append(said + escape(code.rstrip())
                       + (f'  <span class="c"># {escape(comment.strip())}</span>' if hash_ else ""))
        return f'<pre class="code">{chr(10).join(out)}</pre>'

    def equations(self, visit: Visit) -> str:
        """Return the equations of a statement, each with its sentence, its error and one entry in numbers."""
        out = []
        for equation, error in self.found.equations(visit):
            kind, word = (("faint", "is not computed here") if error is None else
                          ("good", "gives the same" + (f" to {error:.0e}" if error else "")) if error <= TOLERANCE else
                          ("wrong", f"gives another number: off by {error:.1e}"))
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
        """Return what the script needs to write the sum of any entry: index, factors and what is added."""
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
            self.arrays.setdefault(used[name], [[float(f"{v:.4g}") for v in row] for row in np.atleast_2d(value)])
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
        """Return the meaning of the symbols on this page: rows of MATH.md's table, and four more."""
        met = set(re.findall(r"[^\W\d]+", " ".join(self.cited.values()))) | {"x", "h", "eps", "n"}
        rows = [(name, meaning) for name, meaning in symbols() if met & set(re.findall(r"[^\W\d]+", name))]
        rows += [("n", "the number of examples; as an index, one of them; i, j: columns"),
                 ("dv", "of any v: the gradient of the loss by v, of the same shape"),
                 ("noise", "the eps of the pass; in a hierarchy one array for each level"),
                 ("K", "the draws of z for each example, if there are several")][:3 + (self.found.K > 1)]
        return "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(meaning)}</td></tr>'
                       for name, meaning in rows)

    def checked(self, visit: Visit, made: Made) -> tuple[str, str]:
        """Return the check of a gradient, and a class for its line."""
        first = self.found.origin == (visit.end, made.key)
        if not (first or is_gradient(visit, made)):
            return "", ""
        check = self.found.check(visit, made)
        error, off = (f' data-error="{check.error:.3e}"', f"off by {check.error:.1e}") if check else ("", "")
        if check is not None and check.error <= TOLERANCE:
            kind, said = "good check", f"✓ complex step: {off if check.error else 'the same'}"
        elif first:
            kind, said = "wrong check", f"✗ wrong, and the first in the order of backward{': ' * bool(off)}{off}"
        elif check is None:
            kind, said = "faint", "not compared by itself"
        else:
            kind, said = "wrong check", f"✗ {off}: wrong as well, after the first"
        return f'<span class="{kind}"{error}>{said}</span>', 'origin" id="wrong' if first and "wrong" in kind else ""

    # statements ---------------------------------------------------------------------------------------

    def step(self, visit: Visit, number: int) -> str:
        """Return one statement: its number, source, equations, and what it made."""
        function, statement = visit.call.function, visit.statement
        kind = "math" if function.reference(statement) else "plumbing"
        counts = f'<div class="made faint">{escape(", ".join(visit.numbers))}</div>' if visit.numbers else ""
        made = "".join(self.array(m.label, m.key, m.value, *self.checked(visit, m)) for m in visit.new())
        return (f'<div class="step {kind}" data-line="{escape(function.name)}:{statement.first}">'
                f'<div class="n">{number}</div>'
                f'<div>{self.code(visit)}{self.equations(visit)}{counts}{made}</div></div>')

    def words(self, calls: Sequence[Call]) -> str:
        """Return, for each call, its function's name and line, and the first sentences of its docstring."""
        out = []
        for function in (call.function for call in calls):
            doc = re.split(r"\n\n|\n-+\n", function.doc)[0].replace("`", "").replace("\n", " ")
            out.append(f'<p class="words"><code>{escape(function.name)}</code> <span class="faint">'
                       f'{function.name.partition(".")[0]}.py, line {function.first}.</span> {escape(doc)}</p>')
        return "".join(out)

    def unfold(self, calls: Sequence[Call], depth: int) -> str:
        """Return a fold with a call, or with forward and its backward; it is open if the first mistake is inside."""
        title, inside, level = " and ".join(map(self.found.title, calls)), self.lines(calls, depth), min(6, 2 + depth)
        opened = " open" if 'id="wrong"' in inside else ""
        return (f'<details{opened} class="unfold"><summary>unfold {escape(title)}</summary><div class="inside">'
                f'<h{level}>{escape(title)}</h{level}>{self.words(calls)}{inside}</div></details>')

    def lines(self, calls: Sequence[Call], depth: int) -> str:
        """Return the statements of a call; of forward and backward side by side, if there are two."""
        if len(calls) == 1:
            return "".join(f'<div class="one">{self.step(visit, number)}'
                           + "".join(self.unfold([c], depth + 1) for c in visit.calls if c.visits) + "</div>"
                           for number, visit in enumerate(calls[0].visits, start=1))
        rows, backward = calls[0].visits, calls[1]
        beside: dict[int, list[Visit]] = {}
        anchors = self.anchors(rows, backward)
        for visit in backward.visits:
            beside.setdefault(anchors[id(visit)], []).insert(0, visit)         # the later, the higher: it runs up
        numbers = {id(v): i for i, v in enumerate((*rows, *backward.visits), start=1)}
        out = ['<div class="pair heads" aria-hidden="true"><div>forward, down</div><div>backward, up</div></div>']
        for i, visit in enumerate(rows):
            right = beside.get(i, [])
            step, steps = self.step(visit, numbers[id(visit)]), [self.step(v, numbers[id(v)]) for v in right]
            inner = [[call, self.found.answers[call.index]] if any(
                self.found.answers.get(call.index) in v.calls for v in right) else [call] for call in visit.calls]
            answers = [pair[1] for pair in inner if pair[1:]]
            inner += [[call] for v in right for call in v.calls if call not in answers]
            folds = [self.unfold(pair, depth + 1) for pair in inner if pair[1:] or pair[0].visits]
            out.append(f'<div class="pair"><div class="cell">{step}</div>'     # written first: names link to the first
                       f'<div class="cell{" back" if right else ""}">{"".join(steps)}</div>{"".join(folds)}</div>')
        return "".join(out)

    def anchors(self, rows: list[Visit], backward: Call) -> dict[int, int]:
        """Return, for each statement of backward, the row of the statement of forward that it answers.

        A statement that answers none, such as a sum of gradients or the head of a loop, goes with the next one.
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
        """Return the inputs of the pass: x, the noise, and the parameters."""
        found, out = self.found, []
        arrays = [("x", found.x)]
        noise = found.noise if isinstance(found.noise, (list, tuple)) else [found.noise]
        arrays += [("noise" if len(noise) == 1 else f"noise[{i}]", eps) for i, eps in enumerate(noise) if is_array(eps)]
        for label, value in arrays + list(found.model.parameters.items()):
            found.trace.note(value)
            out.append(self.array(label, key_of(value), value))
        return "".join(out)

    def linked(self, lines: str) -> str:
        """Return the lines without links to arrays that the page does not show."""
        return re.sub(r'<a href="#a(\d+)"( data-a="\d+")>([^<]*)</a>', lambda found: found.group() if
                      int(found.group(1)) in self.ids else f"<span{found.group(2)}>{found.group(3)}</span>", lines)

    def page(self) -> str:
        """Return the whole document."""
        found = self.found
        link = "" if found.origin is None else ' <a href="#wrong">Go to it.</a>'
        verdict = f'<p class="{"wrong" if found.wrong else "good"}">{escape(found.verdict)}.{link}</p>'
        columns = f'<p class="words">Columns of x: {escape(", ".join(found.columns))}.</p>' if found.columns else ""
        objective = [call for call in (found.summed, found.begun) if call is not None]
        given, lines, summed = self.given(), self.lines([found.bound, found.backward], 0), self.lines(objective, 0)
        return Template(read("explain/page.html")).substitute(
            name=type(found.model).__name__, owner=type(found.bound.owner).__name__, about=escape(found.about),
            verdict=verdict, strip=figures.strip(found), graph=figures.graph(found), columns=columns, given=given,
            bound=self.words([found.bound, found.backward]), lines=self.linked(lines), loss=f"{found.loss:.6g}",
            objective=self.words(objective), summed=self.linked(summed), legend=self.legend(),
            sections=self.sections(), arrays=json.dumps(self.arrays, separators=(",", ":")),
            css=read("explain/page.css"), js=read("explain/page.js"))
