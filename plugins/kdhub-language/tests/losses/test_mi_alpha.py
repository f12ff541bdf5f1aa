"""MI-α and its siblings: hand values of the card, properties of the bound, layer maps."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from kdhub import UsageError
from kdlm.layer_maps import layer_map
from kdlm.losses.mi_alpha import NWJ, TUBA, InfoNCE, MIAlpha
from kdlm.losses.mi_bounds import mi_alpha

SIZES = {"teacher_width": 6, "student_width": 4, "teacher_layers": 4, "student_layers": 2, "hidden": 16, "output": 8}


def states(seed, width, layers, batch=5, length=3, grad=False):
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, length, width, generator=random).requires_grad_(grad) for _ in range(layers + 1)]


@pytest.mark.parametrize(
    ("alpha", "log_q", "value"),
    [
        (0.0, 0.0, 1.0),
        (0.5, 0.0, 0.642626),
        (0.9, 0.0, 0.427199),
        (1.0, 0.0, 0.379885),
        (0.0, 0.5, 0.893469),
        (0.5, 0.5, 0.683059),
        (0.9, 0.5, 0.452188),
        (1.0, 0.5, 0.379885),
    ],
)
def test_hand_values(alpha, log_q, value):
    """The card's numbers for three samples and the identity as scores."""
    found = mi_alpha(torch.eye(3), torch.full((3,), log_q), alpha)
    assert float(found) == pytest.approx(value, abs=1e-6)


def test_hand_values_of_large_scores():
    """The contrastive bound stays below log 2; the other grows with the scores."""
    assert float(mi_alpha(4 * torch.eye(3), torch.zeros(3), 1.0)) == pytest.approx(0.674997, abs=1e-6)
    assert float(mi_alpha(4 * torch.eye(3), torch.zeros(3), 0.0)) == pytest.approx(4.0, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(0, 10_000))
def test_the_contrastive_bound_is_capped_and_hears_no_row_constant(size, seed):
    """Above log(K − 1) it would be no bound; what a row shares says nothing of its pair."""
    random = torch.Generator().manual_seed(seed)
    scores = 5 * torch.randn(size, size, generator=random, dtype=torch.double)
    baseline = torch.randn(size, generator=random, dtype=torch.double)
    found = mi_alpha(scores, baseline, 1.0)
    assert float(found) <= math.log(size - 1) + 1e-9
    moved = mi_alpha(scores + torch.randn(size, 1, generator=random, dtype=torch.double), baseline, 1.0)
    torch.testing.assert_close(found, moved)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(0, 10_000))
def test_nwj_is_its_formula(size, seed):
    """α = 0 with log q = 1 is mean F_ii − e⁻¹ mean e^F_ij."""
    scores = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    others = ~torch.eye(size, dtype=torch.bool)
    wanted = scores.diagonal().mean() - scores[others].exp().mean() / math.e
    torch.testing.assert_close(mi_alpha(scores, torch.ones(size, dtype=torch.double), 0.0), wanted)


def test_each_end_ignores_the_other_part():
    """A gradient of an unused baseline moves it by weight decay and noise alone, and NaN times 0 is NaN."""
    scores = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    baseline = torch.zeros(4, requires_grad=True)
    assert torch.autograd.grad(mi_alpha(scores, baseline, 1.0), baseline, allow_unused=True)[0] is None
    large = torch.tensor([[0.0, 300.0], [0.0, 0.0]], requires_grad=True)
    assert mi_alpha(large, torch.full((2,), 300.0), 0.0).isfinite()


def test_one_sample_gives_zero_with_a_graph():
    """A last batch of one must not end a run."""
    scores = torch.ones(1, 1, requires_grad=True)
    found = mi_alpha(scores, torch.zeros(1), 0.5)
    found.backward()
    assert float(found.detach()) == 0
    with pytest.raises(UsageError, match="pair of a batch"):
        mi_alpha(torch.zeros(2, 3), torch.zeros(2), 0.5)


@pytest.mark.parametrize("rows", ["teacher", "student"])
@pytest.mark.parametrize("kind", [MIAlpha, InfoNCE, NWJ, TUBA])
def test_the_family_trains_student_and_critic_alone(kind, rows):
    """A critic without gradient is noise; a teacher with one drifts towards the student."""
    torch.manual_seed(0)
    loss = kind(**SIZES, rows=rows, pooling="mean")
    student, teacher = states(1, 4, 2, grad=True), states(2, 6, 4, grad=True)
    mask = torch.tensor([[1, 1, 0]] * 5)
    value = loss(student, teacher, mask)
    value.backward()
    assert value.isfinite()
    assert all(state.grad[:, :2].abs().sum() > 0 and state.grad[:, 2].abs().sum() == 0 for state in student)
    assert all(state.grad is None for state in teacher)
    assert all(parameter.grad is not None for parameter in loss.parameters())
    again = kind(**SIZES, rows=rows, pooling="mean")
    again.load_state_dict(loss.state_dict())
    assert torch.equal(again(student, teacher, mask), value)
    half = loss([state.half() for state in student], [state.half() for state in teacher], mask)
    assert half.dtype == torch.float32
    turned = loss([state.flip(0) for state in student], [state.flip(0) for state in teacher], mask)
    torch.testing.assert_close(turned, value)


def test_siblings_are_members_of_the_family():
    """A name with another value is another method."""
    torch.manual_seed(0)
    student, teacher = states(1, 4, 2), states(2, 6, 4)
    for kind, alpha in ((InfoNCE, 1.0), (TUBA, 0.0)):
        member, sibling = MIAlpha(**SIZES, alpha=alpha), kind(**SIZES)
        sibling.load_state_dict(
            {name: value for name, value in member.state_dict().items() if name in sibling.state_dict()}
        )
        torch.testing.assert_close(member(student, teacher), sibling(student, teacher))


def test_it_tells_dependent_states_from_independent_ones():
    """The bound must rise where states of one sample belong together, and stay near 0 where they do not."""
    found = {}
    for related in (True, False):
        torch.manual_seed(0)
        loss = MIAlpha(4, 4, 1, 1, alpha=0.9, layers="last", hidden=32, output=8)
        optimizer = torch.optim.Adam(loss.parameters(), lr=3e-3)
        values = []
        for step in range(150):
            one = torch.randn(32, 1, 4)
            other = one + 0.3 * torch.randn(32, 1, 4) if related else torch.randn(32, 1, 4)
            value = loss([other, other], [one, one])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            values += [-float(value.detach())] * (step >= 130)
        found[related] = sum(values) / len(values) / 2  # two pairs of layers
    assert found[True] > 0.8
    assert found[False] < 0.1


@pytest.mark.parametrize(
    ("arguments", "pairs"),
    [
        (("skip", 12, 4), [(0, 0), (3, 1), (6, 2), (9, 3), (12, 4)]),
        (("skip", 12, 4, "attention"), [(2, 0), (5, 1), (8, 2), (11, 3)]),
        (("last", 12, 4), [(8, 0), (9, 1), (10, 2), (11, 3), (12, 4)]),
        (("last", 12, 4, "attention"), [(8, 0), (9, 1), (10, 2), (11, 3)]),
        (("skip", 12, 5), [(0, 0), (2, 1), (4, 2), (7, 3), (9, 4), (12, 5)]),
    ],
)
def test_layer_maps_are_those_of_the_study(arguments, pairs):
    """The card's maps; rounding in place of truncation pairs other layers."""
    assert layer_map(*arguments) == pairs


def test_arguments_that_make_no_sense():
    """Each would fail in the first step of a run, or train on other layers."""
    with pytest.raises(UsageError, match="up to 2"):
        layer_map("skip", 2, 3)
    with pytest.raises(UsageError, match="0 to 1"):
        MIAlpha(**SIZES, alpha=1.5)
    with pytest.raises(UsageError, match="a tuple of 5 tensors"):
        MIAlpha(**SIZES)(states(1, 4, 2), states(2, 6, 3))
    with pytest.raises(UsageError, match="pooling"):
        InfoNCE(**SIZES, pooling="max")


def test_the_first_position_is_that_of_the_text():
    """Padded on the left, position 0 of a short text is padding, and all short texts would look alike."""
    loss = MIAlpha(**SIZES)
    ours, theirs = states(0, 4, 2), states(1, 6, 4)
    mask = torch.ones(5, 3, dtype=torch.long)
    mask[2, :2] = 0
    moved_ours, moved_theirs = ([one.clone() for one in side] for side in (ours, theirs))
    for one in (*moved_ours, *moved_theirs):
        one[2, 0] = one[2, 2]
    found, expected = loss(ours, theirs, mask), loss(moved_ours, moved_theirs)
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)
    with pytest.raises(UsageError, match="mask is of other tokens"):
        loss(ours, theirs, torch.ones(5, 4))
