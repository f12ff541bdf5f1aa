"""Adapters: how a student's value is brought into the teacher's space.

Each takes ``forward(value, like)``, where ``like`` is the teacher's value, of which only the shape is used.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdhub.distill.arguments import FLAG, SIZE, choice, integer, optional, require
from kdhub.errors import UsageError
from kdhub.values import to_float32


class Linear(nn.Module):
    """A learned map of the last axis, for embeddings and tokens: ``(B, ..., in) -> (B, ..., out)``.

    Args:
        in_features: Width of the student.
        out_features: Width of the teacher.
        bias: Whether to add one; it lets the map meet the teacher's mean.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        require("Linear", integer(1), in_features=in_features, out_features=out_features)
        require("Linear", FLAG, bias=bias)
        self.in_features = in_features
        self.out_features = out_features
        self.bias = bias
        self.projection = nn.Linear(in_features, out_features, bias)

    def forward(self, value: Tensor, like: Tensor) -> Tensor:
        """Map the student's value; ``like`` is not needed."""
        if value.ndim < 2 or value.shape[-1] != self.in_features:
            _refuse("Linear", f"(B, ..., {self.in_features})", value)
        projected: Tensor = self.projection(value)
        return projected


class Conv1x1(nn.Module):
    """A learned map of the channels, the same at every place: ``(B, in, H, W) -> (B, out, H, W)``.

    It has no normalisation: a batch norm here would make the loss depend on what else is in the batch.

    Args:
        in_channels: Channels of the student.
        out_channels: Channels of the teacher.
        bias: Whether to add one; it lets the map meet the teacher's mean.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__()
        require("Conv1x1", integer(1), in_channels=in_channels, out_channels=out_channels)
        require("Conv1x1", FLAG, bias=bias)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.bias = bias
        self.projection = nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=bias)

    def forward(self, value: Tensor, like: Tensor) -> Tensor:
        """Map the student's value; ``like`` is not needed."""
        if value.ndim != 4 or value.shape[1] != self.in_channels:
            _refuse("Conv1x1", f"(B, {self.in_channels}, H, W)", value)
        projected: Tensor = self.projection(value)
        return projected


class SpatialResize(nn.Module):
    """Height and width brought to the teacher's: ``(B, C, h, w) -> (B, C, H, W)``; nothing is learned.

    It computes in float32, as torch has no half-precision antialiasing on every device, and returns the value's type.

    Args:
        size: Height and width; ``None`` takes the teacher's.
        mode: ``'bilinear'``, ``'bicubic'``, ``'nearest'`` or ``'area'``, as torch interpolates. ``'nearest'`` for values that
            must not be mixed.
        align_corners: Whether corner pixels' centres coincide, for bilinear and bicubic. Match what the models' own heads
            do: a different choice shifts the map by up to half a pixel.
        antialias: Whether to filter before shrinking, for bilinear and bicubic. Without it, shrinking by more than two reads
            only some of the student's cells and the others get no gradient. It changes nothing when enlarging bilinearly.

    Raises:
        UsageError: For options that do not go together.
    """

    def __init__(
        self,
        size: tuple[int, int] | None = None,
        mode: str = "bilinear",
        align_corners: bool = False,
        antialias: bool = True,
    ) -> None:
        super().__init__()
        require("SpatialResize", optional(SIZE), size=size)
        require("SpatialResize", choice(("bilinear", "bicubic", "nearest", "area")), mode=mode)
        require("SpatialResize", FLAG, align_corners=align_corners, antialias=antialias)
        self.size = size
        self.mode = mode
        self.align_corners = align_corners
        self.antialias = antialias

    def forward(self, value: Tensor, like: Tensor) -> Tensor:
        """Resize the student's value to ``size``, or to the height and width of ``like``."""
        if value.ndim != 4:
            _refuse("SpatialResize", "(B, C, H, W)", value)
        if self.size is None and like.ndim != 4:
            _refuse("SpatialResize without `size`", "a teacher of (B, C, H, W)", like)
        size = tuple(like.shape[-2:] if self.size is None else self.size)
        if tuple(value.shape[-2:]) == size:
            return value
        smooth = self.mode in ("bilinear", "bicubic")
        resized = functional.interpolate(
            to_float32(value),
            size=size,
            mode=self.mode,
            align_corners=self.align_corners if smooth else None,
            antialias=self.antialias and smooth,
        )
        return resized.to(value.dtype)


class TokenPool(nn.Module):
    """Tokens averaged to the teacher's number of them: ``(B, n, D) -> (B, N, D)``; nothing is learned.

    Each new token is the mean of an equal stretch of old ones (adaptive average pooling); with fewer old than new,
    tokens repeat. Made for patches of an image: on padded text it would mix padding into the means.

    Args:
        tokens: Number of tokens wanted, those of ``keep_prefix`` included; ``None`` takes the teacher's.
        keep_prefix: Leading tokens (class, register) that both sides have and that are passed on untouched. Too low, and
            the class token is averaged into the first patch.
        grid: Height and width in patches of the student, to pool over neighbours in the image. The teacher's grid has
            the same ratio of sides. ``None`` pools in order of the sequence, where the last patch of a row neighbours the
            first of the next.
    """

    def __init__(self, tokens: int | None = None, keep_prefix: int = 0, grid: tuple[int, int] | None = None) -> None:
        super().__init__()
        require("TokenPool", integer(0), keep_prefix=keep_prefix)
        require("TokenPool", optional(integer(keep_prefix + 1)), tokens=tokens)
        require("TokenPool", optional(SIZE), grid=grid)
        self.tokens = tokens
        self.keep_prefix = keep_prefix
        self.grid = grid

    def forward(self, value: Tensor, like: Tensor) -> Tensor:
        """Pool the student's tokens to ``tokens``, or to the number in ``like``."""
        if value.ndim != 3 or value.shape[1] <= self.keep_prefix:
            _refuse("TokenPool", f"(B, N, D) with N above {self.keep_prefix}", value)
        if self.tokens is None and (like.ndim != 3 or like.shape[1] <= self.keep_prefix):
            _refuse("TokenPool without `tokens`", f"a teacher of (B, N, D) with N above {self.keep_prefix}", like)
        wanted = (like.shape[1] if self.tokens is None else self.tokens) - self.keep_prefix
        prefix, patches = value[:, : self.keep_prefix], value[:, self.keep_prefix :]
        if patches.shape[1] == wanted:
            return value
        channels_first = patches.transpose(1, 2)
        if self.grid is None:
            pooled = functional.adaptive_avg_pool1d(channels_first, wanted)
        else:
            height, width = self.grid
            if height * width != patches.shape[1]:
                _refuse("TokenPool", f"(B, {self.keep_prefix} + {height}·{width}, D) for grid {self.grid}", value)
            image = channels_first.reshape(*channels_first.shape[:2], height, width)
            pooled = functional.adaptive_avg_pool2d(image, _same_ratio(self.grid, wanted)).flatten(2)
        return torch.cat((prefix, pooled.transpose(1, 2)), dim=1)


def _same_ratio(grid: tuple[int, int], tokens: int) -> tuple[int, int]:
    """Return the grid of ``tokens`` patches with the ratio of sides of ``grid``."""
    height = math.isqrt(tokens * grid[0] // grid[1])
    width = tokens // max(height, 1)
    if height * width != tokens or height * grid[1] != width * grid[0]:
        raise UsageError(
            f"TokenPool: no grid of {tokens} tokens has the ratio of sides of grid {grid}",
            fix="leave `grid` out to pool in order of the sequence, or set `keep_prefix` to the number of class tokens",
        )
    return height, width


def _refuse(adapter: str, expected: str, value: Tensor) -> None:
    raise UsageError(f"{adapter} cannot take this value", expected=expected, got=str(tuple(value.shape)))
