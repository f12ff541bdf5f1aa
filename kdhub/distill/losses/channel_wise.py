"""Channel-wise divergence: where each channel of a map lies, for the losses of plugins on logits and on features."""

from __future__ import annotations

import torch
from torch import Tensor

from kdhub.distill.arguments import number, require
from kdhub.distill.losses.divergence import divergence


def channel_wise_kl(student: Tensor, teacher: Tensor, temperature: float = 1.0, valid: Tensor | None = None) -> Tensor:
    """Compute ``τ²/(B·C) · Σ_b Σ_c KL(p || q)``, with a softmax over the positions of each channel of each image.

    After Shu et al., "Channel-wise Knowledge Distillation for Dense Prediction", arXiv 2011.13256, equations 4 and 5.

    Args:
        student: Map ``(B, C, h, w)``, float32 or wider; −∞ says that a channel is nowhere, or not at a position.
        teacher: The student's shape.
        temperature: Divides both before the softmax.
        valid: Boolean ``(B, h, w)``, true where a position belongs to the softmaxes; ``None`` for everywhere.

    Returns:
        Scalar.

    Raises:
        UsageError: For a temperature that is not positive; a schedule may have made it so.
    """
    require("channel_wise_kl", number(above=0), temperature=temperature)
    student_rows, teacher_rows = (_rows(values, temperature, valid) for values in (student, teacher))
    return divergence(student_rows, teacher_rows, -1).sum() * (temperature**2 / max(student.shape[:2].numel(), 1))


def _rows(values: Tensor, temperature: float, valid: Tensor | None) -> Tensor:
    """Return ``(B, C, h·w)``, softened, of probability 0 where a position is not valid."""
    rows = values.flatten(2) / temperature
    if valid is None:
        return rows
    # the lowest number instead of −∞: an image that is void throughout keeps a finite softmax, the same on both sides
    return rows.masked_fill(~valid.flatten(1).unsqueeze(1), torch.finfo(rows.dtype).min)
