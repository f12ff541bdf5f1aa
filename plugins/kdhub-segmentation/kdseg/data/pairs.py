"""Finds the images of a folder and the mask of each, and refuses what would train in silence on wrong pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from kdhub.errors import UsageError, near_matches

IMAGES, MASKS = "images", "masks"
_MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
"""Formats that change no class number."""
_IMAGE_SUFFIXES = (*_MASK_SUFFIXES, ".jpg", ".jpeg", ".jpe", ".jp2", ".ppm", ".pgm", ".webp")
"""Formats that both readers know: OpenCV, which mmseg loads with, and Pillow, which looks at the headers here."""
_MASK_MODES = ("L", "P")


def find_pairs(folder: Path, fix: str) -> list[tuple[Path, Path]]:
    """Return each image ``images/ID.jpg`` with its mask ``masks/ID.png``, sorted by ID.

    Images may have any suffix that mmseg reads (``.jpeg``, ``.JPG``, ``.bmp``, ``.webp``), masks those that keep class numbers
    (``.png``, ``.bmp``, ``.tif``), in capitals or not. Only the files' headers are read. What stays out is told by `left_out`.

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
        raise UsageError(
            "no images",
            where=str(folder / IMAGES),
            expected=f"ID{', ID'.join(_IMAGE_SUFFIXES)}",
            got=left_out(folder),
            fix=fix,
        )
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


def left_out(folder: Path) -> str | None:
    """Count the files of a split that are in no pair: images of a format that is not read, and masks without an image.

    Args:
        folder: Folder of one split.

    Returns:
        Text for a log line; ``None`` if every file is in a pair.
    """
    images = [path for path in _files(folder / IMAGES) if not _has(path, _IMAGE_SUFFIXES)]
    known = {path.stem for path in _files(folder / IMAGES)}
    masks = [path for path in _files(folder / MASKS) if path.stem not in known or not _has(path, _MASK_SUFFIXES)]
    counted = (
        (images, f"files of {IMAGES}/ that are read as no image"),
        (masks, f"files of {MASKS}/ without an image"),
    )
    return ", ".join(f"{len(paths)} {what}, such as {paths[0].name}" for paths, what in counted if paths) or None


def _pairs(folder: Path, fix: str) -> Iterator[tuple[Path, Path]]:
    # of several masks of one name the last is taken: .png, if there is one
    masks = {path.stem: path for path in sorted(_files(folder / MASKS), key=_is_png) if _has(path, _MASK_SUFFIXES)}
    for image in _files(folder / IMAGES):
        if not _has(image, _IMAGE_SUFFIXES):
            continue
        if image.stem not in masks:
            expected = str(folder / MASKS / f"{image.stem}.png")
            raise UsageError(f"no mask for image {image.name!r}", expected=expected, fix=fix)
        yield image, masks[image.stem]


def _files(folder: Path) -> list[Path]:
    """Return a folder's files, sorted, but not those that systems hide, such as ``.DS_Store``."""
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _has(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.suffix.lower() in suffixes


def _is_png(path: Path) -> bool:
    return path.suffix == ".png"


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
