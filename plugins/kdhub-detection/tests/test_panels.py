"""Which detections the report's pictures call right."""

import torch

from kddet.panels.hook import _right


def test_right_by_hand():
    """A second box on one object is wrong, so is another class, and so is any box where nothing is."""
    truth, labels = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]]), torch.tensor([1, 2])
    boxes = torch.tensor([[0.0, 0, 10, 9], [0, 0, 10, 10], [20, 20, 30, 30], [20, 20, 30, 25]])
    found = torch.tensor([1, 1, 3, 2])
    assert _right(boxes, found, torch.ones(4), truth, labels) == [True, False, False, True]
    assert _right(boxes[:1], found[:1], torch.ones(1), truth[:0], labels[:0]) == [False]
