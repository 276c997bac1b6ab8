"""What an adversary tried on runs: two processes and one name, forged checkpoints, Ctrl-C at any moment, odd names."""

import errno
import functools
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import kill_and_resume
from scratchvae import Adam, State, VAE, cli, startup
from scratchvae.cli import commands, folders, runs
from scratchvae.data import writing
from scratchvae.train import checkpoint

FAST = ["--epochs", "1", "--hidden", "4", "--batch-size", "500"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, on few rows, to be copied."""
    home, patch = tmp_path_factory.mktemp("home"), pytest.MonkeyPatch()
    np.save(home / "x.npy", np.random.default_rng(0).random((20, 8, 8)))
    patch.setattr(commands, "finish", lambda *_: None)
    assert cli.main(["train", "--data", str(home / "x.npy"), "--out", str(home / "run"), *FAST]) == 0
    patch.undo()
    return home / "run"


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    """A copy of it."""
    monkeypatch.setattr(commands, "finish", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def message(capsys, *words, code=2):
    """Run a command that fails; return its one line."""
    capsys.readouterr()
    assert cli.main(list(map(str, words))) == code
    err = capsys.readouterr().err
    assert err.startswith("scratchvae: ") and err.count("\n") == 1 and err[:-1].isprintable(), err
    return err


# two processes and one name -----------------------------------------------------------------------------------------

@pytest.mark.skipif(os.name != "posix", reason="needs locks on folders")
def test_a_run_whose_folder_was_replaced_writes_no_more(tmp_path, monkeypatch, capsys):
    """Begin a run, delete its folder, begin another of the same name: the second one's checkpoint is left alone."""
    monkeypatch.setattr(commands, "finish", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    save, finished = runs.Run.save, []

    def replaced(run):
        save(run)
        if not finished:
            finished.append(None)
            os.rename("run", "elsewhere")
            words = [sys.executable, "-m", "scratchvae", "train", "--out", "run", *FAST, "--seed", "7"]
            subprocess.run(words, env=kill_and_resume.ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
            finished.append((tmp_path / "run" / "checkpoint.npz").read_bytes())

    monkeypatch.setattr(runs.Run, "save", replaced)
    assert "run was removed or replaced while this run trained in it" in message(
        capsys, "train", "--out", "run", *FAST, "--checkpoint-every", "0")
    assert (tmp_path / "run" / "checkpoint.npz").read_bytes() == finished[1]


def test_what_a_kill_left_is_gone_when_out_begins_again(tmp_path, monkeypatch, capsys):
    """But only that: a folder may hold files of others."""
    monkeypatch.setattr(commands, "finish", lambda *_: None)
    (tmp_path / "run").mkdir()
    for name in (".checkpoint.npz.0123abcd.part", ".mine.part", ".checkpoint.npz.mine.part"):
        (tmp_path / "run" / name).write_text("half")
    assert cli.main(["train", "--out", str(tmp_path / "run"), *FAST]) == 0
    assert {path.name for path in (tmp_path / "run").glob(".*")} == {".mine.part", ".checkpoint.npz.mine.part"}


def test_a_folder_in_the_place_of_a_checkpoint_is_left_alone(run, capsys):
    os.replace(run / "checkpoint.npz", run / "checkpoint.previous.npz")
    (run / "checkpoint.npz").mkdir()
    assert "is a folder" in message(capsys, "train", "--out", run, *FAST, "--overwrite")
    assert (run / "checkpoint.npz").is_dir() and (run / "checkpoint.previous.npz").is_file()
    with pytest.raises(OSError, match="Is a directory"):
        writing.write(run / "checkpoint.npz", b"", keep=run / "kept")
    assert not (run / "kept").exists()


# forged checkpoints, whose checksum is right ------------------------------------------------------------------------

def forge(path, change):
    """Change what a checkpoint holds, and seal it again."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = dict(archive)
    header = json.loads(arrays["header"].tobytes())
    change(header, arrays)
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    content = buffer.getvalue()[:-2] + (64).to_bytes(2, "little")
    path.write_bytes(content + checkpoint.seal(content))


def in_config(**values):
    return lambda header, arrays: header["config"].update(values)


def in_optimizer(**values):
    return lambda header, arrays: header["optimizer_numbers"].update(values)


def in_header(**values):
    return lambda header, arrays: header.update(values)


def in_arrays(**values):
    return lambda header, arrays: arrays.update({name: np.asarray(value(arrays)) for name, value in values.items()})


FORGED = [
    in_config(header=3), in_config(header=["yes"]), in_config(free_bits="x"), in_config(free_bits=[[1]]),
    in_config(free_bits={}), in_config(schedule=7), in_config(schedule="fast"), in_config(schedule=[]),
    in_config(latents=None), in_config(latents=[]), in_config(latents="16"), in_config(latents=[2.5]),
    in_config(hidden=None), in_config(hidden=[-4]), in_config(hidden=4), in_config(model="tree"),
    in_config(activation=3), in_config(likelihood=None), in_config(dtype="int8"), in_config(x_dim=-1),
    in_config(x_dim="64"), in_config(x_dim=63), in_config(image_shape=[8]), in_config(image_shape=[8, 9]),
    in_config(image_shape="8,8"), in_config(columns=3), in_config(columns=["a"]), in_config(shift="x"),
    in_config(scale=0), in_config(scale=[1, 2]), in_config(rms=None), in_config(checksum="x"), in_config(seed=-1),
    in_config(epochs=0), in_config(epochs="ten"), in_config(batch_size=1.5), in_config(learning_rate=-1),
    in_config(warm_up="x"), in_config(threads=0), in_config(data=3), in_config(data=None), in_config(hold_out="x"),
    in_config(checkpoint_every="x"), in_config(consistency=1), in_config(binarize=True), in_config(scaling=[]),
    in_optimizer(beta1="x"), in_optimizer(beta1=2), in_optimizer(learning_rate=None), in_optimizer(t=-1),
    in_optimizer(t="x"), in_optimizer(fly=3), in_optimizer(epsilon=0), in_header(optimizer="Fly"),
    in_header(optimizer=None), in_header(epoch=-1), in_header(epoch="x"), in_header(epoch=1.5), in_header(step=-1),
    in_header(seed="x"), in_header(seed=None), in_header(rng=None), in_header(rng={"bit_generator": "test"}),
    in_header(rng={"bit_generator": "default_rng"}), in_header(config=None), in_header(config=3), in_header(config=[]),
    in_header(format="x"),
    in_arrays(theta=lambda old: old["theta"][:1]), in_arrays(theta=lambda old: np.append(old["theta"], 0)),
    in_arrays(theta=lambda old: old["theta"] * np.nan), in_arrays(theta=lambda old: old["theta"][None]),
    in_arrays(theta=lambda old: old["theta"].astype(complex)), in_arrays(theta=lambda old: "text"),
    in_arrays(theta=lambda old: old["theta"].astype(np.float64)), in_arrays(seconds=lambda old: np.nan),
    in_arrays(seconds=lambda old: [1, 2]), in_arrays(sums=lambda old: np.nan), in_arrays(sums=lambda old: "x"),
    in_arrays(**{"optimizer.m": lambda old: [1.0]}), in_arrays(**{"optimizer.v": lambda old: old["theta"] * np.inf}),
    in_arrays(**{"history.elbo": lambda old: []}), in_arrays(**{"history.elbo": lambda old: [1, 2, 3]}),
]


@pytest.mark.parametrize("number", range(len(FORGED)))
def test_a_forged_checkpoint_is_refused_in_one_line(run, capsys, number):
    forge(run / "checkpoint.npz", FORGED[number])
    (run / "checkpoint.previous.npz").unlink(missing_ok=True)
    there = (run / "checkpoint.npz").read_bytes()
    for words in (["evaluate", run, "--samples", 1], ["train", "--resume", run, "--epochs", 2]):
        assert "checkpoint.npz" in message(capsys, *words)
    assert (run / "checkpoint.npz").read_bytes() == there


FORGED_AVERAGE = [
    in_config(average="x"), in_config(average=1), in_config(average=0), in_config(average=[0.9]),
    in_arrays(**{"state.theta": lambda old: old["theta"][:1]}), in_arrays(**{"state.theta": lambda old: "text"}),
    in_arrays(**{"state.theta": lambda old: old["theta"] * np.nan}), in_arrays(**{"state.weight": lambda old: -1.0}),
    in_arrays(**{"state.weight": lambda old: np.nan}), in_arrays(**{"state.weight": lambda old: 0.0}),
    in_arrays(**{"state.weight": lambda old: [1.0, 2.0]}), lambda header, arrays: arrays.pop("state.theta"),
    lambda header, arrays: arrays.pop("state.weight"),
    in_config(levels=0), in_config(levels="many"), in_config(levels=2.5), in_config(levels=10**7),
    in_config(log_noise=None), in_config(log_noise=[3, -3]), in_config(log_noise=["a", 2]), in_config(log_noise=[1]),
    in_config(hidden=[[4], [4]]),
]


@pytest.fixture(scope="module")
def averaged(finished):
    """A finished run of a diffusion with an average of the parameters."""
    folder, patch = finished.parent / "averaged", pytest.MonkeyPatch()
    patch.setattr(commands, "finish", lambda *_: None)
    assert cli.main(["train", "--data", str(finished.parent / "x.npy"), "--out", str(folder), *FAST, "--model",
                     "diffusion", "--levels", "4", "--average", "0.9"]) == 0
    patch.undo()
    return folder


@pytest.mark.parametrize("number", range(len(FORGED_AVERAGE)))
def test_a_forged_average_or_diffusion_is_refused_in_one_line(averaged, monkeypatch, tmp_path, capsys, number):
    monkeypatch.setattr(commands, "finish", lambda *_: None)
    run = tmp_path / "run"
    shutil.copytree(averaged, run)
    assert folders.open_run(run)[0].state.weight > 0
    forge(run / "checkpoint.npz", FORGED_AVERAGE[number])
    (run / "checkpoint.previous.npz").unlink(missing_ok=True)
    for words in (["evaluate", run, "--samples", 1], ["train", "--resume", run, "--epochs", 2]):
        assert "checkpoint.npz" in message(capsys, *words)


def test_what_is_not_forged_is_still_read(run, tmp_path):
    """Every kind of option, and an optimiser that has not moved."""
    words = ["--model", "hvae", "--latents", "3,2", "--hidden", "4/5,6", "--free-bits", "0.5,0.1", "--warm-up", "3",
             "--schedule", "steps:2=1e-4", "--checkpoint-every", "0.5", "--dtype", "float64"]
    assert cli.main(["train", "--out", "other", *FAST, *words]) == 0
    assert cli.main(["train", "--resume", "other", "--epochs", "2"]) == 0
    for hidden in ("", "4/", "/3,3"):
        assert cli.main(["train", "--out", "third", "--overwrite", "--model", "hvae", "--latents", "3,2", *FAST,
                         "--hidden", hidden]) == 0
        assert folders.open_run(tmp_path / "third")[1] is None
    model = VAE(4, 2)
    checkpoint.save(tmp_path / "fresh.npz", model, Adam(), State.start(model))
    assert checkpoint.load(tmp_path / "fresh.npz").optimizer.m is None


def test_a_model_has_at_least_the_parameters_that_are_asked_for_before_it_is_built(tmp_path, monkeypatch):
    """Whatever its kind: or a good checkpoint would be refused."""
    monkeypatch.setattr(commands, "finish", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", x=np.random.default_rng(0).random((60, 5)), y=np.arange(60) % 13)
    for number, words in enumerate([
            [], ["--hidden", ""], ["--model", "hvae", "--hidden", "4/5,6/", "--latents", "7,9,3"],
            ["--model", "topdown"], ["--model", "diffusion"], ["--model", "diffusion", "--hidden", ""],
            ["--prior", "diffusion"], ["--prior", "diffusion", "--hidden", "", "--latents", "90"], *(
                [*words, "--data", "x.npz", "--labels", "y", "--given", "labels"] for words in (
                    ["--hidden", "3,9", "--latents", "1"], ["--hidden", "", "--prior", "diffusion", "--latents", "2"],
                    ["--model", "hvae", "--hidden", "4/5,6/"], ["--model", "topdown"], ["--model", "diffusion"]))]):
        folder = tmp_path / str(number)
        assert cli.main(["train", "--out", str(folder), *FAST, *words]) == 0
        run, _ = folders.open_run(folder)
        assert run.model.theta.size / 4 < folders.at_least(run.config) <= run.model.theta.size


def deflated(path):
    """Pack the arrays of a checkpoint, and 600 MB of zeros."""
    buffer = io.BytesIO()
    with np.load(path) as archive, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for name in archive:
            with packed.open(f"{name}.npy", "w") as file:
                np.save(file, archive[name])
        with packed.open("zeros.npy", "w") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (600 << 20,)})
            for _ in range(600):
                file.write(bytes(1 << 20))
    content = buffer.getvalue()[:-2] + (64).to_bytes(2, "little")
    path.write_bytes(content + checkpoint.seal(content))


def of_size(size, **values):
    """Change the config, and give the file this number of parameters."""
    def change(header, arrays):
        header["config"].update({"image_shape": None, **values})
        arrays.update(dict.fromkeys(("theta", "optimizer.m", "optimizer.v"), np.zeros(size, np.float32)))
    return change


@pytest.mark.skipif(sys.platform != "linux", reason="needs memory in kilobytes")
@pytest.mark.parametrize("make", [deflated, *(functools.partial(forge, change=change) for change in [
    in_config(hidden=[8000, 8000, 8000]), in_config(x_dim=10 ** 8, image_shape=None, shift=0.0),
    in_config(given="labels", classes=["a"] * 900_000),
    of_size(10 ** 6, given="labels", classes=["a"] * 900_000, x_dim=1, hidden=[1, 200], latents=[1]),
    of_size(800_000, prior="diffusion", x_dim=1, latents=[400_000], hidden=[]),
    of_size(10 ** 6, model="hvae", x_dim=1, latents=[1] * 900, hidden=[1] * 900),
    in_config(latents=[1] * 3_000_000), in_config(hidden=[[1] * 3_000_000])])],
    ids=["compressed", "hidden", "x_dim", "classes", "classes of p", "prior", "layers", "latents", "hidden by level"])
def test_no_checkpoint_fills_the_memory(run, make):
    make(run / "checkpoint.npz")
    (run / "checkpoint.previous.npz").unlink()
    done = python(f"""import time
from scratchvae.cli import main
start = time.process_time()
code = main(["evaluate", {str(run)!r}, "--samples", "1"])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))    # of this program alone
print(code, int(peak.split()[1]) < 300_000, time.process_time() - start < 2)""")
    assert done.stdout == "2 True True\n" and done.stderr.count("\n") == 1, done


@pytest.mark.parametrize("words", [[], ["--checkpoint-every", "0"], ["--patience", "9"], ["--workers", "2"]])
def test_an_explosion_keeps_the_epoch_before_it(tmp_path, monkeypatch, capsys, words):
    monkeypatch.setattr(commands, "finish", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    said = message(capsys, "train", "--out", "run", *FAST, "--epochs", 5, "--schedule", "steps:3=1e30", *words)
    assert "epoch 2 is saved, and scratchvae train --resume run takes another --learning-rate" in said
    assert folders.open_run(tmp_path / "run")[0].state.epoch == 2
    assert cli.main(["evaluate", "run", "--samples", "1"]) == 0
    assert "run after 2 epochs" in capsys.readouterr().out
    assert cli.main(["train", "--out", "whole", *FAST, "--epochs", "4", *words]) == 0
    assert cli.main(["train", "--resume", "run", "--epochs", "4", "--schedule", "constant"]) == 0
    thetas = [checkpoint.load(tmp_path / name / "checkpoint.npz").theta for name in ("run", "whole")]
    np.testing.assert_array_equal(*thetas)
    assert cli.main(["train", "--resume", "run", "--epochs", "5", "--learning-rate", "1e-4", "--warm-up", "9"]) == 0


@pytest.mark.parametrize("words", [[], ["--checkpoint-every", "0"], ["--patience", "9"], ["--workers", "2"],
                                   ["--average", "0.9"]])
def test_an_optimiser_that_overflows_is_an_explosion(tmp_path, monkeypatch, capsys, words):
    """Adam's v, in squares, is infinite where the bound and the parameters are not."""
    monkeypatch.setattr(commands, "finish", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    said = message(capsys, "train", "--out", "run", "--model", "diffusion", "--levels", 20, "--epochs", 6,
                   "--schedule", "steps:3=1e9", *words)
    assert ("optimizer.v became infinite or NaN" if "0" in words else "the optimiser's v became inf in epoch 3") in said
    assert "epoch 2 is saved, and scratchvae train --resume run takes another --learning-rate" in said
    run, problem = folders.open_run(tmp_path / "run")
    assert run.state.epoch == 2 and problem is None
    assert cli.main(["train", "--resume", "run", "--epochs", "3", "--schedule", "constant"]) == 0


# files that a run lives on, and names of all kinds ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["best.npz", "best.previous.npz", "held_out.csv", "checkpoint.previous.npz"])
def test_no_part_of_a_run_is_overwritten(run, capsys, name):
    (run / name).write_bytes(b"kept")
    assert f"--out would replace a part of a run: {run / name}" in message(capsys, "sample", run, "--out", run / name)
    assert "would replace a part of a run" in message(capsys, "encode", run, "--out", run / name)
    assert "would replace a part of a run" in message(capsys, "evaluate", run, "--samples", 1, "--rows", run / name)
    assert (run / name).read_bytes() == b"kept"
    assert cli.main(["sample", str(run), "--out", str(run / "samples.csv")]) == 0


def test_a_damaged_best_epoch_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(commands, "finish", lambda *_: None)
    run = tmp_path / "run"
    assert cli.main(["train", "--out", str(run), *FAST, "--epochs", "3", "--patience", "5"]) == 0
    best = run / "best.npz"
    shutil.copy(best, run / "best.previous.npz")
    best.write_bytes(best.read_bytes()[:-1])
    capsys.readouterr()
    assert cli.main(["evaluate", str(run), "--samples", "1"]) == 0
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and f"{best} is damaged" in err and "the checkpoint before it is whole" in err


def test_a_best_epoch_that_is_lost_is_said_and_a_forged_one_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(commands, "finish", lambda *_: None)
    run = tmp_path / "run"
    assert cli.main(["train", "--out", str(run), *FAST, "--epochs", "2", "--patience", "5"]) == 0
    (run / "best.previous.npz").unlink(missing_ok=True)
    for config in (3, None, [1], {}):
        forge(run / "best.npz", in_header(config=config))
        assert f"{run / 'best.npz'} is of another run" in message(capsys, "evaluate", run, "--samples", 1)
    (run / "best.npz").unlink()
    assert cli.main(["evaluate", str(run), "--samples", "1"]) == 0
    assert capsys.readouterr().err == f"scratchvae: {run / 'best.npz'} is missing; the last epoch is taken instead\n"


@pytest.mark.parametrize("schedule", ["steps:1_0=1e-4", "steps:10=1e-0_4", "exponential:1_0e-5"])
def test_a_schedule_has_no_underscore(tmp_path, capsys, schedule):
    said = message(capsys, "train", "--out", tmp_path / "run", *FAST, "--schedule", schedule)
    assert "--schedule must be" in said and schedule in said


@pytest.mark.parametrize("words", [["--columns", "a\nb"], ["--without", "a\rb"], ["--columns", "x" * 200_000],
                                   ["--likelihood", "mixed", "--kinds", "a=gaussian\nb"]])
def test_a_line_break_is_no_name_of_a_column(tmp_path, capsys, words):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n3,5\n4,4\n")
    said = message(capsys, "train", "--data", tmp_path / "x.csv", "--out", tmp_path / "run", *words)
    assert words[-2] in said
    assert not (tmp_path / "run").exists()


def test_a_line_break_in_a_config_is_no_name_of_a_column(run, capsys):
    for option in ("keep", "without", "kinds"):
        forge(run / "checkpoint.npz", in_config(**{option: ["a\nb", "c\n"]}))
        assert "checkpoint.npz" in message(capsys, "evaluate", run, "--samples", 1)


@pytest.mark.skipif(os.name != "posix", reason="needs long paths")
def test_a_folder_in_two_thousand_folders(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(commands, "finish", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    deep = "a/" * ((4000 - len(str(tmp_path))) // 2)
    try:
        code = cli.main(["train", "--out", deep, *FAST])
        assert code == 0 or capsys.readouterr().err.count("\n") == 1
        assert "cannot be made: File name too long" in message(capsys, "train", "--out", deep * 2, *FAST)
    finally:
        for _ in range(2000):                          # shutil.rmtree calls itself as often
            if os.path.isdir("a"):
                os.chdir("a")
        while os.getcwd() != str(tmp_path):
            os.chdir("..")
            shutil.rmtree("a")


def test_a_link_to_nothing_is_no_folder(tmp_path, capsys):
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    for name in ("link", "file"):
        says = f"{str(tmp_path / name)!r} is a file, or a link to nothing"
        assert says in message(capsys, "train", "--out", tmp_path / name, *FAST)
        assert says in message(capsys, "train", "--out", tmp_path / name / "below", *FAST)


@pytest.mark.skipif(sys.platform != "linux", reason="needs names that are no text")
def test_a_page_about_a_run_whose_name_is_no_text(run, capsys):
    odd = run.parent / os.fsdecode(b"r\xff")
    os.rename(run, odd)
    assert cli.main(["explain", str(odd), "--out", "page.html"]) == 0
    assert "r\\udcff after" in (run.parent / "page.html").read_text()


def test_a_disk_that_is_read_only_is_said_by_the_name_of_the_file(tmp_path, monkeypatch):
    """Linux refuses to remove a file there though there is none."""
    def read_only(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(writing, "open", read_only, raising=False)
    monkeypatch.setattr(writing.Path, "unlink", read_only)
    with pytest.raises(OSError, match="^'.*x.csv' cannot be written: Read-only file system$"):
        writing.write(tmp_path / "x.csv", b"")


# names, pipes, threads, Ctrl-C --------------------------------------------------------------------------------------

def test_no_escape_code_reaches_the_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(commands, "finish", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a\x1b[31mb.csv").write_text("1,2\n3,5\n4,4\n" * 9)
    words = ["train", "--data", "a\x1b[31mb.csv", "--likelihood", "gaussian", "--out", "r\x1b]0;x\x07", *FAST]
    assert cli.main(words) == 0
    assert cli.main(["evaluate", "r\x1b]0;x\x07", "--samples", "1"]) == 0
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err and "\x07" not in out + err and r"a\x1b[31mb.csv" in out and r"r\x1b]0;x\x07" in err


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_a_reader_that_goes_away_is_no_error(run):
    done = subprocess.run(f"{sys.executable} -m scratchvae evaluate {run} --samples 1 --json | head -1", shell=True,
                          text=True, capture_output=True, env=kill_and_resume.ENVIRONMENT, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")


def python(code, **environment):
    """Run Python in a new process, without the variables that say how many threads."""
    clean = {name: value for name, value in kill_and_resume.ENVIRONMENT.items() if name not in startup.VARIABLES}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
                          env={**clean, **environment})


THREADS = "import sys, os; sys.argv = [{!r}]; import scratchvae; print(os.environ.get('OPENBLAS_NUM_THREADS'))"


@pytest.mark.parametrize("program, environment, expected", [
    ("/usr/bin/scratchvae", {}, "1"), ("scratchvae.exe", {}, "1"), ("scratchvae", {"OPENBLAS_NUM_THREADS": "2"}, "2"),
    ("scratchvae", {"OMP_NUM_THREADS": "2"}, "None"), ("mine.py", {}, "None"), ("scratchvae_mine.py", {}, "None"),
])
def test_the_command_takes_one_thread_and_a_program_what_it_likes(program, environment, expected):
    assert python(THREADS.format(program), **environment).stdout.strip() == expected


def test_python_m_scratchvae_is_the_command():
    assert startup.is_command(["-m"], ["python", "-m", "scratchvae", "train"])
    assert startup.is_command(["-m"], ["python", "-mscratchvae"])
    assert not startup.is_command(["-m"], ["python", "-m", "pytest", "scratchvae"]) and not startup.is_command([], [])
    assert not startup.is_command(["-c"], ["python", "-c", "import scratchvae"])


def test_another_number_of_threads_is_said_on_resume(run, monkeypatch, capsys):
    assert json.loads((run / "config.json").read_text())["threads"] == startup.threads()
    capsys.readouterr()
    assert cli.main(["train", "--resume", str(run), "--epochs", "2"]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "17")
    assert cli.main(["train", "--resume", str(run), "--epochs", "3"]) == 0
    assert "goes on with 17: its last bits may differ" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("name", ["scratchvae.train.checkpoint", "numpy", "scratchvae.vae", "scratchvae.cli.runs"])
def test_ctrl_c_while_the_imports_are_under_way_is_one_line(name):
    done = python(f"""import signal, sys
class Press:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Press())
sys.argv = ["scratchvae", "--version"]
from scratchvae.cli import main
sys.exit(main())""")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "scratchvae: interrupted\n")


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_ctrl_c_at_the_end_is_silent():
    done = python("""import atexit, signal, sys
sys.argv = ["scratchvae", "gradcheck", "--rows", "1", "--latents", "1", "--hidden", "", "--directions", "1"]
from scratchvae.cli import main
atexit.register(signal.raise_signal, signal.SIGINT)
sys.exit(main())""")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_two_ctrl_c_are_one_line():
    done = python("""import signal, sys
sys.argv = ["scratchvae", "gradcheck"]
from scratchvae.cli import main, commands
def press(args, given):
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.raise_signal(signal.SIGINT)
commands.COMMANDS["gradcheck"] = press
import atexit
atexit.register(signal.raise_signal, signal.SIGINT)
sys.exit(main())""")
    assert (done.returncode, done.stderr) == (130, "scratchvae: interrupted\n")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler               # of this process: untouched
