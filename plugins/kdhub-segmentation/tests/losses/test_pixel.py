"""`PixelKD`: the card's numbers, cross entropy's own view of it, void positions, and bad input."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional

from kdhub.errors import UsageError
from kdhub.registry import find
from kdhub.testing.contracts import assert_loss_contract
from kdseg.losses.pixel import PixelKD

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/pixel_and_channel_kd.json").read_text(encoding="utf-8"))
CASES = [case for case in GOLDEN["cases"] if case["loss"] == "PixelKD"]
VOID = 255

few = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 10_000)


def batch(seed=0, size=(4, 6), scale=1):
    """Student and teacher of 3 classes and 2 images; labels, `scale` times as large, with a fourth of void."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (3 * torch.randn(2, 3, *size, generator=generator) for _ in range(2))
    labels = torch.randint(0, 4, (2, scale * size[0], scale * size[1]), generator=generator)
    return student, teacher, labels.masked_fill(labels == 3, VOID)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_golden(case):
    """A softmax over the wrong axis, or another mean, gives a loss that still falls; published weights then lie."""
    teacher = torch.tensor(case["teacher"], dtype=torch.float32)
    labels = torch.tensor(case["labels"]) if "labels" in case else None
    loss = PixelKD(case.get("temperature", 1.0))(torch.zeros_like(teacher), teacher, labels)
    assert loss.item() == pytest.approx(case["expected"], abs=1e-6)


@given(seed=seeds)
@few
def test_is_cross_entropy_less_entropy(seed):
    """A weight of 1 beside the cross entropy means what the docstring says only if both are means over the same pixels."""
    student, teacher, labels = batch(seed)
    counted = labels != VOID
    if not counted.any():
        return
    p = teacher.softmax(1)
    entropy = -(p * p.log()).sum(1)[counted].mean()
    cross = functional.cross_entropy(student, p, reduction="none")[counted].mean()
    torch.testing.assert_close(PixelKD()(student, teacher, labels), cross - entropy, rtol=1e-4, atol=1e-6)


@given(seed=seeds, shift=st.floats(-50, 50))
@few
def test_offset_of_a_position_means_nothing(seed, shift):
    """The softmax runs over classes; over positions it would be channel-wise distillation."""
    student, teacher, _ = batch(seed)
    offsets = torch.linspace(-shift, shift, 24).view(1, 1, 4, 6)
    value = PixelKD(2.0)(student, teacher)
    torch.testing.assert_close(PixelKD(2.0)(student + offsets, teacher - offsets), value, rtol=1e-3, atol=1e-4)
    assert value > 0
    assert PixelKD()(teacher, teacher) == 0


@given(seed=seeds, scale=st.sampled_from([1, 2, 3, 8]))
@few
def test_void_positions_do_not_matter(seed, scale):
    """What a teacher answers in the padding is noise; the pixel at the centre of a cell says whether it is padding."""
    student, teacher, labels = batch(seed, scale=scale)
    void = labels[:, scale // 2 :: scale, scale // 2 :: scale].unsqueeze(1) == VOID
    student.requires_grad_()
    value = PixelKD()(student, teacher, labels)
    value.backward()
    assert not student.grad.masked_fill(~void, 0).any()
    other = PixelKD()(student.detach() + 9 * void * student.detach(), teacher - 5 * void * teacher, labels)
    torch.testing.assert_close(other, value.detach())


def test_an_all_void_batch_is_an_exact_zero():
    """A crop of nothing but padding must not end a run with NaN, nor cut the graph."""
    student, teacher, labels = batch()
    loss = PixelKD()(student.requires_grad_(), teacher, torch.full_like(labels, VOID))
    loss.backward()
    assert loss == 0
    assert not student.grad.any()


@pytest.mark.parametrize("labels", [None, lambda: batch(scale=2)[2]])
def test_contract(labels):
    """Half precision, large values, detached teacher, checkpoint: what every objective takes for granted."""
    inputs = {"student_logits": (2, 3, 4, 6), "teacher_logits": (2, 3, 4, 6)}
    assert_loss_contract(
        PixelKD,
        arguments={"temperature": 2.0},
        inputs=inputs if labels is None else {**inputs, "labels": labels},
        spec=find("kdseg.PixelKD"),
    )


def test_a_teacher_of_another_stride_is_resized():
    """Teachers are often finer, and an adapter on the teacher's side does not exist."""
    student, teacher, _ = batch()
    fine = functional.interpolate(teacher, scale_factor=2, mode="nearest")
    assert PixelKD()(student, fine).item() == pytest.approx(PixelKD()(student, teacher).item(), rel=1e-6)


def test_wrong_input_is_told_in_one_line():
    """One class, another class list, a forgotten reduce_zero_label: each would train nonsense, or nothing."""
    student, teacher, labels = batch()
    with pytest.raises(UsageError, match="at least 2 classes"):
        PixelKD()(student[:, :1], teacher[:, :1])
    with pytest.raises(UsageError, match="PixelKD: student and teacher have different class lists"):
        PixelKD()(student, teacher[:, :2])
    with pytest.raises(UsageError, match=r"PixelKD: labels that are no class of the student.*got 7"):
        PixelKD()(student, teacher, labels.clamp(max=7))
    with pytest.raises(UsageError, match="PixelKD: masks of another size"):
        PixelKD()(student, teacher, labels[:, :, :3])
    with pytest.raises(UsageError, match="PixelKD: bad temperature"):
        PixelKD(temperature=-1)
    with pytest.raises(UsageError, match="PixelKD: bad ignore_index"):
        PixelKD(ignore_index="void")


def test_by_samples_a_split_batch_is_the_whole_batch():
    """Accumulated or on several processes, an image that is mostly void would get a large weight for its few pixels."""
    student, teacher, labels = batch()
    labels[1, 1:] = VOID
    loss = PixelKD(reduction="samples")
    halves = [loss(*(value[image : image + 1] for value in (student, teacher, labels))) for image in (0, 1)]
    torch.testing.assert_close(loss(student, teacher, labels), (halves[0] + halves[1]) / 2)
    assert PixelKD()(student, teacher, labels) != loss(student, teacher, labels)
    assert (PixelKD().depends_on_split, loss.depends_on_split) == ("count", "")


def test_a_class_ruled_out_stays_out_when_the_teacher_is_resized():
    """Resizing multiplies -inf by weights, some of which are 0: NaN on pixels that have nothing to do with it."""
    student, teacher, _ = batch()
    student[:, 0] = teacher[:, 0] = -torch.inf
    large = teacher.repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert PixelKD()(student, large).item() == pytest.approx(PixelKD()(student[:, 1:], large[:, 1:]).item(), rel=1e-5)
