"""Finding the student and the teachers in whatever a runner trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from kdhub.inner import inner_of, unwrapped


def student_of(model: nn.Module) -> nn.Module:
    """Return the student of a `Distiller`; any other model is its own student."""
    bare = unwrapped(model)
    student = getattr(bare, "student", None)
    return student if isinstance(student, nn.Module) else bare


def teachers_of(model: nn.Module) -> Mapping[str, Any]:
    """Return a `Distiller`'s teachers by name; any other model has none."""
    teachers = getattr(unwrapped(model), "teachers", None)
    return teachers if isinstance(teachers, Mapping) else {}


def described_model(model: nn.Module) -> dict[str, Any]:
    """Return ``type``, the name of its class, and ``parameters``, their number."""
    meant = inner_of(model)
    return {"type": type(meant).__name__, "parameters": parameter_count(meant)}


def parameter_count(model: nn.Module) -> int:
    """Count a model's parameters, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())
