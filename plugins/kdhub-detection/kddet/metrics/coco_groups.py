"""COCO's average precision over groups of classes: base, novel and all."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from mmdet.datasets.api_wrappers import COCO, COCOeval
from mmdet.evaluation.metrics import CocoMetric
from mmengine.fileio import load

from kddet.data.coco_names import BASE, NOVEL
from kdhub.api import UsageError, near_matches

ALL = "all"


class CocoGroups(CocoMetric):
    """Average precision of boxes for groups of classes, as zero-shot detection reports it.

    ``AP`` is the mean over IoU 0.5 to 0.95 and over the classes of a group that have boxes in the data, ``AP50`` that at IoU
    0.5; both are NaN for a group without boxes, whatever was found: ``AP_base``, ``AP50_base``, ``AP_novel``, ``AP50_novel``, ``AP_all`` and ``AP50_all`` for the
    default groups. One evaluation serves all groups: detections of all classes compete for the 100 places of an image, which is the
    generalised setting.

    Args:
        groups: Group to class names. ``None`` is COCO's 48 base and 17 novel classes. Names that the data set does not have
            are an error; ``all`` is added: the classes of all groups together.
        ann_file: COCO annotations; ``None`` takes the boxes from the data set.
        proposal_nums: Most detections per image; COCO's own is 100.
        prefix: Before the names of the metrics, as in ``coco/AP_novel``.
        backend_args: For reading ``ann_file``.
        collect_device: Where results of several processes are gathered.

    Raises:
        UsageError: For a class that is in no data set, when the metric is first computed.
    """

    default_prefix = "coco"
    _coco_api: Any

    def __init__(
        self,
        groups: Mapping[str, Sequence[str]] | None = None,
        ann_file: str | None = None,
        proposal_nums: Sequence[int] = (1, 10, 100),
        prefix: str | None = None,
        backend_args: dict[str, Any] | None = None,
        collect_device: str = "cpu",
    ) -> None:
        super().__init__(
            ann_file=ann_file,
            proposal_nums=proposal_nums,
            prefix=prefix,
            backend_args=backend_args,
            collect_device=collect_device,
        )
        self.groups = (
            {"base": BASE, "novel": NOVEL} if groups is None else {name: (*of,) for name, of in groups.items()}
        )

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Evaluate all images and average class by class."""
        classes = self.dataset_meta["classes"]
        members = _members(self.groups, classes)
        truths, predictions = zip(*results, strict=True)
        with TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
            prefix = str(Path(folder) / "results")
            if self._coco_api is None:
                self._coco_api = COCO(self.gt_to_coco_json(gt_dicts=truths, outfile_prefix=prefix))
            self.cat_ids = self._coco_api.get_cat_ids(cat_names=classes)
            self.img_ids = self._coco_api.get_img_ids()
            found = load(self.results2json(predictions, prefix)["bbox"])
            if not found:
                there = {annotation["category_id"] for annotation in self._coco_api.dataset["annotations"]}
                scores = {
                    name: _nothing_found(self.cat_ids[place] in there for place in places)
                    for name, places in members.items()
                }
                return {f"{metric}_{name}": score for name, score in scores.items() for metric in ("AP", "AP50")}
            evaluation = COCOeval(self._coco_api, self._coco_api.loadRes(found), "bbox")
            evaluation.params.catIds = self.cat_ids
            evaluation.params.imgIds = [truth["img_id"] for truth in truths]
            evaluation.params.maxDets = list(self.proposal_nums)
            evaluation.evaluate()
            evaluation.accumulate()
        # IoU, recall, class, area range, most detections; -1 where a class has no boxes
        precision = evaluation.eval["precision"][:, :, :, 0, -1]
        metrics = {}
        for name, places in members.items():
            metrics[f"AP_{name}"] = _mean(precision[:, :, places])
            metrics[f"AP50_{name}"] = _mean(precision[:1, :, places])
        return metrics


def _members(groups: Mapping[str, Sequence[str]], classes: Sequence[str]) -> dict[str, list[int]]:
    """Return each group's columns, and those of all groups together."""
    members = {}
    for group, names in groups.items():
        for name in names:
            if name not in classes:
                raise UsageError(
                    f"CocoGroups: group {group!r} names a class that the data set does not have",
                    got=repr(name),
                    near=near_matches(name, classes),
                )
        members[group] = [classes.index(name) for name in names]
    return {**members, ALL: sorted({place for places in members.values() for place in places})}


def _nothing_found(there: Iterable[bool]) -> float:
    """Precision of a group of which nothing was found: 0, or none where no class of it has boxes."""
    return 0.0 if any(there) else float("nan")


def _mean(precision: Any) -> float:
    known = precision[precision > -1]
    return float(np.mean(known)) if known.size else float("nan")
