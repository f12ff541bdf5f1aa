"""What stage B of EZAD leaves behind: for each image its boxes with embeddings and weights, in a folder.

kdhub's own teacher store keeps values by the number of a sample and refuses those that say something of places, since the
student's augmentation moves them. Here boxes stand beside their embeddings, by the image's own number, and move with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from kdhub.api import UsageError, file_sha256, read_sealed, write_sealed

INDEX = "regions.json"
NAMES = "names.safetensors"
CHUNK = 32
"""Images in one file: the most that is scored again after a stop."""
_FIELDS = ("boxes", "embeddings", "weights", "scores", "names", "base")


@dataclass(frozen=True)
class Regions:
    """Regions of one image.

    Attributes:
        boxes: ``(n, 4)``, x1, y1, x2, y2 in pixels of the file.
        embeddings: ``(n, D)``, as the image-text model gave them.
        weights: ``(n,)``: 1 for a base box, the highest probability for a proposal.
        scores: ``(n,)``: how sure the model is of one name; 0 for base boxes.
        names: ``(n,)``: the likeliest name's place in the bank; of a base box its label.
        base: ``(n,)``: whether it is a base box. These come first.
    """

    boxes: Tensor
    embeddings: Tensor
    weights: Tensor
    scores: Tensor
    names: Tensor
    base: Tensor


def part_file(folder: Path, number: int) -> Path:
    """Return the file of the ``number``-th chunk of images."""
    return folder / f"part-{number:05d}.safetensors"


def write_part(file: Path, regions: dict[int, Regions]) -> None:
    """Write a chunk, whole or not at all; keys are places in the list of images."""
    tensors = {
        f"{place}/{field}": getattr(one, field).contiguous() for place, one in regions.items() for field in _FIELDS
    }
    part = file.with_suffix(".part")
    save_file(tensors, part)
    part.replace(file)


def read_part(file: Path, place: int) -> Regions:
    """Read one image's regions of a chunk.

    Raises:
        UsageError: If the file is damaged.
    """
    try:
        with safe_open(file, "pt") as opened:
            return Regions(*(opened.get_tensor(f"{place}/{field}") for field in _FIELDS))
    except (OSError, SafetensorError) as error:
        raise UsageError(
            "cannot read the regions", where=str(file), got=str(error), fix="move the file away"
        ) from error


def finish(folder: Path, images: Sequence[Any]) -> None:
    """Write the index, when all chunks are there."""
    parts = [part_file(folder, number).name for number in range(-(-len(images) // CHUNK))]
    sums = {name: file_sha256(folder / name) for name in (*parts, NAMES)}
    write_sealed(folder / INDEX, {"images": list(images), "files": sums})


class RegionFiles:
    """Reads regions by the number that the annotations give an image.

    Args:
        folder: Folder of the job `kddet.Propose`.

    Raises:
        UsageError: If the job is not finished or the files are not its own.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / INDEX).is_file():
            raise UsageError(
                "no regions here", where=str(folder), expected=INDEX, fix="run the job kddet.Propose to its end"
            )
        content = read_sealed(self.folder / INDEX)
        self._places = {number: place for place, number in enumerate(content["images"])}
        self._files: dict[str, str] = content["files"]

    def fingerprint(self) -> str:
        """Identify all that is in the files, by their checksums."""
        return f"regions-{hashlib.sha256(repr(sorted(self._files.items())).encode()).hexdigest()[:16]}"

    def of(self, image: Any) -> Regions:
        """Read the regions of an image.

        Raises:
            UsageError: If the job did not see it, or the file is damaged.
        """
        if image not in self._places:
            raise UsageError(
                "the image has no regions",
                where=str(self.folder),
                got=f"image {image!r}",
                fix="run kddet.Propose on the annotations that training reads",
            )
        place = self._places[image]
        return read_part(part_file(self.folder, place // CHUNK), place)
