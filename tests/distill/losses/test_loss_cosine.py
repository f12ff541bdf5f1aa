"""Cosine: card numbers, and vectors that have no direction."""

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional

from kdhub.distill.losses import Cosine
from kdhub.errors import UsageError
from kdhub.registry import find
from kdhub.testing.contracts import assert_loss_contract


def test_golden(golden):
    """A mean over the wrong axis, or a zero vector counted as opposite, still looks like a cosine."""
    arguments, inputs, expected = golden
    assert Cosine(**arguments)(**inputs).item() == pytest.approx(expected, abs=1e-6)


@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e3))
@settings(deadline=None, max_examples=25)
def test_is_torchs_cosine_and_ignores_length(seed, scale):
    """The form ½‖ŝ − t̂‖² must be the cosine distance everybody else computes, whatever the lengths."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (torch.randn(5, 8, generator=generator) for _ in range(2))
    expected = (1 - functional.cosine_similarity(student, teacher)).mean()
    torch.testing.assert_close(Cosine()(scale * student, teacher), expected, rtol=1e-4, atol=1e-5)


@given(seed=st.integers(0, 10_000), exponent=st.integers(-3, 4))
@settings(deadline=None, max_examples=25)
def test_equal_vectors_have_no_loss_and_no_gradient(seed, exponent):
    """One minus a rounded cosine leaves a pull of rounding noise in a student that is already right."""
    teacher = 10.0**exponent * torch.randn(4, 6, generator=torch.Generator().manual_seed(seed))
    student = teacher.clone().requires_grad_()
    loss = Cosine()(student, teacher)
    loss.backward()
    assert loss == 0
    assert not student.grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_zero_vectors_have_a_bounded_gradient(dtype):
    """A dead student vector with the usual epsilon gets a gradient of 1e8, or NaN in half precision."""
    student = torch.zeros(2, 3, dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 0.0]], dtype=dtype)
    loss = Cosine()(student, teacher)
    loss.backward()
    assert loss == 0.25
    assert student.grad.abs().max() <= 1
    assert not student.grad[1].any()


def test_masked_tokens_do_not_count():
    """Padding compared with padding is equal and would make any text look well distilled."""
    student, teacher = torch.randn(2, 4, 6), torch.randn(2, 4, 6)
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
    expected = (1 - functional.cosine_similarity(student[mask.bool()], teacher[mask.bool()])).mean()
    torch.testing.assert_close(Cosine(axis=-1)(student, teacher, mask), expected)


def test_nothing_left_is_zero_with_a_graph():
    """A batch that is masked away whole must be a 0 that backward() accepts."""
    student = torch.full((2, 3), torch.nan, requires_grad=True)
    loss = Cosine()(student, torch.randn(2, 3), torch.zeros(2, dtype=torch.bool))
    loss.backward()
    assert loss == 0
    assert not student.grad.any()


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4)])
def test_an_unclear_axis_is_refused(shape):
    """Along a guessed axis it would compare one feature over all tokens."""
    with pytest.raises(UsageError, match="axis"):
        Cosine()(torch.zeros(shape), torch.zeros(shape))


@pytest.mark.parametrize(("shape", "axis"), [((4, 6), None), ((3, 5, 6), -1), ((2, 3, 4, 5), None)])
def test_loss_contract(shape, axis):
    """What the objective takes for granted of every loss."""
    inputs = {"student": shape, "teacher": shape}
    assert_loss_contract(Cosine, arguments={"axis": axis}, inputs=inputs, spec=find("kdhub.Cosine"))
