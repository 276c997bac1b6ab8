"""Writes an expression in the notation of MATH.md: ``x * y`` as x y, ``x**2`` as x²."""

from __future__ import annotations

import ast

RAISED = dict(zip("0123456789-xhabt", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻ˣʰᵃᵇᵗ"))
SUMS = {"Σ": "Σ", "Σn": "Σₙ", "Σi": "Σᵢ", "Σj": "Σⱼ", "Σk": "Σₖ", "Σt": "Σₜ", "Σv": "Σᵥ"}
LEVELS = {"t", "t - 1", "t + 1", "0"}


def text(node: ast.expr) -> str:
    """Return an expression as MATH.md writes it."""
    return write(node, 0)


def write(node: ast.expr, tight: int) -> str:
    """Return it, in brackets if it binds less tightly than ``tight``: 1 a sum, 2 a product, 3 a quotient or power."""
    said, binds = bare(node)
    return said if binds >= tight else f"({said})"


def bare(node: ast.expr) -> tuple[str, int]:
    """Return an expression, and how tightly it binds."""
    if isinstance(node, ast.Name):
        return node.id, 4
    if isinstance(node, ast.Constant):
        return str(node.value), 4
    if isinstance(node, ast.Tuple):
        return ", ".join(map(text, node.elts)), 0
    if isinstance(node, ast.List):
        pair = node.elts[0]
        assert isinstance(pair, ast.BinOp)
        return f"[ {text(pair.left)} | {text(pair.right)} ]", 4
    if isinstance(node, ast.Attribute):
        return f"{write(node.value, 4)}.{node.attr}", 4
    if isinstance(node, ast.Subscript):
        index = ast.unparse(node.slice).strip("()").replace(", ", ",")
        if index in LEVELS and isinstance(node.value, ast.Name) and "_" not in node.value.id:
            return f"{node.value.id}_{index}" if len(index) == 1 else f"{node.value.id}_{{{index.replace(' ', '')}}}", 4
        return f"{text(node.value)}[{ast.unparse(node.slice).strip('()') if ':' in index else index}]", 4
    if isinstance(node, ast.UnaryOp):
        return f"-{write(node.operand, 2)}", 1
    if isinstance(node, ast.Compare):
        return f"{text(node.left)} > {text(node.comparators[0])}", 0
    if isinstance(node, ast.BinOp):
        return operation(node)
    assert isinstance(node, ast.Call)
    return call(node)


def operation(node: ast.BinOp) -> tuple[str, int]:
    """Return a sum, a product, a quotient or a power."""
    left, right = node.left, node.right
    if isinstance(node.op, (ast.Add, ast.Sub)):
        sign = "+" if isinstance(node.op, ast.Add) else "-"
        return f"{write(left, 1)} {sign} {write(right, 1 if sign == '+' else 2)}", 1
    if isinstance(node.op, ast.Mult):
        return f"{factor(left)} {write(right, 2)}", 2
    if isinstance(node.op, ast.Div):
        return f"{write(left, 1 if isinstance(left, ast.UnaryOp) else 2)}/{write(right, 3)}", 2
    power = ast.unparse(right)
    if isinstance(left, ast.Name) and left.id == "e":
        if power.lstrip("-") in RAISED:
            return "e" + "".join(RAISED[c] for c in power), 4
        said = text(right)
        return f"e^({said})", 4
    return write(left, 4) + "".join(RAISED[c] for c in power), 3


def factor(node: ast.expr) -> str:
    """Return the first factor of a product: (1/2), -(1/2), -x."""
    if isinstance(node, ast.UnaryOp):
        return f"-{factor(node.operand)}"
    ratio = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and isinstance(node.left, ast.Constant)
    return f"({text(node)})" if ratio else write(node, 2)


def call(node: ast.Call) -> tuple[str, int]:
    """Return a function of its arguments."""
    name = node.func.id if isinstance(node.func, ast.Name) else text(node.func)
    args = [text(a) for a in node.args]
    first = node.args[0] if node.args else None
    if name in SUMS:
        if len(args) == 3:
            return f"Σ_{{k={args[0]}..{args[1]}}} {write(node.args[2], 2)}", 2
        inside = bare(node.args[0])
        return f"{SUMS[name]} {args[0]}" if inside[1] >= 2 else f"{SUMS[name]} [ {args[0]} ]", 3
    if name == "log" and isinstance(first, ast.BinOp) and isinstance(first.op, ast.Mult) and len(args[0]) < 6:
        return f"log {args[0].replace(' ', '')}", 3    # log 2π
    if name in ("log", "exp") and (isinstance(first, ast.Subscript) or (
            name == "log" and isinstance(first, (ast.Name, ast.Call)) and (args[0][0] in "NΣΓp" or len(args[0]) == 1))):
        return f"{name} {args[0]}", 3
    if name == "tanh" and isinstance(first, ast.Name):
        return f"tanh {args[0]}", 3
    if name == "N":
        return f"N({args[0]}; {args[1]}, {args[2]}²)", 4
    if name in ("p", "KL"):
        bar = " | " if name == "p" else " || "
        return f"{name}({bar.join('N(0, I)' if a == 'N01' else a for a in args)})", 4
    if name == "H":
        return f"H({args[0]})", 4
    special = {"sqrt": "√{}" if first is not None and bare(first)[1] == 4 else "√({})", "abs": "|{}|",
               "square": "|{}|²", "prime": "({})'", "where": "{1} where {0}, else {2}", "left": "left half of {}",
               "right": "right half of {}", "largest": "max {}", "rows": "[ {}; {} ]", "over_draws": "Σₖ {}_k",
               "columns_of_z": "{}, the columns of z", "log_factorial": "log {}!"}
    if name in special:
        return special[name].format(*args), 4 if name not in ("where", "columns_of_z") else 0
    return f"{name}({', '.join(args)})", 4
