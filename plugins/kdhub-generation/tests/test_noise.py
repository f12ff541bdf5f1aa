"""Noise schedules and predictions, by hand and by round trip."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from kdgen.noise import CosineSchedule, DDPMSchedule, EDMSchedule, FlowSchedule, TrigFlowSchedule
from kdgen.prediction import PRED_TYPES, convert, target
from kdhub import UsageError

SCHEDULES = {
    "cosine": CosineSchedule(),
    "flow": FlowSchedule(),
    "trig": TrigFlowSchedule(prior_std=0.5),
    "edm": EDMSchedule(),
    "linear": DDPMSchedule("linear"),
    "scaled_linear": DDPMSchedule("scaled_linear", beta_start=0.00085, beta_end=0.012),
    "squaredcos_cap_v2": DDPMSchedule("squaredcos_cap_v2"),
}


@pytest.mark.parametrize("name", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_discrete_schedules_are_those_of_diffusers(name):
    """A teacher of diffusers asked with another schedule answers about other noise, and nothing would say so."""
    diffusers = pytest.importorskip("diffusers")
    options = {"beta_start": 0.00085, "beta_end": 0.012} if name == "scaled_linear" else {}
    theirs = diffusers.DDPMScheduler(beta_schedule=name, **options)
    t = torch.arange(1000.0)
    assert torch.allclose(SCHEDULES[name].alpha(t) ** 2, theirs.alphas_cumprod, atol=1e-6)


def test_stable_diffusions_last_step_has_the_signal_that_swiftbrush_writes_as_a_constant():
    """The card: alpha_T^2 = 0.0047, sigma_T^2 = 0.9953; a generator with other constants starts off by a factor."""
    t = torch.tensor([999.0])
    noise = SCHEDULES["scaled_linear"]
    assert float(noise.alpha(t)) ** 2 == pytest.approx(0.0047, abs=5e-5)
    assert float(noise.sigma(t)) ** 2 == pytest.approx(0.9953, abs=5e-5)


@pytest.mark.parametrize("name", SCHEDULES)
def test_noise_grows_with_time_and_samplers_meet_only_times_of_training(name):
    """A sampler that asks at times that training never meets loses quality in silence."""
    noise = SCHEDULES[name]
    for steps in (1, 2, 7, 40):
        times = noise.check_t_list(noise.t_list(steps))
        assert len(times) == steps
        assert times[0] == pytest.approx(noise.t_max, abs=1e-6 * noise.t_max)
        trained = noise.at(torch.linspace(1.0, 0.0, steps + 1)[:-1])
        assert torch.allclose(trained, torch.tensor(times), rtol=1e-5, atol=1e-6)
        if steps > 1 and noise.alpha(torch.tensor([times[0]])) > 0:
            ratio = noise.log_noise_to_signal(torch.tensor(times))
            assert (ratio.diff() < 0).all()
    if name in ("linear", "scaled_linear", "squaredcos_cap_v2"):
        assert all(t == int(t) for t in noise.t_list(40))


def test_draws_stay_between_the_given_fractions():
    """The card: times of the student's step are never below 20 nor above 980."""
    torch.manual_seed(0)
    drawn = SCHEDULES["linear"].draw(20_000, 0.02, 0.98)
    assert (float(drawn.min()), float(drawn.max())) == (20.0, 980.0)
    full = SCHEDULES["linear"].draw(20_000)
    assert (float(full.min()), float(full.max())) == (0.0, 999.0)
    continuous = CosineSchedule(0.0, 1.0).draw(1000, 0.02, 0.98)
    assert float(continuous.min()) >= 0.02
    assert float(continuous.max()) <= 0.98


def test_conversions_by_hand():
    """A sign or factor lost in a conversion still trains, towards something else."""
    noise, t = CosineSchedule(0.0, 1.0), torch.tensor([2 / math.pi * math.asin(0.8)])  # alpha 0.6, sigma 0.8
    x_t = torch.tensor([[1.0]])  # of sample 1 and noise 0.5
    wanted = {"x0": 1.0, "eps": 0.5, "v": 0.6 * 0.5 - 0.8 * 1.0, "flow": -0.5}
    for source, value in wanted.items():
        for goal, other in wanted.items():
            found = convert(torch.tensor([[value]]), x_t, t, source, goal, noise)
            assert float(found) == pytest.approx(other, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(SCHEDULES)), st.sampled_from(PRED_TYPES), st.sampled_from(PRED_TYPES), st.floats(0.05, 0.95)
)
def test_conversions_come_back(name, source, goal, fraction):
    """What two conversions lose, no loss brings back."""
    noise = SCHEDULES[name].double()
    t = noise.at(torch.tensor([fraction, 0.5], dtype=torch.float64))
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 2, 3, generator=generator, dtype=torch.float64)
    x_t = noise.add_noise(x0, eps, t)
    one = target(x0, eps, t, source, noise)
    other = convert(one, x_t, t, source, goal, noise)
    assert torch.allclose(other, target(x0, eps, t, goal, noise), atol=1e-4)
    assert torch.allclose(convert(other, x_t, t, goal, source, noise), one, atol=1e-4)


@pytest.mark.parametrize("times", [[], [0.5, 0.7], [0.5, 0.5], [2.0, 0.5], [0.9, -0.1]])
def test_times_out_of_order_are_refused(times):
    """A list the wrong way round samples noise from data, and the picture only looks a bit worse."""
    with pytest.raises(UsageError, match="t_list"):
        CosineSchedule(0.0, 1.0).check_t_list(times)


def test_a_list_of_more_times_than_there_are_is_refused():
    """Rounded to whole numbers, some steps would do nothing."""
    with pytest.raises(UsageError, match="steps"):
        DDPMSchedule(timesteps=10).t_list(11)
