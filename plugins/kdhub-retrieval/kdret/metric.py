"""Retrieval quality of an encoder: exact search over a split, measured by ir-measures."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import scipy.sparse
from mmengine.evaluator import BaseMetric

from kdhub.api import UsageError, build, choice, require, write_sealed
from kdret.collapse import require_spread
from kdret.columns import DOCUMENT, QUERY
from kdret.data.fusion import reciprocal_ranks
from kdret.data.score_files import RUNS
from kdret.index.base import SIMILARITIES, Index
from kdret.panels.queries import QueryResults
from kdret.runs import read_run, write_run
from kdret.sparsity import sparsity
from kdret.split_vectors import all_scores, exact_index, joined

_ALIASES = {"MRR": "RR", "recall": "R", "precision": "P", "MAP": "AP"}
_KEPT = 10
"""First documents of each query that `IRMetric.found` names."""
_DEPTH_WITHOUT_CUTOFF = 1000  # as TREC submits runs


class IRMetric(BaseMetric):
    """Ranks a split's documents for each of its queries and averages rank measures over the queries.

    The validation dataset must be a `kdret.RetrievalSplit`: its ``metainfo`` carries the judgements. Under distributed
    evaluation each process encodes its share, and one ranks all.

    Args:
        measures: Names of ir-measures, such as ``nDCG@10``, ``RR@10``, ``R@100``, ``AP``; also ``MRR@10`` and ``recall@10``
            for the second and third, as retrieval papers call them. Reported under the name given here.
        similarity: Of dense vectors, ``'cosine'`` or ``'dot'``; see `FaissIndex`. Sparse vectors are compared by dot products
            and vectors of tokens by MaxSim, so that student and teacher may be of different kinds.
        index: What searches, such as ``dict(type='kdret.FaissIndex', factory='IVF1024,Flat')`` or
            ``dict(type='kdret.SparseIndex')``; ``None`` searches exactly. Measures of an approximate index are those of encoder
            and index together, and the log has its recall.
        speed: Whether to report two more figures: ``documents_per_second``, tokenising and encoding by one process, and
            ``query_ms``, milliseconds to encode a query, in the batches of the validation, and to search with it.
        prefix: Stands before each name in the log.
        collect_device: As in mmengine.
        per_query: File for the measures of each query, ``{name: {query: value}}`` sealed as JSON, written anew at each
            evaluation; a paired test between two runs needs them (``tools/evidence.py --paired``). ``None`` writes none.
        run: File for the ranking of each query, a TREC run that ends in ``.trec``, ``.run`` or ``.txt``, as deep as 1000; ``None``
            writes none.
        fuse: Runs whose rankings of the same queries are fused with this one's by `reciprocal_ranks`, in any format of
            `kdret.data.score_files`; such as that of DiSCo's teacher with the rewrites. A query that a run lacks keeps
            this one's ranking there, and the log counts these. All measures are of the fused ranking, and
            ``run`` of the one before.

    The argument is not called ``metrics``: mmengine takes a dict with that key for an evaluator of several metrics.

    All measures see one ranking. Equal scores are ordered by document id, from the last to the first, as trec_eval does, also
    where a cut-off parts them. A query that is a document of the corpus (ArguAna, Quora) does not find itself, as in BEIR;
    `kdret.data.own_document` has the rule. An encoder that gives all documents the same score is an error, not a number.

    Of sparse vectors it also reports ``active_query`` and ``active_document``, the mean number of words with a weight, and
    ``flops``, the expected number of multiplications for a query and a document; see `kdret.sparsity`.

    Attributes:
        measures: Name to measure of ir-measures.
        found: The last evaluation query by query, in the first of the measures; ``None`` before, and where another process ranks.
    """

    default_prefix = "retrieval"

    def __init__(
        self,
        measures: Sequence[str] = ("nDCG@10", "MRR@10", "recall@10"),
        similarity: str = "cosine",
        speed: bool = False,
        prefix: str | None = None,
        collect_device: str = "cpu",
        index: Mapping[str, Any] | None = None,
        per_query: str | None = None,
        run: str | None = None,
        fuse: Sequence[str] = (),
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.measures = {name: _measure(name) for name in measures}
        if not self.measures:
            raise UsageError("IRMetric: no measures", expected="at least one name", got="an empty list")
        self.found: QueryResults | None = None
        self.similarity = similarity
        self.speed = speed
        self.per_query = None if per_query is None else Path(per_query)
        self.run = None if run is None else Path(run)
        self.fuse = tuple(map(Path, [fuse] if isinstance(fuse, str) else fuse))
        require("IRMetric", choice(SIMILARITIES), similarity=similarity)
        if self.run is not None:
            require("IRMetric", choice(RUNS), **{"end of run": self.run.suffix})
        if missing := [str(path) for path in self.fuse if not path.is_file()]:
            raise UsageError(
                "IRMetric: no run to fuse with",
                where="fuse",
                got=missing[0],
                fix=f"write it by an evaluation with IRMetric(run={missing[0]!r})",
            )
        self.index = None if index is None else dict(index)
        if self.index is not None:
            self._new_index(self.index, similarity)  # an impossible one is refused before a whole split is encoded

    def _new_index(self, described: Mapping[str, Any], similarity: str) -> Index:
        return build("index", described, where="IRMetric.index", similarity=similarity)

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep the embeddings of one batch."""
        self.results.extend(
            (
                sample["column"],
                sample["id"],
                sample["embedding"]
                if scipy.sparse.issparse(sample["embedding"])
                else np.asarray(sample["embedding"], dtype=np.float32),
                sample.get("seconds", 0.0),
            )
            for sample in data_samples
        )

    def compute_metrics(self, results: list[tuple[str, str, Any, float]]) -> dict[str, float]:
        """Rank and measure.

        Args:
            results: ``(column, id, embedding, seconds)`` of every text of the split; see `kdret.split_vectors.joined`.

        Raises:
            UsageError: If the dataset gave no judgements, texts are missing, a run to fuse is of another split, or the encoder tells no
                documents apart.
        """
        meta = self.dataset_meta or {}
        if "qrels" not in meta:
            raise UsageError(
                "IRMetric: the dataset gives no judgements",
                expected="a dataset of type kdret.RetrievalSplit",
                got=f"metainfo with {', '.join(meta) or 'nothing'}",
            )
        # padding of distributed samplers may have encoded a text twice
        vectors: dict[str, dict[str, Any]] = {QUERY: {}, DOCUMENT: {}}
        for column, key, embedding, _ in results:
            vectors[column][key] = embedding
        _complete(vectors, meta)
        queries, documents = vectors[QUERY], vectors[DOCUMENT]
        # from the last id to the first: of equal scores the index keeps the order in which it was built
        ids = sorted(documents, reverse=True)
        rows, asked = joined([documents[key] for key in ids]), joined(list(queries.values()))
        found = sparsity(asked, rows, "IRMetric") if scipy.sparse.issparse(rows) else {}
        similarity = self.similarity if isinstance(rows, np.ndarray) else "dot"
        others = [read_run(path, queries.keys(), documents.keys()) for path in self.fuse]
        index = self._new_index(self.index or exact_index(rows), similarity).build(rows, ids, asked)
        depth = max(measure.params.get("cutoff") or _DEPTH_WITHOUT_CUTOFF for measure in self.measures.values())
        if self.run or self.fuse:
            depth = max(depth, _DEPTH_WITHOUT_CUTOFF)
        own = _own_documents(queries, documents, meta)
        started = time.perf_counter()
        try:
            rankings = index.search(asked, depth + bool(own))
            searching = time.perf_counter() - started
        finally:
            index.discard()
        require_spread(asked, rows, "IRMetric", all_scores)
        ranked = {
            query: [answer for answer in ranking if answer[0] != query or query not in own][:depth]
            for query, ranking in zip(queries, rankings, strict=True)
        }
        if self.run is not None:
            write_run(self.run, ranked)
        run = {}
        for query, ranking in ranked.items():
            lists = [[key for key, _ in ranking]]
            lists += [[key for key in one[query] if key != query or query not in own] for one in others]
            run[query] = _ranks(reciprocal_ranks(lists) if others else lists[0])
        values = ir_measures.calc_aggregate(self.measures.values(), meta["qrels"], run)
        if self.per_query is not None:
            self._write_per_query(self.per_query, meta["qrels"], run)
        self.found = _by_query(next(iter(self.measures.items())), meta["qrels"], run)
        found = {name: float(values[measure]) for name, measure in self.measures.items()} | found
        return found | _speed(results, searching / len(queries)) if self.speed else found

    def _write_per_query(self, path: Path, qrels: Any, run: Mapping[str, Any]) -> None:
        found: dict[Any, dict[str, float]] = {measure: {} for measure in self.measures.values()}
        for one in ir_measures.iter_calc(self.measures.values(), qrels, run):
            found[one.measure][one.query_id] = float(one.value)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_sealed(path, {f"{self.prefix}/{name}": found[measure] for name, measure in self.measures.items()})


def _complete(vectors: dict[str, dict[str, Any]], meta: dict[str, Any]) -> None:
    for column, expected in ((QUERY, meta["n_queries"]), (DOCUMENT, meta["n_documents"])):
        if len(vectors[column]) != expected:
            raise UsageError(
                f"IRMetric: embeddings of {column} texts are missing",
                expected=str(expected),
                got=str(len(vectors[column])),
                fix="use sampler=dict(type='DefaultSampler', shuffle=False) and no drop_last",
            )


def _own_documents(queries: dict[str, Any], documents: dict[str, Any], meta: dict[str, Any]) -> frozenset[str]:
    """Ids of the queries that must not find themselves; of a dataset that does not say, those not judged relevant to themselves."""
    told = meta.get("own_documents")
    if told is not None:
        return frozenset(told)
    qrels = meta["qrels"]
    return frozenset(key for key in queries if key in documents and qrels.get(key, {}).get(key, 0) <= 0)


def _ranks(ids: Sequence[str]) -> dict[str, float]:
    """Replace scores by ranks: the libraries under ir-measures order equal scores each in its own way."""
    return {key: float(len(ids) - rank) for rank, key in enumerate(ids)}


def _by_query(measure: tuple[str, Any], qrels: Any, run: Mapping[str, Mapping[str, float]]) -> QueryResults:
    name, meant = measure
    values = {one.query_id: float(one.value) for one in ir_measures.iter_calc([meant], qrels, run)}
    best = {query: sorted(ranks, key=ranks.__getitem__, reverse=True)[:_KEPT] for query, ranks in run.items()}
    return QueryResults(name, values, {query: best.get(query, []) for query in values})


def _speed(results: list[tuple[str, str, Any, float]], searching: float) -> dict[str, float]:
    times = {column: [one[3] for one in results if one[0] == column] for column in (DOCUMENT, QUERY)}
    if not sum(times[DOCUMENT]) > 0:
        return {}
    per_second = len(times[DOCUMENT]) / sum(times[DOCUMENT])
    return {
        "documents_per_second": per_second,
        "query_ms": 1000 * (sum(times[QUERY]) / len(times[QUERY]) + searching),
    }


def _measure(name: str) -> Any:
    family, at, cutoff = str(name).partition("@")
    try:
        measure = ir_measures.parse_measure(_ALIASES.get(family, family) + at + cutoff)
        if measure.params.get("cutoff", 1) < 1:
            raise ValueError("a cut-off below 1")
        return measure
    except (NameError, ValueError, TypeError, SyntaxError) as error:
        raise UsageError(
            f"IRMetric: no measure {name!r}",
            expected="such as nDCG@10, MRR@10, recall@10, R@100, AP",
            got=str(error),
        ) from error
