"""Queries with candidate documents and a teacher's cached scores: data for Margin-MSE and listwise KL.

The file, ``.jsonl`` or ``.jsonl.gz``, has one line for each query: ``{"query_id", "doc_ids": [...], "scores": [...]}``. Ids are
text or whole numbers, scores are numbers or ``null``.
"""

from __future__ import annotations

import math
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch.utils.data import Dataset

from kdhub.api import UsageError, integer, near_matches, require
from kdret.columns import DOCUMENT, QUERY
from kdret.data.beir import RetrievalData, load_split
from kdret.data.digests import data_fingerprint
from kdret.data.fields import as_id, id_of
from kdret.data.jsonl import read_jsonl
from kdret.data.own_document import own_documents
from kdret.data.paths import one_content


@dataclass(frozen=True, slots=True)
class _Candidates:
    relevant: tuple[tuple[str, float], ...]
    others: tuple[tuple[str, float], ...]


class ScoredLists(Dataset):
    """One relevant document and ``candidates − 1`` others for each sample, with the teacher's score of each.

    A sample for each scored relevant document; the others are drawn anew each time from those scored for its query, with
    torch's generator. The relevant document is first, so `MarginMSE`, `ListwiseKL` and `RankNet` can all be used.

    Args:
        data_root: Folder; see `kdret.data.paths.find_data`.
        scores: File of scores, as ``kdhub mine`` writes it; relative to ``data_root`` if it is not found as it stands.
        split: Split that the queries belong to.
        candidates: K, at least 2.

    Candidates whose score is missing, NaN or −∞ are dropped and counted in the log, never taken for 0; so are empty documents,
    a query that is a document itself and stands among its own candidates, empty queries, and queries left with nothing
    relevant or with fewer than K − 1 others.

    Raises:
        UsageError: For data that cannot be used, a line that names unknown ids, one id twice or a score that is no number, for
            two different files of this name, or if no list is left.
    """

    def __init__(self, data_root: str, scores: str, split: str = "train", candidates: int = 8) -> None:
        require("ScoredLists", integer(2), candidates=candidates)
        self._data = data = load_split(data_root, split)
        self._others = candidates - 1
        self.data_root = str(data.root)
        self._path = path = data.root / scores
        found = {one.resolve(): one for one in (path, Path(scores)) if one.is_file()}
        if found:
            self._path = path = one_content(list(found.values()))
        else:
            raise UsageError(
                "ScoredLists: no file of scores",
                expected=str(path),
                near=near_matches(path.name, [entry.name for entry in path.parent.glob("*.jsonl*")]),
                fix=f"kdhub mine {data_root} --split {split} --teacher MODEL --output {path}",
            )
        dropped: Counter[str] = Counter()
        self._lists = _read(path, data, self._others, dropped)
        self._samples = [(query, row) for query, own in self._lists.items() for row in range(len(own.relevant))]
        if not self._samples:
            raise UsageError(
                "ScoredLists: no list is left",
                where=str(path),
                expected=f"one relevant and {self._others} other scored documents for a query",
                got="; ".join(f"{count} {reason}" for reason, count in dropped.items()) or "an empty file",
            )
        for reason, count in dropped.items():
            print_log(f"{path}: dropped {count} {reason}", logger="current")
        self.metainfo = {"data_root": str(data.root), "split": split, "dropped": dict(dropped)}

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        query, row = self._samples[index]
        own = self._lists[query]
        drawn = torch.randperm(len(own.others))[: self._others].tolist()
        chosen = [own.relevant[row], *(own.others[position] for position in drawn)]
        documents = [self._data.corpus[document].content for document, _ in chosen]
        return {
            "texts": {QUERY: self._data.queries[query], DOCUMENT: documents},
            "labels": [score for _, score in chosen],
        }

    def fingerprint(self) -> str:
        """Identify the data and the scores, for the run card."""
        return data_fingerprint(self._data.root, self._path)


def _read(path: Path, data: RetrievalData, others: int, dropped: Counter[str]) -> dict[str, _Candidates]:
    lists: dict[str, _Candidates] = {}
    seen: set[str] = set()
    own = own_documents(data)
    for number, entry in read_jsonl(path):
        where = f"{path}:{number}"
        query, scored = id_of(entry, "query_id", where), _scored(entry, where)
        if query not in data.queries:
            raise UsageError(f"unknown query {query!r}", where=where, near=near_matches(query, data.queries))
        if query in seen:
            raise UsageError(f"query {query!r} occurs a second time", where=where)
        seen.add(query)
        if query in own and scored.pop(query, None) is not None:
            dropped["candidates that are the query itself"] += 1
        candidates = _sort_out(scored, data, query, where, dropped)
        if not data.queries[query].strip():
            dropped["queries without text"] += 1
        elif not candidates.relevant or len(candidates.others) < others:
            dropped["queries without a relevant document or with too few others"] += 1
        else:
            lists[query] = candidates
    return lists


def _scored(entry: dict[str, Any], where: str) -> dict[str, float]:
    """Candidate to score; NaN where it is missing."""
    documents, scores = entry.get("doc_ids"), entry.get("scores")
    if not isinstance(documents, list) or not isinstance(scores, list) or len(documents) != len(scores):
        expected = "query_id, and doc_ids and scores of one length"
        raise UsageError("unreadable list", where=where, expected=expected, got=str(entry)[:80])
    scored: dict[str, float] = {}
    for document, score in zip(map(as_id, documents), scores, strict=True):
        if document is None:
            raise UsageError("no usable entry of 'doc_ids'", where=where, expected="text", got=str(documents)[:80])
        if document in scored:
            raise UsageError(f"document {document!r} occurs a second time", where=where, fix="keep one of its scores")
        scored[document] = _number(score, document, where)
    return scored


def _number(score: Any, document: str, where: str) -> float:
    number = math.nan if score is None else math.inf
    if isinstance(score, int | float) and not isinstance(score, bool):
        with suppress(OverflowError):
            number = float(score)
    if number == math.inf:
        got = repr(score)[:80]
        raise UsageError(f"no usable score of document {document!r}", where=where, expected="a number", got=got)
    return number


def _sort_out(
    scored: dict[str, float], data: RetrievalData, query: str, where: str, dropped: Counter[str]
) -> _Candidates:
    relevant, others = [], []
    judgements = data.qrels.get(query, {})
    for document, score in scored.items():
        if document not in data.corpus:
            raise UsageError(f"unknown document {document!r}", where=where, near=near_matches(document, data.corpus))
        if not math.isfinite(score):
            dropped["candidates without a score"] += 1
        elif not data.corpus[document].content:
            dropped["candidates without text"] += 1
        else:
            side = relevant if judgements.get(document, 0) > 0 else others
            side.append((document, score))
    return _Candidates(tuple(relevant), tuple(others))
