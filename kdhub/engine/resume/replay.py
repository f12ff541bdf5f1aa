"""Whether samples can be stored, the same each time or the same for the same key; and what stores want of the training data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from kdhub.checkpoint.agreement import agreed
from kdhub.distill.teachers import Replay
from kdhub.engine.models import distilling
from kdhub.engine.report.commands import cache_command
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


def wanted_replay(model: nn.Module, cfg: Mapping[str, Any], loader: DataLoader[Any]) -> Replay | None:
    """Let the teachers of a model prepare for the training data, and join what they want of them.

    Args:
        model: The model that is trained.
        cfg: The run's config.
        loader: Its training data, as mmengine builds them.

    Returns:
        What the training data must show; ``None`` if no teacher minds.

    Raises:
        UsageError: If a teacher cannot answer for these data, or two want different augmentations.
    """
    own = distilling(model)
    if own is None:
        return None
    return agreed(
        lambda: _joined({name: one.prepare(own, name, cfg, loader) for name, one in own.teachers.items()}, cfg)
    )


def _joined(asked: Mapping[str, Replay | None], cfg: Mapping[str, Any]) -> Replay | None:
    wanted = {name: one for name, one in asked.items() if one is not None}
    recorded = {name: one for name, one in wanted.items() if one.seed is not None}
    if len(set(recorded.values())) > 1:
        raise UsageError(
            "the stores of this run want different augmentations of the same samples",
            where="model.teachers",
            got="; ".join(f"{name}: seed {one.seed}, draws {one.draws}" for name, one in recorded.items()),
            fix=f"give all stored teachers the same draws, and fill their stores with one: {cache_command(cfg)}",
        )
    if recorded:
        return next(iter(recorded.values()))
    # a store of one draw for any seed: the data are the same each time, and must stay so
    alike = any(one.draws is not None for one in wanted.values())
    return (Replay(0, 1) if alike else Replay(None, None)) if wanted else None
