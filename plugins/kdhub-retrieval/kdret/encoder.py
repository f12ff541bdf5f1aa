"""A `SentenceTransformer` as an mmengine model: student, teacher, or on its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor

from kdhub.api import UsageError, integer, number, optional, require
from kdret.columns import DOCUMENT, QUERY
from kdret.layers import freeze_modules, keep_layers, set_dropout
from kdret.loading import load_sentence_transformer
from kdret.losses.in_batch import in_batch_cross_entropy
from kdret.losses.in_batch_scores import in_batch_scores
from kdret.text_preprocessor import TextPreprocessor

_TEMPERATURE = 0.05
"""Of the supervised loss: for cosines, as sentence-transformers' scale of 20."""


class SentenceEncoder(BaseModel):
    """Encodes each text column of a batch with one `SentenceTransformer`.

    What an objective can tap:

    * ``embed``: called once a column, ``(B, D)`` each; ``call='cat'`` takes all texts, ``call=0`` the first column;
    * ``similarity``: every query against every document of the batch, ``(B, B·K)``;
    * ``score``: every query against its own K documents, ``(B, K)``.

    The last two are there when the batch has the columns ``query`` (B texts) and ``document`` (B·K texts, those of one
    query together). All are dot products, which are cosines for a model that normalises, as most do.

    Args:
        model: A folder, a name on the Hugging Face hub, or ``package://NAME/FOLDER``.
        layers: Transformer layers to keep, from 0, such as ``[0, 5]`` for a student of 2 layers that starts from those of
            its teacher; ``None`` keeps all.
        max_length: Texts are cut after this many tokens; ``None`` keeps the model's own limit. Saved with the student.
        freeze: Submodules of the transformer that do not train, such as ``embeddings.word_embeddings``. In a small student
            that matrix is most of the parameters, and its gradient and optimizer state most of the optimizer's time.
        dropout: Probability for every dropout of the model while it trains; ``None`` keeps the model's own. A distilled
            student has a target for every text and little to overfit to, so 0.0 usually learns more in the same time.
        score_scale: Factor of ``score`` and ``similarity``; raise it where a bounded cosine must follow a teacher's
            unbounded scores.
        task_loss: ``'in-batch'`` adds the supervised `kdret.InBatchCrossEntropy`, to train without a teacher. ``None``,
            the default, leaves training to the objectives.
        gather: Whether ``task_loss`` compares with the documents of all processes, as `kdret.InBatchCrossEntropy` says.
        init_cfg: Must stay ``None``: weights come with the model.

    Raises:
        UsageError: If the model cannot be loaded, has no such layers or modules, or if a value makes no sense.
    """

    def __init__(
        self,
        model: str,
        layers: Sequence[int] | None = None,
        max_length: int | None = None,
        freeze: Sequence[str] = (),
        dropout: float | None = None,
        score_scale: float = 1.0,
        task_loss: str | None = None,
        gather: bool = False,
        init_cfg: None = None,
    ) -> None:
        require("SentenceEncoder", number(above=0), score_scale=score_scale)
        require("SentenceEncoder", optional(integer(1)), max_length=max_length)
        if task_loss not in (None, "in-batch"):
            raise UsageError("SentenceEncoder: bad task_loss", expected="None or 'in-batch'", got=repr(task_loss))
        if gather and not task_loss:
            raise UsageError(
                "SentenceEncoder: gather=True without task_loss does nothing",
                fix="set gather=True in the loss of the objective, such as kdret.InBatchCrossEntropy",
            )
        encoder = load_sentence_transformer(model)
        super().__init__(data_preprocessor=TextPreprocessor(encoder), init_cfg=init_cfg)
        self.encoder = encoder
        if layers is not None:
            keep_layers(encoder, list(layers))
        if max_length is not None:
            encoder.max_seq_length = max_length
        freeze_modules(encoder, freeze)
        if dropout is not None:
            set_dropout(encoder, dropout)
        self.score_scale = score_scale
        self.task_loss = task_loss
        self.gather = gather

    @property
    def depends_on_split(self) -> str:
        """Say whether the own loss compares each query with the documents of the batch, for a run's warning."""
        return "samples" if self.task_loss else ""

    def forward(
        self,
        inputs: dict[str, dict[str, Any]],
        labels: Tensor | None = None,
        keys: Sequence[tuple[str, str]] | None = None,
        mode: str = "tensor",
    ) -> Any:
        """Encode every column.

        Args:
            inputs: Column to tokens, as `TextPreprocessor` makes them.
            labels: Cached teacher scores; read by objectives, not here.
            keys: For ``predict``: ``(column, id)`` of each text, in the dataset's order.
            mode: ``tensor``, ``loss`` or ``predict``.

        Returns:
            ``tensor``: column to embeddings ``(B, D)``. ``loss``: the supervised loss if one was asked for, else nothing.
            ``predict``: one ``dict(column, id, embedding)`` for each key.
        """
        embeddings = {column: self.embed(features) for column, features in inputs.items()}
        if mode == "predict":
            return _predictions(embeddings, keys or ())
        if QUERY not in embeddings or DOCUMENT not in embeddings:
            if mode == "loss" and self.task_loss:
                raise UsageError(
                    "task_loss='in-batch' needs queries and documents",
                    expected="columns 'query' and 'document'",
                    got=", ".join(embeddings),
                )
            return {} if mode == "loss" else embeddings
        similarity = self.similarity(embeddings[QUERY], embeddings[DOCUMENT])
        if mode == "loss" and self.gather:
            both = embeddings[QUERY], embeddings[DOCUMENT]
            similarity = self.score_scale * in_batch_scores("SentenceEncoder", both, gather=True)
        self.score(embeddings[QUERY], embeddings[DOCUMENT])
        if mode == "loss":
            return {"loss_in_batch": in_batch_cross_entropy(similarity, _TEMPERATURE)} if self.task_loss else {}
        return embeddings

    def val_step(self, data: Any) -> list[dict[str, Any]]:
        """Predict on a raw batch, and note how long each text took, tokenising included."""
        started = time.perf_counter()
        found = super().val_step(data)  # its embeddings are on the CPU, so the device has finished
        seconds = (time.perf_counter() - started) / max(len(found), 1)
        return [entry | {"seconds": seconds} for entry in found]

    test_step = val_step

    def embed(self, features: dict[str, Any]) -> Tensor:
        """Encode one column of tokens into ``(B, D)``."""
        return self.encoder(dict(features))["sentence_embedding"]  # a copy: modules write into what they are given

    def similarity(self, query: Tensor, document: Tensor) -> Tensor:
        """Score every query ``(B, D)`` against every document ``(B·K, D)`` of the batch: ``(B, B·K)``, float32."""
        # under autocast the product would be taken in half precision
        with torch.autocast(query.device.type, enabled=False):
            return self.score_scale * (query.float() @ document.float().T)

    def score(self, query: Tensor, document: Tensor) -> Tensor:
        """Score every query ``(B, D)`` against its own documents ``(B·K, D)``: ``(B, K)``, float32.

        Raises:
            UsageError: If the documents cannot be shared out evenly among the queries.
        """
        own = _per_query(query, document).float()
        return self.score_scale * (query.float().unsqueeze(1) * own).sum(-1)


def _per_query(query: Tensor, document: Tensor) -> Tensor:
    """``(B, D)`` and ``(B·K, D)`` to ``(B, K, D)``."""
    if len(document) % len(query):
        raise UsageError(
            "the batch's documents cannot be shared out among its queries",
            expected=f"a multiple of {len(query)} documents",
            got=str(len(document)),
        )
    return document.unflatten(0, (len(query), -1))


def _predictions(embeddings: dict[str, Tensor], keys: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    rows = {column: iter(values.detach().float().cpu()) for column, values in embeddings.items()}
    return [{"column": column, "id": key, "embedding": next(rows[column])} for column, key in keys]
