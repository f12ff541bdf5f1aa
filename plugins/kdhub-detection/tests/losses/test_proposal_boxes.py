"""`ProposalBoxes`: numbers by hand, contract."""

import pytest
import torch

from kddet.losses.proposal_boxes import ProposalBoxes
from kdhub.api import UsageError, find
from kdhub.testing.contracts import assert_loss_contract

loss = ProposalBoxes()


def scores(*probabilities):
    return torch.tensor(probabilities).log()


def test_by_hand():
    """Object with 0.8, likeliest class 1, off by 1 there; object with 0.2, class 0, off by 3: (0.8 + 0.6) / 1 = 1.4."""
    teacher = torch.zeros(2, 8)
    student = torch.tensor([[9.0, 9, 9, 9, 1, -1, 1, -1], [3.0, 3, -3, 3, 9, 9, 9, 9]])
    given = scores([0.1, 0.7, 0.2], [0.15, 0.05, 0.8])
    assert loss(student, teacher, given).item() == pytest.approx(1.4, abs=1e-6)
    alike = torch.tensor([[1.0, -1, 1, -1], [3.0, 3, -3, 3]])
    assert loss(alike, torch.zeros(2, 4), given).item() == pytest.approx(1.4, abs=1e-6)


@pytest.mark.parametrize("count", [0, 2])
def test_nothing_but_background_is_zero(count):
    """Early in training there may be no proposal, and a division by no weight is NaN."""
    student = torch.ones(count, 8, requires_grad=True)
    value = loss(student, torch.zeros(count, 8), torch.tensor([[-200.0, -200, 200]]).expand(count, 3))
    value.backward()
    assert value == 0
    assert student.grad.isfinite().all()


def test_contract():
    """Half precision, large values, detached teacher, checkpoint: what every objective takes for granted."""
    assert_loss_contract(
        ProposalBoxes,
        inputs={"student": (5, 12), "teacher": (5, 12), "teacher_scores": (5, 4)},
        spec=find("kddet.ProposalBoxes"),
    )


def test_heads_that_do_not_fit():
    """A head of all classes alike would broadcast against one of each class."""
    with pytest.raises(UsageError, match=r"expected student and teacher \(N, 4\) or \(N, 8\).*reg_class_agnostic"):
        loss(torch.zeros(2, 4), torch.zeros(2, 8), torch.zeros(2, 3))
