"""Queries with candidate documents and a teacher's cached scores: data for Margin-MSE and listwise KL.

The file, ``.jsonl`` or ``.jsonl.gz``, has one line for each query: ``{"query_id", "doc_ids": [...], "scores": [...]}``.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch.utils.data import Dataset

from kdhub.errors import UsageError, near_matches
from kdret.columns import DOCUMENT, QUERY
from kdret.data.beir import RetrievalData, data_fingerprint, load_split
from kdret.data.jsonl import read_jsonl


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

    Candidates whose score is missing or NaN are dropped and counted in the log, never taken for 0; so are empty documents,
    and queries left with nothing relevant or with fewer than K − 1 others.

    Raises:
        UsageError: For data that cannot be used, a line that names unknown ids, or if no list is left.
    """

    def __init__(self, data_root: str, scores: str, split: str = "train", candidates: int = 8) -> None:
        if candidates < 2:
            raise UsageError("ScoredLists: bad candidates", expected="at least 2", got=str(candidates))
        self._data = data = load_split(data_root, split)
        self._others = candidates - 1
        self._path = path = Path(scores) if Path(scores).is_file() else data.root / scores
        if not path.is_file():
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
    for number, entry in read_jsonl(path):
        where = f"{path}:{number}"
        query, documents, scores = (entry.get(field) for field in ("query_id", "doc_ids", "scores"))
        if not isinstance(documents, list) or not isinstance(scores, list) or len(documents) != len(scores):
            raise UsageError(
                "unreadable list",
                where=where,
                expected="query_id, and doc_ids and scores of one length",
                got=str(entry)[:80],
            )
        if query not in data.queries:
            raise UsageError(f"unknown query {query!r}", where=where, near=near_matches(str(query), data.queries))
        if query in lists:
            raise UsageError(f"query {query!r} occurs a second time", where=where)
        own = _sort_out(dict(zip(documents, scores, strict=True)), data, query, where, dropped)
        if not own.relevant or len(own.others) < others:
            dropped["queries without a relevant document or with too few others"] += 1
        else:
            lists[query] = own
    return lists


def _sort_out(
    scored: dict[str, float | None], data: RetrievalData, query: str, where: str, dropped: Counter[str]
) -> _Candidates:
    relevant, others = [], []
    for document, score in scored.items():
        if document not in data.corpus:
            raise UsageError(f"unknown document {document!r}", where=where, near=near_matches(document, data.corpus))
        if score is None or math.isnan(score):
            dropped["candidates without a score"] += 1
        elif not data.corpus[document].content:
            dropped["candidates without text"] += 1
        else:
            side = relevant if data.qrels[query].get(document, 0) > 0 else others
            side.append((document, float(score)))
    return _Candidates(tuple(relevant), tuple(others))
