"""Fashion-MNIST from the files of Debian's package, which need no download by kdhub."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from kdhub.api import UsageError, choice, require

_FILES = {"train": "train", "test": "t10k"}


class FashionMNIST(Dataset[tuple[Any, int]]):
    """60,000 and 10,000 grey photos of clothes, 28 x 28, 10 classes alike in number.

    A sample is ``(image, label)``. In a config it stands inside a `kdhub.TorchDataset`, which builds the transform.

    Args:
        root: Folder with ``train-images-idx3-ubyte.gz`` and the three other files, packed or not. The default is where
            ``apt-get install dataset-fashion-mnist`` puts them.
        split: ``'train'`` or ``'test'``.
        transform: From an image of Pillow (mode L) to what a sample holds; ``None`` leaves it an image.

    Attributes:
        targets: Label of each image, an int64 array (N,).

    Raises:
        UsageError: If a file is not there or is not what it should be.
    """

    classes = (
        "t-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    )

    def __init__(
        self,
        root: str = "/usr/share/datasets/fashion-mnist",
        split: str = "train",
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        require("FashionMNIST", choice(_FILES), split=split)
        self.transform = transform
        self.images = _read(Path(root), f"{_FILES[split]}-images-idx3-ubyte", 3)
        self.targets = _read(Path(root), f"{_FILES[split]}-labels-idx1-ubyte", 1).astype(np.int64)
        if len(self.images) != len(self.targets) or (self.targets >= len(self.classes)).any():
            raise UsageError(
                "images and labels do not belong together",
                where=root,
                got=f"{len(self.images)} images, {len(self.targets)} labels up to {self.targets.max(initial=0)}",
            )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Return one image and its label."""
        image = Image.fromarray(self.images[index])
        return (image if self.transform is None else self.transform(image)), int(self.targets[index])

    def fingerprint(self) -> str:
        """Identify images and labels."""
        return hashlib.sha256(self.images.tobytes() + self.targets.tobytes()).hexdigest()[:16]


def _read(root: Path, name: str, axes: int) -> np.ndarray[Any, Any]:
    """Read a file of numbers from 0 to 255 in the format idx."""
    packed, plain = root / f"{name}.gz", root / name
    path = packed if packed.is_file() else plain
    try:
        content = gzip.decompress(path.read_bytes()) if path == packed else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(
            "a file of Fashion-MNIST cannot be read",
            where=str(path),
            got=str(error),
            fix="apt-get install dataset-fashion-mnist, or say where the files are: root='...'",
        ) from error
    shape = tuple(np.frombuffer(content[4 : 4 + 4 * axes], ">u4").tolist()) if len(content) >= 4 + 4 * axes else ()
    if content[:4] != bytes([0, 0, 8, axes]) or len(content) != 4 + 4 * axes + int(np.prod(shape)):
        raise UsageError("not a file of Fashion-MNIST", where=str(path), got=f"{len(content)} bytes")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
