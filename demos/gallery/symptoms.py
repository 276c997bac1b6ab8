"""The visible symptoms of a bug: curves of training, the numbers at their end, samples."""

from typing import Any, NamedTuple

import numpy as np
from gallery.bugs import Bug, broken

from scratchvae import HVAE, SGD, VAE, Adam, fit
from scratchvae.data import binarize, digits

EPOCHS = 20
TOLD = [1, 2, 3, 5, 10, 20]                            # the epochs of the table
GREYS = " .:-=+*#%@"


class Run(NamedTuple):
    """One training, in nats per digit: the held-out bound after each epoch, then numbers and samples at the end."""

    name: str
    curve: list[float]                                 # shorter than EPOCHS if training broke down
    parts: list[float]                                 # reconstruction, then the KL of each level
    log_p: float                                       # from 50 importance samples
    samples: Any                                       # (6, 64), or None
    note: str                                          # why training broke down


def train(name: str, model: Any, optimizer: Any) -> Run:
    """Train a model for a second, and look at it."""
    data = digits()
    x, held_out = binarize(data.x_train, "sample", 1)[:640], binarize(data.x_test, "sample", 2)[:200]
    curve: list[float] = []
    note = ""
    try:
        fit(model, x, epochs=EPOCHS, batch_size=32, optimizer=optimizer, x_valid=held_out, progress=False,
            callback=lambda _, history: curve.append(history["valid_elbo"][-1]))
        bound, _ = model.forward(held_out, model.draw_noise(len(held_out), np.random.default_rng(0)))
        parts = [float(bound.reconstruction.mean()), *map(float, bound.kl.mean(axis=0))]
        log_p = float(model.log_likelihood(held_out, 50).mean())
        samples = model.sample(6, 0)
    except (FloatingPointError, ValueError) as error:
        note, parts, log_p, samples = str(error), [], np.nan, None
    return Run(name, curve, parts, log_p, samples, note)


def observe() -> list[Run]:
    """Train three models with the library as it is now."""
    with np.errstate(all="ignore"):
        return [train("VAE, tanh, Adam", VAE(64, 8, (32,), rng=3), Adam(0.003)),
                train("VAE, leaky ReLU, SGD with momentum", VAE(64, 8, (32,), activation="leaky_relu", rng=3),
                      SGD(0.01, 0.8)),
                train("hierarchy 8, 4, ReLU, Adam", HVAE(64, (8, 4), (32,), activation="relu", rng=3), Adam(0.003))]


def observe_with(bug: Bug) -> list[Run]:
    """Train them with a bug in the library."""
    with broken(bug):
        return observe()


def ascii_art(samples: Any) -> list[str]:
    """Return images of 8x8 pixels as text, side by side."""
    level = np.clip(np.nan_to_num(samples) * len(GREYS), 0, len(GREYS) - 1).astype(int).reshape(-1, 8, 8)
    return ["   ".join("".join(GREYS[k] * 2 for k in image[row]) for image in level).rstrip() for row in range(8)]


def number(value: float) -> str:
    """Write a number of nats in 9 columns."""
    if not np.isfinite(value):
        return f"{'none':>9}"
    return f"{value:9.2f}" if abs(value) < 1e4 else f"{value:9.1e}"


def table(sick: list[Run], healthy: list[Run]) -> list[str]:
    """Return the numbers as lines: those with the bug, and below each those of the library without it."""
    lines = ["Held-out bound after epoch" + "".join(f"{epoch:>9}" for epoch in TOLD)]
    for run, well in zip(sick, healthy):
        lines.append(run.name)
        for who, one in (("with the bug", run), ("without", well)):
            at = [one.curve[epoch - 1] if epoch <= len(one.curve) else np.nan for epoch in TOLD]
            lines.append(f"  {who:<24}" + "".join(map(number, at)))
        if run.note:
            lines.append(f"  Training broke down: {run.note}.")
    lines += ["", f"{'At the end, in nats':<26}{'rec.':>9}{'KL 1':>9}{'KL 2':>9}{'bound':>9}{'log p(x)':>9}"]
    for run, well in zip(sick, healthy):
        lines.append(run.name)
        for who, one in (("with the bug", run), ("without", well)):
            if one.parts:
                kl = [*one.parts[1:], *[np.nan] * (3 - len(one.parts))]
                cells = [number(one.parts[0]), number(kl[0]), number(kl[1]) if len(one.parts) > 2 else " " * 9,
                         number(one.parts[0] - sum(one.parts[1:])), number(one.log_p)]
                lines.append(f"  {who:<24}" + "".join(cells))
            else:
                lines.append(f"  {who:<24}{'none':>9}")
    return lines


def draw(page: Any, sick: list[Run], healthy: list[Run]) -> None:
    """Draw the curves and the samples into a figure or a part of one, in shades that a copier keeps apart."""
    top, bottom = page.subfigures(2, 1, height_ratios=[1.35, 1])
    for ax, run, well in zip(top.subplots(1, 3), sick, healthy):
        epochs = np.arange(1, EPOCHS + 1)
        ax.plot(epochs, well.curve, "--", color="0.55", linewidth=1.2, label="without the bug")
        ax.plot(epochs[:len(run.curve)], run.curve, color="black", linewidth=1.8, marker=".", markersize=3,
                label="with the bug")
        ax.set_title(run.name, fontsize=7.5)
        ax.tick_params(labelsize=6.5)
        ax.grid(alpha=0.3)
        low, high = min(well.curve) - 60, max(well.curve) + 60
        seen = [*well.curve, *(value for value in run.curve if low <= value <= high)]
        words = ["training broke down"] if run.note else []
        if len(seen) < len(well.curve) + len(run.curve):
            ax.set_ylim(low if min(run.curve) < low else min(seen) - 2,
                        high if max(run.curve) > high else max(seen) + 2)
            words.append("off the scale: see the numbers")
        if run.curve == well.curve:
            words.append("the two are the same")
        ax.set_xlabel("\n".join(["epoch", *words]), fontsize=7)
    ax.legend(fontsize=6, loc="lower right")
    top.axes[0].set_ylabel("held-out bound, nats per digit", fontsize=7)
    for ax, (run, who) in zip(bottom.subplots(2, 2).flat, [(sick[0], "with the bug"), (sick[2], "with the bug"),
                                                           (healthy[0], "without"), (healthy[2], "without")]):
        ax.axis("off")
        ax.set_title(f"samples, {'VAE' if run.name.startswith('VAE') else 'hierarchy'}, {who}", fontsize=7)
        if run.samples is not None:
            images = np.pad(np.clip(np.nan_to_num(run.samples), 0, 1).reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)),
                            constant_values=0.25)
            ax.imshow(np.hstack(list(images)), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
        else:
            ax.text(0.5, 0.5, "none: training broke down", fontsize=7, ha="center", va="center")
