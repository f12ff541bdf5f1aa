"""What several classifiers answer to the same images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.structures import BaseDataElement
from numpy.typing import NDArray
from torch import nn

from kdhub.api import UsageError


class Answers(NamedTuple):
    """Answers of one model to N images.

    Attributes:
        answer: Class with the highest score, ``(N,)``.
        confidence: Its probability, ``(N,)``.
        truth: Probability of the right class, ``(N,)``.
    """

    answer: NDArray[np.int64]
    confidence: NDArray[np.float64]
    truth: NDArray[np.float64]

    def where(self, kept: NDArray[np.bool_]) -> Answers:
        """Keep the answers to some of the images."""
        return Answers(self.answer[kept], self.confidence[kept], self.truth[kept])


def ask(
    models: Mapping[str, nn.Module], batches: Iterable[Any], scores: str = "logits"
) -> tuple[NDArray[np.int64], dict[str, Answers]]:
    """Let each model answer to each batch.

    Args:
        models: Name to model with a ``val_step`` that gives ``pred_score`` (C,) and ``gt_label`` of each sample.
        batches: Collated batches.
        scores: ``'logits'``, or ``'probabilities'``, as mmpretrain's models give.

    Returns:
        Labels ``(N,)``, negative where a sample has none, and the answers by model.

    Raises:
        UsageError: If a model gives neither.
    """
    labels: list[int] = []
    found: dict[str, list[tuple[int, float, float]]] = {name: [] for name in models}
    for batch in batches:
        for name, model in models.items():
            samples = [_sample(name, one) for one in model.val_step(batch)]  # type: ignore[operator]
            if name == next(iter(models)):
                labels += [int(torch.as_tensor(one["gt_label"])) for one in samples]
            # a teacher may be asked without labels
            truths = labels[-len(samples) :]
            found[name] += [
                _answer(one["pred_score"], truth, scores) for one, truth in zip(samples, truths, strict=True)
            ]
    columns = {name: [np.array(column) for column in zip(*rows, strict=True)] for name, rows in found.items()}
    return np.array(labels), {name: Answers(*found) for name, found in columns.items()}


def changed(labels: NDArray[np.int64], student: Answers, other: Answers) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the images that exactly one of two models gets right.

    Returns:
        Places of those that the student gained and of those that it lost, each from the largest difference in the
        probability of the right class to the smallest.
    """
    difference = student.truth - other.truth
    ours, theirs = (answers.answer == labels for answers in (student, other))
    gained, lost = np.flatnonzero(ours & ~theirs), np.flatnonzero(theirs & ~ours)
    return gained[np.argsort(-difference[gained], kind="stable")], lost[np.argsort(difference[lost], kind="stable")]


def _sample(name: str, sample: Any) -> Mapping[str, Any]:
    known = sample.to_dict() if isinstance(sample, BaseDataElement) else sample
    if not isinstance(known, Mapping) or "pred_score" not in known:
        raise UsageError(
            f"{name} gives no class scores to draw",
            where="kdcls.PanelHook",
            expected="samples with 'pred_score'",
            got=type(sample).__name__,
            fix="leave the hook out, or predict as kdhub.TorchModel does",
        )
    return known


def _answer(score: Any, truth: int, scores: str) -> tuple[int, float, float]:
    values = torch.as_tensor(score).double().cpu()
    probabilities = values.softmax(0) if scores == "logits" else values
    best = int(probabilities.argmax())
    return best, float(probabilities[best]), float(probabilities[truth]) if 0 <= truth < len(values) else 0.0
