"""Edge masks: the card's example, and every map against one-hot, dilation, erosion and pooling class by class."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional

from kdhub.errors import UsageError
from kdseg import class_sets, masks
from kdseg.masks import edge_masks, pooled_edge_masks

GOLDEN = json.loads((Path(__file__).parent / "golden/bpkd.json").read_text(encoding="utf-8"))
VOID = 255

many = settings(deadline=None, max_examples=60)


def halves():
    """6 x 6 pixels, class 0 on the left and class 1 on the right."""
    return torch.tensor([0, 0, 0, 1, 1, 1]).expand(1, 6, 6).clone()


def dilated(one_hot, window):
    return functional.max_pool2d(one_hot, window, 1, window // 2)


def one_by_one(labels, num_classes, window, void_rule, ignore_index=VOID):
    """The definition as the card words it: a loop over classes on one-hot maps in floats."""
    valid = (labels != ignore_index).float().unsqueeze(1)
    keep = {"window": 1 - dilated(1 - valid, window), "pixel": valid, "transition": torch.ones_like(valid)}[void_rule]
    maps = []
    for index in range(num_classes):
        one_hot = (labels == index).float().unsqueeze(1) * valid
        maps.append((dilated(one_hot, window) - (1 - dilated(1 - one_hot, window))) * keep)
    return torch.cat(maps, 1)


@st.composite
def label_maps(draw):
    """Blocks of random classes, more or less of it void, at sizes that nothing divides."""
    num_classes = draw(st.sampled_from([1, 2, 3, 8, 19, 31, 32, 33, 64, 65, 150]))
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    block = draw(st.sampled_from([1, 2, 5, 9]))
    shape = (2, -(-height // block), -(-width // block))
    blocks = torch.randint(0, num_classes, shape, generator=generator)
    labels = blocks.repeat_interleave(block, 1).repeat_interleave(block, 2)[:, :height, :width]
    share = draw(st.sampled_from([0.0, 0.02, 0.3]))
    void = torch.rand(labels.shape, generator=generator) < share
    return labels.masked_fill(void, VOID), num_classes


@pytest.mark.parametrize("case", GOLDEN["masks"], ids=lambda case: case["name"])
def test_golden(case):
    """A band of another width, or an edge along the frame, trains on other pixels than the method means."""
    edge, valid = pooled_edge_masks(halves(), 2, tuple(case["size"]), window=case["window"])
    expected = torch.tensor(case["row"], dtype=torch.float32).expand_as(edge)
    torch.testing.assert_close(edge, expected, atol=1e-6, rtol=0)
    assert (edge > 0).sum((0, 2, 3)).tolist() == case["counts"]
    assert edge.dtype == torch.float32
    assert valid.all()


@pytest.mark.parametrize("case", GOLDEN["void"], ids=lambda case: case["void_rule"])
def test_golden_void(case):
    """Void taken for a class puts edges around every unlabelled pole."""
    labels = halves()
    labels[0, 0, 2] = VOID
    marked = edge_masks(labels, 2, window=3, void_rule=case["void_rule"])
    assert marked.sum((0, 2, 3)).tolist() == case["counts"]


@given(label_maps(), st.sampled_from([1, 3, 5, 7, 9]), st.sampled_from(masks.VOID_RULES))
@many
def test_equals_the_definition_class_by_class(drawn, window, void_rule):
    """Working on all classes at once must not change a single pixel, at any number of classes."""
    labels, num_classes = drawn
    marked = edge_masks(labels, num_classes, window=window, void_rule=void_rule)
    assert marked.dtype == torch.bool
    assert torch.equal(marked.float(), one_by_one(labels, num_classes, window, void_rule))


@given(label_maps(), st.tuples(st.integers(1, 30), st.integers(1, 30)), st.sampled_from(masks.VOID_RULES))
@many
def test_pooling_equals_adaptive_average_pooling(drawn, size, void_rule):
    """Cells that overlap, or are smaller than a pixel, must be weighed as torch weighs them."""
    labels, num_classes = drawn
    edge, valid = pooled_edge_masks(labels, num_classes, size, window=3, void_rule=void_rule)
    void = functional.adaptive_max_pool2d((labels == VOID).float().unsqueeze(1), size) > 0
    expected = functional.adaptive_avg_pool2d(one_by_one(labels, num_classes, 3, void_rule), size)
    assert torch.equal(valid, ~void)
    torch.testing.assert_close(edge, expected.masked_fill(void, 0.0), atol=1e-6, rtol=0)


@given(label_maps(), st.booleans())
@many
def test_flipping_labels_flips_the_masks(drawn, vertically):
    """A band that leans to one side would teach mirrored images differently."""
    labels, num_classes = drawn
    axis = -2 if vertically else -1
    size = (labels.shape[-2], labels.shape[-1])
    there, back = (pooled_edge_masks(given, num_classes, size) for given in (labels, labels.flip(axis)))
    assert torch.equal(there.edge.flip(axis), back.edge)
    assert torch.equal(there.valid.flip(axis), back.valid)


@pytest.mark.parametrize(
    ("num_classes", "ignore_index"), [(3, -1), (3, 2), (255, 255), (300, 300), (300, -1), (300, 255)]
)
def test_any_ignore_index_and_many_classes(num_classes, ignore_index):
    """Labels are kept in bytes where they fit: a class must never be taken for void, or void for a class."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, min(num_classes, 301), (1, 9, 9), generator=generator)
    labels[0, 4, 4:7] = ignore_index
    labels[0, :3] = num_classes - 1
    marked = edge_masks(labels, num_classes, window=3, ignore_index=ignore_index)
    assert torch.equal(marked.float(), one_by_one(labels, num_classes, 3, "window", ignore_index))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_any_integers_and_mmsegs_extra_axis(dtype):
    """Mmseg keeps (1, H, W) in a sample; data sets keep bytes."""
    labels = halves()
    labels[0, 0, 2] = VOID
    expected = pooled_edge_masks(labels, 2, (3, 3), window=3)
    edge, valid = pooled_edge_masks(labels.to(dtype).unsqueeze(1), 2, (3, 3), window=3)
    assert torch.equal(edge, expected.edge)
    assert torch.equal(valid, expected.valid)


def test_all_void_and_one_class_mark_nothing():
    """A crop without a boundary must give exactly 0."""
    for labels in (torch.full((1, 8, 8), VOID), torch.zeros(1, 8, 8, dtype=torch.int64)):
        assert not pooled_edge_masks(labels, 3, (4, 4)).edge.any()
    assert not pooled_edge_masks(torch.full((1, 8, 8), VOID), 3, (4, 4)).valid.any()


def test_images_are_taken_in_parts(monkeypatch):
    """A large batch goes through in parts, to bound the memory; the result must not show it."""
    labels = torch.randint(0, 40, (3, 16, 16), generator=torch.Generator().manual_seed(0))
    whole = pooled_edge_masks(labels.clone(), 40, (5, 5))
    monkeypatch.setattr(masks, "_PIXELS_AT_ONCE", 300)
    parts = pooled_edge_masks(labels.clone(), 40, (5, 5))
    assert torch.equal(whole.edge, parts.edge)
    assert torch.equal(whole.valid, parts.valid)


@pytest.fixture
def computed(monkeypatch):
    """A list that gets an entry each time masks are really computed."""
    calls = []
    original = masks._pooled

    def counted(*args):
        calls.append(args)
        return original(*args)

    monkeypatch.setattr(masks, "_pooled", counted)
    return calls


def test_computed_once_for_all_objectives(computed):
    """The mask costs more than the loss: four objectives on one batch must not pay it four times."""
    labels = halves()
    results = [pooled_edge_masks(labels, 2, (3, 3)) for _ in range(4)]
    assert len(computed) == 1
    assert all(result is results[0] for result in results)
    pooled_edge_masks(labels, 2, (3, 3), window=3)
    pooled_edge_masks(labels, 2, (2, 2))
    assert len(computed) == 3


def test_changed_labels_are_looked_at_again(computed):
    """A preprocessor that writes into its label buffer must not train on the batch before."""
    labels = halves()
    before = pooled_edge_masks(labels, 2, (6, 6), window=3)
    labels[..., 1:] = 1
    after = pooled_edge_masks(labels, 2, (6, 6), window=3)
    assert len(computed) == 2
    assert not torch.equal(before.edge, after.edge)


def test_masks_die_with_their_labels():
    """Masks kept beyond their batch would fill the memory within an epoch."""
    labels = halves()
    kept = len(masks._memory)
    pooled_edge_masks(labels, 2, (3, 3))
    assert len(masks._memory) == kept + 1
    del labels
    assert len(masks._memory) == kept


def test_labels_made_in_inference_mode(computed):
    """Such tensors have no version to tell a change by: compute each time rather than fail."""
    with torch.inference_mode():
        labels = halves()
        for _ in range(2):
            assert pooled_edge_masks(labels, 2, (3, 3), window=3).edge.any()
    assert len(computed) == 2


@pytest.mark.parametrize(
    ("labels", "arguments", "message"),
    [
        (halves(), {"window": 4}, "window=3 or 5"),
        (halves(), {"window": 0}, "window"),
        (halves(), {"window": 7.0}, "whole number"),
        (halves(), {"num_classes": 0}, "num_classes"),
        (halves(), {"void_rule": "pixels"}, "did you mean 'pixel'"),
        (halves()[0], {}, r"\(B, H, W\)"),
        (halves().float(), {}, "integers"),
    ],
)
def test_bad_arguments(labels, arguments, message):
    """An even window makes a band that leans to one side, in silence."""
    with pytest.raises(UsageError, match=message):
        edge_masks(labels, **{"num_classes": 2, **arguments})


@given(st.integers(1, 70), st.integers(0, 10_000))
@many
def test_counting_in_bits(length, seed):
    """A lost carry would show only in cells with many edge pixels."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(-(2**31), 2**31, (length, 3), generator=generator).to(torch.int32)
    counts = class_sets.numbers([digit.unsqueeze(0) for digit in class_sets.count(words, 0)], 32)
    assert torch.equal(counts[0], class_sets.has_class(words, 32).sum(0, dtype=torch.int32))
