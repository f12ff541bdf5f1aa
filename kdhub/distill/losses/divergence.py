"""Kullback-Leibler divergence along one axis, with its gradient kept in place of what autograd would keep."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def divergence(
    student: Tensor, teacher: Tensor, axis: int, *, factor: Tensor | None = None, offset: Tensor | None = None
) -> Tensor:
    """Compare the softmax of two maps along an axis: ``KL(teacher || student)``.

    Value and gradient are exactly 0 where both sides are equal, also where both rule something out (−∞). The value is
    infinite where the student alone does.

    Args:
        student: Logits; they alone take a gradient. Neither NaN nor +∞.
        teacher: The student's shape.
        axis: The axis that sums to one.
        factor: Multiplies both sides, of their shape or broadcast to it; ``None`` for 1.
        offset: Added to both sides, of their shape or broadcast to it; ``None`` for 0. Finite.

    Returns:
        The student's shape without ``axis``.
    """
    return _Divergence.apply(student, teacher, axis, factor, offset)


_NEVER = -1e30
"""Stands for −∞: its probability is 0 as well, and neither its product with a mask of 0 nor its difference from itself is NaN."""

_INFINITE = 1e20
"""No divergence of logits that a network computed comes near it: the student gave `_NEVER` where the teacher did not."""


class _Divergence(torch.autograd.Function):
    """``Σ p (log p − log q)`` and its gradient ``(q − p) · factor``.

    Written out because autograd would keep up to four maps for the backward pass, where one suffices, and take the softmax
    of the student again there. With 150 classes, maps are what the memory of a loss consists of.
    """

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, axis: int, factor: Tensor | None, offset: Tensor | None
    ) -> Tensor:
        log_q = _affine(student, factor, offset).log_softmax(axis)
        log_p = _affine(teacher, factor, offset).log_softmax(axis)
        p = log_p.exp()
        value = log_p.sub_(log_q).mul_(p).sum(axis)
        value.masked_fill_(value > _INFINITE, torch.inf)
        if ctx.needs_input_grad[0]:
            pull = log_q.exp_().sub_(p)
            ctx.axis = axis
            ctx.save_for_backward(pull if factor is None else pull.mul_(factor))
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        (pull,) = ctx.saved_tensors
        return gradient.unsqueeze(ctx.axis) * pull, None, None, None, None


def _affine(logits: Tensor, factor: Tensor | None, offset: Tensor | None) -> Tensor:
    logits = logits.clamp_min(_NEVER)
    if factor is None:
        return logits if offset is None else logits + offset
    return logits * factor if offset is None else torch.addcmul(offset, logits, factor)
