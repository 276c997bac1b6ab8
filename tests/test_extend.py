"""EXTEND.md: its blocks run in their order, and each of its gradients is right; and what a likelihood lacks is said."""

import re
from pathlib import Path

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


def test_the_model_that_is_told_a_label_is_trained_watched_and_drawn_from(ran):
    names = ran[1]
    bounds = names["history"]["elbo"]
    assert bounds[-1] > bounds[0] and names["threes"].shape == (8, 64)


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
