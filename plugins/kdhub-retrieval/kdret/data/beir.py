"""Reads one split in BEIR's layout: a corpus, queries and relevance judgements (qrels).

    corpus.jsonl[.gz]             see `kdret.data.corpus`
    queries.<split>.jsonl[.gz]    {"_id", "text"}; or queries.jsonl[.gz] for all splits, as BEIR publishes it
    qrels.<split>.jsonl[.gz]      {"query_id", "doc_id", "score"}; or BEIR's qrels/<split>.tsv

Nothing is repaired in silence: a wrong line names its file and number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdhub.api import UsageError, near_matches, read_jsonl, read_lines
from kdret.data.corpus import Corpus, load_corpus
from kdret.data.fields import id_of, judgement, text_of
from kdret.data.paths import find_data, find_file


@dataclass(frozen=True, slots=True)
class RetrievalData:
    """One split: every document, the split's queries, and who is relevant to whom.

    Attributes:
        root: Folder it was read from.
        split: Name of the split.
        corpus: Document id to document, in file order; its texts stay on the disk.
        queries: Query id to text, in file order.
        qrels: Query id to document id to judgement; at least one judgement per query is above 0, unless unjudged queries
            were asked for.
    """

    root: Path
    split: str
    corpus: Corpus
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]

    def judged(self) -> NDArray[np.int64]:
        """Return the rows of the corpus that this split's judgements name, in file order."""
        named = {document for row in self.qrels.values() for document in row}
        return np.array(sorted(row for row in map(self.corpus.row, named) if row is not None), np.int64)


def load_split(root: str | Path, split: str, judged: bool = True) -> RetrievalData:
    """Read the corpus and one split's queries and judgements, and hold them against each other.

    Args:
        root: Data folder; see `find_data`.
        split: Name of the split, such as ``train``, ``dev`` or ``test``.
        judged: Whether each query must have a relevant document; otherwise the judgements, and their file, may be missing.

    Raises:
        UsageError: For a missing file, an unreadable line, a duplicate id, empty judgements, a judgement of an unknown
            query or document, or a query without a relevant document.
    """
    folder = find_data(root)
    corpus = load_corpus(folder)
    queries_path = find_file(
        folder, (f"queries.{split}.jsonl.gz", f"queries.{split}.jsonl"), ("queries.jsonl.gz", "queries.jsonl")
    )
    queries: dict[str, str] = {}
    for where, entry in _numbered(queries_path):
        _add(queries, id_of(entry, "_id", where), text_of(entry, "text", where), where)
    _not_empty(queries, queries_path, "queries")
    names = (f"qrels.{split}.jsonl.gz", f"qrels.{split}.jsonl", f"qrels/{split}.tsv")
    if not judged and not any((folder / name).is_file() for name in names):
        return RetrievalData(folder, split, corpus, queries, {})
    qrels_path = find_file(folder, names)
    qrels = _load_qrels(qrels_path, queries, corpus)
    if not judged:
        return RetrievalData(folder, split, corpus, queries, qrels)
    if queries_path.name.startswith("queries.jsonl"):
        queries = {key: text for key, text in queries.items() if key in qrels}
    unjudged = [key for key in queries if not any(score > 0 for score in qrels.get(key, {}).values())]
    if unjudged:
        raise UsageError(
            f"{len(unjudged)} of {len(queries)} queries have no relevant document, first {unjudged[0]!r}",
            where=str(qrels_path),
            expected="a judgement above 0 for each query",
            fix=f"judge them, or take them out of {queries_path.name}; they would count as misses in every metric",
        )
    return RetrievalData(folder, split, corpus, queries, qrels)


def _load_qrels(path: Path, queries: dict[str, str], corpus: Corpus) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    for where, query, document, score in _judgements(path):
        if query not in queries:
            raise UsageError(f"judgement of unknown query {query!r}", where=where, near=near_matches(query, queries))
        if corpus.row(document) is None:
            raise UsageError(
                f"judgement of unknown document {document!r}", where=where, near=near_matches(document, corpus)
            )
        _add(qrels.setdefault(query, {}), document, score, where)
    return _not_empty(qrels, path, "judgements")


def _judgements(path: Path) -> Iterator[tuple[str, str, str, int]]:
    if path.suffix != ".tsv":
        for where, entry in _numbered(path):
            score = judgement(entry.get("score"), where)
            yield where, id_of(entry, "query_id", where), id_of(entry, "doc_id", where), score
        return
    for number, line in read_lines(path):
        where, fields = f"{path}:{number}", line.split("\t")
        if not line.strip() or (number == 1 and fields[-1] == "score"):
            continue
        if len(fields) != 3:
            raise UsageError(
                "unreadable line",
                where=where,
                expected="query-id, corpus-id and score between tabs",
                got=repr(line)[:80],
            )
        yield where, fields[0], fields[1], judgement(fields[2], where)


def _numbered(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((f"{path}:{number}", entry) for number, entry in read_jsonl(path))


def _add(table: dict[str, Any], key: str, value: Any, where: str) -> None:
    if key in table:
        raise UsageError(f"{key!r} occurs a second time", where=where, fix="keep one of the two lines")
    table[key] = value


def _not_empty(table: dict[str, Any], path: Path, what: str) -> dict[str, Any]:
    if not table:
        raise UsageError(f"no {what}", where=str(path), expected="at least one line", got="an empty file")
    return table
