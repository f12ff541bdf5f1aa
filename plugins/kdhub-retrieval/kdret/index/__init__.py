"""Indexes: a corpus that can be searched, built once, saved, and refused for another model."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from kdhub.api import UsageError
from kdret.index.base import Index, read_description

_KINDS = {
    "dense": "dense:FaissIndex",
    "sparse": "sparse:SparseIndex",
    "late": "late:MaxSimIndex",
    "seismic": "seismic:SeismicIndex",
    "milvus": "milvus:MilvusIndex",
    "sharded": "sharded:ShardedIndex",
}
"""`Index.kind` to its module and class; those of extras are imported when one is read."""


def load_index(folder: str | Path, *, mmap: bool = False, about: Mapping[str, Any] | None = None) -> Index:
    """Read a saved index of whatever kind; see `Index.load`.

    Raises:
        UsageError: If there is none, it is damaged, or it is about another model or corpus.
    """
    kind = read_description(Path(folder)).get("kind")
    if kind not in _KINDS:
        raise UsageError("an index of a kind that is not known", where=str(folder), got=repr(kind), fix="update kdhub")
    module, name = _KINDS[kind].split(":")
    index: type[Index] = getattr(import_module(f"kdret.index.{module}"), name)
    return index.load(folder, mmap=mmap, about=about)
