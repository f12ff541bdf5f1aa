"""A student as a config and weights, as the libraries of OpenMMLab load their models; for the plugins that know such a library."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from kdhub.config.read.writable import config_text
from kdhub.config.standing import student_as_it_stands


def write_library_student(
    student: nn.Module,
    path: Path,
    cfg: Mapping[str, Any],
    metainfo: Mapping[str, Any],
    *,
    scope: str,
    pack: str,
    around: Callable[[list[Any]], Mapping[str, Any]],
    training_only: Collection[str],
) -> bool:
    """Write ``config.py`` and ``student.pth``, which a library's own ``init_...`` function loads with kdhub not installed.

    Args:
        student: A model of the library.
        path: Existing empty folder.
        cfg: The run's config: the student's ``model`` and the pipeline of its test or validation data.
        metainfo: The training data set's; ``classes`` and ``palette`` go into the weights' file, where the library looks.
        scope: The library's ``default_scope``.
        pack: The last step of its pipelines, for a config that has none.
        around: From the steps by which an image is prepared at inference to where the library's config keeps them.
        training_only: Arguments of models to leave out, since they say where training begins and how it augments; most would
            load weights once more.

    Returns:
        Whether it was written: a model that was built elsewhere than from ``cfg`` has no config.
    """
    alone = student_as_it_stands(cfg)
    if not isinstance(alone["model"], Mapping):
        return False
    import torch
    from mmengine.config import Config

    model = _for_inference(alone["model"], frozenset(training_only))
    config = {"default_scope": scope, "model": model, **around(_test_pipeline(cfg, pack))}
    imports = alone.get("custom_imports", {})
    names = imports.get("imports", ()) if isinstance(imports, Mapping) else ()
    own = [name for name in ([names] if isinstance(names, str) else names) if not name.startswith("kdhub")]
    if own:
        config = {"custom_imports": {**imports, "imports": own}, **config}
    (path / "config.py").write_text(config_text(Config(config)), encoding="utf-8")
    weights = {name: tensor.detach().cpu() for name, tensor in student.state_dict().items()}
    torch.save({"meta": _meta(metainfo), "state_dict": weights}, path / "student.pth")
    return True


def _for_inference(node: Any, training_only: frozenset[str]) -> Any:
    if isinstance(node, Mapping):
        kept = {key: _for_inference(value, training_only) for key, value in node.items() if key not in training_only}
        # a switch in some models and a path in others; TIMMBackbone downloads unless told not to
        if "pretrained" in kept or _class_name(kept.get("type")) == "TIMMBackbone":
            kept["pretrained"] = False if isinstance(kept.get("pretrained", True), bool) else None
        return kept
    if isinstance(node, list | tuple):
        return type(node)(_for_inference(item, training_only) for item in node)
    return node


def _test_pipeline(cfg: Mapping[str, Any], pack: str) -> list[Any]:
    """Find how images are prepared for evaluation; at inference there are no annotations to load."""
    for part in ("test_dataloader", "val_dataloader"):
        dataset = (cfg.get(part) or {}).get("dataset")
        while isinstance(dataset, Mapping) and "pipeline" not in dataset:  # a wrapper such as RepeatDataset
            dataset = dataset.get("dataset") or next(iter(dataset.get("datasets") or ()), None)
        if isinstance(dataset, Mapping) and dataset["pipeline"]:
            return [step for step in dataset["pipeline"] if not _class_name(step["type"]).endswith("LoadAnnotations")]
    return [{"type": "LoadImageFromFile"}, {"type": pack}]


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
