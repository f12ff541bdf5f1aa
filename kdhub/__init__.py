"""kdhub: one registry of knowledge-distillation methods that run on models people already have.

Importing it is cheap: what needs torch or mmengine is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kdhub.errors import GuardError, KdhubError, PluginError, UnknownComponentError, UsageError
from kdhub.hookspec import hookimpl
from kdhub.records import API_LEVEL, Command, Component, Diagnostic, LossSpec, PluginInfo, Recipe

if TYPE_CHECKING:
    from kdhub.distill.distiller import Distiller
    from kdhub.distill.teachers import EMATeacher, ModelTeacher, Teacher
    from kdhub.models.accuracy import Accuracy
    from kdhub.models.torch_dataset import TorchDataset
    from kdhub.models.torch_model import TorchModel
    from kdhub.registry.active import init
    from kdhub.registry.build import build

_ON_FIRST_USE = {
    "Accuracy": "kdhub.models.accuracy",
    "Distiller": "kdhub.distill.distiller",
    "EMATeacher": "kdhub.distill.teachers",
    "ModelTeacher": "kdhub.distill.teachers",
    "Teacher": "kdhub.distill.teachers",
    "TorchDataset": "kdhub.models.torch_dataset",
    "TorchModel": "kdhub.models.torch_model",
    "build": "kdhub.registry.build",
    "init": "kdhub.registry.active",
}

__all__ = [
    "API_LEVEL",
    "Accuracy",
    "Command",
    "Component",
    "Diagnostic",
    "Distiller",
    "EMATeacher",
    "GuardError",
    "KdhubError",
    "LossSpec",
    "ModelTeacher",
    "PluginError",
    "PluginInfo",
    "Recipe",
    "Teacher",
    "TorchDataset",
    "TorchModel",
    "UnknownComponentError",
    "UsageError",
    "build",
    "hookimpl",
    "init",
]


def __getattr__(name: str) -> Any:
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module 'kdhub' has no attribute {name!r}")
    return getattr(importlib.import_module(_ON_FIRST_USE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
