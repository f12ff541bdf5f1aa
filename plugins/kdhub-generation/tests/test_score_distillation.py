"""SDS, SwiftBrush, DMD-like weighting and ASD: hand values and properties of their cards."""

import copy
import re

import pytest
import torch
from hypothesis import given, strategies as st

from kdgen.distiller import Draw
from kdgen.losses import asd_shift, dmd_gradient, inject, vsd_gradient, weighted_noise_error
from kdgen.methods.asd import ASD
from kdgen.methods.disback import Degradation
from kdgen.methods.score import SDS, SwiftBrush
from kdgen.noise import CosineSchedule, DDPMSchedule
from kdgen.toys import exact_teacher, learned_teacher, optimizers, student
from kdhub import UsageError

DDPM = {"type": "kdgen.DDPMSchedule", "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


class HalfwayThere(CosineSchedule):
    """A schedule of one time: sigma^2 = 0.36, alpha^2 = 0.64."""

    def alpha(self, t):
        """0.8 at any time."""
        return torch.full_like(t, 0.8)

    def sigma(self, t):
        """0.6 at any time."""
        return torch.full_like(t, 0.6)


def batch(size=16, classes=0):
    """Unit noise, and labels if there are classes."""
    data = {"inputs": torch.randn(size, 2)}
    return {**data, "labels": torch.randint(classes, (size,))} if classes else data


def test_a_generators_sample_by_hand():
    """SwiftBrush's card: z = 1, f = 0.9 gives 1.48954; an error here is magnified fourteen times."""
    model = SDS(student(noise=DDPM, pred_type="eps"), learned_teacher(noise=DDPM)).student
    model.net.forward = lambda x, t, labels=None: torch.full_like(x, 0.9)
    made = model.generate(torch.ones(1, 2))
    alpha, sigma = 0.0047**0.5, 0.9953**0.5
    assert torch.allclose(made, torch.full((1, 2), (1 - sigma * 0.9) / alpha), rtol=0.01)
    assert pytest.approx(1.48954, abs=2e-4) == (1 - 0.99765 * 0.9) / 0.068557


def test_the_injected_gradient_by_hand():
    """The card: x = 0.5, sigma^2 = 0.36, predictions 0.2 and -0.1 give g = 0.108, loss 0.005832, dL/dx = 0.108."""
    x = torch.tensor([[0.5]], requires_grad=True)
    g = vsd_gradient(torch.tensor([[0.2]]), torch.tensor([[-0.1]]), torch.tensor([0.5]), HalfwayThere())
    assert float(g) == pytest.approx(0.108)
    loss = inject(x, g)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.005832, abs=1e-7)
    assert float(x.grad) == pytest.approx(0.108, abs=1e-6)


def test_sum_and_mean_differ_by_the_size_of_a_sample():
    """ASD sums over a sample: a mean would want another learning rate for each resolution."""
    x = torch.randn(4, 3, 2, requires_grad=True)
    g = torch.randn(4, 3, 2)
    (mean,) = torch.autograd.grad(inject(x, g), x)
    (total,) = torch.autograd.grad(inject(x, g, "sum"), x)
    assert torch.allclose(mean, g / 24, atol=1e-6)
    assert torch.allclose(total, g / 4, atol=1e-6)


def test_the_dmd_gradient_by_hand():
    """DisBack's card: x = 1, target 0.6, fake 0.9 give 0.75, so x moves down, towards the target."""
    g = dmd_gradient(torch.tensor([[1.0]]), torch.tensor([[0.6]]), torch.tensor([[0.9]]))
    assert float(g) == pytest.approx(0.75)
    assert dmd_gradient(torch.ones(1, 1), torch.ones(1, 1), torch.full((1, 1), 0.9)).isfinite().all()


def test_the_fake_scores_weight_by_hand():
    """The released code weights by alpha_t^2 = 0.64; without it times without signal drown the others."""
    said, eps, t = torch.tensor([[0.5]]), torch.tensor([[0.1]]), torch.tensor([0.5])
    assert float(weighted_noise_error(said, eps, t, HalfwayThere(), "alpha2")) == pytest.approx(0.64 * 0.16)
    assert float(weighted_noise_error(said, eps, t, HalfwayThere(), "none")) == pytest.approx(0.16)


@pytest.mark.parametrize("weighting", ["sigma2", "dmd"])
@pytest.mark.parametrize("lora", [None, {"target_modules": ["first", "last"], "rank": 4, "alpha": 8}])
def test_an_untouched_fake_score_moves_nothing(weighting, lora):
    """Where both scores agree there is nothing to learn; anything else would be a bias from the first step on."""
    if lora:
        pytest.importorskip("peft")
    model = SwiftBrush(student(), learned_teacher(), lora=lora, weighting=weighting)
    before = copy.deepcopy(model.student.state_dict())
    model.train_step(batch(), optimizers(model))
    assert all(torch.equal(value, before[name]) for name, value in model.student.state_dict().items())
    model.train_step(batch(), optimizers(model))
    assert not all(torch.equal(value, before[name]) for name, value in model.student.state_dict().items())


def test_each_loss_reaches_its_role_alone():
    """A gradient that leaks to the other role is added to its next step, and nobody sees it."""
    model = SwiftBrush(student(), learned_teacher())
    for role, loss_of in model.losses().items():
        model.zero_grad()
        with model._alone(role):
            terms = loss_of(Draw(torch.randn(8, 2), None))
        sum(terms.values()).backward()
        reached = {name.partition(".")[0] for name, one in model.named_parameters() if one.grad is not None}
        assert reached == {role}
    assert all(one.requires_grad for one in model.student.parameters())
    assert not any(one.requires_grad for one in model.teacher.parameters())
    assert not any("teacher" in name for name in model.state_dict())


def test_lora_leaves_the_base_weights_bit_equal():
    """A base that moves makes the two scores differ by more than what the student's distribution is."""
    pytest.importorskip("peft")
    model = SwiftBrush(student(), learned_teacher(), lora={"target_modules": ["first", "last"], "rank": 4, "alpha": 8})
    trained = {name for name, one in model.fake_score.named_parameters() if one.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    wrappers = optimizers(model, lr=0.1)
    for _ in range(3):
        model.train_step(batch(), wrappers)
    base = {name.replace(".base_layer", ""): one for name, one in model.fake_score.net.named_parameters()}
    assert all(torch.equal(base[name], one) for name, one in model.teacher.net.named_parameters())
    assert any(bool(one.any()) for name, one in model.fake_score.named_parameters() if "lora_B" in name)


def test_with_the_noise_as_fake_prediction_it_is_sds():
    """The card: replacing the fake score by n gives SDS; otherwise the two would not be comparable rivals."""
    one, other = SwiftBrush(student(), learned_teacher()), SDS(student(), learned_teacher())
    other._teachers = one._teachers
    x, eps, t = torch.randn(5, 2), torch.randn(5, 2), torch.rand(5)
    x_t = one.teacher.noise.add_noise(x, eps, t)
    one.fake_score.predict = lambda *a, **k: eps
    assert torch.equal(one.gradient(x, x_t, t, eps, None), other.gradient(x, x_t, t, eps, None))


def test_the_student_waits_for_its_turn():
    """The fake score must keep up with the student: with student_update_freq=3 it has three steps to the student's one."""
    model = SwiftBrush(student(), learned_teacher(), student_update_freq=3)
    wrappers = optimizers(model)
    logs = [model.train_step(batch(), wrappers) for _ in range(6)]
    assert ["loss" in one for one in logs] == [True, False, False, True, False, False]
    assert all("fake_score.loss_denoising" in one for one in logs)


def test_guidance_with_an_unconditional_model_is_refused():
    """Both predictions would be the same, and the guidance would do nothing without a word."""
    with pytest.raises(UsageError, match="unconditional"):
        SDS(student(), learned_teacher(), guidance_scale=4.5)


def test_a_prediction_type_that_does_not_fit_the_teacher_is_refused():
    """Weights that predict noise, read as samples, start the student anywhere."""
    with pytest.raises(UsageError, match="prediction type"):
        SDS(student(pred_type="x0"), learned_teacher(pred_type="eps"), student_init="teacher")
    wrong = exact_teacher()
    wrong["model"]["pred_type"] = "v"
    with pytest.raises(UsageError, match="prediction type"):
        SDS(student(), wrong)


@pytest.mark.parametrize("method", [SDS, SwiftBrush, ASD, Degradation])
def test_a_generator_of_noise_where_no_signal_is_left_is_refused(method):
    """At t = 999 of the cosine alpha is 4.9e-5: the errors of the network are magnified 20 291 times, and it hardly trains."""
    noise = {"type": "kdgen.DDPMSchedule", "beta_schedule": "squaredcos_cap_v2"}
    with pytest.raises(UsageError, match=r"model\.student\.pred_type.*'v', 'x0' or 'flow'"):
        method(student(noise=noise, pred_type="eps"), learned_teacher(noise=noise))
    method(student(noise=noise, pred_type="v"), learned_teacher(noise=noise))
    method(student(noise=DDPM, pred_type="eps"), learned_teacher(noise=DDPM))


def test_most_published_teachers_can_be_students_from_an_earlier_time():
    """The linear schedule of DDPM keeps alpha = 0.0064 at t = 999: refused without a way out, most teachers that predict noise stay out."""
    noise = {"type": "kdgen.DDPMSchedule", "beta_schedule": "linear"}
    teacher = learned_teacher(noise=noise)
    with pytest.raises(UsageError, match=r"0\.0064 at t = 999.*student\.t_list=\[\d+\]") as refused:
        SwiftBrush(student(noise=noise, pred_type="eps"), teacher, student_init="teacher")
    latest = int(re.search(r"t_list=\[(\d+)\]", str(refused.value))[1])
    model = SwiftBrush(student(noise=noise, pred_type="eps", t_list=[latest]), teacher, student_init="teacher")
    asked = []
    model.student.net.register_forward_pre_hook(lambda _net, args: asked.append(float(args[1][0])))
    points = model.student.generate(torch.randn(4, 2))
    assert asked == [latest]
    assert points.shape == (4, 2)
    with pytest.raises(UsageError, match="t_list"):
        SDS(student(noise=noise, pred_type="eps", t_list=[latest + 1]), teacher)


def test_scores_that_are_no_numbers_are_named_with_their_time():
    """A NaN of one time step would end in NaN weights some hundred steps later, and nothing would say where it came from."""
    model = SDS(student(), learned_teacher())
    t = torch.tensor([0.25, 0.5, 0.75])
    some = torch.tensor([[1.0, 1.0], [float("nan"), 1.0], [1.0, 1.0]])
    assert model.finite(some, t).isfinite().all()
    assert "nan" in model._said
    with pytest.raises(UsageError, match=r"0\.25, 0\.5, 0\.75"):
        model.finite(torch.full((3, 2), float("inf")), t)


def test_a_collapse_is_said_once_and_remembered():
    """A generator that makes one point has a fine loss curve."""
    model = SDS(student(), learned_teacher())
    model._spread(torch.randn(64, 2))
    model._spread(torch.randn(64, 2))
    assert "collapse" not in model._said
    for _ in range(200):
        assert "collapse" not in model._said
        model._spread(torch.randn(64, 2) * 0.01)
    other = SDS(student(), learned_teacher())
    other.load_guard_state(model.guard_state())
    assert "collapse" in other._said
    assert other._largest_spread == model._largest_spread


def test_the_shift_of_asd_by_hand():
    """ASD's card: t = 520, t_min = 20, u = 0.5 goes to 545; 999 stays; without the draw 520 goes to 570."""
    t = torch.tensor([520.0, 999.0])
    assert asd_shift(t, 20.0, 999.0, 0.1, 0.5).tolist() == [545.0, 999.0]
    assert asd_shift(t[:1], 20.0, 999.0, 0.1).tolist() == [570.0]
    assert asd_shift(torch.tensor([29.0, 20.0]), 20.0, 999.0, 0.1).tolist() == [29.0, 20.0]


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 2))
def test_the_shift_goes_up_and_stays_in_the_schedule(fraction, share, eta):
    """A time beyond the last has no noise level; an earlier one would turn the gradient around."""
    t = torch.tensor([fraction * 999.0]).floor()
    later = asd_shift(t, 20.0, 999.0, eta, share)
    assert (later >= t).all()
    assert (later <= 999).all()


def test_asd_by_hand():
    """The card: 1 - alpha_bar = 0.36, predictions 0.5 and 0.3 give 0.072."""
    model = ASD(student(), exact_teacher(), random_shift=False)
    said = iter((0.5, 0.3))
    model.teacher.noise = HalfwayThere()
    model.teacher.predict = lambda x, *a, **k: torch.full_like(x, next(said))
    g = model.gradient(torch.zeros(1, 2), torch.tensor([0.5]), torch.randn(1, 2), None, 0.02, 1.0)
    assert torch.allclose(g, torch.full((1, 2), 0.072))
    assert float(inject(torch.zeros(1, 1), g[:, :1], "sum")) == pytest.approx(0.5 * 0.072**2)


def test_asd_without_shift_and_guidance_gives_nothing():
    """The card: eta = 0 with w = 1 is exactly zero, as both predictions are the same one."""
    model = ASD(student(4), exact_teacher(4), eta=0.0)
    g = model.gradient(torch.randn(8, 2), torch.rand(8), torch.randn(8, 2), torch.randint(4, (8,)), 0.02, torch.rand(8))
    assert (g == 0).all()


def test_the_teachers_error_falls_with_time():
    """ASD stands on this (the card's property): at later times the frozen teacher errs less about a strange sample."""
    noise = DDPMSchedule("scaled_linear", beta_start=0.00085, beta_end=0.012)
    teacher = ASD(student(noise=DDPM), exact_teacher(noise=DDPM)).teacher
    x = torch.tensor([[3.0, 3.0]]).expand(4000, 2)
    errors = []
    for time in (50.0, 200.0, 400.0, 600.0, 800.0, 950.0):
        t, eps = torch.full((4000,), time), torch.randn(4000, 2)
        errors.append(float((teacher.predict(noise.add_noise(x, eps, t), t) - eps).square().mean()))
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("times", [{"t_low": 0.9, "t_high": 0.5}, {"t_low": -0.1}])
def test_a_range_of_times_that_is_none_is_refused(times):
    """Drawn from an empty range, times would be those of something else."""
    with pytest.raises(UsageError, match="t_low"):
        SDS(student(), learned_teacher(), **times)


def test_asd_holds_free_particles_at_their_modes():
    """ASD's toy, 300 of its steps: w = 1 brings particles to the mode of their prompt; without a shift they stay where they were."""
    far = {}
    for eta in (0.1, 0.0):
        torch.manual_seed(0)
        model = ASD(student(4), exact_teacher(4, modes=4), eta=eta)
        labels = torch.arange(4).repeat_interleave(25)
        points = torch.randn(100, 2, requires_grad=True)
        optimizer = torch.optim.Adam([points], 0.05)
        for step in range(300):
            low, high = 0.5 - 0.48 * step / 300, 0.98 - 0.48 * step / 300
            t = model.teacher.noise.draw(100, low, high)
            g = model.gradient(points.detach(), t, torch.randn(100, 2), labels, low, torch.rand(100))
            optimizer.zero_grad()
            inject(points, g, "sum").backward()
            optimizer.step()
        means = model.teacher.net.ring.means[labels]
        far[eta] = float((points.detach() - means).norm(dim=1).mean())
    assert far[0.1] < 0.3
    assert far[0.0] > 1.5


def test_another_noise_schedule_than_the_teacher_s_is_refused():
    """One time would mean two amounts of noise, and the two scores would be of different samples."""
    other = {"type": "kdgen.CosineSchedule", "t_min": 0.1, "t_max": 0.9}
    with pytest.raises(UsageError, match=r"fake_score\.noise: the noise schedule is not the teacher's"):
        SwiftBrush(student(), learned_teacher(), fake_score=student(noise=other))
    with pytest.raises(UsageError, match=r"student\.noise: the noise schedule is not the teacher's"):
        SDS(student(noise=other, pred_type="eps"), learned_teacher(pred_type="eps"), student_init="teacher")
