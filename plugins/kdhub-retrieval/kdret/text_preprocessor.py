"""Tokenises the texts of a raw batch for one model: column by column, or as pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor, nn

from kdhub.api import UsageError
from kdret.columns import DOCUMENT, QUERY


class TextPreprocessor(BaseDataPreprocessor):
    """Turns ``dict(texts={column: [str, ...]}, ...)`` into token tensors on the model's device.

    Student and teacher have one each, so they may differ in tokenizer, length and prompts. A column that bears the name
    of one of the model's prompts (``query``, ``document``) gets that prompt. The columns ``query`` and ``document`` are
    also the library's tasks of those names, which choose the side of an asymmetric model and the length of its texts.

    Args:
        owner: Component that the batch is for, in errors.
        encoder: The model whose tokenizer is used, one of sentence-transformers'. It is not owned: its module tree is
            elsewhere.
    """

    def __init__(self, owner: str, encoder: nn.Module) -> None:
        super().__init__()
        self._owner = owner
        self._encoder: tuple[Any] = (encoder,)

    def forward(self, data: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """Tokenise, each column padded to its own longest text.

        Args:
            data: Raw batch: ``texts``, and optionally ``labels`` ``(B, ...)`` and ``keys``.
            training: Not used; texts are not augmented.

        Returns:
            Keyword arguments of the model's ``forward``.

        Raises:
            UsageError: If the batch is not one of kdret's.
        """
        if not isinstance(data, Mapping) or "texts" not in data:
            raise UsageError(
                f"{self._owner} got a batch without texts",
                expected="dict(texts={column: [...]})",
                got=", ".join(map(str, data)) if isinstance(data, Mapping) else type(data).__name__,
                fix="set collate_fn=dict(type='kdret.collate_texts') in the dataloader",
            )
        batch: dict[str, Any] = self._inputs(data["texts"])
        if "labels" in data:
            batch["labels"] = torch.as_tensor(data["labels"]).to(self.device)
        if "keys" in data:
            batch["keys"] = data["keys"]
        return batch

    def _inputs(self, texts: Mapping[str, list[str]]) -> dict[str, Any]:
        return {"inputs": {column: self._column(column, own) for column, own in texts.items()}}

    def _column(self, column: str, texts: list[str]) -> dict[str, Any]:
        encoder = self._encoder[0]
        task = column if column in (QUERY, DOCUMENT) else None
        return self._placed(encoder.preprocess(texts, prompt=encoder.prompts.get(column), task=task)) | {"task": task}

    def _placed(self, features: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value.to(self.device) if isinstance(value, Tensor) else value for name, value in features.items()}


class PairPreprocessor(TextPreprocessor):
    """Turns queries and their documents into token tensors of pairs: each query beside each of its own documents."""

    def forward(self, data: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """Tokenise pairs; see `TextPreprocessor.forward`.

        Raises:
            UsageError: If the batch is not one of kdret's, has no queries and documents, or is one of a split to be ranked.
        """
        if isinstance(data, Mapping) and "keys" in data:
            raise UsageError(
                f"{self._owner} reads pairs, and cannot rank a split by the vectors of its texts",
                expected="a batch of queries and their own documents",
                got="a batch of kdret.RetrievalSplit",
                fix="leave the evaluation out: default_hooks.baseline.teacher=False for a teacher, no val_dataloader for a"
                " student",
            )
        return super().forward(data, training)

    def _inputs(self, texts: Mapping[str, list[str]]) -> dict[str, Any]:
        if QUERY not in texts or DOCUMENT not in texts:
            raise UsageError(
                f"{self._owner} reads a query and a document together",
                expected="columns 'query' and 'document'",
                got=", ".join(texts),
                fix="take kdret.ScoredLists or kdret.Pairs as data",
            )
        queries, documents = texts[QUERY], texts[DOCUMENT]
        own = documents_per_query(len(queries), len(documents))
        pairs = [(query, document) for row, query in enumerate(queries) for document in documents[row * own :][:own]]
        encoder = self._encoder[0]
        prompt = encoder.prompts.get(encoder.default_prompt_name)
        return {"inputs": self._placed(encoder.preprocess(pairs, prompt=prompt)), "queries": len(queries)}


def documents_per_query(queries: int, documents: int) -> int:
    """Return K, the number of documents of each query.

    Raises:
        UsageError: If the documents cannot be shared out evenly among the queries.
    """
    if not queries or documents % queries:
        raise UsageError(
            "the batch's documents cannot be shared out among its queries",
            expected=f"a multiple of {queries} documents",
            got=str(documents),
        )
    return documents // queries
