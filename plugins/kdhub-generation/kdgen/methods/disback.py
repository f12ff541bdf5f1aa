"""DisBack: the teacher degrades to what the student makes at first, and the student is led back along that path."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from kdgen.denoiser import Denoiser
from kdgen.distiller import Draw, GeneratorDistiller, LossOf, copy_of, require_signal
from kdgen.methods.score import SwiftBrush, noise_error
from kdhub.api import UsageError, choice, integer, read_checkpoint, require

_CHECKPOINT = re.compile(r"iter_(\d+)\.pth")


class Degradation(GeneratorDistiller):
    """Stage 1 of DisBack: a copy of the teacher learns to denoise what the untrained student makes.

    The run's checkpoints are the path, so ``default_hooks.checkpoint`` says how many there are:
    ``dict(interval=60, max_keep_ckpts=-1)``. The student stays as it is, and the run exports it: stage 2 begins with it.

    Args:
        student: The generator, a `kdgen.Denoiser`.
        teacher: The teacher; see `kdgen.distiller.GeneratorDistiller`.
        fake_weighting: ``none``, the paper's, or ``alpha2``.
        student_init: ``"teacher"`` begins with the teacher's weights, as the paper's generators do.
        data_preprocessor: Moves a batch to the device by default.
        init_cfg: mmengine's.
    """

    roles_that_train: ClassVar[tuple[str, ...]] = ("fake_score",)

    def __init__(
        self,
        student: Any,
        teacher: Any,
        fake_weighting: str = "none",
        student_init: str | None = None,
        data_preprocessor: Any = None,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(student, teacher, student_init, 1, data_preprocessor, init_cfg)
        require("model", choice(("alpha2", "none")), fake_weighting=fake_weighting)
        require_signal(self.student)
        self.student.requires_grad_(False)
        self.fake_score = copy_of(self.teacher)
        self.fake_weighting = fake_weighting

    def losses(self) -> Mapping[str, LossOf]:
        """Update the copy of the teacher."""
        return {"fake_score": self.fake_score_loss}

    def fake_score_loss(self, draw: Draw) -> dict[str, Tensor]:
        """Return ``loss_denoising`` of the copy on the student's samples."""
        return {"loss_denoising": noise_error(self.fake_score, self.made(draw), draw.labels, self.fake_weighting)}


class DisBack(SwiftBrush):
    """Stage 2 of DisBack, distribution backtracking distillation (ICLR 2025, arXiv 2408.15991).

    The fake score begins as the last node of the path, which knows the student's samples. The student is drawn towards the node
    before it, then the one before that, and at last towards the teacher, so that no target is asked about samples it never saw.
    Nodes are loaded strictly, and a node that is the one before it is refused: in the released SDXL code the path is not walked
    at all, as the card tells.

    Args:
        student: The generator, which begins as that of stage 1: ``load_from='@degradation/student/model.safetensors'``.
        teacher: The teacher; see `kdgen.distiller.GeneratorDistiller`.
        path: Folder of stage 1, ``'@degradation'``, or its checkpoints from the first to the last. An empty list is plain score
            distillation.
        steps_per_node: Steps K for which each target but the last stays.
        weighting: ``dmd``, that of the released code, or ``sigma2``.
        fake_weighting: ``none``, the paper's, or ``alpha2``.
        t_low: Lower end of the times of the student's loss, as a fraction of the schedule.
        t_high: Their upper end.
        guidance_scale: Guidance w of the targets.
        student_update_freq: The student is updated in every n-th step, the fake score in each; 5 in the script for SDXL.
        discriminator: As in `kdgen.SwiftBrush`; the script for SDXL has one.
        data_preprocessor: Moves a batch to the device by default.
        init_cfg: mmengine's.
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        path: str | Sequence[str],
        steps_per_node: int = 1000,
        weighting: str = "dmd",
        fake_weighting: str = "none",
        t_low: float = 0.02,
        t_high: float = 0.98,
        guidance_scale: float = 1.0,
        student_update_freq: int = 1,
        discriminator: Any = None,
        data_preprocessor: Any = None,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(
            student,
            teacher,
            guidance_scale=guidance_scale,
            fake_guidance_scale=1.0,
            weighting=weighting,
            fake_weighting=fake_weighting,
            null_probability=0.0,
            t_low=t_low,
            t_high=t_high,
            student_update_freq=student_update_freq,
            discriminator=discriminator,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        require("model", integer(1), steps_per_node=steps_per_node)
        self.path, self.steps_per_node = path_of(path), steps_per_node
        self._node: tuple[int, Denoiser | None] = (0, None)
        if self.path:
            self._load(self.fake_score, len(self.path))

    def node_at(self, step: int) -> int:
        """Return the number of the target in a step: N - 1 at first, 0, the teacher, at last."""
        return max(len(self.path) - 1 - step // self.steps_per_node, 0)

    @property
    def target(self) -> Denoiser:
        """What the student is drawn towards in the present step."""
        number = self.node_at(self.position.step)
        held, node = self._node
        if number == 0 or node is None or held != number:
            node = None if number == 0 else copy_of(self.teacher).requires_grad_(False).eval()
            if node is not None:
                self._load(node, number)
            self._node = (number, node)
        return self.teacher if node is None else node

    def _load(self, model: Denoiser, number: int) -> None:
        """Put the weights of a node, counted from 1, into a copy of the teacher."""
        before = [one.detach().clone() for one in model.net.parameters()]
        holder = torch.nn.Module()
        holder.fake_score = model
        weights = {
            name: value for name, value in _state(self.path[number - 1]).items() if name.startswith("fake_score.")
        }
        missing = set(holder.state_dict()) ^ set(weights)
        if missing:
            raise UsageError(
                "not a node of a path",
                where=f"model.path: {self.path[number - 1]}",
                expected="a checkpoint of kdgen.Degradation with the same teacher",
                got=f"{len(missing)} weights that only one side has, such as {sorted(missing)[0]}",
            )
        holder.load_state_dict(weights)
        if all(torch.equal(one, other) for one, other in zip(before, model.net.parameters(), strict=True)):
            raise UsageError(
                "a node of the path is the teacher itself, so nothing degraded",
                where=f"model.path: {self.path[number - 1]}",
                fix="train stage 1 longer, or with a larger learning rate",
            )


def path_of(path: str | Sequence[str]) -> list[Path]:
    """Return the nodes of a path, from the one next to the teacher to the last.

    Args:
        path: The folder of stage 1, whose checkpoints are ``iter_N.pth``, or the files themselves.

    Raises:
        UsageError: If the folder has no checkpoint.
    """
    if not isinstance(path, str):
        return [Path(one) for one in path]
    found = {int(match[1]): one for one in Path(path).glob("*.pth") if (match := _CHECKPOINT.fullmatch(one.name))}
    if not found:
        raise UsageError(
            "a path without nodes",
            where="model.path",
            expected="the folder of a run of kdgen.Degradation, with checkpoints iter_N.pth",
            got=path,
            fix="train stage 1, with default_hooks.checkpoint=dict(interval=K, max_keep_ckpts=-1); path=[] is plain distillation",
        )
    return [found[number] for number in sorted(found)]


def _state(path: Path) -> dict[str, Tensor]:
    content = read_checkpoint(path)
    state: dict[str, Tensor] = content.get("state_dict", content)
    return state
