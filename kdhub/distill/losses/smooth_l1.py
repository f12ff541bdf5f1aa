"""Smooth-L1: squared error near the target, absolute error far from it."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from kdhub.distill.arguments import integer, number, optional, require
from kdhub.distill.losses._inputs import entry_by_entry
from kdhub.distill.losses.reduction import MaskedLoss, masked_mean


class SmoothL1(MaskedLoss):
    """Squared error for small differences, absolute error for large ones, so that no single entry pulls harder than 1.

    With ``d = s − t``: ``L = (1/n) Σ [ d²/(2β) if |d| < β else |d| − β/2 ]`` over the n entries that count.

    Args:
        beta: Difference at which the loss turns from square to straight, in the unit of the values. Far above their
            spread the loss is `MSE` divided by 2β, and its gradient fades with β; at 0 it is the mean absolute
            difference, whose gradient does not shrink near the target, so the student ends up jittering around it. 1.0 suits
            values of unit spread, as after a layer norm.
        axis: The axis that ``mask`` may lack, which is that of the features; used for nothing else. ``None`` means axis 1
            for ``(B, D)`` and ``(B, C, H, W)``, and must be given for three axes.
        reduction: What the mean is taken over. ``'positions'``, the default: all entries that count, each alike. ``'samples'``:
            within each sample, then over all samples, so that accumulated gradients and those of several processes are
            the whole batch's; a sample with few entries then counts as much as one with many. They differ only with a mask.

    Inputs:
        student: ``(B, ...)``, any float type; raised to float32.
        teacher: The student's shape; takes no gradient.
        mask: Optional, boolean or integer, not zero where an entry counts: the student's shape, the same with sizes
            1, or that shape without the feature axis (``(B, N)`` for ``(B, N, D)``, ``(B, H, W)`` for ``(B, C, H, W)``).

    References:
        - Girshick, "Fast R-CNN", arXiv 1504.08083, eq. 3 (β = 1); β as in ``torch.nn.SmoothL1Loss``.
        - For features: Wei et al., "Contrastive Learning Rivals Masked Image Modeling in Fine-tuning via Feature
          Distillation", arXiv 2205.14141 (β = 2, teacher features whitened by a layer norm).

    Requirements:
        Equal shapes: give the objective an ``adapter`` where widths or sizes differ.

    Relations:
        - `MSE` when no entry stands out: smoother, and one number less to choose.
        - `Cosine` when only directions matter.

    Example:
        Tokens of a vision transformer, whose few outlier channels would rule a squared error::

            tokens=dict(
                loss=dict(type='kdhub.SmoothL1', beta=2.0),
                student='backbone.ln1',
                teacher='backbone.ln1',
                adapter=dict(type='kdhub.Linear', in_features=192, out_features=768),
                weight=1.0)
    """

    def __init__(self, beta: float = 1.0, axis: int | None = None, reduction: str = "positions") -> None:
        super().__init__(reduction)
        require("SmoothL1", number(at_least=0), beta=beta)
        self.beta = beta
        require("SmoothL1", optional(integer()), axis=axis)
        self.axis = axis

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare values of one shape; see the class for the inputs."""
        require("SmoothL1", number(at_least=0), beta=self.beta)  # a schedule may have driven it
        student, teacher, mask = entry_by_entry("SmoothL1", student, teacher, mask, self.axis)
        distance = functional.smooth_l1_loss(student, teacher, reduction="none", beta=self.beta)
        return masked_mean(distance, mask, self.reduction)
