"""Whether the samples of a data set can be stored: the same each time, or the same for the same key."""

from __future__ import annotations

from typing import Any

from kdhub.engine.resume.comparison import same
from kdhub.engine.resume.sampling import KeyedDataset, SampleKey
from kdhub.errors import UsageError
from kdhub.rng import draws_nothing, untouched_generators

_SAMPLES = 16
"""How many samples are drawn twice: a flip of half of them stays unseen once in 65,000 times."""

_MORE = 32
"""How often more each of them is drawn if loading it draws random numbers: one flip in 20 is then never missed."""

_PLACES = {
    "plain": "train_dataloader.dataset",
    "recorded": "train_dataloader.dataset",
    "unaugmented": "train_dataloader.dataset with StoredTeacher.unaugmented",
}
_FIXES = {
    "plain": "in kdhub.StoredTeacher, store n augmentations of each sample with draws=n, or say with unaugmented=... how a"
    " sample is loaded as it is",
    "recorded": "find the transform that draws from a generator of its own, and let it draw from Python's random, numpy's or"
    " torch's global one",
    "unaugmented": "take the random transforms out of the pipeline that is named there",
}


def require_replayable(dataset: Any, seed: int, mode: str) -> None:
    """Draw some samples twice, and see that they are what a store takes them for.

    Args:
        dataset: The training data, as the teacher sees them.
        seed: Seed of the augmentations.
        mode: See `kdhub.store.Manifest`. If the store records augmentations, the same key must give the same sample,
            otherwise any key must.

    Raises:
        UsageError: If a sample differs.
    """
    recorded = mode == "recorded"
    first, second = KeyedDataset(dataset, seed), KeyedDataset(dataset, seed if recorded else seed + 1)
    for index in some_indices(dataset):
        key = SampleKey(index, 0)
        found, others = first[key], [second]
        if not recorded and _draws(dataset, index):
            others += [KeyedDataset(dataset, seed + more) for more in range(2, 2 + _MORE)]
        if not all(same(found, other[key]) for other in others):
            raise UsageError(
                f"sample {index} is not the same when its augmentation is replayed from its seed"
                if recorded
                else f"the data pipeline augments: sample {index}, loaded again, differs",
                where=_PLACES[mode],
                fix=_FIXES[mode],
            )


def _draws(dataset: Any, index: int) -> bool:
    """Whether loading a sample draws random numbers, also where it makes nothing of them this time."""
    with untouched_generators():
        return not draws_nothing(lambda: dataset[index])


def some_indices(dataset: Any) -> list[int]:
    """Return indices spread over a data set, for a trial."""
    return spread_indices(len(dataset), _SAMPLES)


def spread_indices(size: int, count: int) -> list[int]:
    """Return so many indices below a size, as far apart as may be: neighbours tend to be alike, where data are sorted."""
    count = min(count, size)
    return [number * size // count for number in range(count)]
