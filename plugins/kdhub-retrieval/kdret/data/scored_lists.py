"""Queries with candidate documents and teachers' cached scores: data for Margin-MSE, listwise KL and DiSCo."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch.utils.data import Dataset

from kdhub.api import UsageError, choice, integer, near_matches, optional, read_sealed, require
from kdret.columns import DOCUMENT, QUERY
from kdret.data.beir import RetrievalData, load_split
from kdret.data.digests import corpus_fingerprint, data_fingerprint
from kdret.data.fusion import NORMALISATIONS, fuse, window
from kdret.data.own_document import own_documents
from kdret.data.paths import find_beside
from kdret.data.score_files import read_lists


@dataclass(frozen=True, slots=True)
class _Scores:
    """Document numbers, ``(n)``, and their scores, ``(n)``: 8 bytes a pair, of which a run may have a hundred million."""

    documents: Any
    scores: Any

    @classmethod
    def of(cls, scored: Mapping[int, float]) -> _Scores:
        return cls(np.fromiter(scored, np.int32, len(scored)), np.fromiter(scored.values(), np.float32, len(scored)))

    def items(self) -> list[tuple[int, float]]:
        return list(zip(self.documents.tolist(), self.scores.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class _Candidates:
    relevant: _Scores
    others: _Scores


class ScoredLists(Dataset):
    """One relevant document and ``candidates − 1`` others for each sample, with the teacher's score of each.

    A sample for each scored relevant document; the others are drawn anew each time from those scored for its query, with
    torch's generator. The relevant document is first, so `MarginMSE`, `ListwiseKL` and `RankNet` can all be used.

    Args:
        data_root: Folder; see `kdret.data.paths.find_data`.
        scores: File of scores, as ``kdhub mine`` writes it, or another of `kdret.data.score_files`; relative to ``data_root`` if it
            is not found as it stands. Several files, one for each teacher, are fused; see `kdret.data.fusion.fuse`.
        split: Split that the queries belong to.
        candidates: K, at least 2.
        weights: Weight of each file; equal ones by default.
        normalise: ``none``, ``zscore`` or ``minmax``: how the scores of a list are mapped before several are fused.
        skip: How many of the best documents of each list are left out, as likely to be relevant and not judged. DiSCo: 10.
        keep: How many of the rest are kept; ``None`` for all. DiSCo: 950.
        first: Which document stands first: each that is ``"judged"`` relevant, a sample for each; or the ``"best"`` of the teacher,
            skipped or not, for queries that nobody judged. What is judged relevant is never among the others.
        unscored: What becomes of a relevant document without a score, such as one among the skipped: ``"drop"``, or ``"max"``
            for the highest score that is left, as DiSCo's released code has it.
        draw: How the others are drawn: ``"uniform"``; or ``"balanced"``, TAS-B's pairs: the range of a query's margins
            t⁺ − t⁻ is parted into 10 equal bins, a bin with pairs is drawn, then a pair in it. There is then one sample for each
            query instead of one for each relevant document, and ``candidates`` must be 2.

    Candidates whose score is missing, NaN or −∞ are dropped and counted in the log, never taken for 0; so are empty documents,
    a query that is a document itself and stands among its own candidates, empty queries, and queries left with nothing
    relevant or with fewer than K − 1 others.

    Raises:
        UsageError: For data that cannot be used, a line that names unknown ids, one id twice or a score that is no number, for
            two different files of this name, or if no list is left.
    """

    def __init__(
        self,
        data_root: str,
        scores: str | Sequence[str],
        split: str = "train",
        candidates: int = 8,
        weights: Sequence[float] | None = None,
        normalise: str = "none",
        skip: int = 0,
        keep: int | None = None,
        unscored: str = "drop",
        first: str = "judged",
        draw: str = "uniform",
    ) -> None:
        require("ScoredLists", integer(2), candidates=candidates)
        require("ScoredLists", integer(0), skip=skip)
        require("ScoredLists", optional(integer(1)), keep=keep)
        require("ScoredLists", choice(NORMALISATIONS), normalise=normalise)
        require("ScoredLists", choice(("drop", "max")), unscored=unscored)
        require("ScoredLists", choice(("judged", "best")), first=first)
        require("ScoredLists", choice(("uniform", "balanced")), draw=draw)
        if draw == "balanced" and candidates != 2:
            raise UsageError(
                "ScoredLists: draw='balanced' draws pairs", expected="candidates=2", got=f"candidates={candidates}"
            )
        self._balanced = draw == "balanced"
        self._data = data = load_split(data_root, split, judged=first == "judged")
        self._others = candidates - 1
        self.data_root = str(data.root)
        names = [scores] if isinstance(scores, str) else list(scores)
        self._paths = [_found(data, name, split) for name in names]
        for path in self._paths:
            _require_same_corpus(path, data)
        shares = normalised_weights("ScoredLists", weights, len(names))
        dropped: Counter[str] = Counter()
        fused = _fused([_checked(path, data) for path in self._paths], shares, normalise)
        self._lists = _sorted_out(fused, data, self._others, (skip, keep), (first, unscored), dropped)
        self._samples = [
            (query, row)
            for query, own in self._lists.items()
            for row in range(1 if self._balanced else len(own.relevant.scores))
        ]
        where = ", ".join(map(str, self._paths))
        if not self._samples:
            raise UsageError(
                "ScoredLists: no list is left",
                where=where,
                expected=f"one relevant and {self._others} other scored documents for a query",
                got="; ".join(f"{count} {reason}" for reason, count in dropped.items()) or "an empty file",
            )
        for reason, count in dropped.items():
            print_log(f"{where}: dropped {count} {reason}", logger="current")
        self.metainfo = {"data_root": str(data.root), "split": split, "dropped": dict(dropped)}

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        query, row = self._samples[index]
        own = self._lists[query]
        if self._balanced:
            row, drawn = balanced_pair(own.relevant.scores, own.others.scores)
        else:
            drawn = torch.randperm(len(own.others.scores))[: self._others].numpy()
        numbers = [own.relevant.documents[row], *own.others.documents[drawn]]
        scores = [own.relevant.scores[row], *own.others.scores[drawn]]
        return {
            "texts": {
                QUERY: self._data.queries[query],
                DOCUMENT: [self._data.corpus.at(one).content for one in numbers],
            },
            "labels": [float(score) for score in scores],
        }

    @property
    def queries(self) -> list[str]:
        """The id of each sample's query."""
        return [query for query, _ in self._samples]

    def fingerprint(self) -> str:
        """Identify the data and the scores, for the run card."""
        return data_fingerprint(self._data.root, *self._paths)


def balanced_pair(relevant: Any, others: Any, bins: int = 10) -> tuple[int, Any]:
    """Draw a pair of a relevant and another document, balanced by the teacher's margin, with torch's generator.

    Args:
        relevant: Scores of relevant documents, ``(R,)``.
        others: Scores of others, ``(N,)``.
        bins: Equal stretches of the range of margins; margins that are all the same are one bin.

    Returns:
        The place of the relevant document, and that of the other, ``(1,)``.

    Source: card retrieval_losses.md, section 3.4.
    """
    margins = (relevant[:, None] - others[None, :]).ravel().astype(np.float64)
    low, width = margins.min(), np.ptp(margins) / bins
    bin_of = np.minimum((margins - low) // width, bins - 1) if width > 0 else np.zeros(len(margins))
    filled = np.unique(bin_of)
    chosen = np.flatnonzero(bin_of == filled[int(torch.randint(len(filled), ()))])
    row, other = divmod(int(chosen[int(torch.randint(len(chosen), ()))]), len(others))
    return row, np.array([other])


def normalised_weights(owner: str, weights: Sequence[float] | None, count: int) -> tuple[float, ...]:
    """Return the share of each of several teachers in their average.

    Raises:
        UsageError: If there are not as many weights as teachers, one is below 0 or no number, or all are 0.
    """
    given = [1.0] * count if weights is None else list(weights)
    if len(given) != count or not all(math.isfinite(weight) and weight >= 0 for weight in given) or not sum(given):
        raise UsageError(
            f"{owner}: bad weights", expected=f"{count} numbers of at least 0, not all 0", got=repr(weights)
        )
    return tuple(weight / sum(given) for weight in given)


def _found(data: RetrievalData, name: str, split: str) -> Path:
    if found := find_beside(data.root, name):
        return found
    path = data.root / name
    raise UsageError(
        "ScoredLists: no file of scores",
        expected=str(path),
        near=near_matches(path.name, [entry.name for entry in path.parent.glob("*.jsonl*")]),
        fix=f"kdhub mine {data.root} --split {split} --teacher MODEL --output {path}",
    )


def _require_same_corpus(path: Path, data: RetrievalData) -> None:
    """See that scores were mined for this corpus, where ``kdhub mine`` left word of that beside them.

    Raises:
        UsageError: If they were not. Ids such as 1, 2, 3 are in every corpus, and would join scores and texts of two.
    """
    beside = path.with_name(f"{path.name}.mined.json")
    if not beside.is_file():
        return
    mined = read_sealed(beside)
    own = corpus_fingerprint(data.corpus)
    if mined.get("corpus", own) != own:
        raise UsageError(
            "ScoredLists: scores of another corpus",
            where=str(path),
            expected=f"those of {data.root}, {own[:16]}",
            got=f"those of {mined['data']}, {mined['corpus'][:16]}",
            fix=f"kdhub mine {data.root} --split {data.split} --teacher MODEL --output {path}",
        )


def _checked(path: Path, data: RetrievalData) -> dict[str, _Scores]:
    """Read a file, and hold its ids against the data.

    Raises:
        UsageError: For an unknown id, or a query that comes twice.
    """
    lists: dict[str, _Scores] = {}
    for where, query, scored in read_lists(path):
        if query not in data.queries:
            raise UsageError(f"unknown query {query!r}", where=where, near=near_matches(query, data.queries))
        if query in lists:
            raise UsageError(f"query {query!r} occurs a second time", where=where)
        numbered: dict[int, float] = {}
        for document, score in scored.items():
            row = data.corpus.row(document)
            if row is None:
                raise UsageError(
                    f"unknown document {document!r}", where=where, near=near_matches(document, data.corpus)
                )
            numbered[row] = score
        lists[query] = _Scores.of(numbered)
    return lists


def _fused(
    files: Sequence[dict[str, _Scores]], weights: Sequence[float], normalise: str
) -> Iterator[tuple[str, dict[int, float]]]:
    for query in dict.fromkeys(query for lists in files for query in lists):
        found = [dict(lists[query].items()) if query in lists else {} for lists in files]
        yield query, fuse(found, weights, normalise)


def _sorted_out(
    fused: Iterator[tuple[str, dict[int, float]]],
    data: RetrievalData,
    others: int,
    part: tuple[int, int | None],
    rules: tuple[str, str],
    dropped: Counter[str],
) -> dict[str, _Candidates]:
    lists: dict[str, _Candidates] = {}
    first, unscored = rules
    own = own_documents(data)
    for query, scored in fused:
        if query in own and scored.pop(_row(data, query), None) is not None:
            dropped["candidates that are the query itself"] += 1
        usable = {key: score for key, score in scored.items() if math.isfinite(score)}
        dropped["candidates without a score"] += len(scored) - len(usable)
        judged = [_row(data, key) for key, judgement in data.qrels.get(query, {}).items() if judgement > 0]
        wanted, part_of = judged, window(usable, *part)
        if first == "best":
            wanted = [max(usable, key=lambda key: usable[key])] if usable else []
            part_of = {key: usable[key] for key in wanted} | part_of
        elif unscored == "max" and part_of:
            part_of = dict.fromkeys(wanted, max(part_of.values())) | part_of
        with_text = {key: score for key, score in part_of.items() if data.corpus.lengths[key]}
        dropped["candidates without text"] += len(part_of) - len(with_text)
        relevant = {key: with_text.pop(key) for key in wanted if key in with_text}
        for key in judged:  # of those that do not stand first none is a negative
            with_text.pop(key, None)
        if not data.queries[query].strip():
            dropped["queries without text"] += 1
        elif not relevant or len(with_text) < others:
            dropped["queries without a relevant document or with too few others"] += 1
        else:
            lists[query] = _Candidates(_Scores.of(relevant), _Scores.of(with_text))
    dropped += Counter()  # a reason that never applied is none
    return lists


def _row(data: RetrievalData, document: str) -> int:
    row = data.corpus.row(document)
    assert row is not None  # `load_split` has refused judgements of unknown documents
    return row
