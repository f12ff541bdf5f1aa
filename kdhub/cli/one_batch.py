"""One batch through the models of a config, for `kdhub probe`; imports torch."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

from kdhub.caching.stored import StoredTeacher
from kdhub.checkpoint import safe_loading
from kdhub.config.standing import model_as_trained
from kdhub.distill.distiller import Distiller
from kdhub.distill.outline import Row, outline
from kdhub.distill.teachers import ModelTeacher
from kdhub.engine.faults.explained import explained
from kdhub.engine.libraries import import_library
from kdhub.engine.models import distilling
from kdhub.errors import UsageError
from kdhub.plugins import PluginManager
from kdhub.plugins.classes import component_of

_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
_NEEDS_WORKERS = ("persistent_workers", "prefetch_factor", "multiprocessing_context")


def outlines(cfg: Config, manager: PluginManager, side: str | None = None) -> dict[str, list[Row]]:
    """Describe the modules of the student and of every live teacher, whose weights need not be there.

    Args:
        cfg: A config with a model and data. The model's objectives are left out.
        manager: Knows which model is a distiller.
        side: ``student`` or ``teacher``; ``None`` for both.

    Returns:
        Name of the model (``student``, ``teacher`` or the teacher's own) to its rows.

    Raises:
        UsageError: If there is no data, or no model on that side, or if a part of the config cannot be built.
    """
    import_library(cfg)
    init_default_scope(cfg.get("default_scope") or "mmengine")
    # without objectives the distiller warns that no teacher is read, and stdout is for the table
    MMLogger.get_current_instance().setLevel("ERROR")
    with explained(cfg, lambda: "the same command"), safe_loading():
        model = MODELS.build(_bare(model_as_trained(cfg), manager, with_teachers=side != "student"))
        batch, training = _first_batch(cfg)
        model.train(training)
        data = model.data_preprocessor(batch, training)
        distiller = distilling(model)
        found = {}
        if side != "teacher":
            student, own = (distiller.student, data["student"]) if distiller is not None else (model, data)
            with torch.no_grad():
                found["student"] = outline(
                    student, partial(student._run_forward, own, mode="loss" if training else "tensor")
                )
        if side != "student" and distiller is not None:
            for name, teacher in distiller.teachers.items():
                if teacher.model is not None:
                    found[name] = outline(
                        teacher.model, partial(teacher.values, data["teachers"][name], [], check_mode=False)
                    )
    if not found:
        raise UsageError("the model has no live teacher", where="model.teacher", fix="leave --side teacher out")
    return found


def _bare(model: Mapping[str, Any], manager: PluginManager, with_teachers: bool) -> dict[str, Any]:
    """Leave out of a distiller the objectives, and of its teachers all that shapes do not depend on."""
    bare = copy.deepcopy(dict(model))
    if not _is(bare.get("type"), Distiller, manager):
        return bare
    bare["objectives"] = {}
    teacher, teachers = bare.pop("teacher", None), bare.pop("teachers", None)
    if with_teachers and teacher is not None:
        bare["teacher"] = _shapes_only(teacher, manager)
    if with_teachers and teachers is not None:
        bare["teachers"] = {name: _shapes_only(one, manager) for name, one in teachers.items()}
    return bare


def _shapes_only(teacher: Any, manager: PluginManager) -> Any:
    """Take the live teacher out of a stored one, and leave out the weights: neither need be there yet."""
    if not isinstance(teacher, Mapping):
        return teacher
    if _is(teacher.get("type"), StoredTeacher, manager) and teacher.get("teacher"):
        return _shapes_only(teacher["teacher"], manager)
    if _is(teacher.get("type"), ModelTeacher, manager):
        return {**teacher, "checkpoint": None, "own_weights": True}
    return teacher


def _is(type_: Any, wanted: type, manager: PluginManager) -> bool:
    """Whether a ``type`` of a config means a class of kdhub or one that is derived from it."""
    entry = component_of(type_, manager)
    target = type_ if entry is None else entry.load()
    return isinstance(target, type) and issubclass(target, wanted)


def _first_batch(cfg: Config) -> tuple[Any, bool]:
    """Return a batch, and whether it is one to train on: then the student runs as in training, where taps read it."""
    name = next((name for name in _LOADERS if cfg.get(name)), None)
    if name is None:
        raise UsageError("the config has no data", expected=f"one of {', '.join(_LOADERS)}")
    loader = copy.deepcopy(cfg[name])
    for key in _NEEDS_WORKERS:
        loader.pop(key, None)
    loader["num_workers"] = 0
    built = Runner.build_dataloader(loader)
    # samplers divide by the length
    if not hasattr(built.dataset, "__len__") or len(built.dataset):
        for batch in built:
            return batch, name == _LOADERS[0]
    raise UsageError("the data set is empty", where=f"{name}.dataset", expected="at least one batch")
