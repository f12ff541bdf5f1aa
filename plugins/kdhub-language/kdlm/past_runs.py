"""Past runs as a table: what was chosen, on which data set, and what came out."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kdhub.api import RunCard, UsageError, load_config, near_matches

Value = str | float
_CHOSEN = ("model", "optim_wrapper", "param_scheduler", "train_cfg")
"""Parts of a config that are choices; data and seeds are none."""
_LIBRARY = ("path", "checkpoint", "pretrained_model_name_or_path", "init_cfg")


class Run(NamedTuple):
    """One finished run.

    Attributes:
        data_set: Name of the data set.
        score: What the student reached; higher is better.
        choices: The pipeline: name of a choice to what was chosen, a word or a number.
        features: Descriptors of the data set, such as its size.
    """

    data_set: str
    score: float
    choices: Mapping[str, Value]
    features: Mapping[str, float]


def read_csv(
    file: Path, score: str, data_set: str, features: Collection[str] = (), leave_out: Collection[str] = ()
) -> list[Run]:
    """Read runs of others: one a line, every column that is nothing else a choice. An empty cell is a choice not made.

    Args:
        file: A CSV file in UTF-8 with a line of names.
        score: Column of the score.
        data_set: Column of the data set's name.
        features: Columns that describe the data set, numbers.
        leave_out: Columns that are no choices, such as a run's date.

    Raises:
        UsageError: For a column that is not there, a score or feature that is no number, and a file without runs, by the line.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            names = list(reader.fieldnames or ())
            for name in (score, data_set, *features, *leave_out):
                if name not in names:
                    raise UsageError(
                        f"no column {name!r}",
                        where=str(file),
                        expected=", ".join(names),
                        near=near_matches(name, names),
                    )
            rest = [name for name in names if name not in {score, data_set, *features, *leave_out}]
            runs = [
                Run(
                    row[data_set],
                    _number(row[score], f"{file}:{reader.line_num}", score),
                    {name: _value(row[name]) for name in rest if row[name]},
                    {name: _number(row[name], f"{file}:{reader.line_num}", name) for name in features},
                )
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError("cannot read the runs", where=str(file), got=str(error)) from error
    if not runs:
        raise UsageError("no runs", where=str(file))
    return runs


def read_run(folder: Path, metric: str, data_set: str | None = None) -> Run:
    """Read a run of kdhub out of its work_dir; its configuration is loaded, as ``kdhub train --resume`` does.

    Args:
        folder: The work_dir.
        metric: The metric that is the score, of the last evaluation.
        data_set: Name of its data set; ``None`` for the type of its training data.

    Raises:
        UsageError: If it holds no finished run, or one without the metric.
    """
    card = RunCard.read(folder)
    if card is None or card.content.get("status") != "finished":
        raise UsageError("no finished run", where=str(folder), expected="a work_dir with run.json")
    metrics = card.last_metrics
    if metric not in metrics:
        raise UsageError(
            f"the run has no metric {metric!r}",
            where=str(folder),
            expected=", ".join(metrics) or "an evaluation",
            near=near_matches(metric, metrics),
        )
    cfg = load_config(str(folder / "config.py")).to_dict()
    data = card.content.get("data", {}).get("train", {})
    choices = {path: value for part in _CHOSEN for path, value in _leaves(cfg.get(part), part)}
    size = {"size": float(data["size"])} if "size" in data else {}
    return Run(data_set or str(data.get("type", "?")), float(metrics[metric]), choices, size)


def varying(runs: Sequence[Run]) -> list[Run]:
    """Keep the choices in which runs differ: what all have in common teaches nothing."""
    names = {name for run in runs for name in run.choices}
    keep = {name for name in names if len({run.choices.get(name) for run in runs}) > 1}
    return [run._replace(choices={name: value for name, value in run.choices.items() if name in keep}) for run in runs]


def _leaves(part: Any, path: str) -> Iterator[tuple[str, Value]]:
    if isinstance(part, Mapping):
        for key, value in part.items():
            if key not in _LIBRARY:
                yield from _leaves(value, f"{path}.{key}")
    elif isinstance(part, list | tuple):
        yield path, str(part)
    elif part is not None:
        yield path, float(part) if isinstance(part, int | float) and not isinstance(part, bool) else str(part)


def _value(text: str) -> Value:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _number(text: str | None, where: str, name: str) -> float:
    value = _value(text or "")
    if not isinstance(value, float):
        raise UsageError(f"{name!r} is no number", where=where, got=repr(text))
    return value
