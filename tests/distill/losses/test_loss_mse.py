"""MSE: card numbers and masks."""

import pytest
import torch

from kdhub.distill.losses import MSE
from kdhub.errors import UsageError
from kdhub.registry import find
from kdhub.testing.contracts import assert_loss_contract


def test_golden(golden):
    """A sum where a mean is meant, or padding in the mean, changes every weight a user has tuned."""
    arguments, inputs, expected = golden
    assert MSE(**arguments)(**inputs).item() == pytest.approx(expected, rel=1e-6)


def test_a_mask_of_pixels_covers_all_channels():
    """(B, H, W) against (B, C, H, W): laid over the wrong axes it would mask other pixels."""
    student, teacher = torch.randn(2, 5, 3, 4), torch.randn(2, 5, 3, 4)
    mask = torch.rand(2, 3, 4) < 0.5
    expected = (student - teacher).movedim(1, -1)[mask].square().mean()
    torch.testing.assert_close(MSE()(student, teacher, mask), expected)
    torch.testing.assert_close(MSE()(student, teacher, mask[:, None]), expected)


def test_a_mask_of_tokens_needs_the_axis():
    """With three axes the feature axis is a guess; as long as there is no mask nobody has to say it."""
    student, teacher = torch.randn(2, 4, 4), torch.randn(2, 4, 4)
    mask = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0]])
    with pytest.raises(UsageError, match="axis=-1 for tokens"):
        MSE()(student, teacher, mask)
    expected = (student - teacher)[mask.bool()].square().mean()
    torch.testing.assert_close(MSE(axis=-1)(student, teacher, mask), expected)
    assert MSE()(student, teacher).isfinite()


def test_padding_of_nan_reaches_neither_value_nor_gradient():
    """0 · NaN is NaN: a masked entry must be gone before it is squared."""
    student, teacher = torch.ones(2, 3), torch.zeros(2, 3)
    student[1] = torch.nan
    student.requires_grad_()
    loss = MSE()(student, teacher, torch.tensor([1, 0]))
    loss.backward()
    assert loss == 1
    assert student.grad.isfinite().all()
    assert not student.grad[1].any()


@pytest.mark.parametrize("shape", [(2, 3), (2, 5, 3, 4)])
def test_nothing_left_is_zero_with_a_graph(shape):
    """A batch that is masked away whole must be a 0 that backward() accepts."""
    student = torch.randn(shape, requires_grad=True)
    loss = MSE()(student, torch.randn(shape), torch.zeros(shape, dtype=torch.bool))
    loss.backward()
    assert loss == 0
    assert not student.grad.any()


def test_unequal_shapes_are_refused():
    """A narrower teacher broadcasts to a plausible-looking loss."""
    with pytest.raises(UsageError, match=r"expected teacher \(4, 3\).*got teacher \(4, 1\).*adapter"):
        MSE()(torch.zeros(4, 3), torch.zeros(4, 1))


@pytest.mark.parametrize("shape", [(4,), (4, 6), (3, 5, 6), (2, 3, 4, 5)])
def test_loss_contract(shape):
    """What the objective takes for granted of every loss."""
    assert_loss_contract(MSE, inputs={"student": shape, "teacher": shape}, spec=find("kdhub.MSE"))
