"""Training data whose every sample depends on (seed, index, draw) alone, and that can be entered anywhere.

What a sample looks like after augmentation is then the same for any number of workers, and wherever a run was resumed; a
teacher store replays it. Transforms that keep a generator of their own are outside of this.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, Sampler, get_worker_info

from kdhub.distill.teachers import Replay
from kdhub.engine.faults.samples import collate_samples, load_sample
from kdhub.engine.resume.comparison import same
from kdhub.errors import UsageError
from kdhub.rng import RandomStream, preserved_randomness, seed_generators, untouched_generators

_SAMPLES, _BATCHES, _ORDER = range(3)
"""First part of each key, so that a sample, a batch and the order of samples never share their random numbers."""


class SampleKey(int):
    """The index of a sample in its data set, with the number of times that it was drawn before.

    Attributes:
        draw: How often this sample came before; with a sampler whose passes are not known, a number that never comes again.
    """

    draw: int

    def __new__(cls, index: int, draw: int) -> SampleKey:
        """Attach a draw to an index."""
        key = super().__new__(cls, index)
        key.draw = draw
        return key

    def __reduce__(self) -> tuple[type[SampleKey], tuple[int, int]]:
        """Keep the draw on the way to a data worker."""
        return SampleKey, (int(self), self.draw)


class KeyedSampler(Sampler[int]):
    """Yields `SampleKey` where its sampler yields indices; every other attribute is the sampler's.

    Args:
        sampler: Any sampler of integers.

    Attributes:
        replayable: Whether a draw is a pass over the data, so that draw modulo n means something.
    """

    def __init__(self, sampler: Sampler[int]) -> None:
        self.sampler = sampler
        self.replayable = type(sampler) in (DefaultSampler, InfiniteSampler)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Say how many passes came before the next one."""
        self.epoch = epoch
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[SampleKey]:
        """Yield the keys of one pass, or without end for an endless sampler."""
        if type(self.sampler) is InfiniteSampler:
            return self._endless(self.sampler)
        if self.replayable:
            return (SampleKey(index, self.epoch) for index in self.sampler)
        first = self.epoch << 32
        return (SampleKey(index, first + position) for position, index in enumerate(self.sampler))

    def _endless(self, sampler: InfiniteSampler) -> Iterator[SampleKey]:
        # mmengine's stream goes on where the last iterator left it, which depends on how far ahead workers were
        fresh = InfiniteSampler(sampler.dataset, shuffle=sampler.shuffle, seed=sampler.seed)
        positions = itertools.count(sampler.rank, sampler.world_size)
        return (SampleKey(index, position // sampler.size) for index, position in zip(fresh, positions, strict=False))

    def __len__(self) -> int:
        """Return the number of samples of one pass."""
        return len(self.sampler)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        """Answer as the sampler does; some batch samplers ask for its ``dataset``."""
        return _attribute_of(self, "sampler", name)


class SkippingBatches:
    """A batch sampler whose next pass starts some batches later, so that no data is read only to be thrown away.

    The order is drawn from generators of its own: it depends on the seed and the pass, not on what training drew.

    Args:
        batches: A batch sampler; one that keeps its sampler in ``sampler`` gets a `KeyedSampler` there.
        seed: Seed of the order, for samplers that draw from the global generators.

    Attributes:
        repeatable: Whether the samplers are mmengine's and torch's, which give the same order for the same pass.
    """

    def __init__(self, batches: Any, seed: int) -> None:
        self.batches = batches
        self.seed = seed
        self._epoch = 0
        self._skip = 0
        if isinstance(getattr(batches, "sampler", None), Sampler):
            batches.sampler = KeyedSampler(batches.sampler)
        keyed = getattr(batches, "sampler", None)
        # mmengine's samplers have generators of their own; exchanging the global ones would cost 0.1 ms a batch
        self.repeatable = type(batches) is BatchSampler and isinstance(keyed, KeyedSampler) and keyed.replayable

    def start_at(self, epoch: int, skip: int) -> None:
        """Say how many passes came before the next one, and how many of its batches to leave out."""
        self._epoch, self._skip = epoch, skip
        for one in (getattr(self.batches, "sampler", None), self.batches):
            tell = getattr(one, "set_epoch", None)
            if tell is not None:
                tell(epoch)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        """Yield the batches of one pass."""
        skip, self._skip = self._skip, 0
        first = self._epoch << 48
        drawing = nullcontext if self.repeatable else RandomStream(self.seed, _ORDER, self._epoch).drawing
        with drawing():
            batches = iter(self.batches)
            next(itertools.islice(batches, skip, skip), None)
        for number in itertools.count(skip):
            with drawing():
                batch = next(batches, None)
            if batch is None:
                return
            # a batch sampler without a sampler, or one that computes with the indices, knows no draws
            yield [
                index if isinstance(index, SampleKey) else SampleKey(index, first + (number << 16) + position)
                for position, index in enumerate(batch)
            ]

    def __len__(self) -> int:
        """Return the number of batches of a whole pass."""
        return len(self.batches)

    def __getattr__(self, name: str) -> Any:
        """Answer as the batch sampler does."""
        return _attribute_of(self, "batches", name)


class KeyedDataset(Dataset[Any]):
    """A data set whose samples depend on their key, not on the process that loads them nor on what was loaded before.

    An index that is no `SampleKey` is answered as the data set itself does. Attributes are the data set's, to read and to
    set.

    Args:
        dataset: A map-style data set.
        seed: Seed of the run, equal in all processes.
        draws: Number of different draws of a sample, after which they come again; ``None`` for no end.
        attach: Whether a sample travels as ``(key, sample)``, for `KeyedCollate`.
        fixed: Whether the data set must give the same samples throughout a run, as a teacher store answers for them.
    """

    _before: list[Any] | None

    def __init__(
        self, dataset: Any, seed: int, draws: int | None = None, attach: bool = False, fixed: bool = False
    ) -> None:
        vars(self).update(dataset=dataset, seed=seed, draws=draws, attach=attach, fixed=fixed, _before=None)

    def require_unchanged(self) -> None:
        """See that a fixed data set is what it was when this was called first; called before each pass.

        Raises:
            UsageError: If a sample of the same key is another one now.
        """
        if not self.fixed:
            return
        now = [self[SampleKey(index, 0)] for index in {0, len(self) // 2}]
        if self._before is None:
            self._before = now
        elif not same(self._before, now):
            raise _changed("a sample is another one than when training began", "train_dataloader.dataset")

    def __getitem__(self, key: int) -> Any:
        """Load one sample."""
        if not isinstance(key, SampleKey):
            return self.dataset[key]
        with _apart():
            return self._load(key)

    def __getitems__(self, keys: list[SampleKey]) -> list[Any]:
        """Load the samples of a batch, as torch does where it can: training's generators are put back once."""
        with _apart():
            return [self._load(key) for key in keys]

    def _load(self, key: SampleKey) -> Any:
        seed_generators(self.seed, _SAMPLES, int(key), key.draw % self.draws if self.draws else key.draw)
        sample = load_sample(self.dataset, int(key))
        return (key, sample) if self.attach else sample

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        """Answer as the data set does; not for special methods, by which torch would go around the keys."""
        return _attribute_of(self, "dataset", name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute of the data set, as hooks do that switch its pipeline."""
        if name in vars(self):
            vars(self)[name] = value
        elif self.fixed:
            raise _changed(f"something set {name!r} of the training data", f"train_dataloader.dataset.{name}")
        else:
            setattr(self.dataset, name, value)

    def __reduce__(self) -> tuple[type[KeyedDataset], tuple[Any, ...]]:
        """Travel to a worker that does not inherit memory."""
        return KeyedDataset, (self.dataset, self.seed, self.draws, self.attach, self.fixed)


class KeyedCollate:
    """Collates samples that a `KeyedDataset` attached their keys to; random numbers depend on the batch's first key.

    Args:
        collate: What makes a batch of samples.
        seed: Seed of the run, equal in all processes.
        expose: Whether the batch holds its keys as ``sample_keys``.
    """

    def __init__(self, collate: Callable[[list[Any]], Any], seed: int, expose: bool = False) -> None:
        self.collate = collate
        self.seed = seed
        self.expose = expose

    def __call__(self, samples: Sequence[tuple[SampleKey, Any]]) -> Any:
        """Make a batch.

        Raises:
            UsageError: If the keys are wanted and the batch has no place for them.
        """
        keys = [key for key, _ in samples]
        with _apart():
            seed_generators(self.seed, _BATCHES, int(keys[0]), keys[0].draw)
            batch = collate_samples(self.collate, [sample for _, sample in samples], keys)
        if not self.expose:
            return batch
        if not isinstance(batch, Mapping):
            raise UsageError(
                "the batch has no place for the keys of its samples, which stored teachers are asked by",
                where="train_dataloader.collate_fn",
                expected="a dict",
                got=type(batch).__name__,
            )
        return {**batch, "sample_keys": keys}


def keyed_loader(loader: DataLoader[Any], seed: int, replay: Replay | None = None) -> DataLoader[Any]:
    """Rebuild a data loader so that its samples are keyed and it can be entered anywhere.

    Args:
        loader: What mmengine built. One over an `IterableDataset` is returned as it is: it has no keys.
        seed: Seed of the run, equal in all processes.
        replay: What stored teachers want; batches then hold their keys.

    Raises:
        UsageError: If the loader does not make batches.
    """
    if isinstance(loader.dataset, IterableDataset):
        return loader
    if loader.batch_sampler is None:
        raise UsageError("training needs batches", where="train_dataloader.batch_size", expected="a number", got="None")
    workers = loader.num_workers > 0
    wanted = replay or Replay(None, None)
    shown = seed if wanted.seed is None else wanted.seed
    return DataLoader(
        KeyedDataset(loader.dataset, shown, wanted.draws, attach=True, fixed=wanted.seed is not None),
        batch_sampler=SkippingBatches(loader.batch_sampler, seed),
        collate_fn=KeyedCollate(loader.collate_fn, shown, expose=replay is not None),
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        prefetch_factor=loader.prefetch_factor if workers else None,
        persistent_workers=loader.persistent_workers,
    )


def start(loader: DataLoader[Any], epoch: int, skip: int) -> Iterator[Any]:
    """Iterate over one pass of a loader, without drawing from training's random numbers.

    Args:
        loader: From `keyed_loader`.
        epoch: How many passes came before.
        skip: How many batches of this pass to leave out.
    """
    keyed = isinstance(loader.batch_sampler, SkippingBatches)
    if isinstance(loader.batch_sampler, SkippingBatches):
        loader.batch_sampler.start_at(epoch, skip)
    with preserved_randomness():
        if isinstance(loader.dataset, KeyedDataset):
            loader.dataset.require_unchanged()
        batches: Iterator[Any] = iter(loader)
        if not keyed:  # a stream can only be read
            next(itertools.islice(batches, skip, skip), None)
    return batches


def _changed(what: str, where: str) -> UsageError:
    return UsageError(
        f"{what}, and the teacher store answers for what its teacher saw",
        where=where,
        fix="take out of custom_hooks what switches the pipeline, or use the live teacher",
    )


def _apart() -> AbstractContextManager[None]:
    """Keep what is drawn in a block away from training; in a worker nobody else draws, and looking after it costs time."""
    return untouched_generators() if get_worker_info() is None else nullcontext()


def _attribute_of(owner: Any, part: str, name: str) -> Any:
    # while a copy is being made, the owner has no part yet
    if name.startswith("__") or part not in vars(owner):
        raise AttributeError(name)
    return getattr(vars(owner)[part], name)
