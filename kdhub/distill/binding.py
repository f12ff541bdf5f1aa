"""From an objective's config to bindings: which loss input is read by which tap, or taken from which batch field."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from kdhub.distill.taps import Tap, make_tap
from kdhub.distill.teachers import Teacher
from kdhub.errors import UsageError, near_matches
from kdhub.records import LossSpec


@dataclass(frozen=True, slots=True)
class Inputs:
    """Names of the parameters of a loss's ``forward``, by the side that provides them."""

    student: tuple[str, ...]
    teacher: tuple[str, ...]
    batch: tuple[str, ...]
    required: frozenset[str]

    @classmethod
    def of(cls, loss: nn.Module, spec: LossSpec | None) -> Inputs:
        """Take them from the record, or from the signature of a loss that no manifest lists."""
        if spec is not None:
            names, required = (*spec.inputs, *spec.optional), frozenset(spec.inputs)
        else:
            parameters = inspect.signature(loss.forward).parameters.values()
            names = tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
            required = frozenset(p.name for p in parameters if p.name in names and p.default is p.empty)
        student = tuple(name for name in names if name.startswith("student"))
        teacher = tuple(name for name in names if name.startswith("teacher"))
        return cls(student, teacher, tuple(n for n in names if n not in student + teacher), required)

    def partner(self, name: str) -> str | None:
        """Return the input of the other side that this one is compared with: the one of the same ending."""
        ours, theirs, own_side = (
            ("student", self.teacher, self.student) if name in self.student else ("teacher", self.student, self.teacher)
        )
        other = ("teacher" if ours == "student" else "student") + name.removeprefix(ours)
        if other in theirs:
            return other
        return theirs[0] if len(theirs) == len(own_side) == 1 else None


def side(spec: Any, names: tuple[str, ...], where: str) -> dict[str, Any]:
    """Spread one config entry over the loss inputs of its side.

    Args:
        spec: ``None``, one entry, or a dict of loss input to entry (a dict without ``type``).
        names: Loss inputs of this side.
        where: Key path, for errors.

    Returns:
        Loss input to entry.

    Raises:
        UsageError: For a name that the loss does not have, or one entry where several inputs need one.
    """
    if spec is None:
        return {}
    if isinstance(spec, Mapping) and "type" not in spec:
        for name in spec:
            if name not in names:
                raise UsageError(
                    f"the loss has no input {name!r}",
                    where=f"{where}.{name}",
                    expected=" or ".join(names) or "nothing",
                    near=near_matches(name, names),
                )
        return dict(spec)
    if len(names) != 1:
        raise UsageError(
            f"the loss has {len(names)} inputs of this side and one entry stands here",
            where=where,
            expected=f"dict({', '.join(f'{name}=...' for name in names)})" if names else "no entry",
        )
    return {names[0]: spec}


def student_taps(spec: Any, inputs: Inputs, student: nn.Module, where: str) -> dict[str, Tap]:
    """Make the student's taps by loss input."""
    entries = side(spec, inputs.student, where)
    return {name: make_tap(entry, student, f"{where}.{name}") for name, entry in entries.items()}


def teacher_taps(spec: Any, inputs: Inputs, teachers: Mapping[str, Teacher], where: str) -> dict[str, tuple[str, Tap]]:
    """Make the teachers' taps: loss input to (teacher name, tap); ``"name:path"`` chooses among several teachers."""
    taps = {}
    for name, entry in side(spec, inputs.teacher, where).items():
        teacher, entry = _choose_teacher(entry, teachers, f"{where}.{name}")
        taps[name] = (teacher, make_tap(entry, teachers[teacher].model, f"{where}.{name}"))
    return taps


def _choose_teacher(entry: Any, teachers: Mapping[str, Teacher], where: str) -> tuple[str, Any]:
    path = entry["path"] if isinstance(entry, Mapping) else entry
    name, colon, rest = path.partition(":") if isinstance(path, str) else ("", "", path)
    if not colon:
        if len(teachers) == 1:
            return next(iter(teachers)), entry
        raise UsageError(
            "which teacher?" if teachers else "the objective reads a teacher and the model has none",
            where=where,
            expected="'NAME:path' with a name of " + ", ".join(teachers) if teachers else "model.teacher",
            got=repr(path),
        )
    if name not in teachers:
        raise UsageError(
            f"no teacher {name!r}",
            where=where,
            expected=", ".join(teachers) or "none",
            near=near_matches(name, teachers),
        )
    return name, {**entry, "path": rest} if isinstance(entry, Mapping) else rest


def require_all(inputs: Inputs, bound: set[str], where: str) -> None:
    """See that every required loss input has somebody to provide it.

    Raises:
        UsageError: Naming all that nobody provides, and where to write them.
    """
    missing = sorted(inputs.required - bound)
    if missing:
        places = {
            name: "student" if name in inputs.student else "teacher" if name in inputs.teacher else "batch"
            for name in missing
        }
        raise UsageError(
            f"nobody provides the loss input{'s' if len(missing) > 1 else ''} {', '.join(missing)}",
            where=where,
            fix="; ".join(f"add {place}=dict({name}='...')" for name, place in places.items()),
        )
