"""Typing errors, told from names that are merely alike."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from kdhub.errors import near_matches

_LETTERS = 2
"""By how many a mistyped name may differ: ``train_dataloder`` does by one, the helper ``train_dataset`` by more."""


def slip_of(word: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of which ``word`` is almost certainly a typing error, best first.

    Stricter than `near_matches`, for where an unknown name may well be meant as it is.
    """
    return tuple(name for name in near_matches(word, names) if _letters_apart(word, name) <= _LETTERS)


def _letters_apart(one: str, other: str) -> int:
    changes = difflib.SequenceMatcher(None, one, other, autojunk=False).get_opcodes()
    return sum(max(i2 - i1, j2 - j1) for tag, i1, i2, j1, j2 in changes if tag != "equal")
