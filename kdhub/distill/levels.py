"""Feature pyramids: values that are a tuple or list with one map a level, adapted and compared level by level."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from kdhub.errors import UsageError
from kdhub.registry import build
from kdhub.values import describe


def is_pyramid(value: Any) -> bool:
    """Whether a value is a tuple or list of maps ``(B, ...)`` of the same samples, each with three axes or more.

    Pairs of embeddings ``(B, D)`` are none: a loss that takes those takes them together.
    """
    if not isinstance(value, list | tuple) or not all(isinstance(level, Tensor) and level.ndim > 2 for level in value):
        return False
    return len({len(level) for level in value}) == 1


def by_level(values: Mapping[str, Any], compared: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield a loss's inputs level by level.

    Args:
        values: Loss input to value.
        compared: The inputs of both sides that are pyramids, of equally many levels; any other input, such as labels, goes
            to each level.
    """
    for level in range(len(values[compared[0]])):
        yield {name: value[level] if name in compared else value for name, value in values.items()}


class EachLevel(nn.Module):
    """Adapts each level of a feature pyramid by adapters of its own: L maps ``(B, c_l, h_l, w_l)`` to the teacher's.

    Args:
        levels: One entry a level: an adapter, a list of adapters applied in order, or ``None`` for a level that fits.

    Raises:
        UsageError: If ``levels`` is no list, or a value has another number of levels.
    """

    def __init__(self, levels: Sequence[Any]) -> None:
        super().__init__()
        if not isinstance(levels, list | tuple) or not levels:
            raise UsageError("EachLevel: bad levels", expected="a list with one entry a level", got=repr(levels))
        chains = [[] if one is None else list(one) if isinstance(one, list | tuple) else [one] for one in levels]
        if not all(isinstance(one, Mapping | nn.Module) for chain in chains for one in chain):
            expected = "for each level an adapter's dict, a list of them, or None"
            raise UsageError("EachLevel: bad levels", expected=expected, got=repr(levels))
        self.levels = nn.ModuleList(
            nn.ModuleList(build("adapter", one, where=f"EachLevel.levels.{level}") for one in chain)
            for level, chain in enumerate(chains)
        )

    def forward(self, value: Sequence[Tensor], like: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Adapt level by level; ``like`` is the teacher's pyramid."""
        for side in (value, like):
            if not is_pyramid(side) or len(side) != len(self.levels):
                expected = f"a tuple of {len(self.levels)} tensors on both sides"
                raise UsageError("EachLevel cannot take this value", expected=expected, got=describe(side))
        adapted = []
        for chain, ours, theirs in zip(self.levels, value, like, strict=True):
            for adapter in chain.children():
                ours = adapter(ours, theirs)
            adapted.append(ours)
        return tuple(adapted)
