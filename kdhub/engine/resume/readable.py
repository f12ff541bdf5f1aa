"""What a checkpoint holds besides tensors, in a form that safe loading reads back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from kdhub.checkpoint import reads_back
from kdhub.errors import UsageError


def readable(value: Any, where: str) -> Any:
    """Return a value as safe loading reads it back.

    Args:
        value: Anything. Paths become text, ranges and arrays of text lists, mappings of somebody's own dicts.
        where: What to call it in the error.

    Raises:
        UsageError: Naming the innermost value that no checkpoint of ours can hold.
    """
    if reads_back(value):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, range) or (isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "US"):
        return value.tolist() if isinstance(value, np.ndarray | np.generic) else list(value)
    if isinstance(value, Mapping):
        return {readable(key, where): readable(entry, f"{where}.{key}") for key, entry in value.items()}
    if isinstance(value, list | tuple):
        entries = [readable(entry, f"{where}.{index}") for index, entry in enumerate(value)]
        return entries if isinstance(value, list) else tuple(entries)
    raise UsageError(
        f"a checkpoint cannot hold this {type(value).__name__}, as reading it back would run code",
        where=where,
        expected="numbers, text, tensors, and lists and dicts of them",
        got=repr(value)[:80],
        fix="turn it into one of these, for example with str()",
    )
