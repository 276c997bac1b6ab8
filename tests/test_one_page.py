"""demos/00_one_page.py is the hierarchy of the library on one page: same bound, same gradients, same log p(x)."""

import re
import subprocess
import sys

import numpy as np
import pytest

from beside import DEMOS, load
from test_package import code_lines

from scratchvae import HVAE, Adam

PAGE = DEMOS / "00_one_page.py"


@pytest.fixture(scope="module")
def page():
    return load(DEMOS, "00_one_page")


def model_of(latents, rng, dtype=float):
    """Return a model with one hidden layer of 7, no parameter at its first value, and its parameters as the page's."""
    model = HVAE(9, latents, hidden_dims=(7,), rng=1, dtype=dtype)
    model.theta += 0.2 * rng.standard_normal(model.theta.size).astype(dtype)
    return model, by_network(model.parameters, len(latents))


def by_network(arrays, T):
    """Return {("q", 1): [W1, b1, W2, b2], ...} from the library's names."""
    return {(name, t): [arrays[f"{name}{t}.dense{i}.{v}"] for i in (1, 2) for v in "Wb"]
            for name in "qp" for t in range(1, T + 1)}


@pytest.mark.parametrize("latents", [(4,), (4, 3), (5, 4, 3), (6, 5, 4, 3, 2)])
def test_bound_and_every_gradient_are_the_librarys(page, latents, rng):
    model, theta = model_of(latents, rng)
    x, eps = rng.random((8, 9)), model.draw_noise(8, rng)
    elbo, cache = model.forward(x, eps)
    model.backward(elbo.loss_backward(beta=0.7), cache)
    R, P, C, kept = page.bound(theta, x, eps)
    same = dict(rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(R, elbo.reconstruction, **same)
    np.testing.assert_allclose(P, elbo.prior_matching, **same)
    np.testing.assert_allclose(np.reshape(C, (-1, 8)).T, elbo.consistency, **same)
    dtheta, expected = page.gradient(theta, kept, 0.7), by_network(model.gradients, len(latents))
    assert dtheta.keys() == expected.keys()
    for net, gradients in expected.items():
        for found, gradient in zip(dtheta[net], gradients, strict=True):
            np.testing.assert_allclose(found, gradient, rtol=0, atol=1e-13 * np.abs(gradient).max(), err_msg=str(net))


def test_log_p_of_x_and_samples_are_the_librarys(page, rng, monkeypatch):
    """With the same generator they draw the same noise."""
    monkeypatch.setattr(page, "LATENTS", (5, 4, 3))
    model, theta = model_of(page.LATENTS, rng, np.float32)
    x = (rng.random((8, 9)) < 0.5).astype(np.float32)
    mine, its = np.random.default_rng(3), np.random.default_rng(3)
    draws = [model.log_likelihood(x, 1, rng=its) for _ in range(5)]
    np.testing.assert_allclose(page.log_p_x(theta, x, 5, mine), np.log(np.mean(np.exp(draws), axis=0)), rtol=1e-5)
    np.testing.assert_allclose(page.sample(theta, 6, mine), model.sample(6, rng=its), rtol=1e-5)


def test_first_parameters(page, rng):
    """W is uniform with Glorot's bound, every sigma is 1, and the logits lie around those of the mean."""
    mean = rng.uniform(0.1, 0.9, 64)
    theta = page.first_theta(mean, rng)
    x, eps = rng.random((4, 64)).astype(np.float32), page.noise(4, rng)
    *_, (z, q, p, _) = page.bound(theta, x, eps)
    assert len(q) == len(page.LATENTS)
    W1, bound = theta["q", 1][0], np.sqrt(6 / (64 + page.HIDDEN))
    assert 0.99 * bound < W1.max() <= bound and -bound <= W1.min() < -0.99 * bound and abs(W1.mean()) < 0.02 * bound
    for t in q:
        assert not np.split(q[t], 2, axis=1)[1].any() and not np.split(p[t], 2, axis=1)[1].any()
    np.testing.assert_allclose(1 / (1 + np.exp(-theta["p", 1][3])), mean, rtol=1e-5)
    assert {v.dtype for net in theta.values() for v in net} == {np.dtype(np.float32)} == {p[0].dtype, z[1].dtype}


def test_its_steps_are_those_of_adam(page, monkeypatch):
    thetas, gradients, gradient = [], [], page.gradient

    def flat(networks, order):
        return np.concatenate([v.ravel() for net in order for v in networks[net]])

    def watch(theta, kept, beta):
        dtheta = gradient(theta, kept, beta)
        thetas.append(flat(theta, theta))
        gradients.append(flat(dtheta, theta))
        return dtheta

    monkeypatch.setattr(page, "gradient", watch)
    monkeypatch.setattr(page, "log_p_x", lambda *_: np.zeros(1))
    last = page.train(epochs=1)
    adam, theta = Adam(learning_rate=2e-4), thetas[0].copy()
    assert len(thetas) == 22
    for found, dtheta in zip([*thetas[1:], flat(last, last)], gradients):
        adam.step(theta, dtheta)
        np.testing.assert_allclose(found, theta, rtol=0, atol=1e-6)


def test_it_is_one_page_of_numpy_and_does_not_train_when_imported():
    code = f"import sys, runpy; runpy.run_path({str(PAGE)!r}); print('scratchvae' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
    assert code_lines(PAGE) <= 100
    assert set(re.findall(r"^ *(?:import|from) (\w+)", PAGE.read_text(), re.MULTILINE)) == {"os", "numpy"}


@pytest.mark.slow
def test_it_learns_the_digits(tmp_path):
    """From any directory."""
    out = subprocess.run([sys.executable, PAGE], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert float(re.search(r"log p\(x\) of 359 digits held out: (\S+) nats", out)[1]) >= -22.30
