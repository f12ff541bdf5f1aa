"""Class by class: each logit as a yes or no of its own, so that the level of the logits counts too."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from kdcls.losses._logits import LogitLoss
from kdhub.api import FLAG, number, require


class BinaryKL(LogitLoss):
    """The teacher's logits, not only their differences: the loss of the second head of dual-head distillation.

    With d = (s − t)/τ and sg the sigmoid: ``L = τ²/B · Σ_{B,c} KL(Bern(½) ‖ Bern(sg(d)))``, which is ``τ²/B · Σ log cosh(d/2)``. A
    softmax cannot tell [2, 3, 4] from [−2, −1, 0]; this can.

    Args:
        temperature: τ. 2.0, the default, is the authors'. The gradient is τ/B · (sg(d) − ½): beyond |s − t| of some 4 τ it no
            longer grows, so a small τ is robust and slow.
        normalised: ``False`` takes ``KL(Bern(sg(t/τ)) ‖ Bern(sg(s/τ)))``, with which the paper begins: where the teacher's logit is
            large the gradient vanishes before the student reaches it.
        reduction: ``'positions'``: mean over the samples that count, sum over classes; ``'samples'``: mean over all samples.

    Inputs:
        student: Logits (B, C), those of a second head (adapter `kdcls.AuxiliaryHead`); any float type, raised to float32.
        teacher: Logits (B, C) of the same classes; takes no gradient.
        mask: Optional, (B,) for samples, (B, C) or (1, C) for classes that are there.

    References:
        - Yang et al., "Dual-Head Knowledge Distillation", arXiv 2411.08937 (KDD 2025), BinaryKL-Norm; code
          penghui-yang/DHKD. Written with log cosh here, whose gradient does not freeze where theirs is clamped.

    Requirements:
        A head of its own: on the head that the cross-entropy trains, both together are worse than either alone (the paper's Fig. 1b).
        Weight 1 on CIFAR, 0.1 on ImageNet.

    Relations:
        - `kdhub.MSE` on logits has the same minimum, and a gradient that grows without bound.
        - `kdhub.TemperatureKL` ignores the level of the logits.

    Example:
        The pooled features go through a second head, which no export holds::

            objectives=dict(
                second_head=dict(
                    loss=dict(type='kdcls.BinaryKL'),
                    student=dict(type='kdhub.ModuleInput', path='fc'),
                    teacher='fc',
                    adapter=dict(type='kdcls.AuxiliaryHead', in_features=512, num_classes=100, hidden=200)))
    """

    def __init__(self, temperature: float = 2.0, normalised: bool = True, reduction: str = "positions") -> None:
        super().__init__(reduction)
        require("BinaryKL", number(above=0), temperature=temperature)
        require("BinaryKL", FLAG, normalised=normalised)
        self.temperature = temperature
        self.normalised = normalised

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare logits of one shape; see the class for the inputs."""
        require("BinaryKL", number(above=0), temperature=self.temperature)
        both = self.compared(student, teacher, mask)
        ours, theirs = both.student / self.temperature, both.teacher / self.temperature
        if self.normalised:
            half = (ours - theirs).abs() / 2
            # log cosh, exactly 0 at 0
            values = half + torch.log1p(torch.expm1(-2 * half) / 2)
        else:
            p = theirs.sigmoid()
            values = p * (functional.logsigmoid(theirs) - functional.logsigmoid(ours))
            values = values + (1 - p) * (functional.logsigmoid(-theirs) - functional.logsigmoid(-ours))
        return self.mean(values.masked_fill(~both.classes, 0.0).sum(1) * self.temperature**2, both)
