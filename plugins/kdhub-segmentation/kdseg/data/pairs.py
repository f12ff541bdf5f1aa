"""Finds the images of a folder and the mask of each, and refuses what would train in silence on wrong pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from kdhub.errors import UsageError, near_matches

IMAGES, MASKS = "images", "masks"
_IMAGE_SUFFIXES = (".jpg", ".png")
_MASK_MODES = ("L", "P")


def find_pairs(folder: Path, fix: str) -> list[tuple[Path, Path]]:
    """Return ``images/ID.jpg`` or ``images/ID.png`` with ``masks/ID.png``, sorted by ID.

    Only the files' headers are read.

    Args:
        folder: Folder of one split.
        fix: What to do if the folder is not as expected.

    Raises:
        UsageError: For a missing folder, no image, an image without a mask, a mask that is not one number a pixel, or
            one of another size than its image.
    """
    for name in (IMAGES, MASKS):
        if not (folder / name).is_dir():
            raise UsageError(
                f"no folder {str(folder / name)!r}",
                near=[str(folder.parent / near) for near in near_matches(folder.name, _folders(folder.parent))],
                fix=fix,
            )
    pairs = list(_pairs(folder, fix))
    if not pairs:
        raise UsageError("no images", where=str(folder / IMAGES), expected="ID.jpg or ID.png", fix=fix)
    for image, mask in pairs:
        _compare(image, mask)
    return pairs


def pairs_fingerprint(pairs: Iterable[tuple[Path, Path]]) -> str:
    """Identify images and masks by their names and sizes; nothing is read.

    Returns:
        First 16 digits of a SHA-256.
    """
    digest = hashlib.sha256()
    for path in (path for pair in pairs for path in pair):
        digest.update(f"{path.parent.name}/{path.name} {path.stat().st_size}\n".encode())
    return digest.hexdigest()[:16]


def _pairs(folder: Path, fix: str) -> Iterator[tuple[Path, Path]]:
    for image in sorted(path for path in (folder / IMAGES).iterdir() if path.suffix in _IMAGE_SUFFIXES):
        mask = folder / MASKS / f"{image.stem}.png"
        if not mask.is_file():
            raise UsageError(f"no mask for image {image.name!r}", expected=str(mask), fix=fix)
        yield image, mask


def _compare(image: Path, mask: Path) -> None:
    size, _ = _header(image)
    mask_size, mode = _header(mask)
    if mode not in _MASK_MODES:
        raise UsageError(
            "a mask must hold one class number a pixel",
            where=str(mask),
            expected="mode " + " or ".join(_MASK_MODES),
            got=f"mode {mode}",
            fix="convert it; colours are not class numbers",
        )
    if mask_size != size:
        raise UsageError(
            "the mask has another size than its image",
            where=str(mask),
            expected="{} x {}".format(*size),
            got="{} x {}".format(*mask_size),
            fix="resize the mask with nearest neighbours, or the image",
        )


def _header(path: Path) -> tuple[tuple[int, int], str]:
    try:
        with Image.open(path) as picture:
            return picture.size, picture.mode
    except (OSError, UnidentifiedImageError) as error:
        raise UsageError("cannot be read as an image", where=str(path), got=str(error)) from error


def _folders(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
