"""What the engine asks of a model that distils, and finding the student and the teachers in whatever a runner trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from mmengine.model import BaseModel
from torch import nn

from kdhub.distill.position import Position
from kdhub.distill.taps import Tap
from kdhub.distill.teachers import Teacher
from kdhub.inner import unwrapped
from kdhub.records import LossSpec


class Distilling(Protocol):
    """A model that distils: `kdhub.Distiller`, or a plugin's own; it is asked for these attributes, never for its class.

    Beside them, `guard_state`, `load_guard_state` and `check_class_names` are used if it has them.

    Attributes:
        student: What is trained, evaluated and exported.
        teachers: Teachers by name.
        position: Where schedules stand; ``position.step`` counts the batches.
    """

    student: BaseModel
    position: Position

    @property
    def teachers(self) -> Mapping[str, Teacher]:
        """Teachers by name."""

    def taps_of(self, teacher: str) -> list[Tap]:
        """Return the taps by which a teacher is read."""

    def specs_of(self, teacher: str) -> Mapping[str, LossSpec | None]:
        """Return what manifests say of the losses that read a teacher, by objective."""


def distilling(model: nn.Module) -> Distilling | None:
    """Return the model without what stands around it, if it distils."""
    bare: Any = unwrapped(model)
    return bare if all(hasattr(bare, name) for name in ("student", "teachers", "taps_of")) else None


def student_of(model: nn.Module) -> nn.Module:
    """Return the student of a `Distiller`; any other model is its own student."""
    own = distilling(model)
    return unwrapped(model) if own is None else own.student


def teachers_of(model: nn.Module) -> Mapping[str, Teacher]:
    """Return a `Distiller`'s teachers by name; any other model has none."""
    own = distilling(model)
    return {} if own is None else own.teachers
