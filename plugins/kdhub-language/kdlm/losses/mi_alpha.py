"""MI-α and its siblings: the student's states should tell which sample of the batch the teacher's states are of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kdhub.api import UsageError, choice, describe, integer, number, require, to_float32
from kdlm.layer_maps import layer_map
from kdlm.losses.mi_bounds import mi_alpha


class _MutualInformation(nn.Module):
    """What the bounds share: layers, pooling, a critic of two towers and a baseline.

    Args:
        alpha: Of the bound; see `mi_alpha`.
        baseline: Whether log q is learned from the anchor's side, or 1.
    """

    learned_baseline: ClassVar[bool]
    depends_on_split = "samples"

    def __init__(
        self,
        alpha: float,
        teacher_width: int,
        student_width: int,
        teacher_layers: int,
        student_layers: int,
        layers: str,
        pooling: str,
        rows: str,
        hidden: int,
        output: int,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        require(
            owner, integer(1), teacher_width=teacher_width, student_width=student_width, hidden=hidden, output=output
        )
        require(owner, choice(("first", "mean")), pooling=pooling)
        require(owner, choice(("teacher", "student")), rows=rows)
        self.alpha = alpha
        self.teacher_width, self.student_width = teacher_width, student_width
        self.teacher_layers, self.student_layers = teacher_layers, student_layers
        self.layers = layers
        self.pairs = layer_map(layers, teacher_layers, student_layers)
        self.pooling = pooling
        self.rows = rows
        self.hidden = hidden
        self.output = output
        self.of_teacher = _tower(teacher_width, hidden, output)
        self.of_student = _tower(student_width, hidden, output)
        self.baseline = _tower(teacher_width, hidden, 1) if self.learned_baseline else None

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """Return minus the bound, summed over the pairs of layers; see the class for the inputs.

        Raises:
            UsageError: For fewer hidden states than the layers ask for, or of another width.
        """
        ours = self._states("student", student, self.student_layers, self.student_width)
        theirs = self._states("teacher", teacher, self.teacher_layers, self.teacher_width)
        total = torch.zeros((), device=ours[0].device)
        for of_teacher, of_student in self.pairs:
            anchor = self._pooled(theirs[of_teacher], mask).detach()
            total = total - self._bound(anchor, self._pooled(ours[of_student], mask))
        return total

    def _bound(self, teacher: Tensor, student: Tensor) -> Tensor:
        """Return the bound of pooled states (B, H_T) and (B, H_S)."""
        scores = self.of_teacher(teacher) @ self.of_student(student).T
        log_baseline = teacher.new_ones(len(teacher)) if self.baseline is None else self.baseline(teacher).squeeze(1)
        return mi_alpha(scores if self.rows == "teacher" else scores.T, log_baseline, self.alpha)

    def _pooled(self, state: Tensor, mask: Tensor | None) -> Tensor:
        state = to_float32(state)
        if mask is not None and mask.shape != state.shape[:2]:
            raise UsageError(
                f"{type(self).__name__}: the mask is of other tokens than the hidden states",
                expected=f"({len(state)}, {state.shape[1]})",
                got=str(tuple(mask.shape)),
                fix="let both sides read the same tokens",
            )
        if self.pooling == "first":
            if mask is None:
                return state[:, 0]
            # where texts are padded on the left
            return state[torch.arange(len(state), device=state.device), (mask != 0).int().argmax(1)]
        real = torch.ones_like(state[..., :1], dtype=torch.bool) if mask is None else (mask != 0).unsqueeze(2)
        return torch.where(real, state, 0.0).sum(1) / real.sum(1).clamp(min=1)

    def _states(self, side: str, states: Any, layers: int, width: int) -> Sequence[Tensor]:
        if isinstance(states, list | tuple) and len(states) == layers + 1 and states[0].shape[-1] == width:
            return states
        raise UsageError(
            f"{type(self).__name__}: other hidden states than those of the {side} it was made for",
            expected=f"a tuple of {layers + 1} tensors (B, L, {width})",
            got=describe(states),
            fix=f"set {side}_layers and {side}_width to the model's, and tap dict(type='kdlm.HiddenStates')",
        )


class MIAlpha(_MutualInformation):
    """Minus a lower bound of the mutual information of teacher's and student's states, which α tunes between bias and variance.

    A critic scores each pair of a teacher state and a student state of the batch, ``F_ij = ⟨g(h^T_i), h(h^S_j)⟩``; ``L = −Σ_pairs I_α``, see
    `kdlm.losses.mi_bounds.mi_alpha`. Critic and baseline train with the student and are dropped after training.

    Args:
        teacher_width: H of the teacher's hidden states.
        student_width: H of the student's; the critic bridges the difference.
        teacher_layers: Layers of the teacher, without the embeddings.
        student_layers: Layers of the student.
        alpha: 0.9, the default, is what the released grid searches with. Larger: less variance, more bias, at most log(K − 1) for K samples.
            Smaller: the reverse; below 0.01 the exponential of a large score explodes.
        layers: How layers are paired: ``'skip'`` or ``'last'``, see `kdlm.layer_maps.layer_map`. All pairs share one critic.
        pooling: What of a sample is compared: ``'first'`` position, as the formulas of the study do, or the ``'mean'`` over real tokens.
        rows: Which side the rows of F are: ``'teacher'``, as in the formulas, or ``'student'``, as in the released code. The negatives of a
            row are the batch's states of the other side.
        hidden: Width of the critic's hidden layer; 512 is the authors'.
        output: Width of the critic's towers; 64 is the authors' for their MLP critic.

    Inputs:
        student: All hidden states, a tuple of N_S + 1 tensors (B, L, H_S), as the tap `kdlm.HiddenStates` reads them.
        teacher: A tuple of N_T + 1 tensors (B, L', H_T); takes no gradient. Without a mask L' may be another length, as states are pooled.
        mask: Optional (B, L), not zero at real tokens, the same of both sides; in a run it is the batch's ``inputs.attention_mask``.

    References:
        - He et al., "Distiller: A Systematic Study of Model Distillation Methods in Natural Language Processing", arXiv 2109.11105.
        - Poole et al., "On Variational Bounds of Mutual Information", arXiv 1905.06922, the interpolated bound.

    Requirements:
        The first position of a decoder has read one token only: take ``pooling='mean'`` there.
        2 samples a batch, rather 16 or more; a batch of one gives 0. Equal samples in a batch are false negatives.

    Relations:
        - `InfoNCE` is α = 1; `NWJ` α = 0 with the baseline e; `TUBA` α = 0 with a learned one.
        - `kdhub.MSE` with `kdhub.Linear` asks for the states themselves.

    Example:
        ::

            objectives=dict(
                states=dict(
                    loss=dict(type='kdlm.MIAlpha', teacher_width=768, student_width=256, teacher_layers=12, student_layers=4),
                    student=dict(type='kdlm.HiddenStates'),
                    teacher=dict(type='kdlm.HiddenStates')))
    """

    learned_baseline = True

    def __init__(
        self,
        teacher_width: int,
        student_width: int,
        teacher_layers: int,
        student_layers: int,
        alpha: float = 0.9,
        layers: str = "skip",
        pooling: str = "first",
        rows: str = "teacher",
        hidden: int = 512,
        output: int = 64,
    ) -> None:
        require("MIAlpha", number(at_least=0), alpha=alpha)
        if alpha > 1:
            raise UsageError("MIAlpha: bad alpha", expected="a number from 0 to 1", got=repr(alpha))
        super().__init__(
            alpha, teacher_width, student_width, teacher_layers, student_layers, layers, pooling, rows, hidden, output
        )


class _FixedAlpha(_MutualInformation):
    """A bound without a number to tune."""

    fixed: ClassVar[float]

    def __init__(
        self,
        teacher_width: int,
        student_width: int,
        teacher_layers: int,
        student_layers: int,
        layers: str = "skip",
        pooling: str = "first",
        rows: str = "teacher",
        hidden: int = 512,
        output: int = 64,
    ) -> None:
        super().__init__(
            self.fixed,
            teacher_width,
            student_width,
            teacher_layers,
            student_layers,
            layers,
            pooling,
            rows,
            hidden,
            output,
        )


class InfoNCE(_FixedAlpha):
    """Minus the leave-one-out contrastive bound of mutual information: `MIAlpha` with α = 1, which needs no baseline.

    ``L = −Σ_pairs mean_i (F_ii − mean_{j≠i} M_ij)``: at least −log(K − 1) a pair of layers.

    Args:
        teacher_width: As for `MIAlpha`, and so all others; the least variance and the most bias of the family.
        student_width: See there.
        teacher_layers: See there.
        student_layers: See there.
        layers: See there.
        pooling: See there.
        rows: See there.
        hidden: See there.
        output: See there.

    Inputs:
        student: A tuple of N_S + 1 tensors (B, L, H_S).
        teacher: A tuple of N_T + 1 tensors (B, L', H_T); takes no gradient.
        mask: Optional (B, L), not zero at real tokens.

    References:
        - van den Oord et al., "Representation Learning with Contrastive Predictive Coding", arXiv 1807.03748; in the form of Poole et al.,
          arXiv 1905.06922.

    Requirements:
        Large batches: the bound cannot exceed log(K − 1).

    Relations:
        - `MIAlpha` with ``alpha=1.0`` has the same value, and a baseline that does nothing.

    Example:
        ::

            loss=dict(type='kdlm.InfoNCE', teacher_width=768, student_width=256, teacher_layers=12, student_layers=4)
    """

    learned_baseline, fixed = False, 1.0


class NWJ(_FixedAlpha):
    """Minus the bound of Nguyen, Wainwright and Jordan: `MIAlpha` with α = 0 and the baseline e.

    ``L = −Σ_pairs ( mean_i F_ii − e^{−1} mean_{i≠j} e^{F_ij} )``: no bias, much variance.

    Args:
        teacher_width: As for `MIAlpha`, and so all others.
        student_width: See there.
        teacher_layers: See there.
        student_layers: See there.
        layers: See there.
        pooling: See there.
        rows: See there.
        hidden: See there.
        output: See there.

    Inputs:
        student: A tuple of N_S + 1 tensors (B, L, H_S).
        teacher: A tuple of N_T + 1 tensors (B, L', H_T); takes no gradient.
        mask: Optional (B, L), not zero at real tokens.

    References:
        - Nguyen, Wainwright and Jordan, "Estimating Divergence Functionals and the Likelihood Ratio by Convex Risk Minimization", IEEE
          Transactions on Information Theory 2010; in the form of Poole et al., arXiv 1905.06922.

    Requirements:
        Small scores: the exponential explodes. Clip gradients, or normalise the states.

    Relations:
        - `TUBA` learns the baseline.

    Example:
        ::

            loss=dict(type='kdlm.NWJ', teacher_width=768, student_width=256, teacher_layers=12, student_layers=4)
    """

    learned_baseline, fixed = False, 0.0


class TUBA(_FixedAlpha):
    """Minus the unnormalised bound with a learned baseline: `MIAlpha` with α = 0.

    ``L = −Σ_pairs ( 1 + mean_i (F_ii − log q_i) − mean_{i≠j} e^{F_ij − log q_i} )``.

    Args:
        teacher_width: As for `MIAlpha`, and so all others.
        student_width: See there.
        teacher_layers: See there.
        student_layers: See there.
        layers: See there.
        pooling: See there.
        rows: See there.
        hidden: See there.
        output: See there.

    Inputs:
        student: A tuple of N_S + 1 tensors (B, L, H_S).
        teacher: A tuple of N_T + 1 tensors (B, L', H_T); takes no gradient.
        mask: Optional (B, L), not zero at real tokens.

    References:
        - Barber and Agakov, "The IM Algorithm", NeurIPS 2003; in the form of Poole et al., arXiv 1905.06922.

    Requirements:
        As `NWJ`.

    Relations:
        - `MIAlpha` with ``alpha=0.0`` is the same.

    Example:
        ::

            loss=dict(type='kdlm.TUBA', teacher_width=768, student_width=256, teacher_layers=12, student_layers=4)
    """

    learned_baseline, fixed = True, 0.0


def _tower(inputs: int, hidden: int, output: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, output))
