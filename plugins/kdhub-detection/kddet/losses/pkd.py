"""PKD: correlation of feature maps."""

from __future__ import annotations

from torch import Tensor, nn

from kddet.losses._maps import require_maps


class PKD(nn.Module):
    """One minus the Pearson correlation of each channel of the student with that of the teacher.

    With ``ŝ`` and ``t̂`` the channels scaled to mean 0 and variance 1 over all positions of all images of the batch:
    ``L = (1/2C) Σ_c mean_{b,i} (ŝ − t̂)² = 1 − mean_c r_c``. The size and the offset of a channel do not matter, so that a
    teacher of another architecture, whose features are of another scale, still teaches. A channel that is constant has no
    correlation; it adds 1/2, or 0 if it is so on both sides, and pulls at nothing.

    Args:
        eps: Added to the standard deviation, against the noise of a channel that is nearly constant.

    Inputs:
        student: ``(B, C, h, w)``; any float type, raised to float32. A feature pyramid is compared level by level.
        teacher: The student's shape; takes no gradient.

    References:
        - Cao et al., "PKD: General Distillation Framework for Object Detectors via Pearson Correlation Coefficient",
          NeurIPS 2022, arXiv 2207.02039, equations 3 to 6.
        - mmrazor's ``PKDLoss`` divides by the unbiased standard deviation, which with n positions is ``(n − 1)/n`` times this
          loss. Its configs take weight 6 on all levels of an FPN.

    Requirements:
        Equal shapes: where widths differ, give the objective an adapter. Means are over the batch: with images of 1 a batch they
        are over the image.

    Relations:
        - `ChannelWise` makes each channel of each image a distribution over places, sharpest at its peaks.
        - `kdhub.MSE` after normalisation by hand would need the same two statistics.

    Example:
        A RetinaNet whose FPN should correlate with that of a larger one::

            fpn=dict(loss=dict(type='kddet.PKD'), student='neck', teacher='neck', weight=6.0)
    """

    depends_on_split = "samples"  # statistics are those of the batch of one process

    def __init__(self, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare maps of one shape; see the class for the inputs."""
        student, teacher = require_maps("PKD", student, teacher)
        return (_standardised(student, self.eps) - _standardised(teacher, self.eps)).square().mean() / 2


def _standardised(features: Tensor, eps: float) -> Tensor:
    """Scale each channel of ``(B, C, h, w)`` to mean 0 and variance 1 over batch and positions."""
    centred = features - features.mean((0, 2, 3), keepdim=True)
    # the largest entry is taken out first: squares of large values overflow, and those of small ones vanish
    largest = centred.detach().abs().amax((0, 2, 3), keepdim=True).clamp(min=eps)
    centred = centred / largest
    variance = centred.square().mean((0, 2, 3), keepdim=True)
    # the root of 0 has no finite gradient
    deviation = variance.clamp(min=eps**2).sqrt()
    return centred / (deviation + eps / largest)
