"""The cases of the layers: Dense, tanh, ReLU, softplus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from grader.tasks import Array, Case, Problem, list_of, num, parts, product, shapes


def dense(code: Any, W: Array, b: Array) -> Any:
    """Return the code's Dense with these weights, and gradients that are not yet there."""
    layer = code.Dense(*W.shape, np.random.default_rng(0))
    layer.W, layer.b, layer.dW, layer.db = W, b, np.full_like(W, np.nan), np.full_like(b, np.nan)
    return layer


def dense_cases(target: str) -> Iterator[Case]:
    """Small shapes, square ones, one row, one column."""
    rng = np.random.default_rng(1)
    for n, n_in, n_out in ((3, 2, 4), (1, 2, 1), (3, 3, 3), (5, 4, 1), (1, 1, 1), (2, 5, 3)):
        x, W, b, dy = (rng.normal(size=size).round(2) for size in ((n, n_in), (n_in, n_out), n_out, (n, n_out)))

        def forward(code: Any, x: Array, W: Array, b: Array) -> dict[str, Any]:
            y, cache = parts("Dense.forward", dense(code, W, b).forward(x), "y", "the cache")
            return {"y": y, "the cache": cache}

        def backward(code: Any, x: Array, W: Array, b: Array, dy: Array) -> dict[str, Any]:
            layer = dense(code, W, b)
            held = {"dW": layer.dW, "db": layer.db}
            dx = layer.backward(dy.copy(), x)
            for name, array in held.items():
                if getattr(layer, name) is not array and all(
                        np.shape(getattr(layer, n)) == a.shape for n, a in held.items()):
                    raise Problem(f"self.{name} = ... makes a new array. The optimiser looks at the old one, a part of "
                                  f"model.gradient, so theta would never move. Write into it: self.{name}[:] = ...")
            again = dense(code, W, b)
            again.dW[:], again.db[:] = 0, 1
            again.backward(dy.copy(), x)
            for name, array in held.items():           # NaN stood there; now 0, and 1
                if getattr(layer, name) is array and np.isnan(array).any() and np.ptp(getattr(again, name)) > 0:
                    raise Problem(f"self.{name} is added to, so that what the last step left there stays in it. Write "
                                  f"self.{name}[:] = ..., not +=.")
            return {"self.dW": layer.dW, "self.db": layer.db, "dx": dx}

        def y_terms(i: int, j: int, x: Array = x, W: Array = W, b: Array = b) -> list[Any]:
            return [*((f"x[{i}, {k}] W[{k}, {j}]", product(x[i, k], W[k, j]), x[i, k] * W[k, j])
                      for k in range(len(W))), (f"b[{j}]", num(b[j]), b[j])]

        def dW_terms(k: int, j: int, x: Array = x, dy: Array = dy) -> list[Any]:
            return [(f"x[{i}, {k}] dy[{i}, {j}]", product(x[i, k], dy[i, j]), x[i, k] * dy[i, j])
                    for i in range(len(x))]

        def db_terms(j: int, dy: Array = dy) -> list[Any]:
            return [(f"dy[{i}, {j}]", num(dy[i, j]), dy[i, j]) for i in range(len(dy))]

        def dx_terms(i: int, k: int, W: Array = W, dy: Array = dy) -> list[Any]:
            return [(f"dy[{i}, {j}] W[{k}, {j}]", product(dy[i, j], W[k, j]), dy[i, j] * W[k, j])
                    for j in range(W.shape[1])]

        def diagnose(code: Any, tool: Any, x: Array, W: Array, b: Array, dy: Array) -> Any:
            return tool.diagnose_layer(dense(code, W, b), x)

        lengths = {"n, the number of rows": n, "n_in, the columns of x": n_in, "n_out, the columns of y": n_out}
        if target == "forward":
            yield Case(0, shapes(x=x, W=W), {"x": x, "W": W, "b": b}, forward, {"y": y_terms}, lengths)
        else:
            yield Case(0, shapes(x=x, dy=dy), {"x": x, "W": W, "b": b, "dy": dy}, backward,
                       {"self.dW": dW_terms, "self.db": db_terms, "dx": dx_terms}, lengths, diagnose)


def activation_cases(name: str, formula: str, value: Callable[[Any], Any], slope_formula: str,
                     slope: Callable[[Any], Any]) -> Iterator[Case]:
    """Ordinary numbers, large ones, and zeros."""
    rng = np.random.default_rng(2)
    for x in (rng.normal(size=(2, 3)).round(2), rng.normal(size=(3, 3)).round(2), rng.normal(size=7).round(2),
              np.array([[-1000.0, -20, -3, 3, 20, 1000]]), np.array([[0.0, -1, 2, 0]])):
        dy = rng.normal(size=x.shape).round(2)

        def forward(code: Any, x: Array) -> dict[str, Any]:
            return {"y": parts(f"{name}.forward", getattr(code, name)().forward(x), "y", "the cache")[0]}

        def backward(code: Any, x: Array, dy: Array) -> dict[str, Any]:
            layer = getattr(code, name)()
            cache = parts(f"{name}.forward", layer.forward(x), "y", "the cache")[1]
            return {"dx": layer.backward(dy, cache)}

        def diagnose(code: Any, tool: Any, x: Array, dy: Array) -> Any:
            return tool.diagnose_layer(getattr(code, name)(), x)

        def y_terms(*at: int, x: Array = x) -> list[Any]:
            return [(formula.format(f"x{list(at)}"), formula.format(f"{x[at]:g}"), value(x[at]))]

        def dx_terms(*at: int, x: Array = x, dy: Array = dy) -> list[Any]:
            return [(f"dy{list(at)} · {slope_formula}", product(dy[at], slope(x[at])), dy[at] * slope(x[at]))]

        yield Case(0, f"x = {list_of(x)}", {"x": x}, forward, {"y": y_terms})
        kink = np.where(x == 0, dy, 0) if name == "ReLU" else 0 * x          # there any slope from 0 to 1 is right
        yield Case(1, f"x = {list_of(x)} and dy = {list_of(dy)}", {"x": x, "dy": dy}, backward, {"dx": dx_terms},
                   diagnose=diagnose, slack={"dx": kink})


def tanh_cases() -> Iterator[Case]:
    """The cases of tanh."""
    return activation_cases("Tanh", "tanh({})", np.tanh, "(1 - y²)", lambda x: 1 - np.tanh(x) ** 2)


def relu_cases() -> Iterator[Case]:
    """The cases of ReLU."""
    return activation_cases("ReLU", "max({}, 0)", lambda x: max(x, 0.0), "slope", lambda x: float(x > 0))


def softplus_cases() -> Iterator[Case]:
    """Ordinary numbers, and those at which an exponential overflows."""
    rng = np.random.default_rng(3)
    for target, name in enumerate(("softplus", "sigmoid")):
        for x in (rng.normal(size=(2, 3)).round(2), rng.normal(size=4).round(1) * 5, rng.normal(size=(3, 3)),
                  np.array([0.0, 1.0, -1.0]), np.array([[-1000.0, -40, 40, 1000]])):

            def run(code: Any, x: Array, name: str = name) -> dict[str, Any]:
                return {name: getattr(code, name)(x)}

            def terms(*at: int, x: Array = x, name: str = name) -> list[Any]:
                low = float(np.exp(-abs(x[at])))
                if name == "softplus":
                    return [("max(x, 0)", num(max(x[at], 0)), max(x[at], 0)),
                            ("log(1 + e^(-|x|))", f"log(1 + {num(low)})", np.log1p(low))]
                value = 1 / (1 + low) if x[at] > 0 else low / (1 + low)
                return [("1 / (1 + e^(-x))", f"1 / (1 + e^({-x[at]:g}))", value)]

            yield Case(target, f"x = {list_of(x)}", {"x": x}, run, {name: terms})
