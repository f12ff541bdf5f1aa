"""Samplers: from unit noise to samples, along a list of times."""

from __future__ import annotations

import itertools
import statistics
import time
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
    schedule, x = model.noise, noise * model.noise.start_std(t_list[0])
    for now, following in itertools.pairwise([*t_list, None]):
        t = torch.full((len(x),), float(now), device=x.device)  # type: ignore[arg-type]
        x0 = model.predict(x, t, labels, to="x0", guidance_scale=guidance_scale)
        if following is None:
            return x0
        eps = (x - over(schedule.alpha(t), x) * x0) / over(schedule.sigma(t), x)
        x = schedule.add_noise(x0, eps, torch.full_like(t, following))
    return x


def samples_per_second(
    model: Denoiser,
    noise: Tensor,
    labels: Tensor | None,
    t_list: Sequence[float],
    guidance_scale: float = 1.0,
    passes: int = 5,
) -> float:
    """Time a sampler on the device of its noise, with nothing else: the median of some passes after one that does not count.

    Args:
        model: As in `ddim`.
        noise: As in `ddim`; its number of samples is the batch that is timed.
        labels: As in `ddim`.
        t_list: As in `ddim`.
        guidance_scale: As in `ddim`; other than 1 it costs a second call of the network.
        passes: Passes that count.

    Returns:
        Samples of one pass over its seconds.
    """
    seconds = []
    for _ in range(passes + 1):
        begun = time.perf_counter()
        made = ddim(model, noise, labels, t_list, guidance_scale)
        float(made.flatten()[0])  # waits for an accelerator
        seconds.append(time.perf_counter() - begun)
    return len(noise) / statistics.median(seconds[1:])
