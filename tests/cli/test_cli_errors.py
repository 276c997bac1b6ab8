"""Every mistake at the command line: exit code 2, one line on stderr that says what is wrong, and no file touched."""

import gzip
import io
import os
import re
import subprocess
import sys

import numpy as np
import pytest

import kill_and_resume
from scratchvae import VAE, Adam, State, cli
from scratchvae.cli import commands
from scratchvae.train import checkpoint

FAST = ["--epochs", "1", "--hidden", "4", "--batch-size", "500"]


def npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


NUMBERS = np.random.default_rng(0).random((40, 5))
FILES = {
    "good.npy": npy(NUMBERS), "wide.npy": npy(np.ones((40, 7))), "two.npz": npz(a=NUMBERS, b=NUMBERS),
    "table.csv": b"a,b,c\n" + b"1,2.5,-3\n4,5,6\n" * 20,
    "wide_pictures.npy": npy(NUMBERS.reshape(10, 4, 5)), "tall_pictures.npy": npy(NUMBERS.reshape(10, 5, 4)),
    "late.npy": npy(np.append(NUMBERS[:9], np.full((1, 5), 1.5), axis=0)),
    # and what is wrong with others
    "empty.npy": b"", "short.npy": npy(NUMBERS)[:-9], "long.npy": npy(NUMBERS) + b"x", "nan.npy": npy(NUMBERS * np.nan),
    "pickle.npy": npy(np.array([{}, 1], object), allow_pickle=True), "text.npy": npy(np.array(["a", "b"])),
    "complex.npy": npy(NUMBERS + 1j), "scalar.npy": npy(np.array(3.0)), "deep.npy": npy(np.ones((2, 2, 2, 2, 2))),
    "huge.npy": npy(NUMBERS).replace(b"(40, 5)", b"(9**9,)"),
    "huger.npy": npy(NUMBERS).replace(b"(40, 5), }          ", b"(40000000, 5000), } "),
    "version.npy": b"\x93NUMPY\x09\x00" + npy(NUMBERS)[8:], "noise.npy": np.random.default_rng(0).bytes(3000),
    "cut.csv.gz": gzip.compress(b"1,2\n3,4\n" * 50)[:-9], "noise.gz": b"\x1f\x8b" + bytes(50),
    "cut.npz": npz(a=NUMBERS)[:-30], "hole.npz": npz(a=NUMBERS)[:60] + bytes(200), "none.npz": npz(),
    "idx": b"\0\0\x08\x03" + bytes([0, 0, 0, 9] * 3), "idx.magic": b"\0\0\x77\x03" + bytes(12), "idx.cut": b"\0\0\x08",
    "idx.huge": b"\0\0\x08\x03" + b"\xff" * 12 + bytes(99), "words.csv": b"a,b\none,two\n", "head.csv": b"a,b,c\n",
    "ragged.csv": b"1,2,3\n4,5\n", "hole.csv": b"1,2,3\n4,,6\n", "nan.csv": b"1,2\nnan,3\n",
    "latin.csv": b"1,2\n\xff,3\n", "binary": bytes(range(256)) * 9, "outside.npy": npy(NUMBERS * 3 - 1),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with files, good and bad, and with runs, good and bad."""
    home = tmp_path_factory.mktemp("home")
    for name, content in FILES.items():
        (home / name).write_bytes(content)
    patch = pytest.MonkeyPatch()
    patch.setattr(commands, "finish", lambda *_: None)
    for name, words in {"vae": [], "long": ["--epochs", "2"], "hvae": ["--model", "hvae", "--latents", "3,2"],
                        "table": ["--data", home / "good.npy", "--likelihood", "gaussian", "--scaling", "standardise"],
                        "pictures": ["--data", home / "wide_pictures.npy"],
                        "by_table": ["--data", home / "table.csv", "--likelihood", "gaussian"],
                        "moved": ["--data", home / "gone.npy", "--likelihood", "gaussian"], "half": [],
                        "odd_header": ["--data", home / "numbers.csv", "--likelihood", "gaussian", "--header", "yes"],
                        "changed": ["--data", home / "data.npy", "--likelihood", "gaussian"],
                        "changed_labels": ["--data", home / "data.csv", "--likelihood", "gaussian", "--labels", "c"]
                        }.items():
        (home / "data.csv").write_bytes(FILES["table.csv"])
        (home / "gone.npy").write_bytes(npy(NUMBERS))
        (home / "numbers.csv").write_text("1,2,3\n" + "4,5,6\n5,3,2\n" * 10)
        (home / "data.npy").write_bytes(npy(NUMBERS))
        assert cli.main(list(map(str, ["train", "--out", home / name, *FAST, *words]))) == 0
    patch.undo()
    (home / "data.npy").write_bytes(npy(np.append(NUMBERS[:-1], NUMBERS[-1:] + 1, axis=0)))     # a row held out
    (home / "data.csv").write_bytes(FILES["table.csv"].replace(b"2.5,-3", b"2.5,-4"))
    whole = (home / "vae" / "checkpoint.npz").read_bytes()
    for name, content in {"cut": whole[:-100], "flipped": whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:],
                          "nothing": b"", "foreign": npz(theta=NUMBERS), "noise": FILES["noise.npy"],
                          "sealed": b"hello" + checkpoint.seal(b"hello")}.items():
        (home / name).mkdir()
        (home / name / "checkpoint.npz").write_bytes(content)
    model = VAE(4, 2)
    (home / "library").mkdir()
    checkpoint.save(home / "library" / "checkpoint.npz", model, Adam(), State.start(model))
    (home / "newer").mkdir()
    patch.setattr(checkpoint, "FORMAT", 99)
    checkpoint.save(home / "newer" / "checkpoint.npz", model, Adam(), State.start(model))
    patch.undo()
    (home / "gone.npy").unlink()
    (home / "half" / "checkpoint.npz").rename(home / "half" / "checkpoint.previous.npz")
    (home / "good.npy.csv").write_text("1,2,3,4,5\n" * 2)
    (home / "folder").mkdir()
    (home / "folder" / "config.json").write_text("mine")
    (home / "folder.csv").mkdir()
    return home


def train(*words):
    return ["train", "--out", "new", *FAST, *words]


def file(name, *words):
    return train("--data", name, *words)


CASES = [
    # words that are no command
    ([], "the following arguments are required: COMMAND"), (["fly"], "invalid choice: 'fly'"), (["--fly"], "required"),
    (["train"], "one of the arguments --out --resume is required"), (["train", "--out"], "expected one argument"),
    (train("--resume", "vae"), "not allowed with argument"), (train("--fly"), "unrecognized arguments: --fly"),
    (train("--epoch", "3"), "unrecognized arguments: --epoch"), (train("3"), "unrecognized arguments: 3"),
    (["sample", "vae"], "required: --out"), (["evaluate"], "required: DIR"), (["evaluate", "vae", "x"], "unrecognized"),
    # values that are none
    *[(train("--epochs", value), "argument --epochs: it must be a whole number of at least 1; got")
      for value in ("0", "-1", "1.5", "ten", "", "1e3", "nan", " ", "½")],
    *[(train("--batch-size", value), "argument --batch-size: it must be") for value in ("0", "-3", "x")],
    *[(train("--learning-rate", value), r"argument --learning-rate: it must be a number in \(0, inf\)")
      for value in ("0", "-1", "nan", "inf", "fast", "")],
    *[(train("--schedule", value), "--schedule must be constant, exponential:RATE or steps:")
      for value in ("linear", "exponential", "exponential:0", "exponential:x", "exponential:nan", "steps", "steps:",
                    "steps:3", "steps:0=1", "steps:3=-1", "steps:3=0", "steps:a=1", "steps:1=1=1", "constant:3", "")],
    *[(train("--warm-up", value), "argument --warm-up: it must be") for value in ("-1", "x", "0.5")],
    *[(train("--free-bits", value), "argument --free-bits: it must be") for value in ("-1", "x", "nan", "", "1,")],
    (train("--free-bits", "1,2"), "--free-bits must be given once, or for each level .1.; got 2"),
    (train("--model", "hvae", "--free-bits", "1,2"),
     "--free-bits must be given once, or for each level .3.; got 2"),
    *[(train("--latents", value), "argument --latents: it must be") for value in ("0", "", "x", "-3", "1.5", "8,,4")],
    (train("--latents", "16,8"), "--latents must be one number for a vae"),
    *[(train("--hidden", value), "argument --hidden: it must be") for value in ("0", "x", "8,,8", "8/x", "8;8")],
    (train("--latents", "16 8"), "argument --latents: .* got '16 8'; separate several by commas: 16,8,4"),
    (train("--hidden", "abc"), "argument --hidden: .* got 'abc'; separate several by commas: 512,256"),
    (file("words.csv", "--likelihood", "gaussian"),
     "words.csv': read as CSV, line 2: column 'a' must have finite numbers; got 'one'"),
    (file("hole.csv", "--likelihood", "gaussian"),
     "hole.csv': read as CSV, line 2: column '1' has a missing cell, ''"),
    (train("--hidden", "8/8"), "--hidden must be given once, or for each level .1.; got 2"),
    (["gradcheck", "--model", "hvae", "--hidden", "8/8"],
     "--hidden must be given once, or for each level .3.; got 2"),
    *[(train(f"--{name}", "x"), f"argument --{name}: invalid choice: 'x'")
      for name in ("model", "activation", "likelihood", "consistency", "dtype", "binarize", "scaling")],
    *[(train("--seed", value), "argument --seed: it must be a whole number of at least 0")
      for value in ("-1", "x", "1.5")],
    *[(train("--checkpoint-every", value), "argument --checkpoint-every: it must be") for value in ("-1", "x", "nan")],
    *[(train("--hold-out", value), "argument --hold-out: it must be") for value in ("-1", "x")],
    *[(train("--image-shape", value), "argument --image-shape: it must be") for value in ("x", "8,0", "8x8")],
    (file("late.npy"), r"--data must lie in \[0, 1\] for a Bernoulli .* the rows not trained on go from 1.5 to 1.5"),
    *[(file("good.npy", "--header", value), "has no header: only a CSV file") for value in ("yes", "no")],
    (train("--latents", "99999999999999"), "."), (train("--hidden", "9999999999,9999999999"), "."),
    # data
    (file("nowhere.npy"), "nowhere.npy' cannot be read: No such file"), (file("folder"), "must be a file"),
    (file("/dev/zero"), "must be a file"), (file(""), "."), (file("a\0b"), "."), (file("x" * 300), "too long"),
    *[(file(name), re.escape(name)) for name in FILES
      if name not in ("good.npy", "wide.npy", "two.npz", "table.csv", "outside.npy", "wide_pictures.npy",
                      "tall_pictures.npy", "late.npy", "words.csv")],
    (file("two.npz"), "key must say which array"), (file("two.npz", "--key", "c"), "'c' is not there"),
    (file("good.npy", "--key", "a"), "only an .npz file has keys"),
    (file("good.npy", "--labels", "y"), "has no labels of its own, and labels is not an IDX or .npy file; got 'y'"),
    (file("table.csv", "--labels", "kind"), "there is no single column 'kind'"),
    (file("table.csv", "--labels", "9"), "9"),
    (file("good.npy", "--image-shape", "2,3"), "does not fit: 6 pix.* a row has"),
    (["evaluate", "table", "--rows", "rows.txt"], "--rows must end in .npz or .csv"),
    (["train", "--out", "new", "--lr", "1"], r"unrecognized arguments: --lr \(see"),
    (file("good.npy", "--image-shape", "5"), "height"),
    (file("good.npy", "--hold-out", "1"), "--hold-out 1 leaves no row to train on"),
    (file("outside.npy"), r"--data must lie in \[0, 1\] for a Bernoulli .*gaussian.*rows to train on go from -"),
    (file("outside.npy", "--binarize", "sample"), r"--data must lie in \[0, 1\] for --binarize"),
    (file("outside.npy", "--scaling", "unit"), "choose another scaling"),
    (file("good.npy", "--scaling", "standardise", "--binarize", "threshold"),
     r"--data must lie in \[0, 1\] for --binarize"),
    # folders of runs
    (["train", "--out", "vae"], "vae has a checkpoint.npz already: go on with --resume, or replace it"),
    (["train", "--out", "folder"], "folder has a config.json already"), (["train", "--out", "good.npy"], "good.npy"),
    (["train", "--out", "good.npy/x"], "good.npy"), (["train", "--out", "/proc/x"], "/proc"),
    (["train", "--out", "x" * 300], "too long"), (["train", "--out", "a\0b"], "."),
    (["train", "--resume", "nowhere"], "nowhere is not the folder of a run: it has no checkpoint.npz"),
    (["train", "--resume", "folder"], "is not the folder of a run"),
    (["train", "--resume", "vae", "--hidden", "8"], "leave out --hidden"),
    (["train", "--resume", "vae", "--batch-size", "64"], "leave out --batch-size"),
    (["train", "--resume", "vae", "--seed", "0"], "leave out --seed"),
    (["train", "--resume", "vae", "--overwrite"], "leave out --overwrite"),
    (["train", "--resume", "long", "--epochs", "1"], "--epochs must be at least 2, the epochs so far; got 1"),
    *[([*words, "changed"], "data.npy has changed since the run began")
      for words in (["train", "--resume"], ["evaluate"], ["encode", "--out", "new.csv"])],
    (["evaluate", "changed_labels"], "data.csv has changed since the run began"),
    *[(["evaluate", "table", *words], f"{words[0]} only applies to files; without --data the run")
      for words in (["--labels", "0"], ["--key", "a"], ["--image-shape", "1,5"], ["--header", "no"])],
    *[(train("--data", "digits", *words), f"{words[0]} only applies to files; digits is a built-in data set")
      for words in (["--labels", "0"], ["--key", "a"], ["--image-shape", "8,8"], ["--header", "no"],
                    ["--hold-out", "3"])],
    (["evaluate", "vae", "--data", "digits", "--key", "a"], "--key only applies to files; digits is"),
    (["evaluate", "table", "--data", "good.npy", "--split", "train"], "--split only .* all rows of good.npy"),
    (["evaluate", "pictures", "--data", "tall_pictures.npy"],
     r"tall_pictures.npy has pictures of shape \(5, 4\), the run's own data of \(4, 5\)"),
    *[([command, "vae", "--seed", "1", *words, "--out", "new.csv"], "unrecognized arguments: --seed")
      for command, *words in (["encode"], ["reconstruct"], ["interpolate"])],
    *[([command, "table", *words, "--out", "good.npy.csv"], "--out would replace the data that are read: good.npy.csv")
      for command, *words in (["encode", "--data", "good.npy.csv"], ["reconstruct", "--data", "good.npy.csv"])],
    (["sample", "by_table", "--out", "table.csv"], "--out would replace the data that are read: .*table.csv"),
    *[(["sample", "vae", "--out", f"vae/{name}"], f"--out would replace a part of a run: vae/{name}")
      for name in ("checkpoint.npz", "history.csv")],
    (["train", "--out", "by_table", *FAST, "--data", "by_table/history.csv", "--overwrite", "--likelihood",
      "bernoulli"],
     "--out would replace the data that are read: by_table/history.csv"),
    (["evaluate", "moved"], "gone.npy' cannot be read: No such file .*; the run began with it: put it back, or a link"),
    (["evaluate", "odd_header", "--data", "good.npy"], "has no header: only a CSV file"),
    (train("--model", "topdown", "--consistency", "exact"), "--consistency is only for --model hvae; got topdown"),
    *[(train("--average", value), r"argument --average: it must be a number in \(0, 1\)")
      for value in ("0", "1", "-1", "nan", "x", "")],
    (train("--consistency", "exact"), "--consistency is only for --model hvae; got vae"),
    (["train", "--out", "folder", "--overwrite"], "folder has a config.json, but is not the folder of a run: nothing"),
    *[(words, "argument .*: it must be a path, which is not empty")
      for words in (["train", "--out", ""], ["train", "--resume", ""], ["evaluate", ""])],
    *[([command, name, *out], message) for command, *out in (["evaluate"], ["train", "--resume"],
                                                             ["sample", "--out", "new.csv"])
      for name, message in (("nowhere", "is not the folder of a run"), ("good.npy", "is not the folder of a run"),
                            ("cut", "cut/checkpoint.npz is damaged"), ("flipped", "is damaged, or not a checkpoint"),
                            ("nothing", "is damaged"), ("foreign", "is damaged"), ("noise", "is damaged"),
                            ("sealed", "is not a checkpoint, though"), ("newer", "was written by scratchvae"),
                            ("library", "was not written by this version of `scratchvae train`"))
      if command != "train"],
    # commands on a run
    *[(["evaluate", "vae", "--samples", value], "argument --samples: it must be") for value in ("0", "-1", "many")],
    (["evaluate", "vae", "--split", "valid"], "digits has no part 'valid': choose with --split from train, test"),
    (["evaluate", "vae", "--data", "wide.npy"], "wide.npy has rows of 7 numbers, the run's own data rows of 64"),
    (["evaluate", "table", "--data", "wide.npy"], "wide.npy has rows of 7 numbers, the run's own data rows of 5"),
    (["evaluate", "table", "--data", "noise.npy"], "noise.npy"),
    (["evaluate", "table", "--data", "nowhere"], "nowhere"),
    *[(["sample", "vae", "--out", out], "--out must end in .png or .pdf or .svg or .npz or .csv; got")
      for out in ("x", "x.txt", ".png")],
    (["sample", "vae", "--out", "nowhere/x.csv"], "there is no folder 'nowhere'"),
    (["sample", "vae", "--out", "good.npy/x.csv"], "there is no folder"),
    (["sample", "vae", "--out", "folder.csv"], "folder.csv' cannot be written: Is a directory"),
    (["sample", "vae", "--out", "/proc/x.csv"], "/proc/x.csv"), (["sample", "vae", "--out", "x" * 300 + ".csv"], "."),
    *[(["sample", "table", "--out", f"new.{ending}"], "--out cannot be a picture") for ending in ("png", "pdf", "svg")],
    (["sample", "vae", "--out", "new.png", "--count", "0"], "argument --count: it must be"),
    *[(["reconstruct", "hvae", "--level", level, "--out", "new.csv"], "level.* must be a whole number from 1 to 2")
      for level in ("3", "99")],
    (["reconstruct", "hvae", "--level", "0", "--out", "new.csv"], "argument --level: it must be"),
    (["reconstruct", "vae", "--level", "2", "--out", "new.csv"], "must be a whole number from 1 to 1; got 2"),
    *[(["interpolate", "vae", "--between", value, "--out", "new.csv"], "--between") for value in
      ("1", "1,2,3", "0,9999", "x,y", "-1,2", "")],
    (["interpolate", "vae", "--steps", "1", "--out", "new.csv"], "argument --steps: it must be"),
    (["interpolate", "hvae", "--level", "3", "--out", "new.csv"], "--level must be"),
    (["encode", "vae", "--out", "new.png"], "--out must end in .npz or .csv"),
    (["gradcheck", "--rows", "0"], "argument --rows"), (["gradcheck", "--directions", "x"], "argument --directions"),
    (["gradcheck", "--latents", "2,1"], "--latents must be one number"),
    (["gradcheck", "--data", "nan.npy"], "nan.npy"),
    (["gradcheck", "--data", "outside.npy"], "for a Bernoulli likelihood"),
]


def contents(folder):
    """Return every file below a folder, by name."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def before(home):
    """What is there before any mistake is made."""
    return contents(home)


@pytest.mark.parametrize("words, message", CASES, ids=[ascii(" ".join(words)[:60]) for words, _ in CASES])
def test_a_mistake_is_one_line_and_touches_nothing(home, before, monkeypatch, capsys, words, message):
    monkeypatch.chdir(home)
    code = cli.main(words)
    _, err = capsys.readouterr()
    assert code == 2 and re.fullmatch(r"scratchvae: .+\n", err), err
    assert re.search(message, err), err
    assert len(err) < 500, "a sentence, not a page"
    assert contents(home) == before and not (home / "new").exists()


def test_the_last_checkpoint_of_a_run_is_not_replaced(home, monkeypatch, capsys):
    """A kill between two renames leaves the previous one alone."""
    monkeypatch.chdir(home)
    there = contents(home / "half")
    assert cli.main(["sample", "half", "--out", "half/checkpoint.previous.npz"]) == 2
    assert "--out would replace a part of a run: half/checkpoint.previous.npz" in capsys.readouterr().err
    assert contents(home / "half") == there


def test_there_are_many():
    assert len(CASES) > 200


# what only a process of its own can show -----------------------------------------------------------


def process(*words, **options):
    """Run the command as users do; return its exit code and what it writes."""
    done = subprocess.run([sys.executable, "-m", "scratchvae", *map(str, words)], text=True, timeout=120,
                          stderr=subprocess.PIPE, **{"stdout": subprocess.PIPE, "env": kill_and_resume.ENVIRONMENT,
                                                     **options})
    return done.returncode, done.stdout, done.stderr


def test_help_needs_neither_matplotlib_nor_scipy():
    """It must be there at once."""
    script = ("import sys; sys.modules.update(matplotlib=None, scipy=None); from scratchvae.cli import main; "
              "main(['--help'])")
    done = subprocess.run([sys.executable, "-c", script], text=True, capture_output=True,
                          env=kill_and_resume.ENVIRONMENT)
    assert (done.returncode, done.stderr) == (0, "") and "A first walk" in done.stdout


@pytest.mark.parametrize("command", [[], *([name] for name in commands.COMMANDS)])
def test_every_help_has_examples(command, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([*command, "--help"])
    assert end.value.code == 0
    assert capsys.readouterr().out.count(f"  scratchvae {' '.join(command)}") >= 2


def test_a_mistake_is_one_line_in_a_process_too():
    assert process("evaluate", "/nowhere") == (
        2, "", "scratchvae: /nowhere is not the folder of a run: it has no checkpoint.npz\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_to_a_full_disk(home):
    with open("/dev/full", "w") as full:
        assert process("evaluate", home / "vae", "--samples", 1, stdout=full) == (
            2, None, "scratchvae: [Errno 28] No space left on device\n")


def test_output_to_a_closed_pipe(home):
    reader, writer = os.pipe()
    os.close(reader)
    assert process("evaluate", home / "vae", "--samples", 1, stdout=writer) == (141, None, "")
    os.close(writer)


@pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes a stream")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_stream_that_is_closed_changes_nothing(home, closed):
    """Python gives None for it, which has no methods."""
    done = subprocess.run(f"{sys.executable} -m scratchvae evaluate {home / 'vae'} --samples 1 {closed}", shell=True,
                          text=True, capture_output=True, env=kill_and_resume.ENVIRONMENT, timeout=120)
    assert (done.returncode, done.stderr) == (0, "") and ("ELBO" in done.stdout) == (not closed.startswith(">&-"))


def test_a_name_that_the_terminal_cannot_show_costs_nothing(tmp_path):
    (tmp_path / "t.csv").write_text("größe,b\n" + "1,2\n3,5\n4,4\n" * 9, encoding="utf-8")
    code, out, err = process("train", "--data", tmp_path / "t.csv", "--likelihood", "gaussian", "--out", tmp_path / "r",
                             *FAST, env={**kill_and_resume.ENVIRONMENT, "PYTHONIOENCODING": "ascii"})
    assert (code, err) == (0, "") and r"columns: 'gr\xf6\xdfe', 'b'" in out


def test_overwrite_gives_nothing_up_before_the_new_run_is_safe(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(commands, "finish", lambda run, _: (run.folder / "curves.png").write_text("drawn"))
    words = ["train", "--out", str(tmp_path / "run"), *FAST]
    assert cli.main(words) == 0
    there = contents(tmp_path)

    def fail(*args, **kwargs):
        raise OSError("the disk is full")

    monkeypatch.setattr(checkpoint, "save", fail)
    assert cli.main([*words, "--overwrite"]) == 2
    assert contents(tmp_path) == there


def test_a_disk_that_fills_up_costs_nothing_but_time(tmp_path, monkeypatch, capsys):
    """The first checkpoint fits, the next is too large: one line; with room again, the run goes on to the same bits."""
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(commands, "finish", lambda *_: None)
    words = [*FAST, "--epochs", "2", "--checkpoint-every", "0"]
    assert cli.main(["train", "--out", str(tmp_path / "whole"), *words]) == 0
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    capsys.readouterr()
    try:
        for size, left in ((1000, set()), (9000, {"checkpoint.npz", "history.csv", "config.json"})):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
            assert cli.main(["train", "--out", str(tmp_path / "run"), *words]) == 2
            err = capsys.readouterr().err
            assert re.fullmatch(r"scratchvae: '.*checkpoint.npz' cannot be written: File too large\n", err), err
            assert {path.name for path in (tmp_path / "run").iterdir()} == left
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert cli.main(["train", "--resume", str(tmp_path / "run")]) == 0
    assert kill_and_resume.differences(tmp_path / "run", tmp_path / "whole") == []


def test_training_that_explodes_keeps_the_last_good_checkpoint(home, tmp_path, capsys):
    assert cli.main(["train", "--data", str(home / "good.npy"), "--likelihood", "gaussian", "--learning-rate", "1e30",
                     "--out", str(tmp_path / "run"), *FAST, "--epochs", "20", "--checkpoint-every", "0"]) == 2
    err = capsys.readouterr().err
    assert re.fullmatch("scratchvae: the .* became .*; a smaller learning rate, or a warm-up of beta, may help; "
                        ".*\n", err)
    assert np.isfinite(checkpoint.load(tmp_path / "run" / "checkpoint.npz").theta).all()


def test_without_matplotlib_training_ends_well_and_says_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "scratchvae.train.plotting", raising=False)
    monkeypatch.delattr("scratchvae.train.plotting", raising=False)
    assert cli.main(["train", "--out", str(tmp_path / "run"), *FAST]) == 0
    assert capsys.readouterr().err == "scratchvae: pictures need matplotlib: pip install matplotlib\n"
    assert cli.main(["sample", str(tmp_path / "run"), "--out", str(tmp_path / "x.csv")]) == 0
    assert cli.main(["sample", str(tmp_path / "run"), "--out", str(tmp_path / "x.png")]) == 2
    assert "pictures need matplotlib" in capsys.readouterr().err and not (tmp_path / "x.png").exists()
