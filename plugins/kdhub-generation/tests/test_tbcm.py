"""TBCM: hand values and properties of its card."""

import math

import pytest
import torch

from kdgen.distiller import Draw
from kdgen.losses import tangent
from kdgen.methods.tbcm import TBCM, derivative, random_grid, reference_grid
from kdgen.toys import exact_teacher, net, optimizers, student
from kdhub import UsageError

TRIG = {"type": "kdgen.TrigFlowSchedule"}
RING = {"radius": math.sqrt(2), "std": 0.106, "pred_type": "x0"}


def tbcm(points=6, **more):
    """A small TBCM on a ring of unit spread."""
    teacher = exact_teacher(noise=TRIG, **RING)
    return TBCM(student(noise=TRIG, pred_type="v"), teacher, points=points, tangent_warmup=0, **more)


def test_the_tangent_by_hand():
    """The card: sigma_d 0.5, t = pi / 4, x = 0.3, v = 0.2, F = 0.1, F' = 0.04 give -0.48718, and a loss of 0.47469."""
    one = [torch.full((1, 1), value) for value in (0.1, 0.04, 0.2, 0.3)]
    t = torch.tensor([math.pi / 4])
    g = tangent(*one, t, 1.0, sigma_d=0.5)
    assert float(g) == pytest.approx(-0.095 / 0.195, abs=1e-5)
    assert float(g) == pytest.approx(-0.48718, abs=1e-5)
    weight = 1 / (0.5 * math.tan(math.pi / 4))
    assert weight * float(g) ** 2 == pytest.approx(0.47469, abs=1e-4)
    assert math.cos(math.pi / 4) * 0.3 - math.sin(math.pi / 4) * 0.2 == pytest.approx(0.070711, abs=1e-6)


def test_the_grid_is_that_of_the_paper():
    """Other times are other training states; the card lists these."""
    listed = [
        1.571,
        1.542,
        1.510,
        1.471,
        1.427,
        1.374,
        1.311,
        1.236,
        1.144,
        1.033,
        0.900,
        0.742,
        0.564,
        0.373,
        0.183,
        0.006,
    ]
    assert reference_grid(16) == pytest.approx(listed, abs=1.5e-3)
    for _ in range(20):
        grid = random_grid(16)
        assert grid[0] == math.pi / 2
        assert grid == sorted(grid, reverse=True)
        assert len(set(grid)) == 16


def test_a_roll_out_gives_the_states_of_all_points_but_the_first():
    """The card: batch times (n - 1) states; at pi / 2 the loss has no weight."""
    model = tbcm(points=6)
    x, t, velocity = model.roll_out(torch.randn(7, 2), None)
    assert x.shape == velocity.shape == (35, 2)
    assert float(t.max()) < math.pi / 2
    assert x.isfinite().all()
    assert velocity.isfinite().all()


def test_a_rotation_is_exact_for_a_single_point():
    """The card: for one point of data the teacher's step has no error, whatever the grid."""
    model = tbcm()
    point = torch.tensor([[0.7, -0.3]])
    model.teacher.predict = lambda x, *a, **k: point.expand_as(x)
    noise = torch.randn(4, 2)
    x, t, _ = model.roll_out(noise, None)
    start = noise.repeat(5, 1)
    assert torch.allclose(x, t.cos()[:, None] * point + t.sin()[:, None] * start, atol=1e-5)


def test_the_gradient_is_that_of_the_card():
    """dL/dF = -2 w g: a gradient through F- or through the JVP would be another one."""
    model = tbcm(points=2)
    parameter = torch.nn.Parameter(torch.tensor([0.1, -0.2]))
    model.student.net.forward = lambda x, t, labels=None: parameter.expand_as(x)
    torch.manual_seed(1)
    loss = model.student_loss(Draw(torch.randn(3, 2), None))["loss_consistency"]
    loss.backward()
    torch.manual_seed(1)
    x, t, velocity = model.roll_out(torch.randn(3, 2), None)
    said = parameter.detach().expand_as(x)
    g = tangent(said, torch.zeros_like(x), velocity, x, t, 1.0)
    expected = (-2 * g / t.tan()[:, None]).sum(0) / x.numel()
    assert torch.allclose(parameter.grad, expected, rtol=1e-4)


def test_without_the_tangent_it_regresses_to_the_teacher():
    """The card: with r = 0 the student learns the teacher's velocity, and is a teacher again."""
    said, velocity, x = torch.randn(3, 5, 2)
    g = tangent(said, torch.randn(5, 2), velocity, x, torch.rand(5) + 0.2, 0.0)
    cosine = torch.nn.functional.cosine_similarity(g, velocity - said)
    assert torch.allclose(cosine, torch.ones(5), atol=1e-5)


def test_the_slope_is_the_derivative_along_the_trajectory():
    """A tangent with a factor missing still trains, to something that is not consistent."""
    model = tbcm()
    x, v, t = torch.randn(4, 2).double(), torch.randn(4, 2).double(), torch.rand(4).double() + 0.3
    network = model.student.net.double()
    factor = (t.cos() * t.sin())[:, None]
    with torch.no_grad():
        _, slope = derivative(lambda a, b: network(a, b), (x, t), (factor * v, factor[:, 0]))
        h = 1e-5
        plus = network(x + h * factor * v, t + h * factor[:, 0])
        minus = network(x - h * factor * v, t - h * factor[:, 0])
    assert torch.allclose(slope, (plus - minus) / (2 * h), atol=1e-6)


def test_a_step_trains_the_student_alone():
    """A step that changes nothing, or the teacher, looks the same in the log."""
    model = tbcm()
    before = [one.detach().clone() for one in model.student.parameters()]
    logs = model.train_step({"inputs": torch.randn(8, 2)}, optimizers(model, 0.1))
    assert float(logs["student.loss_consistency"]) > 0
    assert any(not torch.equal(one, other) for one, other in zip(before, model.student.parameters(), strict=True))


@pytest.mark.parametrize("wrong", [{"pred_type": "eps"}, {"noise": {"type": "kdgen.CosineSchedule"}}])
def test_a_student_of_another_kind_is_refused(wrong):
    """On another clock the rotation is none."""
    with pytest.raises(UsageError, match="TBCM"):
        TBCM(student(**{"noise": TRIG, "pred_type": "v", **wrong}), exact_teacher(noise=TRIG, **RING))
    assert net()["type"] == "kdgen.MLP"


def test_a_teacher_of_noise_is_refused():
    """At pure noise its prediction divided by a signal of almost 0 is garbage that is finite, so nothing else would notice."""
    teacher = exact_teacher(noise=TRIG, **{**RING, "pred_type": "eps"})
    with pytest.raises(UsageError, match="pure noise"):
        TBCM(student(noise=TRIG, pred_type="v"), teacher, points=6, tangent_warmup=0)
