"""One page for one pass through a model: every line with its equation, what it computed, and its gradient check.

    from scratchvae.explain import explain
    page = explain(model, x, path="page.html")         # in a notebook, ``page`` shows itself

The page is one HTML file.  It needs no network, and can be read without a script.  Its lines come from the source, its
derivations from MATH.md, its numbers from a traced pass: if a line of the library changes, so does the page.

The files, in their order: notation and equations (the formulas of MATH.md), source (a function as statements),
trace (records a pass), evaluate (the values of the formulas in the pass), verdict (the first wrong gradient), mathml,
pictures, figures (the bound and the graph) and page.  The texts are equations.txt and page.html, .css and .js.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import (autoencoder, check, compare as compare_file, diffusion, gaussian, hvae,
                importance as importance_file, layers, likelihood, mixed, mlp, model as model_file, objective as
                objective_file, schedule, topdown, vae)
from ..data.writing import write
from ..importance import Importance, SharedInput, log_mean_exp
from ..layers import Array
from ..model import Model
from ..objective import ELBO
from ..verify.derivative import copies, stream
from ..verify.pairs import model_pair
from ..verify.steps import Pass
from ..verify.first_wrong import search
from .page import Writer
from .source import registry
from .trace import Trace
from .verdict import TOLERANCE, Record, checks, of_loss, pairs_of

MATH = [layers, mlp, gaussian, compare_file, likelihood, mixed, objective_file, model_file, autoencoder, vae,
        hvae, topdown, schedule, diffusion, importance_file]
MODELS = (autoencoder.Autoencoder, vae.VAE, hvae.HVAE, diffusion.Diffusion)

__all__ = ["Page", "explain", "trace_pass"]


class Page(str):
    """The text of a page; a notebook displays it.

    Attributes
    ----------
    ok : bool
        Whether every gradient on it is right.
    verdict : str
        One sentence: all are right, or where the first wrong one was made.
    """

    ok: bool
    verdict: str

    def _repr_html_(self) -> str:
        inside = self.replace("<head>", '<head><base href="about:srcdoc">', 1)        # or links leave the frame
        return f'<iframe srcdoc="{escape(inside)}" title="the page" style="width:100%;height:80vh;border:0"></iframe>'


def explain(model: Model, x: ArrayLike, noise: Any = None, path: Any = None, *, beta: ArrayLike = 1.0,
            alpha: float = 1.0, n_samples: int | None = None, image_shape: tuple[int, int] | None = None,
            about: str = "", columns: Sequence[str] = ()) -> Page:
    """Return the page of one pass through a model, forward and backward.

    Parameters
    ----------
    model : Autoencoder, VAE, HVAE, TopDown or Diffusion
        It is not changed; the pass is computed in float64.
    x : array of shape (n, x_dim)
        The page is easiest to read with one to four rows.
    noise : optional
        From ``model.draw_noise``, for n K rows if n_samples is given.  By default it is drawn, the same in every call.
    path : str or Path, optional
        Where to write the page.
    beta, alpha : float, default 1
        Weights of the parts of the loss, as in `ELBO.loss`.
    n_samples : int, optional
        K, for the importance-weighted bound L_K with its plain gradient.
    image_shape : pair of int, optional
        Height and width, if a row of x is a picture.  By default rows of a square number of pixels are squares.
    about : str, optional
        A sentence about the model and the data, for the top of the page.
    columns : sequence of str, optional
        The names of the columns of x.

    Returns
    -------
    Page
        The text, a str.

    Raises
    ------
    ValueError
        If an argument is wrong; the message names it.
    """
    if not isinstance(model, MODELS):
        raise ValueError("model must be an Autoencoder, a VAE, an HVAE, a TopDown or a Diffusion; got "
                         f"{type(model).__name__}")
    where = None if path is None else check.path("path", path)
    if not isinstance(about, str):
        raise ValueError(f"about must be a text; got {check.shown(about)}")
    if image_shape is not None:
        shape = check.sizes("image_shape", image_shape)
        if len(shape) != 2 or shape[0] * shape[1] != model.x_dim:
            raise ValueError(f"image_shape must be height and width of {model.x_dim} pixels; got {shape}")
    found = trace_pass(model, x, noise, beta, alpha, n_samples, image_shape, about, columns)
    page = Page(Writer(found).page())
    page.ok, page.verdict = not found.wrong, found.verdict
    if where is not None:
        write(where, page.encode(errors="backslashreplace"))                   # a folder's name may not be UTF-8
    return page


def trace_pass(model: Model, x: ArrayLike, noise: Any = None, beta: ArrayLike = 1.0, alpha: float = 1.0,
               n_samples: int | None = None, image_shape: tuple[int, int] | None = None, about: str = "",
               columns: Sequence[str] = ()) -> Record:
    """Return the record of one pass through a model, with the check of every gradient in it; see `explain`."""
    K = 1 if n_samples is None else n_samples
    objective: Any = model if n_samples is None else Importance(model, K)
    rows = model.astype(np.float64).check_x(x)
    noise = objective.draw_noise(len(rows), stream(2)) if noise is None else noise
    noise = model.astype(np.float64).check_noise(noise, len(rows) * K)
    weights, alpha = check.by_level("beta", beta, len(model.latent_dims), np.float64), check.alpha(alpha)
    pair, (own,) = model_pair(getattr(objective, "twin", model), np.repeat(rows, K, axis=0), noise)
    if n_samples is None:
        objective = own
    else:
        objective.model = objective.twin = own
    p, trace = Pass(pair, [own]), Trace(registry(own, MATH))
    p.wrapped = [one for one in p.wrapped if not isinstance(one[0].layer, SharedInput)]           # one row for K there

    def loss_of(reconstruction: Array, kl: Array) -> Any:
        parts = ELBO(reconstruction, kl[:, -1], kl[:, :-1])
        return parts.loss(weights, alpha) if n_samples is None else -objective.value(parts, weights, alpha)[0].mean()

    parts = ELBO(**pair.forward(copies(pair.inputs))[0])
    delbo = parts.loss_backward(weights, alpha)
    given = {"reconstruction": (lambda a: loss_of(a, parts.kl), parts.reconstruction, delbo.dreconstruction),
             "kl": (lambda a: loss_of(parts.reconstruction, a), parts.kl, delbo.dkl)}
    if n_samples is not None:
        dlog_w = -objective.value(parts, weights, alpha)[1].ravel() / len(rows)
        delbo = parts.weighted_backward(dlog_w, weights, alpha)
        given = {name: (*given[name][:2], getattr(delbo, "d" + name)) for name in given}
        given["log_w"] = (lambda a: -log_mean_exp(a.reshape(-1, K))[0].mean(), parts.weighted(weights, alpha), dlog_w)
    found = search(p, {of: getattr(delbo, "d" + of) for of in vars(parts)}, TOLERANCE, mend=False)
    own.pack(**own.networks)
    for name, fill in pair.fills.items():              # backward must overwrite what is in the gradient
        own.gradients[name][...] = fill
    trace.note(list(own.parameters.values()))          # so that self.W is a link to its numbers
    order = {c.step.index: i for i, c in enumerate(found) if c.step is not None}
    p.steps, p.count, p.mend = [], 0, lambda step, which: None
    p.choose = lambda steps, given: min(steps, key=lambda step: order.get(step.index, len(order)))
    with p.watching({}):
        (elbo, cache), bound = trace.run(objective.bound, rows, noise)
        if n_samples is None:
            loss, summed = trace.run(elbo.loss, weights, alpha)
            delbo, begun = trace.run(elbo.loss_backward, weights, alpha)
            _, backward = trace.run(own.backward, delbo, cache, True)
        else:
            (L, _), summed = trace.run(objective.value, elbo, weights, alpha)
            _, backward = trace.run(objective.backward, cache, weights, alpha)
            loss, begun = -L.mean(), None
    pairs = pairs_of(trace.calls)
    pairs |= {(begun or backward).index: summed if begun else bound}
    if image_shape is None and round(model.x_dim ** 0.5) ** 2 == model.x_dim > 4:
        image_shape = (round(model.x_dim ** 0.5),) * 2
    return Record(own, rows, noise, elbo, float(loss), trace, bound, summed, begun, backward, pairs,
                  [c for c in found if c.which == "parameter" or c.which == "left" and c.name != "x"],
                  [*of_loss(given), *checks(trace.calls, found)], image_shape, K, about, columns)
