"""Intermediate distillation of MLKD: for each token, each student layer follows the teacher layers that are closest to it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdhub.api import (
    FLAG,
    MaskedLoss,
    UsageError,
    choice,
    describe,
    integer,
    masked_mean,
    optional,
    require,
    to_float32,
)
from kdood.losses.projection import LayerProjection

_ONE = math.log(math.e - 1)
"""What softplus makes 1 of."""


class AdaptiveLayerKD(MaskedLoss):
    """Distance of each student layer to the K teacher layers that are closest to it, chosen anew for each token.

    With ``D[l, j] = (1/H) ‖W h^T_j + b − h^S_l‖²`` of one token, and ``D_(1) ≤ D_(2) ≤ ...`` its values over the teacher's layers:
    ``L = (1/A) Σ_{tokens} Σ_l Σ_{k≤K} β_{l,k} D_(k)[l]``. The choice takes no gradient; the chosen distances do. The defaults are those
    of the authors' code. The paper's formula is ``distance='norm', shared_projection=False, aggregate='mean',
    layer_weights='softplus'``, as far as it is known.

    Args:
        teacher_width: H of the teacher's hidden states.
        student_width: H of the student's; ``None`` for the teacher's.
        student_layers: First and last hidden state of the student that is taught, both included; 0 is the output of the embeddings.
            (3, 9), the default, is the authors' for 12 layers.
        teacher_layers: First and last hidden state of the teacher to choose from; (1, 12) is the authors'.
        nearest: K. 2, the default, is the authors'. ``None`` takes all: with ``student_layers=(12, 12)`` that is their mode "last".
        distance: ``'mse'``; ``'norm'``, the root of the sum of squares; ``'kl'``, between softmaxes over the hidden axis.
        projection: Which side a linear map brings to the other's width: ``'teacher'``, the authors' choice; ``'student'``; ``'both'``, two
            maps to the student's width; ``'none'``, which needs equal widths. It trains, and is dropped after training.
        shared_projection: One map for all layers of a side, as in the code, or one for each.
        layer_weights: ``'fixed'``: β = 1. ``'softplus'`` and ``'softmax'`` train β, which starts at 1 and stays positive: a weight that may
            turn negative drives the loss to −∞. ``'softmax'`` keeps the mean of a layer's β at 1.
        aggregate: ``'sum'`` adds up the K distances of a layer; ``'mean'`` averages them. Layers are always added up.
        reduction: ``'positions'``: mean over all real tokens. ``'samples'``: first within each text, then over texts.

    Inputs:
        student: All hidden states, a tuple of N_S + 1 tensors (B, L, H_S), as the tap `kdlm.HiddenStates` reads them.
        teacher: A tuple of N_T + 1 tensors (B, L, H_T); takes no gradient.
        mask: Optional (B, L), not zero at real tokens; in a run it is the batch's ``inputs.attention_mask``.

    References:
        - Wu et al., "Multi-Level Knowledge Distillation for Out-of-Distribution Detection in Text", ACL 2023, arXiv 2211.11300;
          authors' code microsoft/KC, papers/MLKD_OOD, mode "middle" with distance "linear teacher MSE".

    Requirements:
        The same tokens on both sides: one tokenizer, and ``batch="student"`` on the teacher.

    Relations:
        - `PredictionKD` stands beside it, both with weight 1, in MLKD.
        - `kdhub.MSE` with `kdhub.Linear` compares one pair of layers that you choose.

    Example:
        ::

            objectives=dict(
                layers=dict(
                    loss=dict(type='kdood.AdaptiveLayerKD', teacher_width=768),
                    student=dict(type='kdlm.HiddenStates'),
                    teacher=dict(type='kdlm.HiddenStates')))
    """

    def __init__(
        self,
        teacher_width: int,
        student_width: int | None = None,
        student_layers: Sequence[int] = (3, 9),
        teacher_layers: Sequence[int] = (1, 12),
        nearest: int | None = 2,
        distance: str = "mse",
        projection: str = "teacher",
        shared_projection: bool = True,
        layer_weights: str = "fixed",
        aggregate: str = "sum",
        reduction: str = "positions",
    ) -> None:
        super().__init__(reduction)
        require("AdaptiveLayerKD", integer(1), teacher_width=teacher_width)
        require("AdaptiveLayerKD", optional(integer(1)), student_width=student_width, nearest=nearest)
        require("AdaptiveLayerKD", choice(("mse", "norm", "kl")), distance=distance)
        require("AdaptiveLayerKD", choice(("teacher", "student", "both", "none")), projection=projection)
        require("AdaptiveLayerKD", choice(("fixed", "softplus", "softmax")), layer_weights=layer_weights)
        require("AdaptiveLayerKD", choice(("sum", "mean")), aggregate=aggregate)
        require("AdaptiveLayerKD", FLAG, shared_projection=shared_projection)
        self.student_layers = _range("student_layers", student_layers)
        self.teacher_layers = _range("teacher_layers", teacher_layers)
        ours, theirs = (last - first + 1 for first, last in (self.student_layers, self.teacher_layers))
        if nearest is not None and nearest > theirs:
            raise UsageError(
                "AdaptiveLayerKD: bad nearest", expected=f"up to {theirs} teacher layers", got=str(nearest)
            )
        self.nearest = nearest
        self.teacher_width = teacher_width
        self.student_width = teacher_width if student_width is None else student_width
        if projection == "none" and self.student_width != teacher_width:
            raise UsageError(
                "AdaptiveLayerKD: without a projection both sides have one width",
                got=f"student {self.student_width}, teacher {teacher_width}",
                fix="set projection='teacher'",
            )
        self.distance = distance
        self.aggregate = aggregate
        common = teacher_width if projection == "student" else self.student_width
        self.of_student = self.of_teacher = None
        if projection in ("student", "both"):
            self.of_student = LayerProjection(1 if shared_projection else ours, self.student_width, common)
        if projection in ("teacher", "both"):
            self.of_teacher = LayerProjection(1 if shared_projection else theirs, teacher_width, common)
        self.layer_weights = layer_weights
        if layer_weights != "fixed":
            start = _ONE if layer_weights == "softplus" else 0.0
            self.raw_weights = nn.Parameter(torch.full((ours, nearest or theirs), start))

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """Compare hidden states of the same tokens; see the class for the inputs.

        Raises:
            UsageError: For fewer hidden states than the layers ask for, another width, and a mask of another shape.
        """
        ours = _states("student", student, self.student_layers, self.student_width)
        theirs = _states("teacher", teacher, self.teacher_layers, self.teacher_width)
        tokens = ours[0].shape[:2]
        if theirs[0].shape[:2] != tokens or (mask is not None and mask.shape != tokens):
            raise UsageError(
                "AdaptiveLayerKD compares the same tokens",
                expected=f"teacher (B, L) = {tuple(tokens)} and mask {tuple(tokens)}",
                got=f"teacher {tuple(theirs[0].shape[:2])}, mask {None if mask is None else tuple(mask.shape)}",
                fix='give the teacher batch="student"',
            )
        real = torch.ones(tokens, dtype=torch.bool, device=ours[0].device) if mask is None else mask != 0
        values = self._of_tokens(
            torch.stack([to_float32(state[real]) for state in ours]),
            torch.stack([to_float32(state[real]).detach() for state in theirs]),
        )
        return masked_mean(values.new_zeros(tokens).masked_scatter(real, values), real, self.reduction)

    def _of_tokens(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """Return the loss of each token (A,) from layers (S, A, H_S) and (T, A, H_T)."""
        ours = ours if self.of_student is None else self.of_student(ours)
        theirs = theirs if self.of_teacher is None else self.of_teacher(theirs)
        if self.distance == "kl":
            ours, theirs = ours.log_softmax(-1), theirs.log_softmax(-1)
        if self.nearest is None or self.nearest == len(theirs):
            chosen = theirs.unsqueeze(0)  # (1, T, A, H)
        else:
            with torch.no_grad():
                index = self._nearest(ours, theirs)  # (S, K, A)
            flat = index.reshape(-1, index.shape[2], 1).expand(-1, -1, theirs.shape[2])
            chosen = theirs.gather(0, flat).view(*index.shape, -1)  # (S, K, A, H)
        distances = self._distance(ours.unsqueeze(1), chosen)  # (S, K, A)
        weighted = distances * self._weights().unsqueeze(2) if self.layer_weights != "fixed" else distances
        return (weighted.sum(1) if self.aggregate == "sum" else weighted.mean(1)).sum(0)

    def _nearest(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """Choose the nearest K teacher layers (S, K, A), by products of matrices: no (S, T, A, H) is ever laid out."""
        if self.distance == "kl":
            p = theirs.exp()
            of_pairs = (p * theirs).sum(-1).T.unsqueeze(1) - _products(ours, p)
        else:
            middle = theirs.mean(0)  # differences stay, and large common parts of both sides no longer hide them
            ours, theirs = ours - middle, theirs - middle
            of_pairs = theirs.square().sum(-1).T.unsqueeze(1) - 2 * _products(
                ours, theirs
            )  # up to what all layers share
        return of_pairs.topk(self.nearest or 1, dim=2, largest=False).indices.permute(1, 2, 0)

    def _distance(self, ours: Tensor, chosen: Tensor) -> Tensor:
        if self.distance == "kl":
            return (chosen.exp() * (chosen - ours)).sum(-1)
        difference = chosen - ours
        if self.distance == "norm":
            return torch.linalg.vector_norm(difference, dim=-1)
        return difference.square().mean(-1)

    def _weights(self) -> Tensor:
        if self.layer_weights == "softplus":
            return nn.functional.softplus(self.raw_weights)
        return self.raw_weights.softmax(1) * self.raw_weights.shape[1]


def _products(ours: Tensor, theirs: Tensor) -> Tensor:
    """Inner products of each token's layers: (S, A, H) and (T, A, H) to (A, S, T)."""
    return ours.transpose(0, 1) @ theirs.permute(1, 2, 0)


def _range(name: str, layers: Sequence[int]) -> tuple[int, int]:
    pair = tuple(layers) if isinstance(layers, list | tuple) else ()
    if len(pair) != 2 or not all(map(integer(0).fits, pair)) or pair[0] > pair[1]:
        raise UsageError(
            f"AdaptiveLayerKD: bad {name}",
            expected="(first, last), whole numbers from 0, both included",
            got=repr(layers),
        )
    return pair[0], pair[1]


def _states(side: str, states: Sequence[Tensor], layers: tuple[int, int], width: int) -> list[Tensor]:
    first, last = layers
    if not isinstance(states, list | tuple) or len(states) <= last:
        raise UsageError(
            f"AdaptiveLayerKD: the {side} has too few hidden states",
            expected=f"{last + 1} or more, for {side}_layers=({first}, {last})",
            got=describe(states),
            fix=f"set {side}_layers to those of the model, and tap dict(type='kdlm.HiddenStates')",
        )
    chosen = list(states[first : last + 1])
    if chosen[0].ndim != 3 or chosen[0].shape[2] != width:
        raise UsageError(
            f"AdaptiveLayerKD: hidden states of another width on the {side}'s side",
            expected=f"(B, L, {width})",
            got=str(tuple(chosen[0].shape)),
            fix=f"set {side}_width to the model's hidden size",
        )
    return chosen
