"""Datasets over a folder in BEIR's layout: texts and pairs to train on, a split to evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from kdhub.errors import UsageError
from kdret.columns import DOCUMENT, QUERY, TEXT
from kdret.data.beir import RetrievalData, data_fingerprint, load_corpus, load_split


class Pairs(Dataset):
    """A query and a document that is relevant to it; one sample for each judgement above 0.

    Args:
        data_root: Folder; see `kdret.data.paths.find_data`.
        split: Name of the split.

    Raises:
        UsageError: For data that cannot be used; see `kdret.data.beir.load_split`.
    """

    def __init__(self, data_root: str, split: str = "train") -> None:
        data = load_split(data_root, split)
        self._pairs = [
            (data.queries[query], data.corpus[document].content)
            for query, judgements in data.qrels.items()
            for document, score in judgements.items()
            if score > 0 and data.corpus[document].content
        ]
        self.metainfo = _describe(data)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        query, document = self._pairs[index]
        return {"texts": {QUERY: query, DOCUMENT: document}}

    def fingerprint(self) -> str:
        """Identify the data, for the run card."""
        return data_fingerprint(self.metainfo["data_root"])


class Texts(Dataset):
    """Texts without judgements, in one column ``text``: every document, and perhaps a split's queries.

    What embedding and similarity objectives need, and all there is where judgements are few.

    Args:
        data_root: Folder; see `kdret.data.paths.find_data`.
        queries: Split whose queries are added; ``None`` adds none.

    Raises:
        UsageError: For data that cannot be used.
    """

    def __init__(self, data_root: str, queries: str | None = None) -> None:
        corpus = load_corpus(data_root)
        self._texts = [document.content for document in corpus.values() if document.content]
        self.metainfo: dict[str, Any] = {"data_root": data_root, "documents": len(self._texts)}
        if queries is not None:
            data = load_split(data_root, queries)
            self._texts += data.queries.values()
            self.metainfo |= _describe(data)

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"texts": {TEXT: self._texts[index]}}

    def fingerprint(self) -> str:
        """Identify the data, for the run card."""
        return data_fingerprint(self.metainfo["data_root"])


class RetrievalSplit(Dataset):
    """All texts of a split, to be encoded once and ranked by `kdret.IRMetric`.

    Sorted from long to short, so that a batch has little padding and too large a batch fails at once; use it with
    ``shuffle=False``.

    Args:
        data_root: Folder; see `kdret.data.paths.find_data`.
        split: Name of the split.
        corpus: What is searched: ``'all'`` documents, or those that the split's ``'judged'`` ones name. The latter is for
            collections made of pairs, where other splits' documents are training data.

    Raises:
        UsageError: For data that cannot be used.
    """

    def __init__(self, data_root: str, split: str, corpus: str = "all") -> None:
        if corpus not in ("all", "judged"):
            raise UsageError("RetrievalSplit: bad corpus", expected="'all' or 'judged'", got=repr(corpus))
        data = load_split(data_root, split)
        documents = data.corpus if corpus == "all" else data.judged()
        rows = [(document.content, (DOCUMENT, key)) for key, document in documents.items()]
        rows += [(text, (QUERY, key)) for key, text in data.queries.items()]
        self._rows = sorted(rows, key=lambda row: -len(row[0]))
        self.metainfo = _describe(data) | {
            "qrels": data.qrels,
            "n_documents": len(documents),
            "n_queries": len(data.queries),
        }

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        text, key = self._rows[index]
        return {"texts": {key[0]: text}, "key": key}

    def fingerprint(self) -> str:
        """Identify the data, for the run card."""
        return data_fingerprint(self.metainfo["data_root"])


def _describe(data: RetrievalData) -> dict[str, Any]:
    return {"data_root": str(Path(data.root)), "split": data.split}
