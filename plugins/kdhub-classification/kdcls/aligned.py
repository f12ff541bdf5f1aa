"""`AlignedDistiller`: what the teacher says is followed only as far as it does not contradict the labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kdhub.api import Distiller


class AlignedDistiller(Distiller):
    """`kdhub.Distiller` whose objectives yield to the student's own losses where their gradients point against each other.

    With g₁ the gradient of the student's own losses and g₂ that of all objectives, over all parameters at once: if ``⟨g₁, g₂⟩ < 0``, what
    of g₂ points against g₁ is taken away, ``g₂ − ⟨g₂, g₁⟩/‖g₁‖² · g₁``. The step is g₁ + g₂. g₁ is never altered, and a parameter that one of the
    two does not reach is as before. A step takes two backward passes instead of one.

    It takes the arguments of `kdhub.Distiller`. With several processes, and with accumulated batches, each part is aligned by itself. In
    float16 the two gradients are computed before the loss is scaled, so small ones may vanish: use bfloat16.

    References:
        - Yang et al., "Dual-Head Knowledge Distillation", arXiv 2411.08937 (KDD 2025); one-sided PCGrad, Yu et al., arXiv 2001.06782.
    """

    def parse_losses(self, losses: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return a loss whose gradient is the aligned one, and what mmengine logs of the losses as they are."""
        total, log_vars = super().parse_losses(losses)
        taught = {name: value for name, value in losses.items() if self._is_objective(name)}
        own = {name: value for name, value in losses.items() if name not in taught}
        if not taught or not any("loss" in name for name in own) or not torch.is_grad_enabled():
            return total, log_vars
        parameters = [one for one in self.parameters() if one.requires_grad]
        first, second = (self._gradient(part, parameters) for part in (own, taught))
        gradients = aligned(first, second)
        # the derivative of Σ p · g by p is g: mmengine's wrapper can scale, accumulate, clip and exchange it as any other
        return torch.stack(
            [(one * pull).sum() for one, pull in zip(parameters, gradients, strict=True)]
        ).sum(), log_vars

    def _gradient(self, losses: dict[str, Any], parameters: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the gradient of a part of the losses, 0 for parameters that it does not reach."""
        total, _ = super().parse_losses(losses)
        return torch.autograd.grad(total, parameters, retain_graph=True, materialize_grads=True)

    def _is_objective(self, name: str) -> bool:
        return any(name == f"loss_{one}" or name.startswith(f"loss_{one}_") for one in self.objectives)


def aligned(first: Sequence[Tensor], second: Sequence[Tensor]) -> list[Tensor]:
    """Add two gradients, the second without what points against the first.

    Args:
        first: One tensor a parameter; never altered.
        second: The same shapes.

    Returns:
        The sum, one tensor a parameter.
    """
    product = torch.stack([(one * two).sum() for one, two in zip(first, second, strict=True)]).sum()
    length = torch.stack([one.square().sum() for one in first]).sum()
    factor = torch.where((product < 0) & (length > 0), product / length.clamp_min(torch.finfo(length.dtype).tiny), 0.0)
    return [one + two - factor * one for one, two in zip(first, second, strict=True)]
