"""Samplers: from unit noise to samples, along a list of times."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kdgen.noise import over

if TYPE_CHECKING:
    from kdgen.denoiser import Denoiser


@torch.no_grad()
def ddim(
    model: Denoiser, noise: Tensor, labels: Tensor | None, t_list: Sequence[float], guidance_scale: float | Tensor = 1.0
) -> Tensor:
    """Sample deterministically (DDIM; Song et al. 2021): each step keeps the noise that the network sees in it.

    Args:
        model: The model.
        noise: Unit noise (B, ...).
        labels: Labels (B,).
        t_list: Times at which the network is called, from noise to data.
        guidance_scale: Guidance, for all or each sample (B,).

    Returns:
        Samples (B, ...). With one time this is the one-step generator.
    """
    schedule, x = model.noise, noise * model.noise.prior_std
    for now, following in itertools.pairwise([*t_list, None]):
        t = torch.full((len(x),), float(now), device=x.device)  # type: ignore[arg-type]
        x0 = model.predict(x, t, labels, to="x0", guidance_scale=guidance_scale)
        if following is None:
            return x0
        eps = (x - over(schedule.alpha(t), x) * x0) / over(schedule.sigma(t), x)
        x = schedule.add_noise(x0, eps, torch.full_like(t, following))
    return x
