"""Crops of boxes as an image-text model sees them, and a data set of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from kddet.regions.names import spoken
from kddet.regions.proposals import crop_box
from kdhub.api import UsageError, near_matches

ENLARGED = 1.2
"""Factor of crops for training and for stored features; proposals are scored at 1."""
LEAST = 10
"""Least side of such a crop in pixels."""


def read_image(path: Path) -> Tensor:
    """Read an image as ``(3, H, W)``, RGB from 0 to 255.

    Raises:
        UsageError: If it cannot be read.
    """
    try:
        with Image.open(path) as opened:
            return torch.from_numpy(np.array(opened.convert("RGB"))).permute(2, 0, 1)
    except OSError as error:
        raise UsageError("cannot read an image", where=str(path), got=str(error)) from error


def crops(image: Tensor, boxes: Tensor, size: int, enlarge: float = 1.0, least: int = 0) -> Tensor:
    """Cut boxes out of an image, each in the middle of a black square, and bring them to one size.

    Args:
        image: ``(3, H, W)``, 0 to 255.
        boxes: ``(n, 4)``, x1, y1, x2, y2.
        size: Side of the result.
        enlarge: As of `crop_box`.
        least: As of `crop_box`.

    Returns:
        ``(n, 3, size, size)``, bytes.
    """
    height, width = image.shape[1:]
    result = image.new_zeros(len(boxes), 3, size, size, dtype=torch.uint8)
    for number, box in enumerate(boxes.tolist()):
        x1, y1, x2, y2 = crop_box(box, height, width, enlarge=enlarge, least=least)
        part = image[:, y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)].float()
        side = max(part.shape[1:])
        left, top = (side - part.shape[2]) // 2, (side - part.shape[1]) // 2
        square = functional.pad(part, (left, side - part.shape[2] - left, top, side - part.shape[1] - top))
        whole = functional.interpolate(square[None], (size, size), mode="bicubic", align_corners=False, antialias=True)
        result[number] = whole[0].round().clamp(0, 255).to(torch.uint8)
    return result


class Boxes:
    """A file of annotations in COCO's format, and the boxes of some of its names.

    Args:
        file: The file.
        names: Names whose boxes are wanted; all others are never looked at.

    Raises:
        UsageError: If the file is not in that form, names a category that it does not define, or lacks a name.
    """

    def __init__(self, file: str | Path, names: Sequence[str]) -> None:
        path = Path(file)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            categories = {entry["id"]: entry["name"] for entry in content["categories"]}
            self.images: dict[Any, Mapping[str, Any]] = {entry["id"]: entry for entry in content["images"]}
            annotations = content["annotations"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                "not annotations in COCO's format", where=str(path), got=f"{type(error).__name__}: {error}"
            ) from error
        known = {spoken(name): number for number, name in categories.items()}
        for name in names:
            if spoken(name) not in known:
                raise UsageError("no such category", where=str(path), got=repr(name), near=near_matches(name, known))
        labels = {known[spoken(name)]: label for label, name in enumerate(names)}
        self._boxes: dict[Any, list[tuple[list[float], int]]] = {}
        for entry in annotations:
            if entry["category_id"] not in categories:
                raise UsageError(
                    "a box of an unknown category",
                    where=f"{path}, annotation {entry.get('id')}",
                    expected="one of the file's categories",
                    got=repr(entry["category_id"]),
                )
            x, y, width, height = entry["bbox"]
            if entry["category_id"] in labels and width > 0 and height > 0 and not entry.get("iscrowd"):
                box = [x, y, x + width, y + height], labels[entry["category_id"]]
                self._boxes.setdefault(entry["image_id"], []).append(box)

    def of(self, image: Any) -> tuple[Tensor, Tensor]:
        """Return boxes ``(n, 4)`` and labels ``(n,)`` of an image, in pixels of its file."""
        boxes = self._boxes.get(image, [])
        coordinates = torch.tensor([box for box, _ in boxes], dtype=torch.float32).reshape(-1, 4)
        return coordinates, torch.tensor([label for _, label in boxes], dtype=torch.long)


class BoxCrops(Dataset[dict[str, Any]]):
    """Crops of the boxes of some classes: what an image-text model is adapted on.

    Args:
        ann_file: Annotations in COCO's format.
        images: Folder that their ``file_name`` is below.
        names: The classes; boxes of all others are left out.
        size: Side of a crop.
        flip: Whether half of the crops are mirrored, drawn anew each time.
    """

    def __init__(self, ann_file: str, images: str, names: Sequence[str], size: int = 224, flip: bool = True) -> None:
        found = Boxes(ann_file, names)
        self._folder = Path(images)
        self._size = size
        self._flip = flip
        self.metainfo = {"classes": tuple(names)}
        self._items = [
            (entry["file_name"], box, int(label))
            for number, entry in found.images.items()
            for box, label in zip(*found.of(number), strict=True)
        ]
        if not self._items:
            raise UsageError("no box to crop", where=ann_file, expected=f"boxes of {', '.join(names[:5])}, …")

    def __len__(self) -> int:
        """Return the number of boxes."""
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Cut one out: ``inputs`` ``(3, size, size)`` in bytes, and its ``labels``."""
        name, box, label = self._items[int(index)]
        (crop,) = crops(read_image(self._folder / name), box.unsqueeze(0), self._size, ENLARGED, LEAST)
        if self._flip and torch.rand(()) < 0.5:
            crop = crop.flip(-1)
        return {"inputs": crop, "labels": label}
