"""Caltech-24 in three parts: no image of the test in what methods are chosen by, and nothing lost."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from kdcls import caltech24_files as files
from kdcls.images import ImageFolder
from kdhub.api import UsageError


def published(folder, counts):
    """Write train.zip and val.zip with wide photos, of one colour for each image."""
    for split, offset in (("train", 0), ("val", 100)):
        with zipfile.ZipFile(folder / f"{split}.zip", "w") as archive:
            for place, (name, count) in enumerate(counts.items()):
                for number in range(count):
                    content = io.BytesIO()
                    Image.new("RGB", (150, 128), (offset + number, 40 * place, 9)).save(content, "png")
                    archive.writestr(f"{name}/{number}.jpg", content.getvalue())


def test_validation_images_are_taken_from_training_and_the_test_is_apart(tmp_path):
    """An image in two parts would let the choice of a weight see the test."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    published(source, {"ant": 12, "cat": 6})
    assert not files.is_ready(target)
    files.convert(source, target)
    assert files.is_ready(target)
    assert files.describe(target) == "15 images of train, 3 images of val, 18 images of test"
    colours = {}
    for split in ("train", "val", "test"):
        data = ImageFolder(str(target / f"{split}.zip"))
        assert data.classes == ("ant", "cat")
        colours[split] = {tuple(np.asarray(data[index][0])[0, 0]) for index in range(len(data))}
        assert data[0][0].size == (files.SIZE, files.SIZE)
        assert len(colours[split]) == len(data)
    assert not colours["train"] & colours["val"]
    assert not colours["test"] & (colours["train"] | colours["val"])


def test_a_missing_file_is_named(tmp_path):
    """Half a data set would be prepared, and found out in training."""
    with pytest.raises(UsageError, match=r"train\.zip"):
        files.convert(tmp_path, tmp_path)
