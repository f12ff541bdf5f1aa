"""The `Distiller`: a student, its teachers and the objectives between them, as one mmengine model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn

from kdhub.config.objectives import STUDENT, name_problem, teacher_name_problem
from kdhub.config.standing import with_preprocessor
from kdhub.distill.arguments import choice, require
from kdhub.distill.blame import component_type, fault
from kdhub.distill.fields import BatchFields
from kdhub.distill.guards import Guards, TermWatch, check_class_names, check_gradient
from kdhub.distill.knowledge import require_apart
from kdhub.distill.objective import Objective
from kdhub.distill.position import Position
from kdhub.distill.preprocess import DistillPreprocessor
from kdhub.distill.proof import held_at_zero, is_satisfied, prove, prove_shape_only
from kdhub.distill.schedules import as_schedule
from kdhub.distill.shape_probe import mismatches, require_all_samples, require_matching
from kdhub.distill.student_losses import require_mode, run_student, summed_losses
from kdhub.distill.taps import Tap, recording
from kdhub.distill.teachers import AfterStudent, Teacher
from kdhub.errors import UsageError, near_matches, placed
from kdhub.records import LossSpec
from kdhub.registry import build, init
from kdhub.values import map_tensors

_OBJECTIVE_KEYS = ("loss", "student", "teacher", "adapter", "batch", "weight")


class Distiller(BaseModel):
    """Trains a student on its own losses and on what teachers know.

    Validation, test and prediction are the student's own. Teachers are outside ``parameters()`` and ``state_dict()``.

    Args:
        student: Config of any registered mmengine model, or a built one; it is not changed.
        objectives: Name to objective: ``dict(loss=, student=, teacher=, adapter=, batch=, weight=)``, see
            `kdhub.distill.objective.Objective`. One that is ``None``, or whose weight is the number 0, is left out with all
            that it has, for ablations; so are all of them by ``None`` or an empty dict.
        teacher: Config of the only teacher.
        teachers: Name to config of several teachers; taps then say ``"name:path"``.
        task_weight: Factor of the student's own losses: a number or a schedule.
        student_mode: Mode in which the student runs in training: ``"loss"``, or ``"tensor"`` for data without labels, where it
            has no losses of its own and learns from the objectives alone.
        guards: Keyword arguments of `kdhub.distill.guards.Guards`.
        data_preprocessor: For a student whose config has none; mmengine's Runner gives a model the one at the top of a
            config, where mmseg's and mmdet's configs keep theirs.
        init_cfg: mmengine's weight initialisation of the whole model; the student's own is usually what is wanted.

    Raises:
        UsageError: For any part of the config that does not fit, with its key path.

    Example:
        ::

            model = dict(
                type='kdhub.Distiller',
                student=dict(type='mmseg.EncoderDecoder', ...),
                teacher=dict(type='kdhub.ModelTeacher', model='configs/teacher.py', checkpoint='teacher.pth'),
                objectives=dict(
                    logits=dict(
                        loss=dict(type='kdhub.TemperatureKL', temperature=4.0),
                        student='decode_head.conv_seg',
                        teacher='decode_head.conv_seg',
                        weight=dict(type='kdhub.CosineSchedule', start=1.0, end=0.0, steps=20000))))
    """

    def __init__(
        self,
        student: Any,
        objectives: Mapping[str, Mapping[str, Any] | None] | None,
        teacher: Any = None,
        teachers: Mapping[str, Any] | None = None,
        task_weight: Any = 1.0,
        student_mode: str = "loss",
        guards: Mapping[str, Any] | None = None,
        data_preprocessor: Any = None,
        init_cfg: Any = None,
    ) -> None:
        init()
        require("Distiller", choice(("loss", "tensor")), student_mode=student_mode)
        student = with_preprocessor(student, data_preprocessor)
        built_student = MODELS.build(student) if isinstance(student, Mapping) else student
        if not isinstance(built_student, BaseModel):
            raise UsageError(
                "the student is not an mmengine BaseModel",
                where="model.student",
                got=type(built_student).__name__,
                fix="use the wrapper of a plugin (kdhub list model), or write a BaseModel around it",
            )
        named = _named_teachers(teacher, teachers)
        places = {name: "model.teacher" if teacher is not None else f"model.teachers.{name}" for name in named}
        built_teachers = {name: _build_teacher(name, spec, places[name], built_student) for name, spec in named.items()}
        for name, teacher_ in built_teachers.items():
            require_apart(built_student, teacher_.model, places[name])
        super().__init__(data_preprocessor=DistillPreprocessor(built_student, built_teachers), init_cfg=init_cfg)
        require_mode(built_student, "model.student")
        for name, one in built_teachers.items():
            if one.model is not None:
                require_mode(one.model, places[name])
        self.student = built_student
        self._teachers = built_teachers
        self._teacher_places = places
        self.objectives = _named(
            {
                name: _build_objective(name, spec, built_student, built_teachers)
                for name, spec in _left_in(objectives).items()
            }
        )
        for name in built_teachers:
            if not self.taps_of(name):
                print_log(f"teacher {name!r} is read by no objective and will not run", "current", logging.WARNING)
        self.task_weight = as_schedule(task_weight, "model.task_weight")
        self.student_mode = student_mode
        self.guards = Guards.of(guards)
        self.position = Position()
        self._watch = TermWatch(self.guards)
        self._shapes_checked = False

    @property
    def teachers(self) -> Mapping[str, Teacher]:
        """Teachers by name."""
        return self._teachers

    def forward(self, student: Any, teachers: Mapping[str, Any], mode: str = "tensor") -> Any:
        """Run the student, and in mode ``loss`` the teachers and objectives.

        Args:
            student: The student's preprocessed batch.
            teachers: Each teacher's preprocessed batch.
            mode: ``loss``, ``predict`` or ``tensor``.

        Returns:
            In mode ``loss`` the student's own losses under their own names, times ``task_weight``, and
            ``loss_<objective>[_<term>]``, times the objective's weight; otherwise what the student returns.
        """
        if mode != "loss":
            return self.student._run_forward(student, mode=mode)
        step = self.position.step
        objectives = self._objectives()
        own_taps = [tap for o in objectives for tap in o.student_taps.values()]
        with recording([*own_taps, *self.taps_of(STUDENT)], self.student):
            result = run_student(self.student, student, self.student_mode)
        losses = self._task_losses(result, step) if self.student_mode == "loss" else {}
        for name, teacher in self._teachers.items():
            if taps := self.taps_of(name):
                batch = teachers[name]
                if teacher.batch == "after_student":
                    batch = AfterStudent(batch, self._read_of_student(name))
                with placed(self._teacher_places[name]):
                    teacher.values(batch, taps, check_mode=self.guards.teacher_mode)
        _merge(losses, self._distil(objectives, student, step))
        if not any("loss" in name for name in losses):
            raise UsageError(
                "there is nothing to train on: the student has no loss of its own, and there are no objectives",
                where="model",
                fix="give the student a loss of its own; task_weight=0.0 keeps it out of the distillation",
            )
        if self.training:
            self.position.advance()
        return losses

    def taps_of(self, teacher: str) -> list[Tap]:
        """Return the taps by which the objectives read a teacher."""
        return [tap for o in self._objectives() for owner, tap in o.teacher_taps.values() if owner == teacher]

    def specs_of(self, teacher: str) -> dict[str, LossSpec | None]:
        """Return what manifests say of the losses that hear a teacher, by objective; ``None`` for one that none lists."""
        return {
            o.name: o.spec for o in self._objectives() if any(owner == teacher for owner, _ in o.teacher_taps.values())
        }

    def _read_of_student(self, teacher: str) -> dict[str, Any]:
        """Return what the objectives that read a teacher have read of the student; they can read it again."""
        read = {}
        for objective in self._objectives():
            if any(owner == teacher for owner, _ in objective.teacher_taps.values()):
                for tap in objective.student_taps.values():
                    if tap.fired:
                        value = tap.read()
                        tap.answer(value)
                        read[tap.identity] = map_tensors(Tensor.detach, value)
        return read

    def _objectives(self) -> list[Objective]:
        return [module for module in self.objectives.values() if isinstance(module, Objective)]

    def _distil(self, objectives: Sequence[Objective], batch: Any, step: int) -> dict[str, Tensor]:
        active = [o for o in objectives if self.guards.silent_tap or _all_fired(o.taps())]
        fields = BatchFields(batch)
        raw = {o.name: o.gather(fields) for o in active}
        adapted = (
            {o.name: o.adapt(raw[o.name]) for o in active} if self._shapes_checked else self._first_adapt(active, raw)
        )
        terms: dict[str, Tensor] = {}
        owners: dict[str, Objective] = {}
        weights: dict[str, float] = {}
        pulls: dict[str, Tensor] = {}
        for objective in active:
            own = objective(adapted[objective.name], step)
            _merge(terms, own)
            owners |= dict.fromkeys(own, objective)
            weights |= dict.fromkeys(own, objective.weight(step))
            unproven = {
                term: value
                for term, value in own.items()
                if weights[term] and self._proves() and self._watch.awaits_proof(term, self.parameters())
            }
            if unproven:
                sides = raw[objective.name], adapted[objective.name]
                pulls |= prove(objective, *sides, unproven, complete=len(unproven) == len(own))

        def asked(question: Callable[[Objective, Mapping[str, Any], str], bool]) -> Callable[[str], bool]:
            return lambda name: question(owners[name], adapted[owners[name].name], name)

        self._watch.check(terms, step, weights, pulls, asked(held_at_zero), asked(is_satisfied))
        return {name: value * weights[name] for name, value in terms.items()}

    def _proves(self) -> bool:
        return self.guards.no_gradient and self.training and torch.is_grad_enabled()

    def _first_adapt(
        self, objectives: Sequence[Objective], raw: dict[str, dict[str, Any]]
    ) -> dict[str, dict[str, Any]]:
        """Adapt for the first time, asking the shape probe before any adapter or loss meets a shape it cannot take."""
        require_matching(
            found for o in objectives if not o.adapters for found in mismatches(o, raw[o.name], raw[o.name])
        )
        if self._proves():
            for objective in objectives:
                check_gradient(objective.name, [raw[objective.name][name] for name in objective.student_taps])
        adapted = {o.name: o.adapt(raw[o.name]) for o in objectives}
        for objective in objectives:
            require_all_samples(objective, raw[objective.name], adapted[objective.name])
        require_matching(found for o in objectives for found in mismatches(o, raw[o.name], adapted[o.name]))
        if self._proves():
            for objective in objectives:
                prove_shape_only(objective, raw[objective.name])
        self._shapes_checked = True
        return adapted

    def _task_losses(self, result: Any, step: int) -> dict[str, Any]:
        losses = summed_losses(result, say=not self._shapes_checked)
        weight = self.task_weight(step)
        if weight == 1.0:
            return losses
        return {name: _scale(value, weight) if "loss" in name else value for name, value in losses.items()}

    def val_step(self, data: Any) -> Any:
        """Predict with the student alone."""
        return self.student.val_step(data)

    def test_step(self, data: Any) -> Any:
        """Predict with the student alone."""
        return self.student.test_step(data)

    def check_class_names(self, classes: Sequence[str]) -> None:
        """Compare the training data's class names with those of every teacher whose logits are compared.

        Raises:
            GuardError: If they differ in order.
        """
        if not self.guards.class_names:
            return
        compared = [objective for objective in self._objectives() if objective.compares_classes]
        for name in sorted({owner for objective in compared for owner, _ in objective.teacher_taps.values()}):
            teacher = self._teachers.get(name)  # none for the student as its own teacher
            if teacher is not None and teacher.class_names is not None:
                check_class_names(classes, teacher.class_names, name)

    def guard_state(self) -> dict[str, Any]:
        """Return what guards and taps remember of earlier steps, for a checkpoint."""
        return {**self._watch.state(), "copies": {name: tap.copies for name, tap in self._named_taps()}}

    def load_guard_state(self, state: Mapping[str, Any]) -> None:
        """Let guards and taps remember what `guard_state` gave."""
        self._watch.restore(state)
        for name, tap in self._named_taps():
            tap.copies = state["copies"].get(name)

    def _named_taps(self) -> Iterator[tuple[str, Tap]]:
        for objective in self._objectives():
            yield from ((f"{objective.name}.student.{name}", tap) for name, tap in objective.student_taps.items())
            yield from ((f"{objective.name}.teacher.{name}", tap) for name, (_, tap) in objective.teacher_taps.items())

    def _set_device(self, device: torch.device) -> None:
        super()._set_device(device)
        for teacher in self._teachers.values():
            teacher.to(device)


def _named_teachers(teacher: Any, teachers: Mapping[str, Any] | None) -> dict[str, Any]:
    if teacher is not None and teachers is not None:
        raise UsageError(
            "both teacher and teachers are given", where="model", fix="put the one into teachers=dict(...)"
        )
    if not isinstance(teachers, Mapping | None):
        raise UsageError("not a dict of name to teacher", where="model.teachers", got=repr(teachers))
    return {"teacher": teacher} if teacher is not None else dict(teachers or {})


def _build_teacher(name: str, spec: Any, place: str, student: BaseModel) -> Teacher:
    if problem := teacher_name_problem(name, place):
        raise problem
    teacher = build("teacher", spec, where=place, student=student)
    if not isinstance(teacher, Teacher):
        fix = "derive its class from kdhub.Teacher, or put a model into dict(type='kdhub.ModelTeacher', model=...)"
        raise UsageError("not a teacher", where=place, got=type(teacher).__name__, fix=fix)
    if teacher.batch != "keys":  # a stored one has its fingerprint once its store is opened
        told = teacher.fingerprint()
        if not isinstance(told, str):
            fix = "return a text from fingerprint() that differs between teachers that answer differently"
            raise fault(place, component_type(spec), f"has the fingerprint {told!r} where a text should be", fix)
        print_log(f"teacher {name!r}: {told}", logger="current")
    return teacher


def _left_in(objectives: Any) -> dict[str, Any]:
    """Return the objectives that train anything, and say which ones were left out."""
    if not isinstance(objectives, Mapping | None):
        raise UsageError(
            "not a dict of name to objective", where="model.objectives", got=repr(objectives), fix="NAME=dict(loss=...)"
        )
    left_in = {}
    for name, spec in (objectives or {}).items():
        weight = spec.get("weight", 1.0) if isinstance(spec, Mapping) else 1.0
        if spec is None or (isinstance(weight, int | float) and not isinstance(weight, bool) and weight == 0):
            print_log(f"objective {name!r} is left out: it is {'None' if spec is None else 'of weight 0'}", "current")
        else:
            left_in[name] = spec
    if not left_in:
        print_log("there is no objective: the student trains on its own losses alone", "current")
    return left_in


def _named(objectives: Mapping[str, Objective]) -> nn.ModuleDict:
    """Hold objectives under their names, also those that `nn.ModuleDict` refuses as it has methods of that name."""
    held = nn.ModuleDict()
    held._modules.update(objectives)
    return held


def _build_objective(name: str, spec: Any, student: BaseModel, teachers: Mapping[str, Teacher]) -> Objective:
    where = f"model.objectives.{name}"
    if problem := name_problem(name, where):
        raise problem
    if not isinstance(spec, Mapping):
        raise UsageError("not an objective", where=where, expected="dict(loss=..., student=...)", got=repr(spec))
    for key in spec:
        if key not in _OBJECTIVE_KEYS:
            raise UsageError(
                f"unknown key {key!r}",
                where=f"{where}.{key}",
                expected=", ".join(_OBJECTIVE_KEYS),
                near=near_matches(key, _OBJECTIVE_KEYS),
            )
    for key in ("loss", "student"):
        if key not in spec:
            raise UsageError(f"the objective has no {key!r}", where=where, expected=f"{key}=...")
    options = {key: value for key, value in spec.items() if key not in ("student", "teacher")}
    return Objective(name, student, teachers, student_tap=spec["student"], teacher_tap=spec.get("teacher"), **options)


def _merge(losses: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add terms; one name twice would silently drop the student's own loss, or another objective's term."""
    for name in more:
        if name in losses:
            raise UsageError(f"two losses are called {name!r}", where="model.objectives", fix="rename the objective")
    losses.update(more)


def _all_fired(taps: Sequence[Tap]) -> bool:
    return all(tap.fired for tap in taps)


def _scale(value: Any, weight: float) -> Any:
    return [entry * weight for entry in value] if isinstance(value, list) else value * weight
