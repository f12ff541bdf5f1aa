"""Inputs at the edge of sense: half precision, duplicates, logits that say nothing. CRD and the losses on features, too."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from kdcls.losses.angle import AngleRelational
from kdcls.losses.attention import AttentionTransfer
from kdcls.losses.binary_kl import BinaryKL
from kdcls.losses.crd import CRD
from kdcls.losses.dkd import DKD
from kdcls.losses.ofa import OFAKD
from kdcls.losses.pld import PLD
from kdcls.losses.rescaled import RescaledKL
from kdcls.losses.sinkd import SinKD

LABELLED = (PLD, DKD, OFAKD)
FEATURES = {
    "attention": (AttentionTransfer(), (4, 6, 3, 3)),
    "angle": (AngleRelational(), (4, 6)),
    "crd": (None, (4, 6)),
}


def fresh(name):
    """A loss on features, with what else it is called with."""
    loss, shape = FEATURES[name]
    if loss is not None:
        return loss, shape, {}
    torch.manual_seed(0)
    return CRD(6, 6, 9, 5, dim=4), shape, {"labels": torch.tensor([0, 1, 0, 2]), "index": torch.tensor([3, 8, 0, 5])}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", FEATURES)
def test_features_in_half_precision_are_raised_first(name, dtype):
    """A norm or an exponential taken in half precision is off by a thousandth, and nobody sees it."""
    loss, shape, more = fresh(name)
    generator = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
    exact = loss(student.float(), teacher.float(), **more)
    assert loss(student, teacher, **more).item() == pytest.approx(exact.item(), rel=1e-6)


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("kind", ["equal samples", "dead", "equal sides"])
def test_features_that_say_nothing_give_numbers(name, kind):
    """Two copies of one image, or a dead layer at the start, must not end a day's training in NaN."""
    loss, shape, more = fresh(name)
    generator = torch.Generator().manual_seed(2)
    teacher = torch.randn(shape, generator=generator)
    if kind == "equal samples":
        teacher = teacher[:1].expand(shape).clone()
    elif kind == "dead":
        teacher = torch.zeros(shape)
    student = teacher.clone().requires_grad_()
    value = loss(student, teacher, **more)
    (gradient,) = torch.autograd.grad(value, student)
    assert value.isfinite()
    assert gradient.isfinite().all()


@settings(deadline=None, max_examples=20)
@given(
    st.sampled_from([*LABELLED, SinKD, BinaryKL, RescaledKL]),
    st.integers(1, 4),
    st.sampled_from([0.0, 1.0, 1e4]),
    st.booleans(),
)
def test_logits_that_say_nothing_give_numbers(loss, samples, scale, duplicates):
    """Constant logits, duplicates and single samples stand in real batches: the first step, repeats, the last batch."""
    generator = torch.Generator().manual_seed(samples)
    teacher = scale * torch.randn(samples, 5, generator=generator)
    if duplicates:
        teacher = teacher[:1].expand(samples, 5).clone()
    student = teacher.flip(1).clone().requires_grad_()
    labels = (torch.arange(samples) % 5,) if loss in LABELLED else ()
    value = loss()(student, teacher, *labels)
    (gradient,) = torch.autograd.grad(value, student)
    assert value.isfinite()
    assert gradient.isfinite().all()
