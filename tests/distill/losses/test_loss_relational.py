"""Relational: published forms, spaces of different width, and batches without a pair."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from kdhub.distill.losses import Relational
from kdhub.errors import UsageError
from kdhub.registry import find
from kdhub.testing.contracts import assert_loss_contract

SIMILARITIES = ("cosine", "dot", "distance")
seeds = st.integers(0, 10_000)
few = settings(deadline=None, max_examples=20)


def vectors(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_golden(golden):
    """SP and RKD are cited by name: another normalisation under that name would not reproduce them."""
    arguments, inputs, expected = golden
    assert Relational(**arguments)(**inputs).item() == pytest.approx(expected, abs=1e-6)


@given(seed=seeds, similarity=st.sampled_from(SIMILARITIES), scale=st.floats(0.01, 100))
@few
def test_a_rotated_scaled_and_padded_space_is_the_same(seed, similarity, scale):
    """Relations must not see width, orientation or scale, or a narrower student is asked for the impossible."""
    teacher = vectors(6, 4, seed=seed)
    rotation = torch.linalg.qr(vectors(7, 7, seed=seed + 1)).Q[:4]
    student = scale * teacher @ rotation
    loss = Relational(similarity, diagonal=similarity == "dot")(student, teacher)
    assert loss.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_maps_are_flattened(similarity):
    """Student and teacher maps of different sizes are both one vector a sample."""
    student, teacher = vectors(4, 3, 2, 2), vectors(4, 5, 3, 3, seed=1)
    torch.testing.assert_close(
        Relational(similarity)(student, teacher), Relational(similarity)(student.flatten(1), teacher.flatten(1))
    )


@given(seed=seeds, similarity=st.sampled_from(SIMILARITIES), normalize=st.booleans(), diagonal=st.booleans())
@few
def test_masked_samples_are_as_if_not_there(seed, similarity, normalize, diagonal):
    """A padded sample, even of NaN, must not enter a row's norm or the mean distance."""
    student, teacher = vectors(6, 4, seed=seed), vectors(6, 3, seed=seed + 1)
    mask = torch.tensor([1, 1, 0, 1, 0, 1])
    loss = Relational(similarity, normalize, diagonal)
    expected = loss(student[mask.bool()], teacher[mask.bool()])
    student[mask == 0] = torch.nan
    student.requires_grad_()
    value = loss(student, teacher, mask)
    value.backward()
    torch.testing.assert_close(value, expected)
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("normalize", [True, False])
def test_collapsed_students_have_a_finite_gradient(similarity, normalize):
    """A student that gives one vector for all, or zeros, is where √0 and 0/0 turn every weight into NaN."""
    for student in (torch.zeros(4, 3), torch.ones(4, 3)):
        student.requires_grad_()
        loss = Relational(similarity, normalize)(student, vectors(4, 5))
        loss.backward()
        assert loss.isfinite()
        assert student.grad.isfinite().all()


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_near_duplicates_keep_their_distance(similarity):
    """Distances taken from a matrix product lose near duplicates to cancellation; far from the origin they vanish."""
    student = 1e4 + vectors(3, 4)
    teacher = vectors(3, 4, seed=1)
    exact = Relational(similarity)(student.double(), teacher.double())
    torch.testing.assert_close(Relational(similarity)(student, teacher).double(), exact, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("beta", [None, 0.5])
def test_gradient_is_that_of_finite_differences(similarity, beta):
    """Through norm and mean the gradient is easy to cut by a stray detach."""
    student, teacher = vectors(4, 3, dtype=torch.float64), vectors(4, 5, seed=1, dtype=torch.float64)
    loss = Relational(similarity, beta=beta)
    assert torch.autograd.gradcheck(lambda value: loss(value, teacher), student.requires_grad_())


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("batch", [0, 1])
def test_a_batch_without_a_pair_is_zero_with_a_graph(similarity, batch):
    """The last incomplete batch of an epoch may hold one sample: it must not end the run with NaN."""
    student = torch.randn(batch, 3, requires_grad=True)
    loss = Relational(similarity)(student, torch.randn(batch, 5))
    loss.backward()
    assert loss == 0
    assert not student.grad.any()


def test_autocast_does_not_reach_the_products():
    """Used directly under autocast, products in bfloat16 would round cosines to two digits."""
    student, teacher = vectors(8, 16), vectors(8, 16, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = Relational()(student, teacher)
    assert torch.equal(inside, Relational()(student, teacher))


@pytest.mark.parametrize(
    ("student", "teacher", "mask"),
    [((4,), (4,), None), ((4, 2), (3, 2), None), ((4, 2), (4, 2), (3,)), ((4, 2), (4, 2), (4, 2))],
)
def test_inputs_that_are_no_batch(student, teacher, mask):
    """Samples of two different batches have no relation to compare."""
    with pytest.raises(UsageError, match=r"expected"):
        Relational()(torch.zeros(student), torch.zeros(teacher), mask and torch.ones(mask, dtype=torch.bool))


def test_bad_arguments_stop_in_the_constructor():
    """A misspelt similarity must not fall back to another one."""
    with pytest.raises(UsageError, match="did you mean 'distance'"):
        Relational("distances")
    with pytest.raises(UsageError, match="beta"):
        Relational(beta=-1)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("options", [{}, {"normalize": False}, {"diagonal": True}, {"beta": 1.0}], ids=str)
@pytest.mark.parametrize("width", [4, 6])
def test_loss_contract(similarity, options, width):
    """What the objective takes for granted of every loss."""
    inputs = {"student": (5, width), "teacher": (5, 4)}
    arguments = {"similarity": similarity, **options}
    assert_loss_contract(Relational, arguments=arguments, inputs=inputs, spec=find("kdhub.Relational"))
