"""`compared` and `write_comparison`: several runs side by side, as values for programs and as one self-contained page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from kdhub.engine.report.charts import overlay
from kdhub.engine.report.cost import COSTS, cost_text
from kdhub.engine.report.curves import Curve, metric_curves, read_curves
from kdhub.engine.report.differences import differing, notes, over
from kdhub.engine.report.grouping import Group, Run
from kdhub.engine.report.page import pictures, plugin_facts, rendered
from kdhub.engine.workdir.work_dir import make_work_dir
from kdhub.files import write_text

FILE_NAME = "comparison.html"
ABSENT = "–"
_CHARTS = 24
"""Curves shown at most, as in the report of one run."""


def compared(groups: Sequence[Group]) -> dict[str, Any]:
    """Return the comparison as plain values: what ``kdhub report A B --json`` prints."""
    first = groups[0]
    return {
        "groups": [
            {
                "label": group.label,
                "runs": [str(run.folder) for run in group.runs],
                "status": group.runs[0].card.get("status"),
                "seeds": [dict(run.seeds) for run in group.runs],
                "metrics": {name: value._asdict() for name, value in group.metrics.items()},
                "over_first": {
                    name: value._asdict() for name, value in over(group, first).items() if group is not first
                },
                "cost": group.cost,
                "plugins": {run.label: plugin_facts(run.card) for run in group.runs},
            }
            for group in groups
        ],
        "config": {
            path: dict(zip((group.label for group in groups), values, strict=True))
            for path, values in differing(groups).items()
        },
        "notes": list(notes(groups)),
    }


def write_comparison(groups: Sequence[Group], path: Path) -> None:
    """Write the page.

    Args:
        groups: From `read_groups`.
        path: The file; its folder is made.

    Raises:
        UsageError: If it cannot be written.
    """
    runs = [run for group in groups for run in group.runs]
    plugins = {run.label: plugin_facts(run.card) for run in runs}
    shown = {run.label: list(pictures(run.folder, run.card)) for run in runs}
    page = rendered(
        "comparison.html.j2",
        groups=groups,
        runs=runs,
        notes=list(notes(groups)),
        metrics=_union(groups, "metrics"),
        over={group.label: over(group, groups[0]) for group in groups[1:]},
        cost=_union(groups, "cost"),
        differing={path: [ABSENT if one is None else one for one in row] for path, row in differing(groups).items()},
        results=list(islice(_charts(groups, "metric", lambda run: metric_curves(run.card)), _CHARTS)),
        curves=list(islice(_charts(groups, "training", _training), _CHARTS)),
        panels={
            name: {label: facts.get(name, {}) for label, facts in plugins.items()}
            for name in dict.fromkeys(name for facts in plugins.values() for name in facts)
        },
        costs=COSTS,
        cost_text=cost_text,
        pictures={
            title: [(label, one) for label, all_ in shown.items() for one in all_ if one["title"] == title]
            for title in dict.fromkeys(str(one["title"]) for all_ in shown.values() for one in all_)
        },
        tables={
            title: [(run.label, one) for run in runs for one in _tables(run) if one["title"] == title]
            for title in dict.fromkeys(one["title"] for run in runs for one in _tables(run))
        },
    )
    make_work_dir(path.absolute().parent)
    write_text(path, page)


def _tables(run: Run) -> list[dict[str, Any]]:
    return run.card.get("tables") or []


def _union(groups: Sequence[Group], part: str) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in getattr(group, part)))


def _training(run: Run) -> dict[str, Curve]:
    return read_curves(run.folder, [session["log"] for session in run.card.get("sessions", [])])


def _charts(groups: Sequence[Group], what: str, read: Any) -> Iterator[tuple[str, str]]:
    """Draw each curve that any run has, the losses first."""
    curves = {group.label: [read(run) for run in group.runs] for group in groups}
    names = dict.fromkeys(name for found in curves.values() for one in found for name in one)
    for name in sorted(names, key=lambda name: ("loss" not in name, name != "loss")):
        drawn = {label: [one[name] for one in found if name in one] for label, found in curves.items()}
        yield name, overlay(f"{what} {name}", {label: lines for label, lines in drawn.items() if lines})
