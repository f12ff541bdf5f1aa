"""Scores of a teacher for each query's relevant documents and for its negatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from mmengine.logging import print_log
from sentence_transformers import CrossEncoder

from kdhub.api import Progress, UsageError, integer, require, say, write_jsonl, write_sealed
from kdret.corpus_index import require_different, texts_of
from kdret.data.beir import RetrievalData
from kdret.data.corpus import Contents
from kdret.data.own_document import own_documents, squeezed
from kdret.index.base import Index
from kdret.kept_lines import KeptLines
from kdret.kept_vectors import KeptVectors
from kdret.negatives import NegativeRules
from kdret.scorers import PairScorer, Scorer, VectorScorer
from kdret.split_vectors import joined
from kdret.text_vectors import TextVectors

_OVER = 16
"""Documents that are fetched besides those that are needed at least."""
AT_ONCE = 512
"""Queries that are searched, scored and kept together.

FAISS 1.15 multiplies matrices from some 128,000 numbers of queries on; below, as with 256 queries of width 384, a search took 14 times as long.
"""


class Shares(Protocol):
    """Who does the two long parts of mining in other processes; see `kdret.mining_shares`."""

    def encode(self, kept: KeptVectors) -> None:
        """Encode the corpus."""

    def mine(self, kept: KeptLines, index: Index | None, queries: Sequence[str]) -> None:
        """Mine for these queries, with an index of what was encoded, or ``None`` for the one on the disk."""

    def discard(self) -> None:
        """Remove what was kept."""


def mine_lists(
    teacher: Any,
    data: RetrievalData,
    path: str | Path,
    depth: int = 50,
    batch_size: int = 32,
    *,
    rules: NegativeRules | None = None,
    index: Index | None = None,
    finder: TextVectors | None = None,
    about: Mapping[str, Any] | None = None,
    again: str = "",
    shares: Shares | None = None,
) -> int:
    """Write one line of candidates and scores for each query, for `kdret.ScoredLists`.

    Beside the file stands another with ``.mined.json`` at its end: rules, seed, and what was searched. Each query is searched,
    scored and drawn for by itself, so its line does not depend on the others, their order, batches or threads.

    Args:
        teacher: One of sentence-transformers' models. Scores are inner products of its embeddings, MaxSim of those of tokens,
            or a cross-encoder's logits.
        data: One split. All of its corpus is searched. A query need not have a relevant document.
        path: ``.jsonl`` or ``.jsonl.gz`` file to write.
        depth: How many negatives of each query; for ``rules=None``.
        batch_size: Texts encoded at once.
        rules: Which documents are negatives; ``None`` takes the best ``depth``. Never a relevant document, nor one with the text
            of a relevant document, nor the query itself if it is a document of the corpus.
        index: Built from the documents of ``data`` with the embeddings of ``finder``; ``None`` builds one.
        finder: The model whose ranking the negatives are taken from, such as the student; ``None`` takes the teacher. A
            cross-encoder needs one.
        about: What tells this call from others, with the fingerprints ``model`` (of who finds) and ``corpus``. Vectors and lines
            are then kept beside ``path`` until it stands, and a call about the same goes on after a stop. ``None`` keeps nothing.
        again: What to type to go on after Ctrl-C, for the error; without it Ctrl-C stays what it is.
        shares: Who encodes and mines; ``None`` does it here. Needs ``about``.

    Returns:
        Number of lines.

    Raises:
        UsageError: If the folder to write into does not exist, a value makes no sense, no document has text, the teacher
            gives all documents the same score, or a cross-encoder has no finder; after Ctrl-C, with how to go on.
    """
    require("mine", integer(1), depth=depth, batch_size=batch_size)
    rules = NegativeRules(depth) if rules is None else rules
    path = Path(path)
    if not path.parent.is_dir():
        raise UsageError(f"mine: no folder {str(path.parent)!r} to write into", fix="make it first")
    documents = texts_of(data.corpus)
    own = None if isinstance(teacher, CrossEncoder) else TextVectors("", batch_size, teacher, similarity="dot")
    searcher = finder or own
    if searcher is None:
        raise UsageError(
            "mine: a cross-encoder has no vectors to search by",
            expected="another model that finds candidates",
            fix="add --finder MODEL, such as the student",
        )
    kept = KeptLines(_beside(path, "lines") if about is not None else None, "query_id", about or {})
    vectors = None if about is None else KeptVectors(_beside(path, "vectors"), len(documents), about)
    try:
        whole, built = None, None
        if index is None:
            if shares is not None and vectors is not None:
                shares.encode(vectors)
            if vectors is None:
                names, texts = zip(*documents.items(), strict=True)
                whole = searcher.documents(list(texts), progress=True)
                del texts
            else:
                names, whole = tuple(documents), vectors.complete(searcher, documents)
            require_different(whole, "mine")
            # the teacher's own best are the true ones, whatever the size of the corpus
            settings = {"factory": "Flat"} if finder is None and searcher.kind == "dense" else {}
            index = built = searcher.new_index(**settings).build(whole, names)
        scorer = scorer_of(teacher, own, documents, batch_size, index, whole if finder is None else None)
        miner = Miner(data, documents, rules, scorer, index, finder)
        if shares is None:
            miner.complete(kept)
        else:
            shares.mine(kept, built, list(data.queries))
    except KeyboardInterrupt:
        if not again:
            raise
        told = f"stopped; {len(kept.found)} of {len(data.queries)} queries are mined and kept"
        raise UsageError(told, fix=f"to go on: {again}") from None
    count = write_jsonl(path, (kept.found[query] for query in data.queries))
    short = sum(miner.lacks(line) for line in kept.found.values())
    if short:
        told = f"{path}: {short} of {count} queries have fewer than {rules.count} negatives among ranks {rules.first} to {rules.end}"
        print_log(f"{told} -> widen --ranks, or ask less of them", logger="current")
    known = {key: value for key, value in (about or {}).items() if key in ("corpus", "teacher")}
    facts = {"rules": asdict(rules), "data": str(data.root), "split": data.split, "index": index.facts(), **index.about}
    write_sealed(path.with_name(f"{path.name}.mined.json"), {**facts, **known, "queries": count, "short": short})
    kept.discard()
    for other in (vectors, shares):
        if other is not None:
            other.discard()
    return count


def scorer_of(
    teacher: Any, own: TextVectors | None, documents: Contents, batch_size: int, index: Index, whole: Any
) -> Scorer:
    """Return what scores documents as the teacher does.

    Args:
        teacher: As for `mine_lists`.
        own: Its vectors; ``None`` for a cross-encoder.
        documents: Id to text.
        batch_size: Pairs read at once.
        index: What is searched.
        whole: Vectors of the teacher for all documents, in the order of the index; ``None`` encodes those that are met.
    """
    return PairScorer(teacher, documents, batch_size) if own is None else VectorScorer(own, documents, whole, index.ids)


class Miner:
    """Searches deeper for the queries whose negatives do not suffice yet.

    Args:
        data: One split.
        documents: Id to text.
        rules: Which documents are negatives.
        scorer: Scores as the teacher does.
        index: What is searched.
        finder: Who encodes the queries for it; ``None`` takes the teacher.
    """

    def __init__(
        self,
        data: RetrievalData,
        documents: Contents,
        rules: NegativeRules,
        scorer: Scorer,
        index: Index,
        finder: TextVectors | None,
    ) -> None:
        self._data, self._rules, self._scorer, self._index, self._finder = data, rules, scorer, index, finder
        self._documents = documents
        own = own_documents(data)
        self._relevant = {
            query: [key for key, score in data.qrels.get(query, {}).items() if score > 0 and key in documents]
            for query in data.queries
        }
        # a pass over the corpus, of which the texts of relevant documents alone stay
        texts = {key: squeezed(documents[key]) for keys in self._relevant.values() for key in keys}
        copies: dict[str, list[str]] = {text: [] for text in texts.values()}
        for key, text in documents.items() if copies else ():
            copies.get(squeezed(text), []).append(key)
        self._never = {
            query: {copy for key in keys for copy in copies[texts[key]]} | ({query} & own)
            for query, keys in self._relevant.items()
        }

    def complete(self, kept: KeptLines) -> None:
        """Mine for the queries that have no line yet, and keep their lines."""
        names = [query for query in self._data.queries if query not in kept.found]
        if kept.found:
            say(f"going on after {len(kept.found)} of {len(self._data.queries)} queries")
        with Progress("mining", len(self._data.queries), done=len(kept.found), unit="queries") as progress:
            for start in range(0, len(names), AT_ONCE):
                kept.add(self.lines(names[start : start + AT_ONCE], compare=not start))
                progress.reach(len(kept.found))

    def lines(self, names: list[str], compare: bool) -> list[dict[str, Any]]:
        """Mine for some queries.

        Args:
            names: Their ids.
            compare: Whether to see that the teacher tells documents apart.

        Returns:
            Their lines.

        Raises:
            UsageError: If it does not.
        """
        texts = [self._data.queries[query] for query in names]
        queries = self._scorer.queries(texts)
        lines = self._lines(names, queries, texts)
        if compare:
            self._scorer.require_spread(queries)
        return lines

    def lacks(self, line: Mapping[str, Any]) -> bool:
        """Whether a query has fewer negatives than asked for."""
        return len(line["doc_ids"]) - len(self._relevant[line["query_id"]]) < self._rules.count

    def _lines(self, names: list[str], queries: Sequence[Any], texts: list[str]) -> list[dict[str, Any]]:
        asked = joined(queries) if self._finder is None else self._finder.queries(texts)
        self._scorer.prepare(key for query in names for key in self._relevant[query])
        of_relevant = [
            self._scorer.scores(vector, self._relevant[query]) for query, vector in zip(names, queries, strict=True)
        ]
        rules = self._rules
        # what a deeper search finds again has its score already: a cross-encoder takes longer over it than any search
        scores: list[dict[str, float]] = [{} for _ in names]
        lines: dict[str, dict[str, Any]] = {}
        waiting = list(range(len(names)))
        wanted = rules.last or rules.first + rules.count
        deepest = min(len(self._index), self._index.most or len(self._index))
        over = max(map(len, self._never.values())) + _OVER
        depth = wanted + over
        deepest = min(deepest, rules.end + over)
        if wanted <= deepest:  # more is the index's to refuse
            depth = min(depth, deepest)
        while waiting:
            found = self._index.search(_rows(asked, waiting), depth)
            allowed = [
                [key for key, _ in ranking if key not in self._never[names[row]]]
                for row, ranking in zip(waiting, found, strict=True)
            ]
            self._scorer.prepare(key for keys in allowed for key in self._scored(keys))
            for row, keys in zip(waiting, allowed, strict=True):
                new = [key for key in self._scored(keys) if key not in scores[row]]
                scores[row].update(zip(new, self._scorer.scores(queries[row], new), strict=True))
                lines[names[row]] = self._line(names[row], keys, scores[row], of_relevant[row])
            waiting = [
                row
                for row, ranking, keys in zip(waiting, found, allowed, strict=True)
                if self.lacks(lines[names[row]]) and len(ranking) == depth < deepest and len(keys) < rules.end
            ]
            depth = min(4 * depth, deepest)
        return [lines[query] for query in names]

    def _line(
        self, query: str, ranked: list[str], known: Mapping[str, float], of_relevant: list[float]
    ) -> dict[str, Any]:
        relevant = self._relevant[query]
        scored = self._scored(ranked)
        scores = {key: known[key] for key in scored}
        if self._finder is None:
            ranked = self._ordered(ranked, scores)
        else:
            ranked = [*ranked[: self._rules.first], *scored]
        chosen = self._rules.choose(query, ranked, scores, of_relevant)
        # the teacher's order, whoever found them
        chosen.sort(key=lambda key: -scores[key])
        found = dict(zip(relevant, of_relevant, strict=True)) | {key: scores[key] for key in chosen}
        return {"query_id": query, "doc_ids": list(found), "scores": list(found.values())}

    def _ordered(self, ranked: list[str], scores: Mapping[str, float]) -> list[str]:
        """Order by the teacher's scores, for the last bits of an index's own depend on how many queries were asked at once."""
        if len(set(scores.values())) == len(scores):
            return sorted(ranked, key=lambda key: -scores[key])
        return sorted(ranked, key=lambda key: (-scores[key], self._documents.row(key)))

    def _scored(self, ranked: list[str]) -> list[str]:
        """Return those whose scores matter: all, where the scores order them, or else those that can be chosen."""
        return ranked if self._finder is None else self._rules.window(ranked)


def _rows(vectors: Any, rows: list[int]) -> Any:
    return [vectors[row] for row in rows] if isinstance(vectors, list) else vectors[rows]


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f".{path.name}.{what}")
