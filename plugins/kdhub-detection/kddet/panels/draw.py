"""Pictures of boxes, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from torch import Tensor

from kdhub.api import atomic_file

_WIDTH = 3.6
_COLUMNS = 3


class Boxes(NamedTuple):
    """What is drawn on one copy of an image.

    Attributes:
        title: Above it.
        boxes: ``(n, 4)``, x1, y1, x2, y2 in pixels of the file.
        texts: One a box.
        colours: One a box.
    """

    title: str
    boxes: Tensor
    texts: Sequence[str]
    colours: Sequence[str]


def draw_boxes(path: Path, image: str, panels: Sequence[Boxes]) -> None:
    """Draw copies of an image file, each with its boxes, three in a row, into a PNG."""
    with Image.open(image) as opened:
        picture = np.asarray(opened.convert("RGB"))
    rows = -(-len(panels) // _COLUMNS)
    height = _WIDTH * picture.shape[0] / picture.shape[1] + 0.3
    figure = Figure(figsize=(_COLUMNS * _WIDTH, rows * height), layout="constrained")
    grid = figure.subplots(rows, _COLUMNS, squeeze=False).flat
    for axes in grid:
        axes.set_axis_off()
    for axes, panel in zip(figure.axes, panels, strict=False):
        axes.imshow(picture)
        axes.set_title(panel.title, fontsize=10)
        for (x1, y1, x2, y2), text, colour in zip(panel.boxes.tolist(), panel.texts, panel.colours, strict=True):
            axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1.5))
            axes.text(x1, y1, text, fontsize=6, color="white", backgroundcolor=colour, clip_on=True)
    with atomic_file(path) as stream:
        figure.savefig(stream, format="png", dpi=110)
