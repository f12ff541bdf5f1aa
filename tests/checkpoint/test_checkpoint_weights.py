"""`load_weights` puts every weight in its place or says which it could not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from kdhub.checkpoint import load_weights
from kdhub.errors import UsageError


def _net(classes: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, classes))


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "student."])
@pytest.mark.parametrize("key", [None, "state_dict", "model"])
def test_layouts(tmp_path: Path, key: str | None, prefix: str) -> None:
    """Each training tool wraps and names its weights in its own way; the wrong guess loads nothing."""
    source, target = _net(), _net()
    weights = {prefix + name: value for name, value in source.state_dict().items()}
    torch.save(weights if key is None else {key: weights}, tmp_path / "w.pth")
    load_weights(target, tmp_path / "w.pth")
    assert all(
        torch.equal(a, b) for a, b in zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    )


def test_a_distilled_student_is_found_among_adapters(tmp_path: Path) -> None:
    """A distillation checkpoint holds adapters too; the next run's teacher is only the student in it."""
    source, target = _net(), _net()
    weights = {f"student.{name}": value for name, value in source.state_dict().items()}
    torch.save({"state_dict": weights | {"objectives.a.adapter.weight": torch.ones(1)}}, tmp_path / "w.pth")
    load_weights(target, tmp_path / "w.pth")
    assert torch.equal(source[0].weight, target[0].weight)


def test_another_head_is_named_with_shapes(tmp_path: Path) -> None:
    """A teacher of another number of classes loaded but for its head answers with noise."""
    torch.save(_net(5).state_dict(), tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"2 of another shape: 2\.weight: \(5, 4\) in the file, \(3, 4\) in the model"):
        load_weights(_net(3), tmp_path / "w.pth")


def test_not_strict_loads_what_fits(tmp_path: Path) -> None:
    """Starting from a backbone must not need surgery on the file."""
    source, target = _net(5), _net(3)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    load_weights(target, tmp_path / "w.pth", strict=False)
    assert torch.equal(source[0].weight, target[0].weight)


def test_missing_and_unexpected_are_counted(tmp_path: Path) -> None:
    """Usually mmengine prints such a difference in passing and trains on from random weights."""
    weights = _net().state_dict()
    del weights["0.weight"]
    save_file(dict(weights) | {"extra": torch.ones(1)}, tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match=r"1 missing: 0\.weight; 1 unexpected: extra"):
        load_weights(_net(), tmp_path / "w.safetensors")


def test_old_batch_norm_has_no_counter(tmp_path: Path) -> None:
    """Weights from before torch 0.4.1 lack a counter that no prediction uses."""
    weights = {name: value for name, value in _net().state_dict().items() if "num_batches_tracked" not in name}
    torch.save(weights, tmp_path / "w.pth")
    load_weights(_net(), tmp_path / "w.pth")


@pytest.mark.parametrize(
    "meta",
    [{"dataset_meta": {"classes": ["a", "b"]}}, {"CLASSES": ("a", "b")}, {"dataset_meta": {"CLASSES": ("a", "b")}}],
)
def test_class_names_of_every_age(tmp_path: Path, meta: dict[str, object]) -> None:
    """The guard of class names is silent where it cannot find them."""
    torch.save({"state_dict": _net().state_dict(), "meta": meta}, tmp_path / "w.pth")
    assert load_weights(_net(), tmp_path / "w.pth")["dataset_meta"]["classes"] == ("a", "b")


def test_no_weights_at_all(tmp_path: Path) -> None:
    """An optimizer state or a list of results must not count as a model without weights."""
    torch.save({"optimizer": {}, "epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"no named weights.*got keys optimizer, epoch"):
        load_weights(_net(), tmp_path / "w.pth")
