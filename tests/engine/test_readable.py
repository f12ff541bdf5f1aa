"""What a checkpoint holds besides weights must be read back by the loading that runs no code."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS

from kdhub.checkpoint import read_checkpoint
from kdhub.engine.resume.readable import readable
from kdhub.engine.train import train
from kdhub.errors import UsageError

VALUES: dict[str, Any] = {
    "path": Path("/x"),
    "date": dt.date(2026, 1, 2),
    "names": np.array(["a", "b"]),
    "range": range(3),
}


@DATASETS.register_module(force=True)
class ToldPoints(tiny.TinyPoints):
    """Points that say something more of themselves."""

    def __init__(self, value: str) -> None:
        super().__init__()
        self.metainfo = {"classes": tiny.CLASSES, "origin": {"value": VALUES[value]}}


@HOOKS.register_module(force=True)
class TinyHub(Hook):
    """Puts a value where checkpoints take it from, when training begins or later."""

    def __init__(self, value: str, iteration: int = 0) -> None:
        self.value = value
        self.iteration = iteration

    def before_train(self, runner: Any) -> None:
        self.after_train_iter(runner, -1)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if batch_idx + 1 == self.iteration:
            runner.message_hub.update_info("seen", VALUES[self.value])


def told(work_dir: Path, value: str) -> Any:
    """Describe a run whose data set tells a value."""
    cfg = tiny.config(work_dir)
    cfg.train_dataloader.dataset = {"type": "ToldPoints", "value": value}
    return cfg


@pytest.mark.parametrize(("value", "read"), [("path", "/x"), ("names", ["a", "b"]), ("range", [0, 1, 2])])
def test_plain_things_are_saved_in_a_plain_form(
    tmp_path: Path, value: str, read: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """The run ended well, and none of its checkpoints could be read again."""
    train(told(tmp_path, value))
    saved = read_checkpoint(tmp_path / "iter_3.pth")["meta"]["dataset_meta"]
    assert saved == {"classes": tiny.CLASSES, "origin": {"value": read}}
    train(told(tmp_path, value), resume=tmp_path / "iter_3.pth")
    assert "metainfo" not in capfd.readouterr().err


def test_what_nobody_can_read_back_is_refused_before_training(tmp_path: Path) -> None:
    """It was found out at the resume, when all checkpoints were lost."""
    with pytest.raises(UsageError, match=r"train_dataloader\.dataset\.metainfo\.origin\.value: .* this date.*2026"):
        train(told(tmp_path / "data", "date"))
    with pytest.raises(UsageError, match=r"message_hub\.seen: a checkpoint cannot hold this date"):
        train(tiny.config(tmp_path / "hub", custom_hooks=[{"type": "TinyHub", "value": "date"}]))
    assert not list(tmp_path.rglob("*.pth"))


def test_a_path_in_the_message_hub_is_text(tmp_path: Path) -> None:
    """Hooks note folders there."""
    cfg = tiny.config(tmp_path, custom_hooks=[{"type": "TinyHub", "value": "path"}])
    train(cfg)
    train(cfg, resume=tmp_path / "iter_3.pth")
    assert read_checkpoint(tmp_path / "iter_6.pth")["message_hub"]["runtime_info"]["seen"] == "/x"


def test_what_comes_later_is_left_out_and_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """To stop a run of days for it would lose more than the value."""
    cfg = tiny.config(tmp_path, custom_hooks=[{"type": "TinyHub", "value": "date", "iteration": 5}])
    train(cfg)
    assert "seen" not in read_checkpoint(tmp_path / "iter_6.pth")["message_hub"]["runtime_info"]
    (line,) = [one for one in capfd.readouterr().err.splitlines() if "message_hub.seen" in one]
    assert re.search("the checkpoint is without message_hub.seen, which a resumed run will miss: .*this date", line)


def test_what_can_be_read_stays_as_it_is() -> None:
    """A counter that came back as a dict would fail where it is used."""
    value = {"a": (1, [torch.zeros(1)]), "b": Counter("ab"), "c": np.float64(1), "d": {1, 2}, "e": None}
    assert readable(value, "x") is value
    mixed = readable({"a": value["b"], "b": (Path("/x"), 1)}, "x")
    assert mixed == {"a": Counter("ab"), "b": ("/x", 1)}
    assert type(mixed["a"]) is Counter
