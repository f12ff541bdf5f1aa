"""Plackett-Luce distillation: the student learns the teacher's order of the classes, with the true class first."""

from __future__ import annotations

import torch
from torch import Tensor

from kdcls.losses._logits import LogitLoss
from kdhub.api import number, require


class PLD(LogitLoss):
    """Likelihood of a ranking of all classes, in place of cross-entropy and KL.

    The ranking π has the label first, and the other classes by falling teacher logit. With q = softmax(t/τ):
    ``L = mean_B Σ_k q[π_k] · (logsumexp_{l ≥ k} s[π_l] − s[π_k])``. The first step is a cross-entropy weighted by what the
    teacher thinks of the label, so a label that the teacher finds absurd is learned weakly. Convex in s.

    Args:
        temperature: Divides the teacher's logits in the weights q alone; neither the ranking nor the student is softened, and
            there is no factor τ². 1.0, the default, is the paper's for ImageNet; 4.0 its for CIFAR-100. Too high, and the
            order among hopeless classes counts as much as the first choice.
        reduction: ``'positions'``: mean over the samples that count; ``'samples'``: over all.
        ignore_index: Label of a sample without one, which does not count; -100 is what torch's cross-entropy leaves out.

    Inputs:
        student: Logits (B, C), at least 2 classes; any float type, raised to float32.
        teacher: Logits (B, C) of the same classes; takes no gradient.
        labels: Classes (B,), integers. Soft labels have no first rank and are refused.
        mask: Optional, (B,) for samples, (B, C) or (1, C) for classes that are there.

    References:
        - Bassam, Zhu and Bian, "PLD: A Choice-Theoretic List-Wise Knowledge Distillation", arXiv 2506.12542 (NeurIPS 2025).
        - The ablations: q = 1/C is ListMLE; q = (1, 0, ...) is the cross-entropy.

    Requirements:
        Labels. The student's own loss is not needed beside it: ``task_weight=0.0`` is the paper's setting.

    Relations:
        - `kdhub.TemperatureKL` asks for the teacher's probabilities; PLD for their order, so it forgives a teacher that is
          too sure of itself.
        - `DKD` also treats the label apart, but compares probabilities.

    Example:
        In place of the student's cross-entropy::

            task_weight=0.0,
            objectives=dict(
                ranking=dict(
                    loss=dict(type='kdcls.PLD', temperature=1.0),
                    student='fc',
                    teacher='fc',
                    batch=dict(labels='labels')))
    """

    def __init__(self, temperature: float = 1.0, reduction: str = "positions", ignore_index: int = -100) -> None:
        super().__init__(reduction, ignore_index)
        require("PLD", number(above=0), temperature=temperature)
        self.temperature = temperature

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare logits of one shape; see the class for the inputs."""
        require("PLD", number(above=0), temperature=self.temperature)
        both = self.compared(student, teacher, mask, labels)
        first = torch.zeros_like(both.classes).scatter(1, both.labels.unsqueeze(1), True)
        # a stable sort: equal teacher logits give the same ranking on every machine
        order = both.teacher.masked_fill(first, torch.inf).argsort(dim=1, descending=True, stable=True)
        ranked = both.student.gather(1, order)
        weights = (both.teacher / self.temperature).softmax(1).gather(1, order)
        rest = ranked.flip(1).logcumsumexp(1).flip(1)
        return self.mean((weights * (rest - ranked)).sum(1), both)
