"""Annotations of others, and crops of their boxes."""

import json

import pytest
import torch

from kddet.data.base_boxes import BaseBoxes
from kddet.losses.regions import RegionEmbeddingKD
from kddet.regions.crops import BoxCrops, Boxes, crops
from kdhub.api import UsageError

CONTENT = {
    "images": [{"id": "a", "file_name": "a.jpg"}, {"id": 7, "file_name": "b.jpg"}],
    "categories": [{"id": 1, "name": "person"}, {"id": 3, "name": "traffic light"}],
    "annotations": [
        {"id": 1, "image_id": "a", "category_id": 3, "bbox": [1, 2, 3, 4]},
        {"id": 2, "image_id": "a", "category_id": 1, "bbox": [0, 0, 5, 5], "iscrowd": 1},
        {"id": 3, "image_id": "a", "category_id": 1, "bbox": [0, 0, 0, 5]},
        {"id": 4, "image_id": "a", "category_id": 1, "bbox": [2, 2, 2, 2]},
    ],
}


def write(folder, **changes):
    (folder / "x.json").write_text(json.dumps(CONTENT | changes))
    return folder / "x.json"


def test_boxes_of_some_names(tmp_path):
    """Text ids, names with underscores, crowds and boxes without area occur; other classes must not be seen."""
    boxes = Boxes(write(tmp_path), ["traffic_light"])
    assert boxes.of("a")[0].tolist() == [[1, 2, 4, 6]]
    assert boxes.of(7)[0].shape == (0, 4)
    both = Boxes(write(tmp_path), ["person", "traffic light"])
    assert (both.of("a")[0].tolist(), both.of("a")[1].tolist()) == ([[1, 2, 4, 6], [2, 2, 4, 4]], [1, 0])


def test_files_that_are_wrong(tmp_path):
    """A box of an unknown category would be left out without a word."""
    strange = [*CONTENT["annotations"], {"id": 9, "image_id": 7, "category_id": "1", "bbox": [0, 0, 1, 1]}]
    with pytest.raises(UsageError, match="annotation 9: a box of an unknown category.*got '1'"):
        Boxes(write(tmp_path, annotations=strange), ["person"])
    with pytest.raises(UsageError, match="no such category.*'persn'.*'person'"):
        Boxes(write(tmp_path), ["persn"])
    with pytest.raises(UsageError, match="not annotations in COCO's format.*KeyError"):
        Boxes(write(tmp_path, images=[{}]), ["person"])
    with pytest.raises(UsageError, match="no box to crop"):
        BoxCrops(str(write(tmp_path, annotations=[])), str(tmp_path), ["person"])
    with pytest.raises(UsageError, match="BaseBoxes: no such class.*'dg'"):
        BaseBoxes(["dog", "cat"], ["dg"])


def test_labels_are_those_of_the_names(tmp_path):
    """Mmdet numbers labels in the file's order: with names in another, airplanes were taught to be "train", a base class."""
    images = [{"id": "a", "file_name": "a.jpg", "width": 9, "height": 9}]
    annotations = [one | {"area": 4, "iscrowd": 0} for one in CONTENT["annotations"]]
    written = str(write(tmp_path, images=images, annotations=annotations))
    file = {"ann_file": written, "pipeline": [], "data_prefix": {"img": ""}}
    boxes = BaseBoxes(["person", "traffic light"], ["traffic light"], **file)
    assert [one["bbox_label"] for one in boxes.get_data_info(0)["instances"]] == [1]
    with pytest.raises(UsageError, match="not in the order .*expected 'person' .*got 'traffic light'"):
        BaseBoxes(["traffic light", "person"], **file)
    with pytest.raises(UsageError, match="no such category .*got 'traffic_light'.*traffic light"):
        BaseBoxes(["person", "traffic_light"], **file)


def test_a_crop_stands_in_the_middle_of_a_black_square():
    """Stretched to a square, a lamp post looks like a wall. A wide box keeps its shape; what is beyond the image is black."""
    image = torch.full((3, 40, 60), 200, dtype=torch.uint8)
    (wide,) = crops(image, torch.tensor([[10.0, 10, 30, 20]]), 20)
    assert wide[0, :, 10].tolist() == pytest.approx([0] * 5 + [200] * 10 + [0] * 5, abs=40)
    (outside,) = crops(image, torch.tensor([[50.0, 30, 90, 70]]), 8)
    assert outside.float().mean() > 150
    assert crops(image, torch.zeros(0, 4), 8).shape == (0, 3, 8, 8)
    assert crops(image, torch.tensor([[70.0, 50, 80, 60]]), 8).shape == (1, 3, 8, 8)


def test_weights_may_come_image_by_image():
    """Stacked or joined in another order, an image's weights would be balanced with those of another."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.nn.functional.normalize(torch.randn(5, 3, generator=generator), dim=1) for _ in range(2))
    weights = torch.tensor([1.0, 0.5, 0.2, 1.0, 0.1])
    loss = RegionEmbeddingKD()
    expected = loss(student, teacher, weights, torch.tensor([0, 0, 1, 1, 1]))
    assert loss(student, teacher, list(weights.split([2, 3]))).item() == pytest.approx(expected.item())
    stacked = loss(student[:4], teacher[:4], weights[:4].reshape(2, 2))
    assert stacked.item() == pytest.approx(
        loss(student[:4], teacher[:4], weights[:4], torch.tensor([0, 0, 1, 1])).item()
    )
    with pytest.raises(UsageError, match="which image a region belongs to"):
        loss(student, teacher, weights)
