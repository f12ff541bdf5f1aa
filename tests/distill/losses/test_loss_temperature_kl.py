"""TemperatureKL: card numbers, ragged lists, and the rows that would spoil a whole batch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional

from kdhub.distill.losses.temperature_kl import TemperatureKL, temperature_kl
from kdhub.errors import UsageError
from kdhub.registry import find
from kdhub.testing.contracts import assert_loss_contract

few = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 10_000)


def pair(*shape, seed=0, scale=3.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return tuple(scale * torch.randn(*shape, generator=generator, dtype=dtype) for _ in range(2))


def by_numpy(student, teacher, ts=1.0, tt=1.0):
    """Mean over rows of the KL in float64, for (rows, C)."""
    s, t = student.double().numpy() / ts, teacher.double().numpy() / tt
    log_q = s - np.logaddexp.reduce(s, axis=-1, keepdims=True)
    log_p = t - np.logaddexp.reduce(t, axis=-1, keepdims=True)
    return ts**2 * (np.exp(log_p) * (log_p - log_q)).sum(-1).mean()


def test_golden(golden):
    """A wrong factor, reduction or axis gives a loss that still falls, and a student that is quietly worse."""
    arguments, inputs, expected = golden
    assert TemperatureKL(**arguments)(**inputs).item() == pytest.approx(expected, abs=1e-6)


@given(seed=seeds, temperatures=st.tuples(st.floats(0.05, 20), st.floats(0.05, 20)))
@few
def test_equals_float64_numpy(seed, temperatures):
    """Rounding in float32 must not show at any usual temperature."""
    student, teacher = pair(4, 7, seed=seed)
    ts, tt = temperatures
    loss = TemperatureKL(student_temperature=ts, teacher_temperature=tt)(student, teacher)
    assert loss.item() == pytest.approx(by_numpy(student, teacher, ts, tt), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(("shape", "axis"), [((2, 5, 3, 4), None), ((2, 5, 3, 4), 1), ((2, 6, 5), -1), ((2, 5, 6), 1)])
def test_every_position_is_one_softmax(shape, axis):
    """A softmax along the wrong axis gives a plausible loss that trains nonsense."""
    student, teacher = pair(*shape)
    where = 1 if axis is None else axis
    rows = [value.movedim(where, -1).reshape(-1, 5) for value in (student, teacher)]
    assert TemperatureKL(class_axis=axis)(student, teacher).item() == pytest.approx(by_numpy(*rows), rel=1e-5)


def test_three_axes_need_the_class_axis():
    """(B, N, C) tokens and (B, C, L) sequences look alike: a default would be wrong for half of the users."""
    with pytest.raises(UsageError, match=r"class_axis=-1 for tokens"):
        TemperatureKL()(*pair(2, 6, 5))


@given(seed=seeds, shift=st.floats(-100, 100), temperature=st.floats(0.5, 5))
@few
def test_shift_and_order_invariance_and_sign(seed, shift, temperature):
    """A constant added to a row, or candidates in another order, mean the same ranking; a KL is never negative."""
    student, teacher = pair(3, 6, seed=seed)
    loss = TemperatureKL(temperature)
    value = loss(student, teacher)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(loss(student + shift, teacher - shift), value, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(loss(student[:, order], teacher[:, order]), value)
    assert value >= -1e-6
    assert loss(teacher, teacher) == 0


@given(seed=seeds, temperature=st.sampled_from([0.05, 1.0, 20.0]))
@few
def test_huge_scores_stay_finite(seed, temperature):
    """Un-normalised scores of 1e4 must not make the loss, or its gradient, infinite."""
    student, teacher = pair(3, 6, seed=seed, scale=1e4)
    student.requires_grad_()
    loss = TemperatureKL(temperature)(student, teacher)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_gradient_is_that_of_finite_differences():
    """A wrong gradient trains a wrong student though the value is right."""
    student, teacher = pair(3, 5, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [0, 1, 0, 0, 0]])
    assert torch.autograd.gradcheck(
        lambda s: temperature_kl(s, teacher, mask, student_temperature=2.0), student.requires_grad_()
    )


def test_batchmean_is_torchs():
    """Published weights for maps rest on torch's batchmean; another division by the pixels would void them."""
    student, teacher = pair(2, 5, 3, 4)
    expected = functional.kl_div(student.log_softmax(1), teacher.softmax(1), reduction="batchmean")
    torch.testing.assert_close(TemperatureKL(reduction="batchmean")(student, teacher), expected)
    torch.testing.assert_close(TemperatureKL()(student, teacher), expected / 12)


@given(seed=seeds)
@few
def test_masked_candidates_are_as_if_not_there(seed):
    """A ragged list padded with score 0 would teach the student about candidates that do not exist."""
    student, teacher = pair(4, 8, seed=seed)
    mask = torch.rand(4, 8, generator=torch.Generator().manual_seed(seed)) < 0.6
    rows = [(s[m], t[m]) for s, t, m in zip(student, teacher, mask, strict=True) if m.sum() >= 2]
    expected = np.mean([by_numpy(s[None], t[None]) for s, t in rows]) if rows else 0.0
    assert TemperatureKL()(student, teacher, mask).item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_masked_content_reaches_neither_value_nor_gradient():
    """Padding may hold anything, even NaN; one 0 · NaN in the backward pass would kill the whole student."""
    student, teacher = pair(2, 4)
    mask = torch.tensor([[True, True, True, False], [False, True, False, False]])
    clean = TemperatureKL()(student, teacher, mask)
    student[~mask] = torch.nan
    teacher[~mask] = torch.nan
    student.requires_grad_()
    loss = TemperatureKL()(student, teacher, mask)
    loss.backward()
    assert torch.equal(loss, clean)
    assert student.grad.isfinite().all()
    assert not student.grad[~mask].any()
    assert student.grad[0, :3].any()


@pytest.mark.parametrize("reduction", ["positions", "batchmean"])
def test_positions_masked_out_of_a_map(reduction):
    """Ignored pixels (label 255) must not teach, and must not dilute the mean."""
    student, teacher = pair(2, 5, 3, 4)
    mask = torch.zeros(2, 3, 4, dtype=torch.int64)
    mask[0, 1] = 1
    rows = by_numpy(student[0, :, 1].T, teacher[0, :, 1].T)
    expected = rows if reduction == "positions" else 4 * rows
    loss = TemperatureKL(reduction=reduction)
    assert loss(student, teacher, mask).item() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(loss(student, teacher, mask[:, None]), loss(student, teacher, mask))


@pytest.mark.parametrize("reduction", ["positions", "batchmean"])
@pytest.mark.parametrize(
    "mask", [torch.zeros(2, 3, dtype=torch.bool), torch.eye(3)[:2].bool(), torch.zeros(2, dtype=torch.int8)]
)
def test_nothing_left_is_zero_with_a_graph(mask, reduction):
    """A batch without a usable row must be a 0 that backward() accepts, not NaN and not an error."""
    student, teacher = pair(2, 3)
    loss = TemperatureKL(reduction=reduction)(student.requires_grad_(), teacher, mask)
    loss.backward()
    assert loss == 0
    assert torch.equal(student.grad, torch.zeros(2, 3))


def test_empty_batch_is_zero():
    """A batch without boxes has no rows: 0/0 would stop the run."""
    assert TemperatureKL()(torch.zeros(0, 3, requires_grad=True), torch.zeros(0, 3)) == 0


def test_minus_infinity_rules_a_candidate_out():
    """The teacher's 'never' must lower the student's score, where a mask would leave it alone."""
    student = torch.zeros(1, 3, requires_grad=True)
    TemperatureKL()(student, torch.tensor([[1.0, 0.0, -torch.inf]])).backward()
    assert student.grad[0, 2] == pytest.approx(1 / 3)


@pytest.mark.parametrize("reduction", ["positions", "samples", "batchmean"])
def test_a_class_masked_on_both_sides_adds_nothing(reduction):
    """A vocabulary mask puts -inf on both sides; by hand q = (1/2, 1/2, 0), p = (3/4, 1/4, 0), the gradient q - p."""
    student = torch.tensor([[0.0, 0.0, -torch.inf]], requires_grad=True)
    teacher = torch.tensor([[3.0, 1.0, 0.0]]).log()
    loss = TemperatureKL(reduction=reduction)(student, teacher)
    loss.backward()
    assert loss.item() == pytest.approx(0.75 * np.log(1.5) + 0.25 * np.log(0.5), abs=1e-6)
    torch.testing.assert_close(student.grad, torch.tensor([[-0.25, 0.25, 0.0]]))


def test_a_masked_class_beside_a_mask_of_positions():
    """Both kinds of mask meet in a language model: classes of the vocabulary, and padding."""
    student, teacher = pair(2, 3, 5)
    student[..., 2] = teacher[..., 2] = -torch.inf
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    rows = [value[mask.bool()][:, [0, 1, 3, 4]] for value in (student, teacher)]
    student.requires_grad_()
    loss = TemperatureKL(class_axis=-1)(student, teacher, mask)
    loss.backward()
    assert loss.item() == pytest.approx(by_numpy(*[row.detach() for row in rows]), rel=1e-5)
    assert student.grad.isfinite().all()


def test_a_class_that_the_student_alone_rules_out_is_named():
    """The divergence is infinite; 'look at the learning rate' would send the reader to the wrong place."""
    student, teacher = pair(3, 4)
    student[1, 2] = -torch.inf
    with pytest.raises(UsageError, match=r"student rules out \(-inf\) class or candidate 2 of row 1"):
        TemperatureKL()(student, teacher)


@pytest.mark.parametrize(
    ("score", "reason"), [(torch.nan, "NaN"), (torch.inf, r"\+inf"), (-torch.inf, "-inf for every")]
)
def test_a_row_without_a_softmax_is_named(score, reason):
    """One missing score in a file of millions must be found from the message, not by bisection."""
    student, teacher = pair(4, 3)
    teacher[2] = score
    with pytest.raises(UsageError, match=rf"row 2 .*got {reason}"):
        TemperatureKL()(student, teacher)
    assert TemperatureKL()(student, teacher, torch.tensor([1, 1, 0, 1])).isfinite()


def test_a_pixel_without_a_softmax_is_named():
    """In a map the row is a place: batch index and pixel."""
    student, teacher = pair(2, 3, 4, 5)
    teacher[1, 0, 2, 3] = torch.nan
    with pytest.raises(UsageError, match=r"row \(1, 2, 3\)"):
        TemperatureKL()(student, teacher)


def test_a_students_own_nan_is_left_to_the_guard():
    """A diverged student is no fault of the teacher's scores and must not be reported as one."""
    student, teacher = pair(2, 3)
    student[0, 0] = torch.nan
    assert TemperatureKL()(student, teacher).isnan()


def test_one_candidate_is_refused():
    """Over one candidate the loss is 0 for ever and nothing is learned."""
    with pytest.raises(UsageError, match="at least 2"):
        TemperatureKL()(torch.zeros(4, 1), torch.zeros(4, 1))


@pytest.mark.parametrize(
    "arguments",
    [
        {"temperature": 0.0},
        {"temperature": -1.0},
        {"temperature": float("inf")},
        {"temperature": True},
        {"temperature": "4"},
        {"student_temperature": 0},
        {"teacher_temperature": float("nan")},
        {"reduction": "mean"},
    ],
)
def test_bad_arguments_stop_in_the_constructor(arguments):
    """A temperature of 0 found at step 1 of a queued job is a lost night."""
    with pytest.raises(UsageError, match="expected"):
        TemperatureKL(**arguments)


def test_a_schedule_that_reaches_zero_is_refused():
    """A scheduled temperature passes the constructor; at 0 it would divide by zero in silence."""
    loss = TemperatureKL()
    loss.temperature = 0.0
    with pytest.raises(UsageError, match="above 0"):
        loss(*pair(2, 3))


def test_a_schedule_drives_both_sides_unless_one_is_set():
    """A schedule sets the attribute `temperature`; a copy made in the constructor would never see it."""
    student, teacher = pair(3, 4)
    loss = TemperatureKL(1.0)
    loss.temperature = 4.0
    assert torch.equal(loss(student, teacher), TemperatureKL(4.0)(student, teacher))


@pytest.mark.parametrize("axis", [0, 2, -3])
def test_a_class_axis_that_is_not_there(axis):
    """Axis 0 is the batch: a softmax over samples is a plausible-looking loss."""
    with pytest.raises(UsageError, match="class_axis"):
        TemperatureKL(class_axis=axis)(*pair(2, 3))


@pytest.mark.parametrize(
    "mask", [torch.ones(2, 4), torch.ones(3, dtype=torch.bool), torch.ones(2, 2, dtype=torch.bool)]
)
def test_a_mask_that_does_not_fit(mask):
    """A narrower mask broadcasts, and a weight map read as a mask counts everything above 0."""
    with pytest.raises(UsageError, match="mask"):
        TemperatureKL()(*pair(2, 4), mask)


def test_unequal_shapes_are_refused():
    """A narrower teacher broadcasts to a plausible-looking loss."""
    with pytest.raises(UsageError, match="adapter"):
        TemperatureKL()(torch.zeros(2, 3), torch.zeros(2, 1))


@pytest.mark.parametrize(
    ("shape", "arguments", "mask"),
    [
        ((4, 6), {}, None),
        ((4, 6), {"temperature": 2.0, "reduction": "batchmean"}, (4, 6)),
        ((2, 5, 3, 4), {"student_temperature": 0.5, "teacher_temperature": 0.5}, (2, 3, 4)),
        ((3, 6, 5), {"class_axis": -1}, None),
    ],
)
def test_loss_contract(shape, arguments, mask):
    """What the objective takes for granted of every loss."""
    inputs = {"student": shape, "teacher": shape}
    if mask is not None:
        inputs["mask"] = lambda: torch.rand(mask) < 0.8
    assert_loss_contract(TemperatureKL, arguments=arguments, inputs=inputs, spec=find("kdhub.TemperatureKL"))
