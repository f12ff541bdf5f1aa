"""The curves of a run, read back from the files that mmengine's `LocalVisBackend` wrote."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

Curve = list[tuple[int, float]]
"""Pairs of iteration and value, by iteration."""

_NO_CURVES = frozenset({"time", "data_time", "memory", "epoch", "iter", "step"})


def read_curves(work_dir: Path, logs: Iterable[str]) -> dict[str, Curve]:
    """Read every term, learning rate and other number that training logged.

    Args:
        work_dir: Folder of the run.
        logs: Names of its log folders, in order. Where a later session goes over iterations again, it counts.

    Returns:
        Name to curve, in the order in which the names first occur.
    """
    curves: dict[str, Curve] = {}
    for line in _training_lines(work_dir, dict.fromkeys(logs)):
        step = int(line["step"])
        for name, value in line.items():
            if name in _NO_CURVES or not isinstance(value, (int, float)):
                continue
            curve = curves.setdefault(name, [])
            while curve and curve[-1][0] >= step:
                curve.pop()
            curve.append((step, float(value)))
    return curves


def metric_curves(card: Mapping[str, Any]) -> dict[str, Curve]:
    """Return each metric of a run card over the iterations, from the student before training on."""
    before = ((card.get("baselines") or {}).get("student")) or {}
    points = [(0, before)] if before else []
    points += [(one["iteration"], one["metrics"]) for one in card.get("evaluations", [])]
    curves: dict[str, Curve] = {}
    for iteration, metrics in points:
        for name, value in metrics.items():
            if isinstance(value, (int, float)):
                curves.setdefault(name, []).append((iteration, float(value)))
    return curves


def _training_lines(work_dir: Path, logs: Iterable[str]) -> Iterator[dict[str, Any]]:
    for log in logs:
        path = work_dir / log / "vis_data" / "scalars.json"
        if not path.is_file():
            continue
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
            except ValueError:  # the last line of a run that was killed while it wrote
                continue
            if "iter" in line:  # evaluations have none
                yield line
