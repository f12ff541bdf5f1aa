"""Whatever a tap gives comes back as it was."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from small_store import VALUES, fill, logits, make_manifest, tokens
from torch import Tensor

from kdhub.errors import UsageError
from kdhub.sealed import read_sealed, write_sealed
from kdhub.store import Manifest, Node, StoreReader, StoreWriter, find_tree
from kdhub.store.columns import Varying
from kdhub.store.manifest import FILE_NAME

KEYS = [(7, 1), (0, 0), (3, 1), (3, 0), (9, 1)]


def assert_same(got: Any, expected: Any) -> None:
    """See that two nested values are equal in types, shapes and bits."""
    assert type(got) is type(expected)
    if isinstance(expected, Tensor):
        assert got.dtype == expected.dtype
        assert got.shape == expected.shape
        assert torch.equal(got, expected)
    elif isinstance(expected, dict):
        assert list(got) == list(expected)
        for key, value in expected.items():
            assert_same(got[key], value)
    elif isinstance(expected, list | tuple):
        assert len(got) == len(expected)
        for mine, theirs in zip(got, expected, strict=True):
            assert_same(mine, theirs)
    else:
        assert got == expected


def assert_reads(reader: StoreReader, keys: list[tuple[int, int]]) -> None:
    shown = [index + 100 * draw for index, draw in keys]
    assert_same(reader.read(keys), {tap: of(shown) for tap, of in VALUES.items()})


@pytest.mark.parametrize("keys", [KEYS, [(2, 0), (1, 0), (2, 0)], [(5, 1)]], ids=["two blocks", "one block", "one"])
def test_a_batch_comes_back_in_the_order_of_its_keys(store: Path, keys: list[tuple[int, int]]) -> None:
    """Values given to the wrong sample train a student on noise, and no loss would show it."""
    assert_reads(StoreReader(store), keys)


def test_only_the_taps_that_are_asked_for_are_read(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that needs one small tap must not pay for the large ones beside it, nor take a slip in a name for no tap."""
    reader = StoreReader(store)
    assert_reads(reader, KEYS)
    whole = reader.read(KEYS)
    with monkeypatch.context() as patch:
        patch.delattr(Varying, "tensor")  # what the tokens are read with
        assert_same(reader.read(KEYS, ["head"]), {"head": whole["head"]})
        with pytest.raises(AttributeError):
            reader.read(KEYS)
    assert_same(reader.read(KEYS, {"tokens", "head"}), whole)
    assert reader.read(KEYS, taps=()) == {}
    with pytest.raises(UsageError, match="no such tap.*expected head, tokens, got heads"):
        reader.read(KEYS, ["heads"])
    with pytest.raises(UsageError, match="no such sample"):
        reader.read([(10, 0)], ())


def test_what_is_read_may_be_written_to(store: Path) -> None:
    """A loss that normalises in place would otherwise change the store's pages for the rest of the run."""
    reader = StoreReader(store)
    for keys in ([(1, 0), (2, 0)], KEYS):
        values = reader.read(keys)
        values["head"].zero_()
        for entry in values["tokens"]:
            entry.zero_()
        assert_reads(reader, keys)


def test_merged_blocks_hold_the_same(store: Path) -> None:
    """Merging renumbers every row; a slip would shift samples against their keys."""
    with StoreWriter.open(store, make_manifest(VALUES)) as writer:
        writer.add([(4, 0)], {"head": logits([0]), "tokens": tokens([0])})
    assert len([*store.glob("shard-*")]) == 1
    reader = StoreReader(store)
    assert len(reader) == 20
    assert_reads(reader, KEYS)


def test_shards_of_two_processes_are_read_as_one(tmp_path: Path) -> None:
    """Under torchrun several processes fill a store, and each sample must be found in whichever shard has it."""
    manifest = make_manifest(VALUES)
    for rank in range(2):
        with StoreWriter.open(tmp_path, manifest, rank=rank) as writer:
            indices = list(range(rank, 10, 2))
            assert writer.missing([(0, 0), (1, 0)]) == [(0, 0), (1, 0)][rank:]
            writer.add([(index, 0) for index in indices], {tap: of(indices) for tap, of in VALUES.items()})
    assert_reads(StoreReader(tmp_path), [(5, 0), (4, 0), (1, 0)])


def _read_in_child(reader: StoreReader, queue: Any) -> None:
    try:
        assert_reads(reader, KEYS)
        queue.put("read")
    except AssertionError as error:
        queue.put(str(error))


def test_forked_workers_read_with_the_reader_of_their_parent(store: Path) -> None:
    """Data workers are forked after the parent has read, and both of them must see the same values as it."""
    context = multiprocessing.get_context("fork")
    reader, queue = StoreReader(store), context.SimpleQueue()
    assert_reads(reader, KEYS)
    workers = [context.Process(target=_read_in_child, args=(reader, queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    assert [queue.get() for _ in workers] == ["read", "read"]
    for worker in workers:
        worker.join()


def test_a_reader_travels_by_pickle(store: Path) -> None:
    """Spawned workers get the reader by pickle, and mapped memory cannot be pickled; the path can."""
    assert_reads(pickle.loads(pickle.dumps(StoreReader(store))), KEYS)  # noqa: S301


TENSORS = st.sampled_from(
    [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
)


@st.composite
def sample_makers(draw: st.DrawFn) -> Any:
    """Draw a function from indices to a list with one value a sample."""
    kind = draw(st.sampled_from(["tensor", "text", "number", "none", "dict", "tuple"]))
    if kind == "tensor":
        dtype, axes = draw(TENSORS), draw(st.integers(0, 2))
        return lambda indices: [
            _tensor([(index + axis) % 3 for axis in range(axes)], dtype, index) for index in indices
        ]
    if kind == "text":
        texts = draw(st.lists(st.text(max_size=5), min_size=1, max_size=3))
        return lambda indices: [texts[index % len(texts)] for index in indices]
    if kind == "number":
        number = draw(st.sampled_from([int, float, bool]))
        return lambda indices: [number(index) for index in indices]
    if kind == "none":
        return lambda indices: [None for _ in indices]
    first, second = draw(sample_makers()), draw(sample_makers())
    if kind == "dict":
        return lambda indices: [{"a": a, 1: b} for a, b in zip(first(indices), second(indices), strict=True)]
    return lambda indices: list(zip(first(indices), second(indices), strict=True))


@st.composite
def makers(draw: st.DrawFn, depth: int = 2) -> Any:
    """Draw a function from indices to a batch's value, such as taps give."""
    kind = draw(st.sampled_from(["rows", "cat", "each", "constant", *(["dict", "list", "tuple"] if depth else [])]))
    if kind == "constant":
        value = draw(st.sampled_from([None, 7, "text", True, 0.5]))
        return lambda indices: value
    if kind in ("rows", "cat"):
        shape, dtype, times = draw(st.lists(st.integers(0, 3), max_size=3)), draw(TENSORS), 2 if kind == "cat" else 1
        return lambda indices: torch.stack(
            [_tensor(shape, dtype, index + 1000 * call) for call in range(times) for index in indices]
        )
    if kind == "each":
        return draw(sample_makers())
    parts = draw(st.lists(makers(depth=depth - 1), min_size=1, max_size=4))
    if kind == "dict":
        return lambda indices: {f"part {number}": part(indices) for number, part in enumerate(parts)}
    return lambda indices: (list if kind == "list" else tuple)([part(indices) for part in parts])


def _tensor(shape: list[int], dtype: torch.dtype, seed: int) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 9).to(dtype)


@given(makers(), st.permutations(range(5)))
@settings(deadline=None, max_examples=25)
def test_any_value_falls_apart_and_together(
    tmp_path_factory: pytest.TempPathFactory, of: Any, order: list[int]
) -> None:
    """Nested features, proposals, texts: a value of a make nobody thought of must come back whole or be refused."""
    # float64 is kept as float32 unless it fits
    tree = find_tree([(3, of([0, 1, 2])), (2, of([3, 4]))])
    assert Node.from_json(tree.to_json()) == tree
    folder = tmp_path_factory.mktemp("store")
    manifest = make_manifest({"tap": of}, mode="plain", draws=1)
    writer = StoreWriter.open(folder, manifest)
    for indices in ([0, 1, 2], [3, 4]):
        writer.add([(index, 0) for index in indices], {"tap": of(indices)})
        writer.commit()
    expected = _narrowed(of(list(order)))
    assert_same(StoreReader(folder).read([(index, 0) for index in order])["tap"], expected)
    writer.close()
    assert_same(StoreReader(folder).read([(index, 0) for index in order])["tap"], expected)


def _narrowed(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.dtype == torch.float64 else value
    if isinstance(value, dict):
        return {key: _narrowed(entry) for key, entry in value.items()}
    return type(value)(map(_narrowed, value)) if isinstance(value, list | tuple) else value


def test_rows_of_several_calls_stay_with_their_samples(tmp_path: Path) -> None:
    """With call='cat' row i + B is of sample i; taking rows 2i and 2i + 1 would mix two samples' crops."""

    def crops(indices: list[int]) -> Tensor:
        return torch.tensor([[float(index)] for index in indices] + [[index + 0.5] for index in indices])

    fill(tmp_path, {"crops": crops})
    assert StoreReader(tmp_path).read([(3, 0), (8, 0)])["crops"].flatten().tolist() == [3.0, 8.0, 3.5, 8.5]


def test_four_features_of_four_samples_are_no_list_with_an_entry_a_sample() -> None:
    """At batch size 4 a tuple of 4 feature maps looks like 4 samples; only another batch size tells."""
    features = [(size, tuple(torch.ones(size, level + 1) for level in range(4))) for size in (4, 3)]
    assert [type(node).__name__ for node in find_tree(features).items] == ["Rows"] * 4
    with pytest.raises(UsageError, match="two batch sizes"):
        find_tree(features[:1])


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (lambda size: torch.ones(16, 4), "axis 0 to grow with the batch"),
        (lambda size: torch.tensor(1.0), "axis 0 to grow with the batch"),
        (lambda size: torch.ones(size, size + 2, 4), "padding makes the shape change"),
        (lambda size: [torch.ones(2)] * (size + 1), "one for each sample"),
        (lambda size: torch.ones(size, 2).to(torch.float8_e5m2), "floats of 16 bits"),
        (lambda size: torch.ones(size, 2).to_sparse(), "a dense tensor"),
        (lambda size: object(), "tap the entry that is meant"),
        (lambda size: float(size), "numbers or text of each sample"),
        (lambda size: [{"a": 1}, *([{"b": 1}] * (size - 1))], r"entries \['a'\]"),
        (lambda size: [torch.ones(2), *([torch.ones(2, 2)] * (size - 1))], "1 axes of float32"),
    ],
    ids=["weight", "scalar", "padded", "not per sample", "type", "sparse", "object", "float", "keys", "axes"],
)
def test_what_belongs_to_no_sample_is_refused(of: Any, message: str) -> None:
    """A weight or a padded tensor stored as if it were samples' would be cut up and put together wrongly."""
    with pytest.raises(UsageError, match=message):
        find_tree([(4, of(4)), (3, of(3))], where="head")


def test_a_value_made_otherwise_later_is_refused(tmp_path: Path) -> None:
    """A teacher that answers a later batch in another shape or type must not be cut to fit."""
    writer = StoreWriter.open(tmp_path, make_manifest(VALUES))
    with pytest.raises(UsageError, match=r"head: cannot store.*\(1, 5, 3, 2\) float32.*got \(1, 5, 3, 3\) float32"):
        writer.add([(0, 0)], {"head": torch.ones(1, 5, 3, 3), "tokens": tokens([0])})
    with pytest.raises(UsageError, match="not the taps of this store"):
        writer.add([(0, 0)], {"head": logits([0])})


@pytest.mark.parametrize("key", [(10, 0), (0, 2), (-1, 0), (1, -1)])
def test_a_key_out_of_range_is_no_other_sample(store: Path, key: tuple[int, int]) -> None:
    """Draw 2 of sample 0 is not draw 0 of sample 1, and sample -1 not the last."""
    with pytest.raises(UsageError, match=rf"no such sample.*got sample {key[0]}, draw {key[1]}"):
        StoreReader(store).read([(0, 0), key])


def test_a_later_note_is_no_obstacle(tmp_path: Path) -> None:
    """A kdhub that notes one thing more about a store counts no new format, so this one must pass it over."""
    folder = fill(tmp_path, VALUES)
    content = read_sealed(folder / FILE_NAME)
    write_sealed(folder / FILE_NAME, {**content, "weather": "fine"})
    assert Manifest.read(folder) == make_manifest(VALUES)
