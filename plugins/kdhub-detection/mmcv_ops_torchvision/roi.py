"""Features of boxes: ``roi_align`` on torchvision's kernel, ``roi_pool`` in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcv_ops_torchvision.missing import missing


def roi_align_forward(
    input: Tensor,  # noqa: A002 (mmcv's name)
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill ``output`` with means over the cells of each box.

    Args:
        input: ``(B, C, H, W)``; half precision is computed in float32.
        rois: ``(N, 5)``: index into the batch, x1, y1, x2, y2.
        output: ``(N, C, aligned_height, aligned_width)``, to be filled.
        argmax_y: Not used by means.
        argmax_x: Not used by means.
        aligned_height: Cells down.
        aligned_width: Cells across.
        spatial_scale: Size of the map over that of the image.
        sampling_ratio: Points of a cell in each direction; 0 takes as many as it has positions.
        pool_mode: 1 for means. 0, for maxima, is not here.
        aligned: Whether positions are centres of cells.
    """
    if pool_mode != 1:
        missing("roi_align with pool_mode='max'")
    value = torch.ops.torchvision.roi_align(
        _wide(input),
        rois.to(_wide_type(input)),
        spatial_scale,
        aligned_height,
        aligned_width,
        sampling_ratio,
        aligned,
    )
    output.copy_(value)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill ``grad_input``, the gradient of `roi_align_forward`."""
    value = torch.ops.torchvision._roi_align_backward(
        _wide(grad_output),
        rois.to(_wide_type(grad_output)),
        spatial_scale,
        aligned_height,
        aligned_width,
        *grad_input.shape,
        sampling_ratio,
        aligned,
    )
    grad_input.copy_(value)


def roi_pool_forward(
    input: Tensor,  # noqa: A002 (mmcv's name)
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    *,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Fill ``output`` with maxima over the cells of each box, and ``argmax`` with where they lie.

    torchvision has a ``roi_pool`` too, which rounds boxes to whole positions first; mmcv rounds the cells. A maximum over a
    rectangle is one over its columns and then one over its rows.

    Args:
        input: ``(B, C, H, W)``.
        rois: ``(N, 5)``: index into the batch, x1, y1, x2, y2.
        output: ``(N, C, pooled_height, pooled_width)``; 0 where a cell is empty.
        argmax: The same shape, int32: ``h * W + w``, or -1 where a cell is empty.
        pooled_height: Cells down.
        pooled_width: Cells across.
        spatial_scale: Size of the map over that of the image.
    """
    height, width = input.shape[-2:]
    boxes = _wide(rois)
    for number, (image, x1, y1, x2, y2) in enumerate(boxes.unbind(0)):
        columns = _cells(x1 * spatial_scale, (x2 + 1) * spatial_scale, pooled_width, width)
        rows = _cells(y1 * spatial_scale, (y2 + 1) * spatial_scale, pooled_height, height)
        features = input[int(image)]
        # (C, H, cells across), then (C, cells down, cells across)
        across, column = features.unsqueeze(2).masked_fill(~columns, -torch.inf).max(-1)
        value, row = across.unsqueeze(1).masked_fill(~rows.unsqueeze(-1), -torch.inf).max(2)
        place = row * width + column.gather(1, row)
        empty = ~(rows.any(1).unsqueeze(1) & columns.any(1))
        output[number] = value.masked_fill(empty, 0)
        argmax[number] = place.masked_fill(empty, -1).to(argmax)


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    *,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Fill ``grad_input``, the gradient of `roi_pool_forward`."""
    images = rois[:, 0].long()
    taken = argmax.flatten(2).long()
    gradient = grad_output.flatten(2).masked_fill(taken < 0, 0)
    flat = grad_input.flatten(2)
    for image, place, value in zip(images.tolist(), taken.clamp(min=0), gradient, strict=True):
        flat[image].scatter_add_(1, place, value.to(flat))


def _cells(start: Tensor, end: Tensor, cells: int, size: int) -> Tensor:
    """Return which of ``size`` positions belong to which cell, ``(cells, size)``; one without extent has none."""
    step = (end - start) / cells
    edges = torch.arange(cells, device=start.device) * step + start
    following = torch.arange(1, cells + 1, device=start.device) * step + start
    positions = torch.arange(size, device=start.device)
    inside = (positions >= edges.floor().unsqueeze(1)) & (positions < following.ceil().unsqueeze(1))
    return inside & (end > start)


def _wide_type(values: Tensor) -> torch.dtype:
    return torch.float64 if values.dtype == torch.float64 else torch.float32


def _wide(values: Tensor) -> Tensor:
    return values.to(_wide_type(values))
