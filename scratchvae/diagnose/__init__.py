"""What is wrong with a hand-written backward: where, what kind of mistake it looks like, and the numbers that show it.

    def forward(x, W, b):
        return x @ W + b, (x, W)

    def backward(dy, cache):
        x, W = cache
        return dy @ W.T, x.T @ dy, dy.mean(axis=0)

    rng = np.random.default_rng(0)
    x, W, b = rng.normal(size=(5, 4)), rng.normal(size=(4, 3)), np.zeros(3)
    print(diagnose_function(forward, backward, x, W, b))

prints

    backward: the gradient by b is wrong (mean or sum)
      It is off by the factor 1/5: a mean is taken where a sum is due, over the 5 rows (with 4 rows the factor is 1/4).
        db[2]: given -0.723898, right -3.61949
        given / right = 1/5 in each of these entries
      Instead: take the sum, not the mean.
    Not checked: that forward computes what you mean. Backward was compared with forward, not with the math.

The fix is ``dy.sum(axis=0)``.  `diagnose_layer` does this for an object with forward
and backward, or a stack of them; `diagnose_model` for a whole model, where one wrong
function is told from all that is wrong only because of it.  Each returns a
`Diagnosis`: ``ok``, ``where``, ``tensor``, ``kind``; print it to read it.  The kind
is "unknown" unless a hypothesis fits to rounding in three random cases.

Code that imports nothing from here needs two functions.  A class with other names:

    def forward(x, weight):
        layer.weight = weight
        return layer(x), None

    diagnose_function(forward, lambda dy, cache: (layer.grad(dy), layer.weight_grad), x, layer.weight)

A backward in PyTorch's style, as an autograd.Function has it, on NumPy arrays:

    class Context:
        def save_for_backward(self, *arrays):
            self.saved_tensors = arrays

    def forward(input, weight):
        ctx = Context()
        return Scale.forward(ctx, input, weight), ctx

    diagnose_function(forward, lambda dy, ctx: Scale.backward(ctx, dy), input, weight)

What is no mistake is a remark, and ``ok`` stays true: noise that forward draws itself (it is held still);
a point on a kink; float32; arrays of shapes (n, 1) and (n,) that forward combines to (n, n).

The files, in their order: evidence (a wrong gradient beside the right one, in three cases), numbers (what the numbers
alone show), watch (the operations of forward), operations (which of them has another derivative), finding (what is
said), examine (one function), passes (a pass through many).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..layers import Array
from ..model import Model
from ..verify.pairs import Problem, argument_names, function_pair, layer_pair, layers_in, model_pair
from .examine import examine, structural
from .finding import Diagnosis, Finding
from .passes import examine_pass

__all__ = ["Diagnosis", "Finding", "diagnose_function", "diagnose_layer", "diagnose_model"]


def diagnose_function(forward: Callable[..., Any], backward: Callable[..., Any], *inputs: Any,
                      names: Sequence[str] | None = None, name: str | None = None, **named: Any) -> Diagnosis:
    """Diagnose ``y, cache = forward(*inputs)`` with ``dinputs = backward(dy, cache)``.

    Parameters
    ----------
    forward, backward : function
        forward may return a tuple of arrays for y; then dy is such a tuple.  backward
        returns one array for one input, else a tuple of them in order.
    *inputs, **named
        The point at which to look, in order or by the names of forward's arguments.
        Whole numbers for which backward returns None, such as labels, stay as they are.
    names : sequence of str, optional
        What to call the inputs; by default, as forward calls its arguments.
    name : str, optional
        What to call the function; by default, the name of backward.

    Returns
    -------
    Diagnosis
        ``ok``, ``where``, ``tensor``, ``kind``; print it to read it.
    """
    if named:
        own = argument_names(forward, len(inputs) + len(named))
        if not set(named) <= set(own[len(inputs):]):
            raise ValueError(f"forward has the arguments {', '.join(own)}; got "
                             f"{', '.join(n for n in named if n not in own[len(inputs):])} by name")
        names, inputs = names or own, (*inputs, *(named[n] for n in own[len(inputs):]))
    called = str(name or getattr(backward, "__qualname__", "backward"))
    called = "backward" if "<lambda>" in called else called.replace("<locals>.", "").rpartition("test_")[2]
    return told(called, lambda: examine(function_pair(forward, backward, inputs, names, called)))


def diagnose_layer(layer: Any, x: Array, name: str | None = None) -> Diagnosis:
    """Diagnose a layer: an object with ``forward`` and ``backward``, its parameters named in ``parameter_names``.

    Parameters
    ----------
    layer : Layer, or any object that follows the contract
        It is left as it is.
    x : array
        The input at which to look.
    name : str, optional
        What to call it; by default, the name of its class.

    Returns
    -------
    Diagnosis
    """
    called = f"{name or type(layer).__name__}.backward"

    def look() -> Diagnosis:
        pair, wholes = layer_pair(layer, x, called)
        return examine_pass(pair, wholes) if layers_in(layer) else examine(pair)
    return told(called, look)


def diagnose_model(model: Model, x: Array, noise: Any = None) -> Diagnosis:
    """Diagnose a model: which function of a pass is wrong, or which tensor its own backward hands on wrongly.

    As for `gradcheck.check_model`, move a fresh model first: its logvar is 0.

    Parameters
    ----------
    model : Autoencoder, VAE, HVAE, or your own subclass of Model
        It is left as it is.
    x : array of shape (n, x_dim)
        A few rows are enough, and quick.
    noise : optional
        From ``model.draw_noise``.

    Returns
    -------
    Diagnosis
    """
    return told(f"{type(model).__name__}.backward", lambda: examine_pass(*model_pair(model, x, noise)))


def told(called: str, look: Callable[[], Diagnosis]) -> Diagnosis:
    """Return a diagnosis, or the problem that comes before there can be one."""
    try:
        return look()
    except Problem as problem:
        return Diagnosis(called, [structural(called, problem)])
