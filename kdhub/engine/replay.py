"""Whether the samples of a data set can be stored: the same each time, or the same for the same key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.structures import BaseDataElement

from kdhub.engine.sampling import KeyedDataset, SampleKey
from kdhub.errors import UsageError

_SAMPLES = 16
"""How many samples are drawn twice: a flip of half of them stays unseen once in 65,000 times."""

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
        if not same(first[key], second[key]):
            raise UsageError(
                f"sample {index} is not the same when its augmentation is replayed from its seed"
                if recorded
                else f"the data pipeline augments: sample {index}, loaded twice, differs",
                where=_PLACES[mode],
                fix=_FIXES[mode],
            )


def some_indices(dataset: Any) -> range:
    """Return indices spread over a data set, for a trial."""
    step = max(1, len(dataset) // _SAMPLES)
    return range(0, min(len(dataset), step * _SAMPLES), step)


def same(one: Any, other: Any) -> bool:
    """Compare two samples down to their tensors, arrays and plain values."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.shape == other.shape and one.dtype == other.dtype and bool(torch.equal(_bits(one), _bits(other)))
    if isinstance(one, np.ndarray):
        return one.shape == other.shape and one.dtype == other.dtype and _equal_arrays(one, other)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, BaseDataElement):
        return same(dict(one.all_items()), dict(other.all_items()))
    if isinstance(one, float):
        return one == other or (one != one and other != other)
    if "__eq__" not in {name for kind in type(one).__mro__[:-1] for name in vars(kind)} and hasattr(one, "__dict__"):
        return same(vars(one), vars(other))
    return bool(np.all(one == other))


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.nan_to_num() if tensor.is_floating_point() else tensor


def _equal_arrays(one: Any, other: Any) -> bool:
    if one.dtype == object:
        return all(map(same, one.ravel().tolist(), other.ravel().tolist()))
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind in "fc"))
