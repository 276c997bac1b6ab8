"""Training: fit is the loop that its page says, stops between steps, and goes on to the same bits."""

import copy
import io
import re
import signal
import threading

import numpy as np
import pytest

from scratchvae import HVAE, SGD, VAE, Adam, State, TopDown, check, decay, fit, steps, warm_up
from scratchvae.data import binarize
from scratchvae.objective import with_free_bits
from scratchvae.train.evaluation import held_out
from scratchvae.train.progress import Interrupted, Progress
from scratchvae.train.state import stream
from scratchvae.verify import gradcheck

X = np.random.default_rng(0).random((13, 6)).astype(np.float32)
B = binarize(X)


@pytest.mark.parametrize("average, workers", [(None, None), (0.7, None), (0.7, 2)])
def test_an_explosion_leaves_the_epoch_before_it(average, workers):
    """To the bit, whatever the optimiser; and the run goes on from there with a smaller rate."""
    for last, kind in ((2, Adam),) if workers else ((0, Adam), (2, Adam), (2, lambda: SGD(0.1, 0.9))):
        (model, twin), options = (vae(), vae()), {"batch_size": 5, "average": average, "workers": workers and 1}
        optimizer, other, state, same = kind(), kind(), State.start(model, 3), State.start(model, 3)
        with np.errstate(all="ignore"), \
                pytest.raises(FloatingPointError, match=f"the model is as epoch {last} left it"):
            fit(model, X, epochs=5, optimizer=optimizer, state=state, learning_rate=steps(1e-3, {last + 1: 1e30}),
                **{**options, "workers": workers})
        if last:
            fit(twin, X, epochs=last, optimizer=other, state=same, learning_rate=1e-3, **options)
        assert state.epoch == last == len(state.history.get("elbo", [])) and state.weight == same.weight
        assert state.rng.bit_generator.state == same.rng.bit_generator.state
        for _ in range(2):
            np.testing.assert_array_equal(model.theta, twin.theta)
            np.testing.assert_array_equal(optimizer.v, other.v)
            for a, b, c in ((model, optimizer, state), (twin, other, same)):
                fit(a, X, epochs=4, optimizer=b, state=c, learning_rate=1e-3, **options)


def vae():
    return VAE(6, 2, (5,))


def hvae():
    return HVAE(6, (3, 2), (5,))


# the loop itself ---------------------------------------------------------------------------------


def test_fit_is_the_loop_written_out():
    """Two epochs of 13 rows in batches of 5, step by step by hand: the same parameters and the same history."""
    model, twin, optimizer = hvae(), hvae(), Adam(0.01)
    history = fit(model, X, epochs=2, batch_size=5, optimizer=Adam(0.01), beta=lambda epoch: epoch / 4, rng=7,
                  resample=True)
    noise = stream(7, "noise")
    for epoch in (1, 2):
        elbos, order = [], stream(7, "order", epoch).permutation(13)
        for rows in (order[:5], order[5:10], order[10:]):
            batch = binarize(X[rows], "sample", noise)
            elbo, cache = twin.forward(batch, twin.draw_noise(len(batch), noise))
            twin.backward(elbo.loss_backward(epoch / 4), cache)
            optimizer.step(twin.theta, twin.gradient)
            elbos.append(np.column_stack([elbo.total, elbo.reconstruction, elbo.prior_matching, elbo.consistency]))
        expected = np.concatenate(elbos).mean(axis=0)                           # every row counts the same
        got = [history[name][epoch - 1] for name in ("elbo", "reconstruction", "prior_matching", "consistency_1")]
        np.testing.assert_allclose(got, expected, rtol=1e-6)
        assert history["beta"][epoch - 1] == epoch / 4 and history["epoch"][epoch - 1] == epoch
    np.testing.assert_array_equal(model.theta, twin.theta)


def test_fit_with_an_average_is_the_loop_written_out():
    """The optimiser's way is that of a run without one; held-out bound, callback and the model at the end have it."""
    plain, model, seen = hvae(), hvae(), []
    path, state = [], State.start(model, 7)
    fit(plain, X, epochs=2, batch_size=5, optimizer=Adam(0.01), rng=7, x_valid=B[:4],
        after_step=lambda state: path.append(plain.theta.copy()))
    history = fit(model, X, epochs=2, batch_size=5, optimizer=Adam(0.01), x_valid=B[:4], average=0.7, state=state,
                  callback=lambda model, history: seen.append(model.theta.copy()))
    np.testing.assert_array_equal(state.theta, plain.theta)
    expected = {n: 0.7 ** np.arange(n)[::-1] @ path[:n] / (0.7 ** np.arange(n)).sum() for n in (3, 6)}
    for got, n in ((seen[0], 3), (seen[1], 6), (model.theta, 6)):
        np.testing.assert_allclose(got, expected[n], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(model.theta, state.average)
    assert history["valid_elbo"][1] == pytest.approx(held_out(model, B[:4], 7)["elbo"], rel=1e-12)
    assert not np.shares_memory(state.theta, model.theta) and not np.shares_memory(state.average, model.theta)


def test_without_an_average_nothing_is_kept():
    model = vae()
    state = State.start(model)
    fit(model, X, epochs=1, state=state)
    assert state.average is None and state.theta is None and state.weight == 0


def test_an_average_is_better_than_the_last_step():
    """At a learning rate that is too high, the mean of the steps lies lower than they do."""
    x = B[np.random.default_rng(0).integers(0, 13, 400)]
    model = TopDown(6, (3, 2), (8,))
    state = State.start(model)
    fit(model, x, epochs=30, batch_size=10, optimizer=Adam(0.03), average=0.99, state=state)
    twin = TopDown(6, (3, 2), (8,))
    twin.theta[:] = state.theta
    bounds = [held_out(one, x, 1)["elbo"] for one in (model, twin)]
    assert bounds[0] > bounds[1] + 0.02


@pytest.mark.parametrize("average, message", [
    (0.0, r"^average must be a number in \(0, 1\); got 0.0"), (1, r"^average must be a number in \(0, 1\); got 1"),
    ("x", "^average must be a number"), (None, "^average must be given, as state has one: a number such as 0.999"),
])
def test_a_wrong_average_is_refused(average, message):
    model = vae()
    state = State.start(model)
    fit(model, X, epochs=1, average=0.9, state=state)
    theta = model.theta.copy()
    with pytest.raises(ValueError, match=message):
        fit(model, X, epochs=2, average=average, state=state)
    np.testing.assert_array_equal(model.theta, theta)
    with pytest.raises(ValueError, match=r"^state is of a model of \d+ parameters; this one has \d+"):
        fit(VAE(6, 3, (5,)), X, average=0.9, state=state)


def test_what_goes_wrong_leaves_the_average_in_the_model():
    """An exception in a callback, at a moment when the average is on show: the optimiser's theta is not lost."""
    whole, model = vae(), vae()
    fit(whole, X, epochs=3, average=0.9, optimizer=SGD(0.1))
    state, optimizer = State.start(model), SGD(0.1)

    def stop(model, history):
        if len(history["epoch"]) == 2:
            raise Stop

    with pytest.raises(Stop):
        fit(model, X, epochs=3, average=0.9, state=state, optimizer=optimizer, callback=stop)
    np.testing.assert_array_equal(model.theta, state.average)
    fit(model, X, epochs=3, average=0.9, state=state, optimizer=optimizer)
    np.testing.assert_array_equal(model.theta, whole.theta)


def test_a_seed_is_all_the_randomness_there_is():
    thetas = []
    for seed in (3, 3, 4):
        model = vae()
        fit(model, X, epochs=2, batch_size=5, rng=seed, resample=True)
        thetas.append(model.theta)
    np.testing.assert_array_equal(thetas[0], thetas[1])
    assert (thetas[0] != thetas[2]).any()


def test_every_example_is_seen_once_an_epoch():
    seen = []

    class Watch(VAE):
        def bound(self, x, noise):
            seen.append(np.array(x))
            return super().bound(x, noise)

    fit(Watch(6, 2, (5,)), X, epochs=3, batch_size=4)
    epochs = np.concatenate(seen).reshape(3, 13, 6)
    assert [len(batch) for batch in seen] == [4, 4, 4, 1] * 3
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch, axis=0), np.sort(X, axis=0))
    assert (epochs[0] != epochs[1]).any(), "the order must be a new one in each epoch"


def test_held_out_bound_is_the_mean_over_all_rows_with_noise_that_stays():
    """2500 rows, in batches behind the scenes, with the same noise after every epoch."""
    x, model = np.random.default_rng(1).random((2500, 6)).astype(np.float32), hvae()
    elbos = []
    rng = stream(5, "held out")
    for rows in (x[:1000], x[1000:2000], x[2000:]):
        elbos.append(model.forward(rows, model.draw_noise(len(rows), rng))[0].total)
    for _ in range(2):
        assert held_out(model, x, seed=5)["elbo"] == pytest.approx(np.concatenate(elbos).mean(), rel=1e-6)
    history = fit(model, X, x_valid=x, epochs=1, batch_size=13, learning_rate=1e-12, rng=5)
    assert history["valid_elbo"][0] == pytest.approx(np.concatenate(elbos).mean(), rel=1e-5)


def test_training_learns():
    """Six columns that are all one coin: -6 log 2 nats for who knows nothing, and never above -log 2, what there is."""
    coin = np.repeat(np.tile([0, 1], 100)[:, None], 6, axis=1)
    history = fit(VAE(6, 1, (16,)), coin, epochs=300, batch_size=50, optimizer=Adam(1e-2))
    assert history["elbo"][0] < -0.8 * 6 * np.log(2)
    assert -2 * np.log(2) < np.mean(history["elbo"][-20:]) < -np.log(2)


# schedules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("learning_rate", [0.25, steps(0.25, {2: 0.125})])
def test_fit_sets_the_learning_rate(learning_rate):
    seen, optimizer = [], SGD(9.0)
    fit(vae(), X, epochs=2, optimizer=optimizer, learning_rate=learning_rate,
        callback=lambda model, history: seen.append(optimizer.learning_rate))
    assert seen == ([0.25, 0.25] if learning_rate == 0.25 else [0.25, 0.125])


# free bits ---------------------------------------------------------------------------------------


def test_free_bits_gradient_is_that_of_the_objective():
    """d/dθ of -R + Σₜ beta_t max(λ_t, KL_t), means over the batch, by complex step: one level spared, one not."""
    model = hvae().astype(np.float64)
    noise = model.draw_noise(13, np.random.default_rng(3))
    elbo, cache = model.forward(X, noise)
    kl, beta = elbo.kl.mean(axis=0), np.array([0.7, 0.4])
    free_bits = np.array([kl[0] + 0.1, kl[1] - 0.1])
    spared = with_free_bits(beta, kl, free_bits)
    np.testing.assert_array_equal(spared, [0, 0.4])
    model.backward(elbo.loss_backward(spared), cache)
    twin = model.astype(np.complex128)

    def value(arrays):
        twin.theta[:] = arrays["theta"]
        elbo, _ = twin.forward(X, noise)
        return {"objective": (beta * np.maximum(free_bits, elbo.kl.mean(axis=0))).sum() - elbo.reconstruction.mean()}

    ledger = gradcheck.compare(value, {"objective": {"theta": model.gradient}}, {"theta": model.theta})
    assert ledger.ok, str(ledger)


def test_free_bits_spare_what_is_below_them_and_nothing_else():
    """With 1e9 nats free the KL counts nothing, as with beta = 0; with 0 free it counts in full."""
    trained = {}
    for name, options in {"all free": {"free_bits": 1e9}, "beta 0": {"beta": 0.0}, "none free": {"free_bits": [0, 0]},
                          "plain": {}}.items():
        model = HVAE(6, (3, 2), (5,), consistency="printed")                   # its KLs are above 0 in every batch
        fit(model, X, epochs=3, batch_size=5, optimizer=Adam(0.01), **options)
        trained[name] = model.theta
    np.testing.assert_array_equal(trained["all free"], trained["beta 0"])
    np.testing.assert_array_equal(trained["none free"], trained["plain"])
    assert (trained["plain"] != trained["beta 0"]).any()


# stopping and going on ---------------------------------------------------------------------------

OPTIONS = {
    "plain": {},
    "all": {"resample": True, "x_valid": B[:4], "beta": warm_up(2), "learning_rate": decay(1e-2, 1e-3, 3),
            "free_bits": [0.1, 0.2]},
    "average": {"average": 0.7, "resample": True, "x_valid": B[:4]},
}


class Stop(Exception):
    pass


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("optimizer", [Adam(), SGD(0.01, 0.9)], ids=["Adam", "SGD"])
@pytest.mark.parametrize("every", range(1, 10))
def test_going_on_gives_the_same_bits(options, optimizer, every):
    """3 epochs of 3 steps, stopped after every step, every second, ...; each time only copies of the state survive."""
    whole, parts, first = hvae(), hvae(), copy.deepcopy(optimizer)
    expected = fit(whole, X, epochs=3, batch_size=5, rng=2, optimizer=first, **options)
    state, second, count = State.start(parts, 2), copy.deepcopy(optimizer), 0

    def stop(state):
        nonlocal count
        count += 1
        if count % every == 0:
            raise Stop

    for _ in range(10):
        try:
            history = fit(parts, X, epochs=3, batch_size=5, optimizer=second, state=state, after_step=stop, **options)
            break
        except Stop:
            parts, second, state = copy.deepcopy((parts, second, state))
    assert count == 9, "a step was done twice, or left out"
    np.testing.assert_array_equal(parts.theta, whole.theta)
    del history["seconds"], expected["seconds"]
    assert history == expected


def test_more_epochs_go_on_where_fewer_ended():
    whole, parts = vae(), vae()
    fit(whole, X, epochs=4)
    state, optimizer = State.start(parts), Adam()
    fit(parts, X, epochs=2, state=state, optimizer=optimizer)
    history = fit(parts, X, epochs=4, state=state, optimizer=optimizer)
    np.testing.assert_array_equal(parts.theta, whole.theta)
    assert history["epoch"] == [1, 2, 3, 4] and state.epoch == 4
    assert fit(parts, X, epochs=3, state=state) is history, "nothing is left to do"


class Pressed(VAE):
    """A model that presses Ctrl-C in the middle of its steps number ``at``."""

    def __init__(self, *at):
        super().__init__(6, 2, (5,))
        self.at, self.calls = at, 0

    def backward(self, delbo, cache, input_gradient=False):
        self.calls += 1
        for _ in range(self.at.count(self.calls)):
            signal.raise_signal(signal.SIGINT)
        return super().backward(delbo, cache, input_gradient)


@pytest.mark.parametrize("at", range(1, 7))
def test_ctrl_c_stops_between_steps(at):
    """Pressed within a step, the step is completed first; then the run goes on to the same bits."""
    whole, model, optimizer = vae(), Pressed(at), Adam()
    fit(whole, X, epochs=2, batch_size=5)
    state = State.start(model)
    with pytest.raises(Interrupted):
        fit(model, X, epochs=2, batch_size=5, state=state, optimizer=optimizer)
    assert optimizer.t == at
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    fit(model, X, epochs=2, batch_size=5, state=state, optimizer=optimizer)
    np.testing.assert_array_equal(model.theta, whole.theta)


def test_ctrl_c_after_the_last_step_is_not_lost():
    """Pressed while the last epoch is being looked at: all is done, and the program hears of it still."""
    state, model = State.start(vae()), vae()
    with pytest.raises(Interrupted):
        fit(model, X, epochs=2, state=state, callback=lambda model, history: (
            signal.raise_signal(signal.SIGINT) if len(history["elbo"]) == 2 else None))
    assert state.epoch == 2


def test_a_second_ctrl_c_does_not_wait():
    optimizer = Adam()
    with pytest.raises(KeyboardInterrupt) as caught:
        fit(Pressed(2, 2), X, batch_size=5, optimizer=optimizer)
    assert not isinstance(caught.value, Interrupted) and optimizer.t == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_belongs_to_a_program_that_handles_it():
    seen = []
    old = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        fit(Pressed(2), X, epochs=2, batch_size=5)
    finally:
        signal.signal(signal.SIGINT, old)
    assert seen == [1]


def test_fit_works_in_a_thread():
    """Only the main thread may handle signals."""
    models = vae(), vae()
    thread = threading.Thread(target=fit, args=(models[0], X), kwargs={"epochs": 2})
    thread.start()
    thread.join()
    fit(models[1], X, epochs=2)
    np.testing.assert_array_equal(models[0].theta, models[1].theta)


def test_a_callback_ends_training():
    history = fit(vae(), X, epochs=9, callback=lambda model, history: len(history["elbo"]) == 3)
    assert history["epoch"] == [1, 2, 3]


# progress, and what is refused -------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_a_line_for_each_epoch_on_a_pipe(capsys):
    out = io.StringIO()
    fit(hvae(), X, epochs=3, x_valid=B, progress=out)
    lines = out.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all(name in lines[0] for name in ("elbo -", "reconstruction -", "prior matching", "consistency 1",
                                             "held-out elbo -"))
    fit(vae(), X, epochs=3)
    assert capsys.readouterr() == ("", ""), "a library is quiet off a terminal"
    fit(vae(), X, epochs=3, progress=True)
    assert capsys.readouterr().err.count("\n") == 3


def test_progress_is_one_line_on_a_terminal(monkeypatch):
    """Written anew each time, never so long that the terminal wraps it, and ended when training ends."""
    monkeypatch.setenv("COLUMNS", "50")
    out = Terminal()
    fit(hvae(), X, epochs=3, x_valid=B, progress=out)
    text = out.getvalue()
    assert text.count("\r") == 3 and text.count("\n") == 1 and text.endswith("\n")
    assert max(map(len, text.strip("\n").split("\r"))) <= 49
    for line in text.strip().split("\r"):
        assert re.fullmatch(r"epoch \d/3  \d:\d\d left  held-out elbo -[\d.]+( +elbo -[\d.]+)? *", line), "whole words"
    quiet = Terminal()
    fit(vae(), X, epochs=3, progress=False)
    assert quiet.getvalue() == ""


@pytest.mark.parametrize("done, left", [(0, "0:28"), (3, "0:40")])
def test_time_left_counts_what_this_run_has_done(monkeypatch, done, left):
    """10 seconds for 5 of 19 epochs; or, if 3 of the 5 were done before, for 2, and 8 of 13 are left."""
    out, now = io.StringIO(), iter([100.0, 110.0])
    monkeypatch.setattr("scratchvae.train.progress.time.perf_counter", lambda: next(now))
    Progress("epoch", 19 if done == 0 else 13, out, done).update(5)
    assert out.getvalue() == f"epoch 5/{19 if done == 0 else 13}  {left} left\n"


def test_a_run_that_goes_on_tells_progress_where_it_stands(monkeypatch):
    made = []
    monkeypatch.setattr("scratchvae.train.fit.Progress", lambda *words: made.append(words) or Progress(*words))
    model = vae()
    state, optimizer = State.start(model), Adam()
    fit(model, X, epochs=2, state=state, optimizer=optimizer)
    fit(model, X, epochs=5, state=state, optimizer=optimizer)
    assert [words[3] for words in made] == [0, 2]


def test_a_bound_that_is_lost_is_said():
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="the ELBO became .* in epoch .*; a small"):
        fit(VAE(6, 2, (5,), likelihood="gaussian"), X * 100, epochs=50, optimizer=SGD(1e3))
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="the ELBO became .* in epoch 1; a small"):
        fit(VAE(6, 2, (5,), likelihood="gaussian"), X, epochs=1, batch_size=len(X), optimizer=SGD(1e38), x_valid=X)


@pytest.mark.parametrize("call, message", [
    (lambda: fit(vae(), X, learning_rate=lambda epoch: 0.0),
     r"^learning_rate must be a number in \(0, inf\); got 0.0$"),
    (lambda: fit(vae(), X, epochs=0), "^epochs must be a whole number of at least 1; got 0"),
    (lambda: fit(vae(), X, batch_size=0.5), "^batch_size must be a whole number"),
    (lambda: fit(vae(), X, rng=-1), "^rng must be a whole number of at least 0; got -1"),
    (lambda: fit(vae(), X, rng="x"), "^rng must be"),
    (lambda: fit(vae(), X[:, :5]), r"^x must have shape \(n, 6\); got \(13, 5\)"),
    (lambda: fit(vae(), X, x_valid=X[:0]), "^x_valid must have the same columns and range as x: x must have shape"),
    (lambda: fit(vae(), X + 1), r"^x must lie in \[0, 1\]"),
    (lambda: fit(vae(), X, free_bits=-1), "^free_bits must be a number of at least 0"),
    (lambda: fit(vae(), X, free_bits=[1, 2]), "^free_bits must be .* one for each of the 1 levels; got .1, 2.$"),
    (lambda: fit(hvae(), X, free_bits="much"), "^free_bits must be a number"),
    (lambda: check.by_level("free_bits", [], 2), "^free_bits must be a number of at least 0"),
])
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
