"""Listing stays cheap: a user waits for `--help` and `plugins list`, and every import of a plugin adds up."""

import json
import os
import subprocess
import sys

import pytest

from kdhub.testing import write_distribution

HEAVY = {"torch", "mmcv", "cv2", "faiss", "transformers", "sentence_transformers", "mmengine"}


def modules_after(code, path=""):
    """Names of the modules in a fresh Python after running ``code``."""
    python_path = os.pathsep.join(filter(None, (str(path), os.environ.get("PYTHONPATH"))))
    report = "import json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        env={**os.environ, "PYTHONPATH": python_path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import kdhub",
        "from kdhub.plugins import load_plugins; manager = load_plugins(); manager.components(); manager.commands()",
        "import kdhub.testing.pytest_plugin",
    ],
)
def test_nothing_heavy_is_imported(code):
    """With every plugin of this environment installed: torch alone takes three seconds."""
    assert not HEAVY & modules_after(code)


def test_declaring_the_scopes_does_not_import_torch():
    """`kdhub check` needs mmengine's registries and configs, and must not wait for torch."""
    assert not (HEAVY - {"mmengine"}) & modules_after("import kdhub; kdhub.init()")


def test_the_scan_imports_no_plugin(tmp_path):
    """A plugin that takes a minute to import, or that is blocked because it crashes, costs nothing to find."""
    write_distribution(
        tmp_path,
        "kdslow",
        files={"kdslow/__init__.py": "import time; time.sleep(60)", "kdslow/plugin.py": ""},
        entry_points={"kdslow": "kdslow.plugin"},
    )
    code = "from kdhub.plugins.scan import scan; assert 'kdslow' in [found.name for found in scan().found]"
    assert not {"kdslow", "kdslow.plugin"} & modules_after(code, tmp_path)
    code = (
        "from kdhub.plugins import Switches, load_plugins\n"
        "row, = [row for row in load_plugins(Switches(blocked=frozenset({'kdslow'}))).plugins if row.scope == 'kdslow']\n"
        "assert row.status == 'disabled'"
    )
    assert not {"kdslow", "kdslow.plugin"} & modules_after(code, tmp_path)


def test_the_public_names_are_there_when_asked_for():
    """A lazy name that is misspelt in the table fails only for the user."""
    code = (
        "import kdhub, kdhub.testing\n"
        "for module in (kdhub, kdhub.testing) * 2:\n"  # twice: what the first access imports must not hide a function
        "    values = [getattr(module, name) for name in module.__all__]\n"
        "    assert module is kdhub or all(map(callable, values))\n"
        "assert set(kdhub.__all__) <= set(dir(kdhub))"
    )
    assert "torch" in modules_after(code)
