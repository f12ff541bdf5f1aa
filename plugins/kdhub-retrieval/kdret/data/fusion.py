"""Lists of several teachers as one, rankings of several searches as one, and the part of a list that negatives are drawn from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

Document = TypeVar("Document", str, int)
NORMALISATIONS = ("none", "zscore", "minmax")


def fuse(
    lists: Sequence[Mapping[Document, float]], weights: Sequence[float], normalise: str = "none"
) -> dict[Document, float]:
    """Average, per document, the scores of the teachers that list it; a teacher without it is left out, not counted as 0.

    Args:
        lists: Of each teacher, document to score for one query. A score that is NaN or infinite counts as missing.
        weights: Weight of each teacher.
        normalise: ``none`` for teachers of one scale; ``zscore`` or ``minmax`` maps each list first, query by query.

    Source: Lupart et al. 2025, DiSCo, arXiv 2410.14609, and its reproduction by Fris et al. 2025; card disco.md, section 3.6.
    """
    sums: dict[Document, list[float]] = {}
    for scores, weight in zip(lists, weights, strict=True):
        for document, score in _normalised(scores, normalise).items():
            entry = sums.setdefault(document, [0.0, 0.0])
            if math.isfinite(score):
                entry[0] += weight * score
                entry[1] += weight
    return {document: total / weight if weight else math.nan for document, (total, weight) in sums.items()}


def reciprocal_ranks(rankings: Iterable[Sequence[Document]], constant: float = 60.0) -> list[Document]:
    """Fuse rankings of one query by rank alone: a document gets the sum of 1 / (constant + rank), with ranks from 1.

    Args:
        rankings: Documents from the best on. One that a ranking lacks gets nothing from it.
        constant: How little the first ranks differ; 60 is what the field uses.

    Returns:
        All documents, the best first; equal ones from the last id to the first.

    Source: Cormack et al. 2009, Reciprocal Rank Fusion outperforms Condorcet; card disco.md, section 3.7.
    """
    terms: dict[Document, list[float]] = {}
    for ranking in rankings:
        for rank, document in enumerate(ranking, start=1):
            terms.setdefault(document, []).append(1 / (constant + rank))
    # exactly rounded sums: the order of the rankings decides no tie
    scores = {document: math.fsum(own) for document, own in terms.items()}
    return sorted(sorted(scores, reverse=True), key=lambda document: -scores[document])


def window(scores: Mapping[Document, float], skip: int, keep: int | None) -> dict[Document, float]:
    """Return the ranks ``skip + 1`` to ``skip + keep`` of a list, the highest score first.

    Args:
        scores: Document to score.
        skip: How many of the best to leave out: among them are relevant documents that nobody judged.
        keep: How many of what is left; ``None`` for all.

    Source: card disco.md, section 4.
    """
    ranked = sorted(scores.items(), key=lambda entry: -entry[1])
    return dict(ranked[skip : None if keep is None else skip + keep])


def _normalised(scores: Mapping[Document, float], how: str) -> Mapping[Document, float]:
    found = [score for score in scores.values() if math.isfinite(score)]
    if how == "none" or not found:
        return scores
    low, scale = min(found), max(found) - min(found)
    if how == "zscore":
        low = sum(found) / len(found)
        scale = math.sqrt(sum((score - low) ** 2 for score in found) / len(found))
    return {document: (score - low) / scale if scale else 0.0 * score for document, score in scores.items()}
