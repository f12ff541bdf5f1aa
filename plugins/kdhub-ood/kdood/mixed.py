"""`Mixed`: two data sets of any kind as one, whose samples say whether they are out of distribution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.utils.data import Dataset

from kdhub.api import UsageError, build, describe


class Mixed(Dataset[dict[str, Any]]):
    """Samples within the distribution, then samples out of it, for `kdood.OODFigures`; of images as of texts.

    A sample has ``ood``, 0 or 1. Labels of samples out of distribution become -100, which cross-entropy leaves out: their classes are others.

    Args:
        inside: A data set, or its config, whose samples are dicts, such as a `kdhub.TorchDataset`.
        outside: As ``inside``, of samples with the same entries.

    Raises:
        UsageError: For samples that are no dicts, when they are read.

    Example:
        ::

            dataset=dict(
                type='kdood.Mixed',
                inside=dict(type='kdhub.TorchDataset', data=dict(type='kdcls.ImageFolder', root='data/test', transform=...)),
                outside=dict(type='kdhub.TorchDataset', data=dict(type='kdcls.ImageFolder', root='data/others', transform=...)))
    """

    def __init__(self, inside: Any, outside: Any) -> None:
        self.inside = build("dataset", inside, where="Mixed.inside") if isinstance(inside, Mapping) else inside
        self.outside = build("dataset", outside, where="Mixed.outside") if isinstance(outside, Mapping) else outside
        self.metainfo = dict(getattr(self.inside, "metainfo", {}))

    def __len__(self) -> int:
        """Return the number of samples of both."""
        return len(self.inside) + len(self.outside)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one sample; see the class."""
        place = index - len(self.inside)
        sample = self.outside[place] if place >= 0 else self.inside[index]
        if not isinstance(sample, Mapping):
            raise UsageError(
                "a sample is no dict",
                where=f"Mixed.{'outside' if place >= 0 else 'inside'}",
                expected="named parts",
                got=describe(sample),
                fix="put the data set into dict(type='kdhub.TorchDataset', data=...)",
            )
        known = {"labels": -100} if place >= 0 and "labels" in sample else {}
        return {**sample, **known, "ood": int(place >= 0)}
