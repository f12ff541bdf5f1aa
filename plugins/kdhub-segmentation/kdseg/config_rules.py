"""Rules between parts of a segmentation config that no signature can express; reads configs, builds nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdhub.api import UsageError, student_as_it_stands
from kdseg.frames import check_frames
from kdseg.operators import NEED_MMDET, NEED_OPERATORS, has_mmdet, has_operators

if TYPE_CHECKING:
    from kdhub.api import Report

CLASSES = {
    "CityscapesDataset": 19,
    "ADE20KDataset": 150,
    "PascalContextDataset59": 59,
    "PascalContextDataset": 60,
    "kdseg.CamVid": 11,
}
"""Classes of the data sets that configs of this plugin use."""


def check(cfg: Mapping[str, Any], report: Report) -> None:
    """Report every contradiction between student, teachers and data.

    Args:
        cfg: The resolved config; one whose student is no segmentor of mmseg is left alone.
        report: Gathers findings.
    """
    cfg = _with_names(cfg)
    model = cfg.get("model")
    if not isinstance(model, Mapping):
        return
    path = "model.student" if "student" in model else "model"
    student = student_as_it_stands(cfg)["model"]
    if not isinstance(student, Mapping) or "decode_head" not in student:
        return
    teachers = dict(_teachers(model, report))
    for where, segmentor in ((path, student), *((f"{place}.model", found) for place, _, found in teachers.values())):
        _check_operators(where, segmentor, report)
        _check_weights(where, segmentor, report)
    for name, objective in _mapping(model.get("objectives")).items():
        if isinstance(objective, Mapping):
            _check_classes(f"model.objectives.{name}", objective, student, teachers, report)
    check_frames(cfg, student, {place: (teacher, found) for place, teacher, found in teachers.values()}, report)
    _check_data(cfg, path, student, report)


def _teachers(
    model: Mapping[str, Any], report: Report
) -> Iterator[tuple[str, tuple[str, Mapping[str, Any], Mapping[str, Any]]]]:
    """Yield each live teacher's name, place, config and the model it means, read from its file if need be."""
    named = {"teacher": model["teacher"]} if "teacher" in model else _mapping(model.get("teachers"))
    for name, teacher in named.items():
        place = "model.teacher" if "teacher" in model else f"model.teachers.{name}"
        found = teacher.get("model") if isinstance(teacher, Mapping) else None
        if isinstance(found, str):
            found = _read(found, f"{place}.model", report)
        if isinstance(found, Mapping):
            yield name, (place, teacher, found)


def _read(file: str, where: str, report: Report) -> Any:
    from kdhub.api import load_config

    try:
        return _with_names(student_as_it_stands(load_config(file, custom_imports=False))["model"])
    except UsageError as error:
        report.error(
            where, error.what, expected=error.expected, got=error.got, near=error.near, fix=error.fix, plugin="kdseg"
        )
        return None


def _check_weights(where: str, segmentor: Mapping[str, Any], report: Report) -> None:
    """Warn of ImageNet weights that `prepare_data.py` would make and has not; training stops without them."""
    for path, part in _components(where, segmentor):
        file = _mapping(part.get("init_cfg")).get("checkpoint")
        if isinstance(file, str) and Path(file).name.startswith("tf_efficientnet_lite") and not Path(file).is_file():
            report.warn(
                f"{path}.init_cfg.checkpoint",
                f"there is no {file}",
                fix="python tools/prepare_data.py efficientnet-lite",
                plugin="kdseg",
            )


def _check_operators(where: str, segmentor: Mapping[str, Any], report: Report) -> None:
    needs = {
        **({} if has_operators() else dict.fromkeys(NEED_OPERATORS, "mmcv's compiled operators, which are not here")),
        **({} if has_mmdet() else dict.fromkeys(NEED_MMDET, "mmdet, which is not installed")),
    }
    for path, part in _components(where, segmentor):
        name = str(part["type"]).removeprefix("mmseg.")
        if name in needs:
            instead = {**NEED_OPERATORS, **NEED_MMDET}[name]
            report.error(path, f"{name} needs {needs[name]}", fix=f"use {instead}", plugin="kdseg")
        if part.get("dcn") and not has_operators():
            fix = "leave dcn out"
            report.error(f"{path}.dcn", f"{name} with dcn needs mmcv's compiled operators", fix=fix, plugin="kdseg")


def _check_classes(
    where: str,
    objective: Mapping[str, Any],
    student: Mapping[str, Any],
    teachers: Mapping[str, tuple[str, Mapping[str, Any], Mapping[str, Any]]],
    report: Report,
) -> None:
    from kdhub.api import find

    loss = _mapping(objective.get("loss")).get("type")
    spec = find(loss) if isinstance(loss, str) and loss.partition(".")[0] in ("kdseg", "kdhub") else None
    if spec is None or "logits" not in getattr(spec, "tags", ()) or objective.get("adapter"):
        return
    _, own = _tap(objective.get("student"))
    owner, theirs = _tap(objective.get("teacher"))
    known = teachers.get(owner or next(iter(teachers), ""))
    if known is None:
        return
    here, there = _channels(student, own), _channels(known[2], theirs)
    if here and there and here != there:
        report.error(
            f"{where}.teacher",
            f"{loss} compares logits of the same classes, and the teacher's head has another number of them",
            expected=f"{here}, as the student's {own!r}",
            got=f"{there} of {theirs!r}",
            fix="use a teacher of the same data set",
            plugin="kdseg",
        )


def _transforms(dataset: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the transforms of a data set and of those inside it: a mosaic's inner data set loads the labels."""
    yield from dataset.get("pipeline") or ()
    inner = [dataset.get("dataset"), *(dataset.get("datasets") or ())]
    for wrapped in filter(None, map(_mapping, inner)):
        yield from _transforms(wrapped)


def _check_data(cfg: Mapping[str, Any], where: str, student: Mapping[str, Any], report: Report) -> None:
    dataset = _mapping(_mapping(cfg.get("train_dataloader")).get("dataset"))
    types = [str(_mapping(step).get("type", "")) for step in _transforms(dataset)]
    # only mmseg's own transforms are known; anybody else's may load labels under another name
    known = all("." not in name or name.startswith(("mmseg.", "mmcv.")) for name in types)
    if types and known and "custom_imports" not in cfg and not any("Annotation" in name for name in types):
        report.error(
            "train_dataloader.dataset.pipeline",
            "no transform loads the labels, which the student's own loss and distillation need",
            expected="dict(type='LoadAnnotations') after the image is loaded",
            plugin="kdseg",
        )
    classes = CLASSES.get(str(dataset.get("type")).removeprefix("mmseg."))
    for name, head in _heads(student):
        count = head.get("num_classes")
        own_labels = str(head.get("type")).endswith("STDCHead")  # it makes labels of its own: where a boundary is
        if classes and isinstance(count, int) and count < classes and "metainfo" not in dataset and not own_labels:
            report.error(
                f"{where}.{name}.num_classes",
                f"{dataset['type']} has labels that the head has no logit for",
                expected=str(classes),
                got=str(count),
                plugin="kdseg",
            )


def _heads(student: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name in ("decode_head", "auxiliary_head"):
        heads = student.get(name)
        for index, head in enumerate(heads if isinstance(heads, list | tuple) else ()):
            yield f"{name}.{index}", _mapping(head)
        if isinstance(heads, Mapping):
            yield name, heads


def _components(path: str, node: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(node, Mapping):
        if "type" in node:
            yield path, node
        for key, value in node.items():
            yield from _components(f"{path}.{key}", value)
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _components(f"{path}.{index}", value)


def _tap(tap: Any) -> tuple[str, str]:
    """Return a tap's teacher and path; nothing for a tap that this page cannot read."""
    tap = tap.get("path") if isinstance(tap, Mapping) else tap
    owner, colon, path = str(tap or "").rpartition(":")
    return (owner, path) if colon else ("", str(tap or ""))


def _channels(segmentor: Mapping[str, Any], path: str) -> int | None:
    """Return how many logits a head gives, if the path is its classifier's."""
    head, _, layer = path.rpartition(".")
    node = dict(_heads(segmentor)).get(head) if layer == "conv_seg" else None
    count = node.get("out_channels") or node.get("num_classes") if node else None
    return count if isinstance(count, int) else None


def _with_names(value: Any) -> Any:
    """Write for each class what a config of names would say: ``"mmseg.FCNHead"``."""
    if isinstance(value, Mapping):
        return {key: _with_names(child) for key, child in value.items()}
    if isinstance(value, list) or type(value) is tuple:
        return type(value)(map(_with_names, value))
    return f"{value.__module__.partition('.')[0]}.{value.__name__}" if isinstance(value, type) else value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
