"""Keyed samples: what a sample looks like depends on seed, index and draw, and on nothing else."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, Sampler

from kdhub.engine.resume.sampling import (
    KeyedCollate,
    KeyedDataset,
    KeyedSampler,
    SampleKey,
    SkippingBatches,
    keyed_loader,
    start,
)
from kdhub.errors import UsageError
from kdhub.rng import RandomStream, generator_states, seed_generators, set_generator_states, untouched_generators


class Noise(Dataset[dict[str, Any]]):
    """Gives the index and a number of each global generator."""

    metainfo = {"classes": ("one",)}  # noqa: RUF012 - what mmengine's data sets have

    def __init__(self, size: int = 10) -> None:
        self.size = size
        self.reads: list[int] = []
        self.pipeline = "strong"

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.reads.append(index)
        return {"index": index, "noise": draw()}

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        raise AssertionError("torch went around the keys")


def draw() -> tuple[float, float, float]:
    """Draw from each global generator."""
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def loader(sampler: Sampler[int] | None = None, workers: int = 0) -> DataLoader[Any]:
    """Build a keyed loader of batches of three."""
    dataset = Noise()
    sampler = sampler or DefaultSampler(dataset, shuffle=True, seed=5)
    plain = DataLoader(dataset, batch_size=3, sampler=sampler, num_workers=workers, collate_fn=list)
    return keyed_loader(plain, seed=7)


def test_a_key_travels_as_an_index_with_its_draw() -> None:
    """A key that arrives at a worker as a bare index is augmented like the first draw for ever."""
    key = copy.deepcopy(SampleKey(4, 9))
    assert (key, key.draw, [10, 11, 12, 13, 14][key]) == (4, 9, 14)


def test_generators_stand_where_they_stood() -> None:
    """Data that is loaded in the main process must not draw training's random numbers, nor a stream between two batches."""
    before = generator_states()
    expected = draw()
    set_generator_states(before)
    stream = RandomStream(1)
    with untouched_generators():
        draw()
    with stream.drawing():
        first = draw()
    assert draw() == expected
    with stream.drawing():
        second = draw()
    with untouched_generators():
        seed_generators(1)
        assert (draw(), draw()) == (first, second)


@settings(deadline=None, max_examples=40)
@given(st.tuples(st.integers(0, 9), st.integers(0, 9)), st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_a_sample_is_a_function_of_its_key(one: tuple[int, int], other: tuple[int, int]) -> None:
    """Two draws that look the same are an augmentation lost; one draw that looks different, a store that is wrong."""
    dataset = KeyedDataset(Noise(), seed=3)
    draws = [dataset[SampleKey(*key)]["noise"] for key in (one, other, one)]
    assert draws[0] == draws[2]
    assert (draws[0] == draws[1]) == (one == other)


def test_draws_come_again_after_their_number() -> None:
    """A store of two draws must be asked for one of them in the third pass."""
    dataset = KeyedDataset(Noise(), seed=3, draws=2)
    noise = [dataset[SampleKey(1, draw)]["noise"] for draw in range(4)]
    assert noise[:2] == noise[2:]
    assert noise[0] != noise[1]
    assert KeyedDataset(Noise(), seed=4)[SampleKey(1, 0)]["noise"] != noise[0]


def test_a_plain_index_and_attributes_are_the_data_sets_own() -> None:
    """Hooks read samples, class names and pipelines through the loader, and switch pipelines by setting them."""
    plain = Noise()
    dataset = copy.deepcopy(KeyedDataset(plain, seed=3, attach=True))
    assert dataset[2].keys() == {"index", "noise"}
    assert dataset.metainfo == {"classes": ("one",)}
    dataset.pipeline, dataset.seed = "weak", 11
    assert (dataset.dataset.pipeline, dataset.seed, hasattr(dataset.dataset, "seed")) == ("weak", 11, False)
    with pytest.raises(AttributeError):
        _ = dataset.no_such_attribute


def test_draws_of_an_epoch_sampler_are_its_epochs() -> None:
    """The stored draw of a sample is asked for by its pass over the data."""
    sampler = KeyedSampler(DefaultSampler(Noise(), shuffle=True, seed=1))
    sampler.set_epoch(4)
    keys = list(sampler)
    assert sorted(keys) == list(range(10))
    assert {key.draw for key in keys} == {4}
    assert sampler.sampler.epoch == 4


@pytest.mark.parametrize("world_size", [1, 3])
def test_draws_of_an_endless_sampler_are_its_passes(monkeypatch: pytest.MonkeyPatch, world_size: int) -> None:
    """Each sample comes once in each pass, over all processes together, and again from the start in a second iterator."""
    seen: list[tuple[int, int]] = []
    for rank in range(world_size):
        monkeypatch.setattr("mmengine.dataset.sampler.get_dist_info", lambda rank=rank: (rank, world_size))
        sampler = KeyedSampler(InfiniteSampler(Noise(), shuffle=True, seed=1))
        next(iter(sampler))
        seen += [(int(key), key.draw) for key in islice(sampler, 30 // world_size)]
    assert sorted(seen) == [(index, draw) for index in range(10) for draw in range(3)]


class Lazy(Sampler[int]):
    """Draws from the global generators while it is asked."""

    def __iter__(self) -> Iterator[int]:
        for _ in range(12):
            yield int(torch.randint(10, ())) if random.random() > 0.5 else int(np.random.randint(10))


@pytest.mark.parametrize("kind", ["default", "random", "lazy"])
def test_a_pass_entered_in_the_middle_goes_on_alike(kind: str) -> None:
    """The order must not depend on what training drew since, and draws of unknown samplers must never come again."""
    samplers = {"default": None, "random": RandomSampler(Noise()), "lazy": Lazy()}
    whole = loader(samplers[kind])
    batches = [[sample["noise"] for sample in batch] for batch in start(whole, 2, 0)]
    torch.rand(5)
    entered = [[sample["noise"] for sample in batch] for batch in start(whole, 2, 2)]
    assert entered == batches[2:]
    again = [[sample["noise"] for sample in batch] for batch in start(whole, 3, 0)]
    assert not {noise for batch in batches for noise in batch} & {noise for batch in again for noise in batch}


def test_nothing_is_read_of_what_is_skipped() -> None:
    """Resuming a long run by reading its data again takes hours."""
    one = loader()
    batches = list(start(one, 0, 3))
    assert len(batches) == 1
    assert len(one.dataset.reads) == 1
    assert len(one) == 4


def test_workers_change_nothing() -> None:
    """Mmengine seeds workers by their number, so two workers train on other data than one."""
    alone, together = (list(start(loader(workers=workers), 0, 0)) for workers in (0, 2))
    assert alone == together


class Grouping(BatchSampler):
    """A batch sampler that asks its sampler for the data set, as those that group by aspect ratio do."""

    def __iter__(self) -> Iterator[list[int]]:
        even: list[int] = []
        for index in self.sampler:
            assert len(self.sampler.dataset) == 10
            even += [index] if index % 2 == 0 else []
        yield even


class Shuffling:
    """A batch sampler without a sampler."""

    def __iter__(self) -> Iterator[list[int]]:
        yield [1, 1, 2]
        yield [1]

    def __len__(self) -> int:
        return 2


def test_batch_samplers_of_others() -> None:
    """Task libraries bring their own; those without a sampler get keys that never come again."""
    grouped = SkippingBatches(Grouping(DefaultSampler(Noise(), shuffle=False, seed=0), 3, False), seed=0)
    grouped.start_at(2, 0)
    assert [(int(key), key.draw) for batch in grouped for key in batch] == [(index, 2) for index in (0, 2, 4, 6, 8)]
    own = SkippingBatches(Shuffling(), seed=0)
    keys = []
    for epoch in (0, 1):
        own.start_at(epoch, 0)
        keys += [(int(key), key.draw) for batch in own for key in batch]
    assert len(set(keys)) == 8
    own.start_at(1, 1)
    assert [(int(key), key.draw) for batch in own for key in batch] == keys[-1:]


def test_collating_is_keyed_and_shows_keys_where_they_are_wanted() -> None:
    """A collate function that masks at random draws in the worker; a stored teacher is asked by the keys."""
    samples = [(SampleKey(3, 1), 30), (SampleKey(4, 1), 40)]
    first, second = (
        KeyedCollate(lambda values: {"values": values, "mask": draw()}, 7, True)(samples) for _ in range(2)
    )
    assert first == second
    assert first["values"] == [30, 40]
    assert [(int(key), key.draw) for key in first["sample_keys"]] == [(3, 1), (4, 1)]
    with pytest.raises(UsageError, match=r"train_dataloader.collate_fn.*expected a dict.*got list"):
        KeyedCollate(list, 7, expose=True)(samples)


def test_a_stream_of_data_is_left_as_it_is() -> None:
    """An iterable data set has no indices; going on in it means reading it."""

    class Stream(IterableDataset[int]):
        def __iter__(self) -> Iterator[int]:
            return iter(range(10))

    plain = DataLoader(Stream(), batch_size=3)
    assert keyed_loader(plain, seed=0) is plain
    assert [batch.tolist() for batch in start(plain, 0, 2)] == [[6, 7, 8], [9]]


def test_a_loader_without_batches_is_refused() -> None:
    """Iterations would be counted in samples."""
    with pytest.raises(UsageError, match=r"train_dataloader.batch_size"):
        keyed_loader(DataLoader(Noise(), batch_size=None), seed=0)
