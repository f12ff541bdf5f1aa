"""Tests here share the small stores of `small_store`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_store import VALUES, fill


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of twenty records in two blocks: draw 1 of sample i holds the values of 100 + i."""
    return fill(tmp_path / "store", VALUES)
