"""The two levels of MLKD: hand values of the card, properties, and the options of the published code."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from kdhub import UsageError
from kdhub.testing import assert_loss_contract
from kdood import plugin
from kdood.losses.adaptive_layers import AdaptiveLayerKD
from kdood.losses.prediction_kd import PredictionKD

SPECS = {spec.name: spec for spec in plugin.kdhub_losses()}
STUDENT = torch.tensor([[[2.0, 0, 0], [0, 1, 0]]])
TEACHER = torch.tensor([[[1.0, 1, 0], [0, 2, 0]]])


def identity(**options):
    """The loss of the card's hand values: W = 1, b = 0, two hidden entries, one student layer."""
    arguments = {"teacher_width": 2, "student_layers": (0, 0), "teacher_layers": (0, 2)} | options
    loss = AdaptiveLayerKD(**arguments)
    for side in (loss.of_student, loss.of_teacher):
        if side is not None:
            side.weight.data.copy_(torch.eye(2).expand_as(side.weight))
            side.bias.data.zero_()
    return loss


def layers(*values):
    return tuple(torch.tensor([[value]], dtype=torch.float32) for value in values)


def test_prediction_contract():
    """What kdhub takes for granted of a loss, float16 and a checkpoint included."""
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert_loss_contract(
        PredictionKD,
        inputs={"student": (2, 3, 5), "teacher": (2, 3, 5), "mask": lambda: mask},
        spec=SPECS["PredictionKD"],
    )


@pytest.mark.parametrize(("temperature", "mean", "first"), [(1.0, 0.2382180, 0.3775501), (0.5, 0.7051238, 1.2773527)])
def test_prediction_hand_values(temperature, mean, first):
    """The card's numbers: mean over tokens, no factor τ², padding out."""
    loss = PredictionKD(temperature)
    assert float(loss(STUDENT, TEACHER)) == pytest.approx(mean, abs=1e-6)
    assert float(loss(STUDENT, TEACHER, torch.ones(1, 2))) == pytest.approx(mean, abs=1e-6)
    assert float(loss(STUDENT, TEACHER, torch.tensor([[1, 0]]))) == pytest.approx(first, abs=1e-6)


def test_padding_enters_no_softmax():
    """What a model says at padding may be anything, NaN included."""
    student, teacher = (torch.cat([side, torch.full((1, 3, 3), math.nan)], 1) for side in (STUDENT, TEACHER))
    mask = torch.tensor([[1, 1, 0, 0, 0]])
    for reduction in ("positions", "samples"):
        assert float(PredictionKD(reduction=reduction)(student, teacher, mask)) == pytest.approx(0.2382180, abs=1e-6)


def test_nothing_to_predict_is_zero_with_a_gradient():
    """A batch of padding alone must not end a run."""
    student = STUDENT.clone().requires_grad_()
    PredictionKD()(student, TEACHER, torch.zeros(1, 2)).backward()
    assert student.grad.abs().sum() == 0


def test_samples_are_averaged_first():
    """Only so are accumulated gradients those of the whole batch."""
    student, teacher = (torch.cat([side, side.flip(1)]) for side in (STUDENT, TEACHER))
    mask = torch.tensor([[1, 1], [1, 0]])
    loss = PredictionKD(reduction="samples")
    # 0.2382180 of the first text, 0.0988858 of the second's only token
    assert float(loss(student, teacher, mask)) == pytest.approx((0.2382180 + 0.0988858) / 2, abs=1e-6)


def test_vocabularies_that_are_padded_differently():
    """Entries that no token has would take probability from those that are there."""
    wide = torch.cat([TEACHER, torch.full((1, 2, 2), 5.0)], 2)
    assert float(PredictionKD(vocabulary=3)(STUDENT, wide)) == pytest.approx(0.2382180, abs=1e-6)
    with pytest.raises(UsageError, match="vocabulary=3"):
        PredictionKD()(STUDENT, wide)
    with pytest.raises(UsageError, match="up to 3"):
        PredictionKD(vocabulary=4)(STUDENT, wide)
    with pytest.raises(UsageError, match="same tokens"):
        PredictionKD()(STUDENT[:, :1], TEACHER)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"distance": "norm", "shared_projection": False, "aggregate": "mean", "layer_weights": "softplus"},
        {"distance": "kl", "projection": "both"},
        {"projection": "student", "layer_weights": "softmax"},
        {"nearest": None, "student_layers": (2, 2)},
        {"reduction": "samples"},
    ],
)
def test_layers_contract(options):
    """Every option must keep what kdhub takes for granted of a loss."""
    arguments = {"teacher_width": 6, "student_width": 4, "student_layers": (1, 2), "teacher_layers": (1, 3)} | options
    loss = AdaptiveLayerKD(**arguments)
    torch.manual_seed(0)
    student = [torch.randn(2, 3, 4, requires_grad=True) for _ in range(3)]
    teacher = [torch.randn(2, 3, 6, requires_grad=True) for _ in range(4)]
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    value = loss(student, teacher, mask)
    value.backward()
    assert value.shape == ()
    assert value.isfinite()
    assert value != 0
    used = student[2:] if "student_layers" in options else student[1:]
    assert all(state.grad[mask != 0].abs().sum() > 0 and state.grad[mask == 0].abs().sum() == 0 for state in used)
    assert all(state.grad is None for state in teacher)
    assert all(parameter.grad.abs().sum() > 0 for parameter in loss.parameters() if parameter.ndim == 3)
    again = AdaptiveLayerKD(**arguments)
    again.load_state_dict(loss.state_dict())
    assert torch.equal(again(student, teacher, mask), value)
    half = loss([state.half() for state in student], [state.half() for state in teacher], mask)
    assert half.dtype == torch.float32
    assert half.isfinite()
    turned = loss([state.flip(0) for state in student], [state.flip(0) for state in teacher], mask.flip(0))
    torch.testing.assert_close(turned, value)


@pytest.mark.parametrize(
    ("third", "code", "paper"), [([1, 2], 0.5, 0.5), ([1, 3], 2.0, 1.0)], ids=["coincidence", "apart"]
)
def test_layers_hand_values(third, code, paper):
    """The card's numbers of the code's form and of the paper's, which one example cannot tell apart."""
    student, teacher = layers([1, 1]), layers([1, 1], [3, 1], third)
    assert float(identity()(student, teacher).detach()) == pytest.approx(code)
    formed = identity(distance="norm", shared_projection=False, aggregate="mean", layer_weights="softplus")
    assert float(formed(student, teacher).detach()) == pytest.approx(paper)


def test_total_hand_value():
    """Both levels at weight 1: 0.7382180."""
    states = (
        tuple(state.expand(1, 2, 2) for state in layers([1, 1])),
        tuple(state.expand(1, 2, 2) for state in layers([1, 1], [3, 1], [1, 2])),
    )
    assert float((PredictionKD()(STUDENT, TEACHER) + identity()(*states)).detach()) == pytest.approx(
        0.7382180, abs=1e-6
    )


def test_student_that_is_the_teacher():
    """With W = 1 the nearest layer of each is itself, at distance 0."""
    torch.manual_seed(0)
    states = tuple(torch.randn(2, 4, 8) for _ in range(5))
    loss = AdaptiveLayerKD(8, student_layers=(1, 4), teacher_layers=(1, 4), nearest=1, projection="none")
    assert float(loss(states, states)) == 0


def direct(loss, student, teacher, mask):
    """Loop over all pairs of layers, as the authors' code does; the choice is part of the graph."""
    (s0, s1), (t0, t1) = loss.student_layers, loss.teacher_layers
    total = 0
    for ours in student[s0 : s1 + 1]:
        distances = []
        for theirs in teacher[t0 : t1 + 1]:
            projected = torch.nn.functional.linear(theirs, loss.of_teacher.weight[0], loss.of_teacher.bias[0])
            distances.append((projected - ours).square().mean(-1))
        nearest = torch.stack(distances).topk(loss.nearest, 0, largest=False).values
        total = total + nearest.sum(0)
    return total[mask != 0].mean()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_choosing_first_equals_the_direct_computation(seed, nearest):
    """The choice without gradient must change neither value nor gradients."""
    torch.manual_seed(seed)
    loss = AdaptiveLayerKD(6, 5, student_layers=(1, 3), teacher_layers=(0, 3), nearest=nearest)
    student = [torch.randn(2, 4, 5, requires_grad=True) for _ in range(4)]
    teacher = [torch.randn(2, 4, 6) for _ in range(4)]
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    wanted = [student[1], student[3], loss.of_teacher.weight, loss.of_teacher.bias]
    values = [of(student, teacher, mask) for of in (loss, lambda *states: direct(loss, *states))]
    torch.testing.assert_close(*values, atol=1e-6, rtol=1e-5)
    first, second = (torch.autograd.grad(value, wanted) for value in values)
    for ours, theirs in zip(first, second, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)


def test_layer_weights_start_at_one_and_stay_positive():
    """A weight below 0 drives the loss to minus infinity."""
    student, teacher = layers([1, 1]), layers([1, 1], [3, 1], [1, 3])
    for kind in ("softplus", "softmax"):
        loss = identity(layer_weights=kind)
        assert float(loss(student, teacher).detach()) == pytest.approx(2.0)
        optimizer = torch.optim.SGD([loss.raw_weights], lr=5.0)
        for _ in range(50):
            optimizer.zero_grad()
            loss(student, teacher).backward()
            optimizer.step()
        assert float(loss(student, teacher).detach()) >= 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nearest": 4}, "up to 3 teacher layers"),
        ({"student_layers": (2, 1)}, "bad student_layers"),
        ({"teacher_layers": 3}, "bad teacher_layers"),
        ({"distance": "l1"}, "distance"),
        ({"projection": "none", "student_width": 3}, "one width"),
        ({"teacher_width": 0}, "teacher_width"),
    ],
)
def test_options_that_make_no_sense(options, message):
    """A wrong value must stop at once and not after the teacher was trained."""
    with pytest.raises(UsageError, match=message):
        identity(**options)


def test_states_that_do_not_fit():
    """The default layers are those of 12; a smaller model must be told which argument to set."""
    student, teacher = layers([1, 1]), layers([1, 1], [3, 1], [1, 2])
    with pytest.raises(UsageError, match=r"student_layers=\(3, 9\)"):
        AdaptiveLayerKD(2)(student, teacher)
    with pytest.raises(UsageError, match="set teacher_width"):
        identity()(student, layers([1, 1, 1], [1, 1, 1], [1, 1, 1]))
    with pytest.raises(UsageError, match="same tokens"):
        identity()(student, tuple(state.expand(1, 2, 2) for state in teacher))
    with pytest.raises(UsageError, match="same tokens"):
        identity()(student, teacher, torch.ones(1, 3))
