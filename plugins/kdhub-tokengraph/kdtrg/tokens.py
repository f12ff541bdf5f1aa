"""`Tokens`: patch tokens of a feature map or of a vision transformer."""

from __future__ import annotations

import math

from torch import Tensor, nn

from kdhub.api import FLAG, SIZE, SpatialResize, UsageError, integer, optional, require


class Tokens(nn.Module):
    """Patch tokens ``(B, N, D)`` of a feature map ``(B, C, H, W)`` or of a sequence ``(B, prefix + N, D)``; nothing is learned.

    It serves both sides of an objective. A map is first average-pooled to ``grid``, then cut into squares of ``patch`` cells;
    a token is the flattened square, so ``D = C·patch²`` and ``N = (h/patch)·(w/patch)``. Token order is row by row.

    Args:
        patch: Side of a square, in cells of the map. 1, the default, makes each cell a token. The paper leaves it open; the
            card suggests 2 for an 8 x 8 map and 1 for a 7 x 7 map. Too large, and few tokens are left for the graph.
        prefix: Leading tokens of a sequence that show no patch (class, distillation and register tokens); they are dropped.
            Too low, and the student compares a class token with a patch.
        grid: Height and width that the map is pooled to. ``None``, the default, takes the smaller of both sides where
            both are maps, and leaves a map as it is where the other side is a sequence. A sequence that is pooled, or cut
            with ``patch`` above 1, must be a square grid; `kdhub.TokenPool` in front of this adapter pools other grids.
        channels_last: Whether a map is ``(B, H, W, C)``, as a stage of timm's Swin. ``None``, the default, reads ``(B, C, H, W)``, and
            refuses a value whose first two axes of three are equal and below the last, such as ``(B, 7, 7, 768)``: that is most
            likely a map with channels last. ``False`` reads that as ``(B, C, H, W)`` too. The other side's shape is read alike.

    Raises:
        UsageError: For a value of another rank, a map that seems to have its channels last, a sequence without a square grid
            that should be pooled, or a map that squares of this size do not fill.

    References:
        arXiv 2306.12442, token patching; card ``methods/trg.md``, section 4.

    Example:
        A CNN with a 7 x 7 map learns from a transformer with a class token and 14 x 14 patches::

            adapter=dict(
                student=dict(type='kdtrg.Tokens'),
                teacher=dict(type='kdtrg.Tokens', prefix=1, grid=(7, 7)))
    """

    def __init__(
        self,
        patch: int = 1,
        prefix: int = 0,
        grid: tuple[int, int] | None = None,
        channels_last: bool | None = None,
    ) -> None:
        super().__init__()
        require("Tokens", integer(1), patch=patch)
        require("Tokens", integer(0), prefix=prefix)
        require("Tokens", optional(SIZE), grid=grid)
        require("Tokens", optional(FLAG), channels_last=channels_last)
        self.patch = patch
        self.prefix = prefix
        self.grid = grid
        self.channels_last = channels_last

    def forward(self, value: Tensor, like: Tensor) -> Tensor:
        """Cut one side's value into tokens; of ``like``, the other side's, only the shape is used."""
        if value.ndim not in (3, 4) or (value.ndim == 3 and value.shape[1] <= self.prefix):
            raise UsageError(
                "Tokens cannot take this value",
                expected=f"a map (B, C, H, W), or tokens (B, N, D) with N above {self.prefix}",
                got=str(tuple(value.shape)),
            )
        if value.ndim == 3:
            patches = value[:, self.prefix :]
            if self.patch == 1 and (self.grid is None or math.prod(self.grid) == patches.shape[1]):
                return patches
            value = _as_map(patches)
        elif self.channels_last:
            value = value.movedim(3, 1)
        elif self.channels_last is None and _seems_channels_last(value):
            raise UsageError(
                "Tokens reads a map as (B, C, H, W), and this one seems to have its channels last",
                got=str(tuple(value.shape)),
                fix="set channels_last=True for (B, H, W, C), as a stage of Swin has it, or channels_last=False for (B, C, H, W)",
            )
        grid = self._common_grid(value, like)
        return _cut(SpatialResize(grid, mode="area")(value, value), self.patch)

    def _common_grid(self, value: Tensor, like: Tensor) -> tuple[int, int]:
        height, width = value.shape[-2:]
        if self.grid is not None:
            return self.grid
        if like.ndim != 4:
            return height, width
        turned = self.channels_last is not False and _seems_channels_last(like)
        other = like.shape[1:3] if turned else like.shape[2:]
        return min(height, other[0]), min(width, other[1])


def _seems_channels_last(value: Tensor) -> bool:
    """Whether a value of four axes looks like ``(B, H, W, C)``: a square, then more channels than its side is long."""
    first, second, last = value.shape[1:]
    return first == second < last


def _as_map(tokens: Tensor) -> Tensor:
    side = math.isqrt(tokens.shape[1])
    if side * side != tokens.shape[1]:
        raise UsageError(
            "Tokens: these tokens are no square grid, and cannot be pooled or cut",
            got=f"{tokens.shape[1]} tokens",
            fix="set `prefix` to the number of class tokens, or put dict(type='kdhub.TokenPool', grid=(h, w)) in front",
        )
    return tokens.transpose(1, 2).unflatten(2, (side, side))


def _cut(value: Tensor, patch: int) -> Tensor:
    """Turn ``(B, C, h·p, w·p)`` into ``(B, h·w, C·p·p)``."""
    height, width = value.shape[-2:]
    if height % patch or width % patch:
        raise UsageError(
            f"Tokens: squares of {patch} x {patch} cells do not fill the map",
            got=f"{height} x {width}",
            fix="set another `patch`, or `grid` to a multiple of it",
        )
    squares = value.unflatten(3, (-1, patch)).unflatten(2, (-1, patch))
    return squares.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
