"""What scores documents for a query while negatives are mined: an encoder's vectors, or a cross-encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sentence_transformers import CrossEncoder
from torch import nn

from kdhub.api import UsageError
from kdret.collapse import require_spread
from kdret.split_vectors import all_scores, joined
from kdret.text_vectors import TextVectors

_COMPARED = 256


class Scorer(ABC):
    """Scores documents for a query, one pair after the other: no score depends on what else is scored with it."""

    @abstractmethod
    def queries(self, texts: list[str]) -> Sequence[Any]:
        """Return what `scores` takes for each query."""

    def prepare(self, keys: Iterable[str]) -> None:  # noqa: B027 (a cross-encoder has nothing to prepare)
        """Get ready to score these documents."""

    @abstractmethod
    def scores(self, query: Any, keys: Sequence[str]) -> list[float]:
        """Score documents for a query."""

    def require_spread(self, queries: Sequence[Any]) -> None:  # noqa: B027
        """See that not all prepared documents have the same score for each query.

        Raises:
            UsageError: If they have.
        """


class VectorScorer(Scorer):
    """Scores by vectors: dot products, or MaxSim between tokens. Encodes each document once.

    Args:
        vectors: The encoder.
        documents: Id to text.
        whole: The vectors of all documents, if somebody has them.
        ids: Whose they are, row by row.
    """

    def __init__(
        self, vectors: TextVectors, documents: Mapping[str, str], whole: Any = None, ids: Sequence[str] = ()
    ) -> None:
        self.vectors = vectors
        self._documents = documents
        self._score = {"dense": _dots, "sparse": _sparse_dots, "late": _maxsims}[vectors.kind]
        self._whole = whole
        self._places = {} if whole is None else {key: place for place, key in enumerate(ids)}
        self._rows: dict[str, Any] = {}

    def queries(self, texts: list[str]) -> Sequence[Any]:
        """Encode queries into vectors ``(D,)``, sparse rows ``(1, V)``, or arrays of token vectors."""
        return singles(self.vectors.queries(texts))

    def prepare(self, keys: Iterable[str]) -> None:
        """Encode what is missing."""
        missing = [key for key in dict.fromkeys(keys) if key not in self._places and key not in self._rows]
        if missing:
            rows = self.vectors.documents([self._documents[key] for key in missing])
            self._rows.update(zip(missing, singles(rows), strict=True))

    def scores(self, query: Any, keys: Sequence[str]) -> list[float]:
        """Score documents that were prepared."""
        return self._score(query, self._of(keys)) if keys else []

    def require_spread(self, queries: Sequence[Any]) -> None:
        """See that the vectors tell documents apart; some of them tell."""
        keys = list(self._places or self._rows)
        keys = [keys[row] for row in np.linspace(0, len(keys) - 1, min(len(keys), _COMPARED)).astype(int)]
        require_spread(joined(queries[:_COMPARED]), self._of(keys), "mine", all_scores)

    def _of(self, keys: Sequence[str]) -> Any:
        """Return vectors ``(N, D)``, a sparse ``(N, V)``, or N arrays of token vectors."""
        if self._whole is None:
            return joined([self._rows[key] for key in keys])
        places = [self._places[key] for key in keys]
        return [self._whole[place] for place in places] if self.vectors.kind == "late" else self._whole[places]


class PairScorer(Scorer):
    """Scores by a cross-encoder's logits, without the sigmoid of `CrossEncoder.predict`, as `kdret.CrossEncoder` does.

    Args:
        model: A cross-encoder of one label.
        documents: Id to text.
        batch_size: Pairs read at once.

    Raises:
        UsageError: For a model with more labels.
    """

    def __init__(self, model: CrossEncoder, documents: Mapping[str, str], batch_size: int) -> None:
        if model.num_labels != 1:
            raise UsageError(
                "mine: the cross-encoder does not score relevance",
                expected="a model with 1 label",
                got=f"{model.num_labels} labels",
                fix="take a reranker, such as cross-encoder/ms-marco-MiniLM-L6-v2",
            )
        self._model = model
        self._documents = documents
        self._batch_size = batch_size
        self._differ = False
        self._pairs = 0

    def queries(self, texts: list[str]) -> Sequence[Any]:
        """Return the texts: a cross-encoder reads them with each document."""
        return texts

    def scores(self, query: str, keys: Sequence[str]) -> list[float]:
        """Read the query with each document."""
        if not keys:
            return []
        pairs = [(query, self._documents[key]) for key in keys]
        options: dict[str, Any] = {"batch_size": self._batch_size, "show_progress_bar": False}
        found = self._model.predict(pairs, activation_fn=nn.Identity(), **options).astype(float)
        self._pairs += len(found)
        self._differ |= len(found) > 1 and bool(np.ptp(found) > 1e-5 * np.abs(found).max())
        return found.tolist()

    def require_spread(self, queries: Sequence[Any]) -> None:
        """See that for one query at least the scores differed."""
        if self._pairs > len(queries) and not self._differ:
            raise UsageError(
                "mine: the cross-encoder gives every document the same score, so it has collapsed",
                expected="scores that differ",
                got=f"one score for the documents of each of {len(queries)} queries",
                fix="look at its training and loaded weights; nothing was written",
            )


def singles(rows: Any) -> list[Any]:
    """Part vectors into those of each text, as `kdret.split_vectors.joined` takes them."""
    return [rows[[row]] for row in range(rows.shape[0])] if sparse.issparse(rows) else list(rows)


def _dots(query: NDArray[np.float32], rows: NDArray[np.float32]) -> list[float]:
    # not a matrix product: there the last bits of a row would depend on how many there are
    found: list[float] = np.einsum("nd,d->n", rows, query).tolist()
    return found


def _sparse_dots(query: Any, rows: Any) -> list[float]:
    found: list[float] = (rows @ query.toarray()[0]).tolist()
    return found


def _maxsims(query: NDArray[np.float32], rows: list[NDArray[np.float32]]) -> list[float]:
    return [float((query @ row.T).max(axis=1).sum()) for row in rows]
