"""Data and a model that draw random numbers everywhere they can, for tests of resuming; also imported by subprocesses."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import tiny
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS
from torch import Tensor, nn


@DATASETS.register_module(force=True)
class RandomPoints(tiny.TinyPoints):
    """Points that are moved by random numbers of Python, numpy and torch whenever they are loaded, ``far`` or not at all."""

    def __init__(self, far: float = 0.1, **points: int) -> None:
        super().__init__(**points)
        self.far = far

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        sample = super().__getitem__(index)
        way = torch.randn(2) + random.gauss(0, 1) + float(np.random.normal(0, 1))
        return {**sample, "inputs": sample["inputs"] + self.far * way}


@MODELS.register_module(force=True)
class RandomClassifier(tiny.TinyClassifier):
    """Adds numpy's noise to its training batches, as mixing of images does, and normalises them."""

    def __init__(self, width: int = 4, dropout: float = 0.3) -> None:
        super().__init__(width, dropout)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, inputs: Tensor, labels: Tensor, mode: str = "tensor") -> Any:
        """Run on points (B, 2)."""
        if self.training:
            inputs = inputs + float(np.random.normal(0, 0.1)) + random.gauss(0, 0.1)
        return super().forward(inputs, labels, mode)


@MODELS.register_module(force=True)
class BankClassifier(RandomClassifier):
    """Remembers its inputs in buffers that are not saved with the weights, beside a constant, and lets them into its loss."""

    def __init__(self, scale: float = 1.0, size: int = 2) -> None:
        super().__init__()
        self.register_buffer("bank", torch.zeros(size), persistent=False)
        self.register_buffer("late", None, persistent=False)
        self.register_buffer("scale", torch.tensor(scale), persistent=False)

    def forward(self, inputs: Tensor, labels: Tensor, mode: str = "tensor") -> Any:
        """Run on points (B, 2)."""
        losses = super().forward(inputs, labels, mode)
        if mode == "loss":
            self.bank.mul_(0.9).add_(inputs.detach().mean())
            self.late = self.bank if self.late is None else self.late + self.bank
            losses["loss_bank"] = self.scale * (self.body.weight * (self.late + self.bank)[0]).square().mean()
        return losses


@MODELS.register_module(force=True)
class Pull(nn.Module):
    """A loss whose gradient is one number everywhere, exactly."""

    def __init__(self, force: float) -> None:
        super().__init__()
        self.force = force

    def forward(self, student: Tensor) -> Tensor:
        """Pull at an output."""
        return self.force * student.sum()


def config(
    work_dir: object = "", *, epochs: bool = False, workers: int = 0, accumulation: int = 1, **changes: Any
) -> Config:
    """Describe a run of twelve iterations with dropout, augmentation, two schedules, evaluations and a guard at work."""
    model = tiny.distiller()
    model["student"] = {"type": "RandomClassifier"}
    model["objectives"]["logits"]["weight"] = {"type": "kdhub.CosineSchedule", "start": 1.0, "end": 0.0, "steps": 12}
    base = tiny.by_epoch() if epochs else {}
    cfg = tiny.config(work_dir, model=model, **base)
    if not epochs:
        cfg.train_cfg.update(max_iters=12, val_interval=4)
    cfg.train_dataloader.dataset.type = "RandomPoints"
    cfg.train_dataloader.num_workers = workers
    cfg.optim_wrapper = {
        "type": "OptimWrapper",
        "optimizer": {"type": "AdamW", "lr": 0.01},
        "accumulative_counts": accumulation,
    }
    cfg.param_scheduler = [{"type": "CosineAnnealingLR", "T_max": 12, "by_epoch": False}]
    cfg.default_hooks = {
        "checkpoint": {"interval": 2 if not epochs else 1, "by_epoch": epochs},
        "logger": {"type": "LoggerHook", "interval": 1},
    }
    cfg.custom_imports = {"imports": ["random_points"]}
    cfg.merge_from_dict(changes)
    return cfg
