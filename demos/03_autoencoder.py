"""Lesson 1: from the autoencoder to the VAE, in two latents.

An autoencoder squeezes a digit of 64 pixels into two numbers, z, and unfolds
them again.  It is free to put z wherever it likes, and does: far out, with holes
between.  The VAE must pay for that, in nats: prior matching is what it costs to
tell z from a draw of N(0, I).  So the codes move together around the origin, and
every place there unfolds into a digit.

    python demos/1_vae.py            # some 15 seconds; prints both, draws out/1_vae.png
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")      # for small products a second thread is only in the way

import argparse
from pathlib import Path

import numpy as np

from scratchvae import VAE, Autoencoder, evaluate, fit, warm_up
from scratchvae.datasets import binarize, digits
from scratchvae.plotting import codes, figure, images, plane

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--epochs", type=int, default=300, help="passes over the training digits (default 300)")
parser.add_argument("--seed", type=int, default=0, help="same seed, same numbers (default 0)")
parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the figure (default out)")
args = parser.parse_args()

data = digits()
x_train, x_test = binarize(data.x_train, "sample", rng=1), binarize(data.x_test, "sample", rng=2)
options = dict(hidden_dims=(128,), x_mean=x_train.mean(axis=0), rng=args.seed)

autoencoder = Autoencoder(64, 2, **options)
fit(autoencoder, data.x_train, epochs=args.epochs, seed=args.seed, resample=True)
vae = VAE(64, 2, **options)
fit(vae, data.x_train, epochs=args.epochs, seed=args.seed, resample=True, beta=warm_up(max(1, args.epochs // 4)))

z_auto = autoencoder.encode(x_test)
z_vae, _ = vae.encode(x_test)
reconstruction = autoencoder.forward(x_test, None)[0].reconstruction.mean()
print(f"autoencoder: {len(x_test)} held-out digits, reconstruction {reconstruction:.2f} nats; "
      f"codes have standard deviation {z_auto.std():.2f}")
print(f"VAE: {len(x_test)} held-out digits; codes have standard deviation {z_vae.std():.2f}")
print(evaluate(vae, x_test, rng=args.seed))

page = figure(9, 8)
(ax_auto, ax_vae), (ax_samples, ax_plane) = page.subplots(2, 2)
codes(ax_auto, z_auto, data.y_test, "autoencoder: codes of held-out digits")
points = codes(ax_vae, z_vae, data.y_test, "VAE: means of q(z | x) for held-out digits")
ax_vae.set_aspect("equal", adjustable="datalim")
ax_auto.set_aspect("equal", adjustable="datalim")
bar = page.colorbar(points, ax=ax_vae, ticks=range(10))
bar.set_label("digit", fontsize=8)
bar.ax.tick_params(labelsize=8)
z = np.random.default_rng(args.seed).standard_normal((40, 2))     # a fair question to both: draw z from N(0, I)
gap = np.full((1, 10, 64), 0.25)                       # a row of the page's grey
both = np.concatenate([autoencoder.decode(z).reshape(4, 10, 64), gap, vae.decode(z).reshape(4, 10, 64)])
images(ax_samples, both, data.image_shape, "E[x | z] at the same forty z ~ N(0, I)",
       ["", "autoencoder", "", "", "", "", "VAE", "", ""])
plane(ax_plane, vae, data.image_shape, np.linspace(-2.4, 2.4, 9), "VAE: E[x | z] over the latent plane")

args.out.mkdir(parents=True, exist_ok=True)
page.savefig(args.out / "1_vae.png")
print(f"figure: {args.out / '1_vae.png'}")
