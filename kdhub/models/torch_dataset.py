"""`TorchDataset`: any map-style data set that can be imported, from a config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from kdhub.errors import UsageError
from kdhub.models.named import build_named


class TorchDataset(Dataset[Any]):
    """Any map-style data set: torchvision's, another library's, one's own.

    Args:
        data: The data set as a dict whose ``type`` is an import path, such as ``torchvision.datasets.CIFAR10``; dicts with
            ``type`` among its arguments, such as transforms, are built too. Or a built data set.
        fields: Names of the parts of a sample that is a tuple; a tensor alone is the first. Samples become dicts,
            since a batch has a place for what a stored teacher needs only if it is a dict. ``None`` leaves samples as they are.

    Raises:
        UsageError: If the data set cannot be built, or a sample has another number of parts.

    Example:
        ::

            dataset=dict(
                type='kdhub.TorchDataset',
                data=dict(
                    type='torchvision.datasets.CIFAR10',
                    root='data',
                    transform=dict(type='torchvision.transforms.ToTensor')))
    """

    def __init__(self, data: Any, fields: Sequence[str] | None = ("inputs", "labels")) -> None:
        self.data = build_named("dataset", data, "TorchDataset.data")
        if not (hasattr(self.data, "__getitem__") and hasattr(self.data, "__len__")):
            raise UsageError(
                "not a map-style data set",
                where="TorchDataset.data",
                expected="__getitem__ and __len__",
                got=type(self.data).__name__,
            )
        self.fields = fields
        classes = getattr(self.data, "classes", None)
        if not hasattr(self.data, "metainfo"):
            # by which class names reach checkpoints, and are compared with those of teachers
            self.metainfo = {"classes": tuple(classes)} if classes else {}

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        """Load one sample."""
        sample = self.data[index]
        if self.fields and isinstance(sample, Tensor):
            # in a list two samples would look like inputs and labels
            return {self.fields[0]: sample}
        if self.fields is None or not isinstance(sample, tuple):
            return sample
        if len(sample) != len(self.fields):
            raise UsageError(
                f"a sample has {len(sample)} parts",
                where="TorchDataset.fields",
                expected=f"{len(self.fields)}: {', '.join(self.fields)}",
                fix="name the parts in fields=(...), or set fields=None",
            )
        return dict(zip(self.fields, sample, strict=True))

    def __getattr__(self, name: str) -> Any:
        """Answer as the data set does."""
        if name.startswith("__") or "data" not in vars(self):  # while a copy is being made
            raise AttributeError(name)
        return getattr(self.data, name)
