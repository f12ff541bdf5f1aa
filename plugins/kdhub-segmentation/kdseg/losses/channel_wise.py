"""Channel-wise distillation: Kullback-Leibler divergence between distributions over the positions of a map."""

from __future__ import annotations

from torch import Tensor, nn

from kdhub.api import UsageError, channel_wise_kl, integer, number, require
from kdseg.losses._logits import VOID, aligned_labels, aligned_logits, labels_at_cells


class ChannelWiseKD(nn.Module):
    """Divergence of where the student sees each class from where the teacher sees it (CWD).

    In each channel of each image the logits of all positions become a distribution: ``p = softmax_i(t[b,c,i]/τ)`` and
    ``q = softmax_i(s[b,c,i]/τ)``. ``L = τ²/(B·C) · Σ_b Σ_c Σ_i p (log p − log q)``. Positions where the teacher's class
    stands out count most, so the background of a class teaches little.

    Args:
        temperature: Divides both sides before the softmax. 1.0, the default, is that of mmrazor's configs for logits. Higher
            ones widen what counts of each class beyond its peaks; the factor ``τ²`` keeps the size of the gradient about
            the same.
        ignore_index: Label of void pixels; looked at only with ``labels``.

    Inputs:
        student_logits: ``(B, C, h, w)`` before upsampling, at least 2 positions; any float type, raised to float32.
        teacher_logits: ``(B, C, H, W)`` of the same crops; takes no gradient; resized bilinearly to ``h, w`` if need be.
        labels: Optional, ``(B, H, W)`` or ``(B, 1, H, W)`` integers. With them, positions whose centre is void are left
            out of both softmaxes: padding, on which a teacher may answer anything, else takes its share of each class. An
            image that is void throughout adds 0. Without them every position counts, as in the paper.

    References:
        - Shu et al., "Channel-wise Knowledge Distillation for Dense Prediction", arXiv 2011.13256, equations 4 and 5.
        - Reduction as in mmrazor's ``ChannelWiseDivergence``, so that its weights hold.

    Requirements:
        The same classes in the same order on both sides. Raw logits of the same crop, not upsampled: the loss does not grow
        with the map, but its time does.

    Relations:
        - `PixelKD` asks at each position which class it has, this loss asks of each class where it is: a constant added to
          a channel changes nothing here, one added to a position changes nothing there.
        - `BPKDLoss` takes this loss for the bodies of regions, and `PixelKD`'s softmax for their edges.

    Example:
        CWD on the last classifier convolution, with the weight of mmrazor's configs; ``batch`` can be left out::

            channels=dict(
                loss=dict(type='kdseg.ChannelWiseKD'),
                student='decode_head.conv_seg',
                teacher='decode_head.conv_seg',
                batch=dict(labels='data_samples.gt_sem_seg.data'),
                weight=5.0)
    """

    def __init__(self, temperature: float = 1.0, ignore_index: int = VOID) -> None:
        super().__init__()
        require("ChannelWiseKD", number(above=0), temperature=temperature)
        require("ChannelWiseKD", integer(), ignore_index=ignore_index)
        self.temperature = temperature
        self.ignore_index = ignore_index
        self._checked_labels = False

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor | None = None) -> Tensor:
        """Compare logit maps of the same crops; see the class for the inputs."""
        student, teacher = aligned_logits("ChannelWiseKD", student_logits, teacher_logits)
        if student.shape[-2:].numel() < 2:
            raise UsageError(
                "ChannelWiseKD compares positions: over one the softmax is constant, and loss and gradient would be 0",
                expected="maps of 2 positions or more",
                got=f"student {tuple(student.shape)}",
                fix="tap the logits before any global pooling",
            )
        valid = None
        if labels is not None:
            check_values = student.is_cpu or not self._checked_labels
            labels = aligned_labels(
                "ChannelWiseKD", labels, student, ignore_index=self.ignore_index, check_values=check_values
            )
            self._checked_labels = True
            valid = labels_at_cells(labels, student.shape[-2:]) != self.ignore_index
        require("ChannelWiseKD", number(above=0), temperature=self.temperature)  # a schedule may have made it 0
        return channel_wise_kl(student, teacher, self.temperature, valid)
