"""The arithmetic of score distillation: pure functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from kdgen.noise import NoiseSchedule, over


def inject(sample: Tensor, gradient: Tensor, reduction: str = "mean") -> Tensor:
    """Return 1/2 |x - sg(x - g)|^2, whose gradient in x is g.

    Args:
        sample: What the student made (B, ...).
        gradient: g (B, ...); no gradient passes through it.
        reduction: ``mean`` over all elements, or ``sum`` over them divided by B.

    Returns:
        A number.
    """
    squared = 0.5 * (sample - (sample - gradient).detach()).square()
    return squared.mean() if reduction == "mean" else squared.sum() / len(sample)


def vsd_gradient(real: Tensor, fake: Tensor, t: Tensor, noise: NoiseSchedule) -> Tensor:
    """Return sigma_t^2 (eps_real - eps_fake) (SwiftBrush, arXiv 2312.05239; ProlificDreamer, equation 9).

    Args:
        real: The teacher's noise prediction (B, ...).
        fake: That of the model of the student's distribution (B, ...); the noise itself gives SDS.
        t: Times (B,).
        noise: The schedule.
    """
    return over(noise.sigma(t).square(), real) * (real - fake)


def dmd_gradient(sample: Tensor, real_x0: Tensor, fake_x0: Tensor, floor: float = 1e-4) -> Tensor:
    """Return (x0_fake - x0_real) / mean |x - x0_real|, per sample (DMD, arXiv 2311.18828, equation 8; DisBack's code).

    Args:
        sample: What the student made (B, ...).
        real_x0: What the teacher takes it for (B, ...).
        fake_x0: What the fake score takes it for (B, ...).
        floor: Least denominator: it approaches 0 late in training.
    """
    size = (sample - real_x0).abs().flatten(1).mean(dim=1).clamp(min=floor)
    return (fake_x0 - real_x0) / over(size, sample)


def weighted_noise_error(said: Tensor, eps: Tensor, t: Tensor, noise: NoiseSchedule, weighting: str) -> Tensor:
    """Return the mean of w_t (eps_said - eps)^2, by which a fake score learns the student's distribution.

    Args:
        said: The noise prediction (B, ...).
        eps: The noise (B, ...).
        t: Times (B,).
        noise: The schedule.
        weighting: ``alpha2`` for w = alpha_t^2 (SwiftBrush's code), ``none`` for 1.
    """
    error = (said - eps).square()
    return (over(noise.alpha(t).square(), error) * error if weighting == "alpha2" else error).mean()


def asd_shift(
    t: Tensor, t_min: float, t_max: float, eta: float, share: Tensor | float = 1.0, whole: bool = True
) -> Tensor:
    """Return the later time t + share * clamp(eta (t - t_min), 0, t_max - t) of ASD (arXiv 2407.02040).

    Args:
        t: Times (B,).
        t_min: Lower end of the range that t is drawn from.
        t_max: The schedule's last time.
        eta: Size of the shift; 0.1 in the paper.
        share: u, drawn from 0 to 1 for each sample (B,) in its random version.
        whole: Whether times are whole numbers: the shift is then rounded down.
    """
    shift = share * torch.minimum((eta * (t - t_min)).clamp(min=0.0), (t_max - t).clamp(min=0.0))
    return torch.minimum(t + (shift.floor() if whole else shift), torch.full_like(t, t_max))


def boot_kappa(t: Tensor, s: Tensor, noise: NoiseSchedule) -> Tensor:
    """Return 1 - (alpha_t sigma_s) / (alpha_s sigma_t): how far a DDIM step from t to s < t goes to the prediction (BOOT, arXiv 2306.05544)."""
    return 1.0 - (noise.alpha(t) * noise.sigma(s)) / (noise.alpha(s) * noise.sigma(t))


def tangent(
    said: Tensor, slope: Tensor, velocity: Tensor, x: Tensor, t: Tensor, weight: float, sigma_d: float = 1.0
) -> Tensor:
    """Return the normalised tangent of a consistency model on the circle (sCM, arXiv 2410.11081; TBCM, arXiv 2511.20410).

    g = -cos^2 t (sigma_d F - v) - r (cos t sin t x + sigma_d F'), divided by |g| + 0.1, the norm over a sample.

    Args:
        said: F, what the student says (B, ...).
        slope: F', its derivative along the trajectory times cos t sin t (B, ...).
        velocity: v, what the teacher says (B, ...).
        x: The states (B, ...).
        t: Times (B,).
        weight: r; 0 leaves the regression to the teacher's velocity.
        sigma_d: Standard deviation of the data.
    """
    cos, sin = over(t.cos(), x), over(t.sin(), x)
    g = -cos.square() * (sigma_d * said - velocity) - weight * (cos * sin * x + sigma_d * slope)
    return g / (over(g.flatten(1).norm(dim=1), g) + 0.1)
