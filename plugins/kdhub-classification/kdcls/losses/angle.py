"""Angles between samples: the part of relational distillation that compares triples."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdhub.api import UsageError, number, require, to_float32, unit_vectors


class AngleRelational(nn.Module):
    """Difference of the angles that each three samples of a batch enclose.

    With ``ψ_ijk = cos ∠(x_i − x_j, x_k − x_j)``: ``L = mean_{ijk} smooth_l1(ψ_S − ψ_T)``. It ignores both scale and rotation, and
    widths may differ.

    Args:
        beta: Turning point of smooth-L1. 1.0, the default, is the paper's.

    Inputs:
        student: (B, ...), all axes but the first flattened; any float type, raised to float32. At least 3 samples.
        teacher: (B, ...), the same samples in the same order; takes no gradient.

    References:
        - Park et al., "Relational Knowledge Distillation", arXiv 1904.05068 (CVPR 2019), the angle-wise loss; weight 50 beside
          25 of the distance-wise one, which is ``kdhub.Relational(similarity='distance', beta=1.0)``.

    Requirements:
        Memory of B³ and B² · D numbers: with 64 samples the first are 1 MB, with 512 half a GB. Each process relates its own samples.

    Relations:
        - `kdhub.Relational` with ``similarity='distance'`` is the paper's other term.

    Example:
        ::

            objectives=dict(
                angles=dict(loss=dict(type='kdcls.AngleRelational'), student='avgpool', teacher='avgpool', weight=50.0))
    """

    depends_on_split = "samples"

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        require("AngleRelational", number(at_least=0), beta=beta)
        self.beta = beta

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare the triples of one batch; see the class for the inputs."""
        if student.ndim < 2 or teacher.ndim < 2 or len(student) != len(teacher) or len(student) < 3:
            raise UsageError(
                "AngleRelational compares triples of samples of one batch",
                expected="student (B, ...) and teacher (B, ...), B >= 3",
                got=f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)}",
                fix="a larger batch_size, and drop_last=True in the dataloader",
            )
        with torch.autocast(student.device.type, enabled=False):
            ours, theirs = (_angles(to_float32(side).flatten(1)) for side in (student, teacher.detach()))
        return functional.smooth_l1_loss(ours, theirs, beta=self.beta)


def _angles(vectors: Tensor) -> Tensor:
    """Return the cosines (B, B, B): entry [j, i, k] at the corner j."""
    edges = unit_vectors(vectors.unsqueeze(0) - vectors.unsqueeze(1), 2)
    return edges @ edges.transpose(1, 2)
