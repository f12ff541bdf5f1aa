"""Merging changes which file a record is in, and nothing else, at whatever moment it ends."""

from __future__ import annotations

import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings, strategies as st
from small_store import VALUES, fill, logits, make_manifest, tokens
from test_round_trip import KEYS, assert_reads, assert_same, makers

from kdhub.errors import UsageError
from kdhub.store import DamagedStoreError, StoreReader, StoreWriter, merge_store, merging, repair, store_info, verify
from kdhub.store.blocks import block_files

MANIFEST = make_manifest(VALUES)
ALL = [(index, draw) for draw in range(2) for index in range(10)]


def write_blocks(folder: Path, values: dict[str, Any], blocks: list[tuple[int, list[tuple[int, int]]]]) -> None:
    """Write blocks of a shard and its keys each, as processes do that do not see each other's records."""
    manifest = make_manifest(values)
    writers = {shard: StoreWriter.open(folder, manifest, rank=shard) for shard, _ in blocks}
    for shard, keys in blocks:
        shown = [index + 100 * draw for index, draw in keys]
        writers[shard].add(keys, {tap: of(shown) for tap, of in values.items()})
        writers[shard].commit()


@st.composite
def stores(draw: st.DrawFn) -> list[tuple[int, list[tuple[int, int]]]]:
    """Draw how a complete store lies in blocks: some records may be in two of them."""
    order = draw(st.permutations(ALL))
    cuts = sorted(draw(st.sets(st.integers(1, len(ALL) - 1), max_size=5)))
    parts = [order[start:end] for start, end in zip([0, *cuts], [*cuts, len(order)], strict=True)]
    parts += draw(st.lists(st.lists(st.sampled_from(ALL), min_size=1, unique=True), max_size=2))
    return [(draw(st.integers(0, 2)), part) for part in parts]


@given(stores(), makers(), st.integers(0, 8), st.lists(st.sampled_from(ALL), min_size=1))
@settings(deadline=None, max_examples=25)
def test_records_are_the_same_whatever_the_blocks(
    tmp_path_factory: pytest.TempPathFactory,
    blocks: list[tuple[int, list[tuple[int, int]]]],
    of: Callable[[list[int]], Any],
    rewritten: int,
    keys: list[tuple[int, int]],
) -> None:
    """Merging renumbers every row, of columns of varying shape too; a slip would shift samples against their keys."""
    folder = tmp_path_factory.mktemp("store")
    write_blocks(folder, {"tap": of, **VALUES}, blocks)
    several = StoreReader(folder)
    before = several.read(keys)
    for tap, values in VALUES.items():
        assert_same(before[tap], values([index + 100 * draw for index, draw in keys]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "REWRITTEN", rewritten)
        merge_store(folder, several.manifest)
    assert len(block_files(folder)) <= len(blocks)
    assert verify(folder) == []
    assert len(StoreReader(folder)) == len(ALL)
    for reader in (StoreReader(folder), several):  # one that was opened before goes on
        assert_same(reader.read(keys), before)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "REWRITTEN", 10**9)
        merge_store(folder, several.manifest)
    assert len(block_files(folder)) == 1
    assert_same(StoreReader(folder).read(keys), before)


def test_a_merged_block_is_a_safetensors_file(store: Path) -> None:
    """Blocks are not written by the library; a file that only we can read would lock values in."""
    merge_store(store, MANIFEST)
    (file,) = block_files(store)
    tensors = safetensors.torch.load_file(file)
    shown = [index + 100 * draw for index, draw in tensors["keys"].tolist()]
    assert sorted(shown) == [*range(10), *range(100, 110)]
    assert torch.equal(tensors["000.00000.rows"], logits(shown))
    assert torch.equal(tensors["001.00000.flat"], torch.cat([entry.flatten() for entry in tokens(shown)]))
    assert tensors["001.00000.shapes"].tolist() == [list(entry.shape) for entry in tokens(shown)]


def test_a_merge_holds_no_block_in_memory(tmp_path: Path) -> None:
    """A store of several times the machine's memory must be merged too."""

    def wide(indices: list[int]) -> torch.Tensor:
        return torch.ones(len(indices), 2**17)

    def ragged(indices: list[int]) -> list[torch.Tensor]:
        return [torch.ones(2**15 + index) for index in indices]

    write_blocks(tmp_path, {"wide": wide, "ragged": ragged}, [(0, ALL[:10]), (1, ALL[10:])])
    size = store_info(tmp_path).bytes
    assert size > 20 * 5 * 2**17
    tracemalloc.start()
    try:
        merge_store(tmp_path, StoreReader(tmp_path).manifest)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(block_files(tmp_path)) == 1
    assert peak < size / 20


class Killed(BaseException):
    """Stands for SIGKILL."""


def test_a_merge_that_is_killed_at_any_step_loses_nothing(tmp_path: Path) -> None:
    """The merged block must be on the disk under its name before the first of the others goes."""
    steps = 0
    while True:
        folder = tmp_path / f"killed at {steps}"
        write_blocks(folder, VALUES, [(0, ALL[:7]), (1, ALL[7:13]), (0, ALL[13:])])
        with pytest.MonkeyPatch.context() as patch:
            survived = _killed_after(steps, patch, lambda folder=folder: merge_store(folder, MANIFEST))
        assert verify(folder) == []
        assert_reads(StoreReader(folder), ALL)
        assert repair(folder, MANIFEST) == []
        StoreWriter.open(folder, MANIFEST).close()
        merge_store(folder, MANIFEST)
        assert sorted(path.name[:6] for path in folder.iterdir()) == ["manife", "shard-"]
        assert_reads(StoreReader(folder), ALL)
        if survived:
            break
        steps += 1
    assert steps == 6  # bytes and name of the merged block to the disk, its name, and three blocks that go


def _killed_after(steps: int, patch: pytest.MonkeyPatch, work: Callable[[], None]) -> bool:
    """Do some work of which only so many steps reach the disk; return whether it was all."""
    done = 0

    def limited(step: Callable[..., Any]) -> Callable[..., Any]:
        def take(*args: Any, **options: Any) -> Any:
            nonlocal done
            if done == steps:
                raise Killed
            done += 1
            return step(*args, **options)

        return take

    for name in ("fsync", "replace", "unlink"):
        patch.setattr(os, name, limited(getattr(os, name)))
    try:
        work()
    except Killed:
        return False
    return True


def test_what_a_killed_merge_left_twice_goes_without_being_written_again(store: Path) -> None:
    """On a disk that is nearly full there may be no room for another merge, and the space would stay lost."""
    parts = {path: path.read_bytes() for path in block_files(store)}
    merge_store(store, MANIFEST)
    merged = block_files(store)
    for path, content in parts.items():
        path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 100, 0))
        merge_store(store, MANIFEST)
    assert block_files(store) == merged
    assert_reads(StoreReader(store), ALL)


def test_doubles_of_what_is_damaged_do_not_go(store: Path) -> None:
    """The copy that is taken away must not be the only sound one."""
    parts = {path: path.read_bytes() for path in block_files(store)}
    merge_store(store, MANIFEST)
    (merged,) = block_files(store)
    content = bytearray(merged.read_bytes())
    content[content.find(logits([3])[0].numpy().tobytes())] ^= 1
    merged.write_bytes(content)
    for path, whole in parts.items():
        path.write_bytes(whole)
    with pytest.raises(DamagedStoreError, match=f"sample 3, draw 0 in {merged.name}"):
        merge_store(store, MANIFEST)
    repair(store, MANIFEST)
    assert_reads(StoreReader(store), ALL)


def test_a_block_that_was_written_wrongly_replaces_nothing(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk or a library that errs while it copies must not take the sound blocks with it."""
    write_block = merging.write_block

    def erring(*args: Any) -> Path:
        path = write_block(*args)
        content = bytearray(path.read_bytes())
        content[content.find(logits([3])[0].numpy().tobytes())] ^= 1
        path.write_bytes(content)
        return path

    parts = block_files(store)
    monkeypatch.setattr(merging, "write_block", erring)
    with pytest.raises(DamagedStoreError, match="sample 3, draw 0"):
        merge_store(store, MANIFEST)
    assert set(parts) < set(block_files(store))
    repair(store, MANIFEST)
    assert_reads(StoreReader(store), ALL)


@pytest.mark.parametrize("moment", ["before", "meanwhile", "file"])
def test_a_full_disk_is_no_fault_of_a_merge(store: Path, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All records are there: a run of hours must not end with an error for want of room to read them faster."""

    def full(*_: object) -> None:
        raise OSError(number, "no space")

    number = 27 if moment == "file" else 28
    before = sorted(store.iterdir())
    if moment == "before":
        size = store_info(store).bytes
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(4 * size, 3 * size, size))
    else:
        monkeypatch.setattr(os, "fsync", full)
    with StoreWriter.open(store, MANIFEST):
        pass
    assert sorted(store.iterdir()) == before


def test_another_fault_of_the_disk_is_told(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails must not go unnoticed because a full one does."""

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    for name in ("fsync", "unlink"):
        with monkeypatch.context() as patch, pytest.raises(UsageError, match="cannot write.*Input/output error"):
            patch.setattr(os, name, broken)
            merge_store(store, MANIFEST)
    assert_reads(StoreReader(store), ALL)


def test_what_is_appended_does_not_cost_the_whole_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is written anew for each day's new samples costs more with each day, and wears the disk out."""
    monkeypatch.setattr(merging, "REWRITTEN", 4)
    values = {"head": lambda indices: torch.ones(len(indices), 2500)}
    manifest = make_manifest(values, samples=200, mode="plain", draws=1)
    written = 0
    for first, last in [(0, 100), *((index, index + 1) for index in range(100, 200))]:
        before = set(block_files(tmp_path) if first else [])
        with StoreWriter.open(tmp_path, manifest) as writer:
            writer.add([(index, 0) for index in range(first, last)], {"head": torch.ones(last - first, 2500)})
        files = set(block_files(tmp_path))
        assert len(files) <= 4
        written += sum(path.stat().st_size for path in files - before)
    assert len(StoreReader(tmp_path)) == 200
    assert 200 * 10_000 < written < 10 * 200 * 10_000  # each time all of it: 150 times 100


@pytest.mark.parametrize("look", [StoreReader, verify, store_info])
def test_a_merge_at_work_is_no_damage(
    store: Path, look: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between listing the blocks and opening them one may have been merged away: the list must be made again."""
    from kdhub.store import reader, upkeep
    from kdhub.store.blocks import Block

    merged: list[bool] = []

    def late(path: Path, fingerprint: str) -> Block:
        if not merged:
            merged.append(True)
            merge_store(store, MANIFEST)
        return Block(path, fingerprint)

    for module in (reader, upkeep):
        monkeypatch.setattr(module, "Block", late)
    found = look(store)
    assert merged
    assert found == [] if look is verify else (found.records if look is store_info else len(found)) == 20


def test_a_link_to_nothing_is_damage(store: Path) -> None:
    """Blocks moved to another disk and linked from here, which is not mounted, are not merged ones."""
    file = block_files(store)[0]
    file.rename(store.parent / file.name)
    file.symlink_to(store.parent / "elsewhere")
    assert [file.name in str(error) for error in verify(store)] == [True]
    with pytest.raises(DamagedStoreError, match=f"{file.name}.*a link to nothing"):
        StoreReader(store)


def test_shards_are_merged_into_one_block(tmp_path: Path) -> None:
    """`fill` and torchrun leave a block a process, and reading out of one is fastest."""
    fill(tmp_path, VALUES)
    with StoreWriter.open(tmp_path, make_manifest(VALUES), rank=3) as writer:
        assert writer.missing(KEYS) == []
    assert store_info(tmp_path).blocks == 2
    merge_store(tmp_path, MANIFEST)
    assert store_info(tmp_path).blocks == 1
    with StoreWriter.open(tmp_path, make_manifest(VALUES), rank=3) as writer:
        assert writer.missing(ALL) == []
