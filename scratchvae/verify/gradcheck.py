"""Is a hand-written gradient right?  Compare it with one that needs no derivation.

*Complex step* (Squire and Trapp 1998): ∇f·v = Im f(θ + i h v) / h with h = 1e-30.
Nothing is subtracted, so the result is exact to rounding.  It needs a forward pass
that takes complex numbers, built of analytic functions, or pieces of them such as
a ReLU, away from the kinks.  MATH (10.1).

*Central differences*, for code that takes no complex numbers:
∇f·v = [f(θ + h v) - f(θ - h v)] / 2h; some 7 to 10 digits remain.  MATH (10.2).

For a small tensor v runs through the unit vectors, one for each entry; for a
large one v is a random direction, normal in every entry, and one evaluation checks
all entries at once: whatever the error, the chance that it is orthogonal to v is 0.

Errors are relative to the tensor's own gradient, never absolute.  So a tensor
whose gradient is 1e-9 is held to as many digits as the others.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import check
from ..layers import Array, Layer
from ..mlp import MLP
from ..model import Model

COMPLEX_STEP = 1e-30
CENTRAL_STEP = 1e-5
TOLERANCE = {"complex": 1e-12, "central": 1e-7}

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
    """

    of: str
    by: str
    shape: tuple[int, ...]
    gradient: float
    reference: float
    error: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.error <= self.tolerance            # false for NaN

    def __str__(self) -> str:
        return (f"{self.of:<16} {self.by:<22} {'x'.join(map(str, self.shape)):>9} {self.gradient:12.4e} "
                f"{self.reference:12.4e} {self.error:9.1e}  {'ok' if self.ok else 'WRONG'}")


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


def keeping_complex(value: Value, arrays: Mapping[str, Array]) -> Mapping[str, Any]:
    """Return value(arrays), or raise a ValueError if an imaginary part was lost: the derivative would be 0."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            return value(arrays)
    except np.exceptions.ComplexWarning:
        raise ValueError("forward must keep complex numbers complex; it puts them into a real array: "
                         "mend that, or take method='central'") from None


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
    point = {by: array.astype(np.complex128 if method == "complex" else np.float64) for by, array in arrays.items()}
    entries = []
    for by, array in arrays.items():
        if directions is None and array.size <= 1000:
            V = np.eye(array.size)                     # a row for each direction
        else:
            V = rng.standard_normal((directions or 1, array.size))
        derivatives = []
        for v in V.reshape(-1, *array.shape):
            if method == "complex":
                plus = keeping_complex(value, {**point, by: array + 1j * COMPLEX_STEP * v})
                derivatives.append({of: np.imag(plus[of]) / COMPLEX_STEP for of in gradients})
            else:
                plus, minus = (value({**point, by: array + h * v}) for h in (CENTRAL_STEP, -CENTRAL_STEP))
                derivatives.append({of: (plus[of] - minus[of]) / (2 * CENTRAL_STEP) for of in gradients})
        for of, gradient in gradients.items():
            if gradient[by].shape != array.shape:
                raise ValueError(f"the gradient of {of} by {by} has shape {gradient[by].shape}; it must be that of "
                                 f"{by}, {array.shape}")
            claimed = V @ gradient[by].ravel()         # ∇f·v for every v
            reference = np.array([d[of] for d in derivatives], float)
            size, reference_size = float(np.linalg.norm(claimed)), float(np.linalg.norm(reference))
            # along a random direction ∇f·v may cancel, so the scale is at least |∇f|
            scale = float(np.max([size, reference_size, np.linalg.norm(gradient[by])]))      # NaN if one of them is
            error = float(np.linalg.norm(claimed - reference)) / scale if scale != 0 else 0.0
            entries.append(Entry(of, by, array.shape, size, reference_size, error, tolerance))
    return Ledger(entries, method)


def stream(number: int) -> np.random.Generator:
    """Return a generator like no other: were dy also x, or a direction v, one mistake could undo another."""
    return np.random.default_rng(np.random.SeedSequence(0, spawn_key=(number,)))


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
    arrays = {name: check.array(name, a, None, float) for name, a in zip(names, inputs)}
    for name, array in arrays.items():
        if array.size == 0:
            raise ValueError(f"{name} must have numbers in it; got an array of shape {array.shape}")
    found = forward(*(array.copy() for array in arrays.values()))              # copies: they may be worked in
    if not isinstance(found, tuple) or len(found) != 2 or not hasattr(found[0], "shape"):
        raise ValueError(f"forward must return an array and a cache; it returned {check.shown(found)}")
    y, cache = found
    dy = stream(1).standard_normal(y.shape)
    dinputs = backward(dy.copy(), cache)
    dinputs = dinputs if isinstance(dinputs, tuple) else (dinputs,)

    def value(arrays: Mapping[str, Array]) -> dict[str, Any]:
        return {"y·dy": (forward(*(array.copy() for array in arrays.values()))[0] * dy).sum()}

    return compare(value, {"y·dy": dict(zip(names, dinputs))}, arrays, **options)


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
    twin = copy.deepcopy(layer)
    named: Mapping[str, Any] = twin.layers if isinstance(twin, MLP) else {type(twin).__name__: twin}

    def load(arrays: Mapping[str, Array]) -> None:
        for full_name, array in arrays.items():
            if full_name != "x":
                part, name = full_name.split(".")
                setattr(named[part], name, array.copy())                       # backward may work in it
                setattr(named[part], "d" + name, np.zeros_like(array))

    def value(arrays: Mapping[str, Array]) -> dict[str, Any]:
        load(arrays)
        return {"y·dy": (twin.forward(arrays["x"].copy())[0] * dy).sum()}

    arrays = {"x": x}
    arrays.update({f"{part}.{name}": np.array(getattr(owner, name), float)
                   for part, owner in named.items() for name in owner.parameter_names})
    load(arrays)
    y, cache = twin.forward(arrays["x"].copy())
    dy = stream(1).standard_normal(y.shape)
    gradients = {f"{part}.{name}": getattr(owner, "d" + name)
                 for part, owner in named.items() for name in owner.parameter_names}
    for gradient in gradients.values():
        gradient[...] = np.nan                         # backward must write all of it, into this array
    gradients["x"] = twin.backward(dy.copy(), cache)
    return compare(value, {"y·dy": gradients}, arrays, **options)


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
    method = check.choice("method", options.get("method", "complex"), TOLERANCE)
    point = model.astype(np.float64)
    x = point.check_x(x)
    noise = point.draw_noise(len(x), stream(2)) if noise is None else noise
    T = len(model.latent_dims)
    weights: dict[str, tuple[Any, float]] = {"loss": (np.ones(T), 1.0)}        # beta and alpha of each quantity
    if by_part:
        names = [f"consistency {t}" for t in range(1, T)] + ["prior matching"]
        weights["reconstruction"] = (np.zeros(T), -1.0)                        # loss = -alpha R + Σ beta_t KL_t
        weights.update({name: (beta, 0.0) for name, beta in zip(names, np.eye(T))})

    gradients = {}
    point.gradient[:] = np.nan                         # backward must write all of it
    elbo, cache = point.forward(x, noise)
    for of, (beta, alpha) in weights.items():
        dx = point.backward(elbo.loss_backward(beta, alpha), cache, input_gradient=True)
        gradients[of] = {"x": dx, **{by: gradient.copy() for by, gradient in point.gradients.items()}}

    twin = point.astype(np.complex128 if method == "complex" else np.float64)
    noise = twin.check_noise(noise, len(x))

    def value(arrays: Mapping[str, Array]) -> dict[str, Any]:
        for by, view in twin.parameters.items():
            view[...] = arrays[by]
        elbo, _ = twin.bound(arrays["x"], noise)       # unchecked: a step off the data may leave [0, 1]
        return {of: elbo.loss(beta, alpha) for of, (beta, alpha) in weights.items()}

    return compare(value, gradients, {"x": x, **point.parameters}, **options)
