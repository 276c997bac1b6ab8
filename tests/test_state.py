"""Where a run stands: its streams, its average, what a run that goes on must be given, and what an explosion leaves."""

import copy
import types

import numpy as np
import pytest

from scratchvae import HVAE, SGD, VAE, Adam, State
from scratchvae.train.state import Kept, check_state, hold_average, hold_steps, stream


def vae():
    return VAE(6, 2, (5,))


# streams -----------------------------------------------------------------------------------------


def test_streams_are_those_of_every_version():
    """The keys are written down, so that a run of an older version goes on to the same bits."""
    for purpose, key in {"noise": (0, 0), "held out": (1, 0), "order": (2, 0)}.items():
        expected = np.random.default_rng(np.random.SeedSequence(7, spawn_key=key)).random()
        assert stream(7, purpose).random() == stream(7, purpose, 0).random() == expected
    for purpose, place, key in (("order", (5,), (2, 5)), ("share", (5, 1, 2), (3, 5, 1, 2))):
        expected = np.random.default_rng(np.random.SeedSequence(7, spawn_key=key)).random()
        assert stream(7, purpose, *place).random() == expected


def test_every_share_of_every_step_has_noise_of_its_own():
    draws = {stream(seed, "share", *place).random() for seed, *place in np.ndindex(3, 3, 3, 3)}
    draws |= {stream(seed, purpose, epoch).random() for seed in range(3) for epoch in range(3)
              for purpose in ("noise", "held out", "order")}
    assert len(draws) == 81 + 27
    assert stream(1, "share", 2, 0, 2).random() == stream(1, "share", 2, 0, 2).random()


# the first state ---------------------------------------------------------------------------------


def test_a_run_starts_before_the_first_step():
    state = State.start(HVAE(6, (3, 2), (5,)), 3)
    assert (state.seed, state.epoch, state.step, state.seconds, state.history) == (3, 0, 0, 0.0, {})
    assert state.average is None and state.theta is None and state.weight == 0
    np.testing.assert_array_equal(state.sums, np.zeros(3))
    assert state.rng.random() == stream(3, "noise").random()
    assert State.start(vae()).seed == 0 and State.start(vae(), 2 ** 70).seed == 2 ** 70


def test_a_generator_gives_the_seed():
    seeds = [State.start(vae(), np.random.default_rng(i)).seed for i in range(20)]
    assert seeds == [int(np.random.default_rng(i).integers(2 ** 63)) for i in range(20)]
    assert all(type(seed) is int for seed in seeds) and max(seeds) > 2 ** 62


def has(*names):
    return types.SimpleNamespace(**dict.fromkeys(names, lambda delbo, cache: None))


@pytest.mark.parametrize("model, missing", [(has(), "draw_noise"), (has("draw_noise"), "bound"),
                                            (has("draw_noise", "bound"), "backward")])
def test_a_run_of_no_model_is_refused(model, missing):
    with pytest.raises(ValueError, match=r"^model must be an object such as VAE\(64, 16\); got namespace"
                                         f".*, which has no method {missing}$"):
        State.start(model)


@pytest.mark.parametrize("rng", [-1, "x", 0.5])
def test_a_wrong_seed_is_refused(rng):
    with pytest.raises(ValueError, match="^rng must be a whole number of at least 0; got "):
        State.start(vae(), rng)


# the average -------------------------------------------------------------------------------------


def test_average_is_the_mean_with_its_weights():
    """θ̄ after each of ten steps, against the weighted mean by its definition; and MATH (12.7)'s numbers."""
    cases = (0.8, np.random.default_rng(0).standard_normal((10, 3))), (0.5, np.array([[4.0], [1], [3]]))
    for decay, thetas in cases:
        state = State.start(vae())
        for n, theta in enumerate(thetas, start=1):
            state.add(theta, decay)
            weights = decay ** np.arange(n)[::-1]
            np.testing.assert_allclose(state.average, weights @ thetas[:n] / weights.sum(), rtol=1e-12, atol=1e-15)
            assert state.weight == pytest.approx(weights.sum(), rel=1e-13)
    assert state.average[0] == pytest.approx(2.571, abs=5e-4)


def test_the_model_holds_the_average_while_the_state_holds_theta():
    model = vae()
    state, theta = State.start(model), model.theta
    hold_average(model, state)
    assert state.theta is None, "there is no average"
    first = theta.copy()
    hold_steps(model, state)
    assert state.theta is model.theta is theta
    np.testing.assert_array_equal(theta, first)
    hold_average(model, state)
    assert state.theta is None, "there is no average yet"
    hold_steps(model, state)
    state.add(theta, 0.5)
    np.testing.assert_array_equal(state.average, theta)
    theta += 1
    state.add(theta, 0.5)
    for _ in range(2):                                 # the second time it holds it already
        hold_average(model, state)
        np.testing.assert_array_equal(model.theta, state.average)
        np.testing.assert_array_equal(state.theta, first + 1)
        assert model.theta is theta and not np.shares_memory(state.theta, theta)
    hold_steps(model, state)
    assert state.theta is model.theta is theta
    np.testing.assert_array_equal(theta, first + 1)


def test_the_end_of_an_epoch():
    state = State.start(vae())
    state.step, sums = 3, state.sums
    sums[:] = 5
    for epoch in (1.0, 2.0):
        state.end_epoch({"epoch": epoch, "elbo": -epoch})
    assert (state.epoch, state.step, state.history) == (2, 0, {"epoch": [1.0, 2.0], "elbo": [-1.0, -2.0]})
    assert state.sums is sums and not sums.any()


# after an explosion ------------------------------------------------------------------------------


class Worse(FloatingPointError):
    pass


class Once(list):
    def __deepcopy__(self, memo):
        raise AssertionError("the history grows, and needs no copy after every epoch")


@pytest.mark.parametrize("make", [Adam, lambda: SGD(0.1, 0.9)])
@pytest.mark.parametrize("error, lost", [(FloatingPointError, True), (Worse, True), (Exception, False), (None, False)])
def test_a_floating_point_error_brings_back_what_was_kept(make, error, lost):
    model, optimizer = vae(), make()
    state, theta = State.start(model), model.theta
    state.history["epoch"] = Once()
    optimizer.step(theta, np.ones_like(theta))
    with Kept(model, optimizer, state) as kept:
        optimizer.step(theta, np.ones_like(theta))
        state.end_epoch({"epoch": 1.0})
        state.add(theta, 0.5)
        kept.keep()
    before = copy.deepcopy((theta, optimizer.v, state.rng.bit_generator.state, state.average))
    try:
        with kept:
            optimizer.step(theta, np.ones_like(theta))
            optimizer.learning_rate = 3.0
            state.step, _ = 7, state.rng.random()
            state.add(theta, 0.5)
            state.history["epoch"].append(2.0)
            if error is not None:
                raise error
    except Exception as raised:
        assert type(raised) is error
    after = theta, optimizer.v, state.rng.bit_generator.state, state.average
    assert (repr(before) == repr(after)) == lost
    assert (state.step, state.weight, optimizer.learning_rate) == ((0, 1.0, make().learning_rate) if lost else
                                                                   (7, 1.5, 3.0))
    assert model.theta is theta and state.epoch == 1 and state.history["epoch"] == [1.0, 2.0]


def test_before_the_first_epoch_ends_the_beginning_is_kept():
    model, optimizer = vae(), Adam()
    state, first = State.start(model), model.theta.copy()
    with pytest.raises(FloatingPointError), Kept(model, optimizer, state):
        optimizer.step(model.theta, np.ones_like(first))
        raise FloatingPointError
    np.testing.assert_array_equal(model.theta, first)
    assert optimizer.t == 0 and optimizer.m is None


# what a run that goes on must be given -----------------------------------------------------------


def at(**changes):
    """A state in its second epoch, with two steps done."""
    state = State.start(vae())
    state.epoch, state.step, state.history = 1, 2, {"epoch": [1.0], "valid_elbo": [-3.0]}
    vars(state).update(changes)
    return state


def test_a_run_goes_on_with_what_it_had():
    size = vae().theta.size
    for state, n_steps, held_out, average in ((at(), 2, True, None), (at(history={}), 3, False, 0.5),
                                              (at(epoch=0, history={}), 3, True, None),
                                              (at(average=np.ones(size), theta=np.ones(size)), 2, True, 0.9)):
        assert check_state(state, vae(), n_steps, held_out, average) is None


@pytest.mark.parametrize("state, n_steps, held_out, message", [
    (np.zeros(3), 2, True, "state must be a State, such as State.start(model); got an array of shape (3,)"),
    (State.start(HVAE(6, (3, 2, 2))), 2, True, "state is of a model with 3 levels; this one has 1"),
    (at(theta=np.zeros(5)), 2, True, f"state is of a model of 5 parameters; this one has {vae().theta.size}"),
    (at(), 1, True, "state has 2 steps of an epoch behind it, but x has only 1 batches of this batch_size: x and "
                    "batch_size must be those that the run began with"),
    (at(), 2, False, "x_valid must be given if and only if it was when the run of this state began, as its bound is a "
                     "column of the history"),
    (at(history={}), 2, True, "x_valid must be given if and only if it was when the run of this state began, as its "
                              "bound is a column of the history"),
    (at(average=np.zeros(3)), 2, True, "average must be given, as state has one: a number such as 0.999"),
])
def test_another_state_is_refused(state, n_steps, held_out, message):
    with pytest.raises(ValueError) as caught:
        check_state(state, vae(), n_steps, held_out, None)
    assert str(caught.value) == message
