"""Whether a teacher has anything to teach: what its config says about weights."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from kdhub.config.check.missing_files import WEIGHTS
from kdhub.config.read.load import load_config
from kdhub.config.standing import student_as_it_stands
from kdhub.errors import UsageError
from kdhub.findings import Report

MODEL_TEACHER = "kdhub.ModelTeacher"
_SPEAKS_OF_WEIGHTS = ("pretrain", "checkpoint", "ckpt", "weights", "load", "model", "name", "path", "file", "url")
"""Words in a key whose value, if it is a text or True, may name weights that a constructor loads."""


def warn_of_ignorance(teacher: Mapping[str, Any], path: str, report: Report) -> None:
    """Warn of a `ModelTeacher` for which no weights are named; whether its constructor has some of its own, only a run sees.

    Args:
        teacher: Config of the teacher.
        path: Its key path.
        report: Where the finding goes.
    """
    if teacher.get("type") != MODEL_TEACHER:
        return
    checkpoint, own = teacher.get("checkpoint"), teacher.get("own_weights")
    if checkpoint is not None and own:
        report.error(
            f"{path}.own_weights",
            "the teacher is to keep its own weights, and to load others",
            got=f"checkpoint={checkpoint!r}",
            fix="leave out one of the two",
        )
    if checkpoint is not None or own:
        return
    model = teacher.get("model")
    if isinstance(model, str):
        with suppress(UsageError):  # a file that cannot be read
            model = student_as_it_stands(load_config(model, custom_imports=False))["model"]
    if isinstance(model, Mapping) and not _may_load(model):
        report.warn(
            f"{path}.checkpoint",
            "the teacher has no checkpoint, and its model names no weights: it knows nothing, unless the model's constructor"
            " loads some",
            fix="checkpoint='teacher.pth', or own_weights=True if it is meant so",
        )


def _may_load(value: Any, key: str = "") -> bool:
    """Whether a part of a model's config may make it load weights."""
    if isinstance(value, Mapping):
        return any(_may_load(child, str(name)) for name, child in value.items())
    if isinstance(value, list | tuple):
        return any(_may_load(child, key) for child in value)
    if key == "type":
        text = value if isinstance(value, str) else getattr(value, "__qualname__", "")
        return "pretrain" in text.lower()
    if key == "_scope_":
        return False
    if isinstance(value, str) and value:
        return "/" in value or value.endswith(WEIGHTS) or any(word in key.lower() for word in _SPEAKS_OF_WEIGHTS)
    return value is True and any(word in key.lower() for word in _SPEAKS_OF_WEIGHTS)
