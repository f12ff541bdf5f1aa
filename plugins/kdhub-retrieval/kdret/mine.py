"""Scores of a teacher for each query's relevant documents and for the documents it ranks highest."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log
from sentence_transformers import SentenceTransformer

from kdhub.api import UsageError, integer, require
from kdret.collapse import require_spread
from kdret.data.beir import RetrievalData
from kdret.data.jsonl import write_jsonl
from kdret.data.own_document import own_documents
from kdret.index.dense import FaissIndex


def mine_lists(
    teacher: SentenceTransformer, data: RetrievalData, path: str | Path, depth: int = 50, batch_size: int = 32
) -> int:
    """Write one line of candidates and scores for each query, for `kdret.ScoredLists`.

    Args:
        teacher: Two-tower teacher; scores are inner products of its embeddings.
        data: One split. All of its corpus is searched.
        path: ``.jsonl`` or ``.jsonl.gz`` file to write.
        depth: How many of the teacher's best documents to keep besides the relevant ones. A query that is a document of the
            corpus itself is never among them.
        batch_size: Texts encoded at once.

    Returns:
        Number of lines.

    Raises:
        UsageError: If the folder to write into does not exist, ``depth`` is below 1, no document has text, or the teacher
            gives all documents the same score.
    """
    require("mine", integer(1), depth=depth, batch_size=batch_size)
    if not Path(path).parent.is_dir():
        raise UsageError(f"mine: no folder {str(Path(path).parent)!r} to write into", fix="make it first")
    documents = {key: document.content for key, document in data.corpus.items() if document.content}
    options = {"batch_size": batch_size, "convert_to_numpy": True, "show_progress_bar": sys.stderr.isatty()}
    if not documents:
        raise UsageError("mine: all documents are empty", where=str(data.root), expected="at least one text")
    if len(documents) < len(data.corpus):
        print_log(f"{data.root}: left out {len(data.corpus) - len(documents)} documents without text", logger="current")
    own = own_documents(data)
    vectors = teacher.encode_document(list(documents.values()), **options)
    index = FaissIndex("dot", factory="Flat").build(vectors, list(documents))
    queries = teacher.encode_query(list(data.queries.values()), **options)
    rows = dict(zip(documents, vectors, strict=True))
    found = index.search(queries, depth + max(map(len, data.qrels.values())) + bool(own))
    require_spread(queries, vectors, "mine")
    for query, ranking in zip(data.queries, found, strict=True):
        if query in own:
            ranking[:] = [(key, score) for key, score in ranking if key != query]
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
