"""SmoothL1: the turning point, and its limits."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from kdhub.distill.losses import MSE, SmoothL1
from kdhub.errors import UsageError
from kdhub.registry import find
from kdhub.testing.contracts import assert_loss_contract


def test_golden(golden):
    """Huber's loss and smooth-L1 differ by a factor β: the wrong one silently rescales the objective."""
    arguments, inputs, expected = golden
    assert SmoothL1(**arguments)(**inputs).item() == pytest.approx(expected, rel=1e-6)


@given(seed=st.integers(0, 10_000), beta=st.floats(0.01, 10))
@settings(deadline=None, max_examples=25)
def test_between_its_two_limits(seed, beta):
    """It lies below both the absolute error and the squared error over 2β, and bounds the pull of an entry by 1."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (3 * torch.randn(4, 5, generator=generator) for _ in range(2))
    student.requires_grad_()
    loss = SmoothL1(beta)(student, teacher)
    loss.backward()
    tolerance = 1 + 1e-5
    assert loss <= (student - teacher).abs().mean() * tolerance
    assert loss <= MSE()(student, teacher) / (2 * beta) * tolerance
    assert (student.grad.abs() * student.numel()).max() <= tolerance


@pytest.mark.parametrize("beta", [-1.0, float("nan"), None, True])
def test_bad_beta_stops_in_the_constructor(beta):
    """A negative β would make torch raise in the middle of the first step."""
    with pytest.raises(UsageError, match="beta"):
        SmoothL1(beta)


def test_nothing_left_is_zero_with_a_graph():
    """A batch that is masked away whole must be a 0 that backward() accepts."""
    student = torch.randn(2, 3, requires_grad=True)
    loss = SmoothL1()(student, torch.randn(2, 3), torch.zeros(2, dtype=torch.bool))
    loss.backward()
    assert loss == 0
    assert not student.grad.any()


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.5])
def test_loss_contract(beta):
    """What the objective takes for granted of every loss."""
    inputs = {"student": (4, 3, 6), "teacher": (4, 3, 6)}
    assert_loss_contract(SmoothL1, arguments={"beta": beta}, inputs=inputs, spec=find("kdhub.SmoothL1"))
