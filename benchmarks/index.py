"""kdret's indexes against the libraries under them: FAISS with the same factory, and scipy's products of sparse matrices.

Dense: clustered unit vectors, one `kdret.FaissIndex` and one raw FAISS index of the same factory and effort. kdret's building
includes checks of the vectors and, for an approximate index, the measurement of its recall; its searching includes checks, ids
and a fixed order of ties. Sparse: documents and queries with Zipf-distributed terms and gamma-distributed weights, about 120 and
20 terms, as SPLADE's; each variant gives ids and scores of the best k. ``scipy rows`` multiplies the documents, as CSR, by one query
after the other; ``scipy lists`` multiplies the queries by the transposed documents, so that it touches the lists of the queries'
terms only. The variants must agree on the answers, or nothing is printed.

All variants run in each round, in random order; medians are compared, and the ratio is kdret's time by the other's.

Usage: python benchmarks/index.py [--documents 50000] [--rounds 7] [--json]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
from figures import median_ms
from scipy import sparse

from kdret.index.dense import FaissIndex
from kdret.index.sparse import SparseIndex

WIDTH, QUERIES, K = 128, 200, 100
TERMS, DOCUMENT_TERMS, QUERY_TERMS = 30_000, 120, 20
FACTORIES = {"Flat": None, "IVF512,Flat": 32, "IVF512,SQ8": 32, "HNSW32": 128}


def dense_vectors(rows: int, seed: int) -> Any:
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(500, WIDTH))
    vectors = centres[chance.integers(500, size=rows)] + 0.7 * chance.normal(size=(rows, WIDTH))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def sparse_vectors(rows: int, terms: int, seed: int) -> Any:
    """Draw terms by Zipf's law with exponent 0.9 until a row has about so many different ones."""
    chance = np.random.default_rng(seed)
    share = 1 / np.arange(1, TERMS + 1) ** 0.9
    drawn = chance.choice(TERMS, size=(rows, round(1.3 * terms)), p=share / share.sum())
    weights = chance.gamma(2.0, 0.5, size=drawn.size).astype(np.float32)
    owners = np.repeat(np.arange(rows), drawn.shape[1])
    return sparse.coo_array((weights, (owners, drawn.ravel())), shape=(rows, TERMS)).tocsr()


def raw_index(factory: str, vectors: Any, effort: int | None) -> Any:
    index = faiss.index_factory(WIDTH, factory, faiss.METRIC_INNER_PRODUCT)
    if not index.is_trained:
        index.train(vectors)
    index.add(vectors)
    if effort:
        name = "nprobe" if factory.startswith("IVF") else "efSearch"
        faiss.ParameterSpace().set_index_parameter(index, name, effort)
    return index


def timed(variants: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    chance = random.Random(0)
    for _ in range(rounds):
        for name in chance.sample(list(variants), len(variants)):
            begin = time.perf_counter()
            variants[name]()
            seconds[name].append(time.perf_counter() - begin)
    return {name: median_ms(times) for name, times in seconds.items()}


def dense(documents: int, rounds: int) -> list[dict[str, Any]]:
    vectors, queries = dense_vectors(documents, 1), dense_vectors(QUERIES, 2)
    names = [f"d{row}" for row in range(documents)]
    rows = []
    for factory, effort in FACTORIES.items():

        def ours(factory: str = factory, effort: int | None = effort) -> Any:
            return FaissIndex(factory=factory, effort=effort, refine=0).build(vectors, names)

        built = timed(
            {"kdret": ours, "faiss": lambda f=factory, e=effort: raw_index(f, vectors, e)}, max(rounds // 2, 1)
        )  # type: ignore[misc]
        index, raw = ours(), raw_index(factory, vectors, effort)
        if factory == "Flat":
            expected = [[f"d{row}" for row in own] for own in raw.search(queries, K)[1]]
            if [[key for key, _ in own] for own in index.search(queries, K)] != expected:
                sys.exit("the answers differ")
        found = timed(
            {"kdret": lambda i=index: i.search(queries, K), "faiss": lambda r=raw: r.search(queries, K)}, rounds
        )  # type: ignore[misc]
        rows.append(
            {
                "factory": factory,
                "recall": index.recall.value if index.recall else 1.0,
                "build_ms": built,
                "search_ms_per_query": {name: value / QUERIES for name, value in found.items()},
                "build_ratio": built["kdret"] / built["faiss"],
                "search_ratio": found["kdret"] / found["faiss"],
            }
        )
    return rows


def best(scores: Any) -> list[tuple[int, float]]:
    rows = np.argpartition(-scores, K)[:K]
    rows = rows[np.lexsort((rows, -scores[rows]))]
    return list(zip(rows.tolist(), scores[rows].tolist(), strict=True))


def sparse_search(documents: int, rounds: int) -> dict[str, Any]:
    rows, queries = sparse_vectors(documents, DOCUMENT_TERMS, 1), sparse_vectors(QUERIES // 4, QUERY_TERMS, 2)
    lists = rows.T.tocsr()
    index = SparseIndex().build(rows, range(documents))
    asked = [queries[[row]] for row in range(queries.shape[0])]

    variants: dict[str, Callable[[], Any]] = {
        "kdret": lambda: index.search(queries, K),
        "scipy rows": lambda: [best(rows @ one.toarray()[0]) for one in asked],
        "scipy lists": lambda: [best(one.toarray()[0]) for one in (one @ lists for one in asked)],
    }
    answers = {name: [{int(row) for row, _ in own} for own in variant()] for name, variant in variants.items()}
    shared = [len(one & two) / K for name in answers for one, two in zip(answers["kdret"], answers[name], strict=True)]
    if statistics.fmean(shared) < 0.999:  # float32 sums in another order may part a tie
        sys.exit("the answers differ")
    found = {name: value / queries.shape[0] for name, value in timed(variants, rounds).items()}
    return {
        "document_terms": rows.nnz / documents,
        "query_terms": queries.nnz / queries.shape[0],
        "search_ms_per_query": found,
        "ratio": {name: found["kdret"] / value for name, value in found.items() if name != "kdret"},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    result = {
        "documents": options.documents,
        "k": K,
        "rounds": options.rounds,
        "dense": dense(options.documents, options.rounds),
        "sparse": sparse_search(options.documents, options.rounds),
    }
    if options.json:
        print(json.dumps(result, indent=1))
        return
    print(f"{options.documents} documents, k = {K}, medians of {options.rounds} rounds, one thread")
    for row in result["dense"]:
        times = row["search_ms_per_query"]
        print(
            f"{row['factory']:<12} recall@10 {row['recall']:.3f}  build {row['build_ratio']:.2f} of FAISS  search"
            f" {row['search_ratio']:.2f} of FAISS ({times['kdret']:.3f} and {times['faiss']:.3f} ms a query)"
        )
    found = result["sparse"]
    times = ", ".join(f"{name} {value:.2f} ms" for name, value in found["search_ms_per_query"].items())
    ratios = ", ".join(f"{value:.2f} of {name}" for name, value in found["ratio"].items())
    print(
        f"sparse       {found['document_terms']:.0f} terms a document, {found['query_terms']:.0f} a query: {ratios} ({times})"
    )


if __name__ == "__main__":
    main()
