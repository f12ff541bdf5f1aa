"""`ClassReport`: accuracy class by class, by the size of the classes in training, and how true the model's confidence is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.logging import print_log

from kdcls.long_tail import labels_of
from kdhub.api import FLAG, Accuracy, UsageError, build, choice, integer, require


class Bin(NamedTuple):
    """One bin of the calibration error.

    Attributes:
        lowest: Lower end of the confidences in it, themselves not in it.
        samples: How many there are.
        confidence: Their mean confidence, from 0 to 1.
        accuracy: Share of them that is right.
    """

    lowest: float
    samples: int
    confidence: float
    accuracy: float


class _Seen(NamedTuple):
    above: int
    equal: int
    label: int
    confidence: float


class ClassReport(Accuracy):
    """What `kdhub.Accuracy` says, and what one number hides; all in percent.

    It is a metric of its own, as `kdhub.Accuracy` stays with what needs one integer a sample; its rule for equal scores holds here
    too. Beside ``top<k>``: ``mean_class`` (mean of the classes' top-1), ``many``, ``medium`` and ``few`` (the same over classes of that size in
    training, if ``train`` says it), ``ece`` (expected calibration error), and ``top1_<class>`` with ``per_class``.

    Args:
        topk: One k, or several.
        train: What the model was trained on: images of each class as a list, or the training data set, as a config that
            is built here to be counted. ``None`` leaves ``many``, ``medium`` and ``few`` out.
        many: A class with more training images is one of many.
        few: A class with fewer is one of few; 100 and 20 are those of the long-tail literature.
        per_class: Whether each class's top-1 is a figure of its own.
        bins: Bins of equal width of the calibration error; `bins_found` has them afterwards, and the log their table.
        scores: ``'logits'``, as `kdhub.TorchModel` predicts, or ``'probabilities'``, as mmpretrain's models do.
        collect_device: As for every metric of mmengine.
        prefix: Stands before the names with a slash; none by default.

    Attributes:
        bins_found: The bins of the last evaluation.

    Raises:
        UsageError: For what `kdhub.Accuracy` refuses; for training data of another number of classes; for probabilities that are none.
    """

    def __init__(
        self,
        topk: int | Sequence[int] = (1, 5),
        train: Any = None,
        many: int = 100,
        few: int = 20,
        per_class: bool = False,
        bins: int = 15,
        scores: str = "logits",
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(topk, collect_device, prefix)
        require("ClassReport", integer(0), many=many, few=few)
        require("ClassReport", integer(1), bins=bins)
        require("ClassReport", FLAG, per_class=per_class)
        require("ClassReport", choice(("logits", "probabilities")), scores=scores)
        if few > many + 1:
            raise UsageError("ClassReport: few is above many", got=f"few={few}, many={many}")
        self.many, self.few, self.per_class, self.bins, self.scores = many, few, per_class, bins, scores
        self.train_counts = None if train is None else _counts(train)
        self.bins_found: tuple[Bin, ...] = ()

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Rank the right class of each sample of one batch, and keep label and confidence.

        Args:
            data_batch: Unused.
            data_samples: One mapping a sample with ``pred_score`` (C,) and ``gt_label``, one integer.
        """
        for sample in data_samples:
            super().process(data_batch, [sample])
            above, equal = self.results.pop()
            scores = torch.as_tensor(sample["pred_score"]).float().cpu()
            if self.train_counts is not None and len(self.train_counts) != len(scores):
                raise UsageError(
                    "the training data have another number of classes than the predictions",
                    where="ClassReport.train",
                    expected=str(len(scores)),
                    got=str(len(self.train_counts)),
                )
            label = int(torch.as_tensor(sample["gt_label"]))
            self.results.append(_Seen(above, equal, label, self._confidence(scores)))

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Average over the samples of all processes.

        Args:
            results: Rank, label and confidence of each sample.

        Returns:
            The figures, in percent.
        """
        seen = [_Seen(*one) for one in results]
        metrics = super().compute_metrics([(one.above, one.equal) for one in seen])
        labels = np.array([one.label for one in seen])
        right = np.array([0.0 if one.above else 1.0 / one.equal for one in seen])
        of_class = {int(label): 100.0 * float(right[labels == label].mean()) for label in np.unique(labels)}
        metrics["mean_class"] = float(np.mean(list(of_class.values())))
        for name, members in self._groups().items():
            if found := [of_class[label] for label in members if label in of_class]:
                metrics[name] = float(np.mean(found))
        confidence = np.array([one.confidence for one in seen])
        self.bins_found = tuple(calibration_bins(confidence, right, self.bins))
        metrics["ece"] = calibration_error(self.bins_found)
        print_log(_table(self.bins_found), "current")
        if self.per_class:
            names = self._names()
            metrics |= {f"top1_{names.get(label, label)}": value for label, value in of_class.items()}
        return metrics

    def _confidence(self, scores: torch.Tensor) -> float:
        if scores.isnan().any():
            return 0.0
        if self.scores == "logits":
            return float(scores.softmax(0).max())
        if scores.min() < 0 or not torch.isclose(scores.sum(), torch.tensor(1.0), atol=1e-3):
            raise UsageError(
                "the scores are no probabilities",
                where="ClassReport.scores",
                expected="numbers from 0 that add up to 1",
                got=f"lowest {float(scores.min()):g}, sum {float(scores.sum()):g}",
                fix="scores='logits'",
            )
        return float(scores.max())

    def _groups(self) -> dict[str, list[int]]:
        if self.train_counts is None:
            return {}
        counts = enumerate(self.train_counts)
        names = [(label, "many" if n > self.many else "few" if n < self.few else "medium") for label, n in counts]
        return {name: [label for label, its in names if its == name] for name in ("many", "medium", "few")}

    def _names(self) -> dict[int, str]:
        return dict(enumerate((self.dataset_meta or {}).get("classes") or ()))


def _counts(train: Any) -> list[int]:
    if isinstance(train, list | tuple):
        require("ClassReport", integer(0), **{f"train[{place}]": count for place, count in enumerate(train)})
        return list(train)
    data = build("dataset", train, where="ClassReport.train")
    labels = labels_of(data, "ClassReport.train")
    classes = (getattr(data, "metainfo", None) or {}).get("classes") or ()
    return np.bincount(labels[labels >= 0], minlength=len(classes)).tolist()


def calibration_bins(confidence: np.ndarray[Any, Any], right: np.ndarray[Any, Any], count: int) -> list[Bin]:
    """Part samples into bins (lowest, lowest + 1/count], the first with 0 in it; bins without samples are left out.

    Args:
        confidence: Of each sample's answer, ``(N,)``, from 0 to 1.
        right: Whether it is right, ``(N,)``; a share where answers tie.
        count: Bins.
    """
    # less what float32 makes of a confidence on the border
    place = np.clip(np.ceil(confidence * count - 1e-6).astype(int) - 1, 0, count - 1)
    return [
        Bin(
            one / count,
            int((place == one).sum()),
            float(confidence[place == one].mean()),
            float(right[place == one].mean()),
        )
        for one in np.unique(place).tolist()
    ]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Return the expected calibration error in percent: the mean gap between confidence and accuracy over all samples."""
    gaps = [one.samples * abs(one.accuracy - one.confidence) for one in bins]
    return 100.0 * sum(gaps) / sum(one.samples for one in bins)


def _table(bins: Sequence[Bin]) -> str:
    rows = [f"{one.lowest:10.3f} {one.samples:7d} {one.confidence:10.3f} {one.accuracy:8.3f}" for one in bins]
    return "\n".join(["calibration: bin from, samples, confidence, accuracy", *rows])
