"""Optimisers: against their papers' algorithms, written out for one number at a time."""

import numpy as np
import pytest

from scratchvae import SGD, Adam
from scratchvae.train import optim


def test_sgd_with_momentum_by_hand():
    """v ← 0.5 v + g, θ ← θ - 0.1 v, for the gradients 1, 1, -2."""
    theta, optimizer = np.array([1.0]), SGD(0.1, momentum=0.5)
    seen = []
    for g in (1.0, 1.0, -2.0):                         # v = 1, then 1.5, then -1.25
        optimizer.step(theta, np.array([g]))
        seen.append(theta[0])
    np.testing.assert_allclose(seen, [0.9, 0.75, 0.875], rtol=1e-14)


def test_sgd_without_momentum_forgets():
    theta, optimizer = np.array([1.0]), SGD(0.1)
    for g in (1.0, 0.0, 0.0):
        optimizer.step(theta, np.array([g]))
    np.testing.assert_allclose(theta, 0.9, rtol=1e-14)


@pytest.mark.parametrize("dtype, rtol", [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_adam_is_algorithm_1(dtype, rtol, rng, monkeypatch):
    """Kingma and Ba's algorithm 1, number by number, over 250 steps and three blocks, the last one smaller."""
    monkeypatch.setattr(optim, "BLOCK", 2000)
    size, steps = 5000, 250
    theta = rng.standard_normal(size).astype(dtype)
    shown = np.arange(0, size, 249)                    # of all five sizes of gradient
    expected = theta[shown].astype(float)
    m = v = np.zeros(len(shown))
    optimizer = Adam(0.01, beta1=0.8, beta2=0.99, epsilon=1e-6)
    for t in range(1, steps + 1):
        g = (np.sin(0.1 * t * np.arange(size)) * 10.0 ** -(np.arange(size) % 5)).astype(dtype)
        optimizer.step(theta, g)
        m = 0.8 * m + (1 - 0.8) * g[shown]
        v = 0.99 * v + (1 - 0.99) * g[shown].astype(float) ** 2
        expected -= 0.01 * (m / (1 - 0.8 ** t)) / (np.sqrt(v / (1 - 0.99 ** t)) + 1e-6)
    np.testing.assert_allclose(theta[shown], expected, rtol=rtol, atol=rtol)


def test_first_step_of_adam_is_the_learning_rate():
    """m̂ = g and v̂ = g² after one step: a step of the learning rate, whatever the gradient's scale."""
    theta = np.zeros(3)
    Adam(0.01).step(theta, np.array([1e-3, -1.0, 1e3]))
    np.testing.assert_allclose(theta, [-0.01, 0.01, -0.01], rtol=1e-4)


def test_defaults_are_those_of_the_paper():
    """Kingma and Ba's "good default settings", below algorithm 1; and plain gradient descent."""
    adam, sgd = Adam(), SGD()
    assert (adam.learning_rate, adam.beta1, adam.beta2, adam.epsilon) == (1e-3, 0.9, 0.999, 1e-8)
    assert (sgd.learning_rate, sgd.momentum) == (0.01, 0.0)


def test_a_step_of_adam_allocates_no_array(rng, allocated):
    """m, v and one block of work are there from the first step on."""
    theta, gradient, optimizer = np.zeros(200_000), rng.standard_normal(200_000), Adam()
    optimizer.step(theta, gradient)
    assert allocated(lambda: optimizer.step(theta, gradient)) < 10_000


def test_adam_keeps_no_denormal_numbers():
    """A parameter whose gradient has stopped: m decays, and becomes 0 before it becomes a slow denormal."""
    theta, optimizer = np.zeros(4, np.float32), Adam()
    optimizer.step(theta, np.ones(4, np.float32))
    tiny = np.finfo(np.float32).tiny
    for _ in range(2000):
        optimizer.step(theta, np.zeros(4, np.float32))
        assert np.all((optimizer.m == 0) | (np.abs(optimizer.m) >= tiny))
    assert np.all(optimizer.m == 0)


@pytest.mark.parametrize("optimizer", [SGD(0.1), SGD(0.05, 0.9), Adam(0.1)], ids=["sgd", "momentum", "adam"])
def test_finds_the_minimum_of_a_parabola(optimizer):
    theta, target = np.zeros(3), np.array([1.0, -2.0, 0.5])
    for _ in range(500):
        optimizer.step(theta, theta - target)
    np.testing.assert_allclose(theta, target, atol=1e-3)


@pytest.mark.parametrize("make, name", [
    (lambda: SGD(0), "learning_rate"), (lambda: SGD(-1), "learning_rate"), (lambda: SGD(np.nan), "learning_rate"),
    (lambda: SGD(0.1, 1.0), "momentum"), (lambda: SGD(0.1, -0.1), "momentum"),
    (lambda: Adam(0), "learning_rate"), (lambda: Adam("fast"), "learning_rate"),
    (lambda: Adam(beta1=1), "beta1"), (lambda: Adam(beta1=-0.1), "beta1"), (lambda: Adam(beta2=1), "beta2"),
    (lambda: Adam(beta2=-0.1), "beta2"), (lambda: Adam(epsilon=0), "epsilon"),
])
def test_settings_that_cannot_work_are_refused(make, name):
    with pytest.raises(ValueError, match=f"^{name} must be a number in"):
        make()
