"""Weights with which a run makes no sense, or leaves a student that nobody can use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from safetensors.torch import load_file
from torch import nn

from kdhub.checkpoint import read_checkpoint
from kdhub.engine.export import NotFiniteError, require_finite
from kdhub.engine.train import train
from kdhub.errors import UsageError

TWIN = "has the same weights as the student"


def twins(folder: Path, **teacher: Any) -> Config:
    """Describe a run whose student starts as its teacher, by `load_from`."""
    torch.manual_seed(5)
    torch.save({"state_dict": tiny.TinyClassifier(width=8).state_dict()}, folder / "teacher.pth")
    model = tiny.distiller(checkpoint=str(folder / "teacher.pth"), **teacher)
    model["student"]["width"] = 8
    return tiny.config(folder / "run", model=model, load_from=str(folder / "teacher.pth"))


def test_a_teacher_with_the_students_weights_is_named_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Rounding noise was trained, from a teacher that is the student's own starting point by mistake."""
    cfg = twins(tmp_path)
    train(cfg)
    assert capfd.readouterr().err.count(TWIN) == 1
    train(cfg, resume=tmp_path / "run" / "iter_3.pth")
    assert TWIN not in capfd.readouterr().err


def test_a_stored_twin_is_named_too(config: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The live teacher has left memory by the time training starts."""
    from kdhub.caching.fill import cache_teachers

    cfg = config({})
    cfg.model.student = {"type": "TinyClassifier", "width": 8}
    cfg.load_from = str(tmp_path / "teacher.pth")
    cache_teachers(cfg)
    train(cfg)
    assert capfd.readouterr().err.count(TWIN) == 1


def test_two_models_of_one_kind_are_no_twins(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Teaching a student of the teacher's own size is a method of its own."""
    cfg = twins(tmp_path)
    cfg.load_from = None
    train(cfg)
    assert TWIN not in capfd.readouterr().err


@HOOKS.register_module(force=True)
class SpoilHook(Hook):
    """Makes a weight of the student useless after an iteration."""

    def __init__(self, after: int) -> None:
        self.after = after

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if runner.iter + 1 == self.after:
            runner.model.head.bias.data[0] = torch.nan


@pytest.mark.parametrize("after", [2, 5])
def test_a_student_that_is_nan_is_not_exported(tmp_path: Path, after: int, capfd: pytest.CaptureFixture[str]) -> None:
    """The run ended well, with a student of NaN in the place of the one that was sound."""
    cfg = tiny.config(tmp_path, custom_hooks=[{"type": "SpoilHook", "after": after, "priority": "VERY_HIGH"}])
    with pytest.raises(
        UsageError, match=r"student: the student is not exported: it holds NaN or infinite weights in body\.weight, "
    ):
        train(cfg)
    assert "iteration 6: student: the student is not exported" in capfd.readouterr().err
    exported = tmp_path / "student" / "model.safetensors"
    assert exported.is_file() is (after == 5)
    if after == 5:  # that of the checkpoint before
        sound = read_checkpoint(tmp_path / "iter_3.pth")["state_dict"]
        assert all(torch.equal(tensor, sound[name]) for name, tensor in load_file(exported).items())


def masked() -> nn.Module:
    model = nn.Linear(2, 2)
    model.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    model.register_buffer("count", torch.tensor(3))
    return model


def test_infinite_masks_are_sound() -> None:
    """Attention keeps its mask in a buffer, and every export would be refused."""
    require_finite(masked(), "student")


@pytest.mark.parametrize(("name", "value"), [("weight", torch.inf), ("bias", torch.nan), ("mask", torch.nan)])
def test_what_is_no_number_is_named(name: str, value: float) -> None:
    """Overflow gives infinities first, and statistics of batches spoil a student as weights do."""
    model = masked()
    model.state_dict()[name].flatten()[0] = value  # the same memory
    with pytest.raises(NotFiniteError, match=f"weights in {name} "):
        require_finite(model, "student")
