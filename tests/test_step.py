"""A step: the loop that its page says, by one process and by several workers, each with its shares and its slice."""

import copy
import threading
from functools import partial

import numpy as np
import pytest

from scratchvae import HVAE, SGD, VAE, Adam, Importance, State
from scratchvae.data import binarize
from scratchvae.train.losses import loss_of, sums
from scratchvae.train.state import stream
from scratchvae.train.step import Steps, cut, lay

X = np.random.default_rng(0).random((316, 6)).astype(np.float32)           # batches of 300 and 16: 4 shares and 1
ORDER = np.random.default_rng(1).permutation(316)


def hvae():
    return HVAE(6, (3, 2), (5,))


@pytest.mark.parametrize("n, lengths", [(1, [1]), (16, [16]), (17, [8, 9]), (128, [64] * 2), (256, [128] * 2),
                                        (257, [64, 64, 64, 65]), (512, [128] * 4), (513, [64] * 7 + [65]),
                                        (2000, [250] * 8)])
def test_a_batch_is_cut_by_its_rows_alone(n, lengths):
    shares = cut(n)
    assert [share.stop - share.start for share in shares] == lengths
    np.testing.assert_array_equal(np.concatenate([np.arange(n)[share] for share in shares]), np.arange(n))


def test_lay_moves_parameters_and_gradients_and_nothing_else():
    model, plain = hvae(), hvae()
    theta, gradient = np.empty_like(model.theta), np.empty_like(model.theta)
    model.gradient[:] = np.arange(model.theta.size)
    lay(model, theta, gradient)
    np.testing.assert_array_equal(gradient, np.arange(model.theta.size))
    assert model.theta is theta and model.gradient is gradient
    for twin in (model, plain):
        elbo, cache = twin.forward(X, twin.draw_noise(len(X), np.random.default_rng(1)))
        twin.backward(elbo.loss_backward(), cache)
    np.testing.assert_array_equal(theta, plain.theta)
    np.testing.assert_array_equal(gradient, plain.gradient)
    for key, view in model.parameters.items():
        assert np.shares_memory(view, theta) and view.shape == plain.parameters[key].shape
        assert np.shares_memory(model.gradients[key], gradient)
        np.testing.assert_array_equal(model.gradients[key], plain.gradients[key])
    for layer in (model.q[1].output, model.p[2].output):
        assert np.shares_memory(layer.W, theta) and np.shares_memory(layer.db, gradient)


def by_hand(model, optimizer, resample, average, loss, beta, n_epochs=2):
    """The loop of workers, written out; return the state, and the parts of the bound of each step."""
    state, found = State.start(model, 7), []
    for epoch, step in np.ndindex(n_epochs, 2):
        rows, total = ORDER[300 * step:300 * (step + 1)], 0
        begun = []
        for s, share in enumerate(cut(len(rows))):
            rng, batch, twin = stream(7, "share", epoch + 1, step, s), X[rows[share]], copy.deepcopy(model)
            batch = binarize(batch, "sample", rng) if resample else batch
            begun.append((twin, *loss(twin).begin(batch, rng, beta)))
        found.append(np.sum([sums(elbo) for _, elbo, _ in begun], axis=0))
        for twin, _, half in begun:
            loss(twin).finish(half, beta, found[-1][1:] / len(rows), len(rows))
            total = total + twin.gradient
        optimizer.step(model.theta, total)
        if average is not None:
            state.add(model.theta, average)
    return state, found


OPTIONS = [(False, None, {}), (True, 0.7, {"free_bits": [0.01, 0.2]}), (False, None, {"n_samples": 2})]


@pytest.mark.parametrize("resample, average, loss", OPTIONS)
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_workers_make_the_loop_written_out(n, resample, average, loss):
    """In threads, as `team.train` has them: theta and the gradients are shared, what is of a slice is not."""
    loss, beta, twin = partial(loss_of, **loss), np.array([0.5, 0.3]), hvae()
    expected, found = by_hand(twin, Adam(0.01), resample, average, loss, beta)
    theta, gradients = hvae().theta, [np.full_like(twin.theta, np.nan) for _ in range(4)]
    barrier, parts = threading.Barrier(n, timeout=3), np.full((4, 4, 3), np.nan)
    workers = []
    for w in range(n):
        model = hvae()
        lay(model, theta, gradients[0])
        workers.append(Steps(model, X, Adam(0.01), 300, State.start(model, 7), resample, loss, average,
                             gradients=gradients, w=w, n=n, meet=barrier.wait))
        workers[w].order[:] = ORDER
    returned = {}

    def work(w):
        for i, (epoch, step) in enumerate(np.ndindex(2, 2)):
            returned[w, i] = workers[w].make(step, beta, workers[w].noises(epoch + 1, step), parts[i])
            barrier.wait()

    threads = [threading.Thread(target=work, args=(w,), daemon=True) for w in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    np.testing.assert_array_equal(theta, twin.theta)
    for i, sums_ in enumerate(found):
        whole = parts[i, :1 if i % 2 else 4].sum(axis=0)
        np.testing.assert_allclose(whole, sums_, rtol=1e-14)
        if average is not None:                        # free bits: all have waited for the KL of all
            for w in range(n):
                np.testing.assert_array_equal(returned[w, i], whole)
    if average is not None:
        np.testing.assert_array_equal(np.concatenate([worker.state.average for worker in workers]), expected.average)


@pytest.mark.parametrize("resample, average, loss", OPTIONS)
def test_one_process_makes_the_shares_of_workers_to_the_same_bits(resample, average, loss):
    loss, model, twin = partial(loss_of, **loss), hvae(), hvae()
    expected, found = by_hand(twin, Adam(0.01), resample, average, loss, 0.5)
    state, gradients = State.start(model, 7), [model.gradient, *(np.empty_like(model.theta) for _ in range(3))]
    steps = Steps(model, X, Adam(0.01), 300, state, resample, loss, average, gradients=gradients)
    steps.order[:] = ORDER
    for i, (epoch, step) in enumerate(np.ndindex(2, 2)):
        np.testing.assert_allclose(steps.step(epoch + 1, step, 0.5), found[i], rtol=1e-14)
    np.testing.assert_array_equal(model.theta, twin.theta)
    np.testing.assert_array_equal(state.average, expected.average)
    assert not steps.ahead


@pytest.mark.parametrize("resample, average, loss", [(False, None, {}), (True, 0.7, {"free_bits": [0.3, 0.2]}),
                                                     (False, 0.7, {"n_samples": 2})])
def test_without_workers_a_batch_is_one_share_and_the_run_has_one_generator(resample, average, loss):
    model, twin = hvae(), hvae()
    state, rng, kept = State.start(model, 7), stream(7, "noise"), State.start(model, 7)
    steps, optimizer = Steps(model, X, SGD(0.1), 300, state, resample, partial(loss_of, **loss), average), SGD(0.1)
    steps.order[:] = ORDER
    for step, rows in ((0, ORDER[:300]), (1, ORDER[300:])):
        batch = binarize(X[rows], "sample", rng) if resample else X[rows]
        if "n_samples" in loss:
            elbo = Importance(twin, 2, "elbo").gradient(batch, rng, 0.5)
        else:
            elbo, cache = twin.forward(batch, twin.draw_noise(len(batch), rng))
            beta = [0.5, 0.0] if "free_bits" in loss else 0.5          # the KL is 0.9, 0.1: of level 2 it is free
            twin.backward(elbo.loss_backward(beta), cache)
        optimizer.step(twin.theta, twin.gradient)
        kept.add(twin.theta, 0.7)
        np.testing.assert_allclose(steps.step(1, step, 0.5), sums(elbo), rtol=1e-14)
        np.testing.assert_array_equal(model.theta, twin.theta)
    assert state.rng.random() == rng.random()
    if average is None:
        assert state.average is None
    else:
        np.testing.assert_array_equal(state.average, kept.average)


@pytest.mark.parametrize("free_bits, times", [(None, 1), (0.1, 2)])
def test_workers_meet_before_a_backward_only_where_free_bits_need_the_whole_kl(free_bits, times):
    model, met = VAE(6, 2, (5,)), []
    steps = Steps(model, X, Adam(), 16, State.start(model), False, partial(loss_of, free_bits=free_bits), None,
                  gradients=[model.gradient], meet=lambda: met.append(model.gradient.any()))
    steps.order[:] = ORDER
    steps.step(1, 0, 1.0)
    assert met == [False, True][-times:]


def test_what_changes_in_the_model_is_seen_by_the_copies_of_all_shares():
    found = []
    for late in (False, True):
        model = hvae()
        gradients = [model.gradient, *(np.empty_like(model.theta) for _ in range(3))]
        model.consistency = "exact" if late else "printed"
        steps = Steps(model, X, Adam(), 300, State.start(model), False, loss_of, None, gradients=gradients)
        steps.order[:] = ORDER
        if late:
            model.consistency = "printed"
            steps.see_changes()
        steps.step(1, 0, 1.0)
        found.append(model.theta)
    np.testing.assert_array_equal(*found)
