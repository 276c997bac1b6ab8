"""The house: what an import costs, who may import whom, and that the README says what is true."""

import ast
import math
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from beside import DEMOS, load

import scratchvae
from scratchvae import VAE

PACKAGE = Path(scratchvae.__file__).parent
README = PACKAGE.parent / "README.md"
FIGURES = PACKAGE.parent / ".ci" / "figures"
ORDER = {                                              # of the files in each folder; the root is the math
    "": ["startup", "check", "layers", "mlp", "gaussian", "compare", "likelihood", "mixed", "objective",
         "model", "autoencoder", "vae", "hvae", "topdown", "schedule", "diffusion", "flow", "prior", "conditions",
         "importance"],
    "data": ["datasets", "scaling", "tables", "columns", "files", "writing", "download", "mnist"],
    "train": ["optim", "progress", "schedules", "losses", "state", "step", "processes", "team", "evaluation", "fit",
              "budget", "imputation", "estimator", "checkpoint", "plotting"],
    "verify": ["dual", "noise", "derivative", "steps", "pairs", "first_wrong", "gradcheck", "exact",
               "diffusion_forms"],
    "diagnose": ["evidence", "numbers", "watch", "operations", "finding", "examine", "passes"],
    "explain": ["notation", "equations", "source", "trace", "evaluate", "verdict", "mathml", "pictures",
                "figures", "page"],
    "cli": ["options", "examples", "runs", "folders", "output", "inputs", "commands", "program"]}
MAY_IMPORT = {"": [], "data": [""], "train": ["", "data"], "verify": [""], "diagnose": ["", "verify"],
              "explain": ["", "data", "verify"], "cli": ["", "data", "train", "verify", "diagnose", "explain"]}
PLACES = {tuple(filter(None, (folder, name))): f"{folder}/{name}" for folder, names in ORDER.items() for name in names}
FILES = [(folder, name) for folder, names in ORDER.items() for name in names]
ALLOWED = {"numpy", "scipy", "matplotlib", *sys.stdlib_module_names}


def statements(path):
    """Yield what runs when the file is imported: its module level, without the insides of functions."""
    waiting = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while waiting:
        node = waiting.pop()
        if not isinstance(node, (ast.FunctionDef, ast.Lambda)):
            yield node
            waiting.extend(ast.iter_child_nodes(node))


def imports(path, nodes):
    """Return the modules that a file imports; those of the package as paths from its root: /vae, cli/options."""
    names, package = set(), path.relative_to(PACKAGE).parts[:-1]
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            start = (*package[:len(package) + 1 - node.level], *filter(None, (node.module or "").split(".")))
            for alias in node.names:                   # a file, or a name in a file or in a folder's __init__
                parts = (*start, alias.name) if PLACES.get((*start, alias.name)) else start
                names.add(PLACES.get(parts, "/".join(parts) + "/"))
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0])
    return names - {"/"}                               # __version__


def at_import(folder, name):
    path = PACKAGE / folder / f"{name}.py"
    return imports(path, statements(path))


def seen_before(folder, name):
    """Return what a file may import: the files above it in its folder, and all of the folders below it."""
    files = [f"{folder}/{other}" for other in ORDER[folder][:ORDER[folder].index(name)]]
    return {*files, *(f"{other}/{module}" for other in MAY_IMPORT[folder] for module in ("", *ORDER[other]))}


@pytest.mark.parametrize("folder, name", FILES, ids=lambda part: part or "root")
def test_a_file_imports_only_what_stands_before_it(folder, name):
    """Files above it in its folder, and folders below its own; so nothing imports cli/, and the math least of all."""
    inner = {other for other in at_import(folder, name) if "/" in other}
    assert inner <= seen_before(folder, name), f"{folder}/{name}.py imports what the reader has not seen yet"


@pytest.mark.parametrize("name", ORDER[""][2:])
def test_the_math_imports_numpy_and_nothing_else(name):
    outer = {other for other in at_import("", name) if "/" not in other}
    assert outer <= {"__future__", "numpy", "typing", "collections", "copy", "dataclasses"}, f"{name}.py"


@pytest.mark.parametrize("line, found", [
    ("from .cli.options import parser", "imports what the reader has not seen yet"),
    ("from .train import fit", "imports what the reader has not seen yet"),
    ("from . import importance", "imports what the reader has not seen yet"), ("import multiprocessing", "vae.py")])
def test_the_rules_are_held(tmp_path, monkeypatch, line, found):
    """The tests above are tested: a file of the math that imports the program, or processes, is found."""
    (tmp_path / "vae.py").write_text(f"from . import gaussian\n{line}\n")
    monkeypatch.setattr("test_package.PACKAGE", tmp_path)
    with pytest.raises(AssertionError, match=found):
        test_a_file_imports_only_what_stands_before_it("", "vae")
        test_the_math_imports_numpy_and_nothing_else("vae")


def test_every_file_has_its_place_in_the_order():
    for folder, names in ORDER.items():
        assert {path.stem for path in (PACKAGE / folder).glob("*.py")} - {"__init__", "__main__"} == set(names), folder
    assert len(list(PACKAGE.glob("*.py"))) <= 22


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_packages_are_the_four_and_the_core_needs_no_pictures(path):
    outer = {name for name in imports(path, ast.walk(ast.parse(path.read_text()))) if "/" not in name}
    assert outer <= ALLOWED
    assert path.stem == "plotting" or "matplotlib" not in outer
    assert path.stem == "flow" or "scipy" not in outer


def test_import_is_light():
    """In a new process: no scipy.stats, no matplotlib, nothing that learns by itself."""
    code = "import sys, scratchvae; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"scipy.stats", "scipy.special", "matplotlib", "torch", "jax", "pytest",
                "multiprocessing", "concurrent"} & set(loaded)


def test_no_global_random_state_and_no_pickle():
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text()
        assert not re.search(r"np\.random\.(seed|rand|randn|normal|uniform|shuffle|permutation|choice)\(", source), path
        assert not re.search(r"\bimport pickle\b|allow_pickle=True", source), path


@pytest.mark.skipif(not README.exists(), reason="the README is not installed with the package")
def test_line_counts_of_the_readme_are_true():
    """The reading order is a table: file, lines of code (no docstrings, comments, blank lines), what it is."""
    rows = re.findall(r"^\| \[`(\w+)\.py`\]\(scratchvae/\w+\.py\) \| (\d+) \|", README.read_text(), re.MULTILINE)
    assert len(rows) >= 8
    wrong = {name: code_lines(PACKAGE / f"{name}.py") for name, stated in rows
             if int(stated) != code_lines(PACKAGE / f"{name}.py")}
    assert not wrong, f"the README should say: {wrong}"


@pytest.mark.skipif(not README.exists(), reason="the README is not installed with the package")
def test_the_readme_shows_the_vae_as_it_is():
    """Statement by statement, `bound` and `backward` are those of vae.py; comments and types may be left out."""
    shown, = re.findall(r"```python\n(def bound\(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    there = {node.name: node for node in ast.walk(ast.parse((PACKAGE / "vae.py").read_text(encoding="utf-8")))
             if isinstance(node, ast.FunctionDef)}
    functions = ast.parse(shown).body
    assert [function.name for function in functions] == ["bound", "backward"]
    for function in functions:
        whole = there[function.name]
        assert ast.get_docstring(whole) and not ast.get_docstring(function)
        assert [ast.unparse(line) for line in function.body] == [ast.unparse(line) for line in whole.body[1:]]
        arguments = [argument.arg for argument in whole.args.args]
        assert [argument.arg for argument in function.args.args] == arguments
        assert ast.dump(ast.Tuple(function.args.defaults)) == ast.dump(ast.Tuple(whole.args.defaults))


@pytest.mark.skipif(not README.exists(), reason="the README is not installed with the package")
def test_the_readmes_step_of_gradient_descent_makes_the_loss_smaller():
    step, = re.findall(r"```python\n(elbo, cache = .*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(step.strip().splitlines()) == 4
    names = {"np": np, "model": VAE(6, 2), "x": np.eye(6)}
    exec(step, names)
    before = names["elbo"].loss()
    exec(step, names)
    assert names["elbo"].loss() < before


@pytest.mark.skipif(not README.exists(), reason="the README is not installed with the package")
def test_the_readmes_wrong_backward_is_diagnosed_as_it_says(capsys):
    text = README.read_text(encoding="utf-8")
    pattern = r"```python\n(import numpy as np\nfrom scratchvae.diagnose.*?)```\n\n```text\n(.*?)```"
    code, = re.findall(pattern, text, re.DOTALL)
    exec(code[0], {})
    assert capsys.readouterr().out == code[1]


@pytest.mark.skipif(not README.exists(), reason="the README is not installed with the package")
def test_the_readme_has_as_many_planted_bugs_as_the_gallery():
    stated, = re.findall(r"(\d+) planted bugs that must be caught", README.read_text(encoding="utf-8"))
    assert int(stated) == len(load(DEMOS, "gallery.bugs").BUGS)


@pytest.mark.skipif(not README.exists(), reason="the README is not installed with the package")
def test_parameters_in_the_readmes_table_are_those_of_lesson_13():
    lesson, readme = (path.read_text(encoding="utf-8") for path in (DEMOS / "13_one_bound.py", README))
    code, = re.findall(r"^models = \{.*?^\}", lesson, re.MULTILINE | re.DOTALL)
    names = {**vars(scratchvae), "math": math, "options": {}}
    exec(code, names)
    table = readme.partition("**All models in one table**")[2].partition("\n\n")[2].partition("\n\n")[0]
    stated = [int(row.split(" | ")[4].replace(",", "")) for row in table.splitlines()[2:]]
    assert stated == [model.theta.size for model in names["models"].values()]


@pytest.mark.skipif(not FIGURES.exists(), reason=".ci is not installed with the package")
def test_every_figure_that_ci_compares_is_in_the_readme():
    """And one that is printed otherwise is found, and named."""
    ci = runpy.run_path(str(FIGURES))
    readme = README.read_text(encoding="utf-8")
    silent = list(ci["wrong"](readme, ""))
    assert len(silent) == len(ci["FIGURES"]) and all("no command printed" in one for one in silent)
    tests, = re.findall(r"Some (\d+) tests", readme)
    printed = f"{tests} passed, 3 skipped\n1 gradients agree with the complex step: largest relative error 1.0e-13\n"
    found = [one for one in ci["wrong"](readme, printed) if "was printed" in one]
    assert len(found) == 1 and re.fullmatch(r"the number of gradients: README.md says \d+, but 1 was printed", found[0])


def code_lines(path):
    """Count the lines that hold code: of every statement but docstrings, without blank lines and comments."""
    source = path.read_text()
    counted = {node.lineno for node in ast.walk(ast.parse(source)) if hasattr(node, "lineno")}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            doc = node.body[0]
            counted -= set(range(doc.lineno, doc.end_lineno + 1))
    return len(counted)
