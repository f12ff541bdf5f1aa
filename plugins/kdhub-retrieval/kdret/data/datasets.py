"""Datasets over a folder in BEIR's layout: texts and pairs to train on, a split to evaluate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mmengine.logging import print_log
from torch.utils.data import Dataset

from kdhub.api import UsageError
from kdret.columns import DOCUMENT, QUERY, TEXT
from kdret.data.beir import RetrievalData, load_corpus, load_split
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
        pairs = [
            (data.queries[query], data.corpus[document].content)
            for query, judgements in data.qrels.items()
            for document, score in judgements.items()
            if score > 0
        ]
        self.data_root = str(data.root)
        self._pairs = _with_text(pairs, "pairs", self.data_root)
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
        texts = [(document.content,) for document in load_corpus(data_root).values()]
        self.metainfo: dict[str, Any] = {"data_root": data_root}
        if queries is not None:
            data = load_split(data_root, queries)
            texts += [(text,) for text in data.queries.values()]
            self.metainfo |= _describe(data)
        self._texts = [text for (text,) in _with_text(texts, "texts", self.data_root)]

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
        documents = data.corpus if corpus == "all" else data.judged()
        self.data_root = str(data.root)
        for what, texts in (
            ("documents", [one.content for one in documents.values()]),
            ("queries", data.queries.values()),
        ):
            _require_text(texts, what, self.data_root)
        rows = [(document.content, (DOCUMENT, key)) for key, document in documents.items()]
        rows += [(text, (QUERY, key)) for key, text in data.queries.items()]
        self._rows = sorted(rows, key=lambda row: -len(row[0]))
        self.metainfo = _describe(data) | {
            "qrels": data.qrels,
            "n_documents": len(documents),
            "n_queries": len(data.queries),
            "own_documents": sorted(own_documents(data)),
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
    return {"data_root": str(data.root), "split": data.split}


def _with_text(samples: Sequence[tuple[str, ...]], what: str, root: str) -> list[Any]:
    """Leave out samples with an empty text, and say how many; an empty data set would be sampled for ever."""
    kept = [sample for sample in samples if all(text.strip() for text in sample)]
    _require_text([text for sample in kept for text in sample], what, root)
    if len(kept) < len(samples):
        print_log(
            f"{root}: left out {len(samples) - len(kept)} of {len(samples)} {what}: a text is empty", logger="current"
        )
    return kept


def _require_text(texts: Iterable[str], what: str, root: str) -> None:
    if not any(text.strip() for text in texts):
        raise UsageError(f"all {what} are empty", where=root, expected="at least one text with more than white space")
