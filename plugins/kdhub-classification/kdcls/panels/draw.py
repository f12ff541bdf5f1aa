"""Draws how sure classifiers are, and images with their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdcls.class_report import Bin, calibration_error
from kdhub.api import COLOURS, svg_figure

_COLUMNS = 6
_LETTERS = 22


class Card(NamedTuple):
    """One image.

    Attributes:
        picture: Grey ``(H, W)`` or RGB ``(H, W, 3)``, from 0 to 1.
        lines: What stands below it.
    """

    picture: NDArray[np.float64]
    lines: Sequence[str]


def draw_reliability(bins: Mapping[str, Sequence[Bin]], colours: Mapping[str, str], path: Path) -> None:
    """Draw one reliability diagram a model: accuracy in bins of confidence, beside the line of a model that is right as often as it thinks.

    Args:
        bins: Name to bins; see `kdcls.class_report.calibration_bins`.
        colours: Name to colour.
        path: The file, ``.svg``.
    """
    with svg_figure(path, 2.6 * len(bins) + 0.4, 2.9) as figure:
        samples = {name: sum(one.samples for one in found) for name, found in bins.items()}
        for axes, (name, found) in zip(figure.subplots(1, len(bins), squeeze=False).flat, bins.items(), strict=True):
            axes.plot([0, 1], [0, 1], color=COLOURS.other, linewidth=1, linestyle=(0, (4, 3)))
            axes.scatter(
                [one.confidence for one in found],
                [one.accuracy for one in found],
                s=[12 + 200 * one.samples / samples[name] for one in found],
                color=colours[name],
                alpha=0.75,
                linewidths=0,
            )
            axes.set(xlim=(0, 1.04), ylim=(0, 1.04), xlabel="confidence", ylabel="share that is right", aspect="equal")
            axes.set_title(f"{name}: calibration error {calibration_error(found):.1f} %", fontsize=8)
            axes.grid()


def draw_cards(cards: Sequence[Card], path: Path) -> None:
    """Draw images in rows, with their lines of text.

    Args:
        cards: At least one.
        path: The file, ``.svg``.
    """
    rows = -(-len(cards) // _COLUMNS)
    height = 1.7 + 0.13 * max(len(card.lines) for card in cards)
    with svg_figure(path, 1.7 * _COLUMNS, rows * height) as figure:
        grid = figure.subplots(rows, _COLUMNS, squeeze=False).flat
        for axes in grid:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        for axes, card in zip(figure.axes, cards, strict=False):
            axes.imshow(card.picture, cmap="gray", vmin=0, vmax=1)
            axes.set_xlabel("\n".join(short(line) for line in card.lines), fontsize=7)


def short(line: str, letters: int = 2 * _LETTERS) -> str:
    """Cut a long line."""
    return line if len(line) <= letters else line[: letters - 1] + "…"
