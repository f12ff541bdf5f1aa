"""`RegionEmbeddingKD`: the card's numbers and properties, padding, contract."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from kddet.losses.regions import RegionEmbeddingKD
from kdhub.api import UsageError, find
from kdhub.testing.contracts import assert_loss_contract

few = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 10_000)

# section 8 of the card
R = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
V = torch.tensor([[3.0, 4.0], [0.0, 2.0], [4.0, 3.0]])
WEIGHTS = torch.tensor([1.0, 0.5, 0.5])
ONE_IMAGE = torch.zeros(3, dtype=torch.long)
loss = RegionEmbeddingKD()


def regions(count=9, width=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    unit = torch.nn.functional.normalize(torch.randn(count, width, generator=generator), dim=1)
    raw = 3 * torch.randn(count, width, generator=generator)
    weights = 0.05 + torch.rand(count, generator=generator)
    return unit, raw, weights, torch.randint(0, 3, (count,), generator=generator)


def test_the_cards_numbers():
    """Distances 1.2, 0, 0.4; weights 1.5, 0.75, 0.75: 0.7, and 0.533333 if all weigh the same."""
    assert loss(R, V, WEIGHTS, ONE_IMAGE).item() == pytest.approx(0.7, abs=1e-6)
    assert loss(R, V, torch.ones(3), ONE_IMAGE).item() == pytest.approx(0.533333, abs=1e-6)


def test_weights_are_balanced_image_by_image():
    """By hand: image 7 holds the first row alone, so that it weighs 1; the others weigh 1 each: (1.2 + 0 + 0.4) / 3."""
    assert loss(R, V, WEIGHTS, torch.tensor([7, 2, 2])).item() == pytest.approx(0.533333, abs=1e-6)


@given(seed=seeds, factor=st.floats(1e-3, 1e3))
@few
def test_properties_of_the_card(seed, factor):
    """A target that is not normalised, or weights that are balanced over the batch, train to a plausible value too."""
    unit, raw, weights, image = regions(seed=seed)
    value = loss(unit, raw, weights, image)
    torch.testing.assert_close(loss(unit, factor * raw, weights, image), value)
    scaled = torch.where(image == image[0], factor * weights, weights)
    torch.testing.assert_close(loss(unit, raw, scaled, image), value, rtol=1e-4, atol=1e-6)
    target = torch.nn.functional.normalize(raw, dim=1)
    torch.testing.assert_close(loss(unit, raw, torch.ones(9), image), (unit - target).abs().sum(1).mean())
    assert loss(target, raw, weights, image) < 1e-5
    assert 0 < value <= 2 * 5**0.5 * weights.max() / weights.min()


@given(seed=seeds)
@few
def test_padding_changes_nothing(seed):
    """Images with few proposals are filled up; rows that were counted would teach the origin."""
    unit, raw, weights, image = regions(seed=seed)
    more = torch.cat((raw, torch.zeros(1, 5), torch.ones(1, 5)))
    weights = torch.cat((weights, torch.tensor([0.7, 0.0])))
    student = torch.cat((unit, unit[:2])).requires_grad_()
    value = loss(student, more, weights, torch.cat((image, image[:2])))
    value.backward()
    torch.testing.assert_close(value.detach(), loss(unit, raw, weights[:9], image))
    assert not student.grad[9:].any()


@pytest.mark.parametrize("count", [0, 2])
def test_nothing_to_teach_is_an_exact_zero(count):
    """Images without a base box and without a proposal occur; a mean over no row is NaN."""
    student = torch.ones(count, 4, requires_grad=True)
    value = loss(student, torch.ones(count, 4), torch.zeros(count), torch.zeros(count, dtype=torch.long))
    value.backward()
    assert value == 0
    assert not student.grad.any()


def test_contract():
    """Half precision, large values, detached teacher, checkpoint: what every objective takes for granted."""
    _unit, _raw, weights, image = regions()
    assert_loss_contract(
        RegionEmbeddingKD,
        inputs={"student": (9, 5), "teacher": (9, 5), "weights": lambda: weights, "image_index": lambda: image},
        spec=find("kddet.RegionEmbeddingKD"),
    )


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"teacher": torch.ones(3, 4)}, r"student and teacher \(N, D\).*student \(3, 2\), teacher \(3, 4\)"),
        ({"weights": torch.ones(2)}, "bad weights"),
        ({"image_index": torch.zeros(3, 1)}, "bad image_index"),
        ({"weights": torch.tensor([1.0, -1.0, 1.0])}, "numbers from 0.*got -1"),
        ({"weights": torch.tensor([1.0, torch.nan, 1.0])}, "numbers from 0"),
    ],
)
def test_inputs_that_do_not_fit(changed, match):
    """Each of them would broadcast, or turn the student away from its teacher."""
    with pytest.raises(UsageError, match=match):
        loss(**{"student": R, "teacher": V, "weights": WEIGHTS, "image_index": ONE_IMAGE} | changed)
