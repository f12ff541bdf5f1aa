"""Tokenises the text columns of a raw batch for one encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from sentence_transformers import SentenceTransformer
from torch import Tensor

from kdhub.api import UsageError


class TextPreprocessor(BaseDataPreprocessor):
    """Turns ``dict(texts={column: [str, ...]}, ...)`` into token tensors on the model's device.

    Student and teacher have one each, so they may differ in tokenizer, length and prompts. A column that bears the name
    of one of the model's prompts (``query``, ``document``) gets that prompt.

    Args:
        encoder: The model whose tokenizer is used. It is not owned: the encoder's module tree is elsewhere.
    """

    def __init__(self, encoder: SentenceTransformer) -> None:
        super().__init__()
        self._encoder = (encoder,)

    def forward(self, data: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """Tokenise every column, each padded to its own longest text.

        Args:
            data: Raw batch: ``texts``, and optionally ``labels`` ``(B, ...)`` and ``keys``.
            training: Not used; texts are not augmented.

        Returns:
            Keyword arguments of `SentenceEncoder.forward`.

        Raises:
            UsageError: If the batch is not one of kdret's.
        """
        if not isinstance(data, Mapping) or "texts" not in data:
            raise UsageError(
                "SentenceEncoder got a batch without texts",
                expected="dict(texts={column: [...]})",
                got=", ".join(map(str, data)) if isinstance(data, Mapping) else type(data).__name__,
                fix="set collate_fn=dict(type='kdret.collate_texts') in the dataloader",
            )
        batch: dict[str, Any] = {"inputs": {name: self._tokens(name, texts) for name, texts in data["texts"].items()}}
        if "labels" in data:
            batch["labels"] = torch.as_tensor(data["labels"]).to(self.device)
        if "keys" in data:
            batch["keys"] = data["keys"]
        return batch

    def _tokens(self, column: str, texts: list[str]) -> dict[str, Any]:
        encoder = self._encoder[0]
        features = encoder.preprocess(texts, prompt=encoder.prompts.get(column))
        return {name: value.to(self.device) if isinstance(value, Tensor) else value for name, value in features.items()}
