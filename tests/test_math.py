"""MATH.md, the docstrings and the tests agree: every number, function and test that one of them names exists.

An equation of MATH.md is a heading ``### (4.5) KL divergence`` and, below it, a paragraph ``code: `gaussian.kl` ·
test: `test_gaussian.py::test_gradients```.  The docstring of that code cites it, as MATH (4.5).
"""

import ast
import functools
import importlib
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from scipy import integrate, stats
from test_diffusion import mean_bound, mmse

import scratchvae
from scratchvae import Bernoulli, Categorical, Diffusion, LogNormal, Poisson, flow, gaussian, layers, mixed, schedule

PACKAGE, HERE = Path(scratchvae.__file__).parent, Path(__file__)
MATH = "scratchvae/MATH.md"
COVERED = ("layers", "mlp", "gaussian", "compare", "likelihood", "mixed", "objective", "model",
           "autoencoder", "vae", "hvae", "topdown", "schedule", "diffusion", "flow", "importance",
           "train.optim", "verify.exact", "verify.diffusion_forms")
PLUMBING = {                                           # what moves numbers about, draws noise or checks: no equation
    "mlp.pack", "likelihood.Bernoulli.check_support", "likelihood.Gaussian.check_support",
    "mixed.LogNormal.check_support",
    "mixed.Poisson.check_support", "mixed.Categorical.check_support", "mixed.Mixed.check_support",
    *(f"likelihood.Likelihood.{name}" for name in ("log_prob", "log_prob_backward", "mean", "sample", "bias",
                                                   "check_support")),
    *(f"model.Model.{name}" for name in ("pack", "astype", "with_first_layer", "set_output_bias", "check_x",
                                         "check_noise", "normal", "forward")),
    "objective.ELBOGradient.dkl",
    *(f"autoencoder.Autoencoder.{name}" for name in ("draw_noise", "check_noise", "encode", "decode", "reconstruct")),
    "importance.is_known", "importance.Importance.check_beta",
    *(f"vae.VAE.{name}" for name in ("draw_noise", "reconstruct")),
    *(f"hvae.HVAE.{name}" for name in ("consistency", "draw_noise", "check_noise", "reconstruct")),
    *(f"diffusion.Diffusion.{name}" for name in ("with_levels", "column", "draw_noise", "check_noise", "check_level",
                                                 "reconstruct")),
    *(f"verify.exact.{name}" for name in ("Affine", "linear_hvae", "generation", "inference", "set_q")),
}
NUMBER = r"\(([\d.]*\d)\)"
CITATION = re.compile(rf"\bMATH(?:\.md)?\s+{NUMBER}(?:,?\s+(?:and\s+)?{NUMBER})*")


parse = functools.lru_cache(maxsize=None)(ast.parse)


class Equation(NamedTuple):
    where: str
    code: list                                         # that it names, such as gaussian.kl
    tests: list                                        # such as test_gaussian.py::test_gradients


class Definition(NamedTuple):
    where: str
    cites: list                                        # of its docstring: pairs of number and place
    abstract: bool                                     # it only raises NotImplementedError


def read():
    """Return the text of every file that may cite an equation; this one has broken citations, and is left out."""
    paths = {path.relative_to(PACKAGE.parent).as_posix(): path
             for pattern in ("*.py", "*.md", "train/*.py", "verify/*.py") for path in PACKAGE.glob(pattern)}
    paths.update({f"tests/{path.name}": path for path in HERE.parent.glob("test_*.py") if path.name != HERE.name})
    paths.update({path.name: path for path in PACKAGE.parent.glob("*.md")})
    paths.update({path.relative_to(PACKAGE.parent).as_posix(): path
                  for path in PACKAGE.parent.glob("demos/**/*") if path.suffix in (".py", ".md")})
    return {name: path.read_text(encoding="utf-8") for name, path in sorted(paths.items())}


def place(file, text, position, first_line=1):
    return f"{file}:{first_line + text.count(chr(10), 0, position)}"


def citations(file, text, first_line=1):
    """Return number and place of every citation."""
    return [(number, place(file, text, match.start(), first_line)) for match in CITATION.finditer(text)
            for number in re.findall(NUMBER, match[0])]


def equations(files):
    """Return every equation by its number."""
    text, found = files[MATH], {}
    heads = list(re.finditer(rf"^### {NUMBER} ", text, re.MULTILINE))
    for head, end in zip(heads, [*(following.start() for following in heads[1:]), len(text)]):
        last = re.search(r"^code:(.*?)·\s+test:(.*?)(?:\n\n|\Z)", text[head.end():end], re.MULTILINE | re.DOTALL)
        code, tests = (re.findall(r"`([^`]*)`", part) for part in (last.groups() if last else ("", "")))
        for i, test in enumerate(tests):
            if i > 0 and test.startswith("::"):        # in the file of the test before it
                tests[i] = tests[i - 1].split("::")[0] + test
        found.setdefault(head[1], Equation(place(MATH, text, head.start()), code, tests))
    return found


def definitions(files):
    """Return all public functions, classes and methods by names such as likelihood.Bernoulli.log_prob."""
    found = {}

    def visit(nodes, prefix, file):
        for node in nodes:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                name, doc = f"{prefix}.{node.name}", node.body[0]
                cites = citations(file, doc.value.value, doc.lineno) if ast.get_docstring(node) else []
                abstract = ast.unparse(node.body[-1]).startswith("raise NotImplementedError")
                found[name] = Definition(f"{file}:{node.lineno}", cites, abstract)
                if isinstance(node, ast.ClassDef):
                    visit(node.body, name, file)

    for file, text in files.items():
        if re.fullmatch(r"scratchvae/(\w+/)?\w+\.py", file):
            visit(parse(text).body, file.removeprefix("scratchvae/").removesuffix(".py").replace("/", "."), file)
    return found


def cited_numbers_exist(files):
    """Every citation, in code, tests, demos and MATH.md itself, is of an equation that exists."""
    known = equations(files)
    for file, text in files.items():
        for number, where in citations(file, text):
            if number not in known:
                yield f"{where}: cites MATH ({number}), but MATH.md has no equation of that number"
    for match in re.finditer(r"(?<![\w`])\((\d+\.\d+)\)", files[MATH]):
        if match[1] not in known:
            yield f"{place(MATH, files[MATH], match.start())}: refers to ({match[1]}), which does not exist"


def numbers_are_consecutive(files):
    """Sections are 1, 2, ..., and the equations of section 1 are (1.1), (1.2), ..."""
    section = equation = 0
    for match in re.finditer(rf"^##(?: (\d+)\.|# {NUMBER}) ", files[MATH], re.MULTILINE):
        section, equation = (section + 1, 0) if match[1] else (section, equation + 1)
        number, expected = (match[1], f"{section}") if match[1] else (match[2], f"{section}.{equation}")
        if number != expected:
            yield f"{place(MATH, files[MATH], match.start())}: has the number {number}, should be {expected}"


def named_code_exists_and_cites(files):
    """An equation names code; the code exists; and its docstring cites the equation."""
    known = definitions(files)
    for number, equation in equations(files).items():
        if not equation.code:
            yield f"{equation.where}: ({number}) names no code"
        for name in equation.code:
            if name not in known:
                yield f"{equation.where}: ({number}) names the code `{name}`, which does not exist"
            elif number not in [cited for cited, _ in known[name].cites]:
                yield f"{known[name].where}: {name} is the code of MATH ({number}), but its docstring does not cite it"


def named_tests_exist(files):
    """An equation names tests; each of them exists."""
    known = {f"{Path(file).name}::{node.name}" for file, text in files.items() if file.startswith("tests/")
             for node in parse(text).body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
    for number, equation in equations(files).items():
        if not equation.tests:
            yield f"{equation.where}: ({number}) names no test"
        for test in equation.tests:
            if test not in known:
                yield f"{equation.where}: ({number}) names the test `{test}`, which does not exist"


def citing_code_is_named(files):
    """A docstring cites equations that name its code: so a wrong number is found even if it exists."""
    known = equations(files)
    for name, definition in definitions(files).items():
        for number, where in definition.cites:
            if number in known and name not in known[number].code:
                yield f"{where}: {name} cites MATH ({number}), which is of other code: {', '.join(known[number].code)}"


def math_is_covered(files):
    """Every public function and method of the math files is named by an equation, itself or by its class."""
    known = definitions(files)
    named = {name for equation in equations(files).values() for name in equation.code} | PLUMBING
    for name, definition in known.items():
        module = next((module for module in COVERED if name.startswith(f"{module}.")), None)
        has_methods = any(other.startswith(f"{name}.") for other in known)
        if module and not (has_methods or definition.abstract or {name, ".".join(name.split(".")[:-1])} & named):
            yield (f"{definition.where}: {name} is named by no equation of MATH.md (if it computes nothing, add it to "
                   f"PLUMBING in tests/{HERE.name})")
    for name in sorted(PLUMBING - set(known)):
        yield f"tests/{HERE.name}: PLUMBING has {name}, which does not exist"


CHECKS = [cited_numbers_exist, numbers_are_consecutive, named_code_exists_and_cites, named_tests_exist,
          citing_code_is_named, math_is_covered]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_math(check):
    wrong = list(check(read()))
    assert not wrong, "\n".join([check.__doc__, *wrong])


def test_named_code_is_importable():
    for equation in equations(read()).values():
        for name in equation.code:
            parts = name.split(".")
            n = 2 if (PACKAGE / parts[0]).is_dir() else 1          # train.optim.SGD, gaussian.kl
            found = importlib.import_module(".".join(["scratchvae", *parts[:n]]))
            for part in parts[n:]:
                found = getattr(found, part)


# the worked numbers --------------------------------------------------------------------------------------------------

def row(*numbers):
    """One example, a row."""
    return np.array([numbers], float)


def log_normal(x, mu, variance):
    return float(stats.norm(mu, np.sqrt(variance)).logpdf(x))


def pixel_gap(T):
    """(13.13): (step/4) ∫ snr (-m'(snr)) d(snr) for one pixel, P(1) = 0.3, gamma from -2.5 to 4."""
    snr = np.exp(-np.linspace(4, -2.5, 400))
    return 6.5 / (T - 1) / 4 * -((snr[1:] + snr[:-1]) / 2 * np.diff(mmse(snr, 0.3))).sum()


NAMES = {"np": np, "row": row, "gaussian": gaussian, "softplus": layers.softplus, "sigmoid": layers.sigmoid,
         "step": lambda *ends: np.array(schedule.step(*ends)), "flow": flow,
         "integral": lambda f: integrate.quad(f, 0, np.inf)[0],
         "pixel_bound": lambda T: mean_bound(Diffusion(1, T, (3,), log_noise=(-2.5, 4), x_mean=[0.3], dtype=float),
                                             0.3),
         "pixel_gap": pixel_gap,
         "bernoulli": lambda x, logits: Bernoulli(x.shape[1]).log_prob(x, logits)[0],
         "lognormal": lambda x, h: LogNormal(x.shape[1]).log_prob(x, h)[0],
         "poisson": lambda x, h: Poisson(x.shape[1]).log_prob(x, h)[0],
         "categorical": lambda x, logits: Categorical(x.shape[1]).log_prob(x, logits)[0],
         "log_factorial": lambda x: mixed.log_factorial(x)[0],
         "joint": lambda x, z: log_normal(z, 0, 1) + log_normal(x, z, 1),      # the model of (5.1)
         "posterior": lambda x, z: log_normal(z, x / 2, 0.5)}


def numbers(text):
    """Yield place, given numbers, expression and stated value of each worked number: `expression` = value."""
    for block in re.finditer(r"^number: (.*?)\n\n", text, re.MULTILINE | re.DOTALL):
        plain = re.sub(r"`[^`]*`", "", block[1])
        given = {name: np.array(ast.literal_eval(value)) for name, value in
                 re.findall(r"(\w+) = (\[[-\d.,\s\[\]]*\]|-?\d[\d.]*\b)", plain)}
        for pair in re.finditer(r"`([^`]*)`\s+=\s+(-?\d[\d.]*\b|\[[-\d.,\s\[\]]*\])", block[1]):
            yield place(MATH, text, block.start()), given, " ".join(pair[1].split()), pair[2]


def wrong_numbers(text):
    for where, given, expression, stated in numbers(text):
        value = np.asarray(eval(expression, {**NAMES, **given}))
        digits = max([len(decimals) for decimals in re.findall(r"\.(\d+)", stated)], default=0)
        if not np.allclose(value, ast.literal_eval(stated), rtol=1e-9, atol=0.51 * 10.0 ** -digits):
            yield f"{where}: {expression} = {stated} should be {value}"


def unchecked_numbers(text):
    """Yield the place of each number that stands in no expression: after "number:", or in a line by itself."""
    for block in re.finditer(r"^number: (.*?)\n\n", text, re.MULTILINE | re.DOTALL):
        left = re.sub(r"`[^`]*`\s+=\s+(-?\d[\d.]*\b|\[[-\d.,\s\[\]]*\])|\(\d+\.\d+\)", "", block[1])
        if re.search(r"\d\.\d{3}|[-+*/·] ?[\d.]+\)* = -?[\d.]", left):
            yield f"{place(MATH, text, block.start())}: has a number that is checked by no expression: {block[1]}"
    for line in re.finditer(r"^(?:    .*[^(\d]\d+\.\d+[^)\d].*|In numbers.*|measured: (?!.*`python).*)", text,
                            re.MULTILINE):
        yield f"{place(MATH, text, line.start())}: this number should stand behind number:, in an expression: {line[0]}"


def test_every_number_is_checked():
    text = read()[MATH]
    assert not list(unchecked_numbers(text)), "\n".join(unchecked_numbers(text))
    for more in ("number: and so 2 / 3 = 0.6667\n\n", "    w = 0.25 nats\n\n", "In numbers: x = 3\n\n",
                 "number: it is 0.417\n\n"):
        assert len(list(unchecked_numbers(text + "\n" + more))) == 1, more


def test_every_worked_number_is_what_the_library_computes():
    text = read()[MATH]
    wrong = list(wrong_numbers(text))
    assert not wrong, "\n".join(wrong)
    assert len(list(numbers(text))) >= 50 and text.count("\nnumber: ") >= 25


def test_a_wrong_number_is_found():
    text = read()[MATH]
    assert "= 0.6931" in text
    wrong, = wrong_numbers(text.replace("= 0.6931", "= 0.6932", 1))
    assert "softplus(0.0) = 0.6932 should be 0.693147" in wrong


BROKEN = [                                             # what is changed, where it first stands, and what must be said
    ("scratchvae/gaussian.py", "MATH (3.5)", "MATH (3.9)",
     r"scratchvae/gaussian\.py:\d+: cites MATH \(3\.9\), but MATH\.md has no equation of that number"),
    ("scratchvae/gaussian.py", "MATH (3.5)", "",
     r"scratchvae/gaussian\.py:\d+: gaussian\.kl is the code of MATH \(3\.5\), but its docstring does not cite it"),
    ("scratchvae/gaussian.py", "MATH (3.5)", "MATH (3.4)",
     r"scratchvae/gaussian\.py:\d+: gaussian\.kl cites MATH \(3\.4\), which is of other code: gaussian\.entropy, .*"),
    ("scratchvae/hvae.py", "(7.2), (7.3)", "(7.2) and (7.9)", r"scratchvae/hvae\.py:\d+: cites MATH \(7\.9\), but .*"),
    ("scratchvae/gaussian.py", "def kl(", "def divergence(",
     r"scratchvae/MATH\.md:\d+: \(3\.5\) names the code `gaussian\.kl`, which does not exist"),
    ("scratchvae/gaussian.py", "def halves(", "def cosh(h):\n    return h\n\n\ndef halves(",
     r"scratchvae/gaussian\.py:\d+: gaussian\.cosh is named by no equation of MATH\.md .*"),
    ("tests/test_gaussian.py", "def test_entropy_is", "def test_entropy_was",
     r"scratchvae/MATH\.md:\d+: \(3\.4\) names the test `test_gaussian\.py::test_entropy_is_that_of_scipy`, which .*"),
    (MATH, "### (3.5)", "### (3.6)", r"scratchvae/MATH\.md:\d+: has the number 3\.6, should be 3\.5"),
    (MATH, "By (1.1)", "By (1.10)", r"scratchvae/MATH\.md:\d+: refers to \(1\.10\), which does not exist"),
    (MATH, "`train.optim.SGD`", "", r"scratchvae/MATH\.md:\d+: \(9\.1\) names no code"),
]


@pytest.mark.parametrize("file, old, new, says", BROKEN, ids=[f"{old} to {new}"[:40] for _, old, new, _ in BROKEN])
def test_one_broken_citation_is_found_and_named(file, old, new, says):
    """The checker is checked: each of these changes to the text gives a message that says what is wrong, and where."""
    files = read()
    assert old in files[file]
    files[file] = files[file].replace(old, new, 1)
    messages = [message for check in CHECKS for message in check(files)]
    assert any(re.fullmatch(says, message) for message in messages), messages
