"""`collate_tokens`: samples of different lengths as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad as padded
from torch.utils.data import default_collate

from kdhub.api import UsageError, choice, require
from kdlm.data.texts import IGNORED

_TOKENS = "input_ids"


def collate_tokens(
    samples: Sequence[dict[str, Any]],
    padding_side: str = "right",
    pad_to: int | None = None,
    label_padding: bool = False,
) -> dict[str, Any]:
    """Pad samples of `kdlm.Texts` to one length, and mask the padding.

    Args:
        samples: Dicts with ``input_ids`` (L,), ``labels`` (an integer, or (L,) for a language model), ``pad``, and anything else.
        padding_side: ``'right'``, or ``'left'``, for models that read their answer at the last position. Then the batch has
            ``position_ids`` too, which count from the first token of each text: models with absolute positions, as GPT-2's, would
            else see a text shifted by its padding. Models of the RoBERTa family count from their pad token's number and find
            their positions by themselves: pad them on the right.
        pad_to: Pad to at least this length; ``None`` to the longest sample.
        label_padding: Whether padding is a label too, as in the released code of MLKD, so that short texts are mostly
            trained to go on ending. The default leaves it out of the loss.

    Returns:
        ``input_ids``, ``attention_mask`` and ``labels`` (B, L), or ``labels`` (B,), and the rest collated as torch does.

    Raises:
        UsageError: For samples without ``input_ids`` or ``pad``, or another side.
    """
    require("collate_tokens", choice(("right", "left")), padding_side=padding_side)
    missing = [name for name in (_TOKENS, "pad") if name not in samples[0]]
    if missing:
        raise UsageError(
            f"collate_tokens: samples have no {' and no '.join(missing)}",
            expected="samples of kdlm.TextLines, kdlm.TextTable or another kdlm.Texts",
            got=", ".join(samples[0]),
        )
    length = max(max(len(sample[_TOKENS]) for sample in samples), pad_to or 0)
    pad = samples[0]["pad"]
    values = {_TOKENS: pad, "labels": pad if label_padding else IGNORED}
    batch: dict[str, Any] = {}
    for name in samples[0]:
        if name == "pad":
            continue
        column = [sample[name] for sample in samples]
        per_token = isinstance(column[0], Tensor) and column[0].shape == samples[0][_TOKENS].shape
        if per_token:
            batch[name] = torch.stack([_row(one, length, values.get(name, 0), padding_side) for one in column])
        else:
            batch[name] = default_collate(column)
    mask = torch.stack([_row(torch.ones_like(one[_TOKENS]), length, 0, padding_side) for one in samples])
    batch["attention_mask"] = mask
    if padding_side == "left":
        batch["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    return batch


def _row(values: Tensor, length: int, fill: int, side: str) -> Tensor:
    missing = length - len(values)
    return padded(values, (0, missing) if side == "right" else (missing, 0), value=fill)
