"""`TorchDataset`: data sets of other libraries from a config."""

import copy
import pickle

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS
from plain_nets import Points
from torch import nn

from kdhub import TorchDataset, TorchModel, UsageError


def test_samples_get_names():
    """A batch that is a tuple has no place for the keys by which a stored teacher is asked."""
    data = TorchDataset({"type": "plain_nets.Points", "size": 3})
    assert len(data) == 3
    assert data[1].keys() == {"inputs", "labels"}
    assert data[1]["inputs"].equal(Points(3)[1][0])
    assert TorchDataset(Points(3), fields=None)[1][1] == data[1]["labels"]
    assert TorchDataset(Points(3), fields=("x", "y"))[0].keys() == {"x", "y"}


def test_mmengine_builds_it_with_everything_inside():
    """Torchvision's transforms are objects, and mmengine builds none inside of a data set."""
    pytest.importorskip("torchvision")
    cfg = {
        "type": "kdhub.TorchDataset",
        "data": {
            "type": "torchvision.datasets.FakeData",
            "size": 2,
            "image_size": (3, 8, 8),
            "transform": {
                "type": "torchvision.transforms.Compose",
                "transforms": [{"type": "torchvision.transforms.ToTensor"}],
            },
        },
    }
    sample = DATASETS.build(cfg)[0]
    assert sample["inputs"].shape == (3, 8, 8)
    assert isinstance(sample["inputs"], torch.Tensor)


def test_class_names_reach_checkpoints():
    """By them a teacher whose classes are ordered otherwise is found out."""
    assert TorchDataset(Points()).metainfo == {"classes": ("below", "above")}
    assert TorchDataset([1, 2]).metainfo == {}


def test_it_travels_to_data_workers():
    """Attributes are the data set's, which must not loop while a copy has none yet."""
    data = TorchDataset(Points(3))
    for other in (copy.deepcopy(data), pickle.loads(pickle.dumps(data))):  # noqa: S301 - our own bytes
        assert other[0]["inputs"].equal(data[0]["inputs"])
    assert data.points is data.data.points
    with pytest.raises(AttributeError):
        data.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": {"type": "plain_nets.Pionts"}}, r"did you mean 'plain_nets.Points'"),
        ({"data": {"type": "plain_nets.Points", "sise": 1}}, r"takes no 'sise'.*did you mean 'size'"),
        ({"data": {"type": "itertools.count"}}, r"TorchDataset\.data: not a map-style data set .*got count"),
    ],
)
def test_what_is_no_data_set_is_refused(options, message):
    """A mistake is named before the data loader hides it in a worker."""
    with pytest.raises(UsageError, match=message):
        TorchDataset(**options)


def test_parts_without_a_name_are_refused():
    """A third part that is dropped in silence may be the one that was meant."""
    with pytest.raises(UsageError, match=r"TorchDataset\.fields: a sample has 3 parts .*fields=None"):
        TorchDataset([(1, 2, 3)])[0]


def test_two_samples_without_labels_are_no_inputs_and_labels():
    """The default collate function of mmengine makes a list of the two tensors, which looked like ``(inputs, labels)``."""
    samples = TorchDataset(torch.arange(4.0).reshape(2, 2))
    form = TorchModel(net=nn.Linear(2, 3)).data_preprocessor(pseudo_collate([samples[0], samples[1]]))
    assert form.keys() == {"inputs"}
    assert form["inputs"].tolist() == [[0.0, 1.0], [2.0, 3.0]]
