"""Cosine distance between corresponding vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from kdhub.distill.arguments import integer, optional, require
from kdhub.distill.losses._inputs import entry_by_entry, feature_axis
from kdhub.distill.losses.reduction import MaskedLoss, masked_mean


class Cosine(MaskedLoss):
    """One minus the cosine of corresponding vectors: the student should point where the teacher points.

    ``L = (1/n) Σ (1 − cos(s, t))`` over the n vectors that count, computed as ``½ ‖s/‖s‖ − t/‖t‖‖²``: equal for every
    non-zero vector, and exactly 0 at equality where the difference of two numbers near 1 is not.

    A zero vector has no direction. It is not divided by its norm, so its term is ½ (0 when both are zero) and its
    gradient bounded, where the usual tiny epsilon would make it enormous, or vanish in half precision.

    Args:
        axis: The axis along which a vector lies. ``None`` means axis 1 for ``(B, D)`` and ``(B, C, H, W)``; for three axes
            it must be given, -1 for tokens ``(B, N, D)``. A wrong axis gives a plausible loss that compares, say, one
            feature over all tokens.
        reduction: What the mean is taken over. ``'positions'``, the default: all entries that count, each alike. ``'samples'``:
            within each sample, then over all samples, so that accumulated gradients and those of several processes are
            the whole batch's; a sample with few entries then counts as much as one with many. They differ only with a mask.

    Inputs:
        student: ``(B, D)``, ``(B, N, D)``, ``(B, C, H, W)`` or alike; any float type; raised to float32.
        teacher: The student's shape; takes no gradient.
        mask: Optional, boolean or integer, not zero where a vector counts: the student's shape without ``axis``, such as
            the attention mask ``(B, N)`` of ``(B, N, D)``; a mask of all axes leaves single features out of their vectors.

    References:
        - Default of sentence-transformers' ``EmbedDistillLoss``, for sentence embeddings.
        - Sanh et al., "DistilBERT", arXiv 1910.01108 (cosine loss on hidden states).

    Requirements:
        Equal shapes: give the objective an ``adapter`` where widths differ. Directions must mean the same in both, so the
        adapter has to be trained; widths that are equal by chance need one too.

    Relations:
        - `MSE` also asks for the teacher's lengths: prefer it when dot products are searched with un-normalised vectors.
        - `Relational` asks only for the same angles between samples: prefer it when widths differ and an adapter should
          not absorb what the student could learn.

    Example:
        Sentence embeddings, with the adapter that the shape probe proposes::

            embedding=dict(
                loss=dict(type='kdhub.Cosine'),
                student='encode',
                teacher='encode',
                adapter=dict(type='kdhub.Linear', in_features=256, out_features=384),
                weight=1.0)
    """

    def __init__(self, axis: int | None = None, reduction: str = "positions") -> None:
        super().__init__(reduction)
        require("Cosine", optional(integer()), axis=axis)
        self.axis = axis

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare vectors of values of one shape; see the class for the inputs."""
        student, teacher, mask = entry_by_entry("Cosine", student, teacher, mask, self.axis)
        axis = feature_axis("Cosine", "axis", self.axis, student.ndim)
        distance = (unit_vectors(student, axis) - unit_vectors(teacher, axis)).square().sum(axis) / 2
        return masked_mean(distance, None if mask is None else mask.any(axis), self.reduction)


def unit_vectors(value: Tensor, axis: int) -> Tensor:
    """Divide each vector by its Euclidean norm; a zero vector stays, with a bounded gradient.

    Args:
        value: Any shape, float32 or wider.
        axis: The axis along which a vector lies.

    Returns:
        The shape of ``value``.
    """
    norm: Tensor = torch.linalg.vector_norm(value, dim=axis, keepdim=True)
    return value / norm.masked_fill(norm == 0, 1.0)
