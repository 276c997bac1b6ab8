"""scratchvae: autoencoders, VAEs and hierarchical VAEs in NumPy, every derivative by hand.

Read the files in this order: layers, mlp, gaussian, likelihood, model,
autoencoder, vae, hvae, schedule, diffusion, writings; then optim, datasets,
training, checkpoint, evaluation, gradcheck.  The command line is cli, with options, examples, runs and output.
"""

__version__ = "0.1.0"                                  # above the imports: a checkpoint names it

from . import checkpoint, datasets, gaussian, gradcheck, layers
from .autoencoder import Autoencoder
from .diffusion import Diffusion
from .evaluation import Evaluation, evaluate
from .hvae import HVAE
from .likelihood import Bernoulli, Gaussian
from .mlp import MLP
from .model import ELBO, Model
from .optim import SGD, Adam
from .training import State, decay, fit, steps, warm_up
from .vae import VAE
from .writings import readings, three_writings

__all__ = [
    "Adam", "Autoencoder", "Bernoulli", "Diffusion", "ELBO", "Evaluation", "Gaussian", "HVAE", "MLP", "Model",
    "SGD", "State", "VAE", "checkpoint", "datasets", "decay", "evaluate", "fit", "gaussian", "gradcheck", "layers",
    "readings", "steps", "three_writings", "warm_up",
]
