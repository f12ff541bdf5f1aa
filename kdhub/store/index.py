"""Where each record is: a table of all that the store may have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kdhub.errors import UsageError
from kdhub.store.blocks import Block
from kdhub.store.manifest import Manifest

MISSING_ROW = 2**62
"""Stands behind the end of every column, so that nothing can be taken from there: numpy raises `IndexError`."""

INT64 = np.dtype(np.int64)
"""Made once: `Index.codes` is called in each training step."""


class Index:
    """Finds records by index and draw.

    Args:
        blocks: The blocks of the store. A record that two of them have is read from the first.
        manifest: How many samples and draws there are.

    Attributes:
        bases: For each block how many records the blocks before it have, ``(blocks,)``.
        records: How many records all blocks have together.
        table: For each code how many records stand before its own, or `MISSING_ROW`, ``(samples * draws,)``. Codes count the
            samples of one draw after the other, as `kdhub cache` computes them.
        ordered: Whether the store is complete and its records lie in the order of their codes, so that the table says nothing.
    """

    def __init__(self, blocks: Sequence[Block], manifest: Manifest) -> None:
        self._samples, self._draws = manifest.samples, manifest.draws
        lengths = np.array([len(block) for block in blocks], np.int64)
        self.bases: NDArray[np.int64] = np.cumsum(lengths) - lengths
        self.records = int(lengths.sum())
        self.table: NDArray[np.int64] = np.full(self._samples * self._draws, MISSING_ROW, np.int64)
        for block, base in reversed(list(zip(blocks, self.bases, strict=True))):
            codes = block.keys[:, 1] * self._samples + block.keys[:, 0]
            self.table[codes] = np.arange(base, base + len(block))
        self.ordered = bool((self.table == np.arange(len(self.table))).all())

    def __len__(self) -> int:
        return int((self.table != MISSING_ROW).sum())

    def codes(self, keys: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
        """Return the place of each key in the table; behind its end for samples that the store cannot have.

        Raises:
            UsageError: For a draw that the store cannot have, or a negative sample.
        """
        if self._draws == 1:  # the common case, in half the time
            codes = [index for index, draw in keys if draw == 0 <= index]
        else:
            samples, draws = self._samples, self._draws
            codes = [draw * samples + index for index, draw in keys if 0 <= draw < draws and 0 <= index < samples]
        try:
            return np.fromiter(codes, INT64, len(keys))  # np.array takes longer, as it looks for the shape first
        except ValueError:  # fewer codes than keys
            raise self._out_of_range(keys) from None

    def look_up(self, keys: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
        """Return for each key how many records stand before its own, or `MISSING_ROW`.

        Raises:
            UsageError: For a sample or draw that the store cannot have.
        """
        try:
            return self.table[self.codes(keys)]
        except (IndexError, OverflowError):
            raise self._out_of_range(keys) from None

    def places(self, spots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the block in which each of some records lies."""
        return self.bases.searchsorted(spots, side="right") - 1

    def _out_of_range(self, keys: Sequence[tuple[int, int]]) -> UsageError:
        """Return the error of keys of which one is none of this store."""
        samples, draws = self._samples, self._draws
        index, draw = next(key for key in keys if not (0 <= key[1] < draws and 0 <= key[0] < samples))
        return UsageError(
            "no such sample in the teacher store",
            expected=f"sample 0 to {samples - 1}, draw 0 to {draws - 1}",
            got=f"sample {index}, draw {draw}",
            fix="read with the data set and the draws that it was written with",
        )

    def note(self, keys: Sequence[tuple[int, int]]) -> None:
        """Count keys as there from now on; what is read where is not known of them."""
        self.table[self.codes(keys)] = 0

    def missing(self, keys: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return the keys that have no record."""
        return [key for key, spot in zip(keys, self.look_up(keys).tolist(), strict=True) if spot == MISSING_ROW]
