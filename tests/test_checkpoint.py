"""Checkpoints: what is saved comes back to the bit; what is not whole is refused; whatever happens, one is whole."""

import errno
import io
import json
import os
import re
import signal
import zipfile

import numpy as np
import pytest

from scratchvae import HVAE, SGD, VAE, Adam, State, fit
from scratchvae.data import writing
from scratchvae.train import checkpoint

X = np.random.default_rng(0).random((13, 6)).astype(np.float32)
CONFIG = {"latents": [3, 2], "name": "µ", "rate": 0.1}


def trained(steps=2, optimizer=None):
    """A model, an optimiser and a state after this number of steps."""
    model = HVAE(6, (3, 2), (4,))
    optimizer, state = optimizer or Adam(), State.start(model, 5)

    def stop(state):
        if 3 * state.epoch + state.step == steps:
            raise StopIteration

    try:
        if steps:
            fit(model, X, epochs=9, batch_size=5, optimizer=optimizer, state=state, after_step=stop)
    except StopIteration:
        pass
    return model, optimizer, state


@pytest.fixture
def path(tmp_path):
    """The name of a checkpoint in a folder of its own."""
    return tmp_path / "run.npz"


@pytest.fixture
def two(path):
    """Two checkpoints, of steps 1 and 2, the second the newer."""
    for steps in (1, 2):
        checkpoint.save(path, *trained(steps), CONFIG)
    return path


def steps_of(path):
    return checkpoint.load_newest(path)[0].optimizer.t


# what comes back ---------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("kind", [Adam, lambda: SGD(0.1, 0.9)], ids=["Adam", "SGD"])
def test_all_comes_back_to_the_bit(path, steps, kind):
    model, optimizer, state = trained(steps, kind())
    checkpoint.save(path, model, optimizer, state, CONFIG)
    found = checkpoint.load(path)
    np.testing.assert_array_equal(found.theta, model.theta)
    assert found.theta.dtype == model.theta.dtype and found.config == CONFIG
    assert type(found.optimizer) is type(optimizer)
    for name in vars(type(optimizer)()):
        np.testing.assert_array_equal(getattr(found.optimizer, name), getattr(optimizer, name), err_msg=name)
    assert found.state.rng.random() == state.rng.random()
    np.testing.assert_array_equal(found.state.sums, state.sums)
    for name in ("seed", "epoch", "step", "seconds", "history"):
        assert getattr(found.state, name) == getattr(state, name), name


@pytest.mark.parametrize("steps", range(9))
def test_a_run_goes_on_from_a_file(path, steps):
    """Saved after some of 9 steps, loaded into a fresh model, trained to the end: the bits of a run in one piece."""
    whole, _, _ = trained(9)
    checkpoint.save(path, *trained(steps))
    found, model = checkpoint.load(path), HVAE(6, (3, 2), (4,), rng=99)
    model.theta[:] = found.theta
    fit(model, X, epochs=3, batch_size=5, optimizer=found.optimizer, state=found.state)
    np.testing.assert_array_equal(model.theta, whole.theta)


@pytest.mark.parametrize("steps", range(1, 10))
def test_a_run_with_an_average_goes_on_from_a_file(path, steps):
    """Saved within the run, when the model holds the optimiser's theta, or after it, when it holds the average: both
    files have both, theta is the average, and the bits are those of a run in one piece."""
    options = {"batch_size": 5, "average": 0.7, "x_valid": X[:4].round()}
    whole, whole_state = HVAE(6, (3, 2), (4,)), State.start(HVAE(6, (3, 2), (4,)), 5)
    fit(whole, X, epochs=3, state=whole_state, **options)
    for after in (False, True):
        first, optimizer, state = HVAE(6, (3, 2), (4,)), Adam(), State.start(HVAE(6, (3, 2), (4,)), 5)

        def stop(state):
            if 3 * state.epoch + state.step == steps:
                if not after:
                    checkpoint.save(path, first, optimizer, state)
                raise StopIteration

        with pytest.raises(StopIteration):
            fit(first, X, epochs=3, optimizer=optimizer, state=state, after_step=stop, **options)
        if after:
            checkpoint.save(path, first, optimizer, state)
        found, model = checkpoint.load(path), HVAE(6, (3, 2), (4,), rng=99)
        np.testing.assert_array_equal(found.theta, first.theta)
        assert found.state.weight == state.weight and not np.shares_memory(found.theta, found.state.average)
        model.theta[:] = found.theta
        fit(model, X, epochs=3, optimizer=found.optimizer, state=found.state, **options)
        np.testing.assert_array_equal(model.theta, whole.theta)
        np.testing.assert_array_equal(found.state.theta, whole_state.theta)


def test_a_file_from_before_there_were_averages_is_read(path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 1)
    checkpoint.save(path, *trained())
    monkeypatch.undo()
    found = checkpoint.load(path)
    assert found.state.average is None and found.state.theta is None and found.state.weight == 0


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.SFC64, np.random.MT19937, np.random.Philox])
def test_any_of_numpys_generators_comes_back(path, kind):
    model, optimizer, state = trained()
    state.rng = np.random.Generator(kind(3))
    state.rng.standard_normal(7, dtype=np.float32)
    checkpoint.save(path, model, optimizer, state)
    np.testing.assert_array_equal(checkpoint.load(path).state.rng.random(5), state.rng.random(5))


def test_it_is_an_npz_file_without_pickle(two):
    with np.load(two, allow_pickle=False) as archive:
        names = set(archive)
        header = json.loads(archive["header"].tobytes())
        assert all(archive[name].dtype != object for name in names)
    assert {name for name in names if "history" not in name} == {
        "header", "theta", "optimizer.m", "optimizer.v", "sums", "seconds"}, "state, and no scratch"
    assert header["config"] == CONFIG and header["format"] == checkpoint.FORMAT


def test_saving_every_so_many_seconds():
    saved = []
    after_step = checkpoint.every(10, lambda state: saved.append(state.seconds))
    state = State.start(VAE(6, 2))
    for state.seconds in (1, 9, 10, 11, 19, 20, 21, 47, 48, 57):
        after_step(state)
    assert saved == [10, 20, 47, 57]


# what is refused ---------------------------------------------------------------------------------


def test_every_damaged_byte_is_noticed(path):
    """One bit flipped in every twentieth byte of the file, and in each of the last 80; or the file cut: refused."""
    checkpoint.save(path, VAE(2, 1, ()), Adam(), State.start(VAE(2, 1, ())))
    content = path.read_bytes()
    for i in (*range(0, len(content), 20), *range(len(content) - 80, len(content))):
        damaged = bytearray(content)
        damaged[i] ^= 1 << i % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="run.npz is damaged, or not a checkpoint"):
            checkpoint.load(path)
    for i in range(0, len(content), 97):
        path.write_bytes(content[:i])
        with pytest.raises(ValueError, match="is damaged, or not a checkpoint"):
            checkpoint.load(path)


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def sealed(content):
    return content + checkpoint.seal(content)


@pytest.mark.parametrize("content, message", [
    (b"", "damaged"), (b"\0", "damaged"), (b"PK\3\4", "damaged"), (bytes(1000), "damaged"), (b"x" * 64, "damaged"),
    (np.random.default_rng(0).bytes(5000), "damaged"), (npz(theta=np.zeros(3)), "damaged"),
    (sealed(b""), "is not a checkpoint, though"), (sealed(b"hello"), "is not a checkpoint, though"),
    (sealed(npz(theta=np.zeros(3))), "is not a checkpoint, though"),
    (sealed(npz(theta=np.zeros(3), header=np.zeros(9))), "is not a checkpoint, though"),
    (sealed(npz(header=np.frombuffer(b"{}", np.uint8))), "is not a checkpoint, though"),
    (sealed(npz(header=np.frombuffer(b'{"format": 1}', np.uint8))), "is not a checkpoint, though"),
    (sealed(npz(header=np.frombuffer(b'[1]', np.uint8))), "is not a checkpoint, though"),
])
def test_foreign_files_are_refused(path, content, message):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        checkpoint.load(path)


def test_a_file_written_again_by_numpy_is_refused(two):
    """Someone loads the arrays, changes theta, saves them: a good npz file, but not this library's."""
    with np.load(two) as archive:
        arrays = dict(archive)
    arrays["theta"] += 1
    np.savez(two, **arrays)
    with pytest.raises(ValueError, match="is damaged, or not a checkpoint"):
        checkpoint.load(two)


def test_a_pickle_is_never_loaded(path):
    class Bomb:
        def __reduce__(self):
            return os.abort, ()

    path.write_bytes(sealed(npz(header=np.array([Bomb()], object))))
    with pytest.raises(ValueError, match="is not a checkpoint"):
        checkpoint.load(path)


def test_a_newer_format_is_refused_in_its_own_words(path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", checkpoint.FORMAT + 1)
    monkeypatch.setattr(checkpoint, "__version__", "7.0")
    checkpoint.save(path, *trained())
    monkeypatch.undo()
    with pytest.raises(ValueError, match="was written by scratchvae 7.0, in a format that this version, .*, does not"):
        checkpoint.load(path)


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), lambda p: p.symlink_to(os.devnull),
                                  lambda p: p.symlink_to(p)])
def test_what_is_no_file_is_refused(path, make):
    """Nothing, a folder, a device (others never end), a link to itself."""
    make(path)
    with pytest.raises(OSError):
        checkpoint.load(path)


def test_an_optimiser_that_could_not_be_read_again_is_not_saved(path):
    class Own(Adam):
        pass

    model = VAE(4, 2)
    with pytest.raises(ValueError, match="^optimizer must be .* of class SGD or Adam; got Own"):
        checkpoint.save(path, model, Own(), State.start(model))
    assert not path.exists()


def test_numpys_numbers_are_welcome(path):
    """A seed, a learning rate or a config may come from an array."""
    model, optimizer = VAE(4, 2), Adam(np.float32(1e-3))
    optimizer.learning_rate = np.float32(0.5)
    checkpoint.save(path, model, optimizer, State.start(model, np.int64(3)), {"n": np.int64(7), "a": np.float32(0.5)})
    found = checkpoint.load(path)
    assert (found.state.seed, found.optimizer.learning_rate, found.config) == (3, 0.5, {"n": 7, "a": 0.5})


def test_lost_parameters_are_not_saved(two):
    model, optimizer, state = trained()
    model.theta[3] = np.nan
    before = two.read_bytes()
    with pytest.raises(FloatingPointError, match="the parameters became infinite or NaN"):
        checkpoint.save(two, model, optimizer, state)
    assert two.read_bytes() == before


def test_nothing_is_saved_that_would_not_be_read(two):
    """Whatever is not finite: the optimiser's vectors, the sums, the average, the history."""
    for spoil in (lambda model, optimizer, state: optimizer.v.fill(np.inf),
                  lambda model, optimizer, state: optimizer.m.fill(np.nan),
                  lambda model, optimizer, state: state.sums.fill(np.inf),
                  lambda model, optimizer, state: state.history["elbo"].__setitem__(0, np.nan)):
        model, optimizer, state = trained(4)
        spoil(model, optimizer, state)
        before = two.read_bytes()
        with pytest.raises(FloatingPointError, match="became infinite or NaN, and is not saved"):
            checkpoint.save(two, model, optimizer, state)
        assert two.read_bytes() == before and checkpoint.load(two)


# the previous one --------------------------------------------------------------------------------


def test_the_previous_one_is_kept(two):
    assert checkpoint.load(two).optimizer.t == 2
    assert checkpoint.load(checkpoint.previous(two)).optimizer.t == 1
    assert checkpoint.previous(two).name == "run.previous.npz"
    assert checkpoint.load_newest(two)[1] is None


@pytest.mark.parametrize("damage", [lambda p: p.write_bytes(p.read_bytes()[:-1]), lambda p: p.write_bytes(b""),
                                    lambda p: p.unlink()])
def test_the_previous_one_steps_in(two, damage):
    damage(two)
    found, problem = checkpoint.load_newest(two)
    assert found.optimizer.t == 1 and "run.npz" in str(problem)
    damage(checkpoint.previous(two))
    with pytest.raises(type(problem), match="run.npz"):
        checkpoint.load_newest(two)


# when writing fails ------------------------------------------------------------------------------


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_failed_write_loses_nothing(two, monkeypatch, name):
    before = sorted((p.name, p.read_bytes()) for p in two.parent.iterdir())
    monkeypatch.setattr(os, name, no_space)
    with pytest.raises(OSError, match="run.npz' cannot be written: No space left on device"):
        checkpoint.save(two, *trained(3))
    assert sorted((p.name, p.read_bytes()) for p in two.parent.iterdir()) == before


def test_a_full_disk_loses_nothing(two):
    """The system itself refuses to let the file grow beyond half its size."""
    resource = pytest.importorskip("resource")
    before = sorted((p.name, p.read_bytes()) for p in two.parent.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (two.stat().st_size // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="cannot be written: File too large"):
            checkpoint.save(two, *trained(3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted((p.name, p.read_bytes()) for p in two.parent.iterdir()) == before


KILLED_AT = ["the file is open", "half is written", "all is written", "it is on the disk", "the new one is there",
             "the old one has moved"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("before, moment", [
    pytest.param(before, moment, id=f"{before} before, {KILLED_AT[moment]}")
    for before, moments in ((0, 5), (2, 6)) for moment in range(moments)])
def test_killed_at_any_moment_of_a_save(path, before, moment):
    """A process that dies within a save leaves what was there, or the new checkpoint: never less."""
    for steps in range(1, before + 1):
        checkpoint.save(path, *trained(steps))
    saving, os_replace, os_fsync = trained(3), os.replace, os.fsync

    def now(this):
        if this == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    class Writer(io.FileIO):
        def __init__(self, name, mode):
            super().__init__(name, mode)
            now(0)

        def write(self, data):
            super().write(data[:len(data) // 2])
            now(1)
            super().write(data[len(data) // 2:])
            now(2)

    def fsync(handle):
        os_fsync(handle)
        now(3)

    def replace(old, new):
        os_replace(old, new)
        now(4 if new == path else 5)

    child = os.fork()
    if child == 0:
        try:
            writing.open, os.replace, os.fsync = Writer, replace, fsync
            checkpoint.save(path, *saving)
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    if before or moment == 4:
        assert steps_of(path) == (3 if moment == 4 else 2)
    else:
        with pytest.raises(FileNotFoundError):
            checkpoint.load_newest(path)


def test_it_is_a_zip_archive_like_any_other(two):
    """The checksum is its comment, and no name in it leads out of it."""
    with zipfile.ZipFile(two) as archive:
        assert archive.testzip() is None and archive.comment == checkpoint.seal(two.read_bytes()[:-64])
        assert all(name.endswith(".npy") and "/" not in name for name in archive.namelist())


def test_write_replaces_a_file_as_a_whole(tmp_path):
    writing.write(tmp_path / "a", b"one")
    writing.write(str(tmp_path / "a"), b"two")
    assert (tmp_path / "a").read_bytes() == b"two" and os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    (tmp_path / "a").write_bytes(b"old")

    def full(*args):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match=re.escape(repr(str(tmp_path / "a"))) + " cannot be written: No space left"):
        writing.write(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


def test_a_write_into_a_folder_that_is_none_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="cannot be written: No such file"):
        writing.write(tmp_path / "no" / "a", b"new")
