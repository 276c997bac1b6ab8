"""What is said about a mistake: where it is, what kind it looks like, the numbers, and what to write instead."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ..layers import Array

THOUGHTS = {                                           # the likely line of thought behind each kind
    "sign": "A minus was lost, or taken twice: u - v has the derivative -1 by v, and loss = -elbo.",
    "factor": "A constant of forward is not in backward, or is there twice: a 1/2 before a square, a weight, a size.",
    "mean or sum": "Forward takes a sum and backward a mean, or the reverse: dy for each term, or dy / n.",
    "transposed": "The shapes fit, so nothing complains: but (x W) has dx = dy Wᵀ and dW = xᵀ dy.",
    "zero": "A gradient is never written, is multiplied by 0, or is returned for another argument.",
    "missing": "What is used twice has a gradient that is a sum of two terms. One of them is not there.",
    "overwritten": "The contributions are assigned one after the other, so that the last one stays: write += for =.",
    "added": "Backward adds to an array that already holds something, such as the gradient of the last step.",
    "derivative": "The derivative is taken at the wrong place (at y for x), is another function's, or is left out.",
    "dy forgotten": "The chain rule is dx = dy · (local derivative): dy must be there once, to the first power.",
    "scale": "Variance, standard deviation and logvar are three things: σ = exp(logvar / 2), σ² = exp(logvar).",
    "probability": "With p = sigmoid(l), the gradient by l is the one by p times p (1 - p). In x - p it has cancelled.",
    "not summed": "A bias is added to every row, so each row adds to its gradient: db = Σₙ dy = dy.sum(axis=0).",
    "in place": "Make a new array (y = y * 2, not y *= 2), or put a copy into the cache.",
    "noise": "Forward and backward use different noise: keep the noise that forward used in the cache.",
    "swapped": "Two arguments of the same shape are exchanged.",
    "point": "Backward uses another value than forward did."}
REMARKS = ("not analytic", "kink", "rounding", "random", "stepwise", "broadcast", "constant")
UNCHECKED = "Not checked: that forward computes what you mean. Backward was compared with forward, not with the math."


@dataclass
class Finding:
    """One mistake, or one remark about code that is right.

    Attributes
    ----------
    where : str
        The function that is wrong, such as ``"Dense.backward"``.
    tensor : str
        The gradient that it gets wrong, by the name of its array: ``"logvar"``.
    kind : str
        What kind of mistake it looks like; ``"unknown"`` if nothing fits.
    says : str
        What is wrong, in a sentence.
    hint : str
        What to write instead.
    evidence : list of str
        Numbers.
    equation : str
        Of MATH.md.
    given, right : array, optional
        The gradient beside the reference, at the entries that were looked at.
    places : list of str
        The steps of a pass in which it shows: ``["q1.dense2", "q1.dense1"]``.
    """

    where: str
    tensor: str
    kind: str
    says: str
    hint: str = ""
    evidence: list[str] = field(default_factory=list)
    equation: str = ""
    given: Array | None = None
    right: Array | None = None
    places: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        of = f"the gradient by {self.tensor}" if self.tensor else "the pass"
        head = f"{self.where}: {of} is wrong ({self.kind})" if self.kind not in REMARKS else f"{self.where}: no mistake"
        if self.places and self.where.partition(".")[0] not in self.places[0]:
            head += f", in {', '.join(self.places[:3])}{' ...' if len(self.places) > 3 else ''}"
        lines = [head, *_indented(_sentence(self.says))]
        lines += [f"    {text}" for text in self.evidence[:2]]
        if self.hint:
            lines += _indented(f"Instead: {self.hint}.")
        if self.equation:
            lines.append(f"  See MATH ({self.equation}).")
        return "\n".join(lines)

    def explain(self) -> str:
        """Return the same with all the evidence, and the likely line of thought."""
        lines = [str(self), *(f"    {text}" for text in self.evidence[2:])]
        if self.kind in THOUGHTS:
            lines += _indented(f"Likely: {THOUGHTS[self.kind]}")
        return "\n".join(lines)


def _sentence(text: str) -> str:
    """Begin with a capital, unless it is with a symbol; end with a full stop, or with lines of code."""
    first = text.partition(" ")[0]
    begun = text[:1].upper() + text[1:] if first in (
        "it", "its", "forward", "backward", "wrong", "the", "a", "what", "of", "for", "two") else text
    return begun if "\n" in begun else begun + "."


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines()]


@dataclass
class Diagnosis:
    """What was found in a function, a layer or a model; print it, or ask ``ok``, ``where``, ``kind``.

    Attributes
    ----------
    name : str
    findings : list of Finding
        The mistakes, the first one in backward order first.
    remarks : list of Finding
        What is no mistake, but worth knowing: noise that forward draws itself, a point
        on a kink, float32, a loss whose arrays were broadcast.
    consequences : list of str
        What is wrong only because something wrong reached it.
    """

    name: str
    findings: list[Finding] = field(default_factory=list)
    remarks: list[Finding] = field(default_factory=list)
    consequences: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether no mistake was found."""
        return not self.findings

    @property
    def where(self) -> str:
        """The first function that is wrong, or an empty text."""
        return self.findings[0].where if self.findings else ""

    @property
    def tensor(self) -> str:
        """The array whose gradient is wrong there."""
        return self.findings[0].tensor if self.findings else ""

    @property
    def kind(self) -> str:
        """The kind of the first mistake; if there is none, that of the first remark, or an empty text."""
        return next((found.kind for found in [*self.findings, *self.remarks]), "")

    def __str__(self) -> str:
        return self._text([str(found) for found in [*self.findings, *self.remarks]])

    def explain(self) -> str:
        """Return all there is to say."""
        return self._text([found.explain() for found in [*self.findings, *self.remarks]], everything=True)

    def _text(self, parts: list[str], everything: bool = False) -> str:
        if self.ok:
            parts = [f"{self.name}: no mistake found", *parts]
        if self.consequences:
            n = len(self.consequences)
            parts.append(f"{n} further gradient{'s are' if n > 1 else ' is'} wrong only because "
                         f"{'these come' if n > 1 else 'it comes'} after: "
                         + (", ".join(self.consequences if everything else self.consequences[:4]))
                         + ("" if everything or n <= 4 else " ..."))
        return "\n".join([*parts, UNCHECKED])

    def draw(self, path: Any) -> None:
        """Write a figure of the first mistake: the gradient beside the reference. It needs matplotlib."""
        found = next((f for f in self.findings if f.given is not None), None)
        if found is None or found.given is None or found.right is None:
            raise ValueError("there is no wrong gradient to draw")
        from ..train.plotting import figure, gradients
        fig = figure(8, 3)
        gradients(fig, found.given, found.right, f"{found.where}: d{found.tensor.rpartition('.')[2]} ({found.kind})")
        fig.savefig(path)


def equation(*things: Any) -> str:
    """Return the number of the equation that a docstring cites first, or an empty text."""
    for thing in things:
        cited = re.search(r"\bMATH \((\d+\.\d+)\)", getattr(thing, "__doc__", None) or "")
        if cited and str(getattr(thing, "__module__", "")).startswith("scratchvae"):
            return cited[1]
    return ""
