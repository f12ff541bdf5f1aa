"""`kdhub.api`: what plugins may import, and that this tree's own need nothing else."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from kdhub import api

ROOT = Path(__file__).resolve().parent.parent
PLUGIN_FILES = sorted(path for path in ROOT.glob("plugins/*/kd*/**/*.py") if "configs" not in path.parts)
ALLOWED = {"kdhub.api", "kdhub.testing"}


@pytest.mark.parametrize("name", dir(api))
def test_every_name_is_there(name):
    """A name that is promised and missing breaks a stranger's plugin at its first import."""
    assert getattr(api, name) is not None


def test_type_checkers_see_the_same_names():
    """A name that only the one of both lists has is an error in the author's editor, or at run time."""
    tree = ast.parse(Path(api.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname: node.module
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(seen) == dir(api)
    assert all(getattr(importlib.import_module(module), name) is getattr(api, name) for name, module in seen.items())


def test_an_unknown_name_is_refused():
    """A lazy module that answers anything would let a slip through to the middle of a run."""
    with pytest.raises(AttributeError, match="UsageEror"):
        getattr(api, "UsageEror")  # noqa: B009 (mypy knows that it is not there)


def test_importing_it_imports_no_torch():
    """Manifests import from here, and `kdhub plugins list` must not wait for torch."""
    code = "import sys; from kdhub.api import LossSpec, hookimpl, UsageError; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=lambda path: str(path.relative_to(ROOT / "plugins")))
def test_plugins_of_this_tree_import_nothing_else(path):
    """What our own plugins need beyond the promised names, a stranger's plugin needs too, and it would break when we move it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        for module in modules:
            assert module in ALLOWED or module.split(".")[0] != "kdhub", f"{path.name}:{node.lineno} imports {module}"
