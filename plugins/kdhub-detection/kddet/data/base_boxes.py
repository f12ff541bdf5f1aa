"""COCO with the boxes of some of its classes alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO

from kdhub.api import UsageError, near_matches


class _InOrder(COCO):
    """Annotations that refuse names in another order than their own: their labels would be each other's."""

    def get_cat_ids(self, cat_names: Sequence[str] = (), **others: Any) -> list[Any]:
        found: list[Any] = super().get_cat_ids(cat_names=cat_names, **others)
        ours = [str(self.cats[one]["name"]) for one in found]
        if lacking := [name for name in cat_names if name not in ours]:
            raise UsageError(
                "BaseBoxes: the annotations have no such category",
                where="classes",
                got=repr(lacking[0]),
                near=near_matches(lacking[0], [str(one["name"]) for one in self.cats.values()]),
                fix="leave it out, or add it to the categories of the file",
            )
        for name, own in zip(cat_names, ours, strict=True):
            if name != own:
                raise UsageError(
                    "BaseBoxes: the classes are not in the order of the annotations' categories",
                    where="classes",
                    expected=f"{own!r} first of those that differ",
                    got=repr(name),
                    fix="give classes, and the names of the bank, in the file's order",
                )
        return found


class BaseBoxes(CocoDataset):
    """mmdet's `CocoDataset` with labels of all its classes and boxes of some: those that open-vocabulary training may see.

    Args:
        classes: All class names, in the order of the labels, which must be that of the file's categories: mmdet numbers labels so.
        base: Those whose boxes are kept; ``None`` for all, as in evaluation.
        options: As of mmdet's `CocoDataset`.

    Raises:
        UsageError: If one of ``base`` is not among ``classes``, or the file has the categories in another order, or lacks one.
    """

    COCOAPI = _InOrder

    def __init__(self, classes: Sequence[str], base: Sequence[str] | None = None, **options: Any) -> None:
        for name in base or ():
            if name not in classes:
                raise UsageError(
                    "BaseBoxes: no such class", where="base", got=repr(name), near=near_matches(name, classes)
                )
        self._kept = None if base is None else {list(classes).index(name) for name in base}
        super().__init__(metainfo={"classes": tuple(classes)}, **options)

    def parse_data_info(self, raw_data_info: dict[str, Any]) -> dict[str, Any] | list[dict[str, Any]]:
        """Read one image, and leave the boxes of other classes out."""
        info: dict[str, Any] = super().parse_data_info(raw_data_info)
        if self._kept is not None:
            info["instances"] = [one for one in info["instances"] if one["bbox_label"] in self._kept]
        return info

    def filter_data(self) -> list[dict[str, Any]]:
        """Drop images without a kept box, where ``filter_cfg`` says so: mmdet looks at boxes of all classes for that."""
        kept: list[dict[str, Any]] = super().filter_data()
        if self._kept is None or not (self.filter_cfg or {}).get("filter_empty_gt", False):
            return kept
        return [info for info in kept if info["instances"]]
