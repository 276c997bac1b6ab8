"""scratchvae: autoencoders, VAEs and hierarchical VAEs in NumPy, every derivative by hand.

This folder is the math, in reading order: layers, mlp, gaussian, compare, likelihood, objective, model,
autoencoder, vae, hvae; then mixed, topdown, schedule, diffusion, flow, prior, conditions,
importance.  MATH.md derives it.  Argument checks are in check.  data/ reads and scales data, train/ fits and
measures models, verify/ checks gradients and has exact answers, diagnose/ names the mistake in a backward,
explain/ writes the page of lines, cli/ is the program.
"""

__version__ = "0.2.0"                                  # above the imports: a checkpoint names it

from . import startup  # noqa: F401  (before anything that loads NumPy)
from . import data, flow, gaussian, layers
from .autoencoder import Autoencoder
from .conditions import Conditional
from .diffusion import Diffusion
from .hvae import HVAE
from .importance import Importance
from .likelihood import Bernoulli, Gaussian
from .mixed import Categorical, LogNormal, Mixed, Poisson
from .mlp import MLP
from .model import Model
from .objective import ELBO
from .prior import LatentDiffusion
from .topdown import TopDown
from .train import checkpoint
from .train.evaluation import Evaluation, evaluate
from .train.fit import fit
from .train.optim import SGD, Adam
from .train.schedules import decay, steps, warm_up
from .train.state import State
from .vae import VAE
from .verify import gradcheck
from .verify.diffusion_forms import readings, three_writings

__all__ = [
    "Adam", "Autoencoder", "Bernoulli", "Categorical", "Conditional", "Diffusion", "ELBO", "Evaluation",
    "Gaussian", "HVAE", "Importance", "LatentDiffusion", "LogNormal", "MLP", "Mixed", "Model", "Poisson", "SGD",
    "State", "TopDown", "VAE", "checkpoint", "data", "decay", "evaluate", "fit", "flow", "gaussian",
    "gradcheck", "layers", "readings", "steps", "three_writings", "warm_up",
]
