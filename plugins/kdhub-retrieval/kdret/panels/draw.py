"""Draws quality against what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kdhub.api import ModelPanels, svg_figure


class Point(NamedTuple):
    """One model in a plane of cost and quality.

    Attributes:
        name: What it is called.
        cost: Horizontal.
        quality: Vertical.
    """

    name: str
    cost: float
    quality: float


def points_of(run: Mapping[str, Any], alone: Mapping[str, Any], cost: str, quality: str) -> Iterator[Point]:
    """Give every model of a run for which both figures were measured.

    Args:
        run: The run card.
        alone: The card of the run alone; empty for none.
        cost: Name of the figure.
        quality: Name of the measure.
    """
    baselines = run.get("baselines") or {}
    measured = {
        name if name == "teacher" else f"teacher {name}": metrics
        for name, metrics in (baselines.get("teachers") or {}).items()
    }
    measured["student before"] = baselines.get("student") or {}
    for name, card in (("student alone", alone), ("student", run)):
        measured[name] = (card.get("evaluations") or [{}])[-1].get("metrics", {})
    for name, metrics in measured.items():
        if cost in metrics and quality in metrics:
            yield Point(name, metrics[cost], metrics[quality])


def draw_planes(planes: Mapping[str, Sequence[Point]], quality: str, path: Path) -> None:
    """Draw planes side by side, each model a labelled dot.

    Args:
        planes: Label of the horizontal axis to points.
        quality: Label of the vertical axis.
        path: The file, ``.svg``.
    """
    with svg_figure(path, 4.6 * len(planes), 3.2) as figure:
        for axes, (cost, points) in zip(
            figure.subplots(1, len(planes), squeeze=False).flat, planes.items(), strict=True
        ):
            for point in points:
                colour = ModelPanels.colour_of(point.name)
                axes.plot(point.cost, point.quality, "o", color=colour)
                axes.annotate(
                    point.name,
                    (point.cost, point.quality),
                    xytext=(6, 4),
                    textcoords="offset points",
                    color=colour,
                    fontsize=8,
                )
            axes.set(xlabel=cost, ylabel=quality)
            axes.set_xlim(left=0)
            axes.margins(x=0.3, y=0.2)
            axes.grid()
