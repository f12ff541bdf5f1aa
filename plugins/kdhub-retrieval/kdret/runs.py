"""Rankings of a split's queries on the disk: written by one evaluation, fused with those of another one."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from kdhub.api import UsageError, atomic_file
from kdret.data.score_files import read_lists
from kdret.index.base import Ranking
from kdret.log import tell


def write_run(path: Path, rankings: Mapping[str, Ranking]) -> None:
    """Write rankings as a TREC run, which has no line for a query whose ranking is empty.

    Args:
        path: File whose folder is made; see `kdret.data.score_files` for the endings that it is read by.
        rankings: Query to ids and scores, from best to worst.

    Raises:
        UsageError: If an id has white space, which separates the fields of a run.
    """
    spaced = next(
        (key for query, own in rankings.items() for key in (query, *dict(own)) if len(key.split()) != 1), None
    )
    if spaced is not None:
        raise UsageError(
            "an id that a TREC run cannot hold", where=str(path), expected="no white space", got=repr(spaced)
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        for query, ranking in rankings.items():
            for rank, (key, score) in enumerate(ranking, start=1):
                file.write(f"{query} Q0 {key} {rank} {score!r} kdhub\n".encode())


def read_run(path: Path, queries: Collection[str], documents: Collection[str]) -> dict[str, Sequence[str]]:
    """Read the rankings of some queries; the file may have more. A query without a line has an empty ranking, and the log counts these.

    Args:
        path: As for `read_lists`.
        queries: Ids.
        documents: Ids of the corpus.

    Returns:
        Each query to its documents from the best on, equal scores from the last id to the first.

    Raises:
        UsageError: If none of the queries is there, or a document is of another corpus.
    """
    found: dict[str, Sequence[str]] = {}
    for where, query, scores in read_lists(path):
        if query not in queries:
            continue
        if other := next((key for key in scores if key not in documents), None):
            raise UsageError("a ranking of another corpus", where=where, got=f"document {other!r}")
        known = sorted((key for key, score in scores.items() if math.isfinite(score)), reverse=True)
        found[query] = sorted(known, key=lambda key: -scores[key])
    if not found:
        raise UsageError(
            "a run of other queries",
            where=str(path),
            expected=f"queries such as {next(iter(queries), None)!r}",
            got=f"none of the split's {len(queries)} queries",
            fix="evaluate the same split, in whatever form, with IRMetric(run=...)",
        )
    if len(found) < len(queries):
        tell(f"{path} ranks nothing for {len(queries) - len(found)} of {len(queries)} queries", warn=True)
    return {query: found.get(query, []) for query in queries}
