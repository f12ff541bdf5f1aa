"""Statistics that several benchmarks quote."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from typing import TypedDict, TypeVar

Row = TypeVar("Row")

FEWEST = 10
"""Rounds that an interval by bootstrap needs: over three it would cover the true value in 75 % of all cases, not in 95 %."""


class Spread(TypedDict):
    """A statistic of all rounds, and between what it lies."""

    value: float
    low: float
    high: float
    kind: str
    """What `low` and `high` are: "95 % interval", or for instance "range of 5"."""


def with_spread(rows: Sequence[Row], statistic: Callable[[Sequence[Row]], float], repeats: int = 2000) -> Spread:
    """Compute a statistic of rounds, with its 95 % interval by bootstrap over them, or its range over single ones if they are few."""
    if len(rows) < FEWEST:
        single = [statistic([row]) for row in rows]
        return {"value": statistic(rows), "low": min(single), "high": max(single), "kind": f"range of {len(rows)}"}
    chance = random.Random(0)
    drawn = sorted(statistic(chance.choices(rows, k=len(rows))) for _ in range(repeats))
    low, high = (drawn[round(part * (repeats - 1))] for part in (0.025, 0.975))
    return {"value": statistic(rows), "low": low, "high": high, "kind": "95 % interval"}


def told(spread: Spread, form: str) -> str:
    """Return it as text, its numbers in one format."""
    return f"{spread['value']:{form}} ({spread['kind']} {spread['low']:{form}} to {spread['high']:{form}})"


def median_ms(seconds: Sequence[float]) -> float:
    return 1e3 * statistics.median(seconds)
