"""Encoding and index shards in shares over the processes of a machine or a cluster; see `kdret.shares`.

A second call of the same command skips the shards that are done.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kdhub.api import Progress, UsageError, atomic_folder, build, integer, read_sealed, require
from kdret.corpus_index import about_of, require_different, texts_of
from kdret.data.corpus import load_corpus
from kdret.index.base import DESCRIPTION, batches
from kdret.index.sharded import ShardedIndex, shard_folder
from kdret.shares import each
from kdret.text_vectors import TextVectors


def build_shards(
    folder: Path, model: str, data: str, rows: int, workers: int, index: Mapping[str, Any], batch_size: int = 64
) -> ShardedIndex:
    """Encode a corpus and index it in shards, each of its own worker.

    Args:
        folder: Where the index shall stand; shards that are there already are kept, if they are about this model and corpus.
        model: As for `TextVectors`.
        data: Folder of the corpus, on a disk that all workers see.
        rows: Documents of a shard.
        workers: As for `each`.
        index: Of each shard, such as ``dict(type='kdret.FaissIndex', factory='Flat')``.
        batch_size: Texts encoded at once.

    Returns:
        The saved index.

    Raises:
        UsageError: As for `build_index`, and for a late-interaction model.
    """
    require("build_shards", integer(1), rows=rows)
    corpus = load_corpus(data)
    vectors = TextVectors(model, batch_size)
    if vectors.kind == "late":
        raise UsageError(
            "vectors of tokens are not indexed in shards",
            where=model,
            fix="leave --workers out: one process builds a MaxSimIndex",
        )
    about = {**about_of(vectors, corpus), "model_name": model, "data": data}
    parts = list(batches(len(texts_of(corpus)), rows))
    made = {**about, "shard_rows": rows, "shard_index": dict(index)}
    shards = [number for number in range(len(parts)) if not _stands(shard_folder(folder, number), made)]
    given = {"folder": folder, "about": made, "batch_size": batch_size}
    folder.mkdir(parents=True, exist_ok=True)
    with Progress("indexing", len(parts), done=len(parts) - len(shards), unit="shards") as progress:
        for number, _ in enumerate(each(_Shard, shards, workers, **given), start=len(parts) - len(shards) + 1):
            progress.reach(number)
    whole = ShardedIndex.of_folder(folder, len(parts), vectors.similarity)
    whole.about = about
    whole.save(folder)
    return ShardedIndex.load(folder, mmap=True)


class _Shard:
    """Encodes and indexes one shard after the other."""

    def __init__(self, folder: Path, about: Mapping[str, Any], batch_size: int) -> None:
        self._folder, self._about = folder, about
        self._corpus = load_corpus(about["data"])
        self._rows = np.flatnonzero(self._corpus.lengths)
        self._vectors = TextVectors(about["model_name"], batch_size)

    def __call__(self, number: int) -> dict[str, Any]:
        size = self._about["shard_rows"]
        # by row: from the first line on, each of a thousand shards would read half the corpus
        own = [self._corpus.at(row) for row in self._rows[number * size : (number + 1) * size]]
        vectors = self._vectors.documents([document.content for document in own])
        require_different(vectors, "index")
        index = build("index", self._about["shard_index"], where="index", similarity=self._vectors.similarity)
        index.about = dict(self._about)
        index.build(vectors, [document.id for document in own])
        with atomic_folder(shard_folder(self._folder, number)) as partial:
            index.save(partial)
        return {"shard": number}


def _stands(folder: Path, about: Mapping[str, Any]) -> bool:
    try:
        return bool(read_sealed(folder / DESCRIPTION)["about"] == about)
    except (UsageError, KeyError):
        return False
