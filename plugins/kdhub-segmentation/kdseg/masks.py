"""Which pixels lie at the boundary of which class: soft edge masks from ground truth."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kdhub.api import UsageError, choice, integer, require
from kdseg.class_sets import WORD, add_up, class_words, count, has_class, numbers, slide
from kdseg.memory import TensorMemory

VOID_RULES = ("window", "pixel", "transition")
_PIXELS_AT_ONCE = 1 << 20
_memory = TensorMemory()


class EdgeMasks(NamedTuple):
    """Edge masks at the size of the logits.

    Attributes:
        edge: ``(B, C, h, w)`` float32 in [0, 1]: the share of a cell's pixels that lie at a boundary of the class.
        valid: ``(B, 1, h, w)`` bool: whether each pixel of the cell has a class.
    """

    edge: Tensor
    valid: Tensor


def edge_masks(
    labels: Tensor, num_classes: int, *, window: int = 7, void_rule: str = "window", ignore_index: int = 255
) -> Tensor:
    """Mark the pixels at the boundaries of each class: dilation minus erosion of its region.

    Args:
        labels: ``(B, H, W)`` or ``(B, 1, H, W)``, integers: ``0..num_classes-1`` or ``ignore_index``.
        num_classes: C.
        window: Side of the square that dilates and erodes, odd. A straight boundary gets a band of ``window - 1`` pixels,
            half of it on either side, in the masks of both classes. The frame of the image is no boundary.
        void_rule: What pixels without a class do. ``"window"``: a window that holds one marks nothing, so the unknown is
            never taken for an edge. ``"pixel"``: only they themselves are not marked. ``"transition"``: a change from a
            class to void is a boundary as any other.
        ignore_index: Label of pixels without a class.

    Returns:
        ``(B, C, H, W)`` bool.

    Raises:
        UsageError: For an even window, an unknown rule, no class, or labels of another shape.
    """
    labels = _checked(labels, num_classes, window, void_rule)
    framed, marked = _prepared(labels, num_classes, window, void_rule, ignore_index)
    return torch.cat(
        [
            has_class(_present(framed, first, window) * marked, min(WORD, num_classes - first)).bool()
            for first in range(0, num_classes, WORD)
        ],
        1,
    )


def pooled_edge_masks(
    labels: Tensor,
    num_classes: int,
    size: tuple[int, int],
    *,
    window: int = 7,
    void_rule: str = "window",
    ignore_index: int = 255,
) -> EdgeMasks:
    """Average `edge_masks` over the cells of a smaller map, as adaptive average pooling does.

    A cell that holds a pixel without a class gets 0: nothing is known about its content. The full-size masks are never
    made, so the memory does not grow with the number of classes beyond the result. Several objectives that ask for the
    masks of one tensor share them: they are computed again only if the labels change or other arguments are given.

    Args:
        labels: As for `edge_masks`.
        num_classes: C.
        size: ``h, w``.
        window: As for `edge_masks`.
        void_rule: As for `edge_masks`.
        ignore_index: As for `edge_masks`.

    Returns:
        The masks; not to be changed in place.

    Raises:
        UsageError: As `edge_masks`.
    """
    height, width = size
    arguments = (num_classes, (height, width), window, void_rule, ignore_index)
    maps = _checked(labels, num_classes, window, void_rule)
    known = _memory.of(labels)
    if arguments not in known:
        at_once = max(1, _PIXELS_AT_ONCE // maps[0].numel())
        parts = [_pooled(part, *arguments) for part in maps.split(at_once)]
        known[arguments] = parts[0] if len(parts) == 1 else EdgeMasks(*map(torch.cat, zip(*parts, strict=True)))
    return known[arguments]


def _checked(labels: Tensor, num_classes: int, window: int, void_rule: str) -> Tensor:
    """Return labels as ``(B, H, W)``."""
    require("edge_masks", integer(1), num_classes=num_classes)
    require_window("edge_masks", window)
    require("edge_masks", choice(VOID_RULES), void_rule=void_rule)
    maps = labels.squeeze(1) if labels.ndim == 4 and labels.shape[1] == 1 else labels
    if maps.ndim != 3 or maps.is_floating_point():
        raise UsageError(
            "edge_masks cannot read the labels",
            expected="integers (B, H, W) or (B, 1, H, W)",
            got=f"{tuple(labels.shape)} {labels.dtype}",
        )
    return maps


def require_window(owner: str, window: int) -> None:
    """See that a window has a middle.

    Raises:
        UsageError: If its side is not an odd number from 1.
    """
    require(owner, integer(1), window=window)
    if window % 2 == 0:
        raise UsageError(
            f"{owner}: an even window has no middle, and its band would lean to one side",
            expected="an odd number",
            got=str(window),
            near=(),
            fix=f"window={window - 1} or {window + 1}",
        )


def _prepared(
    labels: Tensor, num_classes: int, window: int, void_rule: str, ignore_index: int
) -> tuple[Tensor, Tensor]:
    """Return the labels in a frame and few bytes, ``(B, H+window-1, W+window-1)``, and which pixels may be marked.

    Where a window holds one class only, that class is dilated and eroded alike; elsewhere no class survives erosion. So a
    class is marked where the window holds it and something else: what is in the window is left to do class by class.
    """
    dtype = torch.uint8 if num_classes <= 255 else torch.int32
    void = torch.iinfo(dtype).max
    framed = _frame(labels, window // 2, dtype)
    if ignore_index != void:
        framed.masked_fill_(_frame(labels == ignore_index, window // 2, torch.bool), void)
    lowest, highest = slide(framed, window, torch.minimum), slide(framed, window, torch.maximum)
    mixed = (highest - lowest).clamp_(max=1)
    if void_rule == "window":
        mixed *= (void - highest).clamp_(max=1)
    elif void_rule == "pixel":
        mixed *= (void - _middle(framed, window)).clamp_(max=1)
    return framed, mixed


def _frame(labels: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """Repeat the outermost pixels outwards: a window at the frame then sees nothing but what it holds anyway."""
    height, length = labels.shape[-2:]
    framed = labels.new_empty((*labels.shape[:-2], height + 2 * width, length + 2 * width), dtype=dtype)
    rows = framed.narrow(-2, width, height)
    rows.narrow(-1, width, length).copy_(labels)
    rows.narrow(-1, 0, width).copy_(labels[..., :1])
    rows.narrow(-1, width + length, width).copy_(labels[..., -1:])
    framed.narrow(-2, 0, width).copy_(rows[..., :1, :])
    framed.narrow(-2, width + height, width).copy_(rows[..., -1:, :])
    return framed


def _middle(framed: Tensor, window: int) -> Tensor:
    """Take the frame off again."""
    height, length = (size - window + 1 for size in framed.shape[-2:])
    return framed.narrow(-2, window // 2, height).narrow(-1, window // 2, length)


def _present(framed: Tensor, first: int, window: int) -> Tensor:
    """Return which of 32 classes each window holds: words ``(B, H, W)``."""
    return slide(class_words(framed, first), window, torch.bitwise_or)


class _Cells:
    """The cells of adaptive average pooling along one axis; neighbours may share a pixel.

    Args:
        pixels: Length of the axis.
        cells: Number of cells.
        device: Where the map is.

    Attributes:
        sizes: Pixels in each cell, ``(cells,)``.
    """

    def __init__(self, pixels: int, cells: int, device: torch.device) -> None:
        self._cells = cells
        self._even = pixels % cells == 0
        self._width = pixels // cells if self._even else pixels // cells + 2
        index = torch.arange(cells, device=device)
        starts = index * pixels // cells
        ends = ((index + 1) * pixels + cells - 1) // cells
        self.sizes = ends - starts
        self._pixels = starts[:, None] + torch.arange(self._width, device=device)
        self._inside = self._pixels < ends[:, None]
        self._pixels.clamp_(max=pixels - 1)

    def split(self, values: Tensor, axis: int) -> Tensor:
        """Split a negative axis into cells and the pixels of each; pixels that fill up a smaller cell are 0."""
        if not self._even:
            inside = self._inside.view(-1, *[1] * (-axis - 1))
            values = values.index_select(axis, self._pixels.flatten()) * inside
        return values.unflatten(axis, (self._cells, self._width))


def _pooled(
    labels: Tensor, num_classes: int, size: tuple[int, int], window: int, void_rule: str, ignore_index: int
) -> EdgeMasks:
    framed, marked = _prepared(labels, num_classes, window, void_rule, ignore_index)
    rows, columns = (_Cells(full, cells, labels.device) for full, cells in zip(labels.shape[-2:], size, strict=True))
    valid = _valid(_middle(framed, window), rows, columns)
    share = valid / (rows.sizes[:, None] * columns.sizes)
    maps = []
    for first in range(0, num_classes, WORD):
        words = _present(framed, first, window).mul_(marked)
        digits = count(rows.split(words, -2), -2)
        # pixels of a cell on the outermost axis, so that adding them runs over long stretches of memory
        digits = [columns.split(digit, -1).movedim(-1, 0).contiguous() for digit in digits]
        maps.append(numbers(add_up(digits, 0), min(WORD, num_classes - first)) * share)
    return EdgeMasks(maps[0] if len(maps) == 1 else torch.cat(maps, 1), valid)


def _valid(labels: Tensor, rows: _Cells, columns: _Cells) -> Tensor:
    """Say which cells hold no void, the largest label: ``(B, 1, h, w)``."""
    highest = columns.split(rows.split(labels, -2).amax(-2), -1).amax(-1)
    return (highest != torch.iinfo(labels.dtype).max).unsqueeze(1)
