"""Which detections the report's pictures call right, and what they show of a teacher's regions."""

import torch
from PIL import Image

from kddet.panels.draw import Boxes, draw_boxes
from kddet.panels.hook import _right
from kddet.panels.regions import region_panels
from kddet.regions.names import NameBank
from kddet.regions.region_files import NAMES, RegionFiles, Regions, finish, part_file, write_part


def test_right_by_hand():
    """A second box on one object is wrong, so is another class, and so is any box where nothing is."""
    truth, labels = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]]), torch.tensor([1, 2])
    boxes = torch.tensor([[0.0, 0, 10, 9], [0, 0, 10, 10], [20, 20, 30, 30], [20, 20, 30, 25]])
    found = torch.tensor([1, 1, 3, 2])
    assert _right(boxes, found, torch.ones(4), truth, labels) == [True, False, False, True]
    assert _right(boxes[:1], found[:1], torch.ones(1), truth[:0], labels[:0]) == [False]


class OneImage:
    """As much of an mmdet data set as is asked of it."""

    def __init__(self, path):
        self._path = path

    def __len__(self):
        return 1

    def get_data_info(self, place):
        return {"img_id": 7, "img_path": self._path}


def test_regions_are_drawn_with_names_and_weights(tmp_path, monkeypatch):
    """A picture with the names of other regions would make a bad teacher look good."""
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    bank = NameBank(("cat", "dog"), torch.eye(2))
    regions = Regions(
        boxes=torch.tensor([[1.0, 1, 9, 9], [2, 2, 20, 20], [5, 5, 30, 25]]),
        embeddings=torch.ones(3, 2),
        weights=torch.tensor([1.0, 0.9, 0.4]),
        scores=torch.tensor([0.0, 0.6, 0.2]),
        names=torch.tensor([0, 1, 0]),
        base=torch.tensor([True, False, False]),
    )
    bank.save(tmp_path / NAMES)
    write_part(part_file(tmp_path, 0), {0: regions})
    finish(tmp_path, [7])
    drawn = []
    monkeypatch.setattr("kddet.panels.regions.draw_boxes", lambda path, image, panels: drawn.append(panels))
    data = OneImage(str(tmp_path / "a.png"))
    (panel,) = region_panels(RegionFiles(tmp_path), data, count=3, most=1, folder=tmp_path)
    base, proposed = drawn[0]
    assert (base.texts, proposed.texts) == (["cat"], ["dog 0.90"])
    assert proposed.boxes.tolist() == [[2, 2, 20, 20]]
    assert "1 base boxes and 2 proposals, of which the surest 1" in panel.caption


def test_boxes_are_drawn_into_a_picture(tmp_path):
    """An image without boxes, and more copies than fit a row, must draw too."""
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    none, one = torch.zeros(0, 4), torch.tensor([[1.0, 1, 9, 9]])
    panels = [Boxes("empty", none, [], []), *[Boxes("one", one, ["cat"], ["#000000"])] * 3]
    draw_boxes(tmp_path / "out.png", str(tmp_path / "a.png"), panels)
    with Image.open(tmp_path / "out.png") as opened:
        assert opened.size[1] > opened.size[0] / 3
