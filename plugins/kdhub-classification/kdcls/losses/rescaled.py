"""Logits divided by their own spread: distillation without a temperature, made for mixed images."""

from __future__ import annotations

import logging

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn import functional

from kdcls.losses._logits import OUT, LogitLoss, kl
from kdhub.api import UsageError, number, require, to_float32

_FEW = 5
"""Below this many classes a rescaled vector says little: of two classes it is a sign."""


class RescaledKL(LogitLoss):
    """KL divergence of the softmax of rescaled logits: each side is divided by its own standard deviation over the classes.

    With ŝ = s/std(s) and t̂ = t/std(t), sample by sample: ``L = mean_B KL(softmax(t̂) ‖ softmax(ŝ))``. Mixed labels and a temperature both
    smooth; dividing by the spread makes all teachers equally smooth, those trained with mixup too. The gradient flows through
    the student's spread. Neither the scale nor the level of the logits counts.

    Args:
        reduction: ``'positions'``: mean over the samples that count; ``'samples'``: over all.

    Inputs:
        student: Logits (B, C), at least 2 classes; any float type, raised to float32. A vector without spread is not divided.
        teacher: Logits (B, C) of the same images, also the mixed ones; takes no gradient.
        mask: Optional, (B,) for samples, (B, C) or (1, C) for classes that are there; the spread is taken over these.

    References:
        - Choi et al., "Understanding the Role of Mixup in Knowledge Distillation: An Empirical Study", arXiv 2211.03946 (WACV 2023);
          code hchoi71/MIX-KD. The standard deviation is the unbiased one.

    Requirements:
        5 classes or more; of two only the order would be left, and a warning says so. The authors train with weight 0.9 beside 0.1 of
        `kdcls.RescaledCrossEntropy`, and with `kdcls.Mixup`.

    Relations:
        - `kdhub.TemperatureKL` has one temperature for all samples; this has one for each.

    Example:
        ::

            task_weight=0.1,
            objectives=dict(logits=dict(loss=dict(type='kdcls.RescaledKL'), student='fc', teacher='fc', weight=0.9))
    """

    _warned = False

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare logits of one shape; see the class for the inputs."""
        both = self.compared(student, teacher, mask)
        if both.classes.shape[1] < _FEW and not self._warned:
            self._warned = True
            print_log(
                f"RescaledKL: {both.classes.shape[1]} classes: divided by their spread, their logits say little of how sure the teacher is",
                "current",
                logging.WARNING,
            )
        return self.mean(kl(*(rescaled(side, both.classes) for side in (both.teacher, both.student))), both)


class RescaledCrossEntropy(nn.Module):
    """Cross-entropy of rescaled logits with the labels: the student's own loss that goes with `RescaledKL`.

    With ŝ = s/std(s): ``L = −mean_B Σ_c y_c log softmax(ŝ)_c``. It hears no teacher, so it stands as the ``criterion`` of a `kdhub.TorchModel`.

    Args:
        label_smoothing: Share of each label that is spread over all classes; 0.0, the default, is the authors'.

    Inputs:
        student: Logits (B, C), at least 2 classes; any float type, raised to float32.
        labels: Classes (B,), or soft labels (B, C) as `kdcls.Mixup` makes them.

    References:
        - Choi et al., arXiv 2211.03946 (WACV 2023); code hchoi71/MIX-KD.

    Requirements:
        5 classes or more, as for `RescaledKL`.

    Relations:
        - ``torch.nn.CrossEntropyLoss`` also rewards larger logits.

    Example:
        ::

            student=dict(type='kdhub.TorchModel', net=..., criterion=dict(type='kdcls.RescaledCrossEntropy'))
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        require("RescaledCrossEntropy", number(at_least=0), label_smoothing=label_smoothing)
        self.label_smoothing = label_smoothing

    def forward(self, student: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over samples; see the class for the inputs."""
        if student.ndim != 2 or student.shape[1] < 2:
            raise UsageError(
                "RescaledCrossEntropy needs logits of 2 classes or more",
                expected="(B, C)",
                got=str(tuple(student.shape)),
            )
        logits = rescaled(to_float32(student))
        return functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)


def rescaled(logits: Tensor, classes: Tensor | None = None) -> Tensor:
    """Divide each row by its unbiased standard deviation.

    Args:
        logits: (B, C), float32 or wider.
        classes: Which entries belong to the row, bool (B, C); ``None`` for all. The others stay as they are.

    Returns:
        (B, C); rows without spread stay as they are, with a finite gradient.
    """
    out = torch.zeros_like(logits, dtype=torch.bool) if classes is None else ~classes
    count = (~out).sum(1, keepdim=True)
    inside = logits.masked_fill(out, 0.0)
    centred = (inside - inside.sum(1, keepdim=True) / count.clamp(min=1)).masked_fill(out, 0.0)
    variance = centred.square().sum(1, keepdim=True) / (count - 1).clamp(min=1)
    # what rounding leaves of equal logits is no spread
    none = variance <= (1e-6 * inside.detach().abs().amax(1, keepdim=True)).square()
    return (inside / variance.masked_fill(none, 1.0).sqrt()).masked_fill(out, OUT)
