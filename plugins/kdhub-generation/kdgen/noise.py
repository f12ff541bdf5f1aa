"""Noise schedules: how much signal and noise is in x_t = alpha(t) x_0 + sigma(t) noise, and which times a sampler visits."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdhub.api import UsageError, choice, integer, number, require


class NoiseSchedule(nn.Module, ABC):
    """What all methods ask of a schedule; training and samplers take every time from the same object.

    Attributes:
        t_min: The time of (nearly) clean samples.
        t_max: The time of (nearly) pure noise, at which a one-step generator is called.
        prior_std: Standard deviation of x at ``t_max``; see `start_std`.
    """

    t_min: float
    t_max: float
    prior_std: float = 1.0

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Return the factor of the signal at times (B,)."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Return the factor of the noise at times (B,)."""

    def at(self, fraction: Tensor) -> Tensor:
        """Return the time that lies a fraction, from 0 (clean) to 1 (noise), along the schedule's own grid."""
        return self.t_min + (self.t_max - self.t_min) * fraction

    def start_std(self, t: float) -> float:
        """Return the standard deviation of x at a time: unit noise times this is what a sampler that begins there begins with."""
        return self.prior_std

    def time_input(self, t: Tensor) -> Tensor:
        """Return what a network is told of times (B,)."""
        return t

    def require_same(self, other: NoiseSchedule, where: str) -> None:
        """See that another schedule gives the same noise at the same times, and tells a network the same of them.

        Args:
            other: What two networks that are asked about one noisy sample have.
            where: Key path of the network with the other schedule.

        Raises:
            UsageError: If they differ.
        """
        t = self.at(torch.linspace(0.0, 1.0, 9))
        ours = (t, self.alpha(t), self.sigma(t), self.time_input(t))
        theirs = (other.at(torch.linspace(0.0, 1.0, 9)), other.alpha(t), other.sigma(t), other.time_input(t))
        if not all(torch.allclose(a.float(), b.float(), atol=1e-5) for a, b in zip(ours, theirs, strict=True)):
            raise UsageError(
                "the noise schedule is not the teacher's, so one time means two amounts of noise",
                where=f"{where}.noise",
                expected=type(self).__name__,
                got=f"{type(other).__name__} with other times or amounts"
                if type(other) is type(self)
                else type(other).__name__,
                fix="give it the teacher's noise",
            )

    def log_noise_to_signal(self, t: Tensor) -> Tensor:
        """Return log(sigma / alpha), which grows with time."""
        return self.sigma(t).log() - self.alpha(t).log()

    def add_noise(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t.

        Args:
            x: Clean samples (B, ...).
            noise: Unit noise (B, ...).
            t: Times (B,).
        """
        return over(self.alpha(t), x) * x + over(self.sigma(t), x) * noise

    def draw(self, count: int, low: float = 0.0, high: float = 1.0, device: torch.device | None = None) -> Tensor:
        """Draw times (count,) evenly between two fractions of the grid."""
        return self.at(low + (high - low) * torch.rand(count, device=device))

    def t_list(self, steps: int) -> list[float]:
        """Return the times at which a sampler of ``steps`` steps calls the network, from noise to data."""
        require("t_list", integer(1), steps=steps)
        fractions = torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64)[:-1]
        return [float(t) for t in self.at(fractions)]

    def check_t_list(self, t_list: Sequence[float], where: str = "t_list") -> list[float]:
        """See that a list of times can be sampled along.

        Raises:
            UsageError: If it is empty, leaves the schedule's range, or does not fall strictly.
        """
        times = [float(t) for t in t_list]
        slack = 1e-6 * max(1.0, abs(self.t_max))
        outside = [t for t in times if not self.t_min - slack <= t <= self.t_max + slack]
        rising = [f"{a:g}, {b:g}" for a, b in itertools.pairwise(times) if b >= a]
        if not times or outside or rising:
            raise UsageError(
                "the times of the sampler are out of order" if rising else "the schedule does not have these times",
                where=where,
                expected=f"times that fall strictly, from {self.t_max:g} at most to {self.t_min:g} at least",
                got=str([*rising, *outside] or times),
            )
        return times


class CosineSchedule(NoiseSchedule):
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2): variance-preserving, in continuous time.

    Args:
        t_min: Smallest time; below it conversions divide by almost 0.
        t_max: Largest time; at 1 there is no signal, and noise prediction says nothing about the sample.
    """

    def __init__(self, t_min: float = 0.005, t_max: float = 0.995) -> None:
        super().__init__()
        _require_range("CosineSchedule", t_min, t_max, 1.0)
        self.t_min, self.t_max = t_min, t_max

    def alpha(self, t: Tensor) -> Tensor:
        """Return cos(pi t / 2)."""
        return torch.cos(t * (math.pi / 2))

    def sigma(self, t: Tensor) -> Tensor:
        """Return sin(pi t / 2)."""
        return torch.sin(t * (math.pi / 2))


class FlowSchedule(NoiseSchedule):
    """alpha = 1 - t, sigma = t: straight lines from data to noise (rectified flow).

    Args:
        t_min: Smallest time.
        t_max: Largest time; 1 is pure noise, where ``flow`` and ``x0`` predictions still say what the sample is.
    """

    def __init__(self, t_min: float = 0.0, t_max: float = 1.0) -> None:
        super().__init__()
        _require_range("FlowSchedule", t_min, t_max, 1.0)
        self.t_min, self.t_max = t_min, t_max

    def alpha(self, t: Tensor) -> Tensor:
        """Return 1 - t."""
        return 1.0 - t

    def sigma(self, t: Tensor) -> Tensor:
        """Return t."""
        return t


class TrigFlowSchedule(NoiseSchedule):
    """alpha = cos t, sigma = sin t for t up to pi / 2: the clock of continuous-time consistency models (arXiv 2410.11081).

    With samples of standard deviation ``prior_std`` the noise has it too.

    Args:
        prior_std: The standard deviation of the data, sigma_d in the paper.
        t_min: Smallest time.
        time_scale: What times are multiplied by before a network is told them. The sinusoids of diffusers' networks expect times up to
            1000 and hardly tell 0 from 1.5; the derivative that consistency models take grows with the factor.
    """

    def __init__(self, prior_std: float = 1.0, t_min: float = 0.006, time_scale: float = 1.0) -> None:
        super().__init__()
        require("TrigFlowSchedule", number(above=0), time_scale=time_scale)
        self.time_scale = time_scale
        _require_range("TrigFlowSchedule", t_min, math.pi / 2, math.pi / 2)
        require("TrigFlowSchedule", number(above=0), prior_std=prior_std)
        self.prior_std, self.t_min, self.t_max = prior_std, t_min, math.pi / 2

    def alpha(self, t: Tensor) -> Tensor:
        """Return cos t."""
        return torch.cos(t)

    def sigma(self, t: Tensor) -> Tensor:
        """Return prior_std sin t, so that unit noise is brought to the scale of the data."""
        return self.prior_std * torch.sin(t)

    def time_input(self, t: Tensor) -> Tensor:
        """Return time_scale t."""
        return self.time_scale * t


class EDMSchedule(NoiseSchedule):
    """alpha = 1, sigma = t: variance-exploding, with the grid of Karras et al. 2022 (arXiv 2206.00364, equation 5).

    Args:
        t_min: Smallest sigma.
        t_max: Largest sigma.
        rho: Curvature of the grid; 7 puts most times near the data.
    """

    def __init__(self, t_min: float = 0.002, t_max: float = 80.0, rho: float = 7.0) -> None:
        super().__init__()
        _require_range("EDMSchedule", t_min, t_max, math.inf)
        require("EDMSchedule", number(above=0), t_min=t_min, rho=rho)
        self.t_min, self.t_max, self.rho, self.prior_std = t_min, t_max, rho, t_max

    def alpha(self, t: Tensor) -> Tensor:
        """Return 1."""
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        """Return t."""
        return t

    def start_std(self, t: float) -> float:
        """Return t, the standard deviation of the noise alone, as ``prior_std`` is at ``t_max``."""
        return t

    def at(self, fraction: Tensor) -> Tensor:
        """Return the sigma a fraction along the grid."""
        low, high = self.t_min ** (1 / self.rho), self.t_max ** (1 / self.rho)
        return (low + (high - low) * fraction) ** self.rho

    def time_input(self, t: Tensor) -> Tensor:
        """Return log(sigma) / 4, as EDM's networks are told."""
        return t.log() / 4


class DDPMSchedule(NoiseSchedule):
    """The discrete schedule of Ho et al. 2020 and Nichol and Dhariwal 2021; times are whole numbers, as in diffusers.

    Args:
        beta_schedule: ``linear``, ``scaled_linear`` (Stable Diffusion's) or ``squaredcos_cap_v2``, the cosine, as diffusers has them.
        timesteps: Their number T; times are 0 to T - 1.
        beta_start: First beta; unused by the cosine.
        beta_end: Last beta; unused by the cosine.
    """

    _alphas: Tensor
    _sigmas: Tensor

    def __init__(
        self,
        beta_schedule: str = "linear",
        timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
    ) -> None:
        super().__init__()
        known = ("linear", "scaled_linear", "squaredcos_cap_v2")
        require("DDPMSchedule", choice(known), beta_schedule=beta_schedule)
        require("DDPMSchedule", integer(2), timesteps=timesteps)
        kept = (1.0 - _betas(beta_schedule, timesteps, beta_start, beta_end)).cumprod(0)
        self.register_buffer("_alphas", kept.sqrt().float(), persistent=False)
        self.register_buffer("_sigmas", (1.0 - kept).sqrt().float(), persistent=False)
        self.t_min, self.t_max = 0.0, timesteps - 1.0

    def alpha(self, t: Tensor) -> Tensor:
        """Return sqrt(alpha_bar) at whole times (B,)."""
        return self._alphas[t.long()]

    def sigma(self, t: Tensor) -> Tensor:
        """Return sqrt(1 - alpha_bar) at whole times (B,)."""
        return self._sigmas[t.long()]

    def at(self, fraction: Tensor) -> Tensor:
        """Return the nearest whole time."""
        return (fraction * self.t_max).round()

    def draw(self, count: int, low: float = 0.0, high: float = 1.0, device: torch.device | None = None) -> Tensor:
        """Draw whole times (count,) between two fractions of T, both included: 0.02 to 0.98 of 1000 is 20 to 980."""
        total = int(self.t_max) + 1
        first, last = round(low * total), min(round(high * total), total - 1)
        return torch.randint(first, last + 1, (count,), device=device).float()

    def t_list(self, steps: int) -> list[float]:
        """Return the times of a sampler; no time comes twice.

        Raises:
            UsageError: If there are fewer times than steps.
        """
        if steps > self.t_max + 1:
            raise UsageError(
                "there are fewer times than steps", where="steps", expected=f"up to {self.t_max + 1:g}", got=str(steps)
            )
        return super().t_list(steps)


def over(value: Tensor, like: Tensor) -> Tensor:
    """Give a value for each sample (B,) the axes of ``like`` (B, ...), so that the two can be multiplied."""
    return value.to(like.dtype).reshape(-1, *[1] * (like.dim() - 1))


def _betas(kind: str, timesteps: int, start: float, end: float) -> Tensor:
    if kind == "linear":
        return torch.linspace(start, end, timesteps, dtype=torch.float64)
    if kind == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, timesteps, dtype=torch.float64) ** 2
    grid = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    kept = torch.cos((grid + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1.0 - kept[1:] / kept[:-1]).clamp(max=0.999)


def _require_range(owner: str, t_min: float, t_max: float, end: float) -> None:
    if not 0 <= t_min < t_max <= end:
        raise UsageError(
            f"{owner}: not a range of times", expected=f"0 <= t_min < t_max <= {end:g}", got=f"{t_min}, {t_max}"
        )
