"""`Teacher`: the base of all teachers, and all that the rest of kdhub asks of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader

from kdhub.distill.taps import Tap
from kdhub.errors import UsageError
from kdhub.inner import described_model
from kdhub.values import item

CONFIG_MARKER = ".config-"
"""Where the second part of a `ModelTeacher`'s fingerprint begins, which needs no weights."""


class AfterStudent(NamedTuple):
    """What a teacher gets whose ``batch`` is ``"after_student"``.

    Attributes:
        batch: What its `Teacher.preprocess` returned.
        student: What a tap reads, as `Tap.identity` says it (its path, where it has no options), to what it read of the student in this step, without gradient; the taps are those of the
            objectives that read this teacher.
    """

    batch: Any
    student: Mapping[str, Any]


class Replay(NamedTuple):
    """What the training data must show, so that a teacher's recorded answers are about it.

    Attributes:
        seed: Seed of the augmentations; ``None`` for any.
        draws: After how many draws of a sample they come again; ``None`` for no end.
    """

    seed: int | None
    draws: int | None


class Teacher:
    """Answers each training batch with the values that objectives read.

    A teacher of your own needs `answers` and `fingerprint`; everything else has a default that suits a teacher which never
    changes. Its class stands in a config as ``teacher=dict(type=...)``. If its constructor has a parameter ``student``, it is
    given the student as built, before training.

    Attributes:
        batch: What it is asked with: ``"raw"``, the collated batch through its own `preprocess`; ``"student"``, exactly what
            the student gets; ``"after_student"``, an `AfterStudent`, once the student has run; ``"keys"``, the keys of the
            samples (`kdhub.engine.resume.sampling.SampleKey`), or ``None`` for a batch without them.
        frozen: Whether it is the same from the first step to the last. One that is not has its `after_step` called, is not
            evaluated before training and cannot be stored.
        model: The live model that tap paths are resolved on; ``None`` if paths are names of its `answers`.
        class_names: Names of its classes in order, if it has classes.
    """

    batch: str = "raw"
    frozen: ClassVar[bool] = True
    model: nn.Module | None = None
    class_names: tuple[str, ...] | None = None

    def preprocess(self, raw: Any, training: bool) -> Any:
        """Turn the collated batch into this teacher's input; not called if ``batch`` is ``"student"``.

        Args:
            raw: The collated batch, or the keys; it may not be changed.
            training: Whether to pad as in training.
        """
        return raw

    def answers(self, batch: Any) -> Mapping[str, Any]:
        """Answer one batch: name to value. A tap's path is one of the names.

        Args:
            batch: What ``batch`` says; see the class.
        """
        raise UsageError(f"{type(self).__name__} answers nothing", fix="define answers(self, batch) in its class")

    def values(self, batch: Any, taps: Sequence[Tap], *, check_mode: bool) -> None:
        """Run once, so that afterwards each tap can be read; by default each takes its part of `answers`.

        Args:
            batch: What ``batch`` says; see the class.
            taps: The taps of the objectives that read this teacher.
            check_mode: Whether to stop if a module of a live model is in train mode.

        Raises:
            UsageError: If a tap's path is none of the names.
        """
        with torch.no_grad():
            answers = self.answers(batch)
        for tap in taps:
            value = item(answers, tap.path, f"{type(self).__name__}.answers")
            tap.answer(value if tap.key is None else item(value, tap.key, str(tap)))

    def fingerprint(self) -> str:
        """Identify what it answers by; two teachers that answer differently must differ here.

        A checkpoint keeps it, and no run goes on with another teacher.
        """
        raise UsageError(f"{type(self).__name__} has no fingerprint", fix="define fingerprint(self) in its class")

    def facts(self) -> dict[str, Any]:
        """Describe it for reports: ``type`` and ``parameters``, their number or ``None``."""
        if self.model is None:
            return {"type": type(self).__name__, "parameters": None}
        return described_model(self.model)

    def prepare(self, model: Any, name: str, cfg: Mapping[str, Any], loader: DataLoader[Any]) -> Replay | None:
        """Be told, before the first step, which data it is to answer for.

        Args:
            model: What distils; `kdhub.engine.models.Distilling` says what can be asked of it.
            name: This teacher's name in it.
            cfg: The run's config.
            loader: Its training data, as mmengine builds them.

        Returns:
            What the data must show; ``None`` if it answers whatever comes.

        Raises:
            UsageError: If it cannot answer for these data.
        """
        return None

    def recorded_metrics(self, cfg: Mapping[str, Any], loader: DataLoader[Any]) -> Mapping[str, Any] | None:
        """Return what it reached on a run's validation data, if that was measured before; reports then show it.

        Args:
            cfg: The run's config.
            loader: Its validation data.
        """
        return None

    def begin(self, student: nn.Module) -> None:
        """Be told, before the first step of a run and of a resumed one, what the student is; after `load_state`."""

    def after_step(self, student: nn.Module, step: int) -> None:
        """Be told that the student's weights have changed.

        Args:
            student: The student.
            step: How many batches it was trained on.
        """

    def state(self) -> dict[str, Any]:
        """Return what it decided or learned on the way, for checkpoints: tensors and plain values, empty if nothing."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned when the checkpoint was written, before the first resumed batch."""

    def to(self, device: torch.device) -> None:
        """Move to the student's device."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Teacher:
        """Stay one object: an averaged copy of the student needs no second teacher in memory."""
        return self
