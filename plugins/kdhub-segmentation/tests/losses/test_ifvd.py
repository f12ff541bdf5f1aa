"""`IFVD`: numbers by hand, a loop over classes in numpy, void, dead features, and bad input."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional

from kdhub.errors import UsageError
from kdhub.registry import find
from kdhub.testing.contracts import assert_loss_contract
from kdseg.losses.ifvd import IFVD, similarity_to_centre

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/ifvd.json").read_text(encoding="utf-8"))["cases"]
VOID = 255

few = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 10_000)


def batch(seed=0, channels=(5, 7)):
    """Features of 2 images with 4x6 positions, channels of their own; labels with a fourth of void, class 1 missing."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (torch.randn(2, number, 4, 6, generator=generator) for number in channels)
    labels = torch.randint(0, 4, (2, 4, 6), generator=generator)
    return student, teacher, labels.masked_fill(labels == 1, VOID)


def by_numpy(student, teacher, labels):
    """The definition, image by image and class by class in float64."""
    squares = []
    for ours, theirs, truth in zip(student, teacher, labels.numpy(), strict=True):
        for one in set(truth[truth != VOID].tolist()):
            sides = [side.double().numpy()[:, truth == one] for side in (ours, theirs)]
            centres = [side.mean(1) for side in sides]
            cosines = [
                centre @ side / np.linalg.norm(side, axis=0) / np.linalg.norm(centre)
                for side, centre in zip(sides, centres, strict=True)
            ]
            squares.extend((cosines[0] - cosines[1]) ** 2)
    return np.mean(squares)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_golden(case):
    """Centres over the batch, void in a centre, labels from a cell's corner: each still falls in training."""
    student, teacher = (
        torch.tensor(case[side]).float().transpose(1, 2).unsqueeze(2) for side in ("student", "teacher")
    )
    labels = torch.tensor(case["labels"]).unsqueeze(1)
    if labels.shape[-1] != student.shape[-1]:  # both sides of the labels are larger
        labels = labels.repeat(1, 2, 1)
    assert IFVD()(student, teacher, labels).item() == pytest.approx(case["expected"], abs=1e-6)


@given(seed=seeds)
@few
def test_equals_a_loop_over_classes(seed):
    """The table of centres must mix neither images nor classes, whatever classes an image holds."""
    student, teacher, labels = batch(seed)
    expected = by_numpy(student, teacher, labels)
    assert IFVD()(student, teacher, labels).item() == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert IFVD(num_classes=4)(student, teacher, labels.unsqueeze(1)).item() == pytest.approx(
        expected, rel=1e-4, abs=1e-6
    )


@given(seed=seeds, scale=st.floats(0.01, 100))
@few
def test_invariances(seed, scale):
    """Scale and basis of either feature space mean nothing, nor which number a class has: that is why no adapter is needed."""
    student, teacher, labels = batch(seed)
    value = IFVD()(student, teacher, labels)
    basis, _ = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(seed)))
    turned = torch.einsum("ij,bjhw->bihw", basis, student)
    renamed = torch.where(labels == 0, 9, labels)
    torch.testing.assert_close(IFVD()(scale * turned, teacher / scale, renamed), value, rtol=1e-3, atol=1e-6)
    assert IFVD()(teacher, teacher, labels) == 0


@given(seed=seeds)
@few
def test_void_positions_do_not_matter(seed):
    """Padding in a centre would turn every other position's similarity."""
    student, teacher, labels = batch(seed)
    void = (labels == VOID).unsqueeze(1)
    student.requires_grad_()
    value = IFVD()(student, teacher, labels)
    value.backward()
    assert not student.grad.masked_fill(~void, 0).any()
    other = IFVD()(student.detach().masked_fill(void, 7.0), teacher.masked_fill(void, -3.0), labels)
    torch.testing.assert_close(other, value.detach())


def test_an_all_void_batch_is_an_exact_zero():
    """A crop of nothing but padding must not end a run with NaN, nor cut the graph."""
    student, teacher, labels = batch()
    loss = IFVD()(student.requires_grad_(), teacher, torch.full_like(labels, VOID))
    loss.backward()
    assert loss == 0
    assert not student.grad.any()


def test_dead_features_have_a_bounded_gradient():
    """After a ReLU whole positions are 0: a cosine with a tiny epsilon gives them gradients of 1e8."""
    student, teacher, labels = batch()
    student[:, :, :2] = 0
    student[1] = 0
    loss = IFVD()(student.requires_grad_(), teacher, labels)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.any()
    assert student.grad.abs().max() < 10


def test_gradient_is_that_of_finite_differences():
    """A centre must pass on the gradient of all its positions; a detached one gives the same value and trains less."""
    features = torch.randn(2, 3, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[[0, 0, 2], [2, 2, 0]], [[1, 1, 1], [1, 0, 1]]])
    assert torch.autograd.gradcheck(lambda f: similarity_to_centre(f, labels, 4), features.requires_grad_())


def test_a_teacher_of_another_stride_is_resized():
    """Strides differ between CNN and transformer pairs; both sides' centres must be over the same positions."""
    student, teacher, labels = batch()
    fine = functional.interpolate(teacher, scale_factor=2, mode="nearest")
    assert IFVD()(student, fine, labels).item() == pytest.approx(IFVD()(student, teacher, labels).item(), rel=1e-5)


@pytest.mark.parametrize("teacher", [(2, 5, 4, 6), (2, 7, 8, 12)])
def test_contract(teacher):
    """Half precision, large values, detached teacher, checkpoint: what every objective takes for granted."""
    assert_loss_contract(
        IFVD,
        inputs={"student_features": (2, 5, 4, 6), "teacher_features": teacher, "labels": lambda: batch()[2]},
        spec=find("kdseg.IFVD"),
    )


def test_wrong_input_is_told_in_one_line():
    """Token features, another crop, a label beyond the table: each would fail deep in torch, or train nonsense."""
    student, teacher, labels = batch()
    with pytest.raises(UsageError, match=r"expected teacher \(B, D, h, w\), D >= 2, got teacher \(2, 7, 24\)"):
        IFVD()(student, teacher.flatten(2), labels)
    with pytest.raises(UsageError, match=r"got student \(2, 1, 4, 6\)"):
        IFVD()(student[:, :1], teacher, labels)
    with pytest.raises(UsageError, match="IFVD: student and teacher saw different batches"):
        IFVD()(student, teacher[:1], labels)
    with pytest.raises(UsageError, match="IFVD: student and teacher maps differ in aspect ratio"):
        IFVD()(student, teacher[..., :3], labels)
    with pytest.raises(UsageError, match=r"expected 0 to 2, or 255.*got 3"):
        IFVD(num_classes=3)(student, teacher, labels.masked_fill(labels == 2, 3))
    with pytest.raises(UsageError, match="IFVD: bad num_classes"):
        IFVD(num_classes=0)
    with pytest.raises(UsageError, match="IFVD: bad ignore_index"):
        IFVD(ignore_index=0.5)


def test_by_samples_a_split_batch_is_the_whole_batch():
    """Accumulated or on several processes, an image that is mostly void would get a large weight for its few pixels."""
    student, teacher, labels = batch()
    labels[1, 1:] = VOID
    loss = IFVD(reduction="samples")
    halves = [loss(*(value[image : image + 1] for value in (student, teacher, labels))) for image in (0, 1)]
    torch.testing.assert_close(loss(student, teacher, labels), (halves[0] + halves[1]) / 2)
    assert (IFVD().depends_on_split, loss.depends_on_split) == ("count", "")
