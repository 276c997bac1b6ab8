"""The lessons run from any directory, draw, and print what their texts say; the longer proofs, by their own commands.

In the text cells of a lesson, what stands in backticks between "prints" and the end of the sentence is a part of its
output: of its default run, or of the command in backticks before it in the same paragraph.
"""

import ast
import functools
import hashlib
import re
import runpy
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from scratchvae import VAE, fit

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
SHORT = {                                              # options with which a lesson runs as quickly as it can
    "01_backprop_by_hand": [], "02_gradient_check": [], "03_autoencoder": ["--epochs", "5"],
    "04_reparameterisation": ["--draws", "1000"], "05_bound": ["--epochs", "20"], "06_vae": ["--epochs", "1"],
    "07_dead_latents": ["--epochs", "2"], "08_hierarchy": ["--epochs", "5"],
    "08b_hierarchy_backward": ["--epochs", "2"], "09_consistency": ["--epochs", "5"], "10_bugs": [],
    "11_repair": ["--epochs", "5"], "12_diffusion": ["--epochs", "2"],
    "13_one_bound": ["--epochs", "2", "--samples", "50", "--paths", "1"],
    "14_importance": ["--epochs", "2", "--repeats", "20"], "15_flow": [],
    "16_prior": ["--epochs", "2", "--samples", "2"], "17_conditions": ["--epochs", "1", "--samples", "20"]}
PAGE = "00_one_page"                                   # test_one_page.py
TABLE = "13_one_bound"
# their texts quote longer runs
WITHOUT = {"11_repair", "12_diffusion", TABLE, "16_prior", "17_conditions"}
FAST = ("01_backprop_by_hand", "02_gradient_check")
UNTRAINED = {*FAST, "04_reparameterisation", "10_bugs"}  # no number of theirs comes from a trained network
NUMBER = r"-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]\d+)?"


def run(*command, cwd):
    done = subprocess.run([sys.executable, *map(str, command)], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """Return what a lesson prints, from a directory far from its own; each command runs once."""
    folder = tmp_path_factory.mktemp("lessons")

    @functools.lru_cache(maxsize=None)
    def output(name, *options):
        return run(ROOT / "demos" / f"{name}.py", *options, cwd=folder)

    output.folder = folder
    return output


def test_no_lesson_is_left_out():
    names = sorted(path.stem for path in (ROOT / "demos").glob("[0-9]*.py"))
    assert sorted([PAGE, *SHORT]) == names
    assert sorted({name[:2] for name in names}) == [f"{i:02}" for i in range(18)]


@pytest.mark.parametrize("name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow)
                                  for name in SHORT])
def test_lesson_runs_elsewhere_and_draws(name, printed):
    assert f"figure: out/{name}.png" in printed(name, *SHORT[name])
    assert (printed.folder / "out" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_the_table_has_a_row_for_each_model(printed):
    out = printed(TABLE, *SHORT[TABLE])
    rows = re.findall(rf"^(.*?) +({NUMBER}|-) +({NUMBER}|-) +(\d+|-) +\d+ +\d+ s$", out, re.MULTILINE)
    assert [row[0] for row in rows] == ["autoencoder 16", "VAE 16", "VAE 16, a learned prior",
                                        "hierarchy 16, 8, 4, printed", "hierarchy 16, 8, 4, exact",
                                        "hierarchy 16, 8, 4, top-down", "diffusion, 200 levels"]
    assert all(float(bound) < 0 and float(log_p) < 0 for _, bound, log_p, _ in rows[1:])
    assert [row[3] for row in rows] == ["-", "50", "5", "50", "50", "50", "1"]


def test_lesson_1_by_differences(printed):
    """Every derivative on the blackboard is that of the loss, and every product there is worked out correctly."""
    x, t = np.array([[1.0, 2], [2, -1], [-1, 1]]), np.array([[2], [3], [-1.5]])
    weights = {"dW1": np.array([[1, -1], [0.5, 1]]), "dW2": np.array([[2.0], [-1.0]])}

    def loss():
        h = np.maximum(x @ weights["dW1"] + [0, 0.5], 0)
        return 0.5 * ((h @ weights["dW2"] + 0.5 - t) ** 2).sum()

    lines = re.findall(r"(dW\d)\[(\d)(?:, (\d))?\]\s+= (.*) = (\S+)\n", printed("01_backprop_by_hand"))
    assert len(lines) == 6
    for name, i, j, products, total in lines:
        W, at = weights[name], (int(i) - 1, int(j or 1) - 1)
        W[at] += 0.001
        plus = loss()
        W[at] -= 0.002
        minus = loss()
        W[at] += 0.001
        assert np.isclose((plus - minus) / 0.002, float(total), rtol=0, atol=1e-9)
        assert sum(np.prod([float(ast.literal_eval(factor)) for factor in product.split("·")])
                   for product in products.split(" + ")) == float(total)
    assert "our gradients and the library's: 0\n" in printed("01_backprop_by_hand")


def test_lesson_2_has_two_vs_and_a_flat_line(printed):
    """The best steps of the differences are where theory has them; the complex step has 15 digits at 1e-30."""
    out = printed("02_gradient_check")
    forward, central = (list(map(float, pair)) for pair in
                        re.findall(r"difference: least error (\S+), at h = (\S+)\n", out))
    assert 1e-9 < forward[0] < 1e-6 and 1e-9 <= forward[1] <= 1e-7
    assert 1e-12 < central[0] < 1e-9 and 1e-6 <= central[1] <= 1e-4
    assert float(re.search(r"complex step: error (\S+) at h = 1e-30", out)[1]) < 3e-15
    verdicts = re.findall(r"^\S.*?(ok|WRONG) .*?(ok|WRONG) *$", out, re.MULTILINE)
    assert verdicts == [("ok", "ok")] + 3 * [("WRONG", "WRONG")] + 3 * [("ok", "ok")]


@pytest.mark.slow
def test_lesson_4_by_quadrature(printed):
    """Its exact variances, by an integral over eps_1 and SciPy's moments of the other squares."""
    eps, weight = np.polynomial.hermite_e.hermegauss(20)
    weight = weight / weight.sum()
    out = printed("04_reparameterisation", "--draws", "1000")
    for d, ratio in re.findall(r"d = (\d+): the score function needs (\d+) draws", out):
        d, mu = int(d), int(d) ** -0.5
        mean, variance = stats.ncx2.stats(d - 1, (d - 1) / d)
        z2 = (mu + eps) ** 2
        estimate = weight @ ((z2 ** 2 + 2 * z2 * mean + mean ** 2 + variance) * eps ** 2) - 4 * mu ** 2
        assert round(estimate / 4) == int(ratio)


@pytest.mark.slow
def test_lesson_8b_by_differences(printed):
    """Its blackboard is the loss of two levels written out once more; each use that is forgotten is missed."""
    out = printed("08b_hierarchy_backward", *SHORT["08b_hierarchy_backward"])
    theta = {("q1", 0): 0.5, ("q2", 0): 0.5, ("p2", 0): 0.5, ("p1", 0): 1.0}           # slopes of mu; the rest is 0

    def loss(name, column, what, step):
        value = {(n, c, w): theta.get((n, c), 0) * (w == "W") for n in ("q1", "q2", "p1", "p2") for c in (0, 1)
                 for w in "Wb"}
        value[name, column, what] += step

        def output(n, c, z):
            return value[n, c, "W"] * z + value[n, c, "b"]

        z_1 = output("q1", 0, 2) + np.exp(output("q1", 1, 2) / 2) * 0.5
        mu, logvar = output("q2", 0, z_1), output("q2", 1, z_1)
        z_2 = mu + np.exp(logvar / 2) * 0.75
        return (-stats.norm.logpdf(2, output("p1", 0, z_1)) + (mu ** 2 + np.exp(logvar) - 1 - logvar) / 2
                - stats.norm.entropy(0, np.exp(output("q1", 1, 2) / 2))
                - stats.norm.logpdf(z_1, output("p2", 0, z_2), np.exp(output("p2", 1, z_2) / 2)))

    lines = re.findall(r"(q1|q2|p1|p2)\.dense1\.([Wb]) +dmu +(\S+?)(?:, dlogvar +(\S+))?\n", out)
    assert len(lines) == 8
    for name, what, *gradients in lines:
        for column, gradient in enumerate(filter(None, gradients)):
            difference = (loss(name, column, what, 1e-5) - loss(name, column, what, -1e-5)) / 2e-5
            assert np.isclose(difference, float(gradient), rtol=0, atol=1e-6)
    assert f"loss = {loss('q1', 0, 'W', 0):.4f} nats" in out
    errors = re.findall(rf"({NUMBER}) from the library's gradient, ({NUMBER}) from the complex step", out)
    assert len(errors) == 5 and all(float(error) < 1e-14 for pair in errors for error in pair)
    wrong = [int(percent) for percent in re.findall(r"wrong by (\d+)%", out)]
    assert wrong[0] == 0 and len(wrong) == 4 and min(wrong[1:]) > 5


def claims():
    """Return (lesson, options, what its text says that it prints) for every such claim."""
    found = []
    for name in SHORT:
        text = (ROOT / "demos" / f"{name}.py").read_text(encoding="utf-8")
        cells = [cell for cell in re.split(r"^# %%", text, flags=re.MULTILINE) if cell.startswith(" [markdown]")]
        for paragraph in re.split(r"\n#\n|\n# - ", "\n#\n".join(cells)):
            options, listening = (), False
            for span, words in re.findall(r"`([^`]*)`|([^`]+)", re.sub(r"\n# *", " ", paragraph)):
                if span.startswith(f"python demos/{name}.py"):
                    options, listening = tuple(span.split()[2:]), False
                elif span and listening:
                    found.append((name, options, span))
                elif not span:
                    last = re.split(r"[.:] ", words)[-1]         # a new sentence hears its own "prints" only
                    listening = "prints" in last if last != words or "prints" in words else listening
    return found


def unit(number):
    """Return one unit of the last digit of a number, as it is printed."""
    return 10.0 ** -len(number.partition(".")[2])


@functools.lru_cache(maxsize=None)
def rounds_as_written():
    """Whether this machine rounds as the one on which the texts were written: some steps of training, to the bit."""
    x = np.random.default_rng(0).random((256, 64), dtype=np.float32)
    model = VAE(64, 16, (128,), rng=0)
    fit(model, x, epochs=10, batch_size=64, rng=0, progress=False)
    return hashlib.sha256(model.theta.tobytes()).hexdigest()[:12] == "a8297d5438d9"


def close(said, got, trained=True, same=True):
    """Tell whether two numbers are equal up to what differs from machine to machine.

    The number of a trained network may differ by one unit of the last digit that is printed and 3e-4 of it, on a
    machine that rounds otherwise by 2 %; others not.  If the text has fewer digits, it must have rounded.
    """
    a, b = float(said.replace(",", "")), float(got.replace(",", ""))
    if "e-" in said:
        return b == 0 or abs(np.log10(b / a)) < 1.1 or max(a, b) < 1e-14
    if "e" in said + got:
        return a == b
    if trained and not same:
        return abs(a - b) <= 0.02 * abs(a) + 0.011
    rounded = unit(said) / 2 if unit(said) > unit(got) else 0
    return abs(a - b) <= rounded + trained * (unit(got) + 3e-4 * abs(a)) + 1e-9


def test_claims_are_found_and_compared():
    found = claims()
    assert len(found) > 25 and {name for name, _, _ in found} == set(SHORT) - WITHOUT
    assert ("01_backprop_by_hand", (), "loss = 0.75") in found
    assert close("-22.31", "-22.30") and not close("-22.31", "-22.30", trained=False)
    assert close("2e-16", "9e-16") and not close("4e-08", "4e-06")
    assert close("0.11", "0.113", trained=False) and close("16,900", "16900", trained=False)
    for said, got in [("0.75", "0.77"), ("-25.70", "-25.68"), ("-0.445", "-0.435"), ("0.12", "0.113"), ("90", "92")]:
        assert not close(said, got)
    assert close("-25.70", "-25.68", same=False) and not close("0.75", "0.79", same=False)


@pytest.mark.slow
@pytest.mark.parametrize("name, options, said", claims())
def test_what_a_lesson_says_it_prints(name, options, said, printed):
    out = " ".join(printed(name, *options).split())
    pattern = re.sub(r"(?:\\ )+", " *", re.escape(" ".join(re.sub(NUMBER, "\0", said).split()))).replace("\0", NUMBER)
    numbers = re.findall(NUMBER, said)
    matches = [re.findall(NUMBER, match) for match in re.findall(f"(?=({pattern}))", out)]
    how = name not in UNTRAINED, rounds_as_written()
    assert any(len(match) == len(numbers) and all(close(*pair, *how) for pair in zip(numbers, match))
               for match in matches), matches


@pytest.mark.slow
def test_lesson_6_shows_a_spoilt_entry(printed):
    """One entry of q1.dense1.W wrong by a thousandth: that array is wrong in every part that knows it, no other."""
    wrong = [line for line in printed("06_vae", "--break").splitlines() if line.endswith("WRONG")]
    assert wrong and all("q1.dense1.W" in line for line in wrong if "gradients," not in line)


@pytest.fixture
def run_here(monkeypatch, tmp_path, capsys):
    """Run a lesson in this process, with this command line, from an empty folder; return what it prints."""
    def output(name, *argv):
        monkeypatch.setattr(sys, "argv", [name, *argv])
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(ROOT / "demos"))
        runpy.run_path(str(ROOT / "demos" / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out
    return output


@pytest.mark.parametrize("ending, begins", [("pdf", b"%PDF-"), ("svg", b"<?xml")])
def test_figures_for_slides(ending, begins, run_here, tmp_path):
    assert f"out/01_backprop_by_hand.{ending}" in run_here("01_backprop_by_hand", "--format", ending)
    assert (tmp_path / "out" / f"01_backprop_by_hand.{ending}").read_bytes().startswith(begins)


def test_as_a_notebook(monkeypatch, run_here):
    """There the command line is the kernel's, the options are the defaults, and the figure is shown."""
    shown = []
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    ipython = types.SimpleNamespace(version_info=(9,), get_ipython=lambda: None)       # matplotlib looks at these
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display",
                        types.SimpleNamespace(Image=lambda data: data, display=shown.append))
    assert "loss = 0.75" in run_here("01_backprop_by_hand", "--f=/somewhere/kernel.json")
    assert shown[0][:4] == b"\x89PNG"


@pytest.mark.parametrize("argv, message", [(["--epoch", "3"], "there is no option --epoch 3"),
                                           (["--seed", "-1"], "--seed: it must be a whole number of at least 0"),
                                           (["--format", "gif"], "invalid choice: 'gif'")])
def test_a_wrong_option_is_told(argv, message, run_here, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_here("01_backprop_by_hand", *argv)
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_thumbnails_are_there_and_small():
    thumbnails = {path.stem: path.stat().st_size for path in (ROOT / "demos" / "thumbnails").glob("*.png")}
    assert {name.split("_")[0] for name in SHORT} <= set(thumbnails) and sum(thumbnails.values()) < 1_000_000


@pytest.mark.slow
@pytest.mark.skipif(not README.exists(), reason="the README is not installed with the package")
def test_the_readmes_whole_experiment_gives_what_it_says():
    text = README.read_text(encoding="utf-8")
    code, = re.findall(r"```python\n(from scratchvae import HVAE, evaluate.*?)```", text, re.DOTALL)
    said, = re.findall(rf"# log p\(x\): some ({NUMBER}) nats", code)
    again, = re.findall(rf"some ({NUMBER}) nats in\s+the experiment above", text)
    names = {}
    exec(code, names)
    got = names["evaluate"](names["model"], names["x_test"]).log_likelihood.mean()
    assert said == again and abs(float(said) - got) <= 0.5 and names["new_digits"].shape == (10, 64)


@pytest.mark.slow
def test_killed_runs_go_on_to_the_same_bits(tmp_path):
    assert "0 differ" in run(ROOT / "tests" / "kill_and_resume.py", "--runs", "10", cwd=tmp_path)
