"""ASD: score distillation between two times of one frozen teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kdgen.distiller import Draw, GeneratorDistiller, LossOf, require_signal
from kdgen.losses import asd_shift, inject
from kdgen.noise import DDPMSchedule, over
from kdhub.api import FLAG, UsageError, as_schedule, choice, number, require


class ASD(GeneratorDistiller):
    """Asynchronous score distillation (ScaleDreamer, ECCV 2024, arXiv 2407.02040).

    In place of a fake score that is trained, the teacher itself is asked about the same sample with the same noise at a later time,
    where it errs less. No second network learns.

    Args:
        student: The generator, a `kdgen.Denoiser`.
        teacher: The teacher; see `kdgen.distiller.GeneratorDistiller`.
        eta: Size of the shift, 0.1 in the paper; 0 with guidance 1 gives no gradient at all.
        random_shift: Whether the shift is drawn between 0 and its size, as in all of the paper's configs.
        guidance_scale: Guidance w of the first prediction; 7.5 in the paper. The second has none.
        weighting: ``sds`` for sigma_t^2, or ``none``.
        t_low: Lower end of the times, as a fraction of the schedule: a number or a schedule. The paper has it fall from 0.5 to 0.02.
        t_high: Their upper end: from 0.98 to 0.5.
        student_init: ``"teacher"`` begins with the teacher's weights.
        data_preprocessor: Moves a batch to the device by default.
        init_cfg: mmengine's.
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        eta: float = 0.1,
        random_shift: bool = True,
        guidance_scale: float = 1.0,
        weighting: str = "sds",
        t_low: Any = 0.02,
        t_high: Any = 0.98,
        student_init: str | None = None,
        data_preprocessor: Any = None,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(student, teacher, student_init, 1, data_preprocessor, init_cfg)
        require("model", number(at_least=0), eta=eta)
        require("model", FLAG, random_shift=random_shift)
        require("model", choice(("sds", "none")), weighting=weighting)
        self.teacher.require_guidable(guidance_scale, "model.guidance_scale")
        self.eta, self.random_shift, self.guidance_scale, self.weighting = eta, random_shift, guidance_scale, weighting
        self.t_low, self.t_high = as_schedule(t_low, "model.t_low"), as_schedule(t_high, "model.t_high")
        require_signal(self.student)

    def losses(self) -> Mapping[str, LossOf]:
        """Update the student."""
        return {"student": self.student_loss}

    def student_loss(self, draw: Draw) -> dict[str, Tensor]:
        """Return ``loss_score``, summed over the elements of a sample; its gradient is what counts."""
        sample, noise = self.make(draw), self.teacher.noise
        low, high = self.t_low(self.position.step), self.t_high(self.position.step)
        if not 0 <= low < high <= 1:
            raise UsageError(
                f"no times are left in step {self.position.step}",
                where="model.t_low, model.t_high",
                expected="0 <= t_low < t_high <= 1",
                got=f"{low:g}, {high:g}",
            )
        t = noise.draw(len(sample), low, high, sample.device)
        eps = torch.randn_like(sample)
        share = torch.rand(len(sample), device=sample.device) if self.random_shift else 1.0
        with torch.no_grad():
            gradient = self.gradient(sample, t, eps, draw.labels, low, share)
        return {"loss_score": inject(sample, self.finite(gradient, t), "sum")}

    def gradient(
        self, sample: Tensor, t: Tensor, eps: Tensor, labels: Tensor | None, low: float, share: Tensor | float
    ) -> Tensor:
        """Return the gradient of samples (B, ...) with noise ``eps`` at times t (B,), shifted by a ``share`` of the full shift."""
        noise = self.teacher.noise
        first_time = float(noise.at(torch.tensor(low, dtype=torch.float64)))
        later = asd_shift(t, first_time, noise.t_max, self.eta, share, isinstance(noise, DDPMSchedule))
        now = self.teacher.predict(
            noise.add_noise(sample, eps, t), t, labels, to="eps", guidance_scale=self.guidance_scale
        )
        then = self.teacher.predict(noise.add_noise(sample, eps, later), later, labels, to="eps")
        weight = noise.sigma(t).square() if self.weighting == "sds" else torch.ones_like(t)
        return over(weight, sample) * (now - then)
