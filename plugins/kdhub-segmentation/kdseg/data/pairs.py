"""Finds the images of a folder and the mask of each, and refuses what would train in silence on wrong pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from kdhub.api import UsageError, near_matches

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
        UsageError: For a missing folder, no image, an image without a mask, two images of one ID, a mask that is not one number a pixel, or
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
    """Count the files of a split that are in no pair.

    These are images of a format that is not read or in folders of their own, masks without an image, and further masks of one.

    Args:
        folder: Folder of one split.

    Returns:
        Text for a log line; ``None`` if every file is in a pair.
    """
    images, masks = _files(folder / IMAGES), _files(folder / MASKS)
    known, read = {path.stem for path in images}, _masks(folder)
    counted = (
        (_folders(folder / IMAGES), f"folders in {IMAGES}/, which are not looked into"),
        (
            [one.name for one in images if not _has(one, _IMAGE_SUFFIXES)],
            f"files of {IMAGES}/ that are read as no image",
        ),
        (
            [one.name for one in masks if one.stem not in known or one.stem not in read],
            f"files of {MASKS}/ without an image",
        ),
        (
            [one.name for one in masks if one.stem in known and read.get(one.stem, one) != one],
            f"files of {MASKS}/ beside a mask of the same name",
        ),
    )
    return ", ".join(f"{len(names)} {what}, such as {names[0]}" for names, what in counted if names) or None


def _pairs(folder: Path, fix: str) -> Iterator[tuple[Path, Path]]:
    masks, seen = _masks(folder), {}
    for image in _files(folder / IMAGES):
        if not _has(image, _IMAGE_SUFFIXES):
            continue
        if image.stem not in masks:
            expected = str(folder / MASKS / f"{image.stem}.png")
            raise UsageError(f"no mask for image {image.name!r}", expected=expected, fix=fix)
        if image.stem in seen:
            raise UsageError(
                "two images for one mask",
                where=str(folder / IMAGES),
                got=f"{seen[image.stem]} and {image.name}",
                fix="move the one away that is not meant, or rename it and give it a mask",
            )
        seen[image.stem] = image.name
        yield image, masks[image.stem]


def _masks(folder: Path) -> dict[str, Path]:
    """Return the masks by ID: of several of one ID that in .png, if there is one."""
    return {path.stem: path for path in sorted(_files(folder / MASKS), key=_is_png) if _has(path, _MASK_SUFFIXES)}


def _files(folder: Path) -> list[Path]:
    """Return a folder's files, sorted, but not those that systems hide, such as ``.DS_Store``."""
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _has(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.suffix.lower() in suffixes


def _is_png(path: Path) -> bool:
    return path.suffix.lower() == ".png"


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
    paths = folder.iterdir() if folder.is_dir() else ()
    return sorted(path.name for path in paths if path.is_dir() and not path.name.startswith("."))
