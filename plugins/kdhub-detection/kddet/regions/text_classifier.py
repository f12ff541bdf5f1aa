"""A classifier whose classes are names: cosines of a region's embedding with text embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from kddet.regions.names import NameBank, spoken
from kdhub.api import UsageError, number, require, unit_vectors

SCALE = 4.6052
"""Logarithm of the first temperature: ``exp`` of it is 100.003."""


class TextClassifier(nn.Module):
    """Scores regions against names: ``logits = T · [r·e_1, …, r·e_C, r·b]`` with ``r`` a region's embedding of unit length.

    It goes where mmdet's box heads have their last layer: ``cls_predictor_cfg=dict(type='kddet.TextClassifier',
    names='data/names.safetensors')``; the head gives ``in_features`` and ``out_features``. The tap ``region_embeddings`` of
    it reads ``r`` for `RegionEmbeddingKD`.

    The text embeddings are frozen; ``T = exp(t)`` and the background vector ``b``, which is not normalised, are learned.

    Args:
        in_features: Width of the head's features.
        out_features: Number of names and one for background.
        names: `NameBank`, or the file of one.
        scale: First value of ``t``.
        trained: Names that have boxes in training; ``None`` for all. The others have no logit while the model trains, so that no
            region is taught to be none of them, and have one when it predicts.

    Raises:
        UsageError: If the bank has another number of names, or lacks one of ``trained``.
    """

    embeddings: Tensor
    untrained: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        names: NameBank | str,
        scale: float = SCALE,
        trained: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        require("TextClassifier", number(), scale=scale)
        bank = NameBank.read(names) if isinstance(names, str | Path) else names
        if len(bank.names) != out_features - 1:
            raise UsageError(
                "TextClassifier: the bank does not have the detector's classes",
                expected=f"{out_features - 1} names, and background beside them",
                got=str(len(bank.names)),
                fix="set num_classes of the box head to the number of names",
            )
        width = bank.embeddings.shape[1]
        self.map_to_text = nn.Linear(in_features, width)
        self.register_buffer("embeddings", bank.embeddings)
        self.background = nn.Parameter(torch.empty(width))
        nn.init.normal_(self.background, std=1 / math.sqrt(width))
        self.scale = nn.Parameter(torch.tensor(float(scale)))
        self.names = bank
        known = bank.names if trained is None else bank.chosen(trained).names
        labels = {spoken(name) for name in known}
        hidden = [spoken(name) not in labels for name in bank.names]
        self.register_buffer("untrained", torch.tensor([*hidden, False]), persistent=False)

    def region_embeddings(self, features: Tensor) -> Tensor:
        """Return ``r`` ``(N, D)`` of features ``(N, in_features)``."""
        return unit_vectors(self.map_to_text(features), 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``(N, C+1)``, background last."""
        regions = self.region_embeddings(features)
        directions = torch.cat((self.embeddings, self.background.unsqueeze(0))).to(regions)
        logits = self.scale.exp() * regions @ directions.T
        return logits.masked_fill(self.untrained, -math.inf) if self.training else logits

    def rename(self, bank: NameBank) -> None:
        """Take other names: more, fewer or others. Temperature, background and the way into the space stay.

        Raises:
            UsageError: For embeddings of another width.
        """
        if bank.embeddings.shape[1] != self.embeddings.shape[1]:
            raise UsageError(
                "the names are those of another text model",
                expected=f"embeddings of width {self.embeddings.shape[1]}",
                got=str(bank.embeddings.shape[1]),
            )
        self.names = bank
        self.embeddings = bank.embeddings.to(self.embeddings)
        self.untrained = self.untrained.new_zeros(len(bank.names) + 1)
