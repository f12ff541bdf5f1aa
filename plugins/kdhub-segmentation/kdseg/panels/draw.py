"""Draws one image with what each model makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from kdhub.api import atomic_file
from kdseg.panels.compare import IGNORED, Difference, Labels, Mask

_COLUMNS = 3
_PANEL_WIDTH = 3.7
_KEYS = 7
_DPI = 110
_GAINED, _LOST = (30, 170, 70), (215, 40, 40)
_OUTLINE = (255, 255, 255)

Picture = NDArray[np.uint8]
"""RGB, ``(H, W, 3)``."""


@dataclass(frozen=True, slots=True)
class Scene:
    """All that is drawn for one image.

    Attributes:
        image: The photograph, of the truth's size.
        truth: Its labels.
        predictions: Name above the panel to labels.
        changes: Where exactly one of the two models compared is right.
        changes_name: What stands above that panel.
        band: Pixels near a true boundary.
    """

    image: Picture
    truth: Labels
    predictions: Mapping[str, Labels]
    changes: Difference
    changes_name: str
    band: Mask


def draw(scene: Scene, path: Path, classes: Sequence[str], palette: Sequence[Sequence[int]]) -> None:
    """Write panels as one PNG: image, truth, each prediction, and where two of them differ.

    The edge of the band is drawn in white. Below stand the colours of the classes that occur.

    Args:
        scene: What to draw.
        path: The file; its folder must exist.
        classes: Names of the classes, in order.
        palette: RGB of each class.
    """
    outline = _outline(scene.band)
    labelled = {"ground truth": scene.truth, **scene.predictions}
    panels: dict[str, Picture] = {"image": scene.image}
    panels |= {name: _marked(_coloured(scene.image, labels, palette), outline) for name, labels in labelled.items()}
    panels[scene.changes_name] = _marked(_changes(scene.image, scene.changes), outline)
    figure = _figure(panels)
    present = np.unique(np.concatenate([np.unique(labels) for labels in labelled.values()]))
    figure.legend(
        handles=list(_keys(present, classes, palette)),
        loc="outside lower center",
        ncols=_KEYS,
        fontsize=9,
        frameon=False,
    )
    with atomic_file(path) as stream:
        figure.savefig(stream, format="png", dpi=_DPI)


def _figure(panels: Mapping[str, Picture]) -> Figure:
    rows = -(-len(panels) // _COLUMNS)
    height, width = next(iter(panels.values())).shape[:2]
    panel_height = _PANEL_WIDTH * height / width + 0.35  # its title
    figure = Figure(figsize=(_COLUMNS * _PANEL_WIDTH, rows * panel_height + 0.55), layout="constrained")
    grid = figure.subplots(rows, _COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (name, picture) in zip(grid.flat, panels.items(), strict=False):
        axes.imshow(picture)
        axes.set_title(name, fontsize=10)
    return figure


def _keys(present: Labels, classes: Sequence[str], palette: Sequence[Sequence[int]]) -> list[Any]:
    keys = [Patch(color=_unit(palette[label]), label=classes[label]) for label in present if label < len(classes)]
    if IGNORED in present:
        keys.append(Patch(color="black", label="not labelled"))
    return [*keys, Patch(facecolor="0.55", edgecolor="white", linewidth=1.5, label="white line: edge band")]


def _coloured(image: Picture, labels: Labels, palette: Sequence[Sequence[int]]) -> Picture:
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = palette
    return _blend(_grey(image), colours[labels.astype(np.uint8)], 0.72)


def _changes(image: Picture, changes: Difference) -> Picture:
    picture = (_grey(image) // 2 + 40).astype(np.uint8)
    picture[changes.gained] = _GAINED
    picture[changes.lost] = _LOST
    return picture


def _marked(picture: Picture, outline: Mask) -> Picture:
    marked = picture.copy()
    marked[outline] = _blend(picture[outline], np.array(_OUTLINE, np.uint8), 0.75)
    return marked


def _outline(band: Mask) -> Mask:
    """Return the band's own outermost pixels; the frame of the image is no edge."""
    padded = np.pad(band, 1, mode="edge")
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return band & ~inside


def _grey(image: Picture) -> Picture:
    return np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)


def _blend(below: Picture, above: Picture, share: float) -> Picture:
    return ((1 - share) * below + share * above).astype(np.uint8)


def _unit(colour: Sequence[int]) -> tuple[float, float, float]:
    red, green, blue = (value / 255 for value in colour)
    return red, green, blue
