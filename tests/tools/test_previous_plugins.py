"""`.ci/previous_plugins.py`: plugins of an earlier commit beside the core of the checkout."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = """
from kdhub.api import Component, PluginInfo, Recipe, hookimpl

@hookimpl
def kdhub_plugin_info():
    return PluginInfo(summary="Old", api_level=1)

@hookimpl
def kdhub_components():
    yield Component(kind="model", target="kdold.parts:Good", summary="s")
    yield Component(kind="metric", target="kdold.parts:Gone", summary="s")

@hookimpl
def kdhub_recipes():
    yield Recipe(name="slip", path="slip.py", summary="s", task="t", teacher="t", student="s", budget="cpu-minutes")
"""
PARTS = """
from torch import nn

class Good(nn.Module):
    pass
"""
PROJECT = """
[build-system]
requires = ["hatchling>=1.25"]
build-backend = "hatchling.build"
[project]
name = "kdhub-old"
version = "0.0.1"
[project.entry-points."kdhub.plugins"]
kdold = "kdold.plugin"
[tool.hatch.build.targets.wheel]
packages = ["kdold"]
"""


@pytest.fixture
def tool(monkeypatch):
    """The script as a module."""
    monkeypatch.syspath_prepend(ROOT / ".ci")
    yield importlib.import_module("previous_plugins")
    sys.modules.pop("previous_plugins", None)


@pytest.mark.timeout(200)
def test_what_a_new_core_breaks_in_an_old_plugin_is_named(tool, tmp_path):
    """A component that imports no more, or a recipe that no longer passes, was found by whoever updated the core."""
    package = tmp_path / "old" / "kdold"
    package.mkdir(parents=True)
    (package.parent / "pyproject.toml").write_text(PROJECT)
    for name, text in (
        ("__init__", ""),
        ("plugin", MANIFEST),
        ("parts", PARTS),
        ("slip", 'model = dict(type="kdold.God")'),
    ):
        (package / f"{name}.py").write_text(text)
    told = tool.probe(tool.install([package.parent], tmp_path))["kdold"]
    assert (told["components"], told["recipes"]) == (2, 1)
    faults = "\n".join(told["faults"])
    assert "Gone: " in faults
    assert "recipe slip: " in faults
    assert "Good: " not in faults


def test_a_manifest_that_does_not_load_is_named(tool, tmp_path):
    """The worst breach has no components to count, and would leave an empty list that looks fine."""
    package = tmp_path / "old" / "kdold"
    package.mkdir(parents=True)
    (package.parent / "pyproject.toml").write_text(PROJECT)
    (package / "__init__.py").write_text("")
    (package / "plugin.py").write_text("from kdhub.api import NoMore")
    (fault,) = tool.probe(tool.install([package.parent], tmp_path))["kdold"]["faults"]
    assert "NoMore" in fault


def test_the_plugins_of_a_commit_are_unpacked(tool, tmp_path):
    """The plugins of the working tree would always fit."""
    if subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, check=False).returncode:
        pytest.skip("not a checkout of git")
    projects = tool.plugins_of("HEAD", tmp_path)
    assert "kdhub-classification" in [one.name for one in projects]
    assert all(tmp_path in one.parents for one in projects)
    with pytest.raises(SystemExit, match="name a commit"):
        tool.plugins_of("no-such-commit", tmp_path)
