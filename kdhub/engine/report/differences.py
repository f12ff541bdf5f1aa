"""What differs between groups of runs: their metrics, their configs, and what makes a difference doubtful."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import compress

from kdhub.engine.report.grouping import Group, Run
from kdhub.engine.report.intervals import Interval, difference
from kdhub.engine.report.page import is_number, number


def over(group: Group, first: Group) -> dict[str, Interval]:
    """Return how far a group is above the first, by metric."""
    both = frozenset(path for path, _ in group.runs[0].seeds) & frozenset(path for path, _ in first.runs[0].seeds)
    found = {name: difference(group.by_seed(name, both), first.by_seed(name, both)) for name in group.metrics}
    return {name: value for name, value in found.items() if value is not None}


def differing(groups: Sequence[Group]) -> dict[str, list[str | None]]:
    """Return the key paths whose values are not the same in all groups; ``None`` where a config has no such key."""
    known = [None if group.runs[0].settings is None else group.settings for group in groups]
    paths = dict.fromkeys(path for one in known if one is not None for path in one)
    rows = {path: [repr(one[path]) if one and path in one else None for one in known] for path in paths}
    # a config that nobody can read differs from no other
    told = [one is not None for one in known]
    return {path: row for path, row in sorted(rows.items()) if len(set(compress(row, told))) > 1}


def notes(groups: Sequence[Group]) -> Iterator[str]:
    """Yield what a reader must know before believing the numbers."""
    runs = [run for group in groups for run in group.runs]
    for run in runs:
        if not run.finished:
            yield f"{run.label} is {run.card.get('status')}: its numbers are those of its last evaluation, of iteration {_at(run)}."
        for metric, value in run.metrics.items():
            if not is_number(value):
                yield f"{run.label} ended with {metric} {value}: its mean, interval and differences are those of the other seeds."
        if run.settings is None:
            yield f"{run.label} has no config.py that can be read, so it stands alone and its config is not compared."
    for group in groups:
        if len(group.runs) > group.draws:
            yield f"{group.label} has several runs of one seed; their mean counts once."
    for group in groups[1:]:
        if group.metrics and not over(group, groups[0]):
            yield f"{group.label} and {groups[0].label} have no metric and seed in common, so no difference is shown."
    data = {repr({**(run.card["data"].get("val") or {}), "data_root": None}) for run in runs if run.card.get("data")}
    if len(data) > 1:
        yield "The runs were not validated on the same data, so their metrics may not be comparable."
    machines = {
        repr([(run.card.get("machine") or {}).get(part) for part in ("processor", "gpus", "threads")]) for run in runs
    }
    if len(machines) > 1:
        yield "The runs took place on different machines, so their times are not comparable."


def _at(run: Run) -> str:
    return number((run.card.get("evaluations") or [{}])[-1].get("iteration"))
