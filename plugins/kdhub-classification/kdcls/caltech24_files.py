"""Caltech-24 as squares of 128 pixels that need no decoding, with validation images apart from those of the test."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from kdhub.api import UsageError

ORIGINAL = (
    "Caltech-101, 24 classes, as train.zip and val.zip with CLASS/NAME.jpg (Caltech-101: doi.org/10.22002/D1.20086)"
)

SIZE = 128
EVERY = 6
"""One training image in six of each class is for validation."""

_SPLITS = ("train", "val", "test")


def is_ready(folder: Path) -> bool:
    """Tell whether a folder can be used as it is."""
    return all((folder / f"{split}.zip").is_file() for split in _SPLITS)


def convert(source: Path, target: Path) -> None:
    """Write train.zip, val.zip and test.zip: the published validation images become the test, one training image in six validation.

    Args:
        source: Folder with the published train.zip and val.zip.
        target: An empty folder.

    Raises:
        UsageError: If one of the two is not there.
    """
    for name in ("train.zip", "val.zip"):
        if not (source / name).is_file():
            raise UsageError("a file of Caltech-24 is missing", where=str(source / name), expected=ORIGINAL)
    names = _images(source / "train.zip")
    place: dict[str, int] = {}
    held_out = set()
    for name in names:
        of_class = name.partition("/")[0]
        place[of_class] = place.get(of_class, 0) + 1
        if place[of_class] % EVERY == 0:
            held_out.add(name)
    _copy(source / "train.zip", target / "train.zip", [name for name in names if name not in held_out])
    _copy(source / "train.zip", target / "val.zip", sorted(held_out))
    _copy(source / "val.zip", target / "test.zip", _images(source / "val.zip"))


def describe(folder: Path) -> str:
    """Count what is in a prepared folder."""
    return ", ".join(f"{len(_images(folder / f'{split}.zip'))} images of {split}" for split in _SPLITS)


def _images(archive: Path) -> list[str]:
    with zipfile.ZipFile(archive) as opened:
        return sorted(name for name in opened.namelist() if name.lower().endswith((".jpg", ".ppm")))


def _copy(source: Path, target: Path, names: Iterable[str]) -> None:
    with zipfile.ZipFile(source) as read, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as written:
        for name in names:
            with Image.open(io.BytesIO(read.read(name))) as image:
                square = _square(image.convert("RGB"))
            content = io.BytesIO()
            square.save(content, "ppm")
            written.writestr(str(Path(name).with_suffix(".ppm")), content.getvalue())


def _square(image: Image.Image) -> Image.Image:
    """Cut the middle square out and bring it to `SIZE`."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    middle = image.crop((left, top, left + side, top + side))
    return middle if side == SIZE else middle.resize((SIZE, SIZE), Image.Resampling.BOX)
