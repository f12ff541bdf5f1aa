"""Mean squared error between values of one shape."""

from __future__ import annotations

from torch import Tensor

from kdhub.distill.arguments import integer, optional, require
from kdhub.distill.losses._inputs import entry_by_entry
from kdhub.distill.losses.reduction import MaskedLoss, masked_mean


class MSE(MaskedLoss):
    """Mean squared difference of all entries: the student should reproduce the teacher's values, scale included.

    ``L = (1/n) Σ (s − t)²`` over the n entries that count.

    Args:
        axis: The axis that ``mask`` may lack, which is that of the features; used for nothing else. ``None`` means axis 1
            for ``(B, D)`` and ``(B, C, H, W)``, and must be given for three axes. A wrong axis is an error of shapes
            unless two sizes are equal; then it masks the wrong entries.
        reduction: What the mean is taken over. ``'positions'``, the default: all entries that count, each alike. ``'samples'``:
            within each sample, then over all samples, so that accumulated gradients and those of several processes are
            the whole batch's; a sample with few entries then counts as much as one with many. They differ only with a mask.

    Inputs:
        student: ``(B, ...)``, any float type; raised to float32.
        teacher: The student's shape; takes no gradient.
        mask: Optional, boolean or integer, not zero where an entry counts: the student's shape, the same with sizes
            1, or that shape without the feature axis (``(B, N)`` for ``(B, N, D)``, ``(B, H, W)`` for ``(B, C, H, W)``).

    References:
        - Romero et al., "FitNets: Hints for Thin Deep Nets", arXiv 1412.6550, eq. 3 (there a sum, here a mean).
        - Reimers and Gurevych, "Making Monolingual Sentence Embeddings Multilingual using Knowledge Distillation",
          arXiv 2004.09813, for sentence embeddings.

    Requirements:
        Equal shapes: give the objective an ``adapter`` where widths or sizes differ. If the teacher's values are not
        normalised and the student's are, the loss cannot reach 0; normalise both or use `Cosine`.

    Relations:
        - `Cosine` compares directions only: prefer it when scales differ or carry no meaning.
        - `SmoothL1` limits the pull of single large entries, such as outlier channels of transformers.
        - `Relational` needs no adapter, as it compares samples with each other.

    Example:
        A 256-channel stage that should look like a teacher's 1024-channel one::

            stage3=dict(
                loss=dict(type='kdhub.MSE'),
                student='backbone.layer3',
                teacher='backbone.layer3',
                adapter=dict(type='kdhub.Conv1x1', in_channels=256, out_channels=1024),
                weight=1.0)
    """

    def __init__(self, axis: int | None = None, reduction: str = "positions") -> None:
        super().__init__(reduction)
        require("MSE", optional(integer()), axis=axis)
        self.axis = axis

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare values of one shape; see the class for the inputs."""
        student, teacher, mask = entry_by_entry("MSE", student, teacher, mask, self.axis)
        return masked_mean((student - teacher).square(), mask, self.reduction)
