"""Pictures of what EZAD's teacher knows of training images: base boxes, and regions that it is sure of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kddet.panels.draw import Boxes, draw_boxes
from kddet.regions.names import NameBank
from kddet.regions.region_files import NAMES, RegionFiles
from kdhub.api import Panel

_BASE, _PROPOSED = "#f2a900", "#2458c9"


def region_panels(
    files: RegionFiles, dataset: Any, count: int, most: int, folder: Path, name: str = "teacher"
) -> Iterator[Panel]:
    """Draw the regions of some training images, spread evenly.

    Args:
        files: The regions.
        dataset: The training data, of mmdet.
        count: The most images.
        most: The most proposals of an image, the surest.
        folder: Where the pictures go.
        name: The teacher's.
    """
    names = NameBank.read(files.folder / NAMES).names
    count = min(count, len(dataset))
    for rank in range(count):
        info = dataset.get_data_info(rank * len(dataset) // count)
        regions = files.of(info["img_id"])
        base, others = regions.base.nonzero().squeeze(1), (~regions.base).nonzero().squeeze(1)
        shown = others[:most]
        named = [names[int(place)] for place in regions.names]
        panels = [
            Boxes("base boxes", regions.boxes[base], [named[int(row)] for row in base], [_BASE] * len(base)),
            Boxes(
                f"regions of {name}",
                regions.boxes[shown],
                [f"{named[int(row)]} {regions.weights[row]:.2f}" for row in shown],
                [_PROPOSED] * len(shown),
            ),
        ]
        path = folder / f"regions-{name}-{rank + 1}.png"
        draw_boxes(path, info["img_path"], panels)
        caption = (
            f"{len(base)} base boxes and {len(others)} proposals, of which the surest {len(shown)} are drawn:"
            " the likeliest name, and the weight in the loss."
        )
        yield Panel(f"{Path(info['img_path']).stem}: regions that teach", path, caption)
