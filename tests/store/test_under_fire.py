"""Nothing acknowledged is lost, nothing damaged is used, and one line says what happened and what to type."""

from __future__ import annotations

import dataclasses
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st
from small_store import VALUES, fill, logits, make_manifest, tokens
from test_round_trip import KEYS, assert_reads

from kdhub.errors import UsageError
from kdhub.store import DamagedStoreError, Manifest, StoreReader, StoreWriter, repair, store_info, verify

FIRE = Path(__file__).with_name("fire.py")
ALL = [(index, draw) for draw in range(2) for index in range(10)]


def refill(folder: Path) -> None:
    """Go on with a store as `kdhub cache` does: take out what is damaged, compute what is missing."""
    repair(folder, make_manifest(VALUES))
    with StoreWriter.open(folder, make_manifest(VALUES)) as writer:
        for index, draw in writer.missing(ALL):
            writer.add([(index, draw)], {tap: of([index + 100 * draw]) for tap, of in VALUES.items()})


def test_sigkill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """A killed run that must compute days of teacher answers again is the reason to have no store."""
    folder, acknowledged = tmp_path / "store", -1
    for attempt in range(3):
        with subprocess.Popen([sys.executable, FIRE, folder, "0"], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline()]  # from the first commit on, at any moment
            time.sleep(random.Random(attempt).uniform(0, 0.15))
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.read().splitlines()
        acknowledged = max(acknowledged, *(int(line) for line in lines if line.strip()))
        assert verify(folder) == []
        reader = StoreReader(folder)
        assert reader.missing([(index, 0) for index in range(acknowledged + 1)]) == []
        assert_reads(reader, [(index, 0) for index in range(acknowledged, -1, -1)])
        assert repair(folder, make_manifest(VALUES, samples=3000)) == []
        assert not [*folder.glob(".*.partial")]


def read_all(folder: Path) -> None:
    reader = StoreReader(folder)
    for key in ALL:
        assert_reads(reader, [key])


@given(st.data())
@settings(deadline=None, max_examples=40)
def test_one_flipped_byte_anywhere_is_never_used(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A flipped bit in a value, a key, a length or the manifest must not become a target, nor crash the trainer."""
    folder = fill(tmp_path_factory.mktemp("broken") / "store", VALUES)
    file = data.draw(st.sampled_from(sorted(path.name for path in folder.iterdir())))
    content = bytearray((folder / file).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    (folder / file).write_bytes(content)
    damage = verify(folder)
    if damage:
        with pytest.raises(DamagedStoreError, match=rf"{re.escape(file)}.*kdhub cache CONFIG") as caught:
            read_all(folder)
        assert "\n" not in str(caught.value)
    else:
        assert file == "manifest.json"  # blanks in it mean nothing
        read_all(folder)
    refill(folder)
    assert verify(folder) == []
    assert_reads(StoreReader(folder), ALL)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("pattern", ["manifest.json", "shard-0000-000001-*"])
def test_a_file_cut_short_is_named_and_made_good(store: Path, pattern: str, share: float) -> None:
    """Reading a mapped file behind its end kills the process with SIGBUS, without a word."""
    (file,) = store.glob(pattern)
    os.truncate(file, int(file.stat().st_size * share))
    with pytest.raises(DamagedStoreError, match=file.name):
        StoreReader(store)
    assert [file.name in str(error) for error in verify(store)] == [True]
    refill(store)
    assert_reads(StoreReader(store), ALL)


def test_a_damaged_manifest_beside_a_damaged_block_is_mended(store: Path) -> None:
    """Each alone was mended; both at once were told to run a command that never helped."""
    manifest = store / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"samples", b"sampels"))
    block = sorted(store.glob("shard-*"))[0]
    os.truncate(block, block.stat().st_size - 5)
    refill(store)
    assert_reads(StoreReader(store), ALL)


def test_a_damaged_manifest_is_not_replaced_by_another_configs(store: Path) -> None:
    """A config that reads one tap of two would have made the store of both unreadable for everybody."""
    manifest = store / "manifest.json"
    damaged = manifest.read_bytes().replace(b"samples", b"sampels")
    manifest.write_bytes(damaged)
    narrow = {"head": VALUES["head"]}
    with pytest.raises(UsageError, match=r"blocks were not written for this config.*config that it was begun with"):
        repair(store, make_manifest(narrow))
    assert manifest.read_bytes() == damaged
    refill(store)
    assert_reads(StoreReader(store), ALL)


def test_only_what_is_damaged_is_taken_out(store: Path) -> None:
    """One bad record must not cost the block it is in."""
    block = sorted(store.glob("shard-*"))[0]
    content = bytearray(block.read_bytes())
    content[content.find(logits([3])[0].numpy().tobytes())] ^= 1
    block.write_bytes(content)
    with pytest.raises(DamagedStoreError, match=r"the record of sample 3, draw 0 in shard-0000-000000"):
        StoreReader(store).read([(2, 0), (3, 0)])
    assert_reads(StoreReader(store), [(2, 0), (4, 0)])
    seen: list[tuple[int, int]] = []
    assert len(repair(store, make_manifest(VALUES), lambda done, total: seen.append((done, total)))) == 1
    assert seen == [(20, 20)]
    assert StoreReader(store).missing(ALL) == [(3, 0)]
    assert store_info(store).missing == 1


def test_damage_is_not_merged_into_a_block_with_a_new_checksum(store: Path) -> None:
    """A merge that copies without looking would make damage valid for ever."""
    block = sorted(store.glob("shard-*"))[0]
    content = bytearray(block.read_bytes())
    content[content.find(logits([3])[0].numpy().tobytes())] ^= 1
    block.write_bytes(content)
    with pytest.raises(DamagedStoreError, match="sample 3, draw 0"):
        StoreWriter.open(store, make_manifest(VALUES)).close()
    assert len([*store.glob("shard-*")]) == 2


def test_a_missing_record_says_how_to_complete_the_store(store: Path) -> None:
    """A store that is not complete must not be trained from as if it were."""
    next(store.glob("shard-0000-000001-*")).unlink()
    with pytest.raises(
        UsageError, match=r"no record of sample 7, draw 1 and 2 more.*10 of 20 records.*kdhub cache CONFIG"
    ):
        StoreReader(store).read(KEYS)


def test_a_full_disk_is_told_in_one_line_and_costs_nothing(tmp_path: Path) -> None:
    """Running out of space in the night must cost neither what was committed nor an hour of reading tracebacks."""
    folder = tmp_path / "store"
    done = subprocess.run([sys.executable, FIRE, folder, "9000"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "choose another folder for the store" in done.stderr
    acknowledged = int(done.stdout.split()[-1])
    assert verify(folder) == []
    assert_reads(StoreReader(folder), [(index, 0) for index in range(acknowledged + 1)])
    assert not [*folder.glob(".*.partial")]


def test_what_could_not_be_committed_may_be_committed_later(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After space was freed the batch in memory must not be gone."""
    shutil.rmtree(store)
    writer = StoreWriter.open(store, make_manifest(VALUES))
    writer.add([(0, 0), (1, 0)], {"head": logits([0, 1]), "tokens": tokens([0, 1])})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UsageError, match="no space left.*untouched.*choose another folder for the store"):
            writer.commit()
    writer.commit()
    assert_reads(StoreReader(store), [(1, 0), (0, 0)])


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    """A read-only place must be named before the teacher has run for hours."""
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UsageError, match=r"cannot write.*choose another folder for the store"):
        StoreWriter.open(tmp_path / "file" / "store", make_manifest(VALUES))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher": "ffff"}, "teacher: 'ffff', not 'a1b2'"),
        ({"preprocessing": "crop"}, "preprocessing: 'crop', not 'resize'"),
        ({"draws": 3}, "draws: 3, not 2"),
        ({"precision": {"head": "float16", "tokens": "float32"}}, "precision of head: 'float16', not 'float32'"),
    ],
)
def test_another_store_in_the_folder_is_refused_with_the_difference(
    store: Path, change: dict[str, object], message: str
) -> None:
    """Values of another teacher or transform look like values of this one."""
    with pytest.raises(UsageError, match=f"another teacher store.*{message}"):
        StoreWriter.open(store, dataclasses.replace(make_manifest(VALUES), **change))


def test_blocks_of_another_store_are_refused(store: Path, tmp_path: Path) -> None:
    """Copying one store's files into another's folder, or losing the manifest, must not mix two teachers."""
    (store / "manifest.json").unlink()
    with pytest.raises(UsageError, match="no teacher store here"):
        StoreReader(store)
    with pytest.raises(UsageError, match="written for another teacher"):
        StoreWriter.open(store, make_manifest(VALUES, teacher="ffff"))
    assert Manifest.read(store) is None
    refill(store)
    assert_reads(StoreReader(store), ALL)


def test_a_folder_with_other_files_is_no_place_for_a_store(tmp_path: Path) -> None:
    """A slip in a path must not fill somebody's folder of pictures with blocks."""
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(UsageError, match="not empty.*holiday"):
        StoreWriter.open(tmp_path, make_manifest(VALUES))


def test_going_on_computes_nothing_again(store: Path) -> None:
    """Acknowledged samples must be passed over, and keep the values that they have."""
    before = {path.name: path.read_bytes() for path in store.iterdir()}
    manifest = make_manifest(VALUES, trees={}, errors={"head": {"max_abs": 0.5}})
    writer = StoreWriter.open(store, manifest)
    assert writer.missing(ALL) == []
    writer.add([(0, 0), (1, 0)], {"head": torch.zeros(2, 5, 3, 2), "tokens": tokens([1, 1])})
    writer.commit()
    assert {path.name: path.read_bytes() for path in store.iterdir()} == before


def test_a_merge_that_was_killed_leaves_nothing_twice(store: Path) -> None:
    """Killed between writing the merged block and deleting its parts, a store would grow with each attempt."""
    parts = {path: path.read_bytes() for path in store.glob("shard-*")}
    StoreWriter.open(store, make_manifest(VALUES)).close()
    size = store_info(store).bytes
    for path, content in parts.items():
        path.write_bytes(content)
    assert_reads(StoreReader(store), ALL)
    StoreWriter.open(store, make_manifest(VALUES)).close()
    info = store_info(store)
    assert (info.blocks, info.records, info.bytes) == (1, 20, size)
    assert_reads(StoreReader(store), ALL)
