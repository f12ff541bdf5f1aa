"""From samples of kdret's datasets to one raw batch, tokenised later by each model for itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch


def collate_texts(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Gather samples column by column.

    Args:
        samples: Each with ``texts``: column to one text or a list of texts; optionally ``labels`` (a list of numbers) and
            ``key`` (``(column, id)``).

    Returns:
        ``texts``: column to list of texts, those of one sample together; ``labels``: float32 ``(B, ...)``; ``keys``.
    """
    texts: dict[str, list[str]] = {}
    for sample in samples:
        for column, value in sample["texts"].items():
            texts.setdefault(column, []).extend([value] if isinstance(value, str) else value)
    batch: dict[str, Any] = {"texts": texts}
    if "labels" in samples[0]:
        batch["labels"] = torch.tensor([sample["labels"] for sample in samples], dtype=torch.float32)
    if "key" in samples[0]:
        batch["keys"] = [sample["key"] for sample in samples]
    return batch
