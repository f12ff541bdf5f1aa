"""Reading from several blocks gives what reading from one does, and refuses what is absent or damaged in each way of reading."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as arrays
from small_store import logits, make_manifest, tokens
from test_round_trip import assert_same

from kdhub.errors import UsageError
from kdhub.store import DamagedStoreError, StoreReader, StoreWriter, gather, merge_store
from kdhub.store.blocks import block_files
from kdhub.store.columns import Records

VALUES: dict[str, Callable[[list[int]], Any]] = {
    "head": logits,
    "narrow": lambda indices: torch.tensor(indices, dtype=torch.int16),
    "empty": lambda indices: torch.empty(len(indices), 0, 3),
    "tokens": tokens,
    "nested": lambda indices: {"a": logits(indices), "size": (4, 3)},
    "constant": lambda indices: None,
}


def write(folder: Path, blocks: list[list[int]]) -> None:
    manifest = make_manifest(VALUES, mode="plain", draws=1)
    writer = StoreWriter.open(folder, manifest)
    for indices in blocks:
        writer.add([(index, 0) for index in indices], {tap: of(indices) for tap, of in VALUES.items()})
        writer.commit()


@pytest.fixture(params=["one block", "several", "record by record"])
def reader(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoreReader:
    """Nine of ten records, in each way in which they may be read."""
    if request.param == "record by record":
        monkeypatch.setattr(gather, "ARRAY_BYTES", 0)
    write(tmp_path, [[*range(9)]] if request.param == "one block" else [[4, 0], [8, 1, 2], [3], [7, 6, 5]])
    return StoreReader(tmp_path)


@given(st.lists(st.integers(0, 8), min_size=1, max_size=9))
@settings(deadline=None, max_examples=15)
def _assert_reads_any(reader: StoreReader, indices: list[int]) -> None:
    got = reader.read([(index, 0) for index in indices])
    assert_same(got, {tap: of(indices) for tap, of in VALUES.items()})
    got["head"].zero_()  # a copy, not the store's pages


def test_any_batch_is_read_from_several_blocks_as_from_one(reader: StoreReader) -> None:
    """An offset that is off by a record gives a neighbour's values, which look right."""
    _assert_reads_any(reader)


@pytest.mark.parametrize("tap", VALUES)
def test_an_absent_record_is_refused_whatever_is_read_of_it(reader: StoreReader, tap: str) -> None:
    """Absent records are found by looking them up behind the end of a column; each kind of column must have one."""
    reader.read([(index, 0) for index in range(9)], [tap])
    for keys in ([(9, 0)], [(1, 0), (9, 0), (2, 0)]):
        with pytest.raises(UsageError, match="no record of sample 9, draw 0"):
            reader.read(keys, [tap])
    for wrong in (10, 2**64, -1):
        with pytest.raises(UsageError, match=f"no such sample.*got sample {wrong}, draw 0"):
            reader.read([(1, 0), (wrong, 0)], [tap])


@pytest.mark.parametrize("tap", VALUES)
def test_a_damaged_record_is_refused_whatever_is_read_of_it(reader: StoreReader, tap: str) -> None:
    """A record is checked as a whole: damage in one tap tells that the disk lies about the others."""
    pattern = logits([6])[0].numpy().tobytes()
    for file in block_files(reader.path):
        content = bytearray(file.read_bytes())
        if pattern in content:
            content[content.find(pattern)] ^= 1
            file.write_bytes(content)
    reader = StoreReader(reader.path)
    reader.read([(5, 0), (7, 0)], [tap])
    for _ in range(2):
        with pytest.raises(DamagedStoreError, match="record of sample 6, draw 0"):
            reader.read([(5, 0), (6, 0)], [tap])


@given(
    arrays.arrays(
        st.sampled_from([np.float64, np.float32, np.float16, np.int64, np.int32, np.uint8, np.bool_]),
        st.tuples(st.just(10), st.integers(0, 3), st.integers(1, 5)),
        elements=st.integers(0, 1),
    ),
    st.sampled_from(["float32", "float16", "bfloat16"]),
    st.integers(1, 9),
    st.permutations(range(10)),
)
@settings(deadline=None, max_examples=25)
def test_types_of_any_width_are_gathered(
    tmp_path_factory: pytest.TempPathFactory, values: np.ndarray, precision: str, cut: int, order: list[int]
) -> None:
    """Blocks begin at any address, so records of one may lie askew to those of another."""
    folder = tmp_path_factory.mktemp("store")
    whole = torch.from_numpy(values)
    manifest = make_manifest({"tap": lambda indices: whole[indices]}, precision, mode="plain", draws=1)
    writer = StoreWriter.open(folder, manifest)
    for indices in (order[:cut], order[cut:]):
        writer.add([(index, 0) for index in indices], {"tap": whole[indices]})
        writer.commit()
    several = StoreReader(folder).read([(index, 0) for index in range(10)])["tap"]
    merge_store(folder, manifest)
    assert_same(StoreReader(folder).read([(index, 0) for index in range(10)])["tap"], several)
    assert torch.equal(several.to(whole.dtype), whole)


def _read_in_child(reader: StoreReader, queue: Any) -> None:
    got = reader.read([(index, 0) for index in (8, 3, 0)])
    queue.put(torch.equal(got["head"], logits([8, 3, 0])))


def test_a_forked_worker_reads_several_blocks_after_they_were_merged(reader: StoreReader) -> None:
    """Data workers live on for epochs while the files that they have mapped lose their names."""
    merge_store(reader.path, reader.manifest)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    worker = context.Process(target=_read_in_child, args=(reader, queue))
    worker.start()
    assert queue.get()
    worker.join()


def test_a_record_is_checked_once(reader: StoreReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checksum costs several times what reading does; each epoch would pay it again."""
    checked: list[tuple[int, int]] = []
    check = Records.check

    def noted(records: Records, row: int) -> None:
        checked.append(tuple(records.keys[row].tolist()))
        check(records, row)

    monkeypatch.setattr(Records, "check", noted)
    for indices in ([3, 4], [4, 5], [3, 5, 8]):
        reader.read([(index, 0) for index in indices])
    assert checked == [(3, 0), (4, 0), (5, 0), (8, 0)]
