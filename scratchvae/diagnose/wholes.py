"""A model, or a stack of layers, as one pair: x and all its parameters in, the loss or y out."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import numpy as np

from ..layers import Array
from ..model import Model
from ..verify.gradcheck import stream
from .pairs import gradient, outputs_of, parameters, run
from .recording import parts_of
from .reference import Arrays, Pair, generators

ALPHA, BETA = 1.3, 0.8                                 # no 1: a weight that is forgotten is seen


def model_whole(model: Model, x: Array, noise: Any = None) -> tuple[Pair, list[Any]]:
    """Return the pair of a model's loss, and the two copies of the model that it works with.

    The loss has the weights alpha = 1.3 and beta = 0.8, 0.75, ...: with 1, a forgotten weight would not be seen.
    The dy of the loss multiplies what backward leaves: a backward that ignores beta does not ignore dy.
    """
    point = model.astype(np.float64)
    x = point.check_x(x)
    noise = point.draw_noise(len(x), stream(2)) if noise is None else noise
    twins = {"f": point, "c": point.astype(np.complex128)}
    noises = {kind: twin.check_noise(noise, len(x)) for kind, twin in twins.items()}
    beta = BETA - 0.05 * np.arange(len(model.latent_dims))
    fill = stream(6).standard_normal(point.theta.shape)
    wants_dx = "input_gradient" in inspect.signature(type(model).backward).parameters
    what = type(model).__name__

    def run_forward(given: Arrays) -> tuple[Arrays, Any]:
        kind = "c" if any(np.iscomplexobj(a) for a in given.values()) else "f"
        twin = twins[kind]
        for name, view in twin.parameters.items():
            view[...] = given[name]
        call = (lambda: twin.bound(given["x"], noises[kind]))
        result = call() if kind == "c" else run(f"{what}.bound", call)
        outputs, cache, _ = outputs_of((result[0].loss(beta, ALPHA), result[1]) if isinstance(result, tuple)
                                       and len(result) == 2 else result, f"{what}.bound")
        return {"loss": outputs["y"]}, (twin, result[0], cache)

    def run_backward(dys: Arrays, kept: Any) -> Arrays:
        (twin, elbo, cache), dy = kept, float(np.real(dys["loss"]))
        twin.gradient[:] = fill
        options = {"input_gradient": True} if wants_dx else {}
        dx = run(f"{what}.backward", lambda: twin.backward(elbo.loss_backward(beta, ALPHA), cache, **options))
        found = {name: dy * view for name, view in twin.gradients.items()}
        return {**({"x": dy * gradient(dx, "x", x, f"{what}.backward")} if wants_dx else {}), **found}

    start, fills = 0, {}
    for name, view in point.parameters.items():
        fills[name] = fill[start:start + view.size].reshape(view.shape)
        start += view.size
    inputs = {**({"x": x} if wants_dx else {}), **{n: a.copy() for n, a in point.parameters.items()}}
    if not wants_dx:
        plain = run_forward

        def run_forward(given: Arrays) -> tuple[Arrays, Any]:          # noqa: F811
            return plain({"x": x, **given})
    pair = Pair(f"{what}.backward", run_forward, run_backward, inputs, fills)
    pair.constants = {"alpha": ALPHA, **{f"beta of level {t}": float(b) for t, b in enumerate(beta, start=1)}}
    return pair, list(twins.values())


def layers_in(thing: Any) -> dict[str, Any]:
    """Return the layers that an object is made of, by name; itself among them if it has parameters of its own."""
    found = {part.name: part.layer for part in parts_of(thing) if part.layer is not None}
    own = {"": thing} if found and parameters(thing) else {}
    return {**own, **found}


def stack_whole(stack: Any, x: Array) -> tuple[Pair, list[Any]]:
    """Return the pair of a stack of layers, and the two copies of the stack that it works with."""
    twins = {kind: copy.deepcopy(stack) for kind in "fc"}
    owners = {kind: layers_in(twin) for kind, twin in twins.items()}
    named = {f"{part}.{n}" if part else n: (part, n) for part, layer in owners["f"].items() for n in parameters(layer)}
    inputs = {"x": np.asarray(x, float),
              **{full: np.array(getattr(owners["f"][part], n), float) for full, (part, n) in named.items()}}
    fills = {full: stream(6).standard_normal(inputs[full].shape) for full in named}
    what = type(stack).__name__

    def run_forward(given: Arrays) -> tuple[Arrays, Any]:
        kind = "c" if any(np.iscomplexobj(a) for a in given.values()) else "f"
        for full, (part, n) in named.items():
            setattr(owners[kind][part], n, given[full])
            setattr(owners[kind][part], "d" + n, fills[full].copy())
        call = (lambda: twins[kind].forward(given["x"]))
        outputs, cache, several = outputs_of(call() if kind == "c" else run(f"{what}.forward", call), f"{what}.forward")
        return outputs, (kind, cache, several, np.real(given["x"]))

    def run_backward(dys: Arrays, kept: Any) -> Arrays:
        kind, cache, several, x_given = kept
        dy = tuple(dys.values()) if several else next(iter(dys.values()))
        dx = run(f"{what}.backward", lambda: twins[kind].backward(dy, cache))
        found = {full: np.array(getattr(owners[kind][part], "d" + n)) for full, (part, n) in named.items()}
        return {"x": gradient(dx, "x", x_given, f"{what}.backward"), **found}

    sources = list({id(g): g for twin in twins.values() for g in generators(twin)}.values())
    return Pair(f"{what}.backward", run_forward, run_backward, inputs, fills, sources), list(twins.values())
