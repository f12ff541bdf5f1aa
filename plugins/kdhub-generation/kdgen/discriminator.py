"""A discriminator between what the student makes and data, both noised: the adversarial term of DMD2 and DisBack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from kdgen.denoiser import label_rows, leave_labels
from kdgen.noise import NoiseSchedule
from kdhub.api import UsageError, build, number, require

WON = 0.99
"""Share of real and of made samples that a discriminator tells apart when it has won."""

STEPS_WON = 200
"""For so many steps in a row."""


class Discriminator(nn.Module):
    """Says of noised samples whether they are data; the role ``discriminator`` of a method.

    DMD2's is a head on the fake score's network. Here it is a network of its own, with an optimizer of its own, so that it works with
    any fake score.

    Args:
        net: A network called ``net(x, t, labels)`` as all others; the mean of what it returns is the logit:
            ``dict(type='kdgen.MLP', outputs=1)``, or diffusers' ``UNet2DModel`` with one channel out. One
            without classes is told no labels.
        generator_weight: Weight of the student's term; 5e-3 in DisBack's script for SDXL.
        weight: Weight of the discriminator's own loss; 1e-2 there.
    """

    def __init__(self, net: Any, generator_weight: float = 5e-3, weight: float = 1e-2) -> None:
        super().__init__()
        require("Discriminator", number(above=0), generator_weight=generator_weight, weight=weight)
        self.net = build("model", net, where="model.discriminator.net")
        leave_labels(self.net)
        self._hears_labels = label_rows(self.net) != 0
        self.generator_weight, self.weight = generator_weight, weight

    def logits(self, x: Tensor, labels: Tensor | None, noise: NoiseSchedule) -> Tensor:
        """Noise samples (B, ...) at times over the whole schedule, and return logits (B,) of their being data."""
        t = noise.draw(len(x), device=x.device)
        said = self.net(
            noise.add_noise(x, torch.randn_like(x), t), noise.time_input(t), labels if self._hears_labels else None
        )
        said = getattr(said, "sample", said)
        return said.float().flatten(1).mean(dim=1)

    def student_term(self, sample: Tensor, labels: Tensor | None, noise: NoiseSchedule) -> Tensor:
        """Return the student's loss, weight x softplus(-D): small where it passes for data."""
        return self.generator_weight * softplus(-self.logits(sample, labels, noise)).mean()

    def own_loss(
        self, real: Tensor, made: Tensor, labels: Tensor | None, noise: NoiseSchedule
    ) -> tuple[Tensor, Tensor]:
        """Return weight x (softplus(D(made)) + softplus(-D(real))), and the share of samples that it tells apart."""
        of_made, of_real = self.logits(made, labels, noise), self.logits(real, labels, noise)
        right = torch.cat((of_made < 0, of_real > 0)).float().mean()
        return self.weight * (softplus(of_made) + softplus(-of_real)).mean(), right.detach()


class Watch:
    """Counts for how many steps in a row a discriminator has won."""

    def __init__(self) -> None:
        self.steps = 0

    def won(self, right: float) -> bool:
        """Take the share of samples told apart in one step; say whether that is now the end of a long row."""
        self.steps = self.steps + 1 if right >= WON else 0
        return self.steps == STEPS_WON


def real_samples(more: Mapping[str, Tensor]) -> Tensor:
    """Return the data of a batch (B, ...).

    Raises:
        UsageError: If there are none.
    """
    if "real" not in more:
        raise UsageError(
            "a discriminator compares with data, and the batch has none",
            where="train_dataloader.dataset",
            fix="dict(type='kdgen.NoiseDataset', shape=(2,), chunk=256, real=dict(type='kdgen.RingData', chunk=256))",
        )
    return more["real"]
