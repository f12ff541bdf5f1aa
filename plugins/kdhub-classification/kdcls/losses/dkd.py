"""Decoupled distillation: what the teacher says of the true class, and of the others, weighted apart."""

from __future__ import annotations

import torch
from torch import Tensor

from kdcls.losses._logits import OUT, LogitLoss, kl
from kdhub.api import number, require


class DKD(LogitLoss):
    """The KL divergence of softened probabilities, split at the label.

    With p, q the softmax of t/τ and s/τ and y the label: ``TCKD = KL([p_y, 1 − p_y] ‖ [q_y, 1 − q_y])`` and NCKD = the KL of
    the softmax over all classes but y. ``L = τ² · mean_B (α · TCKD + β · NCKD)``. Plain KL is ``TCKD + (1 − p_y) · NCKD``: where
    the teacher is sure, it hardly says anything of the other classes; DKD does.

    Args:
        temperature: Divides both sides before the softmax. 4.0, the default, is the paper's for CIFAR-100; 1.0 its for ImageNet.
        alpha: Weight of TCKD.
        beta: Weight of NCKD. 8.0, the default, is the authors' for most pairs of CIFAR-100; 0.5 theirs for ImageNet. The paper
            ties it to the teacher's lead over its second choice: large where the teacher is sure. With 8 the term is large in the
            first epochs; the authors let its weight rise over 20 epochs (``weight=dict(type='kdhub.WarmupSchedule', ...)``).
        reduction: ``'positions'``: mean over the samples that count; ``'samples'``: over all.
        ignore_index: Label of a sample without one, which does not count; -100 is what torch's cross-entropy leaves out.

    Inputs:
        student: Logits (B, C), at least 2 classes; any float type, raised to float32.
        teacher: Logits (B, C) of the same classes; takes no gradient.
        labels: Classes (B,), integers; soft labels are refused.
        mask: Optional, (B,) for samples, (B, C) or (1, C) for classes that are there.

    References:
        - Zhao et al., "Decoupled Knowledge Distillation", arXiv 2203.08679 (CVPR 2022), equations 5 to 7; weights as in the
          authors' code (megvii-research/mdistiller).

    Requirements:
        Labels, and the student's own cross-entropy beside it, with weight 1 in the paper. With 2 classes NCKD is 0.

    Relations:
        - `kdhub.TemperatureKL` is the same with α = 1 and β = 1 − p_y, sample by sample.
        - `PLD` needs no β, and no cross-entropy beside it.

    Example:
        ::

            objectives=dict(
                logits=dict(
                    loss=dict(type='kdcls.DKD', temperature=4.0, alpha=1.0, beta=8.0),
                    student='fc',
                    teacher='fc',
                    batch=dict(labels='labels')))
    """

    def __init__(
        self,
        temperature: float = 4.0,
        alpha: float = 1.0,
        beta: float = 8.0,
        reduction: str = "positions",
        ignore_index: int = -100,
    ) -> None:
        super().__init__(reduction, ignore_index)
        require("DKD", number(above=0), temperature=temperature)
        require("DKD", number(at_least=0), alpha=alpha, beta=beta)
        self.temperature = temperature
        self.alpha = alpha
        self.beta = beta

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare logits of one shape; see the class for the inputs."""
        require("DKD", number(above=0), temperature=self.temperature)
        both = self.compared(student, teacher, mask, labels)
        label = both.labels.unsqueeze(1)
        theirs, ours = both.teacher / self.temperature, both.student / self.temperature
        target = kl(_label_or_not(theirs, label), _label_or_not(ours, label))
        others = kl(*(side.scatter(1, label, OUT) for side in (theirs, ours)))
        return self.mean((self.alpha * target + self.beta * others) * self.temperature**2, both)


def _label_or_not(logits: Tensor, label: Tensor) -> Tensor:
    """Return the two logits (B, 2) whose softmax is the label's probability and that of all other classes together."""
    others = logits.scatter(1, label, -torch.inf).logsumexp(1, keepdim=True)
    return torch.cat([logits.gather(1, label), others], 1)
