"""The check of a distiller: teachers and objectives, by the rules of `kdhub.config.objectives`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from kdhub.config.check.teacher_weights import warn_of_ignorance
from kdhub.config.objectives import (
    Inputs,
    missing_inputs,
    name_problem,
    spread,
    spread_problems,
    teacher_name_problem,
    teacher_problems,
    unaugmented_problem,
)
from kdhub.config.types.signature import method_signature
from kdhub.errors import UnknownComponentError, UsageError
from kdhub.findings import Finding, Report
from kdhub.plugins import PluginManager
from kdhub.records import LossSpec

_STORED = "kdhub.StoredTeacher"
_MANIFEST = "manifest.json"
"""What makes a folder a store; its floor imports torch, which this one may not."""


def check_distiller(model: Mapping[str, Any], path: str, manager: PluginManager, report: Report) -> None:
    """Check what no signature tells: names, and that every loss input has somebody to provide it."""
    teachers = _teachers(model, path, report)
    for where, teacher in _places(model, path).items():
        live = teacher.get("teacher") if teacher.get("type") == _STORED else teacher
        if isinstance(live, Mapping):
            warn_of_ignorance(live, where if live is teacher else f"{where}.teacher", report)
    objectives = model.get("objectives")
    if objectives is not None and not isinstance(objectives, Mapping):
        report.error(f"{path}.objectives", "not a dict of name to objective", got=repr(objectives))
        return
    # an objective that is None is left out: --cfg-options model.objectives.NAME=None
    objectives = {name: objective for name, objective in (objectives or {}).items() if objective is not None}
    if not objectives:
        report.warn(f"{path}.objectives", "there is no objective: the student learns nothing from a teacher")
        return
    _check_stores(model, path, report)
    unaugmented = {name for name, teacher in _configs(model).items() if teacher.get("unaugmented") is not None}
    used: set[str] = set()
    for name, objective in objectives.items():
        where = f"{path}.objectives.{name}"
        if problem := name_problem(name, where):
            _add([problem], report)
        if isinstance(objective, Mapping):
            own = _check_objective(objective, where, teachers, manager, report)
            _check_unaugmented(objective, where, own & unaugmented, manager, report)
            used |= own
        else:
            report.error(where, "not an objective", expected="dict(loss=..., student=...)", got=repr(objective))
    for name in sorted(set(teachers) - used):
        report.warn(f"{path}.teachers.{name}" if "teachers" in model else f"{path}.teacher", "no objective reads it")


def _teachers(model: Mapping[str, Any], path: str, report: Report) -> tuple[str, ...]:
    single, several = model.get("teacher"), model.get("teachers")
    if single is not None and several is not None:
        report.error(
            f"{path}.teacher", "both teacher and teachers are given", fix="put the one into teachers=dict(...)"
        )
    if several is not None and not isinstance(several, Mapping):
        report.error(f"{path}.teachers", "not a dict of name to teacher", got=repr(several))
        return ()
    for name in several or ():
        if problem := teacher_name_problem(name, f"{path}.teachers.{name}"):
            _add([problem], report)
    return tuple(several) if several is not None else ("teacher",) if single is not None else ()


def _configs(model: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the teachers that are written as dicts, by name."""
    several = model.get("teachers")
    found = several if isinstance(several, Mapping) else {"teacher": model.get("teacher")}
    return {name: teacher for name, teacher in found.items() if isinstance(teacher, Mapping)}


def _places(model: Mapping[str, Any], path: str) -> dict[str, Mapping[str, Any]]:
    """Return the same teachers by their key path."""
    several = isinstance(model.get("teachers"), Mapping)
    return {f"{path}.teachers.{name}" if several else f"{path}.teacher": one for name, one in _configs(model).items()}


def _check_stores(model: Mapping[str, Any], path: str, report: Report) -> None:
    """Warn of stores that `kdhub cache` has yet to write; find those that it cannot."""
    for where, teacher in _places(model, path).items():
        if teacher.get("type") != _STORED:
            continue
        store = teacher.get("store")
        if isinstance(store, str) and Path(store).expanduser().is_file():
            report.error(f"{where}.store", "the store is a file", expected="a folder", got=store)
        elif isinstance(store, str) and not Path(store).expanduser().joinpath(_MANIFEST).is_file():
            report.warn(
                f"{where}.store", "there is no teacher store yet", got=store, fix="write it: kdhub cache CONFIG"
            )


def _check_objective(
    objective: Mapping[str, Any], where: str, teachers: Collection[str], manager: PluginManager, report: Report
) -> set[str]:
    """Check one objective; return the names of the teachers that it reads."""
    for key in ("loss", "student"):
        if key not in objective:
            report.error(where, f"the objective has no {key!r}", expected=f"{key}=...")
    _check_plain_values(objective, where, report)
    spec = _spec(objective.get("loss"), manager)
    if spec is None:
        return set(teachers)  # a loss that no manifest lists: its forward is not known here
    _check_forward(spec, f"{where}.loss", report)
    inputs = Inputs.of_record(spec)
    sides = {"student": inputs.student, "teacher": inputs.teacher, "batch": inputs.batch}
    bound: dict[str, Any] = {}
    for side, names in sides.items():
        _add(spread_problems(objective.get(side), names, f"{where}.{side}"), report)
        bound |= spread(objective.get(side), names)
    if "student" in objective:
        _add(missing_inputs(inputs, bound, where), report)
    adapter = objective.get("adapter")
    if isinstance(adapter, Mapping) and "type" not in adapter:
        _add(spread_problems(adapter, inputs.student + inputs.teacher, f"{where}.adapter"), report)
    elif adapter is not None:
        _add(spread_problems(adapter, inputs.student, f"{where}.adapter"), report)
    used: set[str] = set()
    for name in inputs.teacher:
        if name in bound:
            by_name = isinstance(objective["teacher"], Mapping) and "type" not in objective["teacher"]
            place = f"{where}.teacher.{name}" if by_name else f"{where}.teacher"
            _add(teacher_problems(bound[name], teachers, place), report)
            used.add(_teacher_of(bound[name]))
    return used if all(used) else set(teachers)


def _check_forward(spec: LossSpec, where: str, report: Report) -> None:
    """Compare the inputs that a manifest lists with those that the loss takes, a mistake of the plugin's author."""
    forward = method_signature(spec.target, "forward")
    listed = (*spec.inputs, *spec.optional)
    if forward is None or forward.open:
        return
    lacking = [name for name in forward.required if name not in listed]
    unknown = [name for name in listed if name not in forward.names]
    if lacking or unknown:
        report.error(
            where,
            f"the LossSpec of {spec.name} and its forward do not agree",
            expected=f"the inputs {', '.join(forward.names)}",
            got=", ".join(listed) or "none",
            fix="mend the plugin's manifest: inputs=(...) are what forward needs, optional=(...) what has a default",
        )


def _check_plain_values(objective: Mapping[str, Any], where: str, report: Report) -> None:
    for side in ("student", "teacher"):
        taps = objective.get(side)
        for tap in tuple(taps.values()) if isinstance(taps, Mapping) and "type" not in taps else (taps,):
            if tap is not None and not isinstance(tap, str | Mapping):
                expected = "a path, or dict(type='kdhub.ModuleOutput', path=...)"
                report.error(f"{where}.{side}", "not a tap", expected=expected, got=repr(tap))
    weight = objective.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float | Mapping):
        report.error(f"{where}.weight", "not a number or a schedule", got=repr(weight))
    batch = objective.get("batch")
    if batch is not None and not isinstance(batch, Mapping):
        report.error(f"{where}.batch", "not a dict of loss input to path in the batch", got=repr(batch))


def _check_unaugmented(
    objective: Mapping[str, Any], where: str, teachers: Collection[str], manager: PluginManager, report: Report
) -> None:
    """Check that a loss bears teachers that saw the samples un-augmented."""
    spec = _spec(objective.get("loss"), manager)
    if teachers and spec is not None and (problem := unaugmented_problem(spec, where)):
        _add([problem], report)


def _spec(loss: Any, manager: PluginManager) -> LossSpec | None:
    type_ = loss.get("type") if isinstance(loss, Mapping) else None
    if not isinstance(type_, str) or not manager.owns(type_):
        return None
    try:
        record = manager.find(type_, "loss").component
    except UnknownComponentError:  # reported where the loss itself is checked
        return None
    return record if isinstance(record, LossSpec) else None


def _teacher_of(tap: Any) -> str:
    path = tap.get("path") if isinstance(tap, Mapping) else tap
    name, colon, _ = str(path).partition(":")
    return name if colon else ""


def _add(problems: Iterable[UsageError], report: Report) -> None:
    for problem in problems:
        report.add(Finding.of(problem, problem.where or ""))
