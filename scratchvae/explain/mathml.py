"""Turns the plain notation of MATH.md into MathML, which a browser typesets without a script.

Names stay as in the code: mu is mu.  Fractions, roots, indices and powers are typeset.
"""

from __future__ import annotations

import re
from functools import lru_cache
from html import escape

RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ᵀᵗˣʸʳˡᵃᵇʰ", "0123456789-+Ttxyrlabh"))
LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉ₙᵢⱼₜₖᵥ", "0123456789nijtkv"))
WORDS = {"where", "else", "by", "for", "each", "of", "or", "from", "line", "and", "level", "network", "backward",
         "given", "one", "fixed", "network's", "over", "at", "the", "sees", "binary", "those", "missing", "is",
         "variables", "that", "are", "there"}
SIGNS = {"<=": "≤", ">=": "≥", "||": "‖", "-": "−", "+=": "+=", "...": "…", "*": "·"}
LETTER = "A-Za-zÀ-ÖØ-öø-ÿα-ωΑ-Ω"
TOKEN = re.compile(r"\s+|[a-z_]+\.[a-z_]+|[a-z_]+_backward|d?log_(?:prob|factorial|ratio)|d?prior_matching|"
                   r"d?cell_log_p|\.\.\.|<=|>=|\+=|\|\||\d+(?:\.\d+)?"
                   rf"|[{LETTER}∂](?:[{LETTER}∂]|[\u0300-\u036f])*'?s?|_\{{[^}}]*\}}|_[{LETTER}0-9]+"
                   "|[" + "".join(RAISED) + "]+|[" + "".join(LOWERED) + "]+|.")


def mathml(text: str) -> str:
    """Return a formula as one ``<math>`` element; its plain text is its label for a screen reader."""
    tokens = [t for t in TOKEN.findall(text)]
    atoms, _ = row(tokens, 0, "")
    return f'<math aria-label="{escape(text)}"><mrow>{"".join(atoms)}</mrow></math>'


@lru_cache(maxsize=None)
def broken(text: str, most: int = 34) -> str:
    """Return a formula as one ``<math>`` element, or a long one as several, so that the line can break between them.

    It is split before =, + and - outside brackets.
    """
    tokens, parts, depth, length = TOKEN.findall(text), [""], 0, 0
    for i, token in enumerate(tokens):
        depth += (token in "([") - (token in ")]")
        sign = token in ("=", "+", "-") and i > 0 and tokens[i - 1].isspace() and tokens[i + 1:i + 2] == [" "]
        if sign and depth == 0 and (length > most or len(text) - length > 2 * most > 0 and length > most / 2):
            parts.append("")
            length = 0
        parts[-1] += token
        length += len(token)
    return " ".join(map(mathml, parts)) if len(text) > most else mathml(text)


def row(tokens: list[str], at: int, until: str) -> tuple[list[str], int]:
    """Return the elements up to a closing bracket, and the place of the bracket."""
    out: list[str] = []
    gap = False
    while at < len(tokens) and tokens[at] != until:
        token = tokens[at]
        if token.isspace():
            gap = True
            at += 1
            continue
        if token == "/" and out and at + 1 < len(tokens):
            below, at = element(tokens, at + 1)
            if below.startswith(("<mi>∂log", "<msub><mo>∑")) and at + 1 < len(tokens):         # w/Σⱼ w_j
                more, at = element(tokens, at)
                below = f'<mrow>{below}<mspace width="0.2em"/>{more}</mrow>'
            start = len(out) - 1
            if any(part.startswith("<mi>∂") for part in out[-3:-1]):             # ∂log w/∂z
                start = max(i for i, part in enumerate(out[:-1]) if part.startswith("<mi>∂"))
            above = out[start] if start == len(out) - 1 else f"<mrow>{''.join(out[start:])}</mrow>"
            out[start:] = [f"<mfrac>{bare(above)}{bare(below)}</mfrac>"]
            gap = False
            continue
        made, at = element(tokens, at)
        gap = gap or bool(out and out[-1].startswith("<mfrac>") and made.startswith("<mfrac>"))
        if gap and out and not out[-1].startswith("<mo") and not made.startswith("<mo"):
            out.append('<mspace width="0.25em"/>')
        out.append(made)
        gap = False
    return out, at


def element(tokens: list[str], at: int) -> tuple[str, int]:
    """Return one element with all its indices and powers, and the place after it."""
    while tokens[at].isspace():
        at += 1
    token = tokens[at]
    called = at > 0 and tokens[at - 1][0].isalpha()    # exp(...), not a bracket of its own
    at += 1
    closing = {"(": ")", "[": "]"}.get(token, "")
    if token == "√" and at < len(tokens):
        inner, at = element(tokens, at)
        made = f"<msqrt>{bare(inner)}</msqrt>"
    elif closing and closing in tokens[at:]:
        inside, at = row(tokens, at, closing)
        at += 1
        made = f'<mrow><mo stretchy="false">{token}</mo>{"".join(inside)}<mo stretchy="false">{closing}</mo></mrow>'
        if token == "(" and len(inside) == 1 and inside[0].startswith("<mfrac>") and not called:
            made = inside[0]                           # a factor in brackets, (1/2) Σ, needs none
    elif token[0].isdigit():
        made = f"<mn>{token}</mn>"
    elif token in WORDS:
        made = f"<mtext>&#160;{escape(token)}&#160;</mtext>"
    elif token in "ΣΠ∫":
        made = f"<mo>{ {'Σ': '∑', 'Π': '∏'}.get(token, token) }</mo>"
    elif token[0].isalpha() or token[0] == "∂":
        made = f"<mi>{escape(token)}</mi>"
    elif token == "|":
        made = '<mo stretchy="false">|</mo>'
    else:
        made = f"<mo>{escape(SIGNS.get(token, token))}</mo>"
    while at < len(tokens):
        after = tokens[at]
        if after[0] in RAISED:
            made = f"<msup>{made}{power(after)}</msup>"
        elif after[0] in LOWERED:
            made = f"<msub>{made}<mi>{''.join(LOWERED[c] for c in after)}</mi></msub>"
        elif after[0] == "_" and len(after) > 1:
            inner = "".join(row(TOKEN.findall(after[1:].strip("{}")), 0, "")[0])
            made = f"<msub>{made}<mrow>{inner}</mrow></msub>"
        elif after == "[" and token[0].isalpha() or (                          # an entry x[n, i]; exp x[n, i]
                after == " " and token in ("exp", "log") and "".join(tokens[at + 1:at + 2])[:1].isalpha()):
            inner, at = element(tokens, at)
            made = f"<mrow>{made}" + '<mspace width="0.2em"/>' * (after == " ") + f"{inner}</mrow>"
            continue
        elif after == "^" and at + 1 < len(tokens):
            inner, at = element(tokens, at + 1)
            if at < len(tokens) and tokens[at] == "(" and inner.startswith("<mi>m"):         # e^min(x, 0)
                more, at = element(tokens, at)
                inner = f"<mrow>{inner}{more}</mrow>"
            made = f"<msup>{made}{bare(inner)}</msup>"
            continue
        else:
            break
        at += 1
    return made, at


def power(text: str) -> str:
    """Return raised characters as a row: ⁻ˣ is −x, ᵀ is T."""
    return "<mrow>" + "".join(f"<mo>{'−' if RAISED[c] == '-' else RAISED[c]}</mo>" if RAISED[c] in "+-" else
                              f"<mi>{RAISED[c]}</mi>" for c in text) + "</mrow>"


def bare(made: str) -> str:
    """Return a bracketed row without its brackets, which a fraction, a root or a power does not need."""
    found = re.fullmatch(r'<mrow><mo stretchy="false">\(</mo>(.*)<mo stretchy="false">\)</mo></mrow>', made, re.DOTALL)
    return f"<mrow>{found.group(1)}</mrow>" if found else made
