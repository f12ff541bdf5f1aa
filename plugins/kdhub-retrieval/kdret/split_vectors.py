"""A split's embeddings, one for each text, as what an index takes: a matrix, a sparse one, or a list of token vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from sentence_transformers.util import maxsim

from kdret.index.token_lists import TokenLists


def joined(embeddings: Sequence[Any]) -> Any:
    """Put embeddings together by their kind.

    Args:
        embeddings: Vectors ``(D,)``, sparse rows ``(1, V)``, or vectors of tokens ``(T, D)``.

    Returns:
        ``(N, D)``; a sparse ``(N, V)``, where what is stored as 0 counts for nothing; or the list of arrays.
    """
    if scipy.sparse.issparse(embeddings[0]):
        matrix = scipy.sparse.csr_array(scipy.sparse.vstack(embeddings))
        matrix.eliminate_zeros()
        return matrix
    return list(embeddings) if embeddings[0].ndim == 2 else np.stack(embeddings)


def exact_index(vectors: Any) -> dict[str, Any]:
    """Return the config of the index that searches vectors of this kind exactly."""
    if scipy.sparse.issparse(vectors):
        return {"type": "kdret.SparseIndex"}
    if isinstance(vectors, list):
        return {"type": "kdret.MaxSimIndex", "candidates": None}
    return {"type": "kdret.FaissIndex", "factory": "Flat"}


def all_scores(queries: Any, documents: Any) -> NDArray[Any]:
    """Score each query against each document, ``(Q, N)``: dot products, or MaxSim between tokens."""
    if isinstance(documents, list | TokenLists):
        found: NDArray[Any] = maxsim(
            *([torch.tensor(np.asarray(one)) for one in side] for side in (queries, documents))
        ).numpy()
        return found
    products = queries @ documents.T
    return products.toarray() if scipy.sparse.issparse(products) else np.asarray(products)
