"""Fields of the student's batch, named by dotted paths, for loss inputs such as labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from kdhub.errors import UsageError, near_matches
from kdhub.values import describe


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

    A number picks an entry of a list or tuple: ``1`` is the labels of a batch ``(inputs, labels)``. Any other name goes
    through a list on the way (mmengine's ``data_samples``) sample by sample; the tensors found are stacked if their shapes
    agree and stay a list otherwise.

    Args:
        batch: The student's preprocessed batch.
        path: Dotted path such as ``labels``, ``1`` or ``data_samples.gt_sem_seg.data``.
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
    names: list[str]
    if isinstance(value, Mapping):
        names = [str(key) for key in value]
        for key in value:
            if str(key) == part:
                return value[key]
    elif isinstance(value, list | tuple) and part.isdecimal():
        names = [str(index) for index in range(len(value))]
        if int(part) < len(value):
            return value[int(part)]
    elif part in getattr(value, "_fields", ()):  # a named tuple
        return getattr(value, part)
    elif isinstance(value, list | tuple) and value and not any(isinstance(one, torch.Tensor) for one in value):
        return [_step(entry, part, path, where) for entry in value]
    elif isinstance(value, list | tuple):
        names = [str(index) for index in range(len(value))]
    else:
        names = list(value.keys()) if callable(getattr(value, "keys", None)) else list(getattr(value, "__dict__", ()))
        if not isinstance(value, torch.Tensor) and hasattr(value, part):
            return getattr(value, part)
    raise UsageError(
        f"the batch has no {part!r} on the way to {path!r}",
        where=where,
        expected="one of " + ", ".join(names) if names else f"a path that ends at the {type(value).__name__}",
        got=describe(value),
        near=near_matches(part, names),
    )
