"""Documentation that is held to the code."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kdhub
from kdhub import hookspec
from kdhub.config import check_config, load_config

ROOT = Path(__file__).resolve().parent.parent
HOOKS = [name for name in vars(hookspec) if name.startswith("kdhub_")]


@pytest.mark.parametrize("name", HOOKS)
def test_hook_page_has_the_exact_signature(name):
    """An author who follows a page with an old signature gets a plugin that is broken on load."""
    page = (ROOT / "docs/reference/hooks.md").read_text(encoding="utf-8")
    signature = str(inspect.signature(getattr(hookspec, name))).replace("'", "")
    assert f"### `{name}{signature}`" in page


def test_hook_page_has_no_hook_that_is_gone():
    """A page that documents a removed hook sends authors to a function nobody calls."""
    page = (ROOT / "docs/reference/hooks.md").read_text(encoding="utf-8")
    headings = {line.split("`")[1].split("(")[0] for line in page.splitlines() if line.startswith("### `")}
    assert headings == set(HOOKS)


def python_blocks(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    return [block.split("```")[0] for block in text.split("```python\n")[1:]]


def test_readme_config_passes_the_check(tmp_path):
    """The first thing a user copies must be right."""
    config = tmp_path / "config.py"
    config.write_text(python_blocks("README.md")[0], encoding="utf-8")
    report = check_config(load_config(config), kdhub.init())
    assert report.ok, [finding.line() for finding in report.errors]


def test_the_first_plugin_of_the_guide_works(tmp_path):
    """A guide whose first step fails has no second reader."""
    (tmp_path / "my_loss.py").write_text(python_blocks("docs/how-to/write-a-plugin.md")[0], encoding="utf-8")
    command = [sys.executable, "-m", "kdhub", "-p", "./my_loss.py", "info", "my_loss.HalfMSE"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", ["README.md", *(str(p.relative_to(ROOT)) for p in sorted(ROOT.glob("docs/**/*.md")))])
def test_no_page_holds_a_placeholder(page):
    """A number that was to be measured and was not must not be published as a word in capitals."""
    assert not re.search(r"RESULTS_|DEMO_TABLE|BENCHMARKS|TODO", (ROOT / page).read_text(encoding="utf-8"))
