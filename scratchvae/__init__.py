"""scratchvae: autoencoders, VAEs and hierarchical VAEs in NumPy, every derivative by hand.

Read the files in this order: layers, mlp, gaussian, likelihood, model,
autoencoder, vae, hvae; then optim, datasets, training, checkpoint, evaluation,
gradcheck.  The command line is cli, with options, examples, runs and output.
"""

__version__ = "0.1.0"                                  # above the imports: a checkpoint names it

from . import checkpoint, datasets, diagnose, gaussian, gradcheck, layers
from .autoencoder import Autoencoder
from .evaluation import Evaluation, evaluate
from .hvae import HVAE
from .likelihood import Bernoulli, Gaussian
from .mlp import MLP
from .model import ELBO, Model
from .optim import SGD, Adam
from .training import State, decay, fit, steps, warm_up
from .vae import VAE

__all__ = [
    "Adam", "Autoencoder", "Bernoulli", "ELBO", "Evaluation", "Gaussian", "HVAE", "MLP", "Model", "SGD", "State", "VAE",
    "checkpoint", "datasets", "decay", "diagnose", "evaluate", "fit", "gaussian", "gradcheck", "layers", "steps",
    "warm_up",
]
