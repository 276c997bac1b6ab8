"""A page on which every line of the math is seen at work: its equation, what it computed just now, its check.

    from scratchvae.explain import explain
    page = explain(model, x, path="page.html")         # in a notebook, ``page`` shows itself

The page is one HTML file that needs no network, and no script to be read.  The lines
are read from the source, the equations from MATH.md, the words from the docstrings,
the numbers from a pass that was traced: a changed line of the library is a changed page.

The files, in their order: source (a function as statements), trace (a pass, recorded),
compare (every gradient beside its complex-step derivative), verdict (which is the first
that is wrong), equations (the formulas of MATH.md), lines (which of them a line is), mathml,
pictures, figures (what is drawn of a pass), style and page.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import (autoencoder, check, compare as compare_file, diffusion, discrete, gaussian, hvae,
                importance as importance_file, layers, likelihood, mixed, mlp, model as model_file, objective as
                objective_file, schedule, topdown, vae)
from ..data.writing import write
from ..importance import Importance
from ..model import Model
from ..verify.derivative import stream
from .compare import Mover, checks, pairs_of
from .page import Writer
from .source import registry
from .trace import Trace
from .verdict import Pass

MATH = [layers, mlp, gaussian, compare_file, likelihood, discrete, mixed, objective_file, model_file, autoencoder, vae,
        hvae, topdown, schedule, diffusion, importance_file]
MODELS = (autoencoder.Autoencoder, vae.VAE, hvae.HVAE, diffusion.Diffusion)

__all__ = ["Page", "explain", "trace_pass"]


class Page(str):
    """The text of a page; a notebook shows it as one.

    Attributes
    ----------
    ok : bool
        Whether every gradient on it is right.
    verdict : str
        A sentence that says so, or where the first wrong one was made.
    """

    ok: bool
    verdict: str

    def _repr_html_(self) -> str:
        inside = self.replace("<head>", '<head><base href="about:srcdoc">', 1)        # else links leave the frame
        return f'<iframe srcdoc="{escape(inside)}" title="the page" style="width:100%;height:80vh;border:0"></iframe>'


def explain(model: Model, x: ArrayLike, noise: Any = None, path: Any = None, *, beta: ArrayLike = 1.0,
            alpha: float = 1.0, n_samples: int | None = None, image_shape: tuple[int, int] | None = None,
            about: str = "", columns: Sequence[str] = ()) -> Page:
    """Return the page of one pass through a model, forward and backward.

    Parameters
    ----------
    model : Autoencoder, VAE, HVAE, TopDown or Diffusion
        It is left as it is; the pass is computed in float64.
    x : array of shape (n, x_dim)
        One to four rows are read best.
    noise : optional
        From ``model.draw_noise``, with n_samples for n K rows; by default it is drawn, the same for
        every call.
    path : str or Path, optional
        Where to write the page.
    beta, alpha : float, default 1
        Weights of the parts of the loss, as of ``backward``.
    n_samples : int, optional
        K: the pass is that of the importance-weighted bound L_K, with the plain gradient.
    image_shape : pair of int, optional
        Height and width, if a row of x is a picture; a square is guessed.
    about : str, optional
        A sentence about the model and the data, for the head of the page.
    columns : sequence of str, optional
        The names of the columns of x.

    Returns
    -------
    Page
        A str.

    Raises
    ------
    ValueError
        If an argument is not of this kind; the message names it.
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
    page.ok, page.verdict = found.origin is None, found.verdict
    if where is not None:
        write(where, page.encode(errors="backslashreplace"))                   # a folder's name may be no UTF-8
    return page


def trace_pass(model: Model, x: ArrayLike, noise: Any = None, beta: ArrayLike = 1.0, alpha: float = 1.0,
               n_samples: int | None = None, image_shape: tuple[int, int] | None = None, about: str = "",
               columns: Sequence[str] = ()) -> Pass:
    """Return the record of one pass through a model, with the check of every gradient in it; see `explain`."""
    point = model.astype(np.float64)
    twin = point.astype(np.complex128)
    K = 1 if n_samples is None else n_samples
    objective: Any = point if n_samples is None else Importance(point, K)
    moved: Any = twin if n_samples is None else Importance(twin, K)
    rows = point.check_x(x)
    noise = objective.draw_noise(len(rows), stream(2)) if noise is None else noise
    noise = point.check_noise(noise, len(rows) * K)
    weights, alpha = check.by_level("beta", beta, len(model.latent_dims), model.dtype), check.alpha(alpha)
    if image_shape is None and round(point.x_dim ** 0.5) ** 2 == point.x_dim > 4:
        image_shape = (round(point.x_dim ** 0.5),) * 2
    known = registry(point, MATH)
    point.gradient[:] = stream(3).standard_normal(point.gradient.size)         # what it holds must not matter
    trace = Trace(known)
    trace.note(list(point.parameters.values()))        # so that self.W is a link to where it stands
    (elbo, cache), bound = trace.run(objective.bound, rows, noise)
    if n_samples is None:
        loss, summed = trace.run(elbo.loss, weights, alpha)
        delbo, begun = trace.run(elbo.loss_backward, weights, alpha)
        _, backward = trace.run(point.backward, delbo, cache, True)
        pairs = {begun.index: summed}
    else:
        (L, _), summed = trace.run(objective.value, elbo, weights, alpha)
        _, backward = trace.run(objective.backward, cache, weights, alpha)
        loss, begun, pairs = -L.mean(), None, {}
    first = (begun or backward).index
    backwards = trace.calls[first:]
    pairs |= pairs_of(trace.calls, first, bound, backward)
    mover = Mover(moved, twin.check_x(rows), twin.check_noise(noise, len(rows) * K), weights, alpha, known)
    return Pass(point, rows, noise, elbo, float(loss), trace, bound, summed, begun, backward, pairs,
                checks(mover, backwards, pairs, point), image_shape, K, about, columns)
