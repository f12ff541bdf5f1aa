"""The student as a config and weights that mmseg's own ``init_model`` loads, with kdhub not installed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from kdhub.api import config_text, student_as_it_stands

_TRAINING_ONLY = ("init_cfg", "checkpoint_path", "batch_augments", "train_cfg")
"""Arguments of models that say where training begins and how it augments; most would load weights once more."""


def export_student(student: nn.Module, path: Path, cfg: Mapping[str, Any], metainfo: Mapping[str, Any]) -> str | None:
    """Save a student if it is one of mmseg's segmentors.

    Args:
        student: Any student.
        path: Existing empty folder; gets ``config.py`` and ``student.pth``.
        cfg: The run's config: the student's ``model`` and the pipeline of its test or validation data.
        metainfo: The training data set's; ``classes`` and ``palette`` go into the weights' file, where mmseg looks.

    Returns:
        The line of Python that loads it from the run's folder, or ``None`` if the student is not mmseg's, or was built
        elsewhere than from ``cfg``.
    """
    # a segmentor's class has imported the module; importing it for everybody else's student would cost seconds
    models = sys.modules.get("mmseg.models")
    if models is None or not isinstance(student, models.BaseSegmentor):
        return None
    alone = student_as_it_stands(cfg)
    if not isinstance(alone["model"], Mapping):
        return None
    import torch
    from mmengine.config import Config

    (path / "config.py").write_text(config_text(Config(_config(alone, cfg))), encoding="utf-8")
    weights = {name: tensor.detach().cpu() for name, tensor in student.state_dict().items()}
    torch.save({"meta": _meta(metainfo), "state_dict": weights}, path / "student.pth")
    return "mmseg.apis.init_model('student/config.py', 'student/student.pth', device='cpu')"


def _config(alone: Mapping[str, Any], cfg: Mapping[str, Any]) -> dict[str, Any]:
    config = {
        "default_scope": "mmseg",
        "model": _for_inference(alone["model"]),
        "test_pipeline": _test_pipeline(cfg),
    }
    imports = alone.get("custom_imports", {})
    names = imports.get("imports", ()) if isinstance(imports, Mapping) else ()
    own = [name for name in ([names] if isinstance(names, str) else names) if not name.startswith("kdhub")]
    return {"custom_imports": {**imports, "imports": own}, **config} if own else config


def _for_inference(node: Any) -> Any:
    if isinstance(node, Mapping):
        kept = {key: _for_inference(value) for key, value in node.items() if key not in _TRAINING_ONLY}
        # a switch in some models and a path in others; TIMMBackbone downloads unless told not to
        if "pretrained" in kept or _class_name(kept.get("type")) == "TIMMBackbone":
            kept["pretrained"] = False if isinstance(kept.get("pretrained", True), bool) else None
        return kept
    if isinstance(node, list | tuple):
        return type(node)(_for_inference(item) for item in node)
    return node


def _test_pipeline(cfg: Mapping[str, Any]) -> list[Any]:
    """Find how images are prepared for evaluation; ``inference_model`` has no annotations to load."""
    for part in ("test_dataloader", "val_dataloader"):
        dataset = (cfg.get(part) or {}).get("dataset")
        while isinstance(dataset, Mapping) and "pipeline" not in dataset:  # a wrapper such as RepeatDataset
            dataset = dataset.get("dataset") or next(iter(dataset.get("datasets") or ()), None)
        if isinstance(dataset, Mapping) and dataset["pipeline"]:
            return [step for step in dataset["pipeline"] if not _class_name(step["type"]).endswith("LoadAnnotations")]
    return [{"type": "LoadImageFromFile"}, {"type": "PackSegInputs"}]


def _class_name(type_: Any) -> str:
    """Return the name of a class that a config names in words, by an import path, or as itself."""
    return str(getattr(type_, "__name__", type_)).rpartition(".")[2]


def _meta(metainfo: Mapping[str, Any]) -> dict[str, Any]:
    """Keep names and colours as plain values, which torch reads with ``weights_only=True``."""
    if not metainfo.get("classes"):
        return {}
    known: dict[str, Any] = {"classes": tuple(map(str, metainfo["classes"]))}
    if metainfo.get("palette"):
        known["palette"] = [[int(value) for value in colour] for colour in metainfo["palette"]]
    return {"dataset_meta": known}
