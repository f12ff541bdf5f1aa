"""A small store to read, to break and to go on with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from kdhub.store import Manifest, StoreWriter, find_tree


def make_manifest(
    values: Mapping[str, Callable[[list[int]], Any]], precision: str = "float32", **changes: Any
) -> Manifest:
    """Return the manifest of a store whose taps give ``values[tap](indices of the batch)``."""
    trees = {
        tap: find_tree([(3, of([0, 1, 2])), (2, of([3, 4]))], precision, tap).to_json() for tap, of in values.items()
    }
    manifest = Manifest(
        teacher="a1b2",
        taps=tuple(values),
        mode="recorded",
        draws=2,
        seed=0,
        samples=10,
        data="camvid",
        preprocessing="resize",
        precision=dict.fromkeys(values, precision),
        trees=trees,
    )
    return dataclasses.replace(manifest, **changes)


def logits(indices: list[int]) -> torch.Tensor:
    """Return the logits of some samples: a function of the sample alone."""
    return torch.stack([torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(index)) for index in indices])


def tokens(indices: list[int]) -> list[torch.Tensor]:
    """Return token sets of varying length."""
    return [torch.arange(4.0 * (index % 3)).reshape(-1, 4) + index for index in indices]


VALUES = {"head": logits, "tokens": tokens}


def fill(folder: Path, values: Mapping[str, Callable[[list[int]], Any]], precision: str = "float32") -> Path:
    """Write ten samples in two commits that stay two blocks; draw 1 of sample i holds the values of 100 + i."""
    writer = StoreWriter.open(folder, make_manifest(values, precision))
    for draw in range(2):
        for first in range(0, 10, 5):
            indices = list(range(first, first + 5))
            shown = [100 * draw + index for index in indices]
            writer.add([(index, draw) for index in indices], {tap: of(shown) for tap, of in values.items()})
        writer.commit()
    return folder
