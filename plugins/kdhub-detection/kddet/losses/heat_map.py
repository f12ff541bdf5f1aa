"""Heat maps of object centres."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from kddet.losses._maps import require_maps
from kdhub.api import number, require


class HeatMapKD(nn.Module):
    """Binary cross entropy with the teacher's heat map, weighted by how far the student is from it.

    With ``p = σ(s)`` and ``t = σ(teacher)``: ``L = Σ |t − p|^γ · BCE(p, t) / Σ t``, over all classes and positions of the batch.
    Nearly all positions are background on both sides; the factor keeps them from drowning the objects, and the sum of the
    teacher's map stands for their number.

    Args:
        gamma: γ. 2, the default, is that of the focal loss for soft targets; 0 is plain binary cross entropy.

    Inputs:
        student: ``(B, C, h, w)``, logits; any float type, raised to float32.
        teacher: The student's shape, logits; takes no gradient.

    References:
        - Li et al., "Generalized Focal Loss", arXiv 2006.04388, equation 2, for the factor on soft targets.
        - Zhou et al., "Objects as Points" (CenterNet), arXiv 1904.07850, for the maps.

    Requirements:
        The same classes in the same order, and maps of one stride.

    Relations:
        - `ChannelWise` compares where each class is and gives an absent class as much weight as one that is there.

    Example:
        A small CenterNet taught by another::

            centres=dict(
                loss=dict(type='kddet.HeatMapKD'), student='bbox_head.heatmap_head', teacher='heat_map', weight=1.0)
    """

    depends_on_split = "count"  # divided by the teacher's objects in the batch of one process

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        require("HeatMapKD", number(at_least=0), gamma=gamma)
        self.gamma = gamma

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare maps of one shape; see the class for the inputs."""
        student, teacher = require_maps("HeatMapKD", student, teacher)
        target = teacher.sigmoid()
        away = (target - student.sigmoid()).abs()
        entropy = functional.binary_cross_entropy_with_logits(student, target, reduction="none")
        # the power of an exact 0 has no finite gradient below 1
        factor = away.clamp(min=1e-12) ** self.gamma if self.gamma else 1.0
        return (factor * entropy).sum() / target.sum().clamp(min=1.0)
