"""Anchors, their scores, suppression, the filter by base boxes, crops: the card's numbers, and mmdet's anchors."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from kddet.regions.proposals import anchors, away_from, clip, confidence, crop_box, draw, propose

few = settings(deadline=None, max_examples=25)


def test_number_of_anchors():
    """From the card: a padded image of 800 x 1344 has 25 · 42 · 15 = 15,750."""
    assert anchors(800, 1344).shape == (15750, 4)
    assert anchors(800, 1333).shape == (15750, 4)


def test_anchors_are_those_of_mmdet():
    """Another centre or a swap of height and width scores other crops, and nothing shows it."""
    from mmdet.models.task_modules.prior_generators import AnchorGenerator

    generator = AnchorGenerator(strides=[32], ratios=[0.5, 1.0, 2.0], scales=[1, 2, 4, 8, 16], base_sizes=[32])
    (expected,) = generator.grid_priors([(3, 5)], device="cpu")
    torch.testing.assert_close(anchors(96, 160), expected)


@pytest.mark.parametrize(
    ("probabilities", "score"),
    [
        ([0.9, 0.1], 0.368064),
        ([0.25] * 4, 0.0),
        ([0.9, *[0.1 / 64] * 64], 3.433416),
        ([1.0, 0.0, 0.0], math.log(3)),
    ],
    ids=["two names", "uniform", "65 names", "certain"],
)
def test_the_cards_scores(probabilities, score):
    """The sign, the offset ln C and the logarithm of 0 decide which crops are kept."""
    assert confidence(torch.tensor([probabilities])).item() == pytest.approx(score, abs=2e-6)


def test_scores_of_half_precision():
    """CLIP runs in float16, in which an entropy over 1,203 names is off in the second digit."""
    q = torch.randn(4, 1203).mul(3).softmax(1)
    torch.testing.assert_close(confidence(q.half()), confidence(q), rtol=1e-2, atol=1e-2)
    assert confidence(q.half()).dtype == torch.float32


@given(seed=st.integers(0, 1000), limit=st.integers(1, 40))
@few
def test_proposals_are_sorted_and_apart(seed, limit):
    """The first 200 of the list are what training draws from."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(60, 2, generator=generator) * 100
    boxes = torch.cat((corners, corners + torch.rand(60, 2, generator=generator) * 60), 1)
    scores = torch.rand(60, generator=generator)
    kept, places = propose(boxes, scores, 90, 80, limit=limit)
    assert scores[places].equal(scores[places].sort(descending=True).values)
    assert kept.equal(clip(boxes[places], 90, 80))
    assert len(kept) <= limit
    for index in range(1, len(kept)):
        assert away_from(kept[index : index + 1], kept[:index], 0.7 + 1e-6).all()


def test_boxes_without_area_and_scores_that_are_none_are_dropped():
    """An anchor wholly outside the image is clipped to nothing, and a crop of it stops the image encoder."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [200, 200, 300, 300], [20, 20, 40, 40]])
    kept, places = propose(boxes, torch.tensor([0.5, 0.9, torch.nan]), 100, 100)
    assert places.tolist() == [0]
    assert len(propose(boxes[:0], torch.zeros(0), 100, 100)[0]) == 0
    assert kept.tolist() == [[0, 0, 10, 10]]


def test_base_boxes_filter():
    """By hand: IoU 50/150 = 1/3 drops the first; the novel object, of which no box is given, keeps its proposal."""
    boxes = torch.tensor([[5.0, 0, 15, 10], [0, 40, 10, 50], [8, 0, 18, 10]])
    base, novel = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[0.0, 40, 10, 50]])
    assert away_from(boxes, base).tolist() == [False, True, True]
    assert away_from(boxes, torch.zeros(0, 4)).all()
    assert not away_from(boxes, torch.cat((base, novel)))[1]  # what leaking novel boxes would do


@pytest.mark.parametrize(
    ("box", "options", "expected"),
    [
        ((10.4, 20.6, 30.2, 40.1), {}, (10, 20, 31, 41)),
        ((10, 20, 30, 40), {"enlarge": 1.2}, (8, 18, 32, 42)),
        ((-5, -5, 500, 500), {}, (0, 0, 99, 79)),
        ((50, 50, 52, 50), {"least": 10}, (50, 50, 60, 60)),
        ((98, 78, 99, 79), {"least": 10}, (89, 69, 99, 79)),
        ((300, 300, 310, 310), {"least": 10}, (89, 69, 99, 79)),
    ],
    ids=["whole pixels", "enlarged", "clipped", "least side", "at the corner", "outside"],
)
def test_crops(box, options, expected):
    """A crop without pixels stops the encoder; one that is not enlarged gives other features than the paper's."""
    assert crop_box(box, 80, 100, **options) == expected


def test_draws():
    """Fewer proposals than draws are normal, and so is an image without any."""
    drawn = draw(3, generator=torch.Generator().manual_seed(0))
    assert drawn.shape == (200,)
    assert set(drawn.tolist()) == {0, 1, 2}
    assert draw(900, generator=torch.Generator().manual_seed(0)).max() < 200
    assert draw(0).shape == (0,)
