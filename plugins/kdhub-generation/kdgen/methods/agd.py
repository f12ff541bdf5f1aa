"""AGD: adapters that learn what classifier-free guidance does, on the states that guided sampling visits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from kdgen.distiller import Draw, GeneratorDistiller, LossOf
from kdgen.guided import GuidedDenoiser
from kdgen.noise import over
from kdgen.prediction import PRED_TYPES
from kdhub.api import UsageError, choice, require


class AGD(GeneratorDistiller):
    """Adapter guidance distillation (Jensen and Sadat 2025, arXiv 2503.07274, TMLR).

    The student is the teacher with adapters, a `kdgen.GuidedDenoiser`; only they train. Batches are states of trajectories that
    `kdgen.collect_trajectories` wrote: no teacher is asked while it trains, and its weights are in memory once. It halves the
    calls of a guided sampler, and leaves their number of steps.

    Args:
        student: The student, a `kdgen.GuidedDenoiser`.
        teacher: The model whose guidance is learned; see `kdgen.distiller.GeneratorDistiller`.
        loss: ``l2``, the paper's; ``l1``; ``noise``, squared errors weighted by sigma_t; or ``cos``, by how much guidance turns the
            prediction, which asks the network once more without adapters.
        data_preprocessor: Moves a batch to the device by default.
        init_cfg: mmengine's.
    """

    def __init__(
        self, student: Any, teacher: Any, loss: str = "l2", data_preprocessor: Any = None, init_cfg: Any = None
    ) -> None:
        super().__init__(student, teacher, "teacher", 1, data_preprocessor, init_cfg)
        require("model", choice(("l2", "l1", "noise", "cos")), loss=loss)
        if not isinstance(self.student, GuidedDenoiser):
            raise UsageError(
                "AGD's student has adapters",
                where="model.student",
                expected="dict(type='kdgen.GuidedDenoiser', adapters=dict(...), ...)",
                got=type(self.student).__name__,
            )
        if self.student.classes != self.teacher.classes:
            raise UsageError(
                "another number of classes than the teacher has",
                where="model.student.classes",
                expected=str(self.teacher.classes),
                got=str(self.student.classes),
            )
        self.teacher.net = (
            self.student.net
        )  # one set of the frozen weights in memory; outside of the student adapters rest
        self.loss = loss

    def losses(self) -> Mapping[str, LossOf]:
        """Update the adapters."""
        return {"student": self.student_loss}

    def student_loss(self, draw: Draw) -> dict[str, Tensor]:
        """Return ``loss_guidance``: how far the student's one pass is from the guided prediction of the batch.

        Raises:
            UsageError: For a batch that is none of trajectories, or of those of a teacher that predicts another type.
        """
        missing = {"times", "guidance", "targets"} - set(draw.more)
        if missing:
            raise UsageError(
                f"the batch has no {', '.join(sorted(missing))}",
                where="train_dataloader.dataset",
                expected="dict(type='kdgen.Trajectories', folder='@trajectories')",
            )
        x, t, target = draw.noise, draw.more["times"], draw.more["targets"]
        kind, kinds = self.student.pred_type, draw.more.get("pred_type")
        if kinds is not None and bool((kinds != PRED_TYPES.index(kind)).any()):
            raise UsageError(
                "the trajectories hold predictions of another type",
                where="model.student.pred_type",
                expected=repr(PRED_TYPES[int(kinds[0])]),
                got=repr(kind),
                fix="collect them with the teacher of this run",
            )
        said = self.student.predict(x, t, draw.labels, to=kind, guidance_scale=draw.more["guidance"])
        error = self.finite(said - target, t)
        return {"loss_guidance": (self.weight(x, t, draw.labels, target) * _size(error, self.loss)).mean()}

    @torch.no_grad()
    def weight(self, x: Tensor, t: Tensor, labels: Tensor | None, target: Tensor) -> Tensor:
        """Return the weight of each sample (B, 1, ...)."""
        if self.loss == "noise":
            return over(self.student.noise.sigma(t), x)
        if self.loss == "cos" and isinstance(self.student, GuidedDenoiser):
            alone = self.student.predict_unguided(x, t, labels, to=self.student.pred_type)
            turn = 1.0 - cosine_similarity(alone.flatten(1), target.flatten(1))
            return over(0.5 * turn.abs(), x)
        return over(torch.ones_like(t), x)


def _size(error: Tensor, loss: str) -> Tensor:
    return error.abs() if loss == "l1" else error.square()
