"""How sparse a sparse encoder's vectors are, and what that costs a search."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from mmengine.logging import print_log

from kdret.collapse import all_active, none_active
from kdret.columns import DOCUMENT, QUERY

_DENSE = 0.5
"""Share of active words above which an inverted index is larger than the vectors themselves: it stores two numbers for each."""


def sparsity(queries: Any, documents: Any, where: str) -> dict[str, float]:
    """Measure the sparsity of a split's vectors.

    Args:
        queries: A sparse matrix ``(Q, V)`` without stored zeros, as `kdret.split_vectors.joined` makes it.
        documents: The same, ``(N, V)``.
        where: Who measures, for errors.

    Returns:
        ``active_query`` and ``active_document``: mean number of words with a weight; ``flops``: expected number of
        multiplications for a query and a document, the sum over words of the share of queries times the share of documents
        in which the word has one.

    Raises:
        UsageError: If no query, or no document, has any word with a weight.

    References:
        Paria et al. 2020, Minimizing FLOPs to Learn Efficient Sparse Representations, arXiv 2004.05665.
    """
    shares = {}
    for what, rows in ((QUERY, queries), (DOCUMENT, documents)):
        shares[what] = np.bincount(rows.indices, minlength=rows.shape[1]) / rows.shape[0]
        if not rows.nnz:
            raise none_active(where, f"any of the {rows.shape[0]} {what} vectors")
        if rows.nnz > _DENSE * rows.shape[0] * rows.shape[1]:
            print_log(
                f"{where}: {all_active(f'the {what} vectors', rows.nnz / rows.shape[0], rows.shape[1])}",
                logger="current",
                level=logging.WARNING,
            )
    found = {f"active_{what}": float(share.sum()) for what, share in shares.items()}
    return found | {"flops": float(shares[QUERY] @ shares[DOCUMENT])}
