"""scratchvae: autoencoders, VAEs and hierarchical VAEs in NumPy, every derivative by hand.

The math, in reading order: layers, mlp, gaussian, likelihood, discrete, mixed, model,
autoencoder, vae, hvae; MATH.md derives it.  Where the story goes on: topdown, then schedule,
diffusion, writings, importance.  Using it: optim, datasets, progress, workers, parallel, training,
checkpoint, evaluation, plotting.  Why it can be believed: gradcheck, diagnose/ (imported only
when asked for), exact.  check has the errors that name an argument; cli/ is the
program.
"""

__version__ = "0.1.0"                                  # above the imports: a checkpoint names it

from . import startup                                  # noqa: F401  (before anything that loads NumPy)
from . import checkpoint, datasets, gaussian, gradcheck, layers
from .autoencoder import Autoencoder
from .diffusion import Diffusion
from .discrete import Categorical, Poisson
from .evaluation import Evaluation, evaluate
from .hvae import HVAE
from .importance import Importance
from .likelihood import Bernoulli, Gaussian
from .mixed import Mixed
from .mlp import MLP
from .model import ELBO, Model
from .optim import SGD, Adam
from .topdown import TopDown
from .training import State, decay, fit, steps, warm_up
from .vae import VAE
from .writings import readings, three_writings

__all__ = [
    "Adam", "Autoencoder", "Bernoulli", "Categorical", "Diffusion", "ELBO", "Evaluation", "Gaussian", "HVAE",
    "Importance", "MLP", "Mixed", "Model", "Poisson", "SGD", "State", "TopDown", "VAE", "checkpoint", "datasets",
    "decay", "evaluate", "fit", "gaussian", "gradcheck", "layers", "readings", "steps", "three_writings", "warm_up",
]
