"""scikit-learn's handwritten digits as an image data set."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.utils.data import Dataset

from kdhub.api import UsageError

UNLABELLED = -100
"""Label of a sample whose label is withheld; torch's cross-entropy leaves it out."""

_SPLITS = {"train": slice(0, 1097), "val": slice(1097, 1397), "test": slice(1397, 1797)}


class Digits(Dataset[dict[str, Tensor]]):
    """1797 digits of 8 x 8 pixels: 1097 to train on, 300 to choose by, 400 to report.

    A sample is ``inputs`` (1, 8, 8) in [0, 1] and ``labels``, a class from 0 to 9.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``: scikit-learn's order, cut at 1097 and 1397. Different people wrote the
            beginning and the end.
        labelled: How many samples keep their label, equally many of each class, drawn by ``seed``; the others have label -100.
            ``None`` keeps all.
        seed: Seed of that draw.

    Attributes:
        has_label: Which samples have a label, a bool array (N,).

    Raises:
        UsageError: For another split, or a number of labels that the classes cannot share.
    """

    metainfo = {"classes": tuple("0123456789")}  # noqa: RUF012 - what mmengine's data sets have

    def __init__(self, split: str = "train", labelled: int | None = None, seed: int = 0) -> None:
        if split not in _SPLITS:
            raise UsageError("Digits: bad split", expected=" or ".join(_SPLITS), got=repr(split))
        images, labels = load_digits(return_X_y=True)
        self.images = torch.tensor(images[_SPLITS[split]], dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
        self.labels = torch.tensor(labels[_SPLITS[split]], dtype=torch.long)
        self.has_label = np.ones(len(self.labels), dtype=bool)
        if labelled is not None:
            self.has_label = _drawn(self.labels.numpy(), labelled, seed)
            self.labels[torch.from_numpy(~self.has_label)] = UNLABELLED

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return one sample."""
        return {"inputs": self.images[index], "labels": self.labels[index]}

    def fingerprint(self) -> str:
        """Identify images and labels."""
        return hashlib.sha256(self.images.numpy().tobytes() + self.labels.numpy().tobytes()).hexdigest()[:16]


def _drawn(labels: np.ndarray[Any, Any], count: int, seed: int) -> np.ndarray[Any, Any]:
    classes = np.unique(labels)
    each, rest = divmod(count, len(classes)) if isinstance(count, int) else (0, 1)
    fewest = min(int((labels == one).sum()) for one in classes)
    if rest or not 1 <= each <= fewest:
        expected = f"a multiple of {len(classes)} from {len(classes)} to {fewest * len(classes)}"
        raise UsageError("Digits: bad labelled", expected=expected, got=repr(count))
    generator = np.random.default_rng(seed)
    chosen = [generator.choice(np.flatnonzero(labels == one), each, replace=False) for one in classes]
    has_label = np.zeros(len(labels), dtype=bool)
    has_label[np.concatenate(chosen)] = True
    return has_label
