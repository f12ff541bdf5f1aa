"""mmcv's own Python code on the stand-in: golden values of the compiled operators, gradients, half precision."""

import pytest
import torch
from hypothesis import given, settings, strategies as st
from mmcv import ops
from safetensors.torch import load_file

import mmcv_ops_torchvision

pytestmark = pytest.mark.skipif(mmcv_ops_torchvision.compiled(), reason="the compiled operators are in use")
few = settings(deadline=None, max_examples=15)


@pytest.fixture
def golden(shared_data):
    return load_file(shared_data / "mmcv_ops/golden.safetensors")


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.shared
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("aligned", [False, True])
def test_roi_align(golden, ratio, aligned):
    """Half a pixel of shift costs a detector some AP, and nothing else shows it."""
    x = golden["roi.x"].requires_grad_()
    out = ops.roi_align(x, golden["roi.rois"], (5, 5), 0.25, ratio, "avg", aligned)
    (out * golden["roi.weight"]).sum().backward()
    name = f"sr{ratio}.aligned{int(aligned)}"
    assert out.equal(golden[f"roi.out.{name}"])
    # the same sums in the same order on one thread; more threads may add them up in another
    torch.testing.assert_close(x.grad, golden[f"roi.grad.{name}"], rtol=1e-6, atol=1e-6)


@pytest.mark.shared
def test_nms(golden):
    """A box too many or too few is a false positive or a miss in every image."""
    dets, keep = ops.nms(golden["nms.boxes"], golden["nms.scores"], 0.5)
    assert keep.equal(golden["nms.keep"])
    close(dets, golden["nms.dets"])
    cfg = {"type": "nms", "iou_threshold": 0.6}
    dets, keep = ops.batched_nms(golden["nms.boxes"], golden["nms.scores"], golden["nms.ids"], cfg)
    assert keep.equal(golden["bnms.keep"])
    close(dets, golden["bnms.dets"])


@pytest.mark.shared
@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
def test_soft_nms(golden, method):
    """Scores that are lowered in another order rank boxes in another order."""
    dets, keep = ops.soft_nms(
        golden["nms.boxes"], golden["nms.scores"], iou_threshold=0.4, sigma=0.5, min_score=1e-3, method=method
    )
    assert keep.equal(golden[f"soft.{method}.keep"])
    close(dets, golden[f"soft.{method}.dets"])


@pytest.mark.shared
@pytest.mark.parametrize("modulated", [False, True])
def test_deformable_convolutions(golden, modulated):
    """Offsets that are read across before down give a convolution that still trains, and published weights then lie."""
    name = "mdcn" if modulated else "dcn"
    layer = (
        ops.ModulatedDeformConv2d(4, 6, 3, padding=1, deform_groups=2)
        if modulated
        else ops.DeformConv2d(4, 6, 3, padding=1)
    )
    with torch.no_grad():
        layer.weight.copy_(golden[f"{name}.weight"])
        if modulated:
            layer.bias.copy_(golden["mdcn.bias"])
    further = (golden["mdcn.mask"],) if modulated else ()
    close(layer(golden["roi.x"], golden[f"{name}.offset"], *further), golden[f"{name}.out"])


def double(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("groups", [1, 2])
def test_gradients_of_deformable_convolutions(groups):
    """Mmcv's layers have no gradient but what the extension fills in."""
    x, weight = double(1, 2, 3, 3), double(2, 2 // groups, 2, 2, seed=1)
    offset = 0.3 * double(1, 2 * 4 * 2, 2, 2, seed=2) + 0.1
    mask, bias = double(1, 4 * 2, 2, 2, seed=3).sigmoid(), double(2, seed=4)
    leaves = [tensor.requires_grad_() for tensor in (x, offset, mask, weight, bias)]
    assert torch.autograd.gradcheck(
        lambda *given: ops.modulated_deform_conv2d(*given, 1, 0, 1, groups, 2), leaves, fast_mode=True
    )
    assert torch.autograd.gradcheck(
        lambda *given: ops.deform_conv2d(*given, 1, 0, 1, groups, 2), (x, offset, weight), fast_mode=True
    )


def test_stride_and_padding_are_not_swapped():
    """With a square kernel and equal strides a swap of height and width stays unseen."""
    x, weight = double(1, 2, 7, 9), double(3, 2, 3, 2, seed=1)
    plain = torch.nn.functional.conv2d(x, weight, None, (2, 1), (1, 0), (1, 2))
    offset = torch.zeros(1, 2 * 6, *plain.shape[-2:], dtype=torch.float64)
    close(ops.deform_conv2d(x, offset, weight, (2, 1), (1, 0), (1, 2)), plain)


def sigmoid_focal(logits, target, weight, gamma, alpha):
    """The definition, for autograd."""
    hot = torch.nn.functional.one_hot(target, logits.shape[1] + 1)[:, :-1].bool()
    p = logits.sigmoid()
    true = torch.where(hot, p, 1 - p)
    loss = -torch.where(hot, alpha, 1 - alpha) * (1 - true) ** gamma * true.log()
    return loss * torch.cat((weight, weight.new_ones(1)))[target].unsqueeze(1)


def softmax_focal(logits, target, weight, gamma, alpha):
    """The definition, for autograd."""
    p = logits.softmax(1).gather(1, target.clamp(min=0).unsqueeze(1)).squeeze(1)
    loss = -alpha * (1 - p) ** gamma * p.log()
    return torch.where(target < 0, 0, loss * weight[target])


@given(seed=st.integers(0, 1000), gamma=st.sampled_from([1.0, 2.0, 3.5]), alpha=st.floats(0.1, 0.9))
@few
def test_focal_losses(seed, gamma, alpha):
    """Value and gradient are two formulas of the stand-in, and mmdet has its own only on the CPU."""
    logits, weight = 2 * double(6, 4, seed=seed), double(4, seed=seed + 1).exp()
    for target, function, definition in (
        (torch.tensor([0, 1, 2, 3, 4, 4]), ops.sigmoid_focal_loss, sigmoid_focal),
        (torch.tensor([0, 1, 2, 3, -1, 0]), ops.softmax_focal_loss, softmax_focal),
    ):
        ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
        value = function(ours, target, gamma, alpha, weight, "mean")
        expected = definition(theirs, target, weight, gamma, alpha).sum() / len(logits)
        value.backward()
        expected.backward()
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_focal_loss_by_hand():
    """At logit 0 and gamma 2: 0.25 · 0.25 · ln 2 for the true class, 0.75 · 0.25 · ln 2 for another."""
    loss = ops.sigmoid_focal_loss(torch.zeros(1, 2), torch.tensor([0]), 2.0, 0.25, None, "none")
    torch.testing.assert_close(loss, torch.tensor([[0.0433217, 0.1299651]]))


def test_nms_match_by_hand():
    """Boxes 0 and 2 overlap by 8/12, box 1 stands apart; a box without area is a group of its own."""
    dets = torch.tensor([[0, 0, 10, 1, 0.5], [20, 0, 30, 1, 0.9], [2, 0, 12, 1, 0.7], [5, 5, 5, 5, 0.1]])
    assert [group.tolist() for group in ops.nms_match(dets, 0.6)] == [[1], [2, 0], [3]]
    assert [group.tolist() for group in ops.nms_match(dets, 0.7)] == [[1], [2], [0], [3]]


def test_nms_counts_pixels_with_an_offset():
    """Old detectors count a box from pixel 0 to 9 as 10 wide: IoU 8/12 becomes 9/13 = 0.692."""
    boxes = torch.tensor([[0.0, 0, 10, 0], [2.0, 0, 12, 0]])
    scores = torch.tensor([0.9, 0.8])
    assert ops.nms(boxes, scores, 0.6, offset=1)[1].tolist() == [0]
    assert ops.nms(boxes, scores, 0.7, offset=1)[1].tolist() == [0, 1]


def test_no_boxes():
    """The first steps of training often find none."""
    boxes, scores = torch.zeros(0, 4), torch.zeros(0)
    assert ops.nms(boxes, scores, 0.5)[0].shape == (0, 5)
    assert ops.soft_nms(boxes, scores)[0].shape == (0, 5)
    x = torch.ones(1, 2, 4, 4, requires_grad=True)
    for out in (
        ops.roi_align(x, torch.zeros(0, 5), (2, 2), 1.0, 0, "avg", True),
        ops.roi_pool(x, torch.zeros(0, 5), (2, 2), 1.0),
    ):
        out.sum().backward()
        assert out.shape == (0, 2, 2, 2)
    assert not x.grad.any()


def roi_pool_by_loops(x, rois, cells, scale):
    """Mmcv's kernel, cell by cell."""
    out = torch.zeros(len(rois), x.shape[1], cells, cells, dtype=x.dtype)
    for n, (image, *box) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = box[0] * scale, box[1] * scale, (box[2] + 1) * scale, (box[3] + 1) * scale
        for row in range(cells):
            for column in range(cells):
                top, left = (
                    int(max(torch.floor(torch.tensor(start + (end - start) / cells * cell)), 0))
                    for start, end, cell in ((y1, y2, row), (x1, x2, column))
                )
                bottom, right = (
                    int(max(torch.ceil(torch.tensor(start + (end - start) / cells * (cell + 1))), 0))
                    for start, end, cell in ((y1, y2, row), (x1, x2, column))
                )
                window = x[int(image), :, top:bottom, left:right]
                if window.numel():
                    out[n, :, row, column] = window.amax((1, 2))
    return out


def test_roi_pool():
    """Torchvision's operator of that name rounds boxes first and gives other maxima; boxes may leave the image."""
    x = double(2, 2, 6, 7).requires_grad_()
    rois = torch.tensor(
        [[0, 1, 2, 9, 8], [1, 0, 0, 11, 13], [1, -4, 3, 5, 30], [0, 40, 40, 50, 50]], dtype=torch.float64
    )
    out = ops.roi_pool(x, rois, (3, 3), 0.5)
    torch.testing.assert_close(out, roi_pool_by_loops(x, rois, 3, 0.5))
    assert not out[3].any()
    assert torch.autograd.gradcheck(lambda x: ops.roi_pool(x, rois, (3, 3), 0.5), x, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    """Under AMP maps arrive in half precision, and torchvision's kernels for the CPU know none or only one kind."""
    x = double(1, 4, 6, 6).to(dtype).requires_grad_()
    rois = torch.tensor([[0, 1, 1, 5, 5]], dtype=dtype)
    offset = torch.full((1, 18, 6, 6), 0.25, dtype=dtype)
    weight = double(3, 4, 3, 3).to(dtype)
    full = x.detach().float().requires_grad_()
    for half, whole in (
        (
            ops.roi_align(x, rois, (2, 2), 1.0, 2, "avg", True),
            ops.roi_align(full, rois.float(), (2, 2), 1.0, 2, "avg", True),
        ),
        (
            ops.deform_conv2d(x, offset, weight, 1, 1),
            ops.deform_conv2d(full, offset.float(), weight.float(), 1, 1),
        ),
    ):
        assert half.dtype == dtype
        torch.testing.assert_close(half.float(), whole, rtol=1e-2, atol=1e-2)
        half.float().sum().backward()
        whole.sum().backward()
    torch.testing.assert_close(x.grad.float(), full.grad, rtol=3e-2, atol=3e-2)
    boxes = torch.tensor([[0, 0, 10, 10], [1, 0, 11, 10]], dtype=dtype)
    assert ops.nms(boxes, torch.tensor([0.5, 0.75], dtype=dtype), 0.5)[1].tolist() == [1]


def test_deformable_attention_on_the_extension():
    """CUDA takes the extension's function, whose gradients a test on the CPU must reach by name."""
    from mmcv import _ext

    value, shapes = double(1, 6, 2, 3).requires_grad_(), torch.tensor([[2, 2], [1, 2]])
    places, weights = double(1, 2, 2, 2, 1, 2, seed=1).sigmoid().requires_grad_(), double(1, 2, 2, 2, 1, seed=2)
    weights.requires_grad_()
    starts = torch.tensor([0, 4])
    out = ops.multi_scale_deform_attn.multi_scale_deformable_attn_pytorch(value, shapes, places, weights)
    weight = double(*out.shape, seed=3)
    expected = torch.autograd.grad((out * weight).sum(), (value, places, weights))
    with torch.no_grad():
        torch.testing.assert_close(
            _ext.ms_deform_attn_forward(value, shapes, starts, places, weights, im2col_step=64), out
        )
        gradients = [torch.zeros_like(tensor) for tensor in (value, places, weights)]
        _ext.ms_deform_attn_backward(value, shapes, starts, places, weights, weight, *gradients, im2col_step=64)
    for gradient, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, other)


@pytest.mark.gpu
@pytest.mark.shared
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same(golden):
    """Kernels for CUDA are others than those for the CPU."""
    on = {name: value.cuda() for name, value in golden.items()}
    close(
        ops.roi_align(on["roi.x"], on["roi.rois"], (5, 5), 0.25, 2, "avg", True).cpu(), golden["roi.out.sr2.aligned1"]
    )
    assert ops.nms(on["nms.boxes"], on["nms.scores"], 0.5)[1].cpu().equal(golden["nms.keep"])
    assert ops.soft_nms(on["nms.boxes"], on["nms.scores"], 0.4, 0.5, 1e-3, "linear")[1].is_cuda
    out = ops.deform_conv2d(on["roi.x"], on["dcn.offset"], on["dcn.weight"], 1, 1)
    close(out.cpu(), golden["dcn.out"])
