"""`ChannelWiseKD`: the card's numbers, numpy in float64, void positions, and inputs that would train nonsense."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from kdhub.api import channel_wise_kl
from kdhub.errors import UsageError
from kdhub.registry import find
from kdhub.testing.contracts import assert_loss_contract
from kdseg.losses.channel_wise import ChannelWiseKD

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/pixel_and_channel_kd.json").read_text(encoding="utf-8"))
CASES = [case for case in GOLDEN["cases"] if case["loss"] == "ChannelWiseKD"]
VOID = 255

few = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 10_000)


def pair(*shape, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return tuple(3 * torch.randn(*shape, generator=generator, dtype=dtype) for _ in range(2))


def some_labels(*shape, seed=0):
    """Labels of 3 classes with a third of void."""
    labels = torch.randint(0, 4, shape, generator=torch.Generator().manual_seed(seed))
    return labels.masked_fill(labels == 3, VOID)


def by_numpy(student, teacher, temperature, valid):
    """The formula in float64, row by row over the positions that are valid."""
    total = 0.0
    for b, c in np.ndindex(*student.shape[:2]):
        s, t = (logits[b, c].double().numpy()[valid[b]] / temperature for logits in (student, teacher))
        if s.size:
            log_q, log_p = s - np.logaddexp.reduce(s), t - np.logaddexp.reduce(t)
            total += (np.exp(log_p) * (log_p - log_q)).sum()
    return temperature**2 * total / (student.shape[0] * student.shape[1])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_golden(case):
    """A softmax over the wrong axis, or another reduction, gives a loss that still falls; published weights then lie."""
    teacher = torch.tensor(case["teacher"], dtype=torch.float32)
    labels = torch.tensor(case["labels"]) if "labels" in case else None
    loss = ChannelWiseKD(case.get("temperature", 1.0))(torch.zeros_like(teacher), teacher, labels)
    # temperature 4 multiplies by 16 what float32 rounds off a logarithm
    assert loss.item() == pytest.approx(case["expected"], rel=2e-5)


@given(seed=seeds, temperature=st.floats(0.2, 8))
@few
def test_equals_float64_numpy(seed, temperature):
    """Void, temperature and mean over channels must hold together, not just one by one."""
    student, teacher = pair(2, 3, 4, 5, seed=seed)
    labels = some_labels(2, 4, 5, seed=seed)
    expected = by_numpy(student, teacher, temperature, (labels != VOID).numpy())
    loss = ChannelWiseKD(temperature)
    assert loss(student, teacher, labels).item() == pytest.approx(expected, rel=1e-4, abs=1e-6)
    everywhere = by_numpy(student, teacher, temperature, np.ones((2, 4, 5), dtype=bool))
    assert loss(student, teacher).item() == pytest.approx(everywhere, rel=1e-4, abs=1e-6)


@given(seed=seeds, shift=st.floats(-50, 50))
@few
def test_offset_of_a_channel_means_nothing_and_of_a_position_something(seed, shift):
    """That is what tells it from pixel-wise distillation: the softmax runs over positions."""
    student, teacher = pair(2, 3, 4, 5, seed=seed)
    offsets = torch.tensor([shift, 0.0, -shift]).view(1, 3, 1, 1)
    value = channel_wise_kl(student, teacher)
    torch.testing.assert_close(channel_wise_kl(student + offsets, teacher - offsets), value, rtol=1e-3, atol=1e-4)
    moved = teacher.clone()
    moved[..., 0, 0] += 5.0
    assert channel_wise_kl(moved, teacher) > 1e-5
    assert value > 0
    assert channel_wise_kl(teacher, teacher) == 0


@given(seed=seeds)
@few
def test_void_positions_do_not_matter(seed):
    """Padded borders must neither pull the student nor take probability from the rest."""
    student, teacher = pair(2, 3, 4, 4, seed=seed)
    labels = some_labels(2, 8, 8, seed=seed)
    void = (labels[:, 1::2, 1::2] == VOID).unsqueeze(1)  # the pixel at the centre of each 2x2 cell
    student.requires_grad_()
    value = ChannelWiseKD()(student, teacher, labels.unsqueeze(1))
    value.backward()
    assert not student.grad.masked_fill(~void, 0).any()
    other = ChannelWiseKD()(student.detach() + 100 * void, teacher - 50 * void, labels)
    torch.testing.assert_close(other, value.detach())


def test_an_all_void_batch_is_an_exact_zero():
    """A crop of nothing but padding must not end a run with NaN, nor cut the graph."""
    student, teacher = pair(2, 3, 4, 4)
    loss = ChannelWiseKD()(student.requires_grad_(), teacher, torch.full((2, 4, 4), VOID))
    loss.backward()
    assert loss == 0
    assert not student.grad.any()


def test_gradient_is_that_of_finite_differences():
    """A wrong gradient trains a wrong student though the value is right."""
    student, teacher = pair(2, 2, 2, 3, dtype=torch.float64)
    valid = torch.tensor([[[1, 1, 0], [1, 0, 1]], [[0, 0, 0], [0, 0, 0]]]).bool()
    for mask in (valid, None):
        assert torch.autograd.gradcheck(lambda s, v=mask: channel_wise_kl(s, teacher, 2.0, v), student.requires_grad_())


def test_a_teacher_of_another_stride_is_resized():
    """Teachers are often finer: comparing by position in the flattened map would pair other places."""
    teacher = torch.arange(4.0).view(1, 1, 1, 4).repeat(1, 2, 4, 1)
    assert ChannelWiseKD()(torch.tensor([0.5, 2.5]).view(1, 1, 1, 2).repeat(1, 2, 2, 1), teacher) == 0


@pytest.mark.parametrize("labels", [None, lambda: some_labels(2, 16, 16)])
def test_contract(labels):
    """Half precision, large values, detached teacher, checkpoint: what every objective takes for granted."""
    inputs = {"student_logits": (2, 3, 8, 8), "teacher_logits": (2, 3, 8, 8)}
    assert_loss_contract(
        ChannelWiseKD,
        arguments={"temperature": 2.0},
        inputs=inputs if labels is None else {**inputs, "labels": labels},
        spec=find("kdseg.ChannelWiseKD"),
    )


@pytest.mark.parametrize(
    ("shapes", "match"),
    [
        (((2, 3, 1, 1), (2, 3, 1, 1)), "over one the softmax is constant"),
        (((2, 3, 4, 4), (2, 4, 4, 4)), "different class lists"),
        (((2, 3, 4, 4), (1, 3, 4, 4)), "different batches"),
        (((2, 3, 4, 4), (2, 3, 4, 8)), "aspect ratio"),
    ],
)
def test_maps_that_cannot_be_compared(shapes, match):
    """Each of them would broadcast, or train nothing."""
    with pytest.raises(UsageError, match=match):
        ChannelWiseKD()(*(torch.zeros(shape) for shape in shapes))


def test_wrong_arguments_and_labels():
    """They must stop the run at its start, in one line."""
    with pytest.raises(UsageError, match="ChannelWiseKD: bad temperature"):
        ChannelWiseKD(temperature=0)
    scheduled = ChannelWiseKD()
    scheduled.temperature = -0.5
    with pytest.raises(UsageError, match="ChannelWiseKD: bad temperature"):
        scheduled(*pair(1, 3, 2, 2))
    with pytest.raises(UsageError, match="ChannelWiseKD: bad ignore_index"):
        ChannelWiseKD(ignore_index=None)
    with pytest.raises(UsageError, match=r"no class of the student \(expected 0 to 2, or 255.*got 11"):
        ChannelWiseKD()(*pair(1, 3, 2, 2), torch.full((1, 2, 2), 11))


def test_places_ruled_out_on_both_sides_add_nothing():
    """By hand: q = (1/2, 1/2, 0), p = (3/4, 1/4, 0); the sum over the third place is 0 and not NaN."""
    student = torch.tensor([[[[0.0, 0.0, -torch.inf]]]], requires_grad=True)
    teacher = torch.tensor([[[[3.0, 1.0, 0.0]]]]).log()
    loss = ChannelWiseKD()(student, teacher)
    loss.backward()
    assert loss.item() == pytest.approx(0.75 * np.log(1.5) + 0.25 * np.log(0.5), abs=1e-6)
    torch.testing.assert_close(student.grad, torch.tensor([[[[-0.25, 0.25, 0.0]]]]))


def test_a_class_that_is_nowhere_on_both_sides_adds_nothing():
    """A model that leaves classes of another task out has -inf over a whole channel: no softmax, and so NaN."""
    student, teacher = pair(2, 3, 4, 5)
    student[:, 0] = teacher[:, 0] = -torch.inf
    expected = ChannelWiseKD()(student[:, 1:], teacher[:, 1:]).item() * 2 / 3
    student.requires_grad_()
    loss = ChannelWiseKD()(student, teacher)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert student.grad.isfinite().all()


def test_a_place_that_the_student_alone_rules_out_is_infinite():
    """A finite number in its place would be called a loss, and no step could lower it."""
    student, teacher = pair(1, 2, 2, 2)
    student[0, 0, 0, 0] = -torch.inf
    assert ChannelWiseKD()(student, teacher) == torch.inf
