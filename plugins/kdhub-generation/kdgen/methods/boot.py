"""BOOT: a student that follows the teacher's trajectories from their beginning, without data and without simulating them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kdgen.distiller import Draw, GeneratorDistiller, LossOf
from kdgen.losses import boot_kappa
from kdgen.noise import over
from kdhub.api import UsageError, number, require


class BOOT(GeneratorDistiller):
    """Data-free distillation by bootstrapping (Gu et al. 2023, arXiv 2306.05544).

    The student g(noise, t) says which clean part y the teacher's trajectory from ``noise`` has at time t; at ``t_min`` that is the
    sample. It learns that its answer a step earlier is its answer now, moved on by one DDIM step of the teacher. Both answers are
    the same weights'; only the one that learns has a gradient. The paper's code is not public: the weight of the loss is that of a
    third party (OFTSR), as the card says.

    The student must be a `kdgen.Denoiser` of ``pred_type='x0'``: its network is given the noise and t, and what it returns is y. It
    samples at ``t_list=[t_min]``. The network is given the same noise at every t, so a schedule whose noise grows, `kdgen.EDMSchedule`,
    is refused.

    Args:
        student: The student.
        teacher: The teacher; see `kdgen.distiller.GeneratorDistiller`.
        step: The step delta, as a fraction of the schedule's range; 0.05 is what OFTSR found better than smaller ones.
        boundary_weight: Weight beta of the boundary loss at ``t_max``.
        max_weight: Largest weight 1 / kappa^2 of the bootstrapping loss, which grows without bound as t goes to 0.
        guidance_scale: The teacher's guidance w.
        student_init: ``"teacher"`` begins with the teacher's weights.
        data_preprocessor: Moves a batch to the device by default.
        init_cfg: mmengine's.
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        step: float = 0.05,
        boundary_weight: float = 1.0,
        max_weight: float = 1e4,
        guidance_scale: float = 1.0,
        student_init: str | None = None,
        data_preprocessor: Any = None,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(student, teacher, student_init, 1, data_preprocessor, init_cfg)
        require("model", number(above=0, at_most=1), step=step)
        require("model", number(above=0), max_weight=max_weight)
        require("model", number(at_least=0), boundary_weight=boundary_weight)
        self.teacher.require_guidable(guidance_scale, "model.guidance_scale")
        if self.student.pred_type != "x0":
            raise UsageError(
                "BOOT's student says what is clean",
                where="model.student.pred_type",
                expected="'x0'",
                got=repr(self.student.pred_type),
            )
        if len(self.student.t_list) != 1 or abs(self.student.t_list[0] - self.teacher.noise.t_min) > 1e-6:
            raise UsageError(
                "BOOT's student samples at the end of the trajectory, in one step",
                where="model.student.t_list",
                expected=f"[{self.teacher.noise.t_min:g}]",
                got=str(self.student.t_list),
            )
        learnt, sampled = self.teacher.noise.prior_std, self.student.noise.start_std(self.student.t_start)
        if sampled != learnt:
            raise UsageError(
                "BOOT's student sees the same noise at every time, and would sample from noise of another size",
                where="model.student.noise",
                expected=f"a schedule whose noise begins with standard deviation {learnt:g} at every time, such as kdgen.CosineSchedule",
                got=f"{type(self.student.noise).__name__} with {sampled:g} at t = {self.student.t_start:g}",
                fix="take a teacher with such a schedule, or distil this one by kdgen.SwiftBrush",
            )
        self.step, self.boundary_weight, self.max_weight = step, boundary_weight, max_weight
        self.guidance_scale = guidance_scale

    def losses(self) -> Mapping[str, LossOf]:
        """Update the student."""
        return {"student": self.student_loss}

    def student_loss(self, draw: Draw) -> dict[str, Tensor]:
        """Return ``loss_bootstrap`` and ``loss_boundary``."""
        noise = self.teacher.noise
        fraction = self.step + (1.0 - self.step) * torch.rand(len(draw.noise), device=draw.noise.device)
        t, s = noise.at(fraction), noise.at(fraction - self.step)
        eps = draw.noise
        kappa = boot_kappa(t, s, noise)
        with torch.no_grad():
            goal = self.bootstrap_target(self.clean_part(eps, t, draw.labels), eps, t, kappa, draw.labels)
        said = self.clean_part(eps, s, draw.labels)
        weight = kappa.square().reciprocal().clamp(max=self.max_weight)
        terms = {"loss_bootstrap": (over(weight, said) * self.finite(said - goal, t).square()).mean()}
        if self.boundary_weight:
            end = torch.full_like(t, noise.t_max)
            with torch.no_grad():
                first = self._teacher_says(eps * noise.prior_std, end, draw.labels)
            boundary = self.finite(self.clean_part(eps, end, draw.labels) - first, end).square().mean()
            terms["loss_boundary"] = self.boundary_weight * boundary
        return terms

    def clean_part(self, eps: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        """Return the student's y (B, ...) for noise (B, ...) at times t (B,)."""
        return self.student.predict(eps * self.teacher.noise.prior_std, t, labels, to="x0")

    def bootstrap_target(self, y: Tensor, eps: Tensor, t: Tensor, kappa: Tensor, labels: Tensor | None) -> Tensor:
        """Move y (B, ...) on by one DDIM step of the teacher from t (B,): y + kappa (f(alpha y + sigma eps, t) - y)."""
        x_t = self.teacher.noise.add_noise(y, eps, t)
        return y + over(kappa, y) * (self._teacher_says(x_t, t, labels) - y)

    def _teacher_says(self, x_t: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        return self.teacher.predict(x_t, t, labels, to="x0", guidance_scale=self.guidance_scale)
