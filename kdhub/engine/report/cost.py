"""What a run cost, from its card: time, memory, parameters."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from kdhub.engine.report.console import data_size, duration
from kdhub.engine.report.page import number

COSTS = {
    "seconds": "time of the whole run",
    "evaluation_seconds": "time of the last evaluation",
    "memory": "most memory of the process",
    "parameters": "parameters of the student",
    "teacher_parameters": "parameters of the teachers",
}
"""Each part of the cost in words."""


def cost_of(card: Mapping[str, Any]) -> dict[str, float]:
    """Return what is known of a run's cost, under the names of `COSTS`.

    Args:
        card: Of the run. One of a run that was resumed knows its time if each session ended in an orderly way.
    """
    cost: dict[str, float | None] = {"seconds": _seconds(card)}
    evaluations = card.get("evaluations") or [{}]
    cost["evaluation_seconds"] = evaluations[-1].get("seconds")
    cost["memory"] = (card.get("cost") or {}).get("memory")
    models = card.get("models") or {}
    cost["parameters"] = models.get("student", {}).get("parameters")
    teachers = [model.get("parameters") for name, model in models.items() if name != "student"]
    cost["teacher_parameters"] = sum(filter(None, teachers)) or None
    return {name: float(value) for name, value in cost.items() if value is not None}


def cost_text(name: str, value: float | None) -> str:
    """Write one part of the cost as a person would."""
    if value is None:
        return "–"
    if name.endswith("seconds"):
        return duration(value)
    return data_size(value) if name.endswith("memory") else number(round(value))


def _seconds(card: Mapping[str, Any]) -> float | None:
    sessions = card.get("sessions") or []
    ends = [session.get("ended") for session in sessions]
    if len(sessions) == 1 and ends == [None]:
        ends = [card.get("ended")]  # of a card that was written before sessions had an end
    if not sessions or None in ends:
        return None
    starts = [session["started"] for session in sessions]
    return sum(_moment(end) - _moment(start) for start, end in zip(starts, ends, strict=True))


def _moment(text: Any) -> float:
    return dt.datetime.fromisoformat(text).timestamp()
