"""Kullback-Leibler divergence along one axis, with its gradient kept in place of what autograd would keep."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def divergence(student: Tensor, teacher: Tensor, axis: int) -> Tensor:
    """Compare the softmax of two maps along an axis: ``KL(teacher || student)``.

    Value and gradient are exactly 0 where both sides are equal.

    Args:
        student: Finite logits.
        teacher: The student's shape; takes no gradient.
        axis: The axis that sums to one.

    Returns:
        The student's shape without ``axis``.
    """
    return _Divergence.apply(student, teacher, axis)


class _Divergence(torch.autograd.Function):
    """``Σ p (log p − log q)`` and its gradient ``q − p``.

    Written out because autograd would keep three maps for the backward pass, where one suffices, and take the softmax of
    the student again there.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, axis: int) -> Tensor:
        log_ratio = teacher.log_softmax(axis).sub_(student.log_softmax(axis))
        p = teacher.softmax(axis)
        value = torch.linalg.vecdot(p, log_ratio, dim=axis)
        if ctx.needs_input_grad[0]:
            ctx.axis = axis
            ctx.save_for_backward(student.softmax(axis).sub_(p))
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (difference,) = ctx.saved_tensors
        return gradient.unsqueeze(ctx.axis) * difference, None, None
