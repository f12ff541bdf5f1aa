"""The rule that student and teacher see each image in one frame: padded alike, so that positions mean the same pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdhub.api import Report

_Size = tuple[int, int]


def check_frames(
    cfg: Mapping[str, Any],
    student: Mapping[str, Any],
    teachers: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]],
    report: Report,
) -> None:
    """Compare how mmseg's preprocessors pad.

    Args:
        cfg: The config, whose training pipeline may crop.
        student: The student's config.
        teachers: Place in the config to the teacher's config and that of its model.
        report: Gathers findings.
    """
    crop = _crop(cfg)
    own = _preprocessor(student)
    where = "model.student" if "student" in cfg["model"] else "model"
    _check_padding(f"{where}.data_preprocessor", own, report)
    for place, (teacher, model) in teachers.items():
        theirs = _preprocessor(model)
        if teacher.get("batch", "raw") != "raw" or own is None or theirs is None:
            continue
        path = f"{place}.model.data_preprocessor" if isinstance(teacher.get("model"), Mapping) else f"{place}.model"
        _check_padding(path, theirs, report)
        if not _pads_once(own) or not _pads_once(theirs):
            continue
        here, there = _padding(own), _padding(theirs)
        if here == there:
            continue
        say = report.error if crop and _padded(crop, here) != _padded(crop, there) else report.warn
        say(
            path,
            "teacher and student pad images differently, and logits would be compared at positions of different pixels",
            expected=_text(here),
            got=_text(there),
            fix="give both the same size, or set batch='student' on the teacher",
            plugin="kdseg",
        )


def _check_padding(path: str, preprocessor: Mapping[str, Any] | None, report: Report) -> None:
    if preprocessor is not None and not _pads_once(preprocessor):
        report.error(
            path,
            "SegDataPreProcessor wants either size or size_divisor in training",
            expected="size=(height, width) of the training crops",
            got="both" if preprocessor.get("size") else "neither",
            plugin="kdseg",
        )


def _preprocessor(model: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return a model's preprocessor if it is mmseg's own, whose padding is known."""
    found = model.get("data_preprocessor")
    known = isinstance(found, Mapping) and str(found.get("type")).removeprefix("mmseg.") == "SegDataPreProcessor"
    return found if known else None


def _pads_once(preprocessor: Mapping[str, Any]) -> bool:
    return (preprocessor.get("size") is None) != (preprocessor.get("size_divisor") is None)


def _padding(preprocessor: Mapping[str, Any]) -> _Size | int:
    size = preprocessor.get("size")
    return _pair(size) if size is not None else int(preprocessor["size_divisor"])


def _padded(crop: _Size, padding: _Size | int) -> _Size:
    if isinstance(padding, int):
        return (-(-crop[0] // padding) * padding, -(-crop[1] // padding) * padding)
    return (max(crop[0], padding[0]), max(crop[1], padding[1]))


def _crop(cfg: Mapping[str, Any]) -> _Size | None:
    """Return (height, width) of the training crops, if the pipeline crops."""
    loader = cfg.get("train_dataloader")
    dataset = loader.get("dataset") if isinstance(loader, Mapping) else None
    pipeline = dataset.get("pipeline") if isinstance(dataset, Mapping) else None
    for step in pipeline or ():
        if str(step.get("type")).removeprefix("mmseg.") == "RandomCrop" and step.get("crop_size"):
            return _pair(step["crop_size"])
    return None


def _pair(size: Any) -> _Size:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _text(padding: _Size | int) -> str:
    return f"size_divisor={padding}" if isinstance(padding, int) else f"size={padding}"
