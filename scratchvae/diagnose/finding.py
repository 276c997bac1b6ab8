"""The report of a mistake: where it is, what kind it looks like, the numbers, and what to write instead."""

from __future__ import annotations

from dataclasses import dataclass, field
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
    places : list of str
        The steps of a pass in which it shows: ``["q1.dense2", "q1.dense1"]``.
    """

    where: str
    tensor: str
    kind: str
    says: str
    hint: str = ""
    evidence: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        of = f"the gradient by {self.tensor}" if self.tensor else "the pass"
        head = f"{self.where}: {of} is wrong ({self.kind})" if self.kind not in REMARKS else f"{self.where}: no mistake"
        if self.places and self.where.partition(".")[0] not in self.places[0]:
            head += f", in {', '.join(self.places[:3])}{' ...' if len(self.places) > 3 else ''}"
        lines = [head, *_indented(_sentence(self.says))]
        lines += [f"    {text}" for text in self.evidence]
        if self.hint:
            lines += _indented(f"Instead: {self.hint}.")
        return "\n".join(lines)


def _sentence(text: str) -> str:
    """Begin with a capital, unless it is with a symbol; end with a full stop, or with lines of code."""
    plain = text.partition(" ")[0] in ("it", "its", "forward", "backward", "wrong", "what", "each")
    begun = text[:1].upper() + text[1:] if plain else text
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
        parts = [str(found) for found in [*self.findings, *self.remarks]]
        if self.ok:
            parts = [f"{self.name}: no mistake found", *parts]
        if self.consequences:
            n = len(self.consequences)
            parts.append(f"{n} further gradient{'s are' if n > 1 else ' is'} wrong only because "
                         f"{'these come' if n > 1 else 'it comes'} after: " + ", ".join(self.consequences[:4])
                         + (" ..." if n > 4 else ""))
        return "\n".join([*parts, UNCHECKED])
