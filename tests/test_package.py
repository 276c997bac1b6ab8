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
ORDER = ["check", "workspace", "layers", "mlp", "gaussian", "likelihood", "model", "autoencoder", "vae", "hvae",
         "optim", "scaling", "tables", "files", "download", "datasets", "progress", "interrupt", "training",
         "checkpoint", "evaluation", "gradcheck", "exact", "plotting", "options", "examples", "runs", "output", "cli"]
ALLOWED = {"numpy", "scipy", "matplotlib", *sys.stdlib_module_names}


def imports(path):
    """Return the names of the modules that a file imports, those of the package with a dot before them."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                names.update([f".{node.module}"] if node.module else [f".{alias.name}" for alias in node.names])
            else:
                names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("name", ORDER)
def test_a_file_imports_only_files_above_it(name):
    inner = {other[1:] for other in imports(PACKAGE / f"{name}.py") if other.startswith(".")} - {"__version__"}
    assert inner <= set(ORDER[:ORDER.index(name)]), f"{name}.py imports files that the reader has not seen yet"


def test_every_file_has_its_place_in_the_order():
    assert {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"} == set(ORDER)


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.name)
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
    for path in PACKAGE.glob("*.py"):
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


def code_lines(path):
    """Count the lines that hold code: of every statement but docstrings, without blank lines and comments."""
    source = path.read_text()
    counted = {node.lineno for node in ast.walk(ast.parse(source)) if hasattr(node, "lineno")}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            doc = node.body[0]
            counted -= set(range(doc.lineno, doc.end_lineno + 1))
    return len(counted)
