"""Workers: the loop that the page says, the same bits for any number of them, and ends that leave nothing behind."""

import copy
import hashlib
import io
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from scratchvae import (SGD, VAE, Adam, Autoencoder, Diffusion, Gaussian, HVAE, State, TopDown, decay, evaluate, fit,
                        warm_up)
from scratchvae.data import binarize
from scratchvae.importance import Importance
from scratchvae.train import team, processes
from scratchvae.train.progress import Interrupted
from scratchvae.train.state import stream
from scratchvae.train.step import cut

X = np.random.default_rng(0).random((316, 6)).astype(np.float32)           # batches of 300 and 16: 4 shares and 1
B = binarize(X)
MODELS = {"autoencoder": lambda: Autoencoder(6, 2, (5,)), "vae": lambda: VAE(6, 2, (5,)),
          "hvae": lambda: HVAE(6, (3, 2), (5,)), "topdown": lambda: TopDown(6, (3, 2), (5,)),
          "diffusion": lambda: Diffusion(6, 10, (5,))}
ALL = {"resample": True, "beta": warm_up(2), "free_bits": 0.1, "learning_rate": decay(1e-2, 1e-3, 3),
       "batch_size": 300, "x_valid": B[:4]}


def digest(theta):
    return hashlib.sha256(theta.tobytes()).hexdigest()


# the rule ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_of_a_batch_is_the_weighted_mean_of_its_shares(name, rng):
    """MATH (9.4), in float64, with the same noise for the batch and for its shares."""
    model = MODELS[name]().astype(np.float64)
    x = B[:70].astype(float)
    noise = model.draw_noise(70, rng)
    elbo, cache = model.forward(x, noise)
    model.backward(elbo.loss_backward(0.3), cache)
    expected, total = model.gradient.copy(), np.zeros(model.theta.size)
    for share in (slice(0, 40), slice(40, 70)):
        part = noise if noise is None else [eps[share] for eps in noise] if isinstance(noise, list) else noise[share]
        elbo, cache = model.forward(x[share], part)
        model.backward(elbo.loss_backward(0.3, n=70), cache)
        total += model.gradient
    assert np.linalg.norm(total - expected) < 1e-13 * np.linalg.norm(expected)
    assert np.linalg.norm(expected) > 0.01


# the loop ----------------------------------------------------------------------------------------


def by_hand(model, optimizer, epochs, beta=1.0, seed=7, batch_size=300, resample=False, free_bits=None):
    """The loop of `fit` with workers, in one process."""
    for epoch in range(1, epochs + 1):
        order = stream(seed, "order", epoch).permutation(len(X))
        for step, first in enumerate(range(0, len(X), batch_size)):
            rows = order[first:first + batch_size]
            passes, kl, total = [], 0, 0
            for s, share in enumerate(cut(len(rows))):
                rng, batch = stream(seed, "share", epoch, step, s), X[rows[share]]
                batch = binarize(batch, "sample", rng) if resample else batch
                elbo, cache = model.forward(batch, model.draw_noise(len(batch), rng))
                passes.append((elbo, cache))
                kl = kl + elbo.kl.sum(axis=0) / len(rows)
            weights = beta if free_bits is None else np.where(kl > free_bits, beta, 0.0)
            for elbo, cache in passes:
                model.backward(elbo.loss_backward(weights, n=len(rows)), cache)
                total = total + model.gradient
            optimizer.step(model.theta, total)


@pytest.mark.parametrize("optimizer", [Adam(0.01), SGD(0.01, 0.9)], ids=["Adam", "SGD"])
def test_fit_with_workers_is_the_loop_written_out(optimizer):
    model, twin, other = MODELS["hvae"](), MODELS["hvae"](), copy.deepcopy(optimizer)
    fit(model, X, epochs=3, batch_size=300, optimizer=optimizer, beta=0.5, rng=7, resample=True, free_bits=[0.05, 0.1],
        workers=2)
    by_hand(twin, other, 3, 0.5, resample=True, free_bits=[0.05, 0.1])
    np.testing.assert_array_equal(model.theta, twin.theta)
    for name, value in vars(other).items():            # and the optimiser stands where it would
        if name != "w":
            np.testing.assert_array_equal(getattr(optimizer, name), value)


def none(*_, **__):
    raise OSError("no processes")


@pytest.mark.parametrize("name", MODELS)
def test_the_bits_are_the_same_for_any_number_of_workers_and_where_none_can_be_started(name, monkeypatch):
    monkeypatch.setattr(team, "SMALL", 0)
    found = set()
    for workers in (1, 2, 4, "auto") if name == "hvae" else (1, 3):
        if workers == "auto":
            monkeypatch.setattr(processes.Workers, "__init__", none)
        model, optimizer = MODELS[name](), Adam()
        history = fit(model, X, epochs=2, optimizer=optimizer, workers=workers, **ALL)
        history.pop("seconds")
        found.add((digest(model.theta), digest(optimizer.v), repr(history)))
    assert len(found) == 1


def test_one_worker_is_this_process_where_it_has_one_thread(monkeypatch):
    """Else its matrix products might have other last bits than those of a worker."""
    found, children = [], []
    for threads in ("1", "2"):
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", threads)
        found.append(MODELS["vae"]())
        fit(found[-1], X, epochs=1, workers=1,
            callback=lambda *_: children.append(len(processes.multiprocessing.active_children())))
    assert children == [0, 1] and digest(found[0].theta) == digest(found[1].theta)


def test_an_average_by_workers_is_that_of_their_steps(monkeypatch):
    """Also where several steps are asked for at once; afterwards the model holds it, and the state both."""
    model, twin = MODELS["hvae"](), MODELS["hvae"]()
    state, expected, optimizer = State.start(model, 7), State.start(twin, 7), Adam(0.01)
    step = optimizer.step
    monkeypatch.setattr(optimizer, "step", lambda theta, gradient: (step(theta, gradient), expected.add(theta, 0.7)))
    fit(model, X, epochs=2, batch_size=100, optimizer=Adam(0.01), average=0.7, state=state, workers=3)
    by_hand(twin, optimizer, 2, batch_size=100)
    np.testing.assert_array_equal(model.theta, expected.average)
    np.testing.assert_array_equal(state.average, expected.average)
    np.testing.assert_array_equal(state.theta, twin.theta)
    assert state.weight == expected.weight and not np.shares_memory(state.average, model.theta)


@pytest.mark.parametrize("make, names", [(Adam, ("learning_rate", "beta1", "beta2", "epsilon")),
                                         (SGD, ("learning_rate", "momentum"))])
def test_settings_that_a_callback_changes_are_obeyed(make, names):
    """As in several runs, one after the other; that each setting makes a difference is checked."""
    def change(optimizer, epoch):
        if epoch <= len(names):
            setattr(optimizer, names[epoch - 1], 0.5)

    model, optimizer, twin, other = MODELS["vae"](), make(0.01), MODELS["vae"](), make(0.01)
    fit(model, X, epochs=5, batch_size=100, optimizer=optimizer, workers=2,
        callback=lambda _, history: change(optimizer, len(history["epoch"])))
    state, thetas = State.start(twin), set()
    for epoch in range(1, 6):
        fit(twin, X, epochs=epoch, batch_size=100, optimizer=other, workers=1, state=state)
        change(other, epoch)
    np.testing.assert_array_equal(model.theta, twin.theta)
    for left_out in names:
        plain, other = MODELS["vae"](), make(0.01)
        fit(plain, X, epochs=5, batch_size=100, optimizer=other, workers=1,
            callback=lambda _, history: names[min(len(history["epoch"]), len(names)) - 1] != left_out
            and change(other, len(history["epoch"])))
        thetas.add(digest(plain.theta))
    assert len(thetas | {digest(twin.theta)}) == 1 + len(names)


def test_auto_is_every_core_where_steps_are_large_and_no_worker_where_they_are_small(monkeypatch):
    """Which of the two follows from the model and the rows alone: so do the bits."""
    monkeypatch.setattr(processes.os, "sched_getaffinity", lambda pid: {0, 1, 5}, raising=False)
    model = MODELS["vae"]()
    rows = -(-team.SMALL // model.theta.size)
    assert team.chosen("auto", model, Adam(), rows) == 3 and team.chosen("auto", model, SGD(), rows - 1) is None
    assert team.chosen("auto", model, Own(), rows) is team.chosen("auto", Own(), Adam(), rows) is None
    assert team.chosen(4, model, Adam(), 1) == 4 and team.chosen(None, model, Adam(), 10 ** 9) is None
    monkeypatch.delattr(processes.os, "sched_getaffinity")
    monkeypatch.setattr(processes.os, "cpu_count", lambda: 2)
    assert team.chosen("auto", model, Adam(), rows) == 2
    thetas = {}
    for workers in (None, 1, "auto"):
        thetas[workers] = MODELS["vae"]()
        fit(thetas[workers], X, epochs=1, batch_size=100 if workers == 1 else 10 ** 6, workers=workers)
    assert digest(thetas["auto"].theta) == digest(thetas[None].theta) != digest(thetas[1].theta)
    monkeypatch.setattr(team, "SMALL", 0)
    model = MODELS["vae"]()
    fit(model, X, epochs=1, batch_size=100, workers="auto")
    assert digest(model.theta) == digest(thetas[1].theta)
    found = [evaluate(model, X[:60], n_samples=20, workers=workers).log_likelihood for workers in (1, "auto")]
    np.testing.assert_array_equal(*found)


class Clipping(Adam):
    """Clips the gradient by its norm, which a slice of it does not have."""

    def step(self, theta, gradient):
        gradient *= min(1, 0.1 / np.linalg.norm(gradient))
        super().step(theta, gradient)


def test_an_optimiser_that_looks_at_all_of_the_gradient_is_refused():
    with pytest.raises(ValueError, match="^optimizer must be SGD or Adam to work in workers.*; got Clipping$"):
        fit(MODELS["vae"](), X, optimizer=Clipping(), workers=2)
    assert team.chosen("auto", MODELS["vae"](), Clipping(), 10 ** 9) is None


@pytest.mark.parametrize("workers", [1, 2])
def test_a_step_of_its_own_makes_an_optimiser_another_kind(workers):
    """Though its class is Adam."""
    optimizer = Adam()
    optimizer.step = types.MethodType(Clipping.step, optimizer)
    with pytest.raises(ValueError, match="^optimizer must be SGD or Adam to work in workers.*; got Adam$"):
        fit(MODELS["vae"](), X, optimizer=optimizer, workers=workers)
    assert team.chosen("auto", MODELS["vae"](), optimizer, 10 ** 9) is None


def test_an_optimiser_of_another_precision_is_refused():
    """A worker would have m and v in that of theta."""
    optimizer = Adam()
    fit(MODELS["vae"]().astype(float), X, epochs=1, optimizer=optimizer)
    for workers in (1, 2):
        with pytest.raises(ValueError, match="^optimizer must be SGD or Adam .* m and v of float32; got Adam$"):
            fit(MODELS["vae"](), X, optimizer=optimizer, workers=workers)


def replace_theta(model, optimizer):
    model.theta = model.theta / 2


def replace_gradient(model, optimizer):
    model.gradient = model.gradient / 2


def replace_a_layer(model, optimizer):
    layer = model.networks["q1"].layers["dense1"]
    layer.W = layer.W / 2


def replace_the_step(model, optimizer):
    optimizer.step = lambda theta, gradient: None


def replace_the_class(model, optimizer):
    optimizer.__class__ = Clipping


def replace_the_dtype(model, optimizer):
    optimizer.m = np.zeros(model.theta.size)


@pytest.mark.parametrize("replace", [replace_theta, replace_gradient, replace_a_layer, replace_the_step,
                                     replace_the_class, replace_the_dtype])
def test_what_a_callback_must_not_replace(replace):
    """Also where it ends training: else what it does would depend on the number of workers."""
    for workers, enough in ((1, False), (2, True)):
        model, optimizer = MODELS["vae"](), Adam()
        with pytest.raises(ValueError, match="^callback must not replace theta, .*: change the numbers in them$"):
            fit(model, X, epochs=2, batch_size=300, optimizer=optimizer, workers=workers,
                callback=lambda *_: (replace(model, optimizer), enough)[1])
        assert not children()


def test_a_callback_without_workers_may_replace_the_step():
    optimizer, model, thetas = Adam(), MODELS["vae"](), []

    def callback(model, history):
        thetas.append(digest(model.theta))
        replace_the_step(model, optimizer)

    fit(model, X, epochs=3, optimizer=optimizer, callback=callback)
    assert thetas[0] == thetas[1] == digest(model.theta)


def new_vectors(state, optimizer):
    optimizer.m, optimizer.v = np.zeros_like(optimizer.m), np.ones_like(optimizer.v)


def begin_anew(state, optimizer):
    optimizer.m = optimizer.v = None
    optimizer.t = 0


def begin_m_anew(state, optimizer):
    optimizer.m = None


def new_seed(state, optimizer):
    state.seed += 1


def younger_average(state, optimizer):
    state.average[:] /= 2
    state.weight = 1.0


def new_average(state, optimizer):
    state.average = state.average / 2


def no_average(state, optimizer):
    state.average, state.weight = None, 0.0


CHANGES = [(change, 1) for change in (new_vectors, begin_anew, begin_m_anew, new_seed, younger_average, new_average,
                                      no_average)]


@pytest.mark.parametrize("change, last", [*CHANGES, (begin_anew, 2),
                                          *(pytest.param(change, 2, marks=pytest.mark.slow)
                                            for change in (new_vectors, new_seed, new_average, no_average))])
def test_what_a_callback_changes_of_optimiser_and_state_is_obeyed(change, last):
    """By any number of workers, also when no step follows; that it makes a difference is checked."""
    found = []
    for workers, changes in ((1, True), (2, True), (1, False)):
        model, optimizer = MODELS["vae"](), Adam(0.01)
        state = State.start(model)

        def callback(model, history):
            if changes and len(history["elbo"]) == last:
                change(state, optimizer)

        fit(model, X, epochs=2, batch_size=100, optimizer=optimizer, state=state, average=0.9, workers=workers,
            callback=callback)
        vectors = [digest(np.asarray(vector)) for vector in (model.theta, optimizer.m, optimizer.v, state.average)]
        found.append((*vectors, optimizer.t, state.weight, state.seed))
    assert found[0] == found[1] != found[2]


def test_what_a_callback_makes_unpicklable_is_said():
    with pytest.raises(ValueError, match="^model must be picklable, for workers: "):
        fit(MODELS["vae"](), X, epochs=2, workers=2, callback=lambda model, _: setattr(model, "extra", lambda: 3))
    assert not children()


def change_data(model, x, epoch):
    x[:] = x[::-1] / (1 + epoch)


def change_model(model, x, epoch):
    model.likelihood = model.likelihood if epoch > 1 else Gaussian(6, logvar=1.0)


def change_consistency(model, x, epoch):
    model.consistency = "printed"


@pytest.mark.parametrize("change, name", [(change_data, "vae"), (change_model, "autoencoder"),
                                          (change_consistency, "hvae")])
def test_what_a_callback_changes_is_obeyed(change, name):
    """As in a run that stops where the callback is called, and goes on with the change; that it is one is checked."""
    thetas = []
    for workers, changes in ((1, False), (2, True), (1, True), (1, None)):
        x, state, optimizer, pids = X.copy(), None, Adam(), []
        model = Autoencoder(6, 2, (5,), likelihood=Gaussian(6, logvar=0.0)) if name == "autoencoder" else MODELS[name]()
        state = State.start(model)

        def callback(model, history):
            pids.append([child.pid for child in children()])
            if changes:
                change(model, x, len(history["elbo"]))

        if changes is None:                            # three runs
            for epoch in (1, 2, 3):
                fit(model, x, epochs=epoch, batch_size=100, optimizer=optimizer, state=state, workers=workers)
                change(model, x, epoch)
        else:
            fit(model, x, epochs=3, batch_size=100, optimizer=optimizer, state=state, workers=workers,
                callback=callback)
            assert (pids[0] == pids[2]) == (workers == 1 or change is change_data)
        thetas.append((digest(model.theta), digest(optimizer.m), optimizer.t))
    assert thetas[1] == thetas[2] == thetas[3] != thetas[0]


@pytest.mark.parametrize("estimator", ["plain", "stl", "dreg"])
@pytest.mark.parametrize("name", ["vae", "hvae", "topdown"])
def test_importance_weights_by_workers(name, estimator):
    """The loop written out: an example's draws are all of one share."""
    twin, optimizer = MODELS[name](), Adam()
    for epoch in (1, 2):
        order = stream(7, "order", epoch).permutation(len(X))
        for step, rows in enumerate((order[:300], order[300:])):
            total = 0
            for s, share in enumerate(cut(len(rows))):
                batch = B[rows[share]]
                Importance(twin, 3, "iwae", estimator).gradient(batch, stream(7, "share", epoch, step, s))
                total = total + twin.gradient * (len(batch) / len(rows))
            optimizer.step(twin.theta, total)
    for workers in (1, 2) if (name, estimator) == ("hvae", "dreg") else (1,):
        model = MODELS[name]()
        fit(model, B, epochs=2, batch_size=300, rng=7, objective="iwae", n_samples=3, estimator=estimator,
            workers=workers)
        np.testing.assert_array_equal(model.theta, twin.theta)


class Stop(Exception):
    pass


@pytest.mark.parametrize("average", [0.7, pytest.param(None, marks=pytest.mark.slow)])
def test_going_on_with_another_number_of_workers_gives_the_same_bits(average, monkeypatch):
    """Also where several steps were asked for at once: here 3 of the 4 of an epoch, then 1."""
    monkeypatch.setitem(ALL, "batch_size", 100)
    whole, parts = MODELS["hvae"](), MODELS["hvae"]()
    expected = fit(whole, X, epochs=3, average=average, workers=1, **ALL)
    monkeypatch.setattr(team, "AHEAD", 3)
    state, optimizer, count = State.start(parts), Adam(), 0

    def stop(state):
        nonlocal count
        count += 1
        if count in (1, 3, 4):
            raise Stop

    for workers in (2, 4, 3, 2):
        try:
            history = fit(parts, X, epochs=3, average=average, state=state, optimizer=optimizer, after_step=stop,
                          workers=workers, **ALL)
        except Stop:                                   # before it was counted as done
            parts, optimizer, state = copy.deepcopy((parts, optimizer, state))
    assert count == 6
    np.testing.assert_array_equal(parts.theta, whole.theta)
    history.pop("seconds"), expected.pop("seconds")
    assert history == expected


def test_the_model_has_its_own_arrays_again():
    model, optimizer = MODELS["vae"](), Adam()
    theta, view, seen = model.theta, model.parameters["q1.dense1.W"], []
    fit(model, X, epochs=1, optimizer=optimizer, workers=2, callback=lambda model, _: seen.append(model.theta.copy()))
    assert model.theta is theta and np.shares_memory(view, theta)
    np.testing.assert_array_equal(theta, seen[0])
    np.testing.assert_array_equal(view, model.parameters["q1.dense1.W"])
    m = optimizer.m
    fit(model, X, epochs=1, optimizer=optimizer, workers=2)
    assert optimizer.m is m and optimizer.t == 10
    fresh, state = Adam(), State.start(model)
    state.epoch, state.history = 1, {"epoch": [1.0]}
    fit(model, X, epochs=1, optimizer=fresh, workers=2, state=state)
    assert fresh.m is None and fresh.t == 0, "no step was to be done"


# what goes wrong ---------------------------------------------------------------------------------


class Failing(VAE):
    """A model that fails in the step of a share with few rows, in the way that it is told."""

    def __init__(self, how):
        super().__init__(6, 2, (5,))
        self.how = how

    def backward(self, delbo, cache, input_gradient=False):
        dx = super().backward(delbo, cache, input_gradient)
        if len(delbo.dprior_matching) == 16:           # the last batch of an epoch has one share, and one worker
            if self.how == "error":
                raise FloatingPointError("no such number")
            if self.how == "nan":
                self.gradient[0] = np.nan
            else:
                os.kill(os.getpid(), getattr(signal, self.how))
        return dx


def children():
    return processes.multiprocessing.active_children()


def test_a_nan_of_one_worker_ends_training_as_without_workers():
    with pytest.raises(FloatingPointError, match="^the optimiser's v became nan in epoch 1; a smaller"):
        fit(Failing("nan"), X, epochs=5, batch_size=300, workers=2)
    assert not children()


def test_an_exception_of_a_worker_arrives_with_its_message():
    with pytest.raises(FloatingPointError, match="^no such number$"):
        fit(Failing("error"), X, epochs=2, batch_size=300, workers=2)
    assert not children()


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_a_worker_that_is_killed_is_said(how):
    with pytest.raises(ChildProcessError, match=f"^worker . of 2 was killed by {how} before .*done$"):
        fit(Failing(how), X, epochs=2, batch_size=300, workers=2)
    assert not children()


def test_a_worker_whose_main_process_ends_before_it_has_said_all_says_nothing(monkeypatch):
    class Pipe:
        def recv(self):
            raise EOFError

        def send(self, words):
            raise BrokenPipeError

    monkeypatch.setattr(processes.signal, "signal", lambda *_: None)
    monkeypatch.setattr(processes.threading, "Thread", lambda **_: Pipe())
    Pipe.start = lambda self: None
    assert processes.begin("worker 1 of 2", Pipe(), 0, 2, None, np.geterr(), {}) is None


def wait_for_ever(pipe, w, n, memory, *given):
    pipe.recv()


def test_a_worker_that_is_killed_before_it_has_read_what_it_is_given_is_said(monkeypatch):
    """What it is given is larger than what a pipe holds."""
    started = processes.Workers.say

    def say(self, copied):
        self.processes[0].kill()
        started(self, copied)

    monkeypatch.setattr(processes.Workers, "say", say)
    with pytest.raises(ChildProcessError, match="^worker 1 of 2 was killed by SIGKILL before its work was done$"):
        processes.Workers(wait_for_ever, 2, np.zeros(10 ** 6))
    assert not children()


def test_ctrl_c_stops_between_steps_and_goes_on_to_the_same_bits():
    whole, model, optimizer = MODELS["vae"](), MODELS["vae"](), Adam()
    fit(whole, X, epochs=2, batch_size=300, workers=1)
    state = State.start(model)

    def press(state):
        if (state.epoch, state.step) == (0, 2):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        fit(model, X, epochs=2, batch_size=300, state=state, optimizer=optimizer, workers=2, after_step=press)
    assert optimizer.t == 2 and not children()
    fit(model, X, epochs=2, batch_size=300, state=state, optimizer=optimizer, workers=2)
    np.testing.assert_array_equal(model.theta, whole.theta)


class Own:
    def step(self, theta, gradient):
        pass


@pytest.mark.parametrize("options, message", [
    ({"workers": 0}, "^workers must be 'auto', or a whole number of at least 1; got 0"),
    ({"workers": "two"}, "^workers must be 'auto', or a whole number of at least 1; got 'two'"),
    ({"workers": 2, "optimizer": Own()}, "^optimizer must be SGD or Adam to work in workers.*; got Own"),
])
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        fit(MODELS["vae"](), X, **options)
    assert not children()


def test_a_model_that_cannot_be_copied_is_named():
    model = MODELS["vae"]()
    model.draw_noise = lambda n, rng: np.zeros((n, 2), np.float32)
    with pytest.raises(ValueError, match="^model must be picklable, for workers: "):
        fit(model, X, epochs=1, workers=2)
    assert not children()


# log p(x), and evaluation ------------------------------------------------------------------------


def test_log_likelihood_is_the_same_for_any_number_of_workers():
    model = MODELS["hvae"]()
    one, three = (team.log_likelihood(model, B, 50, 3, workers=workers) for workers in (1, 3))
    np.testing.assert_array_equal(one, three)
    seed = np.random.default_rng(3).integers(2 ** 63)
    for share, first in enumerate(range(0, len(B), team.MEASURED)):
        rows, rng = slice(first, first + team.MEASURED), np.random.default_rng([seed, share])
        np.testing.assert_array_equal(one[rows], model.log_likelihood(B[rows], 50, rng))


@pytest.mark.parametrize("name", ["hvae", "diffusion"])
def test_evaluate_is_the_same_for_any_number_of_workers_and_near_that_without(name):
    model, out = MODELS[name](), io.StringIO()
    found = [evaluate(model, B, n_samples=20, n_draws=20, batch_size=50, workers=workers, progress=out)
             for workers in (1, 2)]
    plain = evaluate(model, B, n_samples=20, n_draws=20, batch_size=50)
    assert repr(found[0]) == repr(found[1]) and found[0].as_dict() == found[1].as_dict()
    np.testing.assert_array_equal(found[0].log_likelihood, found[1].log_likelihood)
    np.testing.assert_array_equal(found[0].elbo.total, found[1].elbo.total)
    off = 0.5 if name == "diffusion" else 0.1          # its bound is drawn once
    for part in ("elbo", "log_likelihood"):
        assert found[0].as_dict()[part] == pytest.approx(plain.as_dict()[part], abs=off)
    for mine, theirs in zip(found[0].kls, plain.kls):
        np.testing.assert_allclose(mine, theirs, atol=0.05)
    for mine, theirs in zip(found[0].variances, plain.variances):
        np.testing.assert_allclose(mine, theirs, atol=0.05)
    assert sum(line.startswith("example 316/316") for line in out.getvalue().splitlines()) == 2


class Dying(VAE):
    def log_likelihood(self, x, n_samples=1000, rng=0, max_rows=256):
        if self.latent_dim == 3:
            raise MemoryError("too many samples")
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_fails_in_an_evaluation_is_said():
    with pytest.raises(ChildProcessError, match="^worker . of 2 was killed by SIGKILL before"):
        evaluate(Dying(6, 2), B, n_samples=1000, workers=2)
    with pytest.raises(MemoryError, match="^too many samples$"):
        evaluate(Dying(6, 3), B, n_samples=1000, workers=2)
    assert not children()


# the script --------------------------------------------------------------------------------------

SCRIPT = """
import numpy as np
from scratchvae import VAE, fit
print("read")
x = np.ones((20, 6), np.float32)
fit(VAE(6, 2), x, epochs=1, workers=2)
print("done")
"""


@pytest.mark.parametrize("how", ["file", "-c", pytest.param("stdin", marks=pytest.mark.slow)])
def test_a_script_needs_no_guard_unless_it_defines_the_model(tmp_path, how):
    """Workers do not read it; where they must, test_processes.py has what is said."""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    words = {"file": [path], "stdin": ["-"], "-c": ["-c", SCRIPT]}[how]
    run = subprocess.run([sys.executable, *words], input=SCRIPT, capture_output=True, text=True, timeout=60,
                         env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})
    assert (run.returncode, run.stdout, run.stderr) == (0, "read\ndone\n", "")
