"""The Fréchet distance in a classifier's features, against values worked out by hand."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from kdgen.frechet import ClassifierFrechet, frechet_distance, gaussian_frechet
from kdhub import UsageError


def test_one_dimension_by_hand():
    """|m - n|^2 + (s - r)^2 for N(0, 1) and N(3, 4): a distance with variances in the place of deviations gives 18."""
    one, other = (torch.zeros(1), torch.ones(1, 1)), (torch.full((1,), 3.0), torch.full((1, 1), 4.0))
    assert gaussian_frechet(*one, *other) == pytest.approx(9 + (1 - 2) ** 2)


def test_diagonals_by_hand():
    """Axes add up: (1 - 3)^2 + (2 - 2)^2 + (5 - 1)^2 for deviations, and 1 + 4 for means."""
    one = torch.zeros(3), torch.tensor([1.0, 2.0, 5.0]).square().diag()
    other = torch.tensor([1.0, 0.0, -2.0]), torch.tensor([3.0, 2.0, 1.0]).square().diag()
    assert gaussian_frechet(*one, *other) == pytest.approx(5 + 4 + 0 + 16)


def test_axes_that_differ_by_hand():
    """Of C = diag(4, 1) and D = (2 1; 1 2) the root of the product has trace (tr CD + 2 det(CD)^(1/2))^(1/2), as any 2 x 2 matrix has."""
    one, other = torch.tensor([[4.0, 0.0], [0.0, 1.0]]), torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    expected = 5 + 4 - 2 * math.sqrt(10 + 2 * math.sqrt(12))
    assert gaussian_frechet(torch.zeros(2), one, torch.zeros(2), other) == pytest.approx(expected)


def test_singular_covariances_have_a_distance():
    """Features that never vary, as dead units are, make a root of the product complex, or NaN."""
    line, other = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    assert gaussian_frechet(torch.zeros(2), line, torch.zeros(2), other) == pytest.approx(2.0)
    assert gaussian_frechet(torch.zeros(2), line, torch.zeros(2), line) == pytest.approx(0.0, abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 40), st.integers(1, 12), st.floats(1e-3, 1e3), st.integers(0, 99))
def test_it_is_a_squared_distance(count, width, scale, seed):
    """It is the same both ways, 0 at equality and not below it, also of fewer samples than features; it scales as squares do."""
    generator = torch.Generator().manual_seed(seed)
    one, other = (torch.randn(count, width, generator=generator, dtype=torch.float64) for _ in range(2))
    found = frechet_distance(one, other)
    assert found >= 0
    assert found == pytest.approx(frechet_distance(other, one), rel=1e-6, abs=1e-9)
    assert frechet_distance(one, one) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(one + 2.0, one) == pytest.approx(4.0 * width, rel=1e-6)
    assert frechet_distance(scale * one, scale * other) == pytest.approx(
        scale**2 * found, rel=1e-6, abs=1e-7 * scale**2
    )


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (torch.zeros(3, 4, 2, 2), "kdhub.ModuleInput"),
        (torch.zeros(1, 4), "at least 2"),
        (torch.full((3, 4), torch.nan), "NaN"),
    ],
)
def test_features_without_a_covariance_are_refused(features, message):
    """Maps that are flattened give a covariance of thousands; NaN gives a figure that no comparison tells from a bad one."""
    with pytest.raises(UsageError, match=message):
        frechet_distance(features, torch.randn(5, 4))


class Brightness(nn.Module):
    """Features that can be worked out: mean and first pixel of an image with three channels."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(2, 3)

    def forward(self, images):
        assert images.shape[1] == 3
        return self.last(torch.stack((images.mean((1, 2, 3)), images[:, 0, 0, 0]), dim=1))


class Grey:
    """Ten grey images in two chunks."""

    def __init__(self):
        self.images = torch.randn(10, 1, 4, 4, generator=torch.Generator().manual_seed(3))

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return {"inputs": self.images[5 * index : 5 * index + 5]}


def test_the_metric_reads_the_features_of_all_samples():
    """A classifier in train mode, logits for features, or the last chunk alone gives a figure too."""
    classifier = {"type": "kdhub.TorchModel", "net": Brightness()}
    metric = ClassifierFrechet(
        Grey(),
        {"type": "kdhub.ModelTeacher", "own_weights": True, "model": classifier},
        {"type": "kdhub.ModuleInput", "path": "last"},
        channels=3,
        chunk=4,
    )
    made = torch.randn(12, 1, 4, 4)
    for part in made.split(6):
        metric.process(None, [{"sample": one} for one in part])

    def by_hand(images):
        return torch.stack((images.mean((1, 2, 3)), images[:, 0, 0, 0]), dim=1)

    expected = frechet_distance(by_hand(made), by_hand(Grey().images))
    assert metric.evaluate(size=2) == {"frechet_classifier": pytest.approx(expected, rel=1e-5)}
    metric.process(None, [{"sample": one} for one in Grey().images])
    assert metric.evaluate(size=2)["frechet_classifier"] == pytest.approx(0.0, abs=1e-6)
