"""What `kdhub cache` does to a store as a whole: tell what is in it, check it, take out what is damaged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdhub.errors import UsageError
from kdhub.files import storage_error
from kdhub.store.blocks import Block, block_files, next_number, write_block
from kdhub.store.columns import tap_of
from kdhub.store.damage import DamagedStoreError
from kdhub.store.manifest import FILE_NAME, WRITE_FIX, Manifest
from kdhub.store.reader import StoreReader

Progress = Callable[[int, int], None]
"""Called from time to time with the records that were checked and those there are."""

_STRIDE = 64


@dataclass(frozen=True)
class StoreInfo:
    """What is in a store.

    Attributes:
        manifest: What it is bound to, with the precision of each tap and the error that it makes.
        records: Records there are.
        missing: Records that it lacks to be complete.
        shards: Processes that wrote the blocks; `merge_store` makes one of several.
        blocks: Files that hold the records.
        bytes: Size of these files.
        record_bytes: Tap to the mean size of what is kept for a sample.
    """

    manifest: Manifest
    records: int
    missing: int
    shards: int
    blocks: int
    bytes: int
    record_bytes: Mapping[str, float]


def store_info(path: str | Path) -> StoreInfo:
    """Tell what is in a store, from manifest and heads alone.

    Raises:
        UsageError: If there is no store, or one that is damaged.
    """
    reader = StoreReader(path)
    manifest, blocks = reader.manifest, reader.blocks
    sizes = [0] * len(manifest.taps)
    for block in blocks:
        for name, column in block.columns.items():
            sizes[tap_of(name)] += column.data.nbytes
    written = max(1, sum(map(len, blocks)))
    return StoreInfo(
        manifest=manifest,
        records=len(reader),
        missing=manifest.samples * manifest.draws - len(reader),
        shards=len({block.shard for block in blocks}),
        blocks=len(blocks),
        bytes=sum(block.size for block in blocks),
        record_bytes={tap: size / written for tap, size in zip(manifest.taps, sizes, strict=True)},
    )


def verify(path: str | Path, progress: Progress | None = None) -> list[DamagedStoreError]:
    """Check manifest, heads and every record of a store.

    Returns:
        What is damaged: empty if all is well.

    Raises:
        UsageError: If there is no store, or a block of another one.
    """
    folder = Path(path)
    try:
        manifest = Manifest.require(folder)
    except DamagedStoreError as error:
        return [error]  # without it no block can be told from one of another store
    return [error for _, _, errors in _checked(folder, manifest, progress) for error in errors]


def repair(path: str | Path, manifest: Manifest, progress: Progress | None = None) -> list[DamagedStoreError]:
    """Take out of a store what is damaged, so that a writer computes it again; sound records stay.

    Only one process may do this, and none may write meanwhile. A killed writer's unfinished files go too.

    Args:
        path: Folder of the store.
        manifest: What is to be stored: written anew where the store's own is damaged or gone.
        progress: Told how far it is.

    Returns:
        What was taken out or, as the manifest, replaced.

    Raises:
        UsageError: If the folder cannot be written, or holds a block of another store; or if the store's manifest is damaged
            and its blocks were not written for this one. Then nothing is touched.
    """
    folder = Path(path)
    if not folder.is_dir():
        return []
    try:
        for partial in folder.glob(".*.partial"):
            partial.unlink()
        manifest, damage = _readable_manifest(folder, manifest)
        for file, block, errors in _checked(folder, manifest, progress):
            if errors and block is not None:
                sound = np.array([row for row in range(len(block)) if block.sound(row)], np.int64)
                if len(sound):
                    number = next_number(folder, block.shard)
                    write_block(folder, block.shard, number, manifest.fingerprint, [(block, sound)])
            if errors:
                file.unlink()
            damage += errors
    except OSError as error:
        raise storage_error(folder / FILE_NAME, error, WRITE_FIX) from error
    return damage


def _readable_manifest(folder: Path, wanted: Manifest) -> tuple[Manifest, list[DamagedStoreError]]:
    """Return a store's manifest; replace it by the one that is wanted if it cannot be read."""
    damage = []
    try:
        present = Manifest.read(folder)
    except DamagedStoreError as error:
        present, damage = None, [error]
    if present is not None:
        return present, []
    if damage or block_files(folder):
        try:
            _opened(folder, wanted)
        except UsageError as error:
            raise UsageError(
                "the manifest of the store cannot be read, and its blocks were not written for this config",
                where=str(folder),
                got=damage[0].got if damage else f"no {FILE_NAME}",
                fix="fill it with the config that it was begun with, or name another folder for this one",
            ) from error
        wanted.write(folder)
    return wanted, damage


def _checked(
    folder: Path, manifest: Manifest, progress: Progress | None
) -> list[tuple[Path, Block | None, list[DamagedStoreError]]]:
    opened = _opened(folder, manifest)
    total = sum(len(block) for _, block, _ in opened if block is not None)
    done = 0
    for _, block, errors in opened:
        for row in range(0 if block is None else len(block)):
            if block is not None and not block.sound(row):
                errors.append(block.damage(row))
            done += 1
            if progress is not None and (done % _STRIDE == 0 or done == total):
                progress(done, total)
    return opened


def _opened(folder: Path, manifest: Manifest) -> list[tuple[Path, Block | None, list[DamagedStoreError]]]:
    """Open all blocks; one that cannot be used comes with the reason."""
    found: list[tuple[Path, Block | None, list[DamagedStoreError]]] = []
    for file in block_files(folder):
        try:
            found.append((file, Block(file, manifest.fingerprint), []))
        except DamagedStoreError as error:
            found.append((file, None, [error]))
        except FileNotFoundError:
            if file not in block_files(folder):  # a writer at work has just merged it into another block
                return _opened(folder, manifest)
            found.append((file, None, [DamagedStoreError(file, "a link to nothing")]))
    return found
