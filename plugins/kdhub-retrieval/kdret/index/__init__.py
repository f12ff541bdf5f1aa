"""Indexes: a corpus that can be searched, built once, saved, and refused for another model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdhub.api import UsageError
from kdret.index.base import Index, read_description


def load_index(folder: str | Path, *, mmap: bool = False, about: Mapping[str, Any] | None = None) -> Index:
    """Read a saved index of whatever kind; see `Index.load`.

    Raises:
        UsageError: If there is none, it is damaged, or it is about another model or corpus.
    """
    from kdret.index.dense import FaissIndex
    from kdret.index.late import MaxSimIndex
    from kdret.index.sparse import SparseIndex

    kinds: dict[str, type[Index]] = {one.kind: one for one in (FaissIndex, SparseIndex, MaxSimIndex)}
    kind = read_description(Path(folder)).get("kind")
    if kind not in kinds:
        raise UsageError("an index of a kind that is not known", where=str(folder), got=repr(kind), fix="update kdhub")
    return kinds[kind].load(folder, mmap=mmap, about=about)
