"""Where each record is: a table of all that the store may have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kdhub.errors import UsageError
from kdhub.store.blocks import Block
from kdhub.store.manifest import Manifest

ABSENT = -1


class Index:
    """Finds records by index and draw.

    Args:
        blocks: The blocks of the store. A record that two of them have is read from the first.
        manifest: How many samples and draws there are.

    Attributes:
        bases: For each block how many records the blocks before it have, ``(blocks,)``.
        table: For each code how many records stand before its own, or `ABSENT`, ``(samples * draws,)``.
    """

    def __init__(self, blocks: Sequence[Block], manifest: Manifest) -> None:
        self._samples, self._draws = manifest.samples, manifest.draws
        lengths = np.array([len(block) for block in blocks], np.int64)
        self.bases: NDArray[np.int64] = np.cumsum(lengths) - lengths
        self.table: NDArray[np.int64] = np.full(self._samples * self._draws, ABSENT, np.int64)
        for block, base in reversed(list(zip(blocks, self.bases, strict=True))):
            codes = block.keys[:, 0] * self._draws + block.keys[:, 1]
            self.table[codes] = np.arange(base, base + len(block))

    def __len__(self) -> int:
        return int((self.table != ABSENT).sum())

    def codes(self, keys: Sequence[tuple[int, int]]) -> list[int]:
        """Return the place of each key in the table.

        Raises:
            UsageError: For a sample or draw that the store cannot have.
        """
        samples, draws = self._samples, self._draws
        if draws == 1:  # the common case, in half the time
            codes = [index for index, draw in keys if draw == 0 <= index]
        else:
            codes = [index * draws + draw for index, draw in keys if 0 <= draw < draws and index >= 0]
        if len(codes) < len(keys) or max(codes, default=0) >= len(self.table):
            wrong = next(key for key in keys if not (0 <= key[1] < draws and 0 <= key[0] < samples))
            raise UsageError(
                "no such sample in the teacher store",
                expected=f"sample 0 to {samples - 1}, draw 0 to {draws - 1}",
                got=f"sample {wrong[0]}, draw {wrong[1]}",
                fix="read with the data set and the draws that it was written with",
            )
        return codes

    def note(self, keys: Sequence[tuple[int, int]]) -> None:
        """Count keys as there from now on; what is read where is not known of them."""
        self.table[self.codes(keys)] = 0

    def missing(self, keys: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return the keys that have no record."""
        spots = self.table[self.codes(keys)] if keys else self.table[:0]
        return [key for key, spot in zip(keys, spots.tolist(), strict=True) if spot == ABSENT]
