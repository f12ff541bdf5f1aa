"""Options of default hooks without a ``type``: they change the hook that a run has anyway."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny

from kdhub.engine.defaults import add_testing_defaults, add_training_defaults
from kdhub.engine.test import test as run_test
from kdhub.engine.train import train
from kdhub.errors import UsageError


def hooks(**options: Any) -> Any:
    """Complete a training of six iterations with these options."""
    cfg = tiny.config("work_dir", default_hooks=options)
    add_training_defaults(cfg)
    return cfg.default_hooks


def test_options_keep_what_they_do_not_name() -> None:
    """Asked for another interval, a logger of mmengine's own would also average over epochs that there are not."""
    completed = hooks(logger={"interval": 2}, checkpoint={"max_keep_ckpts": 1}, timer={}, sampler_seed=None)
    assert completed.logger == {"type": "LoggerHook", "interval": 2, "log_metric_by_epoch": False}
    assert completed.checkpoint == {
        "type": "kdhub.CheckpointHook",
        "interval": 3,
        "by_epoch": False,
        "max_keep_ckpts": 1,
    }
    assert completed.timer == {"type": "IterTimerHook"}
    assert completed.sampler_seed is None


def test_a_checkpoint_interval_counts_what_training_counts() -> None:
    """A training by iterations with mmengine's default by_epoch=True saves nothing until its end."""
    assert hooks(checkpoint={"interval": 2}).checkpoint.by_epoch is False
    assert hooks(checkpoint={"type": "CheckpointHook", "interval": 2}).checkpoint.by_epoch is False
    assert "interval" not in hooks(checkpoint={"by_epoch": True}).checkpoint


@pytest.mark.parametrize("randomness", [{}, None, {"deterministic": False}])
def test_randomness_may_leave_the_seed_open(randomness: Any, tmp_path: Path) -> None:
    """Mmengine ends in ``set_randomness() missing 1 required positional argument``."""
    cfg = tiny.config(tmp_path, randomness=randomness)
    train(cfg)
    assert json.loads((tmp_path / "run.json").read_text())["seed"] is not None


def test_completing_twice_changes_nothing() -> None:
    """A resumed run reads a config that was completed before."""
    cfg = tiny.config("work_dir", default_hooks={"logger": {"interval": 2}, "checkpoint": {"interval": 2}})
    add_training_defaults(cfg)
    once = cfg.to_dict()
    add_training_defaults(cfg)
    assert cfg.to_dict() == once


def test_a_run_and_its_test_with_options_alone(tmp_path: Path) -> None:
    """The runner of mmengine replaces its default hooks whole, and its registry then asks for a type."""
    cfg = tiny.config(
        tmp_path,
        default_hooks={"logger": {"interval": 2}, "checkpoint": {"interval": 2}, "baseline": None},
    )
    train(cfg)
    curves = [json.loads(line) for line in next(tmp_path.glob("*/vis_data/scalars.json")).read_text().splitlines()]
    assert [point["step"] for point in curves if "loss" in point] == [2, 4, 6]
    assert sorted(path.name for path in tmp_path.glob("iter_*.pth")) == ["iter_2.pth", "iter_4.pth", "iter_6.pth"]
    for part in ("dataloader", "evaluator", "cfg"):
        cfg[f"test_{part}"] = cfg[f"val_{part}"]
    assert "tiny/accuracy" in run_test(cfg, tmp_path / "iter_6.pth")


@pytest.mark.parametrize("complete", [add_training_defaults, add_testing_defaults])
def test_options_under_an_unknown_key_are_told(complete: Any) -> None:
    """From Python there is no check before the training; mmengine's KeyError names neither the key nor a remedy."""
    with pytest.raises(
        UsageError, match=r"default_hooks\.loger: a runner hook without a 'type' .*did you mean 'logger'"
    ):
        complete(tiny.config("work_dir", default_hooks={"loger": {"interval": 2}}))
