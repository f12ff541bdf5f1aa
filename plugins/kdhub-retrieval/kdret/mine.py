"""Scores of a teacher for each query's relevant documents and for the documents it ranks highest."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from kdhub.errors import UsageError
from kdret.data.beir import RetrievalData
from kdret.data.jsonl import write_jsonl
from kdret.index import FlatIndex


def mine_lists(
    teacher: SentenceTransformer, data: RetrievalData, path: str | Path, depth: int = 50, batch_size: int = 32
) -> int:
    """Write one line of candidates and scores for each query, for `kdret.ScoredLists`.

    Args:
        teacher: Two-tower teacher; scores are inner products of its embeddings.
        data: One split. All of its corpus is searched.
        path: ``.jsonl`` or ``.jsonl.gz`` file to write.
        depth: How many of the teacher's best documents to keep besides the relevant ones.
        batch_size: Texts encoded at once.

    Returns:
        Number of lines.

    Raises:
        UsageError: If the folder to write into does not exist, or ``depth`` is below 1.
    """
    if depth < 1:
        raise UsageError("mine: bad depth", expected="at least 1", got=str(depth))
    if not Path(path).parent.is_dir():
        raise UsageError(f"mine: no folder {str(Path(path).parent)!r} to write into", fix="make it first")
    documents = {key: document.content for key, document in data.corpus.items() if document.content}
    options = {"batch_size": batch_size, "convert_to_numpy": True, "show_progress_bar": sys.stderr.isatty()}
    vectors = teacher.encode_document(list(documents.values()), **options)
    index = FlatIndex("dot").build(vectors, list(documents))
    queries = teacher.encode_query(list(data.queries.values()), **options)
    rows = dict(zip(documents, vectors, strict=True))
    found = index.search(queries, depth + max(map(len, data.qrels.values())))
    return write_jsonl(Path(path), _lines(data, queries, rows, found, depth))


def _lines(
    data: RetrievalData, queries: Any, rows: dict[str, Any], found: list[list[tuple[str, float]]], depth: int
) -> Iterator[dict[str, Any]]:
    for (query, vector), ranking in zip(zip(data.queries, queries, strict=True), found, strict=True):
        judged = data.qrels[query]
        scores = {key: float(np.dot(vector, rows[key])) for key, score in judged.items() if score > 0 and key in rows}
        others = [(key, score) for key, score in ranking if key not in scores]
        scores |= dict(others[:depth])
        yield {"query_id": query, "doc_ids": list(scores), "scores": list(scores.values())}
