"""Where the shared data lies, and images small enough to be made for a test."""

import os
from pathlib import Path

import pytest
import torch
from PIL import Image


@pytest.fixture
def caltech24():
    """The folder of Caltech-24; the test is skipped where it is not."""
    beside = Path(__file__).resolve().parents[3].parent / "shared" / "data"
    folder = Path(os.environ.get("KDHUB_DATA") or beside) / "caltech24"
    if not (folder / "train.zip").is_file():
        if os.environ.get("CI"):
            pytest.fail(f"CI must have the shared data in {folder}")
        pytest.skip(f"no shared data in {folder}; set KDHUB_DATA")
    return folder


def write_images(root, counts, size=(12, 8), seed=0):
    """Write ``counts[class]`` noisy images of each class as PNG, below ``root``."""
    generator = torch.Generator().manual_seed(seed)
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = torch.randint(0, 256, (size[1], size[0], 3), generator=generator, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(root / name / f"image_{number:04d}.png")
    return root


@pytest.fixture
def image_folder(tmp_path):
    """A function that writes an image folder: ``image_folder(dict(cat=3, dog=2))``."""
    return lambda counts, name="images", **more: write_images(tmp_path / name, counts, **more)
