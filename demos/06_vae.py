"""Lesson 3: is the backward pass right?  The ledger knows, to the last digits.

For every array of parameters, and for x, the hand-written gradient is compared
with a derivative that needs no derivation: along a random direction v,

    ∇f·v = Im f(θ + i h v) / h      with h = 1e-30,

which has no subtraction, so nothing is lost to rounding.  One forward pass with
complex numbers checks all the entries of an array at once, for the loss and for
each part of the bound alone.

    python demos/3_gradients.py              # seconds, for two models of full size
    python demos/3_gradients.py --break      # the same with one entry wrong by a thousandth: it shows

Errors are relative to the gradient of the whole array, so one entry among
300,000, wrong by a thousandth, is an error of some 1e-7.
"""

import argparse
import time

import numpy as np

from scratchvae import HVAE, VAE
from scratchvae.gradcheck import check_model
from scratchvae.layers import Dense

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--break", dest="broken", action="store_true", help="spoil one entry of one gradient by 0.1 %%")
parser.add_argument("--all", action="store_true", help="print every line of both ledgers")
parser.add_argument("--seed", type=int, default=0, help="same seed, same numbers (default 0)")
args = parser.parse_args()

if args.broken:
    right = Dense.backward

    def wrong(self, dy, cache, input_gradient=True):
        """Backward as it is, but for the last entry of dW of the first layer, the only one with 784 inputs."""
        dx = right(self, dy, cache, input_gradient)
        if self.W.shape[0] == 784:
            self.dW[-1, -1] *= 1.001
        return dx

    setattr(Dense, "backward", wrong)

rng = np.random.default_rng(args.seed)
x = rng.random((8, 784))
models = {
    "VAE 784-400-20": VAE(784, 20, (400,), activation="relu", rng=args.seed),
    "five levels on 784 pixels": HVAE(784, (64, 32, 16, 8, 4), [(n, n) for n in (512, 256, 128, 64, 32)],
                                      activation="leaky_relu", rng=args.seed),
}
for name, model in models.items():
    model.theta += 0.01 * rng.standard_normal(model.theta.size).astype(model.dtype)      # no bias left at zero
    start = time.perf_counter()
    ledger = check_model(model, x, directions=1, rng=args.seed)
    print(f"{name}: {model.theta.size:,} parameters, {time.perf_counter() - start:.1f} s")
    wrong_ones = [entry for entry in ledger.entries if not entry.ok]
    if args.all:
        print(ledger)
    else:
        print(" ", str(ledger).splitlines()[0])
        for entry in wrong_ones or [entry for entry in ledger.entries if entry.of == "loss"][:8]:
            print(" ", entry)
        print(" ", "..." if not wrong_ones else "", ledger.summary())
    print()
