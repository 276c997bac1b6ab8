"""Guidance and inpainting by a perfect model of Gaussian data, where all has a closed form: MATH (15.6), (15.7).

x ~ N(0, 1) and x | y ~ N(M, V); the guesses are exact, and so is every difference from what one would expect.
"""

import numpy as np
import pytest
from scipy.integrate import quad

from scratchvae import Diffusion, flow
from scratchvae.schedule import Schedule, signal

M, V = 1.0, 0.5


def guided(w, v=V):
    """Return â of guidance as a function of u and the variance s of its noise, and its slope: (1 + w) â_y - w â."""
    return lambda u, s: ((1 + w) * (M + v / (v + s) * (u - M)) - w * u / (1 + s),
                         (1 + w) * v / (v + s) - w / (1 + s))


def by_the_flow(w, v=V):
    """Return mean and variance at the end of the probability flow, which is linear: two points follow it."""
    def denoiser(u, gamma):
        a, slope = guided(w, v)(u, np.exp(gamma))
        return a, np.full(len(u), slope)

    u, _ = flow.integrate(denoiser, np.array([[0.0], [np.exp(15.0)]]), 30.0, -30.0, rtol=1e-12)
    return u[0, 0], (u[1, 0] - u[0, 0]) ** 2           # of a standard deviation e^(gamma/2) at the top


def down(w, T, v=V):
    """Return mean and variance after the library's own steps, with new noise, through T levels."""
    mean, variance = 0.0, 1.0
    for _, gamma, c_z, c_a, sd in Schedule(T, np.array([-14.0, 14.0]), "posterior").way_down():
        s, root = np.exp(gamma[0]), signal(gamma)[0]
        a, slope = guided(w, v)(mean / root, s)
        mean, variance = c_z * mean + c_a * a, (c_z + c_a * slope / root) ** 2 * variance + sd ** 2
    return mean, variance


def in_the_limit(value, T=2000):
    """Return the limit of many levels, from two numbers of them: the error falls as 1/T."""
    return 2 * np.array(value(2 * T)) - np.array(value(T))


CASES = [(0.0, V), (1.0, V), (3.0, V), (1.0, 0.2), (0.5, 0.8)]


@pytest.mark.parametrize("w, v", CASES)
def test_exact_the_flow_has_the_variance_to_a_power(w, v):
    mean, variance = by_the_flow(w, v)
    assert variance == pytest.approx(v ** (1 + w), rel=1e-9)
    if w == 0:
        assert mean == pytest.approx(M, abs=1e-6)


@pytest.mark.parametrize("w, v", CASES)
def test_exact_new_noise_gives_another_variance(w, v):
    mean, variance = in_the_limit(lambda T: down(w, T, v))
    assert variance == pytest.approx((v - v ** (2 + 2 * w)) / ((1 - v) * (1 + 2 * w)), abs=1e-4)
    assert mean == pytest.approx(M * (1 - v ** (1 + w)) / (1 - v), abs=1e-4)


@pytest.mark.parametrize("w, v", CASES[1:])
def test_exact_neither_is_the_tilted_density(w, v):
    """p(x | y)^(1 + w)/p(x)^w by quadrature has its own variance, and for each w the three differ."""
    def density(x):
        return np.exp(-(1 + w) * (x - M) ** 2 / (2 * v) + w * x ** 2 / 2)

    mass, first, second = (quad(lambda x: x ** k * density(x), -30, 40)[0] for k in range(3))
    variance, mean = second / mass - (first / mass) ** 2, first / mass
    assert variance == pytest.approx(v / (1 + w - w * v), rel=1e-8)
    assert mean == pytest.approx((1 + w) * M / (1 + w - w * v), rel=1e-8)
    assert variance > (v - v ** (2 + 2 * w)) / ((1 - v) * (1 + 2 * w)) + 0.004 > v ** (1 + w) + 0.008


def test_samples_of_a_diffusion_whose_guess_is_guided(rng):
    """The model's own way down, its guess replaced: mean and variance of 100 levels, within five standard errors."""
    model, n = Diffusion(1, 100, (), log_noise=(-14, 14), likelihood="gaussian", dtype=float), 20_000
    model.guess = lambda z, gamma: guided(1.0)(z / signal(gamma), np.exp(gamma))[0]
    for _, z in model.descend(n, rng):
        pass
    mean, variance = 0.0, 1.0
    for _, gamma, c_z, c_a, sd in model.schedule.way_down():
        a, slope = guided(1.0)(mean / signal(gamma)[0], np.exp(gamma[0]))
        mean = c_z * mean + c_a * a
        variance = (c_z + c_a * slope / signal(gamma)[0]) ** 2 * variance + sd ** 2
    assert abs(z.mean() - mean) < 5 * np.sqrt(variance / n)
    assert abs(z.var() - variance) < 5 * variance * np.sqrt(2 / n)
    assert variance < 0.28                             # of 100 levels; of many 7/24


# inpainting -----------------------------------------------------------------------------------------


def replaced(r, T, again=1, known=1.0):
    """Return mean and variance of x_2 where x_1 is put in, with new noise, before each step; see MATH (15.7)."""
    S, mean, variance = np.array([[1, r], [r, 1]]), 0.0, 1.0
    schedule = Schedule(T, np.array([-13.0, 13.0]), "posterior")
    steps = schedule.way_down()
    for t, gamma, c_z, c_a, sd in steps:
        s, root = np.exp(gamma[0]), signal(gamma)[0]
        K = S @ np.linalg.inv(S + s * np.eye(2))       # â = K u
        alpha = (root / signal(schedule.gamma[t])) ** 2
        for time in range(again):
            of_known, own = c_a * K[1, 0] / root, c_z + c_a * K[1, 1] / root
            below = of_known * root * known + own * mean
            spread = of_known ** 2 * (1 - root ** 2) + own ** 2 * variance + sd ** 2
            if time < again - 1:                       # back up by one level of q
                mean, variance = np.sqrt(alpha) * below, alpha * spread + 1 - alpha
        mean, variance = below, spread
    return mean, variance


@pytest.mark.parametrize("r", [0.2, 0.5, 0.9, -0.9])
def test_exact_replacement_gives_too_small_a_slope(r):
    slope, variance = in_the_limit(lambda T: replaced(r, T))
    assert slope == pytest.approx((1 - np.sqrt(1 - r * r)) / r, abs=1e-4)
    assert variance == pytest.approx((1 - r * r) / (2 * r) * np.log((1 + r) / (1 - r)), abs=1e-4)
    assert abs(slope) < abs(r) and variance > 1 - r * r


@pytest.mark.parametrize("again, slope", [(5, 0.8556), (20, 0.8908)])
def test_exact_going_back_and_forth_comes_nearer(again, slope):
    r = 0.9
    integral = again * (1 - r * r) ** (again / 2) * quad(lambda s: r * ((1 + s) ** 2 - r * r) ** (-1 - again / 2),
                                                         0, np.inf)[0]
    assert integral == pytest.approx(slope, abs=1e-4)
    found, _ = in_the_limit(lambda T: replaced(r, T, again))
    assert found == pytest.approx(integral, abs=1e-4)
