"""One-for-all distillation: the teacher's probabilities with the true class lifted, for students of another architecture."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from kdcls.losses._logits import LogitLoss
from kdhub.api import choice, number, require

_FORMS = ("code", "paper")


class OFAKD(LogitLoss):
    """Soft cross-entropy whose weights are the teacher's probabilities, the true class's raised and the others' lowered.

    With p, q the softmax of t/τ and s/τ, m the one-hot label and e the exponent: ``L = mean_B Σ_c −[(p_c + m_c)^e − m_c] · log q_c``.
    A teacher of another family may be wrong about the other classes in ways that a student cannot follow; e > 1 says how
    little to trust it there. It is no divergence: its minimum is not 0.

    Args:
        exponent: e, from 1. 1.0 is the soft cross-entropy with the teacher; 1.5, the default, is the authors' for DeiT-T to ResNet-18 on
            ImageNet, 1.0 theirs for Swin-T to ResNet-18 on CIFAR-100. The paper finds 1.1 to 1.4 best, more for weaker teachers.
        temperature: τ of both softmaxes; there is no factor τ². 1.0, the default, is the authors'.
        form: ``'code'`` is the formula above, for use beside a cross-entropy of its own. ``'paper'`` is the paper's as second-hand
            sources have it: ``−(1 + p_y)^e log q_y − Σ_{c≠y} p_c log q_c``, which holds the cross-entropy already.
        reduction: ``'positions'``: mean over the samples that count; ``'samples'``: over all.
        ignore_index: Label of a sample without one, which does not count; -100 is what torch's cross-entropy leaves out.

    Inputs:
        student: Logits (B, C), of the student or of an exit branch (adapters `kdcls.ConvExit`, `kdcls.TokenExit`).
        teacher: The teacher's final logits (B, C); takes no gradient.
        labels: Classes (B,), integers; or soft labels (B, C), whose largest class is taken, the first of equal ones.
        mask: Optional, (B,) for samples, (B, C) or (1, C) for classes that are there.

    References:
        - Hao et al., "One-for-All: Bridge the Gap Between Heterogeneous Architectures in Knowledge Distillation", arXiv 2310.19444
          (NeurIPS 2023); code Hao840/OFAKD. Its ``log(softmax)`` is a ``log_softmax`` here.

    Requirements:
        Labels. One objective on the final logits, and one on each of four stages with an exit branch, all with weight 1. The authors
        clip gradients at 5.

    Relations:
        - `kdhub.TemperatureKL` with temperature 1 has the gradient of e = 1.
        - `DKD` also treats the true class apart.

    Example:
        The last stage of a convolutional student, taught by any teacher::

            objectives=dict(
                exit4=dict(
                    loss=dict(type='kdcls.OFAKD', exponent=1.5),
                    student='layer4',
                    teacher='head',
                    adapter=dict(type='kdcls.ConvExit', in_channels=512, width=512, num_classes=1000, halvings=0),
                    batch=dict(labels='labels')))
    """

    def __init__(
        self,
        exponent: float = 1.5,
        temperature: float = 1.0,
        form: str = "code",
        reduction: str = "positions",
        ignore_index: int = -100,
    ) -> None:
        super().__init__(reduction, ignore_index)
        require("OFAKD", number(at_least=1), exponent=exponent)
        require("OFAKD", number(above=0), temperature=temperature)
        require("OFAKD", choice(_FORMS), form=form)
        self.exponent = exponent
        self.temperature = temperature
        self.form = form

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare logits of one shape; see the class for the inputs."""
        require("OFAKD", number(at_least=1), exponent=self.exponent)
        require("OFAKD", number(above=0), temperature=self.temperature)
        if isinstance(labels, Tensor) and labels.is_floating_point() and labels.shape == student.shape:
            labels = labels.argmax(1)
        both = self.compared(student, teacher, mask, labels)
        p = (both.teacher / self.temperature).softmax(1)
        log_q = (both.student / self.temperature).log_softmax(1)
        label = functional.one_hot(both.labels, p.shape[1]).to(p.dtype)
        lifted = (p + label).pow(self.exponent)
        weights = lifted - label if self.form == "code" else lifted * label + p * (1 - label)
        return self.mean(-(weights * log_q).sum(1), both)
