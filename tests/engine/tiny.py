"""A student, a teacher, data and a metric so small that a run takes well under a second; also imported by subprocesses."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

CLASSES = ("below", "above")


@DATASETS.register_module(force=True)
class TinyPoints(Dataset[dict[str, Tensor]]):
    """Points of the plane, labelled by the side of a line they are on."""

    metainfo = {"classes": CLASSES}  # noqa: RUF012 - what mmengine's data sets have

    def __init__(self, size: int = 16, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.points = torch.randn(size, 2, generator=generator)
        self.labels = (self.points.sum(1) > 0).long()

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"inputs": self.points[index], "labels": self.labels[index]}


@MODELS.register_module(force=True)
class TinyClassifier(BaseModel):
    """A perceptron; ``width`` makes it a teacher or a student, and ``dropout`` lets training draw random numbers.

    ``sync_norm`` normalises as most configs of mmseg and mmdet do.
    """

    def __init__(self, width: int = 4, dropout: float = 0.0, sync_norm: bool = False) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.body = nn.Linear(2, width)
        self.norm = nn.SyncBatchNorm(width) if sync_norm else nn.Identity()
        self.head = nn.Linear(width, 2)

    def forward(self, inputs: Tensor, labels: Tensor, mode: str = "tensor") -> Any:
        """Run on points (B, 2)."""
        logits = self.head(self.dropout(torch.tanh(self.norm(self.body(inputs)))))
        if mode == "loss":
            return {"loss_ce": functional.cross_entropy(logits.float(), labels)}
        return logits if mode == "tensor" else list(logits.argmax(1))


@METRICS.register_module(force=True)
class TinyAccuracy(BaseMetric):
    """The share of right answers."""

    default_prefix = "tiny"

    def process(self, data_batch: Any, data_samples: Any) -> None:
        """Compare one batch."""
        self.results += [int(a == b) for a, b in zip(data_samples, data_batch["labels"], strict=True)]

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        """Average."""
        return {"accuracy": sum(results) / len(results)}


def config(work_dir: object, **changes: Any) -> Config:
    """Describe a plain run of six iterations, two evaluations and two checkpoints."""
    loader = {
        "batch_size": 4,
        "num_workers": 0,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "dataset": {"type": "TinyPoints"},
        "collate_fn": {"type": "default_collate"},
    }
    parts: dict[str, Any] = {
        "model": {"type": "TinyClassifier"},
        "train_dataloader": {**loader, "sampler": {"type": "InfiniteSampler", "shuffle": True}},
        "val_dataloader": {**loader, "dataset": {"type": "TinyPoints", "seed": 1}},
        "val_evaluator": {"type": "TinyAccuracy"},
        "val_cfg": {},
        "train_cfg": {"by_epoch": False, "max_iters": 6, "val_interval": 3},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}},
        "randomness": {"seed": 0},
        "work_dir": str(work_dir),
    }
    return Config({**parts, **changes})


def by_epoch(**changes: Any) -> dict[str, Any]:
    """Change `config` to count epochs of four iterations."""
    loader = config("")["train_dataloader"]
    loader["sampler"] = {"type": "DefaultSampler", "shuffle": True}
    return {"train_dataloader": loader, "train_cfg": {"by_epoch": True, "max_epochs": 3, "val_interval": 1}, **changes}


def distiller(**teacher: Any) -> dict[str, Any]:
    """Describe a student with a wider teacher."""
    return {
        "type": "kdhub.Distiller",
        "student": {"type": "TinyClassifier"},
        "teacher": {"type": "kdhub.ModelTeacher", "model": {"type": "TinyClassifier", "width": 8}, **teacher},
        "objectives": {
            "logits": {
                "loss": {"type": "kdhub.TemperatureKL", "temperature": 2.0},
                "student": "head",
                "teacher": "head",
            }
        },
    }
