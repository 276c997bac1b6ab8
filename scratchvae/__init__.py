"""scratchvae: autoencoders, VAEs and hierarchical VAEs in NumPy, every derivative by hand.

Read the files in this order: layers, mlp, gaussian, likelihood, model,
autoencoder, vae, hvae; then optim, tables, files, scaling, download, datasets,
training, evaluation, gradcheck.
"""

from . import datasets, gaussian, gradcheck, layers
from .autoencoder import Autoencoder
from .evaluation import Evaluation, evaluate
from .hvae import HVAE
from .likelihood import Bernoulli, Gaussian
from .mlp import MLP
from .model import ELBO, Model
from .optim import SGD, Adam
from .training import decay, fit, warm_up
from .vae import VAE

__version__ = "0.1.0"

__all__ = [
    "Adam", "Autoencoder", "Bernoulli", "ELBO", "Evaluation", "Gaussian", "HVAE", "MLP", "Model", "SGD", "VAE",
    "datasets", "decay", "evaluate", "fit", "gaussian", "gradcheck", "layers", "warm_up",
]
