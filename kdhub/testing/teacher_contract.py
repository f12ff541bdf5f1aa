"""What every teacher promises, as one assertion."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from kdhub.distill.taps import ModuleOutput, Tap
from kdhub.distill.teachers import AfterStudent, Teacher
from kdhub.testing._promise import Breaches, all_breaches, broken
from kdhub.values import describe, map_tensors, tensors_in

_BATCHES = ("raw", "student", "after_student", "keys")


def assert_teacher_contract(
    make: Callable[[], Teacher],
    *,
    batch: Any,
    taps: Sequence[str],
    student: nn.Module | None = None,
    student_values: dict[str, Any] | None = None,
) -> None:
    """Assert all that kdhub takes for granted about a teacher.

    It answers each tap with tensors, without gradient, the same for the same batch, and changes neither the batch nor the
    student; two of one config have one fingerprint, before and after answering; what `Teacher.state` returns survives a checkpoint, and
    a teacher that gets it answers as the one that gave it; one with ``frozen = True`` does not change after a step.

    Args:
        make: Builds the teacher anew, as a config would.
        batch: A collated batch, or what the student gets if the teacher's ``batch`` is ``"student"``.
        taps: Paths by which objectives read it.
        student: The student, for a teacher that follows it.
        student_values: Path to value, for a teacher that is asked after the student.

    Raises:
        AssertionError: With every broken promise and what to mend, one a line.
    """
    student = nn.Linear(1, 1) if student is None else student
    teacher, name = make(), type(make()).__name__
    if not isinstance(teacher, Teacher):
        broken(name, "is no kdhub.Teacher", "derive its class from kdhub.Teacher")
    if teacher.batch not in _BATCHES:
        broken(name, f"batch = {teacher.batch!r}", f"choose one of {', '.join(_BATCHES)}")
    with all_breaches() as breaches:
        _promises(teacher, make, lambda one: _answers(one, batch, taps, student_values), (batch, student), breaches)


def _promises(
    teacher: Teacher,
    make: Callable[[], Teacher],
    ask: Callable[[Teacher], dict[str, Any]],
    given: tuple[Any, nn.Module],
    breaches: Breaches,
) -> None:
    name, (batch, student) = type(teacher).__name__, given
    fingerprint = teacher.fingerprint()
    if not isinstance(fingerprint, str) or fingerprint != make().fingerprint():
        breaches.add(
            name, "two of one config have different fingerprints", "derive it from arguments and weights alone"
        )
    before = copy.deepcopy((batch, list(student.parameters())))
    teacher.begin(student)
    first, again = ask(teacher), ask(teacher)
    if not _equal(first, again):
        breaches.add(
            name, "answers the same batch differently", "put its model into eval mode, and draw no random numbers"
        )
    if not _equal(before, (batch, list(student.parameters()))):
        breaches.add(name, "changes the batch or the student", "copy what you change")
    if teacher.fingerprint() != fingerprint:
        breaches.add(name, "has another fingerprint once it has answered", "derive it from arguments and weights alone")
    teacher.after_step(student, 1)
    if teacher.frozen and not _equal(first, ask(teacher)):
        breaches.add(
            name, "changes after a step", "set frozen = False, so that kdhub neither stores nor evaluates it beforehand"
        )
    resumed = make()
    resumed.load_state(_saved(name, teacher.state()))
    resumed.begin(student)
    if not _equal(ask(teacher), ask(resumed)):
        breaches.add(
            name,
            "answers otherwise in a resumed run",
            "return what changes from state(), and take it over in load_state()",
        )


def _answers(teacher: Teacher, batch: Any, paths: Sequence[str], student_values: Any) -> dict[str, Any]:
    name = type(teacher).__name__
    taps: list[Tap] = [ModuleOutput(path) for path in paths]
    own = batch if teacher.batch == "student" else teacher.preprocess(batch, True)
    if teacher.batch == "after_student":
        own = AfterStudent(own, student_values or {})
    teacher.values(own, taps, check_mode=True)
    answers = {}
    for tap in taps:
        if not tap.fired:
            broken(name, f"does not answer {tap.path!r}", "return it from answers(), or let the tap record it")
        answers[tap.path] = tap.read()
        tensors = list(tensors_in(answers[tap.path]))
        if not tensors:
            broken(name, f"answers {tap.path!r} with {describe(answers[tap.path])}", "answer with tensors")
        if any(tensor.requires_grad for tensor in tensors):
            broken(name, f"{tap.path!r} carries a gradient", "compute under torch.no_grad()")
    return answers


def _saved(name: str, state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    try:
        loaded: dict[str, Any] = torch.load(file, weights_only=True)
    except Exception as error:  # noqa: BLE001 (whatever it is, the author has to mend it)
        broken(
            name, f"state() cannot be saved safely ({str(error).splitlines()[0]})", "return tensors and plain values"
        )
    return loaded


def _equal(one: Any, other: Any) -> bool:
    ours, theirs = list(tensors_in(one)), list(tensors_in(other))
    shapes = [map_tensors(lambda _: None, tree) for tree in (one, other)]
    return (
        str(shapes[0]) == str(shapes[1])
        and len(ours) == len(theirs)
        and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    )
