"""Noise to begin with: the training data of methods that see none."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from kdhub.api import integer, optional, require


class NoiseDataset(Dataset[dict[str, Tensor]]):
    """Unit noise, and labels to go with it, in chunks: runs without a data set draw, count and resume it like any other.

    A chunk is a sample of the loader: a batch of 256 points costs one item instead of 256. Join them with
    ``collate_fn=dict(type='kdgen.join')``; a batch then has ``batch_size`` chunks.

    Args:
        shape: Shape of one sample, such as ``(2,)`` or ``(1, 28, 28)``.
        chunk: Samples in a chunk.
        chunks: Length of one pass; the noise of the next pass is new, so that it is a unit of counting and nothing else.
        classes: Number of classes K that labels are drawn from; 0 for no labels.
        seed: ``None`` draws from the run's random numbers, which depend on the seed of the run, the chunk and the pass. A number
            gives each chunk the same noise in every pass, as an evaluation wants it.
    """

    def __init__(
        self, shape: Sequence[int], chunk: int = 64, chunks: int = 1000, classes: int = 0, seed: int | None = None
    ) -> None:
        require(
            "NoiseDataset", integer(1), chunk=chunk, chunks=chunks, **{f"shape[{i}]": n for i, n in enumerate(shape)}
        )
        require("NoiseDataset", integer(0), classes=classes)
        require("NoiseDataset", optional(integer(0)), seed=seed)
        self.shape, self.chunk, self.chunks, self.classes, self.seed = tuple(shape), chunk, chunks, classes, seed

    def __len__(self) -> int:
        """Return the number of chunks."""
        return self.chunks

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return one chunk: ``inputs`` (chunk, *shape) and, with classes, ``labels`` (chunk,)."""
        generator = None if self.seed is None else torch.Generator().manual_seed(self.seed * 2_147_483_629 + int(index))
        item = {"inputs": torch.randn(self.chunk, *self.shape, generator=generator)}
        if self.classes:
            item["labels"] = torch.randint(self.classes, (self.chunk,), generator=generator)
        return item

    def fingerprint(self) -> str:
        """Identify the data without drawing any."""
        return f"noise-{self.shape}-{self.chunk}x{self.chunks}-classes-{self.classes}-seed-{self.seed}"


def join(chunks: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Make one batch of chunks: each entry joined along axis 0."""
    return {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}
