"""A small COCO: 714 images of val2017 whose licences allow derivatives, longest side 320, with all their boxes.

Prepared archives ``train.zip`` (530 images) and ``val.zip`` (184). They become ``data/coco_cc/{train,val}`` with
``instances.json`` in COCO's format and ``images/``, which mmdet's ``CocoDataset`` reads.

Licence: boxes CC BY 4.0 (COCO Consortium); each image has its own in ``instances.json``, some for non-commercial use.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from kdhub.api import UsageError, file_sha256

ORIGINAL = "https://cocodataset.org (val2017)"
ARCHIVES = {
    "train": "df92c80c4fd88bd32b80f573585d62f287000ed5fbec8b080ae71c4957145b69",
    "val": "5c451695921441bf0be9c2e8129850b05c9301b82c7d98b40d95db3e97440fa5",
}
"""SHA-256 of each prepared archive."""


def is_ready(folder: Path) -> bool:
    """Tell whether a folder has both splits already."""
    return all((folder / split / "instances.json").is_file() for split in ARCHIVES)


def convert(source: Path, target: Path) -> None:
    """Fill ``target`` with ``{train,val}/instances.json`` and their images.

    Args:
        source: Folder with the prepared archives.
        target: Existing folder to fill.

    Raises:
        UsageError: If an archive is missing or is not the one that is known.
    """
    for split, checksum in ARCHIVES.items():
        archive = source / f"{split}.zip"
        if not archive.is_file():
            raise UsageError("no such archive", where=str(archive), expected="train.zip and val.zip")
        if (found := file_sha256(archive)) != checksum:
            raise UsageError(
                "not the archive that is known", where=str(archive), expected=f"sha256 {checksum}", got=found
            )
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(target / split)


def describe(folder: Path) -> str:
    """Count a prepared folder's images and boxes."""
    parts = []
    for split in ARCHIVES:
        content = json.loads((folder / split / "instances.json").read_text(encoding="utf-8"))
        parts.append(f"{len(content['images'])} {split} images with {len(content['annotations'])} boxes")
    return ", ".join(parts)
