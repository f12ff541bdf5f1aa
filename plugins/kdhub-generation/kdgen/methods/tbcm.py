"""TBCM: a continuous-time consistency model, trained on the states of the teacher's own sampling."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from kdgen.distiller import Draw, GeneratorDistiller, LossOf
from kdgen.losses import tangent
from kdgen.noise import TrigFlowSchedule, over
from kdhub.api import UsageError, as_schedule, integer, number, require


class TBCM(GeneratorDistiller):
    """Trajectory-backward consistency model (arXiv 2511.20410, 2025): sCM's loss on states that the teacher visits.

    In each step the teacher samples from new noise, on a grid of random times; all its states but the first train the student, and
    its velocities there are what the student is held to. No data, no second network. It takes a Jacobian-vector product of the
    student: a network with attention kernels of its own has none.

    Teacher and student live on `kdgen.TrigFlowSchedule` with ``prior_std=1``: scale the data to unit standard deviation. The student
    is of ``pred_type='v'``, the velocity dx/dt, and usually begins as the teacher. Left out of the released trainer: the
    log-variance head, the guidance embedding and the filter of black images.

    Args:
        student: The student.
        teacher: The teacher; see `kdgen.distiller.GeneratorDistiller`.
        points: Points n of the grid; 16 in the paper.
        guidance_scale: The teacher's guidance, 4 to 5 in the paper.
        tangent_warmup: Steps over which the weight r of the tangent grows from 0 to its value; 4000 in the paper.
        tangent_weight: That value: a number or a schedule. The paper lowers it to 0.75 late in training.
        student_init: ``"teacher"`` begins with the teacher's weights.
        data_preprocessor: Moves a batch to the device by default.
        init_cfg: mmengine's.
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        points: int = 16,
        guidance_scale: float = 1.0,
        tangent_warmup: int = 4000,
        tangent_weight: Any = 1.0,
        student_init: str | None = None,
        data_preprocessor: Any = None,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(student, teacher, student_init, 1, data_preprocessor, init_cfg)
        require("model", integer(2), points=points)
        require("model", integer(0), tangent_warmup=tangent_warmup)
        require("model", number(at_least=0), guidance_scale=guidance_scale)
        self.teacher.require_guidable(guidance_scale, "model.guidance_scale")
        for where, model in (("model.teacher", self.teacher), ("model.student", self.student)):
            if not isinstance(model.noise, TrigFlowSchedule) or model.noise.prior_std != 1.0:
                raise UsageError(
                    "TBCM turns states on a circle",
                    where=f"{where}.noise",
                    expected="dict(type='kdgen.TrigFlowSchedule'), with data of unit standard deviation",
                    got=type(model.noise).__name__,
                )
        if self.teacher.pred_type == "eps":
            raise UsageError(
                "TBCM begins at pure noise, where a prediction of the noise says nothing of the sample",
                where="model.teacher.pred_type",
                expected="'x0', 'v' or 'flow'",
                got="'eps'",
            )
        if self.student.pred_type != "v":
            raise UsageError(
                "TBCM's student says a velocity",
                where="model.student.pred_type",
                expected="'v'",
                got=repr(self.student.pred_type),
            )
        self.points, self.guidance_scale, self.tangent_warmup = points, guidance_scale, tangent_warmup
        self.tangent_weight = as_schedule(tangent_weight, "model.tangent_weight")

    def losses(self) -> Mapping[str, LossOf]:
        """Update the student."""
        return {"student": self.student_loss}

    def student_loss(self, draw: Draw) -> dict[str, Tensor]:
        """Return ``loss_consistency`` over B (n - 1) states."""
        x, t, velocity = self.roll_out(draw.noise, draw.labels)
        labels = None if draw.labels is None else draw.labels.repeat(self.points - 1)
        step = self.position.step
        share = min(1.0, step / self.tangent_warmup) if self.tangent_warmup else 1.0
        with torch.no_grad():
            turned = over(t.cos() * t.sin(), x)
            said, slope = derivative(
                lambda state, time: self.student.predict(state, time, labels, to="v"),
                (x, t),
                (turned * velocity, t.cos() * t.sin()),
            )
            g = tangent(said, slope, velocity, x, t, share * self.tangent_weight(step))
            g = self.finite(g, t)
        again = self.student.predict(x, t, labels, to="v")
        return {"loss_consistency": (over(1 / t.tan(), x) * (again - said - g).square()).mean()}

    @torch.no_grad()
    def roll_out(self, noise: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Let the teacher sample, and return what it passed through.

        Args:
            noise: Unit noise (B, ...).
            labels: Labels (B,).

        Returns:
            States (B (n - 1), ...), their times (B (n - 1),) and the teacher's velocities there; the first point, pure noise, is
            left out, where the loss has no weight.
        """
        times, x, kept = random_grid(self.points), noise, []
        for now, then in itertools.pairwise([*times, 0.0]):
            t = torch.full((len(x),), now, device=x.device)
            x0 = self.teacher.predict(x, t, labels, to="x0", guidance_scale=self.guidance_scale)
            velocity = (math.cos(now) * x - x0) / math.sin(now)
            kept.append((x, t, velocity))
            x = math.cos(now - then) * x - math.sin(now - then) * velocity
        states, when, velocities = zip(*kept[1:], strict=True)
        return torch.cat(states), torch.cat(when), torch.cat(velocities)


def derivative(
    function: Callable[..., Tensor], at: tuple[Tensor, ...], along: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    """Return a function's value and its derivative in a direction, by forward-mode differentiation.

    Attention runs in torch's plain form meanwhile: fused kernels have no such derivative.
    """
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        # torch compiles its own decompositions with torch.jit.script, which it has deprecated
        warnings.simplefilter("ignore", FutureWarning)
        found = torch.func.jvp(function, at, along)
    return found[0], found[1]


def reference_grid(points: int) -> list[float]:
    """Return the n times of the paper's sampler, from pi / 2 down: a flow schedule shifted by 2.5, twice, as angles."""

    def shifted(sigma: float) -> float:
        return 2.5 * sigma / (1 + 1.5 * sigma)

    last = shifted(0.001)
    sigmas = [shifted(1 + (last - 1) * number / (points - 1)) for number in range(points)]
    return [math.pi / 2, *(math.atan(one / (1 - one)) for one in sigmas[1:])]


def random_grid(points: int) -> list[float]:
    """Draw n falling times: pi / 2, then one between each two neighbours of the reference grid."""
    reference, shares = reference_grid(points), torch.rand(points - 1).tolist()
    between = [
        low + share * (high - low) for (high, low), share in zip(itertools.pairwise(reference), shares, strict=True)
    ]
    return [math.pi / 2, *between]
