"""`FewLabels`: labelled and unlabelled samples in a fixed ratio."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from kdhub.api import UsageError


class FewLabels(Sampler[int]):
    """One labelled sample in every ``every``, the others unlabelled, so that no batch is without a label.

    A pass shows each unlabelled sample once, in random order; labelled ones come again and again, each as often as the others. The order
    depends on the seed and the pass alone. With several processes each gets its own part of both kinds.

    Args:
        dataset: A data set with ``has_label``, such as `kdcls.digits.Digits`.
        every: Samples to one labelled one, at least 2. A batch size that is a multiple has as many labels in every batch.
        seed: Seed of the order; ``None`` draws one, the same in all processes.

    Raises:
        UsageError: If nothing, or everything, is labelled, or the data set does not say what is.
    """

    def __init__(self, dataset: Any, every: int = 4, seed: int | None = None) -> None:
        has_label = getattr(dataset, "has_label", None)
        if has_label is None or np.all(has_label) or not np.any(has_label):
            raise UsageError(
                "FewLabels wants a data set of which some samples have a label, and some have none",
                where="train_dataloader.sampler",
                expected="an attribute has_label, a bool array with both",
                got=type(dataset).__name__
                if has_label is None
                else f"{int(np.sum(has_label))} of {len(has_label)} labelled",
            )
        if isinstance(every, bool) or not isinstance(every, int) or every < 2:
            raise UsageError("FewLabels: bad every", expected="a whole number from 2", got=repr(every))
        self.labelled, self.unlabelled = np.flatnonzero(has_label), np.flatnonzero(~np.asarray(has_label))
        self.every = every
        self.seed: int = sync_random_seed() if seed is None else seed
        self.epoch = 0
        self.rank, self.processes = get_dist_info()
        self.groups = math.ceil(len(self.unlabelled) / ((every - 1) * self.processes))

    def set_epoch(self, epoch: int) -> None:
        """Say how many passes came before the next one."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of samples of a pass of this process."""
        return self.groups * self.every

    def __iter__(self) -> Iterator[int]:
        """Yield the indices of a pass."""
        generator = np.random.default_rng([self.seed, self.epoch])
        without = np.resize(generator.permutation(self.unlabelled), self.groups * (self.every - 1) * self.processes)
        # where the last pass stopped among the labelled ones, so that each comes as often as the others
        labels = self.groups * self.processes
        before, skip = divmod(self.epoch * labels, len(self.labelled))
        passes = range(before, before + math.ceil((skip + labels) / len(self.labelled)))
        order = [np.random.default_rng([self.seed, 1, number]).permutation(self.labelled) for number in passes]
        with_label = np.concatenate(order)[skip:][:labels]
        own = without[self.rank :: self.processes].reshape(self.groups, self.every - 1)
        for label, others in zip(with_label[self.rank :: self.processes], own, strict=True):
            yield int(label)
            yield from map(int, others)
