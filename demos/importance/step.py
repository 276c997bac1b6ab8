"""What a step on the importance-weighted bound costs, beside a step of the ELBO with as many rows.

    python demos/importance/step.py

The networks are those of Burda et al. 2016 for MNIST: 784-200-200-50, and with a second level 784-200-200-100 and
100-100-100-50.  Steps of fit are timed in turns, so that a machine that slows down slows all of them; each number is
the median over the turns, in milliseconds of the processor, of one thread.  Nothing is read: the pixels are random.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import time

import numpy as np

from scratchvae import HVAE, VAE, Adam, fit

CASES = [(1, 100, "elbo", "plain"), (5, 20, "iwae", "plain"), (5, 20, "iwae", "stl"), (5, 20, "iwae", "dreg"),
         (50, 2, "iwae", "dreg"), (5, 100, "iwae", "dreg"), (50, 100, "iwae", "dreg")]


def main():
    """Time each case in turns, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--steps", type=int, default=20, help="steps in a turn")
    args = parser.parse_args()
    x = (np.random.default_rng(0).random((args.steps * 100, 784)) < 0.2).astype(np.float32)
    for levels, make in (("one level", lambda: VAE(784, 50, (200, 200))),
                         ("two levels", lambda: HVAE(784, (100, 50), [(200, 200), (100, 100)]))):
        models, times = {case: (make(), Adam()) for case in CASES}, {case: [] for case in CASES}
        for _ in range(args.turns + 1):                # the first one is not counted
            for case in CASES:
                K, batch, objective, estimator = case
                model, optimizer = models[case]
                steps = args.steps if K * batch <= 500 else 2
                began = time.process_time()
                fit(model, x[:steps * batch], epochs=1, batch_size=batch, optimizer=optimizer, objective=objective,
                    n_samples=K, estimator=estimator, progress=False)
                times[case].append((time.process_time() - began) / steps)
        base = np.median(times[CASES[0]][1:])
        print(f"{levels}: {'objective':<10} {'K':>3} {'batch':>6} {'gradient':<8} {'ms a step':>10} "
              f"{'of the first':>13}")
        for case in CASES:
            K, batch, objective, estimator = case
            median = np.median(times[case][1:])
            print(f"{'':<{len(levels) + 1}} {objective:<10} {K:>3} {batch:>6} {estimator:<8} {1e3 * median:10.2f} "
                  f"{median / base:13.2f}")


if __name__ == "__main__":
    main()
