"""Checkpoints of a training run: atomic writes, a checksum, and no pickle.

A checkpoint is an npz file without pickle: theta, the optimiser's vectors, the
columns of the history, and a header in JSON for all that is small.  Two habits
make it safe.

*It is there as a whole or not at all.*  It is written under another name and
forced to the disk before it gets its own, which is one indivisible step; the one
that had this name becomes ``NAME.previous.npz``.  So one of the two is whole,
at whatever moment the power goes.

*It is read as a whole or not at all.*  Its last 64 bytes, in the place of the
comment of a zip archive, are the SHA-256 of all bytes before them.  A file that
was cut or changed, or that something else wrote, is refused before any of it is
interpreted.

So a run that survives everything is::

    optimizer, state = Adam(), State.start(model)
    if Path("run.npz").exists():
        found, _ = checkpoint.load_newest("run.npz")
        model.theta[:], optimizer, state = found.theta, found.optimizer, found.state
    save = lambda state: checkpoint.save("run.npz", model, optimizer, state)
    fit(model, x, optimizer=optimizer, state=state, after_step=checkpoint.every(60, save))
    save(state)
"""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__, check
from ..data.writing import write
from ..layers import Array
from ..model import Model
from .optim import OPTIMIZERS, SGD, Adam
from .state import State

FORMAT = 2                                             # to be raised when older code would misread a file
GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")                # of np.random


@dataclass
class Checkpoint:
    """What `load` found in a file.

    Attributes
    ----------
    theta : array of shape (size,)
        The model's parameters; ``model.theta[:] = checkpoint.theta`` puts them back.
        Where `fit` keeps an average, it is this; `fit` itself goes on from ``state.theta``.
    optimizer : SGD or Adam
    state : State
        Where the run stood.
    config : dict
        What was given to `save`.
    """

    theta: Array
    optimizer: SGD | Adam
    state: State
    config: Any


def save(path: str | Path, model: Model, optimizer: SGD | Adam, state: State, config: Any = None) -> None:
    """Write a checkpoint; what had this name is kept as the `previous` one.

    Parameters
    ----------
    path : str or Path
    model, optimizer, state
        As `fit` has them between two steps.
    config : optional
        What else a reader must know, such as how the model is built: anything
        that JSON can hold.

    Raises
    ------
    ValueError
        If the optimiser is of another class: `load` would not know how to make it.
    FloatingPointError
        If theta, or what else a checkpoint holds, is no longer finite: `load` would refuse it.
    OSError
        If the file cannot be written.  In all cases the files that were there
        are there still.
    """
    path = Path(check.path("path", path))
    if not isinstance(model, Model) or not isinstance(state, State):
        name, value, kind = ("state", state, State) if isinstance(model, Model) else ("model", model, Model)
        raise ValueError(f"{name} must be a {kind.__name__}; got {check.shown(value)}")
    if type(optimizer) not in OPTIMIZERS.values():
        raise ValueError(f"optimizer must be one that a checkpoint can hold, of class {' or '.join(OPTIMIZERS)}; "
                         f"got {type(optimizer).__name__}")
    arrays: dict[str, Any] = {"theta": model.theta, "sums": state.sums, "seconds": np.array(state.seconds)}
    if state.average is not None:
        arrays.update({"theta": state.average, "state.theta": state.theta, "state.weight": np.array(state.weight)})
    values = {name: getattr(optimizer, name) for name in vars(type(optimizer)())}        # its state, and no scratch
    arrays.update({f"optimizer.{name}": value for name, value in values.items() if isinstance(value, np.ndarray)})
    numbers = {name: value for name, value in values.items() if not isinstance(value, np.ndarray)}
    arrays.update({f"history.{name}": np.array(column) for name, column in state.history.items()})
    for what, array in {"the parameters": model.theta, **arrays}.items():
        if not np.isfinite(array).all():
            raise FloatingPointError(f"{what} became infinite or NaN, and is not saved; a lower learning rate may help")
    header = {"format": FORMAT, "scratchvae": __version__, "config": config, "seed": state.seed, "epoch": state.epoch,
              "step": state.step, "rng": state.rng.bit_generator.state,
              "optimizer": type(optimizer).__name__, "optimizer_numbers": numbers}
    try:
        text = json.dumps(header, default=lambda value: value.tolist())        # NumPy's numbers, too
    except (TypeError, ValueError, AttributeError, RecursionError):
        raise ValueError(f"config must be something that JSON can hold, such as a dict of numbers, texts and lists; "
                         f"got {check.shown(config)}") from None
    buffer = io.BytesIO()
    np.savez(buffer, header=np.frombuffer(text.encode(), np.uint8), **arrays)
    content = buffer.getvalue()[:-2] + (64).to_bytes(2, "little")              # a zip archive ends with the length
    write(path, content + seal(content), keep=previous(path))                  # of its comment, and the comment


def load(path: str | Path) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    ValueError
        If the file is not a whole checkpoint, or is of a newer format.
    OSError
        If it cannot be read.
    """
    path = Path(check.path("path", path))
    if not path.is_file():                             # a device or a pipe might never end
        raise FileNotFoundError(errno.ENOENT, "there is no such file", str(path))
    content = path.read_bytes()
    if content[-64:] != seal(content[:-64]):
        raise ValueError(f"{path} is damaged, or not a checkpoint: it does not end with the checksum of its content")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            if sum(member.file_size for member in archive.zip.infolist()) > len(content):
                raise ValueError("it is compressed, as `save` never does, and could become anything")
            arrays = dict(archive)
        header = json.loads(arrays["header"].tobytes())
        if header["format"] <= FORMAT:
            return unpack(arrays, header)
        version = header.get("scratchvae")
    except Exception as error:                         # sealed, but not by `save`
        raise ValueError(f"{path} is not a checkpoint, though it ends with a checksum as one does") from error
    raise ValueError(f"{path} was written by scratchvae {version}, in a format that this version, {__version__}, does "
                     "not know")


def unpack(arrays: dict[str, Array], header: dict[str, Any]) -> Checkpoint:
    """Put together again what `save` took apart."""
    def group(name: str) -> dict[str, Array]:
        return {key.split(".", 1)[1]: array for key, array in arrays.items() if key.startswith(name + ".")}

    theta = check.array("theta", arrays["theta"], ("size",))
    check.dtype("theta", theta.dtype, (np.float32, np.float64))
    optimizer = OPTIMIZERS[check.choice("optimizer", header["optimizer"], OPTIMIZERS)](**{
        name: number for name, number in header["optimizer_numbers"].items() if name not in ("t", "m", "v")})
    vars(optimizer).update({name: None if value is None else check.size("t", value, 0)
                            for name, value in header["optimizer_numbers"].items() if name in ("t", "m", "v")})
    vars(optimizer).update({name: check.array(name, array, theta.shape, theta.dtype)
                            for name, array in group("optimizer").items() if hasattr(optimizer, name)})
    bits = getattr(np.random, check.choice("bit_generator", header["rng"]["bit_generator"], GENERATORS))()
    bits.state = header["rng"]
    state = State(check.size("seed", header["seed"], 0, np.inf), np.random.Generator(bits),
                  check.array("sums", arrays["sums"], ("T",), float), check.size("epoch", header["epoch"], 0),
                  check.size("step", header["step"], 0), check.number("seconds", arrays["seconds"], 0),
                  {name: check.array(name, column, (header["epoch"],), float).tolist()
                   for name, column in group("history").items()})
    if group("state"):                                 # with an average
        state.average = theta.copy()
        state.theta = check.array("state.theta", arrays["state.theta"], theta.shape, theta.dtype)
        state.weight = check.number("state.weight", arrays["state.weight"], 0, open_low=True)
    return Checkpoint(theta, optimizer, state, header["config"])


def load_newest(path: str | Path) -> tuple[Checkpoint, Exception | None]:
    """Read a checkpoint or, if that fails, the previous one; then return what was wrong with the first as well.

    Raises
    ------
    ValueError, OSError
        What is wrong with the first one, if the previous one is no better.
    """
    try:
        return load(path), None
    except (ValueError, OSError) as error:
        try:
            return load(previous(path)), error
        except (ValueError, OSError):
            raise error from None


def previous(path: str | Path) -> Path:
    """Return where the checkpoint before the one at this path is kept."""
    path = Path(check.path("path", path))
    return path.with_suffix(f".previous{path.suffix}")


def every(seconds: float, save: Callable[[State], Any]) -> Callable[[State], None]:
    """Return an ``after_step`` for `fit`: it saves each time this number of seconds of training has passed."""
    seconds, saved_at = check.number("seconds", seconds, 0), 0.0
    check.function("save", save, "the state")

    def after_step(state: State) -> None:
        nonlocal saved_at
        if state.seconds - saved_at >= seconds:
            save(state)
            saved_at = state.seconds

    return after_step


def seal(content: bytes) -> bytes:
    """Return the SHA-256 of all that stands before it, as 64 hexadecimal digits."""
    import hashlib                                     # takes 3 ms
    return hashlib.sha256(content).hexdigest().encode()
