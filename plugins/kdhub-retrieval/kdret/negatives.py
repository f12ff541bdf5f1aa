"""Which of the documents that a query finds are its negatives."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kdhub.api import UsageError, choice, integer, number, optional, require

_REACH = 20
"""Without an end, so many times the wanted negatives are looked at."""


@dataclass(frozen=True, slots=True)
class NegativeRules:
    """What makes a document a negative, and how many of them are taken.

    Ranks count what is left after the query's relevant documents, copies of their texts and the query itself are out.

    Args:
        count: How many.
        first: Rank from which on they are taken, from 0.
        last: Rank before which they end; ``None`` takes ``first + 20 · count``, for a query that cannot meet a limit would have
            the whole corpus scored.
        margin: A negative scores at least so much less than the relevant document that scores lowest.
        relative_margin: The same as a part of the absolute value of that document's score: 0.05 means s − 0.05·|s|, which is
            below s for negative scores too.
        max_score: A document that the teacher scores higher is probably relevant and was not judged.
        draw: ``'best'`` takes the highest-ranked ones, ``'random'`` any between ``first`` and ``last``.
        seed: Of the draw. Each query has a generator of its own, so neither the order of the queries nor their batches matter.

    Raises:
        UsageError: For a value that makes no sense, a window of fewer ranks than are asked for, or a random draw without
            an end.

    Source: card faiss_indexing.md, section 4.
    """

    count: int = 50
    first: int = 0
    last: int | None = None
    margin: float | None = None
    relative_margin: float | None = None
    max_score: float | None = None
    draw: str = "best"
    seed: int = 0

    def __post_init__(self) -> None:
        require("mine", integer(1), depth=self.count)
        require("mine", integer(0), first=self.first, seed=self.seed)
        require("mine", optional(integer(1)), last=self.last)
        require("mine", optional(number(at_least=0)), margin=self.margin, relative_margin=self.relative_margin)
        require("mine", optional(number()), max_score=self.max_score)
        require("mine", choice(("best", "random")), draw=self.draw)
        if self.last is not None and self.last - self.first < self.count:
            raise UsageError(
                f"mine: ranks {self.first} to {self.last} cannot give {self.count} documents",
                expected=f"at least {self.count} ranks",
                got=str(max(self.last - self.first, 0)),
                fix="widen --ranks, or lower --depth",
            )
        if self.draw == "random" and self.last is None:
            raise UsageError("mine: a random draw needs an end of the ranks", fix=f"such as --ranks 0 {4 * self.count}")

    @property
    def end(self) -> int:
        """Rank before which the negatives end."""
        return self.first + _REACH * self.count if self.last is None else self.last

    def limit(self, relevant: Sequence[float]) -> float:
        """Return the highest score of a negative.

        Args:
            relevant: Scores of the query's relevant documents; without any, no margin can be kept.
        """
        limits = [float("inf") if self.max_score is None else self.max_score]
        if relevant:
            lowest = min(relevant)
            if self.margin is not None:
                limits.append(lowest - self.margin)
            if self.relative_margin is not None:
                limits.append(lowest - self.relative_margin * abs(lowest))
        return min(limits)

    def window(self, ranked: Sequence[str]) -> list[str]:
        """Return the part of a ranking that `choose` reads: what lies outside needs no score.

        Args:
            ranked: Documents that may be negatives, from the best on.
        """
        limits = self.margin, self.relative_margin, self.max_score
        plain = self.draw == "best" and all(limit is None for limit in limits)
        return list(ranked[self.first : self.first + self.count if plain else self.end])

    def choose(
        self, query: str, ranked: Sequence[str], scores: Mapping[str, float], relevant: Sequence[float]
    ) -> list[str]:
        """Choose the negatives of one query.

        Args:
            query: Its id.
            ranked: Documents that may be negatives, from the best on.
            scores: The teacher's score of each.
            relevant: Scores of the query's relevant documents.

        Returns:
            Ids in the order of their ranks; fewer than asked for if there are no more.
        """
        limit = self.limit(relevant)
        left = [key for key in ranked[self.first : self.end] if scores[key] <= limit]
        if self.draw == "best" or len(left) <= self.count:
            return left[: self.count]
        drawn = generator(self.seed, query).permutation(len(left))[: self.count]
        return [left[position] for position in sorted(drawn.tolist())]


def generator(seed: int, query: str) -> np.random.Generator:
    """Return the generator of one query, whichever process asks and whatever came before.

    Args:
        seed: Of the whole.
        query: Id of the query.
    """
    digest = hashlib.sha256(f"{seed}|{query}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "big")))
