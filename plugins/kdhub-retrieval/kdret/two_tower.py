"""What the models share that encode queries and documents apart: dense, sparse and multi-vector encoders."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kdhub.api import UsageError
from kdret.columns import DOCUMENT, QUERY
from kdret.document_vectors import DocumentVectors
from kdret.losses.in_batch import in_batch_cross_entropy
from kdret.losses.in_batch_scores import in_batch_scores
from kdret.text_model import TextModel
from kdret.text_preprocessor import documents_per_query


class TwoTower(TextModel):
    """Encodes each text column of a batch, and compares queries with documents.

    What an objective can tap:

    * ``embed``: called once a column;
    * ``similarity``: every query against every document of the batch, ``(B, B·K)``, float32;
    * ``score``: every query against its own K documents, ``(B, K)``, float32.

    The last two are there when the batch has the columns ``query`` (B texts) and ``document`` (B·K texts, those of one
    query together). How many calls there are, and the axes of scores, are the same for each kind of encoder, so losses on
    scores take any kind as student and as teacher.

    Args:
        model, layers, max_length, freeze, dropout, score_scale, frozen_documents, init_cfg: As in `TextModel`.
        document_vectors: Folder where the vectors of frozen documents are kept for other runs; see `DocumentVectors`. ``None``
            keeps them in memory, for this run.
        task_loss: ``'in-batch'`` adds the supervised `kdret.InBatchCrossEntropy`, to train without a teacher. ``None``,
            the default, leaves training to the objectives.
        gather: Whether ``task_loss`` compares with the documents of all processes, as `kdret.InBatchCrossEntropy` says.
    """

    temperature: ClassVar[float]
    """Of the supervised loss, by the range of this kind's scores; as sentence-transformers' default scale is."""
    outputs: ClassVar[tuple[str, ...]]
    """What `embed` reads of what the library's model gives."""

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
        frozen_documents: bool = False,
        document_vectors: str | None = None,
        init_cfg: None = None,
    ) -> None:
        owner = type(self).__name__
        if task_loss not in (None, "in-batch"):
            raise UsageError(f"{owner}: bad task_loss", expected="None or 'in-batch'", got=repr(task_loss))
        if gather and not task_loss:
            raise UsageError(
                f"{owner}: gather=True without task_loss does nothing",
                fix="set gather=True in the loss of the objective, such as kdret.InBatchCrossEntropy",
            )
        if document_vectors is not None and not frozen_documents:
            raise UsageError(
                f"{owner}: document_vectors without frozen_documents",
                expected="frozen_documents=True: vectors of documents that train change with each step",
                got=repr(document_vectors),
            )
        super().__init__(model, layers, max_length, freeze, dropout, score_scale, frozen_documents, init_cfg)
        self.document_vectors = None
        if self._documents:
            # what stands behind both sides, if anything, decides about a document too
            whole = nn.ModuleList([*self._documents, *list(self.encoder)[1:]])
            self.document_vectors = DocumentVectors(whole, self.outputs, document_vectors)
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
            ``tensor``: column to embeddings. ``loss``: the supervised loss if one was asked for, else nothing.
            ``predict``: one ``dict(column, id, embedding)`` for each key.
        """
        embeddings = {column: self.embed(features) for column, features in inputs.items()}
        if mode == "predict":
            rows = {column: iter(self.rows(values)) for column, values in embeddings.items()}
            return [{"column": column, "id": key, "embedding": next(rows[column])} for column, key in keys or ()]
        if QUERY not in embeddings or DOCUMENT not in embeddings:
            if mode == "loss" and self.task_loss:
                raise UsageError(
                    "task_loss='in-batch' needs queries and documents",
                    expected="columns 'query' and 'document'",
                    got=", ".join(embeddings),
                )
            return {} if mode == "loss" else embeddings
        query, document = embeddings[QUERY], embeddings[DOCUMENT]
        if self.is_asked("score"):
            self.score(query, document)
        if mode != "loss" or not self.task_loss:
            if self.is_asked("similarity"):
                self.similarity(query, document)
            return {} if mode == "loss" else embeddings
        similarity = self.similarity(query, document)
        if self.gather:
            similarity = self.score_scale * in_batch_scores(type(self).__name__, (query, document), gather=True)
        return {"loss_in_batch": in_batch_cross_entropy(similarity, self.temperature)}

    def is_asked(self, method: str) -> bool:
        """Whether to compute what a tap may read, ``'score'`` or ``'similarity'``."""
        return True

    @abstractmethod
    def embed(self, features: dict[str, Any]) -> Any:
        """Encode one column of tokens."""

    @abstractmethod
    def rows(self, embeddings: Any) -> Iterable[Any]:
        """Part the embeddings of one column into those of its texts, without gradient and on the CPU."""

    @abstractmethod
    def similarity(self, query: Any, document: Any) -> Tensor:
        """Score every query against every document of the batch: ``(B, B·K)``, float32."""

    @abstractmethod
    def score(self, query: Any, document: Any) -> Tensor:
        """Score every query against its own documents: ``(B, K)``, float32."""

    def encoded(self, features: dict[str, Any]) -> dict[str, Any]:
        """Run the library's model on one column of tokens, but on a frozen document once only."""
        features = dict(features)  # modules write into what they are given
        task = features.pop("task", None)
        if self.document_vectors is not None and task == DOCUMENT:
            return self.document_vectors.of(features, lambda document: self.encoder(document, task=task))
        found: dict[str, Any] = self.encoder(features, task=task)
        return found


class OneVector(TwoTower):
    """Encodes each text into one vector, and compares vectors by dot products."""

    outputs = ("sentence_embedding",)

    def embed(self, features: dict[str, Any]) -> Tensor:
        """Encode one column of tokens into ``(B, D)``."""
        found: Tensor = self.encoded(features)["sentence_embedding"]
        return found

    def rows(self, embeddings: Tensor) -> Iterable[Any]:
        """Part ``(B, D)`` into B vectors ``(D,)``."""
        return embeddings.detach().float().cpu()

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
        own = document.unflatten(0, (len(query), documents_per_query(len(query), len(document)))).float()
        return self.score_scale * (query.float().unsqueeze(1) * own).sum(-1)
