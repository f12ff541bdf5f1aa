"""BOOT: hand values and properties of its card."""

import itertools
import math

import pytest
import torch

from kdgen.distiller import Draw
from kdgen.losses import boot_kappa
from kdgen.methods.boot import BOOT
from kdgen.noise import CosineSchedule, over
from kdgen.sampling import ddim
from kdgen.toys import exact_teacher, student
from kdhub import UsageError

NOISE = {"type": "kdgen.CosineSchedule", "t_min": 0.005, "t_max": 0.995}


def boot(**more):
    """A small BOOT on the ring."""
    return BOOT(student(noise=NOISE, t_list=[0.005]), exact_teacher(noise=NOISE), **more)


def test_the_step_by_hand():
    """The card: alpha_t 0.6, alpha_s 0.8 give kappa 0.4375; y = 1, noise 0.5, f = 2 give 1.4375, as DDIM does."""
    noise = CosineSchedule(0.0, 1.0)
    t, s = (torch.tensor([2 / math.pi * math.asin(one)]) for one in (0.8, 0.6))
    kappa = boot_kappa(t, s, noise)
    assert float(kappa) == pytest.approx(0.4375, abs=1e-6)
    model = boot()
    model.teacher.noise = noise
    asked = []
    model.teacher.predict = lambda x, *a, **k: asked.append(x) or torch.full_like(x, 2.0)
    goal = model.bootstrap_target(torch.ones(1, 2), torch.full((1, 2), 0.5), t, kappa, None)
    assert torch.allclose(asked[0], torch.ones(1, 2), atol=1e-6)  # x_t
    assert torch.allclose(goal, torch.full((1, 2), 1.4375), atol=1e-6)
    x_s = 0.8 * 2 + 0.6 * (1 - 0.6 * 2) / 0.8
    assert x_s == pytest.approx(1.45)
    assert (x_s - 0.6 * 0.5) / 0.8 == pytest.approx(1.4375)
    assert pytest.approx(0.2947, abs=1e-4) == (1.2 - 1.4375) ** 2 / 0.4375**2


def test_kappa_is_a_share():
    """Outside of 0 to 1 the target would overshoot the teacher's prediction, and errors would grow step by step."""
    noise = CosineSchedule()
    fraction = torch.linspace(0.05, 1.0, 50)
    kappa = boot_kappa(noise.at(fraction), noise.at(fraction - 0.05), noise)
    assert (kappa > 0).all()
    assert (kappa < 1).all()


def test_an_exact_student_has_no_loss_along_the_grid_of_ddim():
    """The card: with an exact g the loss is 0 for DDIM's grid; anything else is an error in kappa or in the target."""
    model = boot(step=0.1)
    eps = torch.randn(6, 2)
    grid = [float(model.teacher.noise.at(one)) for one in torch.linspace(1.0, 0.0, 11)]
    x, parts = eps, []
    for now, then in itertools.pairwise(grid):
        t, s = torch.full((6,), now), torch.full((6,), then)
        noise = model.teacher.noise
        parts.append((x - over(noise.sigma(t), x) * eps) / over(noise.alpha(t), x))
        x0 = model.teacher.predict(x, t, to="x0")
        goal = model.bootstrap_target(parts[-1], eps, t, boot_kappa(t, s, noise), None)
        seen = (x - over(noise.alpha(t), x) * x0) / over(noise.sigma(t), x)
        x = noise.add_noise(x0, seen, s)
        y_s = (x - over(noise.sigma(s), x) * eps) / over(noise.alpha(s), x)
        assert torch.allclose(goal, y_s, atol=2e-4)
    assert torch.allclose(x, ddim(model.teacher, eps, None, grid[:-1]), atol=0.05)


def test_gradients_pass_only_through_the_two_answers_that_learn():
    """A gradient through the target makes the student pull the teacher's question to its answer."""
    model = boot()
    seen = []
    predict = model.student.predict
    model.student.predict = lambda x, t, *a, **k: seen.append((t, torch.is_grad_enabled())) or predict(x, t, *a, **k)
    terms = model.student_loss(Draw(torch.randn(8, 2), None))
    assert set(terms) == {"loss_bootstrap", "loss_boundary"}
    assert [graded for _, graded in seen] == [False, True, True]
    assert (seen[1][0] < seen[0][0]).all()
    assert (seen[2][0] == 0.995).all()
    assert not any(one.requires_grad for one in model.teacher.parameters())


@pytest.mark.parametrize("wrong", [{"pred_type": "eps"}, {"t_list": [0.995]}, {"t_list": [0.995, 0.005]}])
def test_a_student_of_another_kind_is_refused(wrong):
    """Sampled at t_max it would give the first guess, a blurred mean, and the method would get the blame."""
    with pytest.raises(UsageError, match="BOOT"):
        BOOT(student(**{"noise": NOISE, "t_list": [0.005], **wrong}), exact_teacher(noise=NOISE))


def test_a_schedule_whose_noise_grows_is_refused():
    """Trained on noise of 80 at every time, the student would sample from noise of 0.002, and make nothing of it."""
    edm = {"type": "kdgen.EDMSchedule"}
    with pytest.raises(UsageError, match=r"deviation 80 at every time.*EDMSchedule with 0\.002"):
        BOOT(student(noise=edm, t_list=[0.002]), exact_teacher(noise=edm))


def test_a_teacher_that_says_nan_pulls_nobody():
    """A prediction of 0 in its place would be a target, and pull the student there in silence."""
    model = boot(boundary_weight=0.0)
    eps = torch.randn(4, 2)
    predict = model.teacher.predict

    def broken(x, *given, **named):
        said = predict(x, *given, **named).clone()
        said[0] = float("nan")
        return said

    model.teacher.predict = broken
    asked = []

    def keep(_module, _inputs, output):
        if output.requires_grad:
            output.retain_grad()
            asked.append(output)

    model.student.net.register_forward_hook(keep)
    torch.manual_seed(0)
    model.student_loss(Draw(eps, None))["loss_bootstrap"].backward()
    assert not asked[-1].grad[0].any()
    assert asked[-1].grad[1:].any()
