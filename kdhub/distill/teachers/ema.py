"""`EMATeacher`: the student's own weights, averaged over the steps."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from mmengine.model import BaseModel
from torch import nn

from kdhub.distill.arguments import FLAG, require
from kdhub.distill.schedules import as_schedule
from kdhub.distill.taps import Tap
from kdhub.distill.teachers.model import ModelTeacher
from kdhub.errors import GuardError, UsageError


class EMATeacher(ModelTeacher):
    """A teacher that follows the student: ``teacher <- m * teacher + (1 - m) * student`` after each step.

    Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017, arXiv 1703.01780. The teacher sees the batch
    in eval mode, so the student's dropout and noise are not its own; give the two different views in the data pipeline, or
    let the student's own noise be the difference. Buffers, such as running statistics, are the student's.

    Its average is part of each checkpoint, so that a resumed run goes on with the same teacher.

    Args:
        student: The student; the `Distiller` passes it.
        momentum: m, a number in [0, 1) or a schedule. 0.99 to 0.999 is usual; the teacher remembers some 1 / (1 - m) steps.
        warmup: Whether to use ``min(m, 1 - 1 / (t + 1))`` at step t, as the paper does, so that the random weights of
            the start are forgotten soon.
        mode: ``mode`` of the model's ``forward``; ``"tensor"`` needs no labels.
        batch: ``"raw"``, ``"student"``; see `ModelTeacher`.

    Raises:
        UsageError: For a momentum outside of [0, 1).
    """

    frozen: ClassVar[bool] = False
    model: BaseModel

    def __init__(
        self,
        student: BaseModel,
        momentum: Any = 0.999,
        warmup: bool = True,
        mode: str = "tensor",
        batch: str = "student",
    ) -> None:
        self.momentum = as_schedule(momentum, "EMATeacher.momentum")
        if not 0 <= self.momentum(0) < 1:
            raise UsageError(
                "EMATeacher: bad momentum", expected="a number in [0, 1), or a schedule", got=repr(momentum)
            )
        require("EMATeacher", FLAG, warmup=warmup)
        super().__init__(copy.deepcopy(student), mode=mode, batch=batch, own_weights=True)
        self.warmup = warmup
        self._config = [type(student).__name__, momentum, warmup]
        self._averaged = False
        self._begun = False

    def begin(self, student: nn.Module) -> None:
        """Start from the student's weights, unless a checkpoint gave the average."""
        if not self._averaged:
            _copy(student.parameters(), self.model.parameters())
        _copy(student.buffers(), self.model.buffers())
        self._averaged = self._begun = True

    def values(self, batch: Any, taps: Sequence[Tap], *, check_mode: bool) -> None:
        """Run the averaged model.

        Raises:
            GuardError: If nobody called `begin`: then nobody will call `after_step`, and the teacher would stay random.
        """
        if not self._begun:
            raise GuardError(
                "the EMATeacher was not told that training began, so it would never follow the student",
                fix="train with `kdhub train`, or add dict(type='DistillHook') of kdhub.engine.hooks.distill to the hooks",
            )
        super().values(batch, taps, check_mode=check_mode)

    @torch.no_grad()
    def after_step(self, student: nn.Module, step: int) -> None:
        """Average the student's weights in."""
        momentum = float(self.momentum(step))
        if self.warmup:
            momentum = min(momentum, 1 - 1 / (step + 1))
        for ours, theirs in zip(self.model.parameters(), student.parameters(), strict=True):
            ours.lerp_(theirs.to(ours.dtype), 1 - momentum)
        _copy(student.buffers(), self.model.buffers())

    def fingerprint(self) -> str:
        """Identify its settings: its weights are the run's own."""
        return f"average{self.config_fingerprint()}"

    def state(self) -> dict[str, Any]:
        """Return the averaged weights."""
        return {name: parameter.detach().cpu().clone() for name, parameter in self.model.named_parameters()}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from the average of a checkpoint."""
        for name, parameter in self.model.named_parameters():
            parameter.copy_(state[name])
        self._averaged = True


@torch.no_grad()
def _copy(source: Any, target: Any) -> None:
    for theirs, ours in zip(source, target, strict=True):
        ours.copy_(theirs)
