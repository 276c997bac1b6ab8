"""fit: pass after pass over the data, a step of the optimiser for each batch.

A step is made by `Steps`, in step.py, or by a `Team` of workers.  What is minimised is in losses.py, what a run depends
on, so that it can stop and go on to the same bits, in state.py.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, TextIO

import numpy as np

from .. import check
from ..layers import Array
from ..likelihood import Gaussian
from ..model import Model
from .evaluation import by_name, held_out
from .losses import loss_of
from .optim import SGD, Adam
from .progress import Interrupted, Progress, held_back
from .schedules import Schedule, at
from .state import History, Kept, State, check_state, hold_average, hold_steps, stream
from .step import Steps, fixed

FAR = 30                                               # a root mean square of x that is worth a remark


def check_arguments(model: Any, x: Any, optimizer: Any, resample: bool, average: float | None, callback: Any,
                    after_step: Any) -> tuple[Array, Any, float | None]:
    """Return x, an optimiser (by default Adam) and the average's decay, if this model can be trained with them."""
    check.model("model", model, ("check_x", "draw_noise", "bound", "backward"))
    x = model.check_x(x)
    if check.flag("resample", resample) and not (x.min() >= 0 and x.max() <= 1):
        raise ValueError(f"x must lie in [0, 1] for resample=True; its values go from {x.min():g} to {x.max():g}")
    if isinstance(getattr(model, "likelihood", None), Gaussian):
        size = np.sqrt(np.square(x, dtype=float).mean(axis=0))
        if size.max() > FAR:
            warnings.warn("x should be scaled to mean 0 and variance 1, where a Gaussian likelihood learns best: "
                          f"column {size.argmax()}, counted from 0, has a root mean square of {size.max():.3g}; "
                          "take (x - x.mean(axis=0)) / x.std(axis=0), or TableVAE, which does it", stacklevel=3)
    if np.iscomplexobj(model.theta):
        raise ValueError(f"model must be float32 or float64, as model.astype(np.float32) is; got {model.theta.dtype}")
    optimizer = check.has("optimizer", Adam() if optimizer is None else optimizer, ("step",), "Adam()")
    v = optimizer.v if isinstance(optimizer, (SGD, Adam)) else None
    if v is not None and v.shape != model.theta.shape:
        raise ValueError(f"optimizer has trained a model of {v.size} parameters; this one has {model.theta.size}")
    average = None if average is None else check.number("average", average, 0, 1, open_low=True)
    if callback is not None:
        check.function("callback", callback, "the model and the history")
    if after_step is not None:
        check.function("after_step", after_step, "the state")
    return x, optimizer, average


def fit(model: Model, x: Any, *, epochs: int = 100, batch_size: int = 64, optimizer: SGD | Adam | None = None,
        learning_rate: float | Schedule | None = None, beta: float | Array | Schedule = 1.0, free_bits: Any = None,
        average: float | None = None, objective: str = "elbo", n_samples: int = 1, estimator: str = "plain",
        rng: int | np.random.Generator = 0, resample: bool = False, x_valid: Any = None,
        callback: Callable[[Any, History], Any] | None = None, progress: bool | TextIO | None = None,
        state: State | None = None, after_step: Callable[[State], Any] | None = None,
        workers: int | str | None = None) -> History:
    """Train a model, in place.

    Parameters
    ----------
    model : Model
        Autoencoder, VAE, HVAE, TopDown or Diffusion; or an object of your own with a Model's theta, gradient,
        latent_dims, check_x, draw_noise, bound and backward, see model.py.
    x : array of shape (n, x_dim)
    epochs, batch_size : int, default 100 and 64
        Passes over the data, each in a new order; examples for each step.
    optimizer : SGD or Adam, optional
        By default ``Adam()``.
    learning_rate : float, or function of the epoch, optional
        Sets the optimiser's learning rate at the start of every epoch, counted
        from 1; `decay` and `steps` make such functions.
    beta : float, array of shape (T,), or function of the epoch, default 1
        The weight of the KL parts, or of each level's.  Epochs count from 1;
        ``warm_up(50)`` is such a function.
    free_bits : float or array of shape (T,), optional
        Nats of KL without cost, for each level: in a batch where its mean KL is
        not above them, its beta is 0.  So a level gains nothing by giving up its
        last nats.  Kingma et al. 2016 (arXiv 1606.04934), equation 15, each level
        being a group.  The recorded bound does not have this discount.
    average : float, optional
        Keep a running average of theta: after every step a mean over all steps so
        far, each with the weight average^age, so that 0.999 is a memory of some 1000
        steps (Polyak and Juditsky 1992; with these weights and without bias, as in
        Adam's m: MATH (12.7)).  The optimiser does not use it.  The bound of
        held-out data is that of the average, the callback sees it, and at the end
        the model holds it; ``state.theta`` has the latest parameters.
    objective : {'elbo', 'iwae'}, default 'elbo'
        What is made large: the ELBO, or the importance-weighted bound L_K, see
        importance.py.  The bound that is recorded is the ELBO.
    n_samples : int, default 1
        K, draws of z for each example in a step.  The ELBO is their mean.
    estimator : {'plain', 'stl', 'dreg'}, default 'plain'
        The form of q's gradient, for 'iwae'; see importance.py.
    rng : int or numpy.random.Generator, default 0
        A seed, or a generator to draw one from.  The order of the data, the noise and
        the resampling follow from it: the same seed on the same machine gives the same bits.
    resample : bool, default False
        Draw black-and-white pixels from the grey ones anew for every batch, as
        many papers do.
    x_valid : array of shape (m, x_dim), optional
        Held-out data; its bound, with the same noise each time, is recorded
        after every epoch.
    callback : function, optional
        Called as ``callback(model, history)`` after every epoch; training ends
        if it returns True.  With workers it may change the numbers
        in theta and the layers, and not replace these arrays.
    progress : bool or text stream, optional
        Where to say how far it is after every epoch; True is stderr.  By default
        stderr if that is a terminal, else nowhere.
    state : State, optional
        Go on from here, with its seed; model and optimiser must be as they were
        then, x and batch_size the same.  It is moved on in place.
    after_step : function, optional
        Called as ``after_step(state)`` after every step, with workers at least after
        every 64th, such as what `checkpoint.every` returns.
    workers : int or 'auto', optional
        The number of processes, of one BLAS thread each, that do each step together: see team.py. 'auto'
        is one for each core, or none where steps are too small to gain by them, or model or
        optimiser are not of this library's kinds. Results are bit-identical for any number of
        workers, even if a run is resumed with another number; they differ from a run without
        workers, as each share draws its own noise. Where no process can be started, 'auto' says so on
        stderr, and this one does their work, to the same bits. They have a copy of model and x, and
        take over what the callback changes. If the script defines the model's class, they read the
        script, which must then call this under ``if __name__ == "__main__":``.

    Returns
    -------
    dict of str to list of float
        For each epoch ``epoch``, ``seconds`` since the start, ``beta`` (of the top
        level), and in nats ``elbo``, ``reconstruction``, ``prior_matching``,
        ``consistency_1``, ...: means over the examples, each seen in its batch,
        while the parameters moved.  With x_valid, the same names after ``valid_``.

    Raises
    ------
    ValueError
        If an argument is wrong; the message names it.
    FloatingPointError
        If the bound of an epoch, or of the held-out data after it, is infinite or not
        a number, or the optimiser's v after it is.  Model, optimiser and state are as
        the epoch before it left them.
    Interrupted
        A KeyboardInterrupt, raised between two steps: the model is as the last
        one left it (or holds the average), can be used, and with ``state`` trained further.
    ChildProcessError
        If a worker was killed: steps under way are lost, so that a run must go on from a
        checkpoint.
    """
    x, optimizer, average = check_arguments(model, x, optimizer, resample, average, callback, after_step)
    epochs, batch_size = check.size("epochs", epochs), check.size("batch_size", batch_size)
    n_steps = -(-len(x) // batch_size)
    make_loss = partial(loss_of, objective=objective, n_samples=n_samples, estimator=estimator, free_bits=free_bits)
    rows = min(batch_size, len(x)) * make_loss(model).K
    state = State.start(model, rng) if state is None else state
    check_state(state, model, n_steps, x_valid is not None, average)
    try:
        x_valid = None if x_valid is None else model.check_x(x_valid)
    except ValueError as error:
        raise ValueError(f"x_valid must have the same columns and range as x: {error}") from None
    given: Any = (model, x, optimizer, batch_size, state, resample, make_loss, average)
    line = Progress("epoch", epochs, progress, state.epoch)
    began = time.perf_counter() - state.seconds
    with held_back() as ctrl_c, line, Kept(model, optimizer, state) as kept, ExitStack() as stack:
        if workers is None:
            engine: Any = Steps(*given)
        else:
            from . import team                         # multiprocessing takes its time
            engine = stack.enter_context(team.engine(workers, rows, *given))
        stack.callback(hold_average, model, state)     # however it ends
        for epoch in range(state.epoch + 1, epochs + 1):
            hold_steps(model, state)
            beta_now = at(beta, epoch)
            check.by_level("beta", beta_now, len(model.latent_dims))
            if learning_rate is not None:
                optimizer.learning_rate = check.number("learning_rate", at(learning_rate, epoch), 0, open_low=True)
            engine.order[:] = stream(state.seed, "order", epoch).permutation(len(x))
            for step in range(state.step, n_steps):
                state.sums += engine.step(epoch, step, beta_now, following=0 if ctrl_c else n_steps - 1 - step)
                state.step, state.seconds = step + 1, time.perf_counter() - began
                if after_step is not None and not engine.ahead:
                    after_step(state)
                if ctrl_c and not engine.ahead:
                    raise Interrupted
            hold_average(model, state)
            parts = by_name(state.sums / len(x))
            found = {} if x_valid is None else held_out(model, x_valid, state.seed)
            valid = {f"valid_{name}": value for name, value in found.items()}
            # Adam's v has squares: it can overflow where nothing else does
            v = abs(optimizer.v).max() if isinstance(optimizer, (SGD, Adam)) and optimizer.v is not None else 0.0
            for name, value in ("ELBO", parts["elbo"]), ("ELBO", valid.get("valid_elbo", 0.0)), ("optimiser's v", v):
                if not np.isfinite(value):
                    raise FloatingPointError(f"the {name} became {value} in epoch {epoch}; "
                                             "a smaller learning rate, or a warm-up of beta, may help; "
                                             f"the model is as epoch {state.epoch} left it")
            state.end_epoch({"epoch": float(epoch), "seconds": state.seconds, "beta": float(np.ravel(beta_now)[-1]),
                             **parts, **valid})
            kept.keep()
            numbers = {**({"held-out elbo": found["elbo"]} if found else {}), **parts}
            line.update(epoch, "  ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in numbers.items()))
            if callback is not None:
                before, enough = workers and fixed(model, optimizer), callback(model, state.history)
                if workers and fixed(model, optimizer) != before:
                    raise ValueError("callback must not replace theta, an array of a layer, or the optimizer's step, "
                                     "nor give it m or v of another dtype, for workers: change the numbers in them")
                if enough:
                    break
                engine.see_changes()
    return state.history
