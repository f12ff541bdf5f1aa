"""`Accuracy`: in how many samples the right class is among the k best scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric

from kdhub.errors import UsageError


class Accuracy(BaseMetric):
    """Share of samples whose class is among the ``k`` highest scores, as ``top1``, ``top5`` and so on, in percent.

    It reads what `kdhub.TorchModel` predicts, and models of mmpretrain: ``pred_score`` (C,) and ``gt_label``. Where
    classes share a score, a sample counts as the share of their orders in which the right class is among the first k, so that a
    model which says the same of every class reaches k/C. A prediction with NaN is wrong.

    Args:
        topk: One k, or several.
        collect_device: As for every metric of mmengine.
        prefix: Stands before the names with a slash; none by default.

    Raises:
        UsageError: For a k that is no positive number or above the number of classes, and for samples without a label,
            with a label outside of the classes, or with another number of classes than those before.
    """

    def __init__(
        self, topk: int | Sequence[int] = (1,), collect_device: str = "cpu", prefix: str | None = None
    ) -> None:
        # mmengine warns of a metric without prefix
        super().__init__(collect_device=collect_device, prefix=prefix or "none")
        self.prefix = prefix
        self.topk = tuple(topk) if isinstance(topk, list | tuple) else (topk,)
        if not self.topk or any(isinstance(k, bool) or not isinstance(k, int) or k < 1 for k in self.topk):
            raise UsageError("not a k", where="Accuracy.topk", expected="positive numbers", got=repr(topk))
        self._classes: int | None = None

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Rank the right class of each sample of one batch.

        Args:
            data_batch: Unused.
            data_samples: One mapping a sample with ``pred_score`` (C,) and ``gt_label``, one integer.
        """
        for sample in data_samples:
            scores, label = self._read(sample)
            if scores.isnan().any():
                self.results.append((len(scores), 1))
            else:
                self.results.append((int((scores > scores[label]).sum()), int((scores == scores[label]).sum())))

    def compute_metrics(self, results: list[tuple[int, int]]) -> dict[str, float]:
        """Average over the samples of all processes.

        Args:
            results: For each sample, how many classes have a higher score than the right one, and how many have its score.

        Returns:
            ``top<k>`` in percent.
        """
        return {
            f"top{k}": 100.0 * sum(min(max(k - above, 0) / equal, 1.0) for above, equal in results) / len(results)
            for k in self.topk
        }

    def _read(self, sample: Any) -> tuple[torch.Tensor, int]:
        if not isinstance(sample, Mapping) or "pred_score" not in sample:
            raise UsageError(
                "a prediction has no class scores",
                where="Accuracy",
                expected="a mapping with 'pred_score'",
                got=", ".join(map(str, sample)) if isinstance(sample, Mapping) else type(sample).__name__,
                fix="the model must predict them, as kdhub.TorchModel does",
            )
        scores = torch.as_tensor(sample["pred_score"]).cpu()
        if scores.ndim != 1:
            raise UsageError("class scores have no single axis", where="Accuracy", got=f"shape {tuple(scores.shape)}")
        label = sample.get("gt_label")
        if label is None:
            raise UsageError(
                "a prediction has no label to compare with",
                where="Accuracy",
                expected="'gt_label' beside 'pred_score'",
                fix="the validation batches need labels: name them by TorchModel.labels",
            )
        value = torch.as_tensor(label)
        if value.numel() != 1:
            raise UsageError("a label is not one class", where="Accuracy", got=f"shape {tuple(value.shape)}")
        self._check(len(scores), int(value))
        return scores, int(value)

    def _check(self, classes: int, label: int) -> None:
        if self._classes is None and max(self.topk) > classes:
            raise UsageError(
                f"k is {max(self.topk)}, and there are {classes} classes", where="Accuracy.topk", fix="take a smaller k"
            )
        if self._classes not in (None, classes):
            raise UsageError(
                "predictions differ in length", where="Accuracy", expected=f"{self._classes} classes", got=str(classes)
            )
        if not 0 <= label < classes:
            raise UsageError(
                f"label {label} is none of {classes} classes",
                where="Accuracy",
                expected=f"0 to {classes - 1}",
                fix="compare the number of classes of the model with that of the data",
            )
        self._classes = classes
