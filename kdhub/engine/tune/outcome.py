"""What a study tells: as values, as a table, as a picture."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kdhub.engine.report.charts import COLOURS, svg_figure
from kdhub.engine.tune.space import Dimension
from kdhub.engine.tune.study import TRIALS, Goal, finished, options_of, why_failed

PICTURE = "tuning.svg"


def told(study: Any, goal: Goal, folder: Path) -> dict[str, Any]:
    """Return the study as plain values: what ``kdhub tune --json`` prints."""
    best = best_trial(study)
    return {
        "folder": str(folder),
        "metric": goal.metric,
        "direction": goal.direction,
        "picture": str(folder / PICTURE) if best is not None else None,
        "best": None if best is None else _trial(best, goal, folder),
        "trials": [_trial(trial, goal, folder) for trial in finished(study)],
    }


def best_trial(study: Any) -> Any:
    """Return the best of the trials that have a value; ``None`` if none has."""
    measured = [trial for trial in finished(study) if trial.value is not None]
    sign = 1 if study.direction.name == "MAXIMIZE" else -1
    return max(measured, key=lambda trial: sign * trial.value, default=None)


def rows(study: Any, goal: Goal) -> Iterator[tuple[str, ...]]:
    """Yield the table's rows, the best trial first and those without a value last."""
    sign = -1 if goal.direction == "maximize" else 1
    for trial in sorted(finished(study), key=lambda one: math.inf if one.value is None else sign * one.value):
        value = why_failed(trial) if trial.value is None else f"{trial.value:.4g}"
        yield str(trial.number), *(_cell(trial.params.get(one.path)) for one in goal.space), value


def draw(study: Any, goal: Goal, folder: Path) -> Path | None:
    """Draw the metric against each dimension into the study's folder; nothing without a measured trial.

    Returns:
        The picture, which reads in light and in dark.
    """
    measured = [trial for trial in finished(study) if trial.value is not None]
    best = best_trial(study)
    if best is None:
        return None
    columns = min(3, len(goal.space))
    lines = -(-len(goal.space) // columns)
    path = folder / PICTURE
    with svg_figure(path, 3.3 * columns, 2.6 * lines) as figure:
        for number, one in enumerate(goal.space, 1):
            axes = figure.add_subplot(lines, columns, number)
            places = [_place(one, trial) for trial in measured]
            axes.scatter(places, [trial.value for trial in measured], color=COLOURS.line, s=14)
            axes.scatter([_place(one, best)], [best.value], color=COLOURS.good, marker="*", s=110, label="best")
            if one.log:
                axes.set_xscale("log")
            if one.choices:
                axes.set_xticks(range(len(one.choices)), [str(choice) for choice in one.choices])
            axes.set_xlabel(one.path if len(one.path) < 44 else f"…{one.path[-42:]}")
            if (number - 1) % columns == 0:
                axes.set_ylabel(goal.metric)
            axes.grid(axis="y")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", frameon=False)
    return path


def _place(one: Dimension, trial: Any) -> float:
    value = trial.params[one.path]
    return next(i for i, choice in enumerate(one.choices) if value in (choice, repr(choice))) if one.choices else value


def _trial(trial: Any, goal: Goal, folder: Path) -> dict[str, Any]:
    return {
        "number": trial.number,
        "value": trial.value,
        "params": trial.params,
        "options": options_of(goal.space, trial.params),
        "work_dir": str(folder / TRIALS / str(trial.number)),
        "seconds": trial.user_attrs.get("seconds"),
        **({"why": why_failed(trial)} if trial.value is None else {}),
    }


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
