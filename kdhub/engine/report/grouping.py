"""`read_groups`: runs put together to groups, of one config each, over their seeds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

from kdhub.engine.report.cost import cost_of
from kdhub.engine.report.intervals import Interval, interval
from kdhub.engine.report.page import is_number
from kdhub.engine.report.runs import card_to_report, settings
from kdhub.errors import UsageError


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
