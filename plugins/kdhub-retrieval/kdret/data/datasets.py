"""Datasets over a folder in BEIR's layout: texts and pairs to train on, a split to evaluate. Documents stay on the disk."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmengine.logging import print_log
from numpy.typing import NDArray
from torch.utils.data import Dataset

from kdhub.api import UsageError
from kdret.columns import DOCUMENT, QUERY, TEXT
from kdret.data.beir import RetrievalData, load_split
from kdret.data.corpus import load_corpus
from kdret.data.digests import data_fingerprint
from kdret.data.own_document import own_documents
from kdret.data.paths import find_data


class Pairs(Dataset):
    """A query and a document that is relevant to it; one sample for each judgement above 0.

    Pairs of which a text is empty are left out, and the log says how many.

    Args:
        data_root: Folder; see `kdret.data.paths.find_data`.
        split: Name of the split.

    Raises:
        UsageError: For data that cannot be used; see `kdret.data.beir.load_split`. Also if no pair is left.
    """

    def __init__(self, data_root: str, split: str = "train") -> None:
        data = load_split(data_root, split)
        numbers = {query: number for number, query in enumerate(data.queries)}
        pairs = [
            (numbers[query], data.corpus.row(document))
            for query, judgements in data.qrels.items()
            for document, score in judgements.items()
            if score > 0
        ]
        self.data_root = str(data.root)
        self._queries, self._corpus = list(data.queries.values()), data.corpus
        rows = np.array(pairs, np.int64)  # (P, 2): number of the query, row of the document
        filled = np.array([bool(text.strip()) for text in self._queries])
        self._pairs = _with_text(
            rows, filled[rows[:, 0]] & (data.corpus.lengths[rows[:, 1]] > 0), "pairs", self.data_root
        )
        self.metainfo = _describe(data)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        query, document = self._pairs[index]
        return {"texts": {QUERY: self._queries[query], DOCUMENT: self._corpus.at(document).content}}

    def fingerprint(self) -> str:
        """Identify the data, for the run card."""
        return data_fingerprint(self.metainfo["data_root"])


class Texts(Dataset):
    """Texts without judgements, in one column ``text``: every document, and perhaps a split's queries.

    What embedding and similarity objectives need, and all there is where judgements are few. Empty texts are left out, and the
    log says how many.

    Args:
        data_root: Folder; see `kdret.data.paths.find_data`.
        queries: Split whose queries are added; ``None`` adds none.

    Raises:
        UsageError: For data that cannot be used, or if no text is left.
    """

    def __init__(self, data_root: str, queries: str | None = None) -> None:
        self.data_root = str(find_data(data_root))
        self.metainfo: dict[str, Any] = {"data_root": data_root}
        self._queries: list[str] = []
        if queries is None:
            self._corpus = load_corpus(data_root)
        else:
            data = load_split(data_root, queries)
            self._corpus, self._queries = data.corpus, list(data.queries.values())
            self.metainfo |= _describe(data)
        filled = np.array([bool(text.strip()) for text in self._queries], bool)
        filled = np.concatenate([self._corpus.lengths > 0, filled])
        self._rows = _with_text(np.arange(len(filled)), filled, "texts", self.data_root)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row, documents = int(self._rows[index]), len(self._corpus)
        return {"texts": {TEXT: self._corpus.at(row).content if row < documents else self._queries[row - documents]}}

    def fingerprint(self) -> str:
        """Identify the data, for the run card."""
        return data_fingerprint(self.metainfo["data_root"])


class RetrievalSplit(Dataset):
    """All texts of a split, to be encoded once and ranked by `kdret.IRMetric`.

    Sorted from long to short, so that a batch has little padding and too large a batch fails at once; use it with
    ``shuffle=False``. Empty texts are encoded too, as BEIR does. ``metainfo['own_documents']`` names the queries that are
    documents themselves; see `kdret.data.own_document`.

    Args:
        data_root: Folder; see `kdret.data.paths.find_data`.
        split: Name of the split.
        corpus: What is searched: ``'all'`` documents, or those that the split's ``'judged'`` ones name. The latter is for
            collections made of pairs, where other splits' documents are training data.

    Raises:
        UsageError: For data that cannot be used, or if all documents or all queries are empty.
    """

    def __init__(self, data_root: str, split: str, corpus: str = "all") -> None:
        if corpus not in ("all", "judged"):
            raise UsageError("RetrievalSplit: bad corpus", expected="'all' or 'judged'", got=repr(corpus))
        data = load_split(data_root, split)
        self.data_root = str(data.root)
        self._corpus, self._queries = data.corpus, list(data.queries.items())
        self._documents = np.arange(len(data.corpus)) if corpus == "all" else data.judged()
        lengths = data.corpus.lengths[self._documents]
        _require_text(lengths.any(), "documents", self.data_root)
        _require_text(any(text.strip() for _, text in self._queries), "queries", self.data_root)
        asked = np.array([len(text) for _, text in self._queries])
        self._order = np.argsort(-np.concatenate([lengths, asked]), kind="stable")
        self.metainfo = _describe(data) | {
            "qrels": data.qrels,
            "n_documents": len(self._documents),
            "n_queries": len(self._queries),
            "own_documents": sorted(own_documents(data)),
        }

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> dict[str, Any]:
        place = int(self._order[index])
        if place < len(self._documents):
            document = self._corpus.at(self._documents[place])
            return {"texts": {DOCUMENT: document.content}, "key": (DOCUMENT, document.id)}
        key, text = self._queries[place - len(self._documents)]
        return {"texts": {QUERY: text}, "key": (QUERY, key)}

    def fingerprint(self) -> str:
        """Identify the data, for the run card."""
        return data_fingerprint(self.metainfo["data_root"])


def _describe(data: RetrievalData) -> dict[str, Any]:
    return {"data_root": str(data.root), "split": data.split}


def _with_text(rows: NDArray[Any], filled: NDArray[np.bool_], what: str, root: str) -> NDArray[Any]:
    """Leave out samples with an empty text, and say how many; an empty data set would be sampled for ever."""
    _require_text(filled.any(), what, root)
    if not filled.all():
        print_log(f"{root}: left out {int((~filled).sum())} of {len(rows)} {what}: a text is empty", logger="current")
    return rows[filled]


def _require_text(found: bool | np.bool_, what: str, root: str) -> None:
    if not found:
        raise UsageError(f"all {what} are empty", where=root, expected="at least one text with more than white space")
