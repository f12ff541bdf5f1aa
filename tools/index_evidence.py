"""Index table: what each dense index of a real collection takes and finds.

The documents of a collection are encoded once by all-MiniLM-L6-v2, cut after 64 tokens, and kept below data/evidence; all queries of its
splits are asked. Size is that of the saved index; building includes the measurement of its recall; queries a second are the median of
repeated searches for the best 100 of all queries at once, after one that is not counted. Recall@10 is the share of the true best 10 that
the index finds, and nDCG@10 is by the judgements. Indexes take turns in random order.

Examples:
    python tools/index_evidence.py vaswani
    python tools/index_evidence.py vaswani --factories Flat HNSW32 --rounds 9 --json
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
from numpy.typing import NDArray
from retrieval_evidence import EVIDENCE, MODELS, source

from kdhub.errors import KdhubError
from kdhub.files import atomic_folder
from kdret.data.beir import RetrievalData, load_split
from kdret.index.base import Index, Ranking
from kdret.index.dense import FaissIndex
from kdret.text_vectors import TextVectors

_K = 100
_FACTORIES = ("Flat", "HNSW32", "IVF128,Flat", "IVF128,SQ8", "IVF128,PQ48x8")
Row = dict[str, float]


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="collection, found as data/NAME or in KDHUB_DATA")
    parser.add_argument("--factories", nargs="+", default=list(_FACTORIES), metavar="FACTORY", help="of FAISS")
    parser.add_argument("--rounds", type=int, default=5, help="searches that are timed (default 5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)
    try:
        rows = measured(args.name, args.factories, args.rounds)
    except KdhubError as error:
        print(f"index_evidence: error: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    print("| index | MiB | built in s | queries a second | recall@10 | nDCG@10 |\n|---|---|---|---|---|---|")
    for name, row in rows.items():
        print("| {} | {mib:.1f} | {build:.1f} | {speed:.0f} | {recall:.3f} | {ndcg:.3f} |".format(name, **row))
    return 0


def measured(name: str, factories: list[str], rounds: int) -> dict[str, Row]:
    """Build and search each index.

    Args:
        name: Collection with splits ``train`` and ``dev``.
        factories: FAISS's strings.
        rounds: Searches of all queries that are timed.

    Raises:
        UsageError: If the collection or the model is missing.
    """
    root = source(name)
    splits = [load_split(root, split) for split in ("train", "dev")]
    ids, documents, queries = _vectors(name, splits)
    found: dict[str, Row] = {}
    indexes: dict[str, Index] = {}
    for factory in factories:
        begun = time.perf_counter()
        indexes[factory] = FaissIndex(factory=factory).build(documents, ids)
        found[factory] = {"build": time.perf_counter() - begun, "mib": _mib(indexes[factory])}
    exact = _answers(FaissIndex(factory="Flat").build(documents, ids), queries)
    seconds: dict[str, list[float]] = {factory: [] for factory in factories}
    chance = random.Random(0)
    for number in range(rounds + 1):
        for factory in chance.sample(factories, len(factories)):
            begun = time.perf_counter()
            answers = indexes[factory].search(queries, _K)
            if number:
                seconds[factory].append(time.perf_counter() - begun)
            else:
                found[factory] |= {"recall": _recall(answers, exact), "ndcg": _ndcg(answers, splits)}
    for factory, taken in seconds.items():
        found[factory]["speed"] = len(queries) / statistics.median(taken)
    return found


def _vectors(name: str, splits: list[RetrievalData]) -> tuple[list[str], NDArray[np.float32], NDArray[np.float32]]:
    """Encode documents and queries, or read them back."""
    folder = EVIDENCE / "index" / name
    corpus = splits[0].corpus
    ids = [key for key, document in corpus.items() if document.content]
    if not folder.is_dir():
        model = TextVectors(str(MODELS / "dense"))
        with atomic_folder(folder) as partial:
            np.save(partial / "documents.npy", model.documents([corpus[key].content for key in ids], progress=True))
            asked = [text for split in splits for text in split.queries.values()]
            np.save(partial / "queries.npy", model.queries(asked))
    return ids, np.load(folder / "documents.npy"), np.load(folder / "queries.npy")


def _answers(index: Index, queries: Any) -> list[set[str]]:
    return [{key for key, _ in ranking} for ranking in index.search(queries, 10)]


def _mib(index: Index) -> float:
    with tempfile.TemporaryDirectory() as folder:
        index.save(folder)
        return sum(path.stat().st_size for path in Path(folder).iterdir()) / 2**20


def _recall(answers: list[Ranking], exact: list[set[str]]) -> float:
    shares = [
        len(best & {key for key, _ in ranking[:10]}) / len(best) for ranking, best in zip(answers, exact, strict=True)
    ]
    return statistics.fmean(shares)


def _ndcg(answers: list[Ranking], splits: list[RetrievalData]) -> float:
    names = [query for split in splits for query in split.queries]
    run = {
        query: {key: float(-rank) for rank, (key, _) in enumerate(ranking)}
        for query, ranking in zip(names, answers, strict=True)
    }
    qrels = {query: judged for split in splits for query, judged in split.qrels.items()}
    measure = ir_measures.nDCG @ 10
    return float(ir_measures.calc_aggregate([measure], qrels, run)[measure])


if __name__ == "__main__":
    sys.exit(main())
