"""The tables of `tools/evidence.py`: means with intervals over seeds, gains, and paired tests over queries."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
from scipy.stats import permutation_test, t as student_t

from kdhub.errors import UsageError

_FLIPS = 100_000
"""Random sign flips of a paired test; with up to 16 queries all of them are tried."""


def summary_of(
    runs: dict[str, list[dict[str, Any]]], metrics: list[str], seeds: list[int], test: bool, against: list[str] | None
) -> dict[str, Any]:
    """Bring the runs together: values, intervals, gains, and p-values over queries where these were kept.

    Args:
        runs: Name of a variant to what its runs reported, in the order of the seeds.
        metrics: Names.
        seeds: Those of the runs.
        test: Whether the test data were measured.
        against: Variants that each variant's gains are over; ``None`` takes the last variant's gains over all others.

    Raises:
        UsageError: If a run lacks a metric, or only some runs kept values of single queries.
    """
    table: dict[str, Any] = {"seeds": seeds, "test": test, "metrics": {}}
    for metric in metrics:
        for name, run in ((name, run) for name, own in runs.items() for run in own):
            if metric not in run["metrics"]:
                reported = ", ".join(run["metrics"]) or "none"
                raise UsageError(
                    f"the runs of {name!r} report no {metric!r}", got=reported, fix="--metric with one of these"
                )
        # a run card holds NaN as text
        values = {name: [float(run["metrics"][metric]) for run in own] for name, own in runs.items()}
        first = next(iter(runs.values()))[0]["baselines"]
        fixed = {f"teacher {name}": found[metric] for name, found in first.get("teachers", {}).items()}
        if "student" in first:
            fixed["student before"] = first["student"][metric]
        of, over = (list(values), against) if against else ([list(values)[-1]], list(values))
        per_query = _per_query(runs, metric)
        table["metrics"][metric] = {
            "fixed": fixed,
            "variants": {name: {"values": own, **interval(own)} for name, own in values.items()},
            "gains": {
                f"{method} - {name}": interval([a - b for a, b in zip(values[method], values[name], strict=True)])
                | ({"p": _p_value(per_query[method], per_query[name])} if per_query else {})
                for method in of
                for name in over
                if name != method
            },
        }
    return table


def interval(values: list[float]) -> dict[str, float]:
    """Mean and the half-width of its 95 % interval (Student's t over seeds)."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")  # of NaN `statistics` makes an error
    half = float(student_t.ppf(0.975, len(values) - 1)) * spread / len(values) ** 0.5 if len(values) > 1 else spread
    return {"mean": statistics.fmean(values), "half_width_95": half, "stdev": spread}


def _per_query(runs: dict[str, list[dict[str, Any]]], metric: str) -> dict[str, dict[str, float]]:
    """Return each query's value by variant, as the mean over the runs; nothing of a metric that is none of single queries.

    Raises:
        UsageError: If only some runs kept it, or of other queries.
    """
    kept = {name: [run.get("per_query", {}).get(metric) for run in own] for name, own in runs.items()}
    found = [values for own in kept.values() for values in own]
    if all(values is None for values in found):
        return {}
    if any(values is None or values.keys() != found[0].keys() for values in found):
        raise UsageError(f"not all runs kept {metric!r} of the same queries", fix="leave --paired out, or train anew")
    return {
        name: {query: statistics.fmean(one[query] for one in own) for query in own[0]} for name, own in kept.items()
    }


def _p_value(method: dict[str, float], other: dict[str, float]) -> float:
    """How often sign flips of the queries' differences give a mean at least as far from 0; two-sided."""
    differences = np.array([method[query] - other[query] for query in method])
    found = permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=_FLIPS, batch=10_000, rng=0
    )
    return float(found.pvalue)


def wide_table(summary: dict[str, Any], against: list[str]) -> str:
    """Write a row for each variant: every metric, and its gain in the first metric over some of the others."""
    metrics = summary["metrics"]
    first = next(iter(metrics.values()))
    heads = [*metrics, *(f"over {name}" for name in against)]
    lines = [f"| {len(summary['seeds'])} seeds | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for name in first["variants"]:
        cells = [found["variants"][name] for found in metrics.values()]
        cells += [first["gains"].get(f"{name} - {other}") for other in against]
        texts = (with_interval(cell["mean"], cell["half_width_95"]) if cell else "" for cell in cells)
        lines.append(f"| {name} | {' | '.join(texts)} |")
    return "\n".join(lines)


def with_interval(mean: float, half_width: float) -> str:
    """Write two significant digits of the half width, and as many decimals of the mean."""
    decimals = max(0, 1 - math.floor(math.log10(half_width))) if half_width > 0 else 4
    return f"{mean:.{decimals}f} ± {half_width:.{decimals}f}"


def long_table(summary: dict[str, Any]) -> str:
    """Write a table for each metric: a row for each variant, then one for each gain."""
    lines = []
    for metric, found in summary["metrics"].items():
        paired = any("p" in own for own in found["gains"].values())
        last = " p over queries |" if paired else ""
        lines += [f"| {metric}, {len(summary['seeds'])} seeds | mean | 95 % interval | stdev |{last}"]
        lines += ["|---|---|---|---|" + "---|" * paired]
        lines += [f"| {name} | {value:.4f} | | |" + " |" * paired for name, value in found["fixed"].items()]
        for name, own in {**found["variants"], **found["gains"]}.items():
            p = f" {own['p']:.4f} |" if "p" in own else " |" * paired
            lines.append(f"| {name} | {own['mean']:.4f} | ± {own['half_width_95']:.4f} | {own['stdev']:.4f} |{p}")
        lines.append("")
    return "\n".join(lines)
