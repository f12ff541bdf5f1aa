"""`MultiAspectLoss` and what belongs to it: the card's numbers and properties, contract."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from kddet.losses.aspects import MultiAspectLoss, answer_entropy, aspect_cross_entropy, yes_probability
from kdhub.api import UsageError, find
from kdhub.testing.contracts import assert_loss_contract

few = settings(deadline=None, max_examples=25)
# section 8 of the card
LOGITS = torch.tensor([[1.0, 0, 0, 0, 2]])
LABEL = torch.tensor([0])
ASPECTS = torch.tensor([[0.880797, 0.25]])


def test_the_cards_numbers():
    """Another reduction over questions, or a softmax over all outputs, gives other numbers for the published weights."""
    logits = LOGITS.clone().requires_grad_()
    terms = MultiAspectLoss(aspect_weight=4.0)(logits, ASPECTS, LABEL)
    assert terms["classes"].item() == pytest.approx(0.551445, abs=1e-6)
    assert terms["aspects"].item() / 4 == pytest.approx(1.160038, abs=1e-6)
    total = sum(terms.values())
    total.backward()
    assert total.item() == pytest.approx(5.191595, abs=1e-5)
    expected = torch.tensor([[-0.423883, 0.211942, 0.211942, -0.761594, 1.261594]])
    torch.testing.assert_close(logits.grad, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(("logit", "value"), [(0.0, 0.693147), (2.0, 0.365334)])
def test_value_and_floor_of_one_answer(logit, value):
    """Soft targets leave a floor above 0: a run that stands there has nothing more to learn."""
    t = torch.tensor([[0.880797]])
    assert aspect_cross_entropy(torch.tensor([[logit]]), t).item() == pytest.approx(value, abs=1e-6)
    assert answer_entropy(t).item() == pytest.approx(0.365334, abs=1e-6)


def test_probability_of_yes():
    """From the card: a margin of 2 is 0.880797, one of 1.026826 is the figure's 0.7363; half precision must not enter."""
    assert yes_probability(torch.tensor(2.0), torch.tensor(0.0)).item() == pytest.approx(0.880797, abs=1e-6)
    assert yes_probability(torch.tensor(1.026826), torch.tensor(0.0)).item() == pytest.approx(0.7363, abs=1e-6)
    yes, no = torch.tensor(21.5).bfloat16(), torch.tensor(19.5).bfloat16()
    assert yes_probability(yes, no).item() == pytest.approx(0.880797, abs=1e-6)
    assert (yes_probability(yes, no) + yes_probability(no, yes)).item() == pytest.approx(1)


@given(seed=st.integers(0, 10_000))
@few
def test_properties_of_the_card(seed):
    """The two halves of the head meet in the backbone alone; the order of the questions is only an order."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 7, generator=generator).requires_grad_()
    labels = torch.randint(0, 4, (4,), generator=generator)
    aspects = torch.rand(4, 3, generator=generator)
    terms = MultiAspectLoss()(logits, aspects, labels)
    of_classes, of_aspects = (torch.autograd.grad(terms[name], logits)[0] for name in ("classes", "aspects"))
    assert not of_classes[:, 4:].any()
    assert not of_aspects[:, :4].any()
    order = torch.tensor([2, 0, 1])
    columns = torch.cat((torch.arange(4), 4 + order))
    other = MultiAspectLoss()(logits[:, columns], aspects[:, order], labels)
    torch.testing.assert_close(other, terms)
    at_rest = torch.cat((logits[:, :4], aspects.logit()), 1).detach().requires_grad_()
    term = MultiAspectLoss(1.0)(at_rest, aspects, labels)["aspects"]
    torch.testing.assert_close(term.detach(), answer_entropy(aspects))
    assert torch.autograd.grad(term, at_rest)[0].abs().max() < 1e-6


def test_missing_answers_are_left_out():
    """An image that is not in the answers must not be taught 'no' to everything."""
    aspects = torch.tensor([[0.25, torch.nan], [torch.nan, torch.nan]])
    logits = torch.zeros(2, 4, requires_grad=True)
    term = MultiAspectLoss(1.0)(logits, aspects, torch.tensor([0, 1]))["aspects"]
    term.backward()
    assert term.item() == pytest.approx(0.693147, abs=1e-6)
    torch.testing.assert_close(logits.grad[:, 2:], torch.tensor([[0.25, 0.0], [0.0, 0.0]]))


def test_saturated_answers_are_finite():
    """Logits in bfloat16 saturate to 0 and 1, of which a logarithm is infinite."""
    term = MultiAspectLoss(1.0)(torch.zeros(1, 4), torch.tensor([[0.0, 1.0]]), LABEL)["aspects"]
    assert term.item() == pytest.approx(0.693147, abs=1e-6)


def test_no_questions_is_plain_training():
    """The control run of every table."""
    logits = torch.randn(3, 4)
    labels = torch.tensor([0, 3, 1])
    terms = MultiAspectLoss()(logits, torch.zeros(3, 0), labels)
    torch.testing.assert_close(sum(terms.values()), torch.nn.functional.cross_entropy(logits, labels))


@pytest.mark.parametrize("class_weight", [1.0, 0.0])
def test_contract(class_weight):
    """Half precision, large values, detached teacher, checkpoint: what every objective takes for granted."""
    assert_loss_contract(
        MultiAspectLoss,
        arguments={"class_weight": class_weight},
        inputs={
            "student_logits": (4, 8),
            "labels": lambda: torch.tensor([0, 1, 2, 0]),
            "teacher_aspects": lambda: torch.rand(4, 5),
        },
        spec=find("kddet.MultiAspectLoss"),
    )


@pytest.mark.parametrize(
    ("aspects", "match"),
    [
        (torch.rand(1, 5), "answers do not go with the outputs.*AspectHead"),
        (torch.rand(2, 2), "answers do not go with the outputs"),
        (torch.tensor([[1.5, 0.0]]), "no probability.*got 1.5"),
    ],
)
def test_answers_that_do_not_fit(aspects, match):
    """Without class outputs, or with logits for probabilities, it would train nonsense."""
    with pytest.raises(UsageError, match=match):
        MultiAspectLoss()(LOGITS, aspects, LABEL)


def test_wrong_arguments():
    """They must stop the run at its start, in one line."""
    with pytest.raises(UsageError, match="MultiAspectLoss: bad aspect_weight"):
        MultiAspectLoss(-1.0)
    with pytest.raises(UsageError, match="no labels.*class_weight=0"):
        MultiAspectLoss()(LOGITS, ASPECTS, None)
