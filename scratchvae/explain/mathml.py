"""Turns the plain notation of MATH.md into MathML, which a browser typesets without a script.

Names stay as in the code: mu is mu.  Fractions, roots, indices and powers are typeset.
"""

from __future__ import annotations

import re
from functools import lru_cache
from html import escape

RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ᵀᵗˣʸʳˡᵃᵇʰ", "0123456789-+Ttxyrlabh"))
LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉ₙᵢⱼₜₖᵥₛ", "0123456789nijtkvs"))
WORDS = [word.replace("~", " ") for word in """
    a~constant a~factor a~row after again all along and another are as at at~the~top back backward Bayes'~rule before
    binary both bracket by cell chain code compared computed condition correlation deviation density direct directly
    down draw drawn each else every exact example expect factor feeds first fixed flow for form forward from given
    gives going gone gradient half has held if in is it its keep known label last left level level~of~noise levels
    line likelihood many mean~and mean~of measured measurement might minus misses missing mod network network's
    networks new new~noise normal~with not nothing number of off on one one-hot or orthogonal over place plain point
    posterior printed prior~matching random real replacement reverse row samples see~below sees share signal~to~noise
    smooth so standard stationary still sum~over taken tends that the the~columns the~step their then there these
    this those three through times to top-down uniform~on up uses variable variables variance variances what where
    whole with without""".split()]
WORD = "(?:" + "|".join(sorted(WORDS, key=len, reverse=True)) + r")(?![\w'(\[.-])"
PHRASE = rf"{WORD}(?: (?:a )?{WORD})*[,:]?"               # words are set as words: of one draw:
SIGNS = {"<=": "≤", ">=": "≥", "||": "‖", "-": "−", "+=": "+=", "...": "…", "*": "·", "~": "∼"}
LETTER = "A-Za-zÀ-ÖØ-öø-ÿα-ωΑ-Ωἀ-ᾼ"
TOKEN = re.compile(PHRASE + r"|\s+|[a-z_]+\.[a-z_]+|[a-z_]+_backward|d?log_(?:prob|factorial|ratio|[pqw])|"
                   r"d?prior_matching|learning_rate|d?cell_log_p|\.\.\.|<=|>=|\+=|\|\||\d+(?:\.\d+)?"
                   rf"|[{LETTER}∂](?:[{LETTER}∂]|[\u0300-\u036f])*[0-9]*'?s?|_\{{[^}}]*\}}|_[{LETTER}0-9]+"
                   "|[" + "".join(RAISED) + "]+|[" + "".join(LOWERED) + "]+|.")


def mathml(text: str) -> str:
    """Return a formula as one ``<math>`` element; its plain text is its label for a screen reader."""
    tokens = [t for t in TOKEN.findall(text)]
    atoms, _ = row(tokens, 0, "")
    return f'<math aria-label="{escape(text)}"><mrow>{"".join(atoms)}</mrow></math>'


@lru_cache(maxsize=None)
def broken(text: str, most: int = 34) -> str:
    """Return a formula as one ``<math>`` element, or a long one as several, so that the line can break between them.

    It is split before =, +, - and words outside brackets and bars.
    """
    tokens, parts, depth, length, bars = TOKEN.findall(text), [""], 0, 0, False
    for i, token in enumerate(tokens):
        depth += (token in "([") - (token in ")]")
        if token == "|" and not tokens[max(i - 1, 0)] == " " == "".join(tokens[i + 1:i + 2]):     # |a - b|, no p(a | b)
            bars = not bars
        sign = i > 0 and tokens[i - 1].isspace() and tokens[i + 1:i + 2] == [" "] and (
            token in ("=", "+", "-") or re.fullmatch(PHRASE, token))
        if sign and not (depth or bars) and (length > most or len(text) - length > 2 * most and length > most / 2):
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
        if gap and out and not any(part.startswith(("<mo", "<mtext")) for part in (out[-1], made)):
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
    elif re.fullmatch(PHRASE, token) and tokens[at:at + 1] != ["["]:
        left = at > 2 and tokens[at - 2].isspace() and not re.fullmatch(PHRASE, tokens[at - 3])
        right = "".join(tokens[at:at + 1]).isspace()
        made = f"<mtext>{'&#160;' * left}{escape(token)}{'&#160;' * right}</mtext>"
    elif token in "ΣΠ∫":
        made = f"<mo>{ {'Σ': '∑', 'Π': '∏'}.get(token, token) }</mo>"
    elif token[0].isalpha() or token[0] == "∂":
        made = f"<mi>{escape(token)}</mi>"
    elif token == ":":                                 # at the end of a label, or in a slice
        made = f'<mo lspace="0" rspace="{"0.3em" if tokens[at:at + 1] == [" "] else "0"}">:</mo>'
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
        elif after in ("[", "(") and (token[0].isalpha() or token[0] == "∂") or (    # x[n, i]; f(x); exp x[n, i]
                after == " " and token in ("exp", "log") and re.match("[^\\WΣΠ\\d]", "".join(tokens[at + 1:at + 2]))):
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
