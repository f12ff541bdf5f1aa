"""Continuous-time consistency distillation on noised data: the rival of TBCM, which sees no data."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from kdgen.methods.tbcm import TBCM
from kdhub.api import number, require


class ConsistencyDistillation(TBCM):
    """Continuous-time consistency distillation, sCD (Lu and Song 2024, arXiv 2410.11081), with TBCM's loss and TBCM's weights.

    Only the states differ: samples of the data, noised at times whose tangent is log-normal, in place of what the teacher visits. So
    it wants the teacher's training data, and a batch of B trains on B states.

    Args:
        student: As in `kdgen.TBCM`.
        teacher: As in `kdgen.TBCM`.
        log_mean: Mean of log(tan t); -1 in the paper, for data scaled to unit spread.
        log_std: Its standard deviation; 1.4 in the paper.
        guidance_scale: The teacher's guidance.
        tangent_warmup: As in `kdgen.TBCM`.
        tangent_weight: As in `kdgen.TBCM`.
        student_init: ``"teacher"`` begins with the teacher's weights.
        data_preprocessor: Moves a batch to the device by default.
        init_cfg: mmengine's.
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        log_mean: float = -1.0,
        log_std: float = 1.4,
        guidance_scale: float = 1.0,
        tangent_warmup: int = 4000,
        tangent_weight: Any = 1.0,
        student_init: str | None = None,
        data_preprocessor: Any = None,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(
            student,
            teacher,
            2,  # two points leave one state of each sample
            guidance_scale,
            tangent_warmup,
            tangent_weight,
            student_init,
            data_preprocessor,
            init_cfg,
        )
        require("model", number(), log_mean=log_mean)
        require("model", number(above=0), log_std=log_std)
        self.log_mean, self.log_std = log_mean, log_std

    @torch.no_grad()
    def roll_out(self, noise: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Noise a batch of the data, and ask the teacher for its velocity there.

        Args:
            noise: Samples of the data (B, ...), the ``inputs`` of the batch.
            labels: Labels (B,).

        Returns:
            States (B, ...), their times (B,) and the teacher's velocities there.
        """
        data, schedule = noise, self.teacher.noise
        tangents = (self.log_mean + self.log_std * torch.randn(len(data), device=data.device)).exp()
        t = tangents.atan().clamp(schedule.t_min, math.pi / 2 - 1e-3)
        x = schedule.add_noise(data, torch.randn_like(data), t)
        return x, t, self.teacher.predict(x, t, labels, to="v", guidance_scale=self.guidance_scale)
