"""Means with 95 % intervals over the seeds of one config, and paired differences between two configs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import NamedTuple

_TABLE = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)
"""Student's t at 0.975 for 1 to 10 degrees of freedom, from the usual table; above, a series is exact to three digits."""


class Interval(NamedTuple):
    """A mean, and how far the interval reaches to either side.

    Attributes:
        mean: Over the seeds.
        half_width: Of the 95 % interval by Student's t; ``None`` for one seed, which says nothing about its spread.
        n: Number of seeds.
    """

    mean: float
    half_width: float | None
    n: int

    def __str__(self) -> str:
        """Write both with two significant digits of the half width."""
        if self.half_width is None:
            return f"{self.mean:.4g}"
        if self.half_width == 0:
            return f"{self.mean:.4g} ± 0"
        decimals = max(0, 1 - math.floor(math.log10(self.half_width)))
        return f"{self.mean:.{decimals}f} ± {self.half_width:.{decimals}f}"


def interval(values: list[float]) -> Interval:
    """Return the mean of at least one value with its interval."""
    n = len(values)
    if n == 1:
        return Interval(values[0], None, 1)
    half = student_t(n - 1) * statistics.stdev(values) / math.sqrt(n)
    return Interval(statistics.fmean(values), half, n)


def difference(one: Mapping[object, float], other: Mapping[object, float]) -> Interval | None:
    """Return how much ``one`` is above ``other``.

    With at least two seeds in common the difference is taken seed by seed, as a seed sets weights and data of both.

    Args:
        one: Seed to value.
        other: The same of what it is compared with.

    Returns:
        ``None`` if no seed is common to both.
    """
    both = [seed for seed in one if seed in other]
    return interval([one[seed] - other[seed] for seed in both]) if both else None


def student_t(freedom: int) -> float:
    """Return the 0.975 quantile of Student's t.

    Args:
        freedom: Degrees of freedom, at least 1.
    """
    if freedom <= len(_TABLE):
        return _TABLE[freedom - 1]
    z = statistics.NormalDist().inv_cdf(0.975)
    # Cornish and Fisher's expansion, as in Abramowitz and Stegun 26.7.5
    first = (z**3 + z) / (4 * freedom)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    return z + first + second + third
