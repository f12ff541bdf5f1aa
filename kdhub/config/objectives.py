"""The rules between the fields of an objective: which input of the loss is read by which tap, from which teacher."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kdhub.errors import UsageError, near_matches
from kdhub.records import LossSpec

STUDENT = "student"
"""The name by which an objective reads the student itself as its teacher, as in ``teacher="student:backbone.layer4"``."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Names of a loss's inputs, by the side that provides them; `fields` says where the batch has some by default."""

    student: tuple[str, ...]
    teacher: tuple[str, ...]
    batch: tuple[str, ...]
    required: frozenset[str]
    fields: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, names: tuple[str, ...], required: Collection[str], fields: Mapping[str, str] | None = None) -> Inputs:
        """Sort names by side: ``student...`` and ``teacher...`` come from taps, any other from the batch."""
        student = tuple(name for name in names if name.startswith("student"))
        teacher = tuple(name for name in names if name.startswith("teacher"))
        batch = tuple(name for name in names if name not in student + teacher)
        return cls(student, teacher, batch, frozenset(required), dict(fields or {}))

    @classmethod
    def of_record(cls, spec: LossSpec) -> Inputs:
        """Take them from what the manifest declares."""
        return cls.of((*spec.inputs, *spec.optional), spec.inputs, spec.fields)


def name_problem(name: Any, where: str) -> UsageError | None:
    """Return what is wrong with an objective's name, which is part of parameter names and of names in the log."""
    if isinstance(name, str) and name and "." not in name and name != "training" and not name.startswith("_"):
        return None
    return UsageError(
        "an objective cannot have this name",
        where=where,
        expected="a text without '.', that does not begin with '_' and is not 'training'",
        got=repr(name),
        fix="rename the objective",
    )


def spread(spec: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Give each loss input of one side its entry.

    Args:
        spec: ``None``, one entry, or a dict of loss input to entry (a dict without ``type``).
        names: Loss inputs of this side.
    """
    if spec is None:
        return {}
    if isinstance(spec, Mapping) and "type" not in spec:
        return dict(spec)
    return {names[0]: spec} if len(names) == 1 else {}


def spread_problems(spec: Any, names: tuple[str, ...], where: str) -> Iterator[UsageError]:
    """Yield what is wrong with one side: a name that the loss does not have, or one entry for several inputs."""
    if spec is None:
        return
    if isinstance(spec, Mapping) and "type" not in spec:
        for name in spec:
            if name not in names:
                yield UsageError(
                    f"the loss has no input {name!r} here",
                    where=f"{where}.{name}",
                    expected=" or ".join(names) or "nothing",
                    near=near_matches(str(name), names),
                )
    elif len(names) != 1:
        yield UsageError(
            f"the loss has {len(names)} inputs of this side and one entry stands here",
            where=where,
            expected=f"dict({', '.join(f'{name}=...' for name in names)})" if names else "no entry",
        )


def missing_inputs(inputs: Inputs, bound: Collection[str], where: str) -> Iterator[UsageError]:
    """Yield one problem for all required inputs that are connected to nothing."""
    missing = sorted(inputs.required.difference(bound, inputs.fields))
    if not missing:
        return
    places = {
        name: "student" if name in inputs.student else "teacher" if name in inputs.teacher else "batch"
        for name in missing
    }
    names = " and ".join(map(repr, missing))
    yield UsageError(
        f"loss inputs {names} are not connected to anything"
        if len(missing) > 1
        else f"loss input {names} is not connected to anything",
        where=where,
        fix="; ".join(f"add {place}=dict({name}='...')" for name, place in places.items()),
    )


def unaugmented_problem(spec: LossSpec | None, where: str) -> UsageError | None:
    """Return what is wrong with a loss that hears a teacher which saw the samples un-augmented, if anything is."""
    if spec is not None and spec.unaugmented:
        return None
    return UsageError(
        "the loss wants the teacher to see what the student sees, and this teacher sees the samples un-augmented",
        where=f"{where}.loss",
        expected="a loss whose LossSpec says unaugmented=True",
        got=f"{spec.name} without" if spec is not None else "a loss that no plugin lists",
        fix="store n augmentations of each sample: draws=n in the place of unaugmented, in kdhub.StoredTeacher",
    )


def teacher_name_problem(name: str, where: str) -> UsageError | None:
    """Return what is wrong with a teacher's name, if anything is."""
    if ":" in name or "." in name:
        return UsageError("a teacher's name may hold neither ':' nor '.'", where=where)
    if name == STUDENT:
        return UsageError("the name 'student' stands for the student as its own teacher", where=where, fix="rename it")
    return None


def teacher_problems(entry: Any, teachers: Collection[str], where: str) -> Iterator[UsageError]:
    """Yield what is wrong with the teacher that a tap names, as ``"name:path"``, or fails to name."""
    path = entry.get("path") if isinstance(entry, Mapping) else entry
    name, colon, _ = path.partition(":") if isinstance(path, str) else ("", "", "")
    if colon and name not in (*teachers, STUDENT):
        yield UsageError(
            f"no teacher {name!r}",
            where=where,
            expected=", ".join((*teachers, STUDENT)),
            near=near_matches(name, (*teachers, STUDENT)),
        )
    elif not colon and len(teachers) != 1:
        yield UsageError(
            "the model has several teachers; say which one this objective uses"
            if teachers
            else "the objective reads a teacher and the model has none",
            where=where,
            expected=f"'NAME:path' with a name of {', '.join(teachers)}"
            if teachers
            else "model.teacher, or 'student:path' to read the student itself",
            got=repr(path),
        )
