"""The configs that docs/methods/bpkd.md compares."""

from pathlib import Path

import pytest

from kdhub.config import load_config
from kdhub.registry import find, init

CONFIGS = Path(__file__).resolve().parents[3] / "configs/segmentation/camvid"
METHODS = sorted(CONFIGS.glob("*_teacher-lite2_*.py"))


@pytest.mark.parametrize("config", METHODS, ids=lambda path: path.name.partition("_")[0])
def test_every_method_leaves_void_pixels_out(config):
    """A rival that trains on void pixels, which BPKD never sees, loses or wins by the labels and not by its loss."""
    init()
    for objective in load_config(config).model.objectives.values():
        spec = find(objective.loss.type, "loss")
        assert "labels" in {**spec.fields, **objective.get("batch", {})}


def test_all_methods_of_the_table_are_looked_at():
    """A glob that finds nothing would let the test above pass."""
    assert {path.name.partition("_")[0] for path in METHODS} == {"bpkd", "cwd", "ifvd", "pixelkd"}
