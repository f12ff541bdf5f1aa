"""What leaves the values of a store to chance, or to the other samples of a batch, is refused before anything is stored."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import DATASETS, FUNCTIONS, MODELS
from torch import Tensor
from torch.utils.data import default_collate

from kdhub.caching.fill import cache_teachers
from kdhub.caching.source import worst_difference
from kdhub.engine.train import train
from kdhub.errors import UsageError


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


@pytest.mark.parametrize(
    ("tap", "said"),
    [("norm", r"norm: a sample's value depends on the other samples"), ("similar", r"similar: the value compares")],
)
def test_values_that_depend_on_the_batch_are_refused(
    config: Callable[..., Config], teacher: dict[str, Any], tap: str, said: str
) -> None:
    """A stored similarity to yesterday's batch says nothing about today's, and has the right shape."""
    teacher |= {"model": {"type": "Classmates"}, "checkpoint": None}
    cfg = config({})
    cfg.model.objectives.logits.teacher = tap
    with pytest.raises(UsageError, match=said + r".*tap what it is computed from"):
        cache_teachers(cfg)


@DATASETS.register_module(force=True)
class SeldomPoints(tiny.TinyPoints):
    """Points that are mirrored once in 20 times."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        sample = super().__getitem__(index)
        return {**sample, "inputs": -sample["inputs"]} if random.random() < 0.05 else sample


@pytest.mark.parametrize("seed", range(4))
def test_a_rare_augmentation_is_found_too(config: Callable[..., Config], seed: int) -> None:
    """Of 16 samples that are drawn twice, one in 20 is mirrored in neither run more often than not."""
    with pytest.raises(UsageError, match="the data pipeline augments"):
        cache_teachers(config({}, "SeldomPoints", randomness={"seed": seed}))


@FUNCTIONS.register_module(force=True)
def mirroring_collate(samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Mirror some batches as a whole."""
    batch: dict[str, Tensor] = default_collate(samples)
    return batch | {"inputs": batch["inputs"] * random.choice((-1, 1))}


@MODELS.register_module(force=True)
class MirroringPreprocessor(BaseDataPreprocessor):
    """Mirrors some batches as a whole."""

    def forward(self, data: Any, training: bool = False) -> Any:
        """Mirror or not."""
        data = super().forward(data, training)
        return data | {"inputs": data["inputs"] * random.choice((-1, 1))}


@MODELS.register_module(force=True)
class MirroredClassifier(tiny.TinyClassifier):
    """A student that mirrors its batches."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.data_preprocessor = MirroringPreprocessor()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("part", ["collate_fn", "data_preprocessor"])
@pytest.mark.parametrize("draws", [None, 2])
def test_chance_in_whole_batches_is_refused(
    config: Callable[..., Config], part: str, seed: int, draws: int | None
) -> None:
    """Training shuffles samples into other batches, so it would fall otherwise there than in the store."""
    cfg = config({"draws": draws}, randomness={"seed": seed})
    if part == "collate_fn":
        cfg.train_dataloader.collate_fn.type = "mirroring_collate"
    else:
        cfg.model.student.type = "MirroredClassifier"
        cfg.model.teacher.teacher.batch = "student"
    with pytest.raises(UsageError, match=rf"{part}: random numbers are drawn for a batch as a whole"):
        cache_teachers(cfg)


class LateChance(MirroringPreprocessor):
    """Begins to draw with the fifth batch, as what changes sizes at intervals."""

    batches = 0

    def forward(self, data: Any, training: bool = False) -> Any:
        """Mirror or not, from the fifth batch on."""
        self.batches += 1
        return (
            super().forward(data, training) if self.batches > 4 else BaseDataPreprocessor.forward(self, data, training)
        )


def test_chance_that_begins_late_is_refused_too(config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    """Mmdet's resizing of batches draws a size every ten batches: the first ones tell nothing."""
    cfg = config({})
    cfg.model.student.type = "MirroredClassifier"
    cfg.model.teacher.teacher.batch = "student"
    monkeypatch.setattr(sys.modules[__name__], "MirroringPreprocessor", LateChance)
    with pytest.raises(UsageError, match="data_preprocessor: random numbers are drawn for a batch as a whole"):
        cache_teachers(cfg)


@MODELS.register_module(force=True)
class ShiftedClassifier(tiny.TinyClassifier):
    """A student that tells its preprocessor what its config says elsewhere."""

    def __init__(self, shift: float = 0.0, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.data_preprocessor.register_buffer("shift", torch.tensor(shift), persistent=False)


def test_what_the_student_s_preprocessor_was_built_with_counts(config: Callable[..., Config]) -> None:
    """A teacher that takes the student's batch sees other values, though no key of ``data_preprocessor`` has changed."""
    cfg = config({"verify": 0})
    cfg.model.student.type = "ShiftedClassifier"
    cfg.model.teacher.teacher.batch = "student"
    cache_teachers(cfg)
    cfg.model.student.width = 5
    assert cache_teachers(cfg)[0].written == 0  # what comes behind the preprocessor is no business of the store
    cfg.model.student.shift = 1.0
    with pytest.raises(UsageError, match=r"preprocessing: '(dataset-\w+\.collate-\w+\.student)-\w+', not '\1-"):
        train(cfg)


def test_an_offset_that_all_samples_share_hides_no_exchange() -> None:
    """By the norm of the values, logits around 30 of another sample differ by three per cent."""
    torch.manual_seed(0)
    logits = 30 + torch.randn(8, 4)
    assert worst_difference([logits], [logits.flip(0)]) > 0.5
    assert worst_difference([logits], [logits + 1e-5]) < 1e-4
    assert worst_difference([logits], [logits.clone()]) == 0
    alike = torch.full((8, 4), 30.0)
    assert worst_difference([alike + 1e-3], [alike]) < 0.002  # samples that do not differ: rounding is no difference


@MODELS.register_module(force=True)
class Padded(tiny.TinyClassifier):
    """A teacher that reads another number from a batch with a large point in it, as from one with a long text."""

    def forward(self, inputs: Tensor, labels: Tensor, mode: str = "tensor") -> Any:
        """Run on points (B, 2)."""
        return super().forward(inputs + (inputs.abs().max() > 1.5), labels, mode)


def test_samples_are_tried_from_all_over_the_data(config: Callable[..., Config], teacher: dict[str, Any]) -> None:
    """Data that are sorted by length begin with texts of one length, which need no padding."""
    teacher |= {"model": {"type": "Padded"}, "checkpoint": None}
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UsageError, match="depends on the other samples"):
        order = tiny.TinyPoints().points.abs().max(dim=1).values.argsort()
        patch.setattr(
            tiny.TinyPoints,
            "__getitem__",
            lambda self, index: {"inputs": self.points[order[index]], "labels": self.labels[order[index]]},
        )
        cache_teachers(config({}))


@MODELS.register_module(force=True)
class ManyHeads(tiny.TinyClassifier):
    """A teacher with outputs as wide as the batches on which values are tried."""

    def forward(self, inputs: Tensor, labels: Tensor, mode: str = "tensor") -> Any:
        """Give a dict of widths 1 to 4."""
        logits = super().forward(inputs, labels, mode)
        self.norm(logits)
        return {f"head{width}": logits[:, :1].repeat(1, width) for width in range(1, 5)}


def test_widths_that_happen_to_be_sizes_of_a_batch_are_no_comparison(
    config: Callable[..., Config], teacher: dict[str, Any]
) -> None:
    """Outputs of width 4, 3 and 1, on batches of four, three and one, looked like similarities within the batch."""
    teacher |= {"model": {"type": "ManyHeads"}, "checkpoint": None}
    cfg = config({}, default_hooks={"baseline": None})
    cfg.model.objectives.logits.teacher = {"type": "kdhub.ModuleOutput", "path": ""}
    assert cache_teachers(cfg)[0].written == 16
