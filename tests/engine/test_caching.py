"""Filling a store and training from it: the same run as with the live teacher, and nothing else is ever accepted."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS
from torch import Tensor

from kdhub.checkpoint import read_checkpoint
from kdhub.engine.caching import cache_teachers, summary
from kdhub.engine.train import train
from kdhub.errors import UsageError


@DATASETS.register_module(force=True)
class NoisyPoints(tiny.TinyPoints):
    """Points that are never twice at the same place, as augmented images."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        sample = super().__getitem__(index)
        return {**sample, "inputs": sample["inputs"] + 0.3 * torch.randn(2)}


@DATASETS.register_module(force=True)
class MovingPoints(tiny.TinyPoints):
    """Points that somebody moves between two runs."""

    moved = 0.0

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        sample = super().__getitem__(index)
        return {**sample, "inputs": sample["inputs"] + self.moved}


@DATASETS.register_module(force=True)
class DeadlyPoints(tiny.TinyPoints):
    """Points of which one kills the process that loads it, if it is told to."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if index == 9 and "KDHUB_TEST_DEADLY" in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


@MODELS.register_module(force=True)
class Classmates(tiny.TinyClassifier):
    """A teacher whose ``norm`` looks at the other samples of the batch, and whose ``similar`` compares them."""

    def __init__(self, width: int = 4) -> None:
        super().__init__(width)
        self.norm = Centred()
        self.similar = Similar()

    def forward(self, inputs: Tensor, labels: Tensor, mode: str = "tensor") -> Any:
        """Run on points (B, 2)."""
        logits = super().forward(inputs, labels, mode)
        self.similar(logits)
        return logits


class Centred(torch.nn.Module):
    def forward(self, value: Tensor) -> Tensor:
        return value - value.mean(0)


class Similar(torch.nn.Module):
    def forward(self, value: Tensor) -> Tensor:
        return value @ value.T


@pytest.fixture
def teacher(tmp_path: Path) -> dict[str, Any]:
    """A live teacher with weights of its own, which do not depend on the run."""
    torch.manual_seed(7)
    torch.save({"state_dict": tiny.TinyClassifier(width=8).state_dict()}, tmp_path / "teacher.pth")
    return {
        "type": "kdhub.ModelTeacher",
        "model": {"type": "TinyClassifier", "width": 8},
        "checkpoint": str(tmp_path / "teacher.pth"),
    }


@pytest.fixture
def config(tmp_path: Path, teacher: dict[str, Any]) -> Callable[..., Config]:
    """Describe a run from a store; ``None`` for its arguments gives the run with the live teacher."""

    def make(stored: dict[str, Any] | None, dataset: str = "TinyPoints", name: str = "run", **changes: Any) -> Config:
        cfg = tiny.config(tmp_path / name, **changes)
        model = tiny.distiller()
        model["student"]["dropout"] = 0.5
        model["teacher"] = copy.deepcopy(teacher)
        if stored is not None:
            model["teacher"] = {
                "type": "kdhub.StoredTeacher",
                "store": str(tmp_path / "store"),
                "teacher": model["teacher"],
                **stored,
            }
        cfg.model = model
        cfg.train_dataloader.dataset = {"type": dataset}
        cfg.train_dataloader.collate_fn = {"type": "default_collate"}
        return cfg

    return make


def weights(cfg: Config) -> dict[str, Tensor]:
    """Train and return the last checkpoint's weights."""
    train(cfg)
    return read_checkpoint(sorted(Path(cfg.work_dir).glob("*.pth"))[-1])["state_dict"]


def assert_same_run(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    # products of another batch may be summed in another order
    assert all(torch.allclose(one[name], other[name], rtol=0, atol=1e-6) for name in one)


def test_a_run_from_a_plain_store_is_the_run_with_the_live_teacher(config: Callable[..., Config]) -> None:
    """A store that shifted samples or random numbers would train another student, at a plausible loss."""
    live = weights(config(None, name="live"))
    (result,) = cache_teachers(config({}))
    assert (result.written, result.info.missing) == (16, 0)
    assert_same_run(live, weights(config({})))


def test_a_run_from_recorded_augmentations_is_the_run_with_the_live_teacher(config: Callable[..., Config]) -> None:
    """A student that sees another crop than the stored teacher saw learns what was never there."""
    live = weights(config(None, "NoisyPoints", name="live"))
    (result,) = cache_teachers(config({"draws": 2}, "NoisyPoints"))
    assert result.written == 32
    assert_same_run(live, weights(config({"draws": 2}, "NoisyPoints")))
