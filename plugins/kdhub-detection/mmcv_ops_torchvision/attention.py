"""Multi-scale deformable attention on CUDA: mmcv's own plain torch, which it uses on the CPU anyway."""

from __future__ import annotations

import torch
from torch import Tensor


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    *,
    im2col_step: int,
) -> Tensor:
    """Return the attention's values.

    Args:
        value: ``(B, positions of all levels, heads, D)``.
        value_spatial_shapes: ``(levels, 2)``, height and width of each level.
        value_level_start_index: ``(levels,)``; follows from the shapes.
        sampling_locations: ``(B, queries, heads, levels, points, 2)``, from 0 to 1.
        attention_weights: ``(B, queries, heads, levels, points)``.
        im2col_step: Says how the compiled operator cuts the batch.

    Returns:
        ``(B, queries, heads · D)``.
    """
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    result: Tensor = multi_scale_deformable_attn_pytorch(
        value, value_spatial_shapes, sampling_locations.to(value), attention_weights.to(value)
    )
    return result


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    *,
    im2col_step: int,
) -> None:
    """Fill the three gradients, by running the forward pass once more."""
    leaves = [tensor.detach().requires_grad_() for tensor in (value, sampling_locations, attention_weights)]
    with torch.enable_grad():
        output = ms_deform_attn_forward(
            leaves[0], value_spatial_shapes, value_level_start_index, leaves[1], leaves[2], im2col_step=im2col_step
        )
    gradients = torch.autograd.grad(output, leaves, grad_output)
    for target, gradient in zip((grad_value, grad_sampling_loc, grad_attn_weight), gradients, strict=True):
        target.copy_(gradient)
