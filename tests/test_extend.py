"""EXTEND.md: its blocks run in their order, and each of its gradients is right; and what a likelihood lacks is said."""

import re
from pathlib import Path

import numpy as np
import pytest

import scratchvae
from scratchvae import HVAE, VAE, Autoencoder, Mixed
from scratchvae.layers import ACTIVATIONS

PAGE = (Path(scratchvae.__file__).parent / "EXTEND.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def ran():
    """Return what the blocks print, and the names that they leave."""
    lines, names = [], {"print": lambda *words: lines.append(" ".join(map(str, words)))}
    try:
        exec("\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)), names)
    finally:
        ACTIVATIONS.pop("norm_tanh", None)
    return lines, names


def test_every_gradient_of_the_page_is_right(ran):
    checks = [line for line in ran[0] if "gradients, complex step" in line]
    assert len(checks) == 5 and all(line.endswith("all ok") for line in checks), checks


def test_the_sweep_prints_what_beta_does(ran):
    kl = [float(re.search(r"KL +([\d.]+)", line)[1]) for line in ran[0] if line.startswith("beta")]
    assert len(kl) == 3 and kl[0] > kl[1] > kl[2]


def test_the_conditional_vae_is_trained_watched_and_drawn_from(ran):
    names = ran[1]
    bounds = names["history"]["elbo"]
    assert bounds[-1] > bounds[0] and names["threes"].shape == (8, 64)


def test_the_conditional_vae_has_log_p_of_x_given_y(ran):
    """log p(x | y) of its importance samples, against an integral over z: two latents on a grid."""
    names = ran[1]
    model = names["ConditionalVAE"](3, 2, 2, (4,), dtype=float)
    model.theta += 0.3 * np.random.default_rng(1).standard_normal(model.theta.size)
    model.q.output.b[2:] = 0.5                         # a wide q: no weight is large, and 20,000 samples are enough
    rows = np.array([[1.0, 0, 1, 1, 0], [0.0, 0, 1, 0, 1]])
    axis = np.linspace(-6, 6, 121)
    z = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    p_z = np.exp(-0.5 * (z * z).sum(axis=1)) / (2 * np.pi) * (axis[1] - axis[0]) ** 2
    for row, found in zip(rows, model.log_likelihood(rows, 20_000)):
        mean = model.likelihood.mean(model.p.forward(np.hstack([z, np.tile(row[3:], (len(z), 1))]))[0])
        p_x = np.where(row[:3] == 1, mean, 1 - mean).prod(axis=1)
        assert abs(found - np.log(p_x @ p_z)) < 0.02


def test_the_conditional_vae_takes_several_draws_and_refuses_importance_weights(ran):
    """More draws of the same bound are its own bound; weights need a bound that the library knows."""
    names = ran[1]
    model = names["ConditionalVAE"](64, 10, 8)
    history = scratchvae.fit(model, names["rows"][:200], epochs=4, n_samples=5)
    assert history["elbo"][-1] > history["elbo"][0]
    theta = model.theta.copy()
    for options in ({"objective": "iwae"}, {"objective": "iwae", "n_samples": 5, "estimator": "dreg"}):
        with pytest.raises(ValueError, match="^objective must be 'elbo' for a ConditionalVAE, which has a bound of its "
                                             "own: .*; got 'iwae'$"):
            scratchvae.fit(model, names["rows"][:200], epochs=1, **options)
    np.testing.assert_array_equal(model.theta, theta)


def test_a_mistake_in_the_pages_conditional_vae_is_found(ran):
    """A line of its backward left out: the check of the page says WRONG, and names the array."""
    names = dict(ran[1])
    source = re.search(r"class ConditionalVAE.*?\n\n\n", PAGE, re.DOTALL)[0]
    assert source.count(" + dq_k") == 1
    exec(source.replace(" + dq_k", ""), names)
    model = names["ConditionalVAE"](64, 10, 8)
    model.theta += 0.01 * np.random.default_rng(0).standard_normal(model.theta.size)
    ledger = names["check_model"](model, names["rows"][:5])
    assert {entry.by for entry in ledger.entries if not entry.ok} >= {"q1.dense2.W", "x"}


@pytest.mark.parametrize("make", [VAE, Autoencoder, lambda *args, **options: HVAE(args[0], (2,), **options),
                                  lambda *args, likelihood: Mixed([likelihood])],
                         ids=["VAE", "Autoencoder", "HVAE", "Mixed"])
@pytest.mark.parametrize("lacks", ["log_prob", "log_prob_backward", "mean", "sample", "bias", "check_support",
                                   "x_dim", "n_outputs"])
def test_what_a_likelihood_lacks_is_said_when_the_model_is_built(ran, make, lacks):
    whole = ran[1]["Exponential"]
    names = {name: value for name, value in vars(whole).items() if name not in (lacks, "__init__", "__dict__")}
    likelihood = type("Mine", (), names)()
    for name in {"x_dim", "n_outputs"} - {lacks}:
        setattr(likelihood, name, 3)
    with pytest.raises(ValueError, match="^(likelihood|parts)"):
        make(3, 2, likelihood=likelihood)


def test_a_first_layer_that_is_none_is_refused(ran):
    likelihood = ran[1]["Exponential"](3)
    likelihood.first_layer = "log"
    with pytest.raises(ValueError, match="^likelihood.first_layer must be an object such as a Layer"):
        VAE(3, 2, likelihood=likelihood)
