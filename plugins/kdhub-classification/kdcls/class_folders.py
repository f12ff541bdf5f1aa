"""Which classes the folders below a root are; imports no torch, for the check of a config asks it too."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")


def in_class_folder(name: str) -> bool:
    """Whether a path below the root, with slashes, lies in a class's folder; systems' hidden files do not."""
    return "/" in name and not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def class_folders(root: Path) -> tuple[str, ...]:
    """Return the names of the folders that hold images, sorted: the classes of an `ImageFolder` without a list.

    Args:
        root: A folder, or a zip file. Of a folder, files are listed only up to the first image of each class.

    Returns:
        Nothing where ``root`` is neither.
    """
    if root.is_dir():
        return tuple(sorted(one.name for one in root.iterdir() if one.is_dir() and _holds_an_image(root, one)))
    if root.is_file() and zipfile.is_zipfile(root):
        with zipfile.ZipFile(root) as archive:
            names = [name for name in archive.namelist() if _is_image(name)]
        return tuple(sorted({name.partition("/")[0] for name in names}))
    return ()


def _holds_an_image(root: Path, folder: Path) -> bool:
    walked = os.walk(folder, followlinks=True)
    return any(
        _is_image(Path(inner, name).relative_to(root).as_posix()) for inner, _, names in walked for name in names
    )


def _is_image(name: str) -> bool:
    return in_class_folder(name) and name.lower().endswith(SUFFIXES)
