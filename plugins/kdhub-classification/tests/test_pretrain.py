"""`MMPretrainNet` against a stand-in: mmpretrain itself is not installed where these tests run."""

import sys
import types

import pytest
import torch
from mmengine.model import BaseModel
from torch import nn

from kdcls.pretrain import mmpretrain_net
from kdhub.api import TorchModel, UsageError, init


class Classifier(BaseModel):
    """As mmpretrain's ImageClassifier: logits in mode ``tensor``, and an ``init_weights`` that draws anew."""

    def __init__(self, classes):
        super().__init__(init_cfg={"type": "Constant", "layer": "Linear", "val": 7.0})
        self.head = nn.Linear(4, classes)

    def forward(self, inputs, data_samples=None, mode="tensor"):
        assert mode == "tensor"
        return self.head(inputs)


@pytest.fixture
def mmpretrain(monkeypatch):
    """A module with the two functions of mmpretrain that are called; ``asked`` keeps what they were given."""
    module = types.ModuleType("mmpretrain")
    module.asked = []

    def get_model(model, pretrained=False, **changes):
        module.asked.append((model, pretrained, changes))
        net = Classifier(changes.get("head", {}).get("num_classes", 1000))
        nn.init.constant_(net.head.weight, 1.0)
        return net

    module.get_model = get_model
    module.list_models = lambda: ["resnet18_8xb32_in1k", "vit-base-p16_32xb128-mae_in1k"]
    monkeypatch.setitem(sys.modules, "mmpretrain", module)
    return module


def test_a_net_by_its_name(mmpretrain):
    """A student of another number of classes than the zoo's is the usual case, and no weights are fetched unasked."""
    init()
    net = {"type": "kdcls.MMPretrainNet", "model": "resnet18_8xb32_in1k", "head": {"num_classes": 24}}
    model = TorchModel(net, criterion={"type": "torch.nn.CrossEntropyLoss"})
    assert mmpretrain.asked == [("resnet18_8xb32_in1k", False, {"head": {"num_classes": 24}})]
    losses = model(torch.randn(2, 4), torch.tensor([0, 23]), mode="loss")
    losses["loss_task"].backward()
    assert model.net.head.weight.grad.abs().sum() > 0
    model.init_weights()
    assert (model.net.head.weight == 7.0).all()


def test_weights_that_were_asked_for_stay(mmpretrain):
    """`init_weights` of mmengine draws anew, and a teacher would know nothing without a word."""
    init()
    model = TorchModel({"type": "kdcls.MMPretrainNet", "model": "resnet18_8xb32_in1k", "pretrained": True})
    model.init_weights()
    assert mmpretrain.asked[0][1] is True
    assert (model.net.head.weight == 1.0).all()


def test_a_misspelt_name_gets_its_nearest(mmpretrain):
    """Mmpretrain says "Failed to find" and no more; a path of a config is not looked up in the zoo."""
    with pytest.raises(UsageError, match="no model 'resnet18_8xb32_in1'.*resnet18_8xb32_in1k"):
        mmpretrain_net("resnet18_8xb32_in1")
    mmpretrain_net("my/config.py")
    with pytest.raises(UsageError, match="bad pretrained"):
        mmpretrain_net("resnet18_8xb32_in1k", pretrained=1)


def test_without_the_library_it_says_what_to_install(monkeypatch):
    """An ImportError from inside a config's build does not say which package it is."""
    monkeypatch.setitem(sys.modules, "mmpretrain", None)
    with pytest.raises(UsageError, match="pip install onedl-mmpretrain"):
        mmpretrain_net("resnet18_8xb32_in1k")
