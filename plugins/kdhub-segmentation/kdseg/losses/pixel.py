"""Pixel-wise distillation: each position of the logit map as one classification."""

from __future__ import annotations

from torch import Tensor

from kdhub.api import MaskedLoss, integer, number, require, temperature_kl
from kdseg.losses._logits import VOID, aligned_labels, aligned_logits, labels_at_cells


class PixelKD(MaskedLoss):
    """Divergence of the class the student gives each position from the class the teacher gives it.

    With ``p = softmax_c(t[b,:,i]/τ)`` and ``q = softmax_c(s[b,:,i]/τ)``: ``L = τ² · mean_{b,i} Σ_c p (log p − log q)``, over
    the positions that count: `kdhub.TemperatureKL` on maps that are first brought to one size, and void left out.

    Args:
        temperature: Divides both sides before the softmax. 1.0, the default, is the paper's: with thousands of positions an
            image, classes alike already show from position to position.
        ignore_index: Label of void pixels; looked at only with ``labels``.
        reduction: ``'positions'``, the default and the paper's, is a mean over all positions of the batch that count.
            ``'samples'`` takes it image by image, and then over all images: gradients that are accumulated, or averaged over
            processes, are then those of the whole batch however much of each image is void.

    Inputs:
        student_logits: ``(B, C, h, w)`` before upsampling, at least 2 classes; any float type, raised to float32.
        teacher_logits: ``(B, C, H, W)`` of the same crops; takes no gradient; resized bilinearly to ``h, w`` if need be.
        labels: Optional, ``(B, H, W)`` or ``(B, 1, H, W)`` integers. With them a position counts only if the pixel at its
            centre is not void: nobody told the teacher what is right there, and padding teaches nothing. If all are
            void, the loss is an exact 0.

    References:
        - Liu et al., "Structured Knowledge Distillation for Semantic Segmentation", arXiv 1903.04197, equation 1.
        - Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv 1503.02531.

    Requirements:
        The same classes in the same order on both sides. Raw logits of the same crop.

    Relations:
        - `ChannelWiseKD` compares the positions of a class instead of the classes of a position.
        - `BPKDLoss` does so near class boundaries only, where most of a student's errors are.
        - Papers differ in the mean: a mean over positions **and** classes, as torch's ``KLDivLoss()`` takes by default, is
          smaller by C; multiply its published weight by 1/C.

    Example:
        On the last classifier convolution; a weight of 1 is a good start, since loss and cross entropy are both nats per
        position; ``batch`` can be left out::

            pixels=dict(
                loss=dict(type='kdseg.PixelKD'),
                student='decode_head.conv_seg',
                teacher='decode_head.conv_seg',
                batch=dict(labels='data_samples.gt_sem_seg.data'),
                weight=1.0)
    """

    def __init__(self, temperature: float = 1.0, ignore_index: int = VOID, reduction: str = "positions") -> None:
        super().__init__(reduction)
        require("PixelKD", number(above=0), temperature=temperature)
        require("PixelKD", integer(), ignore_index=ignore_index)
        self.temperature = temperature
        self.ignore_index = ignore_index
        self._checked_labels = False

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor | None = None) -> Tensor:
        """Compare logit maps of the same crops; see the class for the inputs."""
        student, teacher = aligned_logits("PixelKD", student_logits, teacher_logits)
        mask = None
        if labels is not None:
            check_values = student.is_cpu or not self._checked_labels
            labels = aligned_labels(
                "PixelKD", labels, student, ignore_index=self.ignore_index, check_values=check_values
            )
            self._checked_labels = True
            mask = labels_at_cells(labels, student.shape[-2:]) != self.ignore_index
        return temperature_kl(
            student,
            teacher,
            mask,
            student_temperature=self.temperature,
            teacher_temperature=self.temperature,
            class_axis=1,
            reduction=self.reduction,
        )
