"""BPKD: logit maps split at class boundaries, edges compared pixel by pixel and bodies channel by channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdhub.api import UsageError, choice, divergence, integer, number, require
from kdseg.losses._logits import VOID, aligned_labels, aligned_logits
from kdseg.masks import VOID_RULES, pooled_edge_masks, require_window

_NORMALIZERS = ("count", "sum")
_REDUCTIONS = ("sum", "mean_present")
_BODIES = ("multiply", "exclude")

_NOWHERE = -1e30
"""Logit of a position outside the body: probability 0. Finite, so that a row with no position left gives 0 and not NaN."""


class BPKDLoss(nn.Module):
    """Splits both networks' logits by a soft edge mask from the labels, and compares each part in its own way.

    With ``M`` in [0, 1] the share of a cell that lies at a boundary of class c: at the edges, ``φ_i = τ² · KL`` of the class
    distributions of ``Z ⊙ M`` at position i, and ``L_E = 1/B Σ_b Σ_c (α_c / n_bc) Σ_i φ_i M_ci`` with ``n_bc`` the number of
    cells where ``M > 0``; in the bodies, ``L_B = τ²/(B·C) Σ KL`` of the spatial distributions of ``Z ⊙ (1 − M)``, class by
    class. Teacher first in each KL.

    Args:
        edge_weight: Factor of ``loss_edge``; at 0 the term is left out. 50 and 20 are the values of the method's users and mean what they should
            only with the default reductions.
        body_weight: Factor of ``loss_body``; at 0 the term is left out.
        alpha: Weight of each class at the edges: a number, or a list of C of them, to count small or rare classes more.
        temperature: τ of both parts. Above 1 the loss also teaches how unlikely the other classes are.
        window: Side of the square, in label pixels, that widens a boundary: the band is ``window - 1`` pixels wide. Odd;
            3 to 9 were tried by the authors. Objects thinner than it are all edge.
        edge_normalizer: What a class's edge loss is divided by: ``'count'`` of cells with ``M > 0``, or the ``'sum'`` of M,
            which weighs thinly covered cells like full ones.
        edge_class_reduction: ``'sum'`` over classes, so images with many classes count more, or ``'mean_present'``, the
            mean over those with an edge in the image; then raise ``edge_weight``.
        body_mask_mode: ``'multiply'`` leaves the edge cells in the spatial softmax, with logits drawn to 0; ``'exclude'``
            takes every cell with ``M > 0`` out of it.
        void_rule: What pixels without a class do to nearby edges: ``'window'``, ``'pixel'`` or ``'transition'``, as in
            `kdseg.masks.edge_masks`.
        ignore_index: Label of pixels without a class.

    Inputs:
        student_logits: ``(B, C, h, w)`` from the last classifier convolution, before upsampling; C ≥ 2. Any float type;
            raised to float32.
        teacher_logits: The same point of the teacher, for the same crop; resized to ``h, w`` if its stride differs. Takes
            no gradient.
        labels: ``(B, H, W)`` or ``(B, 1, H, W)``, integers, of that crop after augmentation: ``0..C-1`` or
            ``ignore_index``. Cells with a pixel of the latter teach nothing.

    References:
        Liu et al., "BPKD: Boundary Privileged Knowledge Distillation for Semantic Segmentation", WACV 2024, arXiv
        2306.08075. The authors published no training code; where re-implementations disagree the other reading is an
        argument.

    Requirements:
        The same classes in the same order on both sides, and a teacher that sees the student's crop. Labels cost no
        forward pass, but cached teacher logits cannot follow random crops.

    Relations:
        - `ChannelWiseKD` is the body term with no mask; choose it where labels are missing.
        - `PixelKD` compares all positions as the edge term does its own.

    Example:
        ::

            boundary=dict(
                loss=dict(type='kdseg.BPKDLoss'),
                student='decode_head.conv_seg',
                teacher='decode_head.conv_seg')
    """

    alpha: Any  # a number, or what `_class_weights` holds as a tensor
    _class_weights: Tensor | None

    def __init__(
        self,
        edge_weight: float = 50.0,
        body_weight: float = 20.0,
        alpha: float | Sequence[float] = 2.0,
        temperature: float = 1.0,
        window: int = 7,
        edge_normalizer: str = "count",
        edge_class_reduction: str = "sum",
        body_mask_mode: str = "multiply",
        void_rule: str = "window",
        ignore_index: int = VOID,
    ) -> None:
        super().__init__()
        require("BPKDLoss", number(at_least=0), edge_weight=edge_weight, body_weight=body_weight)
        for value in alpha if isinstance(alpha, list | tuple) else [alpha]:
            require("BPKDLoss", number(at_least=0), alpha=value)
        require("BPKDLoss", number(above=0), temperature=temperature)
        require_window("BPKDLoss", window)
        require("BPKDLoss", choice(_NORMALIZERS), edge_normalizer=edge_normalizer)
        require("BPKDLoss", choice(_REDUCTIONS), edge_class_reduction=edge_class_reduction)
        require("BPKDLoss", choice(_BODIES), body_mask_mode=body_mask_mode)
        require("BPKDLoss", choice(VOID_RULES), void_rule=void_rule)
        require("BPKDLoss", integer(), ignore_index=ignore_index)
        self.edge_weight = edge_weight
        self.body_weight = body_weight
        self.alpha = alpha
        weights = torch.tensor(alpha, dtype=torch.float32) if isinstance(alpha, list | tuple) else None
        self.register_buffer("_class_weights", weights, persistent=False)
        self.temperature = temperature
        self.window = window
        self.edge_normalizer = edge_normalizer
        self.edge_class_reduction = edge_class_reduction
        self.body_mask_mode = body_mask_mode
        self.void_rule = void_rule
        self.ignore_index = ignore_index
        self._checked_labels = False

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return ``loss_edge`` and ``loss_body``, weighted, without one of weight 0; see the class for the inputs.

        Raises:
            UsageError: For logits or labels that do not belong together, unknown labels, one class only, an ``alpha`` of
                another length, or a scheduled temperature that is not positive.
        """
        require("BPKDLoss", number(above=0), temperature=self.temperature)
        student, teacher = aligned_logits("BPKDLoss", student_logits, teacher_logits)
        classes = student.shape[1]
        if classes < 2:
            raise UsageError(
                "BPKDLoss needs at least 2 classes: over one the softmax is constant, and the edge loss would be 0",
                expected="(B, C, h, w) with C from 2",
                got=str(tuple(student.shape)),
                fix="out_channels=2 in the decode head, with background as a class",
            )
        check_values = student.is_cpu or not self._checked_labels
        aligned_labels("BPKDLoss", labels, student, ignore_index=self.ignore_index, check_values=check_values)
        self._checked_labels = True
        masks = pooled_edge_masks(
            # the tensor as it came: masks are remembered by its identity
            labels,
            classes,
            (student.shape[-2], student.shape[-1]),
            window=self.window,
            void_rule=self.void_rule,
            ignore_index=self.ignore_index,
        )
        # the objective leaves autocast before it calls a loss; whoever calls this one alone may not
        with torch.autocast(student.device.type, enabled=False):
            edge, body = bpkd_loss(
                student,
                teacher,
                masks.edge,
                masks.valid,
                alpha=self._alpha_of(classes),
                temperature=self.temperature,
                edge_normalizer=self.edge_normalizer,
                edge_class_reduction=self.edge_class_reduction,
                body_mask_mode=self.body_mask_mode,
            )
        weighted = {"loss_edge": (self.edge_weight, edge), "loss_body": (self.body_weight, body)}
        return {name: weight * term for name, (weight, term) in weighted.items() if weight}

    def _alpha_of(self, classes: int) -> Tensor | float:
        if self._class_weights is None:
            return self.alpha
        if len(self._class_weights) != classes:
            raise UsageError(
                "BPKDLoss: alpha is a list of another length than the classes",
                expected=f"a number, or a list of {classes}",
                got=f"a list of {len(self._class_weights)}",
            )
        return self._class_weights


def bpkd_loss(
    student: Tensor,
    teacher: Tensor,
    edge: Tensor,
    valid: Tensor,
    *,
    alpha: float | Tensor = 2.0,
    temperature: float = 1.0,
    edge_normalizer: str = "count",
    edge_class_reduction: str = "sum",
    body_mask_mode: str = "multiply",
) -> tuple[Tensor, Tensor]:
    """Compute the two terms of `BPKDLoss`, unweighted, as scalars.

    Args:
        student: Logits ``(B, C, h, w)``, float32 or wider.
        teacher: The student's shape; takes no gradient.
        edge: ``(B, C, h, w)`` in [0, 1], 0 where not valid.
        valid: ``(B, 1, h, w)`` bool.
        alpha: A number, or ``(C,)``.
        temperature: τ.
        edge_normalizer: As for `BPKDLoss`.
        edge_class_reduction: As for `BPKDLoss`.
        body_mask_mode: As for `BPKDLoss`.

    Returns:
        ``L_E`` and ``L_B`` of the paper.
    """
    images, classes = student.shape[:2]
    weight = _cell_weight(edge, alpha, edge_normalizer, edge_class_reduction)
    factor = edge if temperature == 1 else edge / temperature
    loss_edge = (divergence(student, teacher, 1, factor=factor) * weight).sum()

    if body_mask_mode == "exclude":
        valid = valid & (edge == 0)
        factor = valid / temperature
    else:
        # 1 − M where valid, and 0 elsewhere since M is 0 there, over the temperature
        factor = valid / temperature - factor
    offset = torch.where(valid, 0.0, _NOWHERE).to(student.dtype)
    student, teacher, factor, offset = (values.flatten(2) for values in (student, teacher, factor, offset))
    loss_body = divergence(student, teacher, -1, factor=factor, offset=offset).sum()
    return loss_edge * (temperature**2 / max(images, 1)), loss_body * (temperature**2 / max(images * classes, 1))


def _cell_weight(edge: Tensor, alpha: float | Tensor, normalizer: str, reduction: str) -> Tensor:
    """Add up the factors of a cell's divergence over the classes, ``Σ_c (α_c / n_c) M_c``: ``(B, h, w)``.

    The divergence of a cell is the same for all classes, so it need not be repeated for each.
    """
    # rounding up makes 1 of every share above 0
    amount = (edge.ceil() if normalizer == "count" else edge).sum((2, 3))
    present = amount > 0
    by_class = alpha / torch.where(present, amount, 1.0)
    if reduction == "mean_present":
        by_class = by_class / present.sum(1, keepdim=True).clamp(min=1)
    return (by_class.unsqueeze(1) @ edge.flatten(2)).view(edge.shape[0], *edge.shape[2:])
