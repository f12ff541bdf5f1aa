"""Channel-wise distillation of feature maps (CWD)."""

from __future__ import annotations

from torch import Tensor, nn

from kddet.losses._maps import require_maps
from kdhub.api import UsageError, channel_wise_kl, number, require


class ChannelWise(nn.Module):
    """Divergence of where the student's channels are active from where the teacher's are (CWD).

    In each channel of each image a softmax over the positions makes a distribution: ``p = softmax_i(t[b,c,i]/τ)``,
    ``q = softmax_i(s[b,c,i]/τ)``; ``L = τ²/(B·C) · Σ_b Σ_c Σ_i p (log p − log q)``. How strong a channel is does not matter,
    and neither does a constant added to it.

    Args:
        temperature: Divides both sides before the softmax. 1.0, the default, is that of mmrazor's configs for FPNs. Higher ones
            let more than the peaks of a channel count; the factor ``τ²`` keeps the size of the gradient about the same.

    Inputs:
        student: ``(B, C, h, w)``, at least 2 positions; any float type, raised to float32. A feature pyramid is compared level
            by level.
        teacher: The student's shape; takes no gradient.

    References:
        - Shu et al., "Channel-wise Knowledge Distillation for Dense Prediction", arXiv 2011.13256, equations 4 and 5.
        - mmrazor's config for RetinaNet and GFL: on all levels of the FPN, weight 10, temperature 1.

    Requirements:
        Equal shapes: where widths differ, give the objective a `kdhub.EachLevel` of `kdhub.Conv1x1`. Student and teacher must
        see the same pixels: ``batch='student'`` in `kdhub.ModelTeacher`.

    Relations:
        - `PKD` compares a channel's activity over the whole batch, where this loss compares its place within an image.
        - `kdhub.MSE` imitates the values themselves, strong channels most.
        - `kdseg.ChannelWiseKD` is the same divergence on logits, without void pixels.

    Example:
        All levels of two FPNs of one width::

            places=dict(loss=dict(type='kddet.ChannelWise'), student='neck', teacher='neck', weight=10.0)
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        require("ChannelWise", number(above=0), temperature=temperature)
        self.temperature = temperature

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare maps of one shape; see the class for the inputs."""
        student, teacher = require_maps("ChannelWise", student, teacher)
        if student.shape[-2:].numel() < 2:
            raise UsageError(
                "ChannelWise compares positions: over one the softmax is constant, and loss and gradient would be 0",
                expected="maps of 2 positions or more",
                got=f"student {tuple(student.shape)}",
                fix="take larger images, or leave the coarsest level out: dict(type='kdhub.ModuleOutput', path='neck', key=0) taps one level",
            )
        return channel_wise_kl(student, teacher, self.temperature)
