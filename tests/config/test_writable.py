"""What stands in a config must be writable as one."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from kdhub.config.read.writable import config_text


@pytest.mark.parametrize(
    "value", [Path("data/toy"), Path("/data/toy"), np.zeros(30), len, object()], ids=lambda value: type(value).__name__
)
@pytest.mark.parametrize("path", ["train_dataloader.dataset.data_root", "helper.0"])
def test_what_no_config_can_hold_is_found_at_its_path(findings, valid, value, path):
    """A SyntaxError over the whole text of the config, or a path written as a division, when the first step is due."""
    if path == "helper.0":
        valid["helper"] = [value]
    else:
        valid["train_dataloader"]["dataset"]["data_root"] = value
    found = findings(valid)
    assert list(found) == [path]
    assert found[path].level == "error"
    assert type(value).__name__ in found[path].message
    assert found[path].fix == (
        "write str(...)"
        if isinstance(value, Path)
        else "write down what it is made from, or del a helper at the end of the file"
    )


@pytest.mark.parametrize(
    "value",
    ["a/b", "it's", 1, -0.5, True, None, np.float32(0.5), (1, [2.0, {"a": None}]), {1, 2}, b"x", Path],
    ids=repr,
)
def test_what_mmengine_writes_passes(findings, valid, value):
    """A checker that forbids what works is switched off."""
    valid["helper"] = value
    assert findings(valid) == {}


def test_a_class_is_written_by_its_path() -> None:
    """The config.py of a run whose config names classes held their bare names: nothing could test, resume or teach with it."""
    cfg = {"model": {"type": OrderedDict, "parts": [{"type": Config}], "kind": list}, "size": (1, 2)}
    text = config_text(Config(cfg))
    found = Config.fromstring(text, ".py")
    assert found.model.to_dict() == {
        "type": "collections.OrderedDict",
        "parts": [{"type": "mmengine.config.config.Config"}],
        "kind": list,
    }
    assert found.size == (1, 2)
