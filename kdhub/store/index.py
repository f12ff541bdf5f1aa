"""Where each record is: keys of all blocks, sorted once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from kdhub.errors import UsageError
from kdhub.store.blocks import Block


class Index:
    """Finds records by index and draw.

    Args:
        blocks: The blocks of the store. A record that two of them have is read from the first.
        draws: Draws of each sample.
    """

    def __init__(self, blocks: Sequence[Block], draws: int) -> None:
        self._draws = draws
        codes = np.concatenate([block.keys[:, 0] * draws + block.keys[:, 1] for block in blocks] or [_NONE])
        places = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])
        rows = np.concatenate([np.arange(len(block)) for block in blocks] or [_NONE])
        self._codes, first = np.unique(codes, return_index=True)
        self._places, self._rows = places[first], rows[first]

    def __len__(self) -> int:
        return len(self._codes)

    def find(self, keys: Sequence[tuple[int, int]]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Return block and row of each key, and which keys there are; block and row of the others mean nothing.

        Raises:
            UsageError: For a draw that the store does not have.
        """
        flat = np.fromiter(chain.from_iterable(keys), np.int64, 2 * len(keys))
        draws = flat[1::2]
        if len(draws) and (int(draws.max()) >= self._draws or int(draws.min()) < 0):
            raise UsageError(
                "no such draw in the teacher store", expected=f"0 to {self._draws - 1}", got=str(draws.max())
            )
        codes = flat[::2] * self._draws + draws
        if not len(self._codes):
            return codes, codes, np.zeros(len(codes), bool)
        spots = np.minimum(self._codes.searchsorted(codes), len(self._codes) - 1)
        return self._places[spots], self._rows[spots], self._codes[spots] == codes


_NONE = np.zeros(0, np.int64)
