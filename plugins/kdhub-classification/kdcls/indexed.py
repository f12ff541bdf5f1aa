"""`Indexed`: a data set whose samples say their own place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.utils.data import Dataset

from kdhub.api import UsageError, build


class Indexed(Dataset[dict[str, Any]]):
    """A data set whose samples have ``index``, their place in it, for losses that remember samples, such as `kdcls.CRD`.

    It stands outside of `kdhub.TorchDataset`, whose samples are dicts. To hand the entry on to objectives, the student is
    ``dict(type='kdhub.TorchModel', fields=['index'], ...)``.

    Args:
        data: A map-style data set whose samples are dicts.

    Raises:
        UsageError: For samples that are none, or have an ``index`` already.

    Example:
        ::

            dataset=dict(type='kdcls.Indexed', data=dict(type='kdhub.TorchDataset', data=...))
    """

    def __init__(self, data: Any) -> None:
        self.data = build("dataset", data, where="Indexed.data")

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one sample with its place."""
        sample = self.data[index]
        if not isinstance(sample, Mapping) or "index" in sample:
            raise UsageError(
                "a sample cannot get its index",
                where="Indexed.data",
                expected="a dict without 'index'",
                got=", ".join(map(str, sample)) if isinstance(sample, Mapping) else type(sample).__name__,
                fix="put kdhub.TorchDataset around data sets of tuples",
            )
        return {**sample, "index": index}

    def __getattr__(self, name: str) -> Any:
        """Answer as the data set does."""
        if name.startswith("__") or "data" not in vars(self):  # while a copy is being made
            raise AttributeError(name)
        return getattr(self.data, name)
