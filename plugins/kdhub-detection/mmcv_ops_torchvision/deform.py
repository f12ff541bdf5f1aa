"""Deformable convolutions, with and without modulation, on torchvision's kernel."""

from __future__ import annotations

from typing import Any

import torch
import torchvision as torchvision  # its import registers the kernels
from torch import Tensor


def deform_conv_forward(
    input: Tensor,  # noqa: A002 (mmcv's name)
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    **geometry: Any,
) -> None:
    """Fill ``output`` with a deformable convolution.

    Args:
        input: ``(B, C, H, W)``; half precision is computed in float32, as is all that follows.
        weight: ``(D, C / group, kH, kW)``.
        offset: ``(B, 2 · deformable_group · kH · kW, H', W')``, down and across in turn.
        output: ``(B, D, H', W')``, to be filled.
        columns: Scratch memory of the compiled operator.
        ones: Scratch memory of the compiled operator.
        **geometry: ``kW kH dW dH padW padH dilationW dilationH group deformable_group im2col_step``; the last one only says
            how the compiled operator cuts the batch.
    """
    output.copy_(_forward(input, weight, offset, None, None, _plain(geometry)))


def deform_conv_backward_input(
    input: Tensor,  # noqa: A002 (mmcv's name)
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **geometry: Any,
) -> None:
    """Fill ``grad_input`` and ``grad_offset``."""
    gradients = _backward(grad_output, input, weight, offset, None, None, _plain(geometry))
    grad_input.copy_(gradients[0])
    grad_offset.copy_(gradients[2])


def deform_conv_backward_parameters(
    input: Tensor,  # noqa: A002 (mmcv's name)
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    *,
    scale: float,
    **geometry: Any,
) -> None:
    """Add ``scale`` times the weight's gradient to ``grad_weight``."""
    # the weight's values do not enter its own gradient
    gradients = _backward(grad_output, input, grad_weight, offset, None, None, _plain(geometry))
    grad_weight.add_(gradients[1].to(grad_weight), alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,  # noqa: A002 (mmcv's name)
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    *,
    with_bias: bool,
    **geometry: Any,
) -> None:
    """Fill ``output`` with a modulated deformable convolution.

    Args:
        input: As of `deform_conv_forward`.
        weight: As of `deform_conv_forward`.
        bias: ``(D,)``; looked at only with ``with_bias``.
        ones: Scratch memory of the compiled operator.
        offset: As of `deform_conv_forward`.
        mask: ``(B, deformable_group · kH · kW, H', W')``, multiplies what the offsets point at.
        output: As of `deform_conv_forward`.
        columns: Scratch memory of the compiled operator.
        with_bias: Whether to add the bias.
        **geometry: ``kernel_h kernel_w stride_h stride_w pad_h pad_w dilation_h dilation_w group deformable_group``.
    """
    output.copy_(_forward(input, weight, offset, mask, bias if with_bias else None, _modulated(geometry)))


def modulated_deform_conv_backward(
    input: Tensor,  # noqa: A002 (mmcv's name)
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    *,
    with_bias: bool,
    **geometry: Any,
) -> None:
    """Fill the gradients of `modulated_deform_conv_forward`."""
    used = bias if with_bias else None
    gradients = _backward(grad_output, input, weight, offset, mask, used, _modulated(geometry))
    for target, value in zip((grad_input, grad_weight, grad_offset, grad_mask), gradients[:4], strict=True):
        target.copy_(value)
    if with_bias:
        grad_bias.copy_(gradients[4])


def _plain(geometry: dict[str, Any]) -> tuple[int, ...]:
    keys = ("dH", "dW", "padH", "padW", "dilationH", "dilationW", "group", "deformable_group")
    return tuple(int(geometry[key]) for key in keys)


def _modulated(geometry: dict[str, Any]) -> tuple[int, ...]:
    keys = ("stride_h", "stride_w", "pad_h", "pad_w", "dilation_h", "dilation_w", "group", "deformable_group")
    return tuple(int(geometry[key]) for key in keys)


def _forward(
    value: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    geometry: tuple[int, ...],
) -> Tensor:
    tensors = _operands(value, weight, offset, mask, bias)
    return torch.ops.torchvision.deform_conv2d(*tensors, *geometry, mask is not None)


def _backward(
    gradient: Tensor,
    value: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    geometry: tuple[int, ...],
) -> tuple[Tensor, ...]:
    """Return the gradients of input, weight, offset, mask and bias."""
    tensors = _operands(value, weight, offset, mask, bias)
    backward = torch.ops.torchvision._deform_conv2d_backward
    result: tuple[Tensor, ...] = backward(gradient.to(tensors[0]).contiguous(), *tensors, *geometry, mask is not None)
    return result


def _operands(
    value: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, ...]:
    """Bring all operands to one type, float32 or wider, and give the kernel something where it takes no ``None``."""
    wide = torch.float64 if value.dtype == torch.float64 else torch.float32
    empty = value.new_zeros((len(value), 1), dtype=wide)
    filled = (
        value,
        weight,
        offset,
        empty if mask is None else mask,
        weight.new_zeros(len(weight)) if bias is None else bias,
    )
    return tuple(tensor.to(wide).contiguous() for tensor in filled)
