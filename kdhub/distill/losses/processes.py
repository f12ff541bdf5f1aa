"""Rows of a batch that several processes share, for losses that compare samples with each other."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from kdhub.errors import UsageError


def gathered(owner: str, things: str, **rows: Tensor) -> tuple[Tensor, ...]:
    """Join the rows of all processes, in the order of ranks; with one process they are returned as they are.

    The gradient is gathered too: averaged over processes, as DDP does, it is that of one process with the whole batch. All
    processes must call this together. All tensors go in one exchange, whose gradient comes before any that DDP exchanges.

    Args:
        owner: The loss, for errors.
        things: What the rows are, in the plural, for errors.
        **rows: What is counted to tensor ``(B, ..., D)``, all of one type; its shape is that of every process.

    Returns:
        For each tensor ``(W·B, ..., D)`` with W processes.

    Raises:
        UsageError: If processes have different numbers of rows.
    """
    tensors = tuple(rows.values())
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return tensors
    counts = [size for one in tensors for size in one.shape[:-1]]
    shapes: list[list[int]] = _Gather.apply(torch.tensor([counts], device=tensors[0].device)).tolist()
    if any(shape != shapes[0] for shape in shapes):
        raise UsageError(
            f"{owner}: gather=True needs the same number of {things} in each process",
            got=", ".join(_counted(shape, rows) for shape in shapes),
            fix="set drop_last=True in the dataloader",
        )
    whole = _Gather.apply(torch.cat([one.reshape(1, -1) for one in tensors], dim=1))
    parts = whole.split([one.numel() for one in tensors], dim=1)
    return tuple(part.reshape(-1, *one.shape[1:]) for part, one in zip(parts, tensors, strict=True))


def _counted(counts: list[int], rows: dict[str, Tensor]) -> str:
    told, begin = [], 0
    for name, one in rows.items():
        end = begin + one.ndim - 1
        told.append(f"{'·'.join(map(str, counts[begin:end]))} {name}")
        begin = end
    return " and ".join(told)


class _Gather(torch.autograd.Function):
    """Rows of all processes, in the order of ranks; backward adds up what all processes say about one's own rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.rows = len(rows)
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient[dist.get_rank() * ctx.rows :][: ctx.rows]
