"""`compared` and `write_comparison`: several runs side by side, as values for programs and as one self-contained page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress, islice, takewhile
from pathlib import Path
from typing import Any

from kdhub.engine.report.charts import overlay
from kdhub.engine.report.cost import COSTS, cost_of, cost_text
from kdhub.engine.report.curves import Curve, metric_curves, read_curves
from kdhub.engine.report.intervals import Interval, difference, interval
from kdhub.engine.report.page import is_number, number, pictures, plugin_facts, rendered
from kdhub.engine.report.runs import card_to_report, settings
from kdhub.engine.workdir.work_dir import make_work_dir
from kdhub.errors import UsageError
from kdhub.files import write_text

FILE_NAME = "comparison.html"
ABSENT = "–"
_CHARTS = 24
"""Curves shown at most, as in the report of one run."""


@dataclass(frozen=True)
class Run:
    """One of the runs: its folder, its shortest name among them, and its card."""

    folder: Path
    label: str
    card: dict[str, Any]

    @cached_property
    def settings(self) -> dict[str, Any] | None:
        """What its config decides, with all seeds; ``None`` if nobody can tell."""
        return settings(self.folder, self.card.get("work_dir"))

    @cached_property
    def seeds(self) -> tuple[tuple[str, Any], ...]:
        """Key path and value of each seed of its config: those of data and of predecessors count as well."""
        found = dict(self.settings or {})
        # a config without a seed gets a random one, which the card knows
        if self.card.get("seed") is not None:
            found["randomness.seed"] = self.card["seed"]
        return tuple(
            (path, value if isinstance(value, int) else repr(value))
            for path, value in sorted(found.items())
            if _is_seed(path)
        )

    @property
    def finished(self) -> bool:
        """Whether its metrics are those of a whole run."""
        return self.card.get("status") == "finished"

    @property
    def metrics(self) -> dict[str, Any]:
        """The last evaluation."""
        return (self.card.get("evaluations") or [{}])[-1].get("metrics", {})


@dataclass(frozen=True)
class Group:
    """Finished runs whose configs differ only by seeds, or a run that stands by itself."""

    label: str
    runs: tuple[Run, ...]

    def by_seed(self, metric: str, of: frozenset[str] | None = None) -> dict[object, float]:
        """Return the metric of each seed; runs of one seed are one draw, and count once.

        Args:
            metric: Its name.
            of: Key paths of the seeds that tell draws apart; ``None`` takes all.
        """
        values: dict[object, list[float]] = {}
        for run in self.runs:
            if is_number(run.metrics.get(metric)):
                seeds = tuple((path, value) for path, value in run.seeds if of is None or path in of)
                values.setdefault(seeds, []).append(float(run.metrics[metric]))
        return {seed: sum(found) / len(found) for seed, found in values.items()}

    @property
    def draws(self) -> int:
        """How many different seeds it has."""
        return len({run.seeds for run in self.runs})

    @property
    def settings(self) -> dict[str, Any]:
        """What its config decides, without seeds."""
        return {path: value for path, value in (self.runs[0].settings or {}).items() if not _is_seed(path)}

    @cached_property
    def metrics(self) -> dict[str, Interval]:
        """Each metric over the seeds."""
        names = dict.fromkeys(name for run in self.runs for name in run.metrics)
        found = {name: list(self.by_seed(name).values()) for name in names}
        return {name: interval(values) for name, values in found.items() if values}

    @cached_property
    def cost(self) -> dict[str, float]:
        """Each part of the cost, as the mean over the runs that know it."""
        costs = [cost_of(run.card) for run in self.runs]
        found = {name: [cost[name] for cost in costs if name in cost] for cost in costs for name in cost}
        return {name: sum(values) / len(values) for name, values in found.items()}


def read_groups(folders: Sequence[Path]) -> list[Group]:
    """Read runs and put together those that are seeds of one config.

    Raises:
        UsageError: For a folder that holds no run, or that is named twice.
    """
    places = [folder.resolve() for folder in folders]
    twice = [folder for number, folder in enumerate(folders) if places[number] in places[:number]]
    if twice:
        raise UsageError("a run is named twice", where=str(twice[0]), fix="name each folder once")
    cards = [card_to_report(folder) for folder in folders]
    labels = _labels(places)
    runs = [Run(*one) for one in zip(folders, labels, cards, strict=True)]
    together: dict[object, list[Run]] = {}
    for run in runs:
        known = run.finished and run.settings is not None
        same = tuple(sorted((path, repr(value)) for path, value in (run.settings or {}).items() if not _is_seed(path)))
        together.setdefault(same if known else run.folder, []).append(run)
    groups: list[Group] = []
    for members in together.values():
        label = _common([run.label for run in members])
        number_of_twins = sum(label == _common([run.label for run in group.runs]) for group in groups)
        groups.append(Group(label if not number_of_twins else f"{label} ({number_of_twins + 1})", tuple(members)))
    return groups


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
                    name: value._asdict() for name, value in _over(group, first).items() if group is not first
                },
                "cost": group.cost,
                "plugins": {run.label: plugin_facts(run.card) for run in group.runs},
            }
            for group in groups
        ],
        "config": {
            path: dict(zip((group.label for group in groups), values, strict=True))
            for path, values in _differing(groups).items()
        },
        "notes": list(_notes(groups)),
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
        notes=list(_notes(groups)),
        metrics=_union(groups, "metrics"),
        over={group.label: _over(group, groups[0]) for group in groups[1:]},
        cost=_union(groups, "cost"),
        differing={path: [ABSENT if one is None else one for one in row] for path, row in _differing(groups).items()},
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


def _is_seed(path: str) -> bool:
    return path.rpartition(".")[2] == "seed"


def _labels(places: Sequence[Path]) -> list[str]:
    """Name each folder by as few of its last parts as tell it from the others."""

    def ends(place: Path, parts: int) -> str:
        return "/".join(place.parts[-parts:])

    return [
        next(
            (
                ends(place, parts)
                for parts in range(1, len(place.parts))
                if [ends(one, parts) for one in places].count(ends(place, parts)) == 1
            ),
            str(place),
        )
        for place in places
    ]


def _common(labels: list[str]) -> str:
    """Name a group by what its runs' names share: ``kd-seed0`` and ``kd-seed1`` are ``kd``, ``kd-1/x`` and ``kd-2/x`` ``kd-*/x``."""
    if len(labels) == 1:
        return labels[0]
    begin = _shared(labels)
    if all(label[len(begin) :][:1].isdigit() for label in labels):
        begin = begin.rstrip("0123456789")  # seeds 10 and 11 are not two runs of "kd-1"
    end = _shared([label[len(begin) :][::-1] for label in labels])[::-1]
    if "/" in end:
        return f"{begin}*{end[end.index('/') :]}"
    return re.sub(r"(^|[-_./ ])(seed|s)?[-_./ ]*$", "", begin) or f"{labels[0]} and {len(labels) - 1} more"


def _shared(texts: list[str]) -> str:
    """Return what all texts begin with."""
    return "".join(
        letters[0] for letters in takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False))
    )


def _union(groups: Sequence[Group], part: str) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in getattr(group, part)))


def _over(group: Group, first: Group) -> dict[str, Interval]:
    """Return how far a group is above the first, by metric."""
    both = frozenset(path for path, _ in group.runs[0].seeds) & frozenset(path for path, _ in first.runs[0].seeds)
    found = {name: difference(group.by_seed(name, both), first.by_seed(name, both)) for name in group.metrics}
    return {name: value for name, value in found.items() if value is not None}


def _differing(groups: Sequence[Group]) -> dict[str, list[str | None]]:
    """Return the key paths whose values are not the same in all groups; ``None`` where a config has no such key."""
    known = [None if group.runs[0].settings is None else group.settings for group in groups]
    paths = dict.fromkeys(path for one in known if one is not None for path in one)
    rows = {path: [repr(one[path]) if one and path in one else None for one in known] for path in paths}
    # a config that nobody can read differs from no other
    told = [one is not None for one in known]
    return {path: row for path, row in sorted(rows.items()) if len(set(compress(row, told))) > 1}


def _training(run: Run) -> dict[str, Curve]:
    return read_curves(run.folder, [session["log"] for session in run.card.get("sessions", [])])


def _charts(groups: Sequence[Group], what: str, read: Any) -> Iterator[tuple[str, str]]:
    """Draw each curve that any run has, the losses first."""
    curves = {group.label: [read(run) for run in group.runs] for group in groups}
    names = dict.fromkeys(name for found in curves.values() for one in found for name in one)
    for name in sorted(names, key=lambda name: ("loss" not in name, name != "loss")):
        drawn = {label: [one[name] for one in found if name in one] for label, found in curves.items()}
        yield name, overlay(f"{what} {name}", {label: lines for label, lines in drawn.items() if lines})


def _notes(groups: Sequence[Group]) -> Iterator[str]:
    """Yield what a reader must know before believing the numbers."""
    runs = [run for group in groups for run in group.runs]
    for run in runs:
        if not run.finished:
            yield f"{run.label} is {run.card.get('status')}: its numbers are those of its last evaluation, of iteration {_at(run)}."
        if run.settings is None:
            yield f"{run.label} has no config.py that can be read, so it stands alone and its config is not compared."
    for group in groups:
        if len(group.runs) > group.draws:
            yield f"{group.label} has several runs of one seed; their mean counts once."
    for group in groups[1:]:
        if group.metrics and not _over(group, groups[0]):
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
