"""Scores of a teacher for each query's relevant documents and for its negatives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from mmengine.logging import print_log
from sentence_transformers import SentenceTransformer, SparseEncoder

from kdhub.api import UsageError, build, integer, require, write_jsonl, write_sealed
from kdret.collapse import require_spread
from kdret.corpus_index import require_different
from kdret.data.beir import RetrievalData
from kdret.data.corpus import Contents
from kdret.data.own_document import own_documents, squeezed
from kdret.index.base import Index, Ranking
from kdret.negatives import NegativeRules
from kdret.split_vectors import all_scores, exact_index, joined
from kdret.text_vectors import TextVectors, encoded

_OVER = 16
"""Documents that are fetched besides those that are needed at least."""


def mine_lists(
    teacher: SentenceTransformer | SparseEncoder,
    data: RetrievalData,
    path: str | Path,
    depth: int = 50,
    batch_size: int = 32,
    *,
    rules: NegativeRules | None = None,
    index: Index | None = None,
    finder: TextVectors | None = None,
) -> int:
    """Write one line of candidates and scores for each query, for `kdret.ScoredLists`.

    Beside the file stands another with ``.mined.json`` at its end: rules, seed, and what was searched.

    Args:
        teacher: Two-tower teacher, dense or sparse; scores are inner products of its embeddings.
        data: One split. All of its corpus is searched. A query need not have a relevant document.
        path: ``.jsonl`` or ``.jsonl.gz`` file to write.
        depth: How many negatives of each query; for ``rules=None``.
        batch_size: Texts encoded at once.
        rules: Which documents are negatives; ``None`` takes the best ``depth``. Never a relevant document, nor one with the text
            of a relevant document, nor the query itself if it is a document of the corpus.
        index: Built from the documents of ``data`` with the embeddings of ``finder``; ``None`` builds one.
        finder: The model whose ranking the negatives are taken from, such as the student; ``None`` takes the teacher.

    Returns:
        Number of lines.

    Raises:
        UsageError: If the folder to write into does not exist, a value makes no sense, no document has text, or the teacher
            gives all documents the same score.
    """
    require("mine", integer(1), depth=depth, batch_size=batch_size)
    rules = NegativeRules(depth) if rules is None else rules
    path = Path(path)
    if not path.parent.is_dir():
        raise UsageError(f"mine: no folder {str(path.parent)!r} to write into", fix="make it first")
    documents = data.corpus.contents()
    if not documents:
        raise UsageError("mine: all documents are empty", where=str(data.root), expected="at least one text")
    if len(documents) < len(data.corpus):
        print_log(f"{data.root}: left out {len(data.corpus) - len(documents)} documents without text", logger="current")
    scorer = _Teacher(teacher, documents, batch_size)
    texts = list(data.queries.values())
    queries = scorer.queries(texts)
    if index is None:
        if finder is None:
            rows = scorer.all_rows()
            index = build("index", exact_index(rows), similarity="dot")
        else:
            rows, index = finder.documents(list(documents.values())), finder.new_index()
            require_different(rows, "mine")
        index.build(rows, list(documents))
    miner = _Miner(data, documents, rules, scorer, sort=finder is None)
    lines = miner.lists(index, queries, queries if finder is None else finder.queries(texts))
    require_spread(queries, scorer.rows(), "mine", all_scores)
    count = write_jsonl(path, lines)
    short = sum(len(line["doc_ids"]) - miner.relevant[line["query_id"]] < rules.count for line in lines)
    if short:
        print_log(f"{path}: {short} of {count} queries have fewer than {rules.count} negatives", logger="current")
    about = {"rules": asdict(rules), "data": str(data.root), "split": data.split, "index": index.facts(), **index.about}
    write_sealed(path.with_name(f"{path.name}.mined.json"), {**about, "queries": count, "short": short})
    return count


class _Teacher:
    """Encodes with the teacher, each document once."""

    def __init__(self, teacher: SentenceTransformer | SparseEncoder, documents: Contents, batch_size: int) -> None:
        self._teacher = teacher
        self._documents = documents
        self._batch_size = batch_size
        self._rows: dict[str, Any] = {}

    def queries(self, texts: list[str]) -> Any:
        return encoded(self._teacher, self._teacher.encode_query, texts, self._batch_size, progress=True)

    def all_rows(self) -> Any:
        rows = self._encoded(list(self._documents.values()))
        self._rows = dict(zip(self._documents, _single(rows), strict=True))
        return rows

    def rows(self) -> Any:
        return joined(list(self._rows.values()))

    def prepare(self, keys: Iterable[str]) -> None:
        missing = [key for key in dict.fromkeys(keys) if key not in self._rows]
        if missing:
            rows = self._encoded([self._documents[key] for key in missing])
            self._rows.update(zip(missing, _single(rows), strict=True))

    def scores(self, query: Any, keys: Iterable[str]) -> dict[str, float]:
        # one product after the other: in a matrix product the last bits would depend on what else is in it
        if scipy.sparse.issparse(query):
            return {key: float(query.multiply(self._rows[key]).sum()) for key in keys}
        return {key: float(np.dot(query, self._rows[key])) for key in keys}

    def _encoded(self, texts: list[str]) -> Any:
        return encoded(self._teacher, self._teacher.encode_document, texts, self._batch_size, progress=True)


def _single(rows: Any) -> list[Any]:
    """Part vectors into those of each text, as `joined` takes them."""
    return [rows[[row]] for row in range(rows.shape[0])] if scipy.sparse.issparse(rows) else list(rows)


class _Miner:
    """Searches deeper for the queries whose negatives do not suffice yet."""

    def __init__(
        self, data: RetrievalData, documents: Contents, rules: NegativeRules, scorer: _Teacher, sort: bool
    ) -> None:
        self._data, self._rules, self._scorer, self._sort = data, rules, scorer, sort
        self._documents = documents
        own = own_documents(data)
        positives = {
            query: [key for key, score in data.qrels.get(query, {}).items() if score > 0 and key in documents]
            for query in data.queries
        }
        self.positives = positives
        self.relevant = {query: len(keys) for query, keys in positives.items()}
        # a pass over the corpus, of which the texts of relevant documents alone stay
        texts = {key: squeezed(documents[key]) for keys in positives.values() for key in keys}
        copies: dict[str, list[str]] = {text: [] for text in texts.values()}
        for key, text in documents.items() if copies else ():
            copies.get(squeezed(text), []).append(key)
        self._never = {
            query: {copy for key in keys for copy in copies[texts[key]]} | ({query} & own)
            for query, keys in positives.items()
        }

    def lists(self, index: Index, queries: Any, asked: Any) -> list[dict[str, Any]]:
        """Return the lines of all queries.

        Args:
            index: What is searched.
            queries: The teacher's embeddings ``(Q, D)``, for the scores.
            asked: Those that the index is asked with, ``(Q, D')``.
        """
        names = list(self._data.queries)
        self._scorer.prepare(key for query in names for key in self.positives[query])
        lines: dict[str, dict[str, Any]] = {}
        vectors = _single(queries)
        waiting = list(range(len(names)))
        rules = self._rules
        depth = (rules.last or rules.first + rules.count) + max(map(len, self._never.values())) + _OVER
        while waiting:
            found = index.search(asked[waiting], depth)
            ranked = [self._allowed(names[row], ranking) for row, ranking in zip(waiting, found, strict=True)]
            self._scorer.prepare(key for keys in ranked for key in keys)
            for row, keys in zip(waiting, ranked, strict=True):
                lines[names[row]] = self._line(names[row], vectors[row], keys)
            waiting = [
                row
                for row, keys in zip(waiting, ranked, strict=True)
                if self._short(lines[names[row]])
                and depth < len(index)
                and (rules.last is None or len(keys) < rules.last)
            ]
            depth = min(4 * depth, len(index))
        return [lines[query] for query in names]

    def _allowed(self, query: str, ranking: Ranking) -> list[str]:
        never = self._never[query]
        return [key for key, _ in ranking if key not in never]

    def _line(self, query: str, vector: Any, ranked: list[str]) -> dict[str, Any]:
        relevant = self._scorer.scores(vector, self.positives[query])
        scores = self._scorer.scores(vector, ranked)
        if self._sort:  # the last bits of the index's own scores depend on how many queries were asked at once
            ranked = sorted(ranked, key=lambda key: (-scores[key], self._documents.row(key)))
        chosen = self._rules.choose(query, ranked, scores, list(relevant.values()))
        # the teacher's order, whoever found them
        chosen.sort(key=lambda key: -scores[key])
        found = relevant | {key: scores[key] for key in chosen}
        return {"query_id": query, "doc_ids": list(found), "scores": list(found.values())}

    def _short(self, line: dict[str, Any]) -> bool:
        return len(line["doc_ids"]) - self.relevant[line["query_id"]] < self._rules.count
