"""The house: what an import costs, who may import whom, and that the README says what is true."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import scratchvae

PACKAGE = Path(scratchvae.__file__).parent
README = PACKAGE.parent / "README.md"
MATH = ["layers", "mlp", "gaussian", "likelihood", "discrete", "mixed", "model", "autoencoder", "vae", "hvae",
        "topdown", "schedule", "diffusion", "writings", "importance"]
ORDER = ["startup", "check", *MATH, "optim", "datasets", "progress", "workers", "parallel", "training", "checkpoint",
         "evaluation", "plotting", "gradcheck", "exact"]
DIAGNOSE = ["reference", "suspect", "uses", "substitutes", "ratios", "mistakes", "finding", "pairs", "examine",
            "recording", "wholes", "flow", "walk"]
EXPLAIN = ["source", "trace", "compare", "verdict", "equations", "lines", "mathml", "pictures",
           "figures", "style", "page"]
PROGRAM = ["scaling", "tables", "columns", "files", "download", "mnist", "manual", "options", "examples", "runs",
           "folders", "output", "asked", "commands", "program"]
ALLOWED = {"numpy", "matplotlib", *sys.stdlib_module_names}


def imports(path):
    """Return the names of the modules that a file imports, those of the package from its root: .layers, .cli.files."""
    names, package = set(), path.relative_to(PACKAGE).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            root = package[:len(package) + 1 - node.level]
            inner = [(*root, node.module)] if node.module else [(*root, alias.name) for alias in node.names]
            names.update("." + ".".join(parts) for parts in inner)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0])
    return names


def inner(path):
    return {name[1:] for name in imports(path) if name.startswith(".")} - {"__version__"}


@pytest.mark.parametrize("name", ORDER)
def test_a_file_imports_only_files_that_stand_before_it(name):
    """So nothing outside cli/ imports anything of it, and the math least of all."""
    assert inner(PACKAGE / f"{name}.py") <= set(ORDER[:ORDER.index(name)]), \
        f"{name}.py imports files that the reader has not seen yet"


@pytest.mark.parametrize("name", DIAGNOSE)
def test_a_file_of_the_diagnosis_imports_the_library_and_files_that_stand_before_it(name):
    seen = {*ORDER, *(f"diagnose.{other}" for other in DIAGNOSE[:DIAGNOSE.index(name)])}
    assert inner(PACKAGE / "diagnose" / f"{name}.py") <= seen, f"diagnose/{name}.py imports files that stand after it"


@pytest.mark.parametrize("name", EXPLAIN)
def test_a_file_of_the_page_imports_the_library_and_files_that_stand_before_it(name):
    seen = {*ORDER, *(f"explain.{other}" for other in EXPLAIN[:EXPLAIN.index(name)])}
    inner_names = inner(PACKAGE / "explain" / f"{name}.py")
    assert inner_names <= seen, f"explain/{name}.py imports files that stand after it"


@pytest.mark.parametrize("name", PROGRAM)
def test_a_file_of_the_program_imports_the_library_and_files_that_stand_before_it(name):
    seen = {*ORDER, "diagnose", "explain", *(f"cli.{other}" for other in PROGRAM[:PROGRAM.index(name)])}
    assert inner(PACKAGE / "cli" / f"{name}.py") <= seen, f"cli/{name}.py imports files that stand after it"


def test_the_math_imports_numpy_and_nothing_else():
    for name in MATH:
        outer = {other for other in imports(PACKAGE / f"{name}.py") if not other.startswith(".")}
        assert outer <= {"__future__", "numpy", "typing", "collections", "copy", "dataclasses"}, name


def test_the_order_is_held(tmp_path, monkeypatch):
    """The test above is tested: a file of the math that imports one of the program is found."""
    (tmp_path / "vae.py").write_text("from . import gaussian\nfrom .cli.files import load\nfrom .cli import tables\n")
    monkeypatch.setattr("test_package.PACKAGE", tmp_path)
    assert inner(tmp_path / "vae.py") == {"gaussian", "cli.files", "cli"}
    with pytest.raises(AssertionError, match="vae.py imports files that the reader has not seen yet"):
        test_a_file_imports_only_files_that_stand_before_it("vae")


def test_every_file_has_its_place_in_the_order():
    assert {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"} == set(ORDER)
    assert {path.stem for path in PACKAGE.glob("diagnose/*.py")} - {"__init__"} == set(DIAGNOSE)
    assert {path.stem for path in PACKAGE.glob("explain/*.py")} - {"__init__"} == set(EXPLAIN)
    assert {path.stem for path in PACKAGE.glob("cli/*.py")} - {"__init__"} == set(PROGRAM)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_packages_are_the_four_and_the_core_needs_no_pictures(path):
    outer = {name for name in imports(path) if not name.startswith(".")}
    assert outer <= ALLOWED
    assert path.stem == "plotting" or "matplotlib" not in outer


def test_import_is_light():
    """In a new process: no scipy.stats, no matplotlib, nothing that learns by itself."""
    code = "import sys, scratchvae; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"scipy.stats", "scipy.special", "matplotlib", "torch", "jax", "pytest"} & set(loaded)


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
def test_the_readmes_wrong_backward_is_diagnosed_as_it_says(capsys):
    text = README.read_text(encoding="utf-8")
    pattern = r"```python\n(import numpy as np\nfrom scratchvae.diagnose.*?)```\n\n```text\n(.*?)```"
    code, = re.findall(pattern, text, re.DOTALL)
    exec(code[0], {})
    assert capsys.readouterr().out == code[1]


def code_lines(path):
    """Count the lines that hold code: of every statement but docstrings, without blank lines and comments."""
    source = path.read_text()
    counted = {node.lineno for node in ast.walk(ast.parse(source)) if hasattr(node, "lineno")}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            doc = node.body[0]
            counted -= set(range(doc.lineno, doc.end_lineno + 1))
    return len(counted)
