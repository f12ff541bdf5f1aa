"""What users install: wheels of the core and of the plugins that work outside the tree."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Build all wheels and install them, without their dependencies, into a folder of their own."""
    folder = tmp_path_factory.mktemp("wheels")
    projects = (ROOT, *(ROOT / "plugins").iterdir())
    for project in projects:
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", project]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    wheels = sorted((folder / "dist").glob("*.whl"))
    assert len(wheels) == len(projects)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        folder / "site",
    ]
    subprocess.run([*command, *wheels], check=True, capture_output=True)
    return folder / "site"


def run(site, *code):
    environ = {**os.environ, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, *code]
    done = subprocess.run(command, cwd=site.parent, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_installed_packages_are_the_ones_that_run(installed):
    """Run from the checkout, the tests below would say nothing about the wheels."""
    for package in ("kdhub", "kddet", "mmcv_ops_torchvision", "kdret", "kdseg", "kdtrg"):
        assert str(installed) in run(installed, "-c", f"import {package}; print({package}.__file__)")


def test_plugins_and_recipes_are_found(installed):
    """A wheel without its entry point or its configs installs well and offers nothing."""
    recipes = ("kdret:docstrings-minilm", "kdseg:camvid-teacher", "kdseg:camvid-small", "kdtrg:digits-trg")
    listed = run(installed, "-m", "kdhub", "list", "recipes")
    for recipe in recipes:
        assert recipe in listed
        assert "no errors" in run(installed, "-m", "kdhub", "check", recipe)


def test_the_templates_are_in_the_wheel(installed):
    """Package data that is left out shows only at the end of somebody's first run, or in a new plugin without files."""
    assert (installed / "kdhub/scaffold/templates/common/.gitignore.j2").is_file()
    assert list((installed / "kdhub/engine/templates").glob("*.j2"))
    assert (installed / "kdhub/py.typed").is_file()
