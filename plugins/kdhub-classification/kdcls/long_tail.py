"""`LongTail`: a part of a data set in which few classes have many images and many have few."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from kdhub.api import FLAG, UsageError, integer, number, require


class LongTail(Dataset[Any]):
    """The images of a data set, thinned out so that class k keeps ``n · factor^(−k/(C−1))``.

    n is the largest head for which every class has as many images as it is to keep, so the profile is exact up to rounding down; no class
    is left empty. Which images are kept depends on the seed alone.

    Args:
        data: A map-style data set with ``targets`` or ``labels``: `kdcls.ImageFolder`, those of torchvision, `kdcls.Digits`.
        factor: Images of the largest class for one of the smallest; 1 takes equally many of each. 20, the default, is a moderate
            tail; CIFAR-100-LT has 10 to 100.
        shuffle_classes: Which class is how far down the tail: by number, or drawn by the seed.
        seed: Seed of all draws.

    Attributes:
        indices: Places in ``data``, rising.
        counts: Images of each class.

    Raises:
        UsageError: If a class has no image, naming it; if the data set does not say its labels.

    Example:
        ::

            data=dict(
                type='kdcls.LongTail',
                factor=20,
                data=dict(type='torchvision.datasets.CIFAR100', root='data', train=True, transform=...))
    """

    def __init__(self, data: Any, factor: float = 20.0, shuffle_classes: bool = False, seed: int = 0) -> None:
        require("LongTail", number(at_least=1), factor=factor)
        require("LongTail", FLAG, shuffle_classes=shuffle_classes)
        require("LongTail", integer(0), seed=seed)
        labels = labels_of(data, "LongTail")
        self.data = data
        self.classes = class_names(data) or tuple(map(str, range(int(labels.max(initial=-1)) + 1)))
        self.metainfo = {"classes": self.classes}
        there = np.bincount(labels[labels >= 0], minlength=len(self.classes))
        if len(there) > len(self.classes):
            raise UsageError(f"label {len(there) - 1} is none of {len(self.classes)} classes", where="LongTail.data")
        if empty := [self.classes[number] for number in np.flatnonzero(there == 0)]:
            raise UsageError(
                "a class has no image, and so no place in the tail",
                where="LongTail.data",
                got=", ".join(empty[:8]) + (", ..." if len(empty) > 8 else ""),
                fix="leave the class out of `classes`, or add images",
            )
        generator = np.random.default_rng(seed)
        count = len(self.classes)
        rank = generator.permutation(count) if shuffle_classes else np.arange(count)
        share = np.float64(factor) ** (-rank / max(count - 1, 1))
        # the small number keeps 6 = 120 · 20^-1 from becoming 5
        self.counts = np.maximum(np.floor((there / share).min() * share + 1e-6), 1).astype(np.int64)
        kept = [
            generator.choice(np.flatnonzero(labels == number), keep, replace=False)
            for number, keep in enumerate(self.counts)
        ]
        self.indices = np.sort(np.concatenate(kept))
        self.targets = labels[self.indices]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        """Return one sample as the data set gives it."""
        return self.data[int(self.indices[index])]

    def fingerprint(self) -> str:
        """Identify what is kept, and of what."""
        return fingerprint_of(self.data, self.indices.tolist())


def fingerprint_of(data: Any, *made_of: object) -> str:
    """Identify what a data set makes of another one: 16 hexadecimal digits over the other's fingerprint and these words."""
    whole = data.fingerprint() if hasattr(data, "fingerprint") else type(data).__name__
    return hashlib.sha256(" ".join(map(str, (whole, *made_of))).encode()).hexdigest()[:16]


def labels_of(data: Any, owner: str) -> np.ndarray[Any, Any]:
    """Return the labels of a data set, without loading its images.

    Args:
        data: A data set with ``targets`` or ``labels``, one integer a sample.
        owner: Who asks, for the error.

    Raises:
        UsageError: If it has neither.
    """
    found = next((getattr(data, name) for name in ("targets", "labels") if hasattr(data, name)), None)
    labels = None if found is None else np.asarray(found)
    if labels is None or labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise UsageError(
            f"{owner} wants a data set that says its labels",
            expected="an attribute targets or labels, one integer a sample",
            got=type(data).__name__,
        )
    return labels


def class_names(data: Any) -> tuple[str, ...]:
    """Return the names of a data set's classes, or none."""
    found = getattr(data, "classes", None) or (getattr(data, "metainfo", None) or {}).get("classes") or ()
    return tuple(map(str, found))
