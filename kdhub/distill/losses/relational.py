"""Relations between the samples of a batch, as the student and as the teacher see them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdhub.distill.arguments import FLAG, choice, number, optional, require
from kdhub.distill.losses.cosine import unit_vectors
from kdhub.distill.losses.reduction import masked_mean
from kdhub.errors import UsageError
from kdhub.values import to_float32

_SIMILARITIES = ("cosine", "dot", "distance")


class Relational(nn.Module):
    """Difference of two similarity matrices: samples that are alike for the teacher should be alike for the student.

    With ``A[i, j]`` the similarity of samples i and j: ``L = (1/n) Σ ℓ(A_S[i, j] − A_T[i, j])`` over the n ordered pairs
    that count; ``ℓ`` is the square, or smooth-L1 with ``beta``.

    Args:
        similarity: What relates two samples. ``'cosine'``, the default: bounded, so neither scale nor width of either side
            matters, and what a search by cosine ranks by. ``'dot'``: products, which keep the lengths within a batch.
            ``'distance'``: Euclidean, for spaces in which nearness is read off distances; its cost is B² · D without the
            speed of a matrix product.
        normalize: Whether to take the similarity's own published scaling: rows of products divided by their Euclidean norm,
            distances by their mean over the batch; cosines need none. Without it a student of another width or scale has
            to imitate the teacher's scale first.
        diagonal: Whether a sample's relation to itself counts. For cosines and distances it is the same on both sides
            and only dilutes the mean, the more the smaller the batch; hence no. For products it holds the lengths.
        beta: ``None`` squares the differences; a number takes smooth-L1 with that turning point, against single pairs
            that rule a batch.

    Inputs:
        student: ``(B, ...)``, all axes but the first flattened; any float type; raised to float32.
        teacher: ``(B, ...)``, the same samples in the same order; other axes may differ from the student's; takes no
            gradient.
        mask: Optional ``(B,)``, boolean or integer, not zero where a sample counts.

    References:
        - ``'dot'`` with ``diagonal=True``: Tung and Mori, "Similarity-Preserving Knowledge Distillation", arXiv 1907.09682,
          section 3.
        - ``'distance'`` with ``beta=1.0``: Park et al., "Relational Knowledge Distillation", arXiv 1904.05068, the
          distance-wise loss. Their released code averages over all B² entries: multiply the weight by (B − 1)/B for its value.

    Requirements:
        A batch that is large enough to hold informative pairs: with 2 samples there is one. Each process
        relates only its own samples, and so does each accumulated step: the gradient is not that of the whole batch, and
        the run warns of it. One sample alone, as in a last incomplete batch, has no pair: the loss is
        then exactly 0, and a batch size of 1 is caught by the run's guard of terms that stay 0.

    Relations:
        - `Cosine` and `MSE` match each sample's vector and need equal widths, so an adapter; this needs none, and leaves
          the student free to rotate its space. They can be used together.
        - `TemperatureKL` on score lists asks for the order of chosen candidates instead of all pairs of the batch.

    Example:
        Sentence embeddings of a narrower student::

            similarity=dict(
                loss=dict(type='kdhub.Relational'),
                student='encode',
                teacher='encode',
                weight=10.0)
    """

    depends_on_split = "samples"

    def __init__(
        self,
        similarity: str = "cosine",
        normalize: bool = True,
        diagonal: bool = False,
        beta: float | None = None,
    ) -> None:
        super().__init__()
        require("Relational", choice(_SIMILARITIES), similarity=similarity)
        require("Relational", FLAG, normalize=normalize, diagonal=diagonal)
        require("Relational", optional(number(at_least=0)), beta=beta)
        self.similarity = similarity
        self.normalize = normalize
        self.diagonal = diagonal
        self.beta = beta

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare relations within one batch; see the class for the inputs.

        Raises:
            UsageError: If the two sides do not hold the same number of vectors, or the mask does not fit.
        """
        if student.ndim < 2 or teacher.ndim < 2 or len(student) != len(teacher):
            raise UsageError(
                "Relational compares the samples of one batch",
                expected="student (B, ...) and teacher (B, ...)",
                got=f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)}",
            )
        pairs = _pairs(mask, len(student), self.diagonal, student.device)
        # autocast would take the products in half precision, though their inputs are float32
        with torch.autocast(student.device.type, enabled=False):
            ours, theirs = (
                _relations(to_float32(value), mask, pairs, self.similarity, self.normalize)
                for value in (student, teacher.detach())
            )
        if self.beta is None:
            return masked_mean((ours - theirs).square(), pairs)
        require("Relational", number(at_least=0), beta=self.beta)  # a schedule may have driven it
        return masked_mean(functional.smooth_l1_loss(ours, theirs, reduction="none", beta=self.beta), pairs)


def _pairs(mask: Tensor | None, batch: int, diagonal: bool, device: torch.device) -> Tensor:
    """Return ``(B, B)``: which pairs count."""
    pairs = torch.ones(batch, batch, dtype=torch.bool, device=device)
    if not diagonal:
        pairs.fill_diagonal_(False)
    if mask is None:
        return pairs
    if mask.shape != (batch,) or mask.is_floating_point():
        raise UsageError(
            "Relational takes one mask entry a sample",
            expected=f"({batch},) of bool or integer",
            got=f"{tuple(mask.shape)} of {mask.dtype}",
        )
    counts = mask != 0
    return pairs & counts & counts.unsqueeze(1)


def _relations(value: Tensor, mask: Tensor | None, pairs: Tensor, similarity: str, normalize: bool) -> Tensor:
    """Return the ``(B, B)`` matrix of one side, 0 where a pair does not count."""
    vectors = value.flatten(1)
    if mask is not None:
        vectors = vectors.masked_fill((mask == 0).unsqueeze(1), 0.0)
    if similarity == "distance":
        # the shortcut over a matrix product loses small distances to cancellation, and its root has no gradient at 0
        matrix = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")
    else:
        vectors = unit_vectors(vectors, 1) if similarity == "cosine" else vectors
        matrix = vectors @ vectors.T
    matrix = matrix.masked_fill(~pairs, 0.0)
    if normalize and similarity == "dot":
        return unit_vectors(matrix, 1)
    if normalize and similarity == "distance":
        mean = masked_mean(matrix, pairs)
        return matrix / mean.masked_fill(mean == 0, 1.0)
    return matrix
