"""An index in shards, each a saved index of its own: built where the vectors are, searched one after the other and merged."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdhub.api import UsageError, atomic_folder, build, integer, require
from kdret.index.base import Index, Ranking, batches
from kdret.index.vectors import checked_ids


def shard_folder(folder: Path, number: int) -> Path:
    """Return where a shard of an index stands."""
    return folder / f"shard-{number:05}"


class ShardedIndex(Index):
    """Indexes of parts of a corpus that answer as one: the best of each are merged by score, then by place in the corpus.

    Exact shards give the ranking of one exact index. `kdret.cluster.build_shards` makes them on several machines.

    Args:
        similarity: As for the shards.
        index: Each shard, such as ``dict(type='kdret.FaissIndex', factory='IVF4096,SQ8')``.
        rows: Documents of a shard.

    Raises:
        UsageError: For a value that makes no sense.
    """

    kind = "sharded"

    def __init__(
        self, similarity: str = "cosine", index: Mapping[str, Any] | None = None, rows: int = 1_000_000
    ) -> None:
        super().__init__(similarity)
        require("ShardedIndex", integer(1), rows=rows)
        self.index = dict(index or {"type": "kdret.FaissIndex"})
        self.rows = rows
        self._shards: list[Index] = []
        self._folder: Path | None = None  # where the shards are read from

    @property
    def most(self) -> int | None:
        """See `Index.most`: as many as each shard gives."""
        limits = [shard.most for shard in self._shards if shard.most is not None]
        return min(limits) if limits else None

    def discard(self) -> None:
        """See `Index.discard`."""
        for shard in self._shards:
            shard.discard()

    @classmethod
    def of_folder(cls, folder: Path, shards: int, similarity: str) -> ShardedIndex:
        """Gather shards that were built in a folder, for `save` to write the rest there."""
        found = cls(similarity)
        found._gather(folder, shards, mmap=True)
        found.ids = checked_ids([key for shard in found._shards for key in shard.ids], found._total(), "ShardedIndex")
        return found

    def build(self, vectors: Any, ids: Sequence[Any], queries: Any = None) -> ShardedIndex:
        """Build the shards in this process; see `Index.build`.

        Raises:
            UsageError: As there, and for vectors of tokens.
        """
        if not hasattr(vectors, "shape"):
            raise UsageError(
                "ShardedIndex: vectors of tokens are not indexed in shards",
                expected="(N, D)",
                got="a list of vectors for each text",
                fix="take kdret.MaxSimIndex",
            )
        names = checked_ids(ids, vectors.shape[0], "ShardedIndex")
        self._shards = [
            build("index", self.index, where="ShardedIndex.index", similarity=self.similarity).build(
                vectors[part], names[part], queries
            )
            for part in batches(len(names), self.rows)
        ]
        self.ids, self._folder = names, None
        return self

    def search(self, vectors: Any, k: int) -> list[Ranking]:
        """Find the best k documents of each query in all shards; see `Index.search`."""
        k = self._require_built(k)
        found: list[Ranking] = [[] for _ in range(vectors.shape[0])]
        for shard in self._shards:
            for own, ranking in zip(found, shard.search(vectors, k), strict=True):
                own.extend(ranking)
        # shards stand in the order of the corpus and order their own ties, and sorting leaves ties as they are
        return [sorted(own, key=lambda answer: -answer[1])[:k] for own in found]

    def _total(self) -> int:
        return sum(map(len, self._shards))

    def _gather(self, folder: Path, shards: int, mmap: bool) -> None:
        from kdret.index import load_index

        self._shards = [load_index(shard_folder(folder, number), mmap=mmap) for number in range(shards)]
        self.rows, self._folder = len(self._shards[0]), folder

    def _settings(self) -> dict[str, Any]:
        inner = self._shards[0].facts() if self._shards else {}
        recalls = [shard.facts().get("recall") for shard in self._shards]
        measured = [one for one in recalls if one]
        # the least exact shard speaks for all
        worst = min(measured, key=lambda one: one["value"]) if measured else None
        return {
            "shards": len(self._shards),
            "rows": self.rows,
            "of": inner.get("kind"),
            "factory": inner.get("factory"),
            "width": inner.get("width"),
            "recall": worst,
        }

    def _write(self, folder: Path) -> list[str]:
        if self._folder is None or self._folder.resolve() != folder.resolve():
            for number, shard in enumerate(self._shards):
                with atomic_folder(shard_folder(folder, number)) as partial:
                    shard.save(partial)
        number = len(self._shards)
        while shard_folder(folder, number).is_dir():  # of a former index with more shards
            shutil.rmtree(shard_folder(folder, number))
            number += 1
        # each shard's description holds the checksums of its files
        return [
            str((shard_folder(folder, number) / "index.json").relative_to(folder))
            for number in range(len(self._shards))
        ]

    def _read(self, folder: Path, settings: Mapping[str, Any], mmap: bool) -> None:
        self._gather(folder, settings["shards"], mmap)
        if self._total() != len(self.ids):
            raise ValueError("the shards and ids.jsonl do not belong together")
