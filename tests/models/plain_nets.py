"""Nets and data as people have them who never heard of mmengine; imported by name in configs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset


class Points(Dataset[tuple[Tensor, int]]):
    """Points of the plane, labelled by the side of a line they are on."""

    classes = ("below", "above")

    def __init__(self, size: int = 16, seed: int = 0) -> None:
        self.points = torch.randn(size, 2, generator=torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.points[index], int(self.points[index].sum() > 0)


class Perceptron(nn.Module):
    """A perceptron with a child called ``net``, as the wrapper's own is, and a method that mmengine would call."""

    def __init__(self, width: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.net = nn.Linear(2, width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, 2)

    def init_weights(self) -> None:
        """Overwrite all weights, as timm's method of this name does."""
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(torch.tanh(self.net(x))))


class TwoTower(nn.Module):
    """A net of two inputs whose result is a dict, and which computes a loss if it is given labels."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(2, 3), nn.Linear(2, 3)

    def forward(self, left: Tensor, right: Tensor, labels: Tensor | None = None) -> dict[str, Any]:
        logits = self.left(left) + self.right(right)
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        return {"scores": logits, "loss": loss}


class LabelledMSE(nn.Module):
    """A loss that wants labels out of the batch."""

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        return ((student - teacher).square().mean(1) * (1 + labels)).mean()


def config(work_dir: object, **changes: Any) -> dict[str, Any]:
    """Describe a distillation of one plain net into another, six iterations long."""
    loader = {
        "batch_size": 4,
        "num_workers": 0,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "dataset": {"type": "plain_nets.Points"},
        "collate_fn": {"type": "default_collate"},
    }
    criterion = {"type": "torch.nn.CrossEntropyLoss", "weight": None, "label_smoothing": 0.1}
    return {
        "model": {
            "type": "kdhub.Distiller",
            "student": {
                "type": "kdhub.TorchModel",
                "net": {"type": "plain_nets.Perceptron", "dropout": 0.5},
                "criterion": criterion,
            },
            "teacher": {
                "type": "kdhub.ModelTeacher",
                "model": {"type": "kdhub.TorchModel", "net": {"type": "plain_nets.Perceptron", "width": 8}},
            },
            "objectives": {
                "logits": {"loss": {"type": "kdhub.TemperatureKL"}, "student": "head", "teacher": "head"},
            },
        },
        "train_dataloader": {**loader, "sampler": {"type": "InfiniteSampler", "shuffle": True}},
        "val_dataloader": {**loader, "dataset": {"type": "plain_nets.Points", "seed": 1}},
        "val_evaluator": {"type": "kdhub.Accuracy"},
        "val_cfg": {},
        "test_dataloader": {**loader, "dataset": {"type": "plain_nets.Points", "seed": 1}},
        "test_evaluator": {"type": "kdhub.Accuracy"},
        "test_cfg": {},
        "train_cfg": {"by_epoch": False, "max_iters": 6, "val_interval": 3},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}},
        "default_hooks": {"checkpoint": {"type": "kdhub.CheckpointHook", "by_epoch": False, "interval": 2}},
        "randomness": {"seed": 0},
        "work_dir": str(work_dir),
        **changes,
    }
