"""Modules that stand beside the package, and are imported as if one of their folder were run."""

import importlib
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DEMOS = HERE.parent / "demos"


def load(folder, name):
    """Import a module of a folder; what it imports is looked for there first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        return importlib.import_module(name)
