"""Documentation that is held to the code."""

import inspect
from pathlib import Path

import pytest

from kdhub import hookspec

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
