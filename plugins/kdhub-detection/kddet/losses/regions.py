"""Distillation of region embeddings from an image-text model (EZAD)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdhub.api import UsageError, to_float32


class RegionEmbeddingKD(nn.Module):
    """Weighted L1 distance of the student's region embeddings from the directions of the teacher's.

    For the N regions of a batch, N_k of them in image k, with weights made to average to one within each image,
    ``ŵ_i = w_i · N_k / Σ_{j in k} w_j``: ``L = (1/N) Σ_i ŵ_i · ‖ r_i − v_i/‖v_i‖₂ ‖₁``.

    Args:
        There are none; ``λ_dis`` is the objective's weight: 1 on COCO and 0.5 on LVIS.

    Inputs:
        student: ``(N, D)``, the head's embeddings ``r``, of unit length; any float type, raised to float32.
        teacher: ``(N, D)``, cached embeddings ``v`` of the same boxes, of any length; take no gradient.
        weights: ``(N,)``, not negative: 1 for a true box, the teacher's highest probability for a proposal. Or one tensor
            ``(N_k,)`` for each image. Found where `AttachRegions` puts them.
        image_index: ``(N,)``, integers: which image of the batch a region belongs to. Not needed where weights come image by
            image.

        A row of weight 0 or with a zero embedding is padding: it is left out, and the weights of its image average to one
        over the others. With no row left the loss is exactly 0.

    References:
        - Liu et al., "Efficient Feature Distillation for Zero-shot Annotation Object Detection" (EZAD), arXiv 2303.12145.
        - The authors' code (dragonlzm/EZAD, standard_roi_head_distillation.py): a mean over N·D entries times D, which is
          the same.

    Requirements:
        The student's embeddings are normalised by its head; the loss does not do it, and stays above 0 otherwise. Both sides
        in the same order.

    Relations:
        - `kdhub.Cosine` compares the same directions without weights: for unit vectors L1 lies between their Euclidean
          distance and √D times that.
        - ViLD takes the same distance, on proposals of its RPN and without weights: give weights of 1.

    Example:
        The student's head embeds the regions that `AttachRegions` put into the batch, and `RegionTeacher` reads theirs::

            regions=dict(
                loss=dict(type='kddet.RegionEmbeddingKD'),
                student='roi_head.region_embeddings',
                teacher='embeddings',
                weight=1.0)
    """

    depends_on_split = "count"  # a mean over all regions, however many each image has

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        weights: Tensor | Sequence[Tensor],
        image_index: Tensor | None = None,
    ) -> Tensor:
        """Compare embeddings of the same regions; see the class for the inputs."""
        if image_index is None:
            weights, image_index = _joined(weights)
        elif not isinstance(weights, Tensor):
            weights = torch.cat(list(weights))
        if student.ndim != 2 or student.shape != teacher.shape:
            raise UsageError(
                "RegionEmbeddingKD compares embeddings of the same regions",
                expected="student and teacher (N, D)",
                got=f"student {tuple(student.shape)}, teacher {tuple(teacher.shape)}",
                fix="let the head project to the teacher's width",
            )
        for name, value in (("weights", weights), ("image_index", image_index)):
            if value.shape != student.shape[:1]:
                raise UsageError(
                    f"RegionEmbeddingKD: bad {name}", expected=f"({len(student)},)", got=str(tuple(value.shape))
                )
        return region_embedding_l1(student, teacher, weights, image_index)


def _joined(weights: Tensor | Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Join weights that come image by image: a list, or ``(B, n)``."""
    parts = list(weights)
    if not parts or parts[0].ndim != 1:
        raise UsageError(
            "RegionEmbeddingKD does not know which image a region belongs to",
            expected="weights of each image, or image_index (N,)",
            got=f"weights {tuple(weights.shape) if isinstance(weights, Tensor) else 'of no image'}",
        )
    counts = torch.tensor([len(part) for part in parts], device=parts[0].device)
    return torch.cat(parts), torch.arange(len(parts), device=counts.device).repeat_interleave(counts)


def region_embedding_l1(student: Tensor, teacher: Tensor, weights: Tensor, image_index: Tensor) -> Tensor:
    """Compute the loss of `RegionEmbeddingKD` as a scalar.

    Raises:
        UsageError: For a negative weight or one that is no number, where looking costs no wait for the device.
    """
    student, teacher = to_float32(student), to_float32(teacher).detach()
    weights = weights.detach().to(student)
    if weights.is_cpu and not (weights >= 0).all():
        raise UsageError("RegionEmbeddingKD: bad weights", expected="numbers from 0", got=f"{weights.min().item():g}")
    # by the largest entry first: the squares of large values overflow, and those of small ones vanish
    largest = teacher.abs().amax(1, keepdim=True) if teacher.shape[1] else teacher.new_zeros(len(teacher), 1)
    tiny = torch.finfo(student.dtype).tiny
    scaled = teacher / largest.clamp(min=tiny)
    target = scaled / torch.linalg.vector_norm(scaled, dim=1, keepdim=True).clamp(min=tiny)
    kept = ((weights > 0) & (largest.squeeze(1) > 0)).to(student)
    _, image = image_index.unique(return_inverse=True)
    per_image = student.new_zeros(int(image.max()) + 1 if len(image) else 0)
    count, total = per_image.index_add(0, image, kept), per_image.index_add(0, image, weights * kept)
    balanced = weights * kept * (count / total.clamp(min=tiny))[image]
    distance = (student - target).abs().sum(1)
    return (balanced * torch.where(kept > 0, distance, 0.0)).sum() / kept.sum().clamp(min=1)
