"""Fields of the student's batch, named by dotted paths, for loss inputs such as labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from kdhub.distill.values import describe
from kdhub.errors import UsageError, near_matches


class BatchFields:
    """Fields of one step's batch: whoever reads the same path gets the same object.

    So a loss may keep what it derived from a field, such as a mask from labels, for the other objectives of the step.

    Args:
        batch: The student's preprocessed batch.
    """

    def __init__(self, batch: Any) -> None:
        self._batch = batch
        self._read: dict[str, Any] = {}

    def read(self, path: str, where: str) -> Any:
        """Take a field out of the batch, as `batch_field` does."""
        if path not in self._read:
            self._read[path] = batch_field(self._batch, path, where)
        return self._read[path]


def batch_field(batch: Any, path: str, where: str) -> Any:
    """Take a field out of a batch.

    A list on the way (mmengine's ``data_samples``) is gone through sample by sample; the tensors found are stacked if
    their shapes agree and stay a list otherwise.

    Args:
        batch: The student's preprocessed batch.
        path: Dotted path such as ``labels`` or ``data_samples.gt_sem_seg.data``.
        where: Key path in the config, for errors.

    Raises:
        UsageError: If a part of the path does not exist; names what there is.
    """
    value = batch
    for part in path.split("."):
        value = _step(value, part, path, where)
    if isinstance(value, list) and value and all(isinstance(entry, torch.Tensor) for entry in value):
        return torch.stack(value) if len({entry.shape for entry in value}) == 1 else value
    return value


def _step(value: Any, part: str, path: str, where: str) -> Any:
    if isinstance(value, list):
        return [_step(entry, part, path, where) for entry in value]
    if isinstance(value, Mapping):
        names = [str(key) for key in value]
        if part in value:
            return value[part]
    else:
        names = list(value.keys()) if callable(getattr(value, "keys", None)) else list(vars(value))
        if hasattr(value, part):
            return getattr(value, part)
    raise UsageError(
        f"the batch has no {part!r} on the way to {path!r}",
        where=where,
        expected="one of " + ", ".join(names),
        got=describe(value),
        near=near_matches(part, names),
    )
