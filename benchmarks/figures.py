"""Statistics that several benchmarks quote."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from typing import TypeVar

Row = TypeVar("Row")


def with_interval(
    rows: Sequence[Row], statistic: Callable[[Sequence[Row]], float], repeats: int = 2000
) -> dict[str, float]:
    """Compute a statistic of rounds, with its 95 % interval by bootstrap over the rounds."""
    chance = random.Random(0)
    drawn = sorted(statistic(chance.choices(rows, k=len(rows))) for _ in range(repeats))
    return {
        "value": statistic(rows),
        "low": drawn[round(0.025 * (repeats - 1))],
        "high": drawn[round(0.975 * (repeats - 1))],
    }


def median_ms(seconds: Sequence[float]) -> float:
    return 1e3 * statistics.median(seconds)
