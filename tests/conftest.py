"""What every test of the tree starts from: no plugin switches from outside, no model hub, one thread."""

import os
from pathlib import Path

import pytest

# set before the first import of torch or transformers, which read them once
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def _no_switches_from_outside(monkeypatch):
    """A developer's KDHUB_PLUGINS must not decide whether a test passes."""
    for name in ("KDHUB_PLUGINS", "KDHUB_DISABLE_PLUGINS", "KDHUB_PLUGIN_ERRORS", "KDHUB_TRACE_PLUGINS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def page_blocks():
    """The fenced blocks of a page of the documentation, in one language."""

    def blocks(page, language="python"):
        text = (Path(__file__).parents[1] / page).read_text(encoding="utf-8")
        return [block.split("```")[0] for block in text.split(f"```{language}\n")[1:]]

    return blocks
