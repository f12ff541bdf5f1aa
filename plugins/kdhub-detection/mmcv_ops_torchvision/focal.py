"""Focal losses in plain torch, with the gradient written out as in mmcv's kernels."""

from __future__ import annotations

import torch
from torch import Tensor

_SMALLEST = torch.finfo(torch.float32).tiny
"""Keeps logarithms finite."""


def sigmoid_focal_loss_forward(
    input: Tensor,  # noqa: A002 (mmcv's name)
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    *,
    gamma: float,
    alpha: float,
) -> None:
    """Fill ``output`` with the loss of each row and class.

    Args:
        input: Logits ``(N, C)``; half precision is computed in float32.
        target: ``(N,)``, the class; C says that the row is background.
        weight: ``(C,)``, weight of rows by their class, or empty. Background weighs 1.
        output: ``(N, C)``, to be filled.
        gamma: Focus: how little well-classified rows count.
        alpha: Weight of the true class against all others.
    """
    p, positive = _probability(input, target)
    hit = (1 - p).pow(gamma) * p.clamp(min=_SMALLEST).log()
    miss = p.pow(gamma) * (1 - p).clamp(min=_SMALLEST).log()
    output.copy_(-torch.where(positive, alpha * hit, (1 - alpha) * miss) * _row_weight(weight, target).unsqueeze(1))


def sigmoid_focal_loss_backward(
    input: Tensor,  # noqa: A002 (mmcv's name)
    target: Tensor,
    weight: Tensor,
    grad_input: Tensor,
    *,
    gamma: float,
    alpha: float,
) -> None:
    """Fill ``grad_input`` with the gradient of each entry's own loss."""
    p, positive = _probability(input, target)
    hit = (1 - p).pow(gamma) * (1 - p - gamma * p * p.clamp(min=_SMALLEST).log())
    miss = p.pow(gamma) * (gamma * (1 - p) * (1 - p).clamp(min=_SMALLEST).log() - p)
    grad_input.copy_(-torch.where(positive, alpha * hit, (1 - alpha) * miss) * _row_weight(weight, target).unsqueeze(1))


def softmax_focal_loss_forward(
    softmax: Tensor, target: Tensor, weight: Tensor, output: Tensor, *, gamma: float, alpha: float
) -> None:
    """Fill ``output`` with the loss of each row.

    Args:
        softmax: Probabilities ``(N, C)``.
        target: ``(N,)``, the class; a negative one says that the row does not count.
        weight: ``(C,)``, weight of rows by their class, or empty.
        output: ``(N,)``, to be filled.
        gamma: Focus: how little well-classified rows count.
        alpha: Factor.
    """
    p = _true_probability(softmax, target)
    loss = -alpha * (1 - p).pow(gamma) * p.clamp(min=_SMALLEST).log()
    output.copy_(loss.masked_fill(target < 0, 0) * _row_weight(weight, target))


def softmax_focal_loss_backward(
    softmax: Tensor, target: Tensor, weight: Tensor, buff: Tensor, grad_input: Tensor, *, gamma: float, alpha: float
) -> None:
    """Fill ``grad_input`` with the gradient of each row's loss; ``buff`` ``(N,)`` is scratch memory."""
    p = _true_probability(softmax, target)
    slope = -(1 - p).pow(gamma) + gamma * (1 - p).pow(gamma - 1) * p * p.clamp(min=_SMALLEST).log()
    buff.copy_((alpha * slope).masked_fill(target < 0, 0) * _row_weight(weight, target))
    classes = torch.arange(softmax.shape[1], device=softmax.device)
    grad_input.copy_(buff.unsqueeze(1) * ((target.unsqueeze(1) == classes).to(buff) - softmax.to(buff)))


def _probability(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    classes = torch.arange(logits.shape[1], device=logits.device)
    return _wide(logits).sigmoid(), target.unsqueeze(1) == classes


def _true_probability(softmax: Tensor, target: Tensor) -> Tensor:
    return _wide(softmax).gather(1, target.clamp(min=0).unsqueeze(1)).squeeze(1)


def _row_weight(weight: Tensor, target: Tensor) -> Tensor:
    if not weight.numel():
        return torch.ones((), device=target.device).expand(len(target))
    inside = (target >= 0) & (target < len(weight))
    return torch.where(inside, _wide(weight)[target.clamp(0, len(weight) - 1)], 1.0)


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
