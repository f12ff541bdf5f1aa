"""Noise to begin with: the training data of methods that see none."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d
from torch.utils.data import Dataset

from kdhub.api import FLAG, UsageError, build, integer, optional, require


class NoiseDataset(Dataset[dict[str, Tensor]]):
    """Unit noise, and labels to go with it, in chunks: runs without a data set draw, count and resume it like any other.

    A chunk is a sample of the loader: a batch of 256 points costs one item instead of 256. Join them with
    ``collate_fn=dict(type='kdgen.join')``; a batch then has ``batch_size`` chunks.

    Args:
        shape: Shape of one sample, such as ``(2,)`` or ``(1, 28, 28)``.
        chunk: Samples in a chunk.
        chunks: Length of one pass; the noise of the next pass is new, so that it is a unit of counting and nothing else.
        classes: Number of classes K that labels are drawn from; 0 for no labels.
        seed: ``None`` draws from the run's random numbers, which depend on the seed of the run, the chunk and the pass. A number
            gives each chunk the same noise in every pass, as an evaluation wants it.
        real: A data set of chunks of the same size, such as ``dict(type='kdgen.Images', ...)``, whose samples come along as ``real``,
            with their labels, for a discriminator.
    """

    def __init__(
        self,
        shape: Sequence[int],
        chunk: int = 64,
        chunks: int = 1000,
        classes: int = 0,
        seed: int | None = None,
        real: Any = None,
    ) -> None:
        require(
            "NoiseDataset", integer(1), chunk=chunk, chunks=chunks, **{f"shape[{i}]": n for i, n in enumerate(shape)}
        )
        require("NoiseDataset", integer(0), classes=classes)
        require("NoiseDataset", optional(integer(0)), seed=seed)
        self.shape, self.chunk, self.chunks, self.classes, self.seed = tuple(shape), chunk, chunks, classes, seed
        self._real = None if real is None else build("dataset", real, where="NoiseDataset.real")

    def __len__(self) -> int:
        """Return the number of chunks."""
        return self.chunks

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return one chunk: ``inputs`` (chunk, *shape) and, with classes, ``labels`` (chunk,)."""
        generator = None if self.seed is None else torch.Generator().manual_seed(self.seed * 2_147_483_629 + int(index))
        item = {"inputs": torch.randn(self.chunk, *self.shape, generator=generator)}
        if self.classes:
            item["labels"] = torch.randint(self.classes, (self.chunk,), generator=generator)
        if self._real is not None:
            beside = self._real[index % len(self._real)]
            if beside["inputs"].shape != item["inputs"].shape:
                raise UsageError(
                    "data of another shape than the noise",
                    where="NoiseDataset.real",
                    expected=str(tuple(item["inputs"].shape)),
                    got=str(tuple(beside["inputs"].shape)),
                )
            item["real"] = beside["inputs"]
            if self.classes:
                item["labels"] = self._labels_of(beside)
        return item

    def _labels_of(self, beside: dict[str, Tensor]) -> Tensor:
        labels = beside.get("labels")
        if labels is None or int(labels.max()) >= self.classes or int(labels.min()) < 0:
            raise UsageError(
                "the data have not the labels of these classes",
                where="NoiseDataset.real",
                expected=f"labels (chunk,) from 0 to {self.classes - 1}, as classes={self.classes} says",
                got="no labels" if labels is None else f"labels from {int(labels.min())} to {int(labels.max())}",
            )
        return labels

    def fingerprint(self) -> str:
        """Identify the data without drawing any."""
        noise = f"noise-{self.shape}-{self.chunk}x{self.chunks}-classes-{self.classes}-seed-{self.seed}"
        return noise if self._real is None else f"{noise}-real-{_identity(self._real)}"


class Images(Dataset[dict[str, Tensor]]):
    """Images in memory, from -1 to 1, in chunks drawn evenly: they train a teacher, or a discriminator. Join them with `kdgen.join`.

    Args:
        data: A data set of pairs of an image of Pillow, of mode L or RGB and all of one size, and a label, such as ``dict(type='kdcls.FashionMNIST', split='train')``.
        chunk: Images in a chunk.
        labels: Whether chunks have ``labels``.
        seed: ``None`` draws from the run's random numbers. A number gives each chunk the same images in every pass.
        downscale: Side of the squares of pixels whose mean is one pixel of a chunk: 2 makes 14 x 14 of 28 x 28.
    """

    def __init__(
        self, data: Any, chunk: int = 64, labels: bool = True, seed: int | None = None, downscale: int = 1
    ) -> None:
        require("Images", integer(1), chunk=chunk, downscale=downscale)
        require("Images", FLAG, labels=labels)
        require("Images", optional(integer(0)), seed=seed)
        self._data = build("dataset", data, where="Images.data")
        self.chunk, self.labels, self.seed, self.downscale = chunk, labels, seed, downscale

    @cached_property
    def _loaded(self) -> tuple[Tensor, Tensor]:
        pairs = [self._data[index] for index in range(len(self._data))]
        first = _pixels(pairs[0][0], 0).shape
        pixels = torch.stack([_pixels(image, place, first) for place, (image, _) in enumerate(pairs)])
        pixels = pixels[:, None] if pixels.dim() == 3 else pixels.permute(0, 3, 1, 2)
        return pixels, torch.tensor([int(label) for _, label in pairs])

    def __len__(self) -> int:
        """Return the number of chunks that hold as many images as there are."""
        return max(len(self._data) // self.chunk, 1)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return one chunk: ``inputs`` (chunk, C, H / downscale, W / downscale) and ``labels`` (chunk,).

        Raises:
            UsageError: If the sides of the images are no multiple of ``downscale``.
        """
        pixels, labels = self._loaded
        generator = None if self.seed is None else torch.Generator().manual_seed(self.seed * 2_147_483_629 + int(index))
        places = torch.randint(len(pixels), (self.chunk,), generator=generator)
        if any(side % self.downscale for side in pixels.shape[2:]):
            raise UsageError(
                "the images do not part into squares",
                where="Images.downscale",
                expected=f"a number that divides {pixels.shape[2]} and {pixels.shape[3]}",
                got=str(self.downscale),
            )
        item = {"inputs": avg_pool2d(pixels[places].float() / 127.5 - 1.0, self.downscale)}
        return {**item, "labels": labels[places]} if self.labels else item

    def fingerprint(self) -> str:
        """Identify the images by what their data set says they are, or by their pixels."""
        known = _identity(self._data) if hasattr(self._data, "fingerprint") else _digest(*self._loaded)
        return f"images-{known}-{self.chunk}-seed-{self.seed}-downscale-{self.downscale}"


def _pixels(image: Any, place: int, shape: Sequence[int] | None = None) -> Tensor:
    """Return the pixels (H, W) or (H, W, 3) of an image.

    Raises:
        UsageError: If they are no grey values or colours from 0 to 255, or not of a given shape.
    """
    pixels, mode = np.asarray(image).copy(), getattr(image, "mode", None)
    fits = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[-1] == 3)
    if pixels.dtype != np.uint8 or not fits or mode not in (None, "L", "RGB") or shape not in (None, pixels.shape):
        raise UsageError(
            f"image {place} is none that kdgen.Images takes",
            where="Images.data",
            expected="images of Pillow of mode L or RGB, all of one size"
            + ("" if shape is None else f", here {tuple(shape)}"),
            got=f"{type(image).__name__}{f' of mode {mode}' if mode else ''}, {pixels.dtype} {pixels.shape}",
            fix="a data set without transforms into tensors; image.convert('RGB') for palettes",
        )
    return torch.from_numpy(pixels)


def _identity(data: Any) -> str:
    """Identify a data set of chunks by what it says of itself, or by its content."""
    if hasattr(data, "fingerprint"):
        return str(data.fingerprint())
    return _digest(*(value for index in range(len(data)) for _, value in sorted(data[index].items())))


def _digest(*tensors: Tensor) -> str:
    found = hashlib.sha256()
    for one in tensors:
        found.update(one.contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def join(chunks: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Make one batch of chunks: each entry joined along axis 0."""
    return {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}
