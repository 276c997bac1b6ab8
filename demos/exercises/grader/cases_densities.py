"""The cases of the Gaussians and of the Bernoulli: a function and its backward, of arrays of shape (n, d)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from grader.tasks import Array, Case, Terms, num, parts, product


def pair_cases(forward: str, backward: str, names: tuple[str, ...], returned: str, wanted: tuple[str, ...],
               terms: Callable[..., Terms], make: bool = False, rows: bool = True) -> Iterator[Case]:
    """Cases of a density: a function and its backward, of arrays of shape (n, d)."""
    rng = np.random.default_rng(4)
    for n, d in ((2, 3), (3, 3), (1, 1), (4, 2), (1, 4), (5, 1), (0, 0)):
        if (n, d) == (0, 0):                           # numbers of every size
            large = np.array([[-1000.0, -40, 0], [0.5, 40, 1000]])
            arrays = ({"x": np.array([[1.0, 0, 1], [0.25, 1, 0]]), "logits": large} if make else
                      {name: (rng.choice([-6.0, 0.0, 4.0], size=(2, 3)) if "logvar" in name
                              else rng.normal(size=(2, 3)).round(2) * 10) for name in names})
        else:
            arrays = {name: rng.normal(size=(n, d)).round(2) for name in names}
            if make:
                arrays["x"] = rng.choice([0.0, 1.0, 0.25], size=(n, d))
        shape = arrays[names[0]].shape
        dy = rng.normal(size=shape[:1] if rows else shape).round(2)
        owner = "Bernoulli." if make else ""

        def functions(code: Any) -> tuple[Any, Any]:
            holder = code.Bernoulli(shape[1]) if make else code
            return getattr(holder, forward), getattr(holder, backward)

        def run_forward(code: Any, **arrays: Array) -> dict[str, Any]:
            return {returned: parts(owner + forward, functions(code)[0](*arrays.values()), returned, "the cache")[0]}

        def run_backward(code: Any, **arrays: Array) -> dict[str, Any]:
            ahead, back = functions(code)
            dy = arrays.pop(f"d{returned}")
            cache = parts(owner + forward, ahead(*arrays.values()), returned, "the cache")[1]
            return dict(zip(wanted, parts(owner + backward, back(dy, cache), *wanted)))

        def diagnose(code: Any, tool: Any, **arrays: Array) -> Any:
            ahead, back = functions(code)
            moving = [arrays[name] for name in names[:len(wanted)]]            # eps of a sample has no derivative
            fixed = [arrays[name] for name in names[len(wanted):]]
            return tool.diagnose_function(lambda *inputs: ahead(*inputs, *fixed), back, *moving,
                                          names=names[:len(wanted)], name=owner + backward)

        lengths = {"n, the number of rows": shape[0], "the number of columns": shape[1]}
        table = terms(**arrays, dy=dy)
        about = ", ".join(names) + f" of shape {shape}"
        yield Case(0, about, arrays, run_forward, table, lengths)
        yield Case(1, f"{about} and d{returned} of shape {dy.shape}", {**arrays, f"d{returned}": dy}, run_backward,
                   table, lengths, diagnose)


def sample_terms(mu: Array, logvar: Array, eps: Array, dy: Array) -> Terms:
    """How z, dmu and dlogvar are worked out."""
    std = np.exp(logvar / 2)
    return {
        "z": lambda i, j: [(f"mu[{i}, {j}]", num(mu[i, j]), mu[i, j]),
                           ("exp(logvar / 2) · eps", product(std[i, j], eps[i, j]), std[i, j] * eps[i, j])],
        "dmu": lambda i, j: [(f"dz[{i}, {j}] · 1", num(dy[i, j]), dy[i, j])],
        "dlogvar": lambda i, j: [("dz · std · eps / 2", f"{product(dy[i, j], std[i, j], eps[i, j])} / 2",
                                  dy[i, j] * std[i, j] * eps[i, j] / 2)]}


def log_prob_terms(z: Array, mu: Array, logvar: Array, dy: Array) -> Terms:
    """How log_prob, dz, dmu and dlogvar are worked out."""
    diff, var = z - mu, np.exp(logvar)

    def log_p(i: int) -> list[Any]:
        lines = []
        for j in range(z.shape[1]):
            lines += [(f"-(1/2) log 2π, column {j}", "", -0.5 * np.log(2 * np.pi)),
                      (f"-(1/2) logvar[{i}, {j}]", f"-(1/2) {num(logvar[i, j])}", -0.5 * logvar[i, j]),
                      (f"-(1/2) (z - mu)² / exp(logvar), column {j}",
                       f"-(1/2) {num(diff[i, j])}² / {num(var[i, j])}", -0.5 * diff[i, j] ** 2 / var[i, j])]
        return lines

    def by_mean(i: int, j: int, sign: float, text: str) -> list[Any]:
        value = sign * dy[i] * diff[i, j] / var[i, j]
        return [(text, f"{product(sign * dy[i], diff[i, j])} / {num(var[i, j])}", value)]

    return {
        "log_prob": log_p,
        "dz": lambda i, j: by_mean(i, j, -1, "-dlog_prob · (z - mu) / exp(logvar)"),
        "dmu": lambda i, j: by_mean(i, j, 1, "dlog_prob · (z - mu) / exp(logvar)"),
        "dlogvar": lambda i, j: [(f"-(1/2) dlog_prob[{i}]", f"-(1/2) {num(dy[i])}", -0.5 * dy[i]),
                                 ("(1/2) dlog_prob · (z - mu)² / exp(logvar)",
                                  f"(1/2) {num(dy[i])} · {num(diff[i, j])}² / {num(var[i, j])}",
                                  0.5 * dy[i] * diff[i, j] ** 2 / var[i, j])]}


def kl_terms(mu_q: Array, logvar_q: Array, mu_p: Array, logvar_p: Array, dy: Array) -> Terms:
    """How kl and its four derivatives are worked out."""
    r, diff, var_p = logvar_q - logvar_p, mu_q - mu_p, np.exp(logvar_p)

    def kl(i: int) -> list[Any]:
        lines = []
        for j in range(r.shape[1]):
            lines += [(f"(1/2) (e^r - 1 - r), column {j}", f"(1/2) ({num(np.exp(r[i, j]))} - 1 - {num(r[i, j])})",
                       0.5 * (np.expm1(r[i, j]) - r[i, j])),
                      (f"(1/2) (mu_q - mu_p)² / exp(logvar_p), column {j}",
                       f"(1/2) {num(diff[i, j])}² / {num(var_p[i, j])}", 0.5 * diff[i, j] ** 2 / var_p[i, j])]
        return lines

    def by_mu(i: int, j: int, sign: float) -> list[Any]:
        return [(f"{'-' if sign < 0 else ''}dkl · (mu_q - mu_p) / exp(logvar_p)",
                 f"{product(sign * dy[i], diff[i, j])} / {num(var_p[i, j])}", sign * dy[i] * diff[i, j] / var_p[i, j])]

    def by_r(i: int, j: int, sign: float) -> tuple[str, str, Any]:
        return (f"{'-' if sign < 0 else ''}dkl · (e^r - 1) / 2", f"{product(sign * dy[i], np.expm1(r[i, j]))} / 2",
                sign * dy[i] * np.expm1(r[i, j]) / 2)

    return {"kl": kl, "dmu_q": lambda i, j: by_mu(i, j, 1), "dmu_p": lambda i, j: by_mu(i, j, -1),
            "dlogvar_q": lambda i, j: [by_r(i, j, 1)],
            "dlogvar_p": lambda i, j: [by_r(i, j, -1), (
                "-dkl · (mu_q - mu_p)² / exp(logvar_p) / 2",
                f"{num(-dy[i])} · {num(diff[i, j])}² / {num(var_p[i, j])} / 2",
                -dy[i] * diff[i, j] ** 2 / var_p[i, j] / 2)]}


def kl_standard_terms(mu: Array, logvar: Array, dy: Array) -> Terms:
    """How kl, dmu and dlogvar are worked out."""
    var = np.exp(logvar)

    def kl(i: int) -> list[Any]:
        lines = []
        for j in range(mu.shape[1]):
            lines += [(f"(1/2) (exp(logvar) - 1 - logvar), column {j}",
                       f"(1/2) ({num(var[i, j])} - 1 - {num(logvar[i, j])})", 0.5 * (var[i, j] - 1 - logvar[i, j])),
                      (f"(1/2) mu², column {j}", f"(1/2) {num(mu[i, j])}²", 0.5 * mu[i, j] ** 2)]
        return lines

    return {"kl": kl, "dmu": lambda i, j: [(f"dkl[{i}] · mu[{i}, {j}]", product(dy[i], mu[i, j]), dy[i] * mu[i, j])],
            "dlogvar": lambda i, j: [(f"dkl[{i}] · (exp(logvar) - 1) / 2", f"{num(dy[i])} · ({num(var[i, j])} - 1) / 2",
                                      dy[i] * (var[i, j] - 1) / 2)]}


def bernoulli_terms(x: Array, logits: Array, dy: Array) -> Terms:
    """How log_prob, dx and dlogits are worked out."""
    s = 0.5 * (1 + np.tanh(logits / 2))

    def log_p(i: int) -> list[Any]:
        lines = []
        for j in range(x.shape[1]):
            softplus = np.logaddexp(0, logits[i, j])
            lines += [(f"x l, column {j}", product(x[i, j], logits[i, j]), x[i, j] * logits[i, j]),
                      (f"-softplus(l), column {j}", f"-log(1 + e^({logits[i, j]:g}))", -softplus)]
        return lines

    return {"log_prob": log_p,
            "dx": lambda i, j: [(f"dlog_prob[{i}] · l", product(dy[i], logits[i, j]), dy[i] * logits[i, j])],
            "dlogits": lambda i, j: [(f"dlog_prob[{i}] · (x - s(l))",
                                      f"{num(dy[i])} · ({num(x[i, j])} - {num(s[i, j])})",
                                      dy[i] * (x[i, j] - s[i, j]))]}
