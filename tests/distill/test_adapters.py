"""Adapters: right shape, right neighbours, and no student cell without a gradient."""

import pytest
import torch
from torch.nn import functional

from kdhub.distill.adapters import Conv1x1, Linear, SpatialResize, TokenPool
from kdhub.errors import UsageError
from kdhub.testing.contracts import assert_adapter_contract


@pytest.mark.parametrize(
    ("adapter", "arguments", "value", "like"),
    [
        (Linear, {"in_features": 6, "out_features": 9}, (4, 6), (4, 9)),
        (Linear, {"in_features": 6, "out_features": 9, "bias": False}, (4, 5, 6), (4, 5, 9)),
        (Conv1x1, {"in_channels": 6, "out_channels": 9}, (2, 6, 4, 5), (2, 9, 4, 5)),
        (SpatialResize, {}, (2, 3, 8, 6), (2, 3, 4, 3)),
        (SpatialResize, {}, (2, 3, 4, 3), (2, 3, 8, 6)),
        (SpatialResize, {"mode": "bicubic", "align_corners": True, "antialias": False}, (2, 3, 4, 4), (2, 3, 7, 7)),
        (SpatialResize, {"mode": "nearest"}, (2, 3, 4, 4), (2, 3, 8, 8)),
        (SpatialResize, {"mode": "area"}, (2, 3, 8, 8), (2, 3, 4, 4)),
        (TokenPool, {}, (2, 12, 5), (2, 4, 5)),
        (TokenPool, {"keep_prefix": 1, "grid": (4, 4)}, (2, 17, 5), (2, 5, 5)),
        (TokenPool, {"grid": (4, 6)}, (2, 24, 5), (2, 6, 5)),
    ],
)
def test_adapter_contract(adapter, arguments, value, like):
    """What the objective takes for granted of every adapter."""
    assert_adapter_contract(adapter, arguments=arguments, value=value, like=like)


@pytest.mark.parametrize(
    ("adapter", "arguments", "value", "like"),
    [(SpatialResize, {"size": (5, 7)}, (2, 3, 8, 6), (2, 5, 7)), (TokenPool, {"tokens": 3}, (2, 12, 5), (2, 5))],
)
def test_a_fixed_size_asks_nothing_of_the_teacher(adapter, arguments, value, like):
    """With the size in the config the teacher's value may have any shape."""
    result = (2, 3, 5, 7) if adapter is SpatialResize else (2, 3, 5)
    assert_adapter_contract(adapter, arguments=arguments, value=value, like=like, result=result)


def test_conv1x1_is_linear_at_every_place():
    """A convolution that mixed neighbours would let the adapter do the student's work."""
    conv = Conv1x1(3, 4)
    value = torch.randn(2, 3, 5, 6)
    expected = (
        torch.einsum("oc,bchw->bohw", conv.projection.weight[:, :, 0, 0], value) + conv.projection.bias[:, None, None]
    )
    torch.testing.assert_close(conv(value, value), expected)


def test_shrinking_leaves_no_cell_without_a_gradient():
    """Plain bilinear shrinking by 4 reads a quarter of the student's cells; the others would never be trained."""
    value = torch.randn(1, 1, 16, 16, requires_grad=True)
    SpatialResize()(value, torch.zeros(1, 1, 4, 4)).sum().backward()
    assert (value.grad != 0).all()
    plain = torch.randn(1, 1, 16, 16, requires_grad=True)
    SpatialResize(antialias=False)(plain, torch.zeros(1, 1, 4, 4)).sum().backward()
    assert (plain.grad == 0).any()


def test_enlarging_is_what_segmentation_heads_do():
    """Mmseg resizes logits bilinearly without aligned corners: another grid shifts every boundary by half a pixel."""
    value = torch.randn(2, 3, 5, 6)
    expected = functional.interpolate(value, size=(10, 12), mode="bilinear", align_corners=False)
    torch.testing.assert_close(SpatialResize()(value, torch.zeros(2, 3, 10, 12)), expected)


def test_same_size_is_passed_on_untouched():
    """A resize to the same size would still blur bicubically and cost memory."""
    for adapter, value in ((SpatialResize(), torch.randn(2, 3, 5, 6)), (TokenPool(), torch.randn(2, 5, 6))):
        assert adapter(value, value.clone()) is value


def test_tokens_are_averaged_over_neighbours_in_the_image():
    """Pooled in order of the sequence, the end of a row of patches would be mixed with the beginning of the next."""
    patches = torch.arange(16.0).reshape(1, 16, 1)
    pooled = TokenPool(grid=(4, 4))(patches, torch.zeros(1, 4, 1))
    assert pooled.flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    in_order = TokenPool()(patches, torch.zeros(1, 4, 1))
    assert in_order.flatten().tolist() == [1.5, 5.5, 9.5, 13.5]


def test_class_token_is_passed_on_untouched():
    """Averaged into the first patch the class token, which carries the image's label, would be lost."""
    value = torch.randn(2, 17, 3)
    pooled = TokenPool(keep_prefix=1, grid=(4, 4))(value, torch.zeros(2, 5, 3))
    assert torch.equal(pooled[:, 0], value[:, 0])
    torch.testing.assert_close(pooled[:, 1:].mean(1), value[:, 1:].mean(1))


@pytest.mark.parametrize(
    ("adapter", "value", "like", "message"),
    [
        (Conv1x1(384, 8), (2, 256, 7, 7), (2, 8, 7, 7), r"expected \(B, 384, H, W\), got \(2, 256, 7, 7\)"),
        (Conv1x1(384, 8), (2, 384, 7), (2, 8, 7), r"expected \(B, 384, H, W\), got \(2, 384, 7\)"),
        (Linear(6, 8), (2, 6, 7), (2, 8, 7), r"expected \(B, \.\.\., 6\), got \(2, 6, 7\)"),
        (Linear(6, 8), (6,), (8,), r"expected \(B, \.\.\., 6\), got \(6,\)"),
        (SpatialResize(), (2, 3, 7), (2, 3, 7, 7), r"expected \(B, C, H, W\), got \(2, 3, 7\)"),
        (SpatialResize(), (2, 3, 7, 7), (2, 3, 7), r"without `size`.*teacher of \(B, C, H, W\), got \(2, 3, 7\)"),
        (TokenPool(), (2, 7), (2, 7, 3), r"expected \(B, N, D\)"),
        (TokenPool(keep_prefix=2), (2, 2, 3), (2, 7, 3), "with N above 2"),
        (TokenPool(), (2, 7, 3), (2, 7), "without `tokens`"),
        (TokenPool(grid=(3, 3)), (2, 10, 3), (2, 4, 3), r"0 \+ 3·3.*got \(2, 10, 3\)"),
        (TokenPool(grid=(3, 3)), (2, 9, 3), (2, 5, 3), "no grid of 5 tokens"),
    ],
)
def test_a_value_of_another_shape_is_refused_by_name(adapter, value, like, message):
    """Torch's own message names neither the adapter nor the axis."""
    with pytest.raises(UsageError, match=message):
        adapter(torch.zeros(value), torch.zeros(like))


@pytest.mark.parametrize(
    "build",
    [
        lambda: SpatialResize(mode="bilinaer"),
        lambda: SpatialResize(size=(0, 4)),
        lambda: TokenPool(keep_prefix=-1),
        lambda: TokenPool(tokens=1, keep_prefix=1),
    ],
)
def test_bad_arguments_stop_in_the_constructor(build):
    """Found at the first batch, a typo has already cost the loading of data and teacher."""
    with pytest.raises(UsageError, match="expected"):
        build()
