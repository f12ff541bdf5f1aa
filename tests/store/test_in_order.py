"""A store whose records lie in order is read without looking them up, and never before all were found sound."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_store import VALUES, fill, make_manifest
from test_merging import ALL, write_blocks
from test_round_trip import assert_same

from kdhub.errors import UsageError
from kdhub.store import DamagedStoreError, StoreReader, merge_store
from kdhub.store.blocks import block_files

KINDS = {
    **VALUES,
    "empty": lambda indices: VALUES["head"](indices)[:, :0],
    "nested": lambda indices: {"a": VALUES["head"](indices), "size": (4, 3)},
    "constant": lambda indices: None,
}


def shown(keys: list[tuple[int, int]]) -> list[int]:
    return [index + 100 * draw for index, draw in keys]


def test_a_merged_store_lies_in_order_whoever_wrote_which_batch(tmp_path: Path) -> None:
    """Processes take turns with the batches: merged one after the other, every read would need the table for good."""
    write_blocks(tmp_path, VALUES, [(1, ALL[5:10]), (0, ALL[:5]), (1, ALL[15:]), (0, ALL[10:15])])
    merge_store(tmp_path, make_manifest(VALUES))
    (block,) = StoreReader(tmp_path).blocks
    assert [tuple(key) for key in block.keys.tolist()] == ALL


@pytest.mark.parametrize("tap", KINDS)
def test_keys_are_refused_where_nothing_is_looked_up(tmp_path: Path, tap: str) -> None:
    """Sample 10 of draw 0 would be where sample 0 of draw 1 is: another sample's values, which look right."""
    write_blocks(tmp_path, KINDS, [(0, ALL)])
    reader = StoreReader(tmp_path)
    reader.read(ALL)
    for key in ((10, 0), (0, 2), (2**64, 1), (-1, 1), (0, -1)):
        with pytest.raises(UsageError, match=f"no such sample.*got sample {key[0]}, draw {key[1]}"):
            reader.read([(1, 0), key], [tap])
    keys = [(7, 1), (0, 0), (9, 0), (7, 1), (0, 1)]
    assert_same(reader.read(keys, [tap]), {tap: KINDS[tap](shown(keys))})


def test_a_record_that_was_read_twice_counts_once(tmp_path: Path) -> None:
    """Counted twice, it would stand for one that nobody has checked yet, whose damage would go unnoticed."""
    write_blocks(tmp_path, VALUES, [(0, ALL)])
    (file,) = block_files(tmp_path)
    data = bytearray(file.read_bytes())
    at = data.find(VALUES["head"]([109])[0].numpy().tobytes())
    data[at] ^= 1
    file.write_bytes(data)
    reader = StoreReader(tmp_path)
    reader.read([*ALL[:-1], (3, 1)])
    reader.read(ALL[:-1])
    with pytest.raises(DamagedStoreError, match="sample 9, draw 1"):
        reader.read([(9, 1)])


def test_an_incomplete_store_is_looked_up(tmp_path: Path) -> None:
    """Records that begin in order say nothing of where the others are."""
    fill(tmp_path, VALUES)
    reader = StoreReader(tmp_path)
    for keys in (ALL, ALL[::-1]):
        assert_same(reader.read(keys), {tap: of(shown(keys)) for tap, of in VALUES.items()})
    missing = tmp_path / "part"
    write_blocks(missing, VALUES, [(0, [*ALL[:5], *ALL[6:]])])
    reader = StoreReader(missing)
    reader.read([*ALL[:5], *ALL[6:]])
    with pytest.raises(UsageError, match="no record of sample 5, draw 0"):
        reader.read([(5, 0)])
    assert_same(reader.read([(6, 0)]), {tap: of([6]) for tap, of in VALUES.items()})
