"""`ImageFolder`: images in one folder a class, on disk or in a zip file."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from PIL import Image
from torch.utils.data import Dataset

from kdcls.class_folders import SUFFIXES, in_class_folder
from kdhub.api import UsageError, choice, data_places, near_matches, require

_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, zlib.error, zipfile.BadZipFile, Image.DecompressionBombError)
"""What Pillow and zipfile raise for damaged files."""


class ImageFolder(Dataset[tuple[Any, int]]):
    """Images in the layout of ImageNet, ``root/CLASS/NAME.jpg``; ``root`` may be a zip file with ``CLASS/NAME.jpg`` in it.

    A sample is ``(image, label)``: the image in RGB after ``transform``, and the class's place in ``classes``. In a config it stands inside a
    `kdhub.TorchDataset`, which builds the transform and names the parts.

    Args:
        root: The folder, or the zip file, which is read as it is and never unpacked. The environment variable ``KDHUB_DATA`` takes the place
            of a leading ``data/`` if the path itself is not there.
        transform: From an image of Pillow to what a sample holds, such as what ``timm.data.create_transform`` or
            ``torchvision.transforms.v2.Compose`` returns; ``None`` leaves it an image.
        classes: Names of the classes in order. ``None`` takes the folders' names, sorted: `kdhub check` and training refuse data to
            validate or test with whose folders differ from those of training. A class of the list may have no folder here, as in a
            part of a data set.
        on_corrupt: What becomes of a file that is no readable image. ``'stop'``: an error that names it, when it is read.
            ``'skip'``: all files are read once here, and those that are damaged are left out, named and counted. That
            is some 2,500 photos of 128 pixels a second on one core, and a long while for ImageNet.

    Attributes:
        files: Path of each image below ``root``.
        targets: Its label.
        skipped: The files that ``'skip'`` left out.

    Raises:
        UsageError: If ``root`` is not there, holds no images, has a folder that is no class of the list, or has one folder alone and no
            list names it.

    Example:
        ::

            dataset=dict(
                type='kdhub.TorchDataset',
                data=dict(
                    type='kdcls.ImageFolder',
                    root='data/imagenet/train',
                    transform=dict(type='timm.data.create_transform', input_size=224, is_training=True)))
    """

    def __init__(
        self,
        root: str,
        transform: Callable[[Any], Any] | None = None,
        classes: Sequence[str] | None = None,
        on_corrupt: str = "stop",
    ) -> None:
        require("ImageFolder", choice(("stop", "skip")), on_corrupt=on_corrupt)
        places = data_places(root)
        self.root = next((place for place in places if place.exists()), places[0])
        self.transform = transform
        self.on_corrupt = on_corrupt
        self._archive: tuple[int, zipfile.ZipFile] | None = None
        sizes = dict(self._listed())
        images = sorted(name for name in sizes if name.lower().endswith(SUFFIXES))
        if not images:
            raise UsageError(
                "no images", where=str(self.root), expected=f"CLASS/NAME{' or '.join(SUFFIXES[:3])}", got=_some(sizes)
            )
        self.classes = tuple(classes) if classes is not None else tuple(sorted({_folder(name) for name in images}))
        self.files: list[str] = images
        self.skipped: list[str] = []
        self._require_classes(given=classes is not None)
        if len(sizes) > len(images):
            rest = sorted(sizes.keys() - set(images))
            print_log(f"{self.root}: {len(rest)} files are no images, such as {rest[0]}", "current", logging.WARNING)
        if on_corrupt == "skip":
            self.skipped = [name for name in images if not self._readable(name)]
            self.files = sorted(set(images) - set(self.skipped))
            if self.skipped:
                print_log(
                    f"{self.root}: {len(self.skipped)} of {len(images)} images cannot be read and are left out: "
                    + ", ".join(self.skipped[:5]),
                    "current",
                    logging.WARNING,
                )
        numbers = {name: number for number, name in enumerate(self.classes)}
        self.targets = [numbers[_folder(name)] for name in self.files]
        self._sizes = [sizes[name] for name in self.files]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Read one image.

        Raises:
            UsageError: If it is damaged; names the file.
        """
        try:
            image = self._read(self.files[index])
        except _UNREADABLE as error:
            raise UsageError(
                "an image cannot be read",
                where=str(self.root / self.files[index]),
                got=f"{type(error).__name__}: {error}",
                fix="get the file again, or leave such files out with on_corrupt='skip'",
            ) from error
        return (image if self.transform is None else self.transform(image)), self.targets[index]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open zip file out of a copy for another process."""
        return {**vars(self), "_archive": None}

    def fingerprint(self) -> str:
        """Identify classes and files by names and sizes; nothing is read."""
        digest = hashlib.sha256(repr(self.classes).encode())
        for name, size in zip(self.files, self._sizes, strict=True):
            digest.update(f"{name} {size}\n".encode())
        return digest.hexdigest()[:16]

    def _listed(self) -> Iterator[tuple[str, int]]:
        """Yield each file that lies in a class's folder, with its size; systems' hidden files are none."""
        if self.root.is_file():
            try:
                entries = [(one.filename, one.file_size) for one in self._zip().infolist() if not one.is_dir()]
            except zipfile.BadZipFile as error:
                raise UsageError(
                    "neither a folder nor a zip file", where=str(self.root), got=str(error), fix="copy it again"
                ) from error
        elif self.root.is_dir():
            folders = ((Path(folder), names) for folder, _, names in os.walk(self.root, followlinks=True))
            paths = (folder / name for folder, names in folders for name in names)
            entries = [(path.relative_to(self.root).as_posix(), _size(path)) for path in paths]
        else:
            beside = self.root.parent.iterdir() if self.root.parent.is_dir() else ()
            near = near_matches(self.root.name, [one.name for one in beside])
            raise UsageError(
                "no folder and no zip file of images here",
                where=str(self.root),
                near=near,
                fix="put one there, name yours in the config, or set KDHUB_DATA to the folder that stands for data/",
            )
        yield from ((name, size) for name, size in entries if in_class_folder(name))

    def _require_classes(self, given: bool) -> None:
        if len(self.classes) == 1 and not given:
            raise UsageError(
                "all images lie in one folder, so there is one class, and any net gets all of them right",
                where=str(self.root),
                expected=f"CLASS/NAME{SUFFIXES[0]} with two or more classes",
                got=self.files[0],
                fix=f"if {self.classes[0]!r} holds the folders of the classes, write root='{self.root}/{self.classes[0]}'; if one "
                f"class is meant, as for images without labels, write classes=[{self.classes[0]!r}]",
            )
        for name in sorted({_folder(file) for file in self.files}):
            if name not in self.classes:
                raise UsageError(
                    f"{name!r} is a folder of images, and no class of the list",
                    where=str(self.root),
                    expected=", ".join(self.classes[:8]) + (", ..." if len(self.classes) > 8 else ""),
                    near=near_matches(name, self.classes),
                )

    def _zip(self) -> zipfile.ZipFile:
        # processes that share one open file would read from each other's place in it
        if self._archive is None or self._archive[0] != os.getpid():
            self._archive = os.getpid(), zipfile.ZipFile(self.root)
        return self._archive[1]

    def _read(self, name: str) -> Image.Image:
        content = self._zip().read(name) if self.root.is_file() else (self.root / name).read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            return image.convert("RGB")

    def _readable(self, name: str) -> bool:
        try:
            self._read(name)
        except _UNREADABLE:
            return False
        return True


def _folder(name: str) -> str:
    return name.partition("/")[0]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # such as a link to nothing; reading it says the same of the image
        return 0


def _some(names: Any) -> str:
    return ", ".join(sorted(names)[:3]) or "no files in folders"
