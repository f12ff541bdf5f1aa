"""A classifier with an `AspectHead`, from a config, and without it again when it is exported."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from kddet.aspects import AspectHead, QuestionBank, with_aspects, without_aspects
from kdhub.api import export_student

_TYPE = "kddet.Widened"


def widened(net: nn.Module, path: str, questions: str) -> nn.Module:
    """Build a classifier and widen its last layer by one output for each question of a file.

    Predictions and the model's own loss stay those of the C classes; the tap ``PATH.wide`` reads all C+Q. The exported student has
    a plain layer.

    Args:
        net: The classifier; in a config, within `kdhub.TorchModel`, a dict whose ``type`` is an import path.
        path: Of its last linear layer, such as ``fc``.
        questions: File with one question a line; the number of a line is the number of an output.

    Raises:
        UsageError: If there is no such layer, or the file holds anything but questions.
    """
    return with_aspects(net, path, len(QuestionBank.read(questions)))


def export_without_aspects(student: nn.Module, path: Path, cfg: Mapping[str, Any]) -> str | None:
    """Write a student without the questions; ``None`` if it has none."""
    if not any(isinstance(module, AspectHead) for module in student.modules()):
        return None
    return export_student(without_aspects(copy.deepcopy(student)), path, _plain(cfg))


def _plain(value: Any) -> Any:
    """Put the network in the place of the widened one, wherever that stands."""
    if isinstance(value, Mapping):
        if value.get("type") == _TYPE:
            return _plain(value["net"])
        return {key: _plain(child) for key, child in value.items()}
    return [_plain(child) for child in value] if isinstance(value, list) else value
