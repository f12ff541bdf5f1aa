"""What gets under fire: toy models on noise, as a config for ``kdhub train`` and ``kdhub cache``."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import DATASETS, METRICS, MODELS
from torch import Tensor, nn
from torch.utils.data import Dataset

from kdhub.testing.toys import ToySegmentor, segmentation_batch

MODELS.register_module(module=ToySegmentor, force=True)

ITERATIONS = 24
LAST_CHECKPOINT = f"iter_{ITERATIONS}.pth"
SAMPLES, DRAWS = 64, 6
"""Of a training from a store, which reads each record once."""

_CONFIG = """
custom_imports = dict(imports=["firing.config"])
loader = dict(batch_size={batch}, num_workers=1, persistent_workers=True, collate_fn=dict(type="default_collate"))
model = dict(
    type="kdhub.Distiller",
    student=dict(type="ToySegmentor", width=24, dropout=0.2),
    teacher={teacher},
    objectives=dict(logits=dict(
        loss=dict(type="kdhub.MSE"), student="head", teacher="head",
        weight=dict(type="kdhub.LinearSchedule", start=1.0, end=0.1, steps=20))),
)
train_dataloader = dict(sampler=dict(type={sampler!r}, shuffle=True), dataset=dict(type="NoisyImages", size={size}), **loader)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1, momentum=0.9))
param_scheduler = dict(type="PolyLR", eta_min=0.001, by_epoch=False, begin=0, end=24)
randomness = dict(seed=3)
train_cfg = {train}
default_hooks = dict(checkpoint=dict(interval={interval}, by_epoch=False))
"""
_EVALUATION = """
val_dataloader = dict(sampler=dict(type="DefaultSampler", shuffle=False), dataset=dict(type="NoisyImages", noise=0), **loader)
val_evaluator = dict(type="PixelAccuracy")
val_cfg = dict()
"""
LOOPS: dict[str, dict[str, Any]] = {
    "iterations": {
        "sampler": "InfiniteSampler",
        "train": {"by_epoch": False, "max_iters": 24, "val_interval": 8},
    },
    "epochs": {
        "sampler": "DefaultSampler",
        "train": {"by_epoch": True, "max_epochs": 6, "val_interval": 2},
    },
}


def config_text(loop: str, processes: int = 1, store: Path | None = None) -> str:
    """Return the config of a training whose loop counts ``iterations`` or ``epochs``, of four iterations each.

    Args:
        loop: Which of `LOOPS`.
        processes: How many train with a live teacher.
        store: Where a stored teacher has its answers, with which one process trains. As it is the store that gets into
            trouble, that training saves its end alone and evaluates nothing.
    """
    live = {"type": "kdhub.ModelTeacher", "model": {"type": "SteadySegmentor", "width": 32}}
    if store is None:
        return (_CONFIG + _EVALUATION).format(**LOOPS[loop], teacher=live, size=16 * processes, batch=4, interval=3)
    stored = {"type": "kdhub.StoredTeacher", "store": str(store), "draws": DRAWS, "teacher": live}
    return _CONFIG.format(**LOOPS[loop], teacher=stored, size=SAMPLES, batch=SAMPLES // 4, interval=ITERATIONS)


class _OneByOne(nn.Sequential):
    def forward(self, batch: Tensor) -> Tensor:
        return torch.cat([super(_OneByOne, self).forward(one) for one in batch.split(1)])


@MODELS.register_module(force=True)
class SteadySegmentor(ToySegmentor):
    """Answers with the same bits in a batch of any size, which convolutions do not: stores may be compared bit by bit."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.backbone, self.head = _OneByOne(self.backbone), _OneByOne(self.head)


@DATASETS.register_module(force=True)
class NoisyImages(Dataset[dict[str, Tensor]]):
    """Random images, with augmentation that draws from all three generators."""

    def __init__(self, size: int = 16, noise: float = 0.1) -> None:
        self.batch = segmentation_batch(size)
        self.noise = noise

    def __len__(self) -> int:
        return len(self.batch["inputs"])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        image = self.batch["inputs"][index]
        noisy = image * random.uniform(1 - self.noise, 1 + self.noise) + np.random.normal(0, 1) * self.noise
        return {
            "inputs": (noisy + torch.randn(image.shape) * self.noise).float(),
            "labels": self.batch["labels"][index],
        }


@METRICS.register_module(force=True)
class PixelAccuracy(BaseMetric):
    """The share of right pixels."""

    default_prefix = "pixels"

    def process(self, data_batch: Any, data_samples: Any) -> None:
        """Compare one batch."""
        self.results += [
            (a == b).float().mean().item() for a, b in zip(data_samples, data_batch["labels"], strict=True)
        ]

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        """Average."""
        return {"accuracy": sum(results) / len(results)}
