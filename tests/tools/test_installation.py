"""What the repository asks pip to install, and what its build does where pip reaches no index."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]


def named():
    """The names of all distributions in constraints and in the dependencies and extras of every package."""
    lines = [
        line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line[:1] not in "#"
    ]
    for path in (ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")):
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        lines += project["dependencies"]
        lines += [line for extra in project.get("optional-dependencies", {}).values() for line in extra]
    return {Requirement(line).name for line in lines}


@pytest.mark.parametrize("pattern", ["opencv-.*", "mmengine|mmengine-lite|onedl-mmengine"])
def test_of_distributions_that_own_one_folder_one_is_named(pattern):
    """Two of them write into one folder: which files win depends on the order, and removing one breaks the other."""
    assert len([name for name in named() if re.fullmatch(pattern, name)]) == 1


@pytest.mark.parametrize(("ci", "skipped"), [("", True), ("1", False)])
def test_lower_bounds_without_an_index(ci, skipped):
    """On a train `make test` must run all that needs no network; in CI a step that is skipped is a check that is lost."""
    done = subprocess.run(
        [sys.executable, ROOT / ".ci/lower_bounds.py"],
        env={**os.environ, "PIP_NO_INDEX": "1", "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) is skipped, done.stderr
    assert ("lower bounds: skipped, as pip reaches no package index" in done.stdout) is skipped


def test_mypy_checks_every_plugin():
    """A plugin that no type checker reads keeps wrong annotations, which its users' checkers then believe."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    packages = {str(path.parent.relative_to(ROOT)) for path in ROOT.glob("plugins/*/*/__init__.py")}
    assert packages <= set(tools["mypy"]["files"])
    assert tools["mypy"]["strict"]
    assert not any("untyped_defs" in key for override in tools["mypy"]["overrides"] for key in override)
