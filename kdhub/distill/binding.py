"""From an objective's config to bindings, by the rules that the config check shares (`kdhub.config.objectives`)."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from kdhub.config.objectives import STUDENT, Inputs, missing_inputs, spread, spread_problems, teacher_problems
from kdhub.distill.taps import Tap, make_tap
from kdhub.distill.teachers import Teacher
from kdhub.errors import UsageError
from kdhub.records import LossSpec


def inputs_of(loss: nn.Module, spec: LossSpec | None) -> Inputs:
    """Take a loss's inputs from its record, or from the signature of a loss that no manifest lists."""
    if spec is not None:
        return Inputs.of_record(spec)
    parameters = inspect.signature(loss.forward).parameters.values()
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return Inputs.of(tuple(p.name for p in named), {p.name for p in named if p.default is p.empty})


def partner(inputs: Inputs, name: str) -> str | None:
    """Return the input of the other side that this one is compared with: the one of the same ending."""
    ours = "student" if name in inputs.student else "teacher"
    own_side, other_side = (inputs.student, inputs.teacher) if ours == "student" else (inputs.teacher, inputs.student)
    other = ("teacher" if ours == "student" else "student") + name.removeprefix(ours)
    if other in other_side:
        return other
    return other_side[0] if len(other_side) == len(own_side) == 1 else None


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
    _refuse(spread_problems(spec, names, where))
    return spread(spec, names)


def student_taps(spec: Any, inputs: Inputs, student: nn.Module, where: str) -> dict[str, Tap]:
    """Make the student's taps by loss input."""
    entries = side(spec, inputs.student, where)
    return {name: make_tap(entry, student, _place(spec, where, name)) for name, entry in entries.items()}


def teacher_taps(
    spec: Any, inputs: Inputs, teachers: Mapping[str, Teacher], student: nn.Module, where: str
) -> dict[str, tuple[str, Tap]]:
    """Make the teachers' taps: loss input to (teacher name, tap).

    ``"name:path"`` chooses among several teachers; ``"student:path"`` is the student as its own teacher.
    """
    taps = {}
    for name, entry in side(spec, inputs.teacher, where).items():
        place = _place(spec, where, name)
        _refuse(teacher_problems(entry, teachers, place))
        path = entry.get("path") if isinstance(entry, Mapping) else entry
        owner, colon, bare = path.partition(":") if isinstance(path, str) else ("", "", "")
        if colon:
            entry = {**entry, "path": bare} if isinstance(entry, Mapping) else bare
        else:
            owner = next(iter(teachers))
        taps[name] = (owner, make_tap(entry, student if owner == STUDENT else teachers[owner].model, place))
    return taps


def require_all(inputs: Inputs, bound: set[str], where: str) -> None:
    """See that every required loss input has somebody to provide it.

    Raises:
        UsageError: Naming all that are connected to nothing, and where to write them.
    """
    _refuse(missing_inputs(inputs, bound, where))


def _place(spec: Any, where: str, name: str) -> str:
    """Return where in the config the tap of a loss input stands: one entry may stand for the whole side."""
    return f"{where}.{name}" if isinstance(spec, Mapping) and "type" not in spec else where


def _refuse(problems: Iterable[UsageError]) -> None:
    for problem in problems:
        raise problem
