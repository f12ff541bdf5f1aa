"""A box regressor that also sees the name of the class (EZAD)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from kddet.regions.names import NameBank
from kdhub.api import UsageError

CODE = 4
"""Numbers that move a box."""


class SemanticRegressor(nn.Module):
    """Corrects a box from a region's features and the text embedding of a class: ``δ_c = W · [x; e_c] + bias``.

    It goes where mmdet's box heads have their last layer for boxes: ``reg_predictor_cfg=dict(type='kddet.SemanticRegressor',
    names='data/names.safetensors')``, with ``reg_class_agnostic=False``. mmdet then trains the correction for the true class of
    each region, and at inference moves each detection by that of its own class. The card has one box for all classes of a
    region, moved by the class of the highest score: for that class the two are equal, and this one needs nothing but
    biases in a plain mmdet head.

    Args:
        in_features: Width of the head's features.
        out_features: 4 numbers for each name.
        names: `NameBank`, or the file of one; the same as that of the `TextClassifier`.

    Raises:
        UsageError: If the bank has another number of names.
    """

    embeddings: Tensor

    def __init__(self, in_features: int, out_features: int, names: NameBank | str) -> None:
        super().__init__()
        bank = NameBank.read(names) if isinstance(names, str | Path) else names
        if out_features != CODE * len(bank.names):
            raise UsageError(
                "SemanticRegressor: the bank does not have the detector's classes",
                expected=f"{CODE} numbers for each of {len(bank.names)} names",
                got=str(out_features),
                fix="set reg_class_agnostic=False, and num_classes of the box head to the number of names",
            )
        self.in_features = in_features
        self.linear = nn.Linear(in_features + bank.embeddings.shape[1], CODE)
        self.register_buffer("embeddings", bank.embeddings)

    def forward(self, features: Tensor) -> Tensor:
        """Return corrections ``(N, 4C)`` of features ``(N, in_features)``."""
        own, named = self.linear.weight.split([self.in_features, self.embeddings.shape[1]], 1)
        common = nn.functional.linear(features, own, self.linear.bias)
        return (common.unsqueeze(1) + (self.embeddings.to(named) @ named.T).unsqueeze(0)).flatten(1)

    def rename(self, bank: NameBank) -> None:
        """Take other names; what was learned stays."""
        self.embeddings = bank.embeddings.to(self.embeddings)

    @torch.no_grad()
    def plain(self) -> tuple[Tensor, Tensor]:
        """Return weight ``(4C, in_features)`` and bias ``(4C,)`` of the linear layer that it is for these names."""
        own, named = self.linear.weight.split([self.in_features, self.embeddings.shape[1]], 1)
        bias = self.linear.bias + self.embeddings.to(named) @ named.T
        return own.repeat(len(self.embeddings), 1), bias.flatten()
