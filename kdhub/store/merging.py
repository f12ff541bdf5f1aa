"""Merging of blocks: a store is read fastest out of one.

A merge may be killed at any moment, and the store may be read meanwhile: the merged block stands, and was read back, before the
others go. What a killed merge left twice the next one takes away.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdhub.files import FullDiskError, storage_error
from kdhub.store.blocks import Block, Rows, block_files, next_number, place, write_block
from kdhub.store.index import ABSENT, Index
from kdhub.store.manifest import WRITE_FIX, Manifest

REWRITTEN = 8
"""A block is merged with smaller ones only if it is at most so many times as large as they are together.

So what is appended to a large store in small parts does not cost the whole store each time, and no more than eight blocks are
left of a store a million times as large as the smallest of them.
"""


def merge_store(folder: str | Path, manifest: Manifest) -> None:
    """Merge the blocks of all shards. Only one process may do this, and none may write meanwhile; others may read.

    Where the disk is nearly full nothing is merged.

    Raises:
        DamagedStoreError: If a record is damaged.
        UsageError: If the folder cannot be written.
    """
    _merge(Path(folder), 0, block_files(Path(folder)), manifest)


def merge_shard(folder: Path, shard: int, manifest: Manifest) -> None:
    """Merge the blocks of one shard, as `merge_store` does, while other processes may write theirs.

    Raises:
        DamagedStoreError: If a record is damaged.
        UsageError: If the folder cannot be written.
    """
    _merge(folder, shard, [path for path in block_files(folder) if place(path)[0] == shard], manifest)


def _merge(folder: Path, shard: int, files: Sequence[Path], manifest: Manifest) -> None:
    if len(files) < 2:
        return
    try:
        sources = _without_doubles([Block(path, manifest.identity) for path in files], manifest)
        sources = _worth_merging(sources)
        # twice the size, as others may be writing too
        if len(sources) < 2 or shutil.disk_usage(folder).free < 2 * sum(block.size for block, _ in sources):
            return
        merged = write_block(folder, shard, next_number(folder, shard), manifest.identity, sources)
        _require_sound(Block(merged, manifest.identity))
        for block, _ in sources:
            block.path.unlink()
    except FullDiskError:
        return  # it costs nothing but speed here: what was committed stays in the blocks that it is in
    except OSError as error:
        raise storage_error(folder / "blocks", error, WRITE_FIX) from error


def _without_doubles(blocks: Sequence[Block], manifest: Manifest) -> list[tuple[Block, Rows]]:
    """Choose each record once, from the largest block that has it, and remove blocks of which nothing is left."""
    blocks = sorted(blocks, key=len, reverse=True)
    index = Index(blocks, manifest)
    spots = np.sort(index.table[index.table != ABSENT])
    parts = np.split(spots, spots.searchsorted(index.bases[1:]))
    chosen = [(block, part - base) for block, base, part in zip(blocks, index.bases, parts, strict=True) if len(part)]
    if len(chosen) < len(blocks):
        kept = [block for block, _ in chosen]
        for block in kept:
            _require_sound(block)
        for block in blocks:
            if block not in kept:
                block.path.unlink()
    return chosen


def _worth_merging(sources: Sequence[tuple[Block, Rows]]) -> list[tuple[Block, Rows]]:
    """Leave out blocks that are too large to be rewritten for the sake of the others."""
    rest = sorted(sources, key=lambda source: source[0].size, reverse=True)
    while rest and rest[0][0].size > REWRITTEN * sum(block.size for block, _ in rest[1:]):
        rest = rest[1:]
    return rest


def _require_sound(block: Block) -> None:
    for row in range(len(block)):
        block.check(row)
