"""fit: what it refuses, what it takes unless others are given, and what it hands on to a step."""

import inspect
import signal
import types
import warnings

import numpy as np
import pytest

from scratchvae import HVAE, VAE, Adam, Autoencoder, Gaussian, Poisson, State, fit
from scratchvae.train import team
from scratchvae.train.losses import loss_of
from scratchvae.train.step import Steps

X = np.random.default_rng(0).random((13, 6)).astype(np.float32)
FAR = ("x should be scaled to mean 0 and variance 1, where a Gaussian likelihood learns best: column 2, counted from "
       "0, has a root mean square of 30.1; take (x - x.mean(axis=0)) / x.std(axis=0), or TableVAE, which does it")


def vae(**options):
    return VAE(6, 2, (5,), **options)


def has(*names):
    return types.SimpleNamespace(**dict.fromkeys(names, lambda delbo, cache: None))


@pytest.mark.parametrize("model, options, message", [
    (has(), {}, "has no method check_x"), (has("check_x"), {}, "has no method draw_noise"),
    (has("check_x", "draw_noise"), {}, "has no method bound"),
    (has("check_x", "draw_noise", "bound"), {}, "has no method backward"),
    (vae(), {"callback": 3}, "callback must be a function of the model and the history; got 3"),
    (vae(), {"after_step": 3}, "after_step must be a function of the state; got 3"),
    (vae(), {"resample": 3}, "resample must be True or False; got 3"),
    (vae(), {"optimizer": 3}, "optimizer must be an object such as Adam(); got 3, which has no method step"),
    (vae(likelihood="gaussian"), {"x": X - 1.5, "resample": True},
     "x must lie in [0, 1] for resample=True; its values go from " f"{(X - 1.5).min():g} to {(X - 1.5).max():g}"),
    (vae(likelihood="gaussian"), {"x": X * 1.5, "resample": True},
     "x must lie in [0, 1] for resample=True; its values go from " f"{X.min() * 1.5:g} to {X.max() * 1.5:g}"),
    (vae(likelihood="gaussian"), {"x": X - 0.5, "resample": True},
     "x must lie in [0, 1] for resample=True; its values go from " f"{(X - 0.5).min():g} to {(X - 0.5).max():g}"),
    (vae(), {"beta": 1e39}, "beta has numbers that are too large for float32"),
])
def test_bad_input(model, options, message):
    with pytest.raises(ValueError) as caught:
        fit(model, **{"x": X, **options})
    expected = message if isinstance(model, VAE) else "model must be an object such as VAE(64, 16); got "
    assert str(caught.value).endswith(message) and str(caught.value).startswith(expected)


def test_black_and_white_pixels_may_be_drawn_anew():
    fit(vae(), np.eye(6), resample=True, epochs=1)


def scaled(size):
    """Columns of a root mean square of 1, one of this size."""
    x = np.where(np.arange(20)[:, None] % 2, 1.0, -1.0) * np.ones(6)
    x[:, 2] *= size
    return x


def test_a_column_far_from_its_scale_is_remarked():
    for model in (vae(likelihood="gaussian"), Autoencoder(6, 2, likelihood=Gaussian(6, logvar=0.0))):
        with pytest.warns(UserWarning) as caught:
            fit(model, scaled(30.1), epochs=1)
        assert [str(one.message) for one in caught] == [FAR] and caught[0].filename == __file__
    with pytest.warns(UserWarning, match="of 1e[+]30;"), pytest.raises(FloatingPointError), np.errstate(all="ignore"):
        fit(vae(likelihood="gaussian"), scaled(1e30), epochs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(vae(likelihood="gaussian"), scaled(30.0), epochs=1)
        fit(vae(likelihood=Poisson(6)), np.full((20, 6), 40), epochs=1)


def test_what_is_taken_unless_others_are_given():
    given = {name: p.default for name, p in inspect.signature(fit).parameters.items() if p.default is not p.empty}
    assert given == {**dict.fromkeys(("optimizer", "learning_rate", "free_bits", "average", "x_valid", "callback",
                                      "progress", "state", "after_step", "workers")), "epochs": 100, "batch_size": 64,
                     "beta": 1.0, "objective": "elbo", "n_samples": 1, "estimator": "plain", "rng": 0,
                     "resample": False}


@pytest.mark.parametrize("options, rows, expected", [({}, 13, (None, 1)), ({"batch_size": 5}, 5, (None, 1)),
                                                     ({"n_samples": 3, "objective": "iwae", "estimator": "stl"}, 39,
                                                      ("iwae", 3, "stl"))])
def test_what_the_engine_is_given(monkeypatch, options, rows, expected):
    """With workers: their number, the rows of a step, and the loss."""
    seen, engine = [], team.engine
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")    # one worker is this process
    monkeypatch.setattr(team, "engine", lambda *given: seen.append(given) or engine(*given))
    fit(vae(), X.round(), epochs=1, workers=1, **options)
    (workers, n, model, *_, loss, average), = seen
    assert (workers, n, average) == (1, rows, None)
    made = loss(model)
    assert (made.free_bits, made.K) == expected if len(expected) == 2 else \
        (made.many.objective, made.K, made.many.estimator) == expected


def test_a_step_is_told_how_many_may_follow_it(monkeypatch):
    seen, make = [], []

    class Engine:
        ahead, order = (), np.empty(13, int)

        def step(self, epoch, step, beta, following):
            seen.append((epoch, step, following))
            return np.ones(2)

        def see_changes(self):
            make.append(len(seen))

    monkeypatch.setattr("scratchvae.train.fit.Steps", lambda *given: Engine())
    states = []
    history = fit(vae(), X, epochs=2, batch_size=5, after_step=states.append, callback=lambda *_: None, beta=0.25)
    assert seen == [(1, 0, 2), (1, 1, 1), (1, 2, 0), (2, 0, 2), (2, 1, 1), (2, 2, 0)] and make == [3, 6]
    assert len(states) == 6 and all(isinstance(state, State) for state in states)
    assert [type(value) for value in (history["epoch"][0], history["beta"][0])] == [float, float]


def test_after_ctrl_c_no_step_is_asked_for_ahead(monkeypatch):
    """What is under way is fetched, and then the run ends between two steps."""
    given, model = [], vae()

    class Ahead(Steps):
        def step(self, epoch, step, beta, following=0):
            given.append(following)
            self.ahead = step < 2
            if step == 0:
                signal.raise_signal(signal.SIGINT)
            return super().step(epoch, step, beta)

    monkeypatch.setattr("scratchvae.train.fit.Steps", Ahead)
    state = State.start(model)
    with pytest.raises(KeyboardInterrupt):
        fit(model, X.round(), epochs=2, batch_size=3, state=state)
    assert given == [4, 0, 0] and (state.epoch, state.step) == (0, 3)


def test_a_run_that_stops_within_an_epoch_leaves_the_average():
    model = vae()
    state = State.start(model)
    with pytest.raises(KeyboardInterrupt):
        fit(model, X.round(), epochs=2, batch_size=3, average=0.9, state=state,
            after_step=lambda state: signal.raise_signal(signal.SIGINT) if state.step == 3 else None)
    np.testing.assert_array_equal(model.theta, state.average)
    assert (state.theta != model.theta).any()          # where the optimiser stands


def test_a_model_without_a_likelihood_is_trained():
    inner = vae()
    own = types.SimpleNamespace(theta=inner.theta, gradient=inner.gradient, latent_dims=(2,), bound=inner.bound,
                                check_x=inner.check_x, draw_noise=inner.draw_noise, backward=inner.backward)
    assert len(fit(own, X.round(), epochs=1)["elbo"]) == 1


def test_the_bound_in_training_is_the_first_to_be_named(monkeypatch):
    monkeypatch.setattr("scratchvae.train.fit.held_out", lambda *_: {"elbo": -np.inf})
    with pytest.raises(FloatingPointError, match="^the ELBO became -inf in epoch 1; "):
        fit(vae(), X.round(), epochs=1, x_valid=X.round())
    monkeypatch.setattr("scratchvae.train.fit.Steps.step", lambda *_, **__: np.full(2, np.nan))
    with pytest.raises(FloatingPointError, match="^the ELBO became nan in epoch 1; "):
        fit(vae(), X.round(), epochs=1, x_valid=X.round())


def test_the_seconds_of_a_run_go_on(monkeypatch):
    now = iter(range(100, 200))
    monkeypatch.setattr("scratchvae.train.fit.time.perf_counter", lambda: next(now))
    model, optimizer = vae(), Adam()
    state = State.start(model)
    seconds = []
    for epochs in (1, 2):
        fit(model, X, epochs=epochs, batch_size=5, state=state, optimizer=optimizer, progress=False,
            after_step=lambda state: seconds.append(state.seconds))
    assert all(0 < b - a <= 3 for a, b in zip(seconds, seconds[1:])) and 0 < seconds[0] <= 3


def test_the_beta_of_the_history_is_that_of_the_top():
    history = fit(HVAE(6, (3, 2), (4,)), X, epochs=1, beta=[0.25, 0.5])
    assert history["beta"] == [0.5] and loss_of(vae()).K == 1
