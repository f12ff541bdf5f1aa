"""The token vectors of many texts, in one array that may stay on the disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdhub.api import UsageError


class TokenLists:
    """Token vectors, one text after the other; a sequence of one array ``(T, D)`` for each text.

    Args:
        tokens: Those of all texts, ``(ΣT, D)``; may be a memory map.
        starts: ``(N + 1,)``: where each text begins, and where the last one ends.
    """

    def __init__(self, tokens: NDArray[Any], starts: NDArray[np.int64]) -> None:
        self.tokens, self.starts = tokens, starts

    @classmethod
    def of(cls, texts: Sequence[Any] | TokenLists, what: str) -> TokenLists:
        """Put arrays together; what is together already stays as it is.

        Args:
            texts: N arrays ``(T, D)``.
            what: ``'document'`` or ``'query'``, for errors.

        Raises:
            UsageError: If there is no text, one has no tokens, or widths differ.
        """
        arrays = texts if isinstance(texts, cls) else [np.asarray(text, dtype=np.float32) for text in texts]
        wrong = next((row for row, one in enumerate(arrays) if one.ndim != 2 or not len(one)), None)
        if wrong is not None or not len(arrays):
            raise UsageError(
                f"MaxSimIndex: {what} {wrong or 0} has no tokens",
                expected="arrays (T, D), T >= 1",
                got=str(arrays[wrong].shape) if wrong is not None else "nothing",
                fix="leave empty texts out",
            )
        if isinstance(arrays, cls):
            return arrays
        widths = sorted({one.shape[1] for one in arrays})
        if len(widths) > 1:
            raise UsageError(
                f"MaxSimIndex: tokens of different widths in one {what} list", got=", ".join(map(str, widths))
            )
        return cls(np.concatenate(arrays), np.cumsum([0, *map(len, arrays)]))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, text: int) -> NDArray[Any]:
        if not 0 <= text < len(self):
            raise IndexError(text)
        return self.tokens[self.starts[text] : self.starts[text + 1]]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[text] for text in range(len(self)))
