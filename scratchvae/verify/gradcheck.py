"""Is a hand-written gradient right?  Compare it with one that needs no derivation.

*Complex step* (Squire and Trapp 1998): ∇f·v = Im f(θ + i h v) / h with h = 1e-30.
Nothing is subtracted, so the result is exact to rounding.  It needs a forward pass
that takes complex numbers; ``np.abs`` and ``np.var`` are known to it (see dual.py).  MATH (10.1).

*Central differences*: ∇f·v = [f(θ + h v) - f(θ - h v)] / 2h; some 7 to 10 digits remain.
MATH (10.2).  They are the only witness for code that takes no complex numbers, and always the
second one: the complex step can be fooled by a forward that is not analytic (see derivative.py).

For a small tensor v runs through the unit vectors, one for each entry; for a
large one v is a random direction, normal in every entry, and one evaluation checks
all entries at once: whatever the error, the chance that it is orthogonal to v is 0.

Errors are relative to the tensor's own gradient, never absolute.  So a tensor
whose gradient is 1e-9 is held to as many digits as the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import check
from ..layers import Array, Layer
from ..mlp import MLP
from ..model import Model
from ..objective import ELBO
from .derivative import (Arrays, NotComplex, Pair, change, changes, complex_step, confirmed, copies, off_entries,
                         precision, relative, stream)
from .noise import still
from .pairs import PARTS, function_pair, layer_pair, model_pair

CENTRAL_STEP = 1e-5
TOLERANCE = {"complex": 1e-12, "central": 1e-7}
DIFFERENCE = 1e-4                                      # where the second witness judges; further off, it is asked
ROUNDING = 1e-15                                       # of a value

Value = Callable[[Mapping[str, Array]], Mapping[str, Any]]


@dataclass
class Entry:
    """One line of the ledger: the gradient of one quantity by one array.

    Attributes
    ----------
    of, by : str
        The quantity ("loss", "reconstruction", ...), and the array ("q1.dense1.W").
    shape : tuple of int
        The array's shape.
    gradient, reference : float
        The norms of the hand-written gradient and of the reference; along random
        directions, those of the derivatives in these directions.
    error : float
        The norm of their difference, relative to the largest of these two norms and,
        along random directions, that of the gradient itself.
    tolerance : float
        What the error may be.
    seen_by : str
        The witness whose error this is: "complex step", "difference" where it contradicts the first.
    kinks : int
        Entries where the slopes to the left and to the right differ, and the gradient is one of them.
    """

    of: str
    by: str
    shape: tuple[int, ...]
    gradient: float
    reference: float
    error: float
    tolerance: float
    seen_by: str = "complex step"
    kinks: int = 0

    @property
    def ok(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.error <= self.tolerance            # false for NaN

    def __str__(self) -> str:
        return (f"{self.of:<16} {self.by:<22} {'x'.join(map(str, self.shape)):>9} {self.gradient:12.4e} "
                f"{self.reference:12.4e} {self.error:9.1e}  {'ok' if self.ok else 'WRONG'}"
                f"{' (by a difference)' if self.seen_by == 'difference' else ''}{' (a kink)' if self.kinks else ''}")


@dataclass
class Ledger:
    """All comparisons of one check; print it as a table.

    Attributes
    ----------
    entries : list of Entry
    method : {'complex', 'central'}
    """

    entries: list[Entry]
    method: str
    worst: Entry = field(init=False)

    def __post_init__(self) -> None:
        self.worst = max(self.entries, key=lambda entry: np.inf if np.isnan(entry.error) else entry.error)

    @property
    def ok(self) -> bool:
        """Whether every entry is within its tolerance."""
        return all(entry.ok for entry in self.entries)

    def summary(self) -> str:
        """One line: how many, the largest error and where, the verdict."""
        wrong = sum(not entry.ok for entry in self.entries)
        return (f"{len(self.entries)} gradients, {self.method} step: largest relative error {self.worst.error:.1e} "
                f"({self.worst.of} by {self.worst.by}): {f'{wrong} WRONG' if wrong else 'all ok'}")

    def __str__(self) -> str:
        head = f"{'gradient of':<16} {'by':<22} {'shape':>9} {'gradient':>12} {'reference':>12} {'error':>9}"
        return "\n".join([head, *map(str, self.entries), self.summary()])


def compare(value: Value, gradients: Mapping[str, Mapping[str, Array]], arrays: Mapping[str, Array], *,
            method: str = "complex", directions: int | None = None, tolerance: float | None = None,
            rng: Any = 0) -> Ledger:
    """Compare gradients with derivatives of ``value``; the three checks below end here.  MATH (10.1), (10.2).

    Parameters
    ----------
    value : function
        Takes the arrays by name, returns numbers by name: the quantities whose
        gradients are in question.
    gradients : mapping of str to mapping of str to array
        ``gradients[of][by]``: of which quantity, by which array; of the array's shape.
    arrays : mapping of str to array
        The float64 point at which to compare.
    method : {'complex', 'central'}, default 'complex'
    directions : int, optional
        How many random directions for each array.  By default one for an array of
        more than 1000 entries, and every single entry of a smaller one.
    tolerance : float, optional
        By default 1e-12 for the complex step, 1e-7 for central differences.
    rng : numpy.random.Generator or int, default 0
        The source of the directions, or a seed.

    Returns
    -------
    Ledger
    """
    method = check.choice("method", method, TOLERANCE)
    tolerance = TOLERANCE[method] if tolerance is None else check.number("tolerance", tolerance, 0, open_low=True)
    rng = check.generator("rng", rng)
    if directions is not None:
        check.size("directions", directions)
    entries, cast = list[Entry](), 0.0
    if method == "complex":
        with suppress(TypeError, np.exceptions.ComplexWarning):
            cast = precision(value, arrays)            # to float32; differences say too little then
            tolerance = max(tolerance, 100 * cast)
    for by, array in arrays.items():
        if directions is None and array.size <= 1000:
            V = np.eye(array.size)                     # a row for each direction
        else:
            V = rng.standard_normal((directions or 1, array.size))
        derivatives = [slope(value, arrays, {by: v.reshape(array.shape)}, method) for v in V]
        v = rng.standard_normal(array.shape)
        moved = changes(value, arrays, {by: v})        # the second witness
        for of, gradient in gradients.items():
            if gradient[by].shape != array.shape:
                raise ValueError(f"the gradient of {of} by {by} has shape {gradient[by].shape}; it must be that of "
                                 f"{by}, {array.shape}")
            claimed = V @ gradient[by].ravel()         # ∇f·v for every v
            reference = np.array([d[of] for d in derivatives], float)
            # along a random direction ∇f·v may cancel, so the scale is at least |∇f|
            whole = float(np.linalg.norm(gradient[by]))
            entry = Entry(of, by, array.shape, float(np.linalg.norm(claimed)), float(np.linalg.norm(reference)),
                          relative(claimed, reference, whole), tolerance)
            second = confirmed(change(moved, {of: 1.0}), float((gradient[by] * v).sum()), whole,
                               ROUNDING * float(np.abs(value(arrays)[of])))
            if not cast and (entry.ok and not second or entry.error > DIFFERENCE):            # the witnesses disagree
                look = np.unique(np.linspace(0, array.size - 1, min(array.size, 40)).astype(int)) if entry.ok else (
                    np.flatnonzero(~(np.abs(claimed - reference) <= tolerance * whole)))
                judge(entry, second, value, arrays, gradient[by], look if entry.ok or len(V) == array.size else None)
            entries.append(entry)
    return Ledger(entries, method)


def slope(value: Value, arrays: Mapping[str, Array], directions: Mapping[str, Array],
          method: str) -> Mapping[str, Any]:
    """Return the derivative of each quantity along a direction."""
    if method == "complex":
        try:
            return complex_step(value, arrays, directions)
        except NotComplex as error:
            raise ValueError(f"forward must keep complex numbers complex; the complex step cannot follow it ({error}): "
                             "repair that, or take method='central'") from None
    moved = changes(value, arrays, directions)
    return {of: (y - moved(-CENTRAL_STEP)[of]) / (2 * CENTRAL_STEP) for of, y in moved(CENTRAL_STEP).items()}


def judge(entry: Entry, second: bool, value: Value, arrays: Mapping[str, Array], gradient: Array,
          look: Array | None) -> None:
    """Settle what two witnesses disagree about, entry by entry; at a kink any slope between left and right is right."""
    if entry.error > DIFFERENCE and second:                   # forward is not what the complex step takes it for
        entry.error, entry.tolerance, entry.seen_by = 0.0, DIFFERENCE, "difference"
    elif look is not None:
        _, entry.kinks, error = off_entries(value, arrays, entry.by, {entry.of: 1.0}, gradient, look)
        if error == error and (error > DIFFERENCE) == entry.ok:                # NaN: nothing could be judged
            entry.error, entry.tolerance, entry.seen_by = error, DIFFERENCE, "difference"


def check_function(forward: Callable[..., Any], backward: Callable[..., Any], *inputs: Array,
                   **options: Any) -> Ledger:
    """Check ``y, cache = forward(*inputs)`` against ``dinputs = backward(dy, cache)``.

    Parameters
    ----------
    forward, backward : function
        backward returns one array for one input, else a tuple of them in order.
    *inputs : array
    **options
        As for `compare`.

    Returns
    -------
    Ledger
        Of y·dy with a random dy, by each input.
    """
    check.function("forward", forward, "the inputs")
    check.function("backward", backward, "dy and the cache")
    if not inputs:
        raise ValueError("inputs must be at least one array; got none")
    names = [f"input {i}" for i in range(len(inputs))] if len(inputs) > 1 else ["x"]
    arrays = [check.array(name, a, None, float) for name, a in zip(names, inputs)]
    for name, array in zip(names, arrays):
        if array.size == 0:
            raise ValueError(f"{name} must have numbers in it; got an array of shape {array.shape}")
    return check_pair(function_pair(forward, backward, arrays, names), **options)


def check_pair(pair: Pair, weights: Mapping[str, Arrays] | None = None, **options: Any) -> Ledger:
    """Check a pair of named arrays, see pairs.py: the gradient of Σ weight · output, for each of these weights."""
    outputs = pair.values(copies(pair.inputs))         # copies: they may be worked in
    weights = weights or {"y·dy": {of: stream(1 + i).standard_normal(y.shape) for i, (of, y) in
                                   enumerate(outputs.items())}}

    def value(arrays: Mapping[str, Array]) -> dict[str, Any]:
        outputs = pair.values(dict(arrays))
        return {of: sum((y * dys[name]).sum() for name, y in outputs.items()) for of, dys in weights.items()}

    gradients = {}
    for of, dys in weights.items():
        with still(pair.generators):
            _, cache = pair.forward(copies(pair.inputs))
            gradients[of] = copies(pair.backward(copies(dys), cache))
    by_all = next(iter(gradients.values()))
    return compare(value, gradients, {by: pair.inputs[by] for by in by_all}, **options)


def check_layer(layer: Layer | MLP, x: Array, **options: Any) -> Ledger:
    """Check a layer, or a stack of them, in its input and in every parameter.

    Your own layer needs ``forward``, ``backward`` and ``parameter_names``; see
    `layers.Layer`.  The layer itself is left as it is.

    Parameters
    ----------
    layer : Layer or MLP
    x : array
        The input at which to check.
    **options
        As for `compare`.

    Returns
    -------
    Ledger
        Of y·dy with a random dy, by x and by each parameter.
    """
    check.has("layer", layer, ("forward", "backward"), "Tanh()")
    if not isinstance(layer, MLP) and not isinstance(getattr(layer, "parameter_names", None), tuple):
        raise ValueError(f"layer must have parameter_names, a tuple of texts, as a Layer has; got {check.shown(layer)}")
    x = check.array("x", x, None, float)
    if x.ndim == 0 or x.size == 0:
        raise ValueError(f"x must have rows, and numbers in them; got an array of shape {x.shape}")
    ledger = check_pair(layer_pair(layer, x)[0], **options)
    for entry in ledger.entries[1:]:                   # after x, the parameters
        entry.by = entry.by if "." in entry.by else f"{type(layer).__name__}.{entry.by}"
    return ledger


def check_model(model: Model, x: Array, noise: Any = None, *, by_part: bool = True, **options: Any) -> Ledger:
    """Check a model in float64: the loss, and each part of the bound alone, by every parameter and by x.

    In a fresh model every logvar is 0, which hides most of what may be wrong with
    it, and a row of zeros lies on the kinks of a ReLU.  So train it a little before,
    or move it: ``model.theta += 0.01 * rng.standard_normal(model.theta.size)``.

    Parameters
    ----------
    model : Autoencoder, VAE, HVAE, or your own subclass of Model
        It is left as it is.
    x : array of shape (n, x_dim)
    noise : optional
        From ``model.draw_noise``; drawn from a stream of its own if it is not given.
    by_part : bool, default True
        Check each part of the bound alone as well: a wrong part may hide in a
        sum of larger ones.
    **options
        As for `compare`.

    Returns
    -------
    Ledger
    """
    check.model("model", model, ("astype", "check_x", "draw_noise", "forward", "backward"))
    check.flag("by_part", by_part)
    T = len(model.latent_dims)
    weights: dict[str, tuple[Any, float]] = {"loss": (np.ones(T), 1.0)}        # beta and alpha of each quantity
    if by_part:
        names = [f"consistency {t}" for t in range(1, T)] + ["prior matching"]
        weights["reconstruction"] = (np.zeros(T), -1.0)                        # loss = -alpha R + Σ beta_t KL_t
        weights.update({name: (beta, 0.0) for name, beta in zip(names, np.eye(T))})

    pair, _ = model_pair(model, x, noise)
    elbo = ELBO(**pair.values(copies(pair.inputs)))
    delbos = {of: elbo.loss_backward(beta, alpha) for of, (beta, alpha) in weights.items()}
    return check_pair(pair, {of: {part: getattr(delbo, f"d{part}") for part in PARTS} for of, delbo in delbos.items()},
                      **options)
