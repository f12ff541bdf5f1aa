"""`ChannelWise`, `PKD`, `BoxMimic`: numbers by hand, numpy in float64, contracts."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from kddet.losses.box_mimic import BoxMimic, box_mask
from kddet.losses.channel_wise import ChannelWise
from kddet.losses.heat_map import HeatMapKD
from kddet.losses.pkd import PKD
from kdhub.api import UsageError, find
from kdhub.testing.contracts import assert_loss_contract

few = settings(deadline=None, max_examples=20)
seeds = st.integers(0, 10_000)
MAPS = {"student": (3, 4, 6, 5), "teacher": (3, 4, 6, 5)}


def pair(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator), torch.randn(*shape, generator=generator)


def boxes():
    return [
        torch.tensor([[0.0, 0, 8, 8], [10, 10, 18, 23]]),
        torch.tensor([[4.0, 4, 6, 6]]),
        torch.tensor([[0.0, 0, 20, 24]]),
    ]


@pytest.mark.parametrize("loss", [ChannelWise, HeatMapKD, PKD], ids=lambda loss: loss.__name__)
def test_contracts(loss):
    """Half precision, large values, detached teacher, checkpoint: what every objective takes for granted."""
    assert_loss_contract(loss, inputs=MAPS, spec=find(f"kddet.{loss.__name__}"))


@pytest.mark.parametrize("reduction", ["positions", "samples"])
def test_contract_of_box_mimic(reduction):
    """A background of 0 must not cut the graph, and boxes are no tensor of the batch."""
    assert_loss_contract(
        BoxMimic,
        arguments={"background": 0.5, "reduction": reduction},
        inputs=MAPS | {"boxes": boxes, "images": lambda: torch.zeros(3, 3, 24, 20)},
        spec=find("kddet.BoxMimic"),
        batch_order=False,  # a list of boxes does not move with the batch
    )


def test_channel_wise_by_hand():
    """Teacher 3:1 over two places, student even: ln 2 - H = 0.130812; a temperature of 2 softens √3:1 and multiplies by 4."""
    student = torch.zeros(1, 1, 1, 2)
    teacher = torch.tensor([[[[3.0, 1.0]]]]).log()
    assert ChannelWise()(student, teacher).item() == pytest.approx(
        0.75 * np.log(0.75) + 0.25 * np.log(0.25) + np.log(2), abs=1e-6
    )
    p = np.sqrt([3.0, 1.0]) / np.sqrt([3.0, 1.0]).sum()
    assert ChannelWise(2.0)(student, teacher).item() == pytest.approx(4 * (p * np.log(2 * p)).sum(), abs=1e-6)


def test_pkd_by_hand():
    """(1, 2, 3, 4) and (1, 3, 2, 4) correlate by 0.8; twice a channel plus 7 correlates by 1, its negative by -1."""
    student = torch.tensor([1.0, 2, 3, 4]).view(1, 1, 2, 2)
    assert PKD()(student, torch.tensor([1.0, 3, 2, 4]).view(1, 1, 2, 2)).item() == pytest.approx(0.2, abs=1e-5)
    assert PKD()(student, 2 * student + 7).item() == pytest.approx(0, abs=1e-5)
    assert PKD()(student, -student).item() == pytest.approx(2, abs=1e-5)


def test_heat_map_by_hand():
    """Teacher 3/4 and 1/4, student 1/2 twice: differences of 1/4 and entropies of ln 2, over a sum of 1."""
    student, teacher = torch.zeros(1, 1, 1, 2), torch.tensor([[[[3.0, 1 / 3]]]]).log()
    assert HeatMapKD()(student, teacher).item() == pytest.approx(2 * np.log(2) / 16, abs=1e-6)
    assert HeatMapKD(gamma=0)(student, teacher).item() == pytest.approx(2 * np.log(2), abs=1e-6)


@given(seed=seeds, scale=st.floats(0.01, 100), shift=st.floats(-50, 50))
@few
def test_pkd_is_one_minus_numpys_correlation(seed, scale, shift):
    """Statistics of an image or of all channels instead of each channel over the batch give another method."""
    student, teacher = pair(2, 3, 4, 5, seed=seed)
    rows = [values.transpose(0, 1).flatten(1).double().numpy() for values in (student, teacher)]
    expected = 1 - np.mean([np.corrcoef(s, t)[0, 1] for s, t in zip(*rows, strict=True)])
    assert PKD()(student, teacher).item() == pytest.approx(expected, abs=1e-4)
    assert PKD()(scale * student + shift, teacher).item() == pytest.approx(expected, abs=2e-3)


def test_a_constant_channel_does_no_harm():
    """A dead channel of the student has no deviation: 1/2 instead of NaN, and a finite gradient."""
    student, teacher = pair(2, 2, 3, 3)
    student = torch.stack((torch.zeros(2, 3, 3), student[:, 1]), 1).requires_grad_()
    loss = PKD()(student, teacher)
    loss.backward()
    alone = PKD()(student[:, 1:], teacher[:, 1:])
    assert loss.item() == pytest.approx((alone.item() + 0.5) / 2, abs=1e-5)
    assert student.grad.isfinite().all()


def test_mask_by_hand():
    """Stride 4: x from 2 to 9 holds the centres 2 and 6 of three; a box of a pixel at (11, 1) takes its own cell."""
    mask = box_mask(torch.tensor([[2.0, 0, 9, 4]]), (2, 3), (8, 12))
    assert mask.tolist() == [[True, True, False], [False, False, False]]
    mask = box_mask(torch.tensor([[10.5, 0.5, 11.5, 1.5]]), (2, 3), (8, 12))
    assert mask.tolist() == [[False, False, True], [False, False, False]]


@pytest.mark.parametrize("box", [[3.0, 3, 3, 9], [5.0, 5, 2, 2]], ids=["without area", "corners in the wrong order"])
def test_boxes_that_are_none(box):
    """Clipped at the border of a crop a box may keep no area; it must not claim a cell."""
    assert not box_mask(torch.tensor([box]), (2, 3), (8, 12)).any()
    assert not box_mask(torch.zeros(0, 4), (2, 3), (8, 12)).any()


def test_a_box_beyond_the_image_marks_what_lies_inside():
    """Boxes are not always clipped; indices beyond the map would stop the run."""
    assert box_mask(torch.tensor([[-50.0, -50, 500, 3]]), (2, 3), (8, 12)).tolist() == [[True] * 3, [False] * 3]
    assert box_mask(torch.tensor([[40.0, 1, 50, 3]]), (2, 3), (8, 12)).any(1).tolist() == [True, False]


def test_box_mimic_by_hand():
    """Left half object, right half background: differences 1 and 2 give 1, and with half the background 1 + 0.5 · 4."""
    student, teacher = torch.zeros(1, 2, 2, 2), torch.ones(1, 2, 2, 2)
    teacher[..., 1] = 2
    images, found = torch.zeros(1, 3, 8, 8), [torch.tensor([[0.0, 0, 4, 8]])]
    assert BoxMimic()(student, teacher, found, images).item() == pytest.approx(1)
    assert BoxMimic(background=0.5)(student, teacher, found, images).item() == pytest.approx(3)
    assert BoxMimic()(student, teacher, torch.stack(found), images).item() == pytest.approx(1)


def test_an_image_without_boxes_teaches_nothing():
    """Images without objects occur, and a mean over no position is NaN."""
    student, teacher = pair(1, 2, 4, 4)
    student.requires_grad_()
    loss = BoxMimic()(student, teacher, [torch.zeros(0, 4)], torch.zeros(1, 3, 8, 8))
    loss.backward()
    assert loss == 0
    assert not student.grad.any()


@pytest.mark.parametrize("loss", [ChannelWise(), PKD()], ids=["ChannelWise", "PKD"])
def test_maps_of_two_shapes(loss):
    """They would broadcast to a loss that falls."""
    with pytest.raises(UsageError, match=r"maps of one shape.*student \(2, 4, 3, 3\), teacher \(2, 1, 3, 3\).*Conv1x1"):
        loss(torch.zeros(2, 4, 3, 3), torch.zeros(2, 1, 3, 3))


def test_wrong_arguments():
    """They must stop the run at its start, in one line."""
    with pytest.raises(UsageError, match="ChannelWise: bad temperature"):
        ChannelWise(0)
    with pytest.raises(UsageError, match="over one the softmax is constant"):
        ChannelWise()(torch.zeros(2, 4, 1, 1), torch.zeros(2, 4, 1, 1))
    with pytest.raises(UsageError, match="BoxMimic: bad background"):
        BoxMimic(background=-1)
    with pytest.raises(UsageError, match="boxes of each image.*expected 2 entries"):
        BoxMimic()(*pair(2, 1, 2, 2), [torch.zeros(0, 4)], torch.zeros(2, 3, 4, 4))
