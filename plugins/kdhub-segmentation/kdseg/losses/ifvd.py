"""Intra-class feature variation: how far each position's feature turns away from the centre of its class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from kdhub.api import MaskedLoss, UsageError, integer, masked_mean, require, unit_vectors
from kdseg.losses._logits import VOID, aligned_labels, labels_at_cells, require_classes, require_same_crops


class IFVD(MaskedLoss):
    """Difference of the student's map of similarity to its class centres from the teacher's.

    The centre of a class in an image is the mean feature of the positions that truly have that class. With ``m(i)`` the
    centre of position ``i``'s class, ``v[b,i] = cos(f[b,:,i], m(i))`` is near 1 in the middle of a region and lower where
    features vary, as at boundaries. ``L = mean_{b,i} (v_S − v_T)²`` over the positions that are not void.

    Args:
        ignore_index: Label of void pixels. They belong to no centre and do not count.
        num_classes: Bound of the class numbers, the size of the table of centres. 256 serves every data set with 8-bit label
            maps; a table for the true number of classes saves some memory and no time.
        reduction: ``'positions'``, the default, is a mean over all positions of the batch that are not void. ``'samples'``
            takes it image by image, and then over all images: gradients that are accumulated, or averaged over processes,
            are then those of the whole batch however much of each image is void.

    Inputs:
        student_features: ``(B, D_s, h, w)``, at least 2 channels; any float type, raised to float32.
        teacher_features: ``(B, D_t, H, W)`` of the same crops, of any number of channels from 2: no adapter is needed, and
            the teacher's space is not imitated. Takes no gradient; resized bilinearly to ``h, w`` if need be, so that both
            sides' centres are means over the same positions.
        labels: ``(B, H, W)`` or ``(B, 1, H, W)`` integers; a position has the label of the pixel at its centre.

    References:
        - Wang et al., "Intra-class Feature Variation Distillation for Semantic Segmentation", ECCV 2020, equations 1 to 3.
        - The authors' code (YukangWang/IFVD) takes centres image by image, as here. It also averages over void positions,
          which all add 0 there: with much void its loss is smaller.

    Requirements:
        Features of the same crop, at a depth where classes are told apart: the last feature map before the classifier. With
        one position of a class in an image, that position is its own centre and adds 0.

    Relations:
        - `kdhub.MSE` or `kdhub.Cosine` on features, behind an adapter, imitate the features themselves.
        - `kdhub.Relational` compares the images of a batch with each other, this loss a position with its class.
        - The authors train it together with `PixelKD` and an adversarial loss; it needs a companion for the logits.

    Example:
        On the features that PSPNet's classifier reads, with the authors' weight; labels are found in mmseg's batch::

            variation=dict(
                loss=dict(type='kdseg.IFVD'),
                student='decode_head.bottleneck',
                teacher='decode_head.bottleneck',
                weight=200.0)
    """

    def __init__(self, ignore_index: int = VOID, num_classes: int = 256, reduction: str = "positions") -> None:
        super().__init__(reduction)
        require("IFVD", integer(), ignore_index=ignore_index)
        require("IFVD", integer(1), num_classes=num_classes)
        self.ignore_index = ignore_index
        self.num_classes = num_classes
        self._checked_labels = False

    def forward(self, student_features: Tensor, teacher_features: Tensor, labels: Tensor) -> Tensor:
        """Compare feature maps of the same crops; see the class for the inputs."""
        for side, value in (("student", student_features), ("teacher", teacher_features)):
            if value.ndim != 4 or value.shape[1] < 2:
                raise UsageError(
                    "IFVD compares directions of feature vectors",
                    expected=f"{side} (B, D, h, w), D >= 2",
                    got=f"{side} {tuple(value.shape)}",
                    fix="tap a feature map, such as 'decode_head.bottleneck'",
                )
        require_same_crops("IFVD", student_features, teacher_features)
        student, teacher = student_features.float(), teacher_features.detach().float()
        if teacher.shape[-2:] != student.shape[-2:]:
            teacher = functional.interpolate(teacher, size=student.shape[-2:], mode="bilinear", align_corners=False)
        labels = aligned_labels("IFVD", labels, student, ignore_index=self.ignore_index, check_values=False)
        if student.is_cpu or not self._checked_labels:
            require_classes("IFVD", labels, self.num_classes, self.ignore_index)
        self._checked_labels = True
        labels = labels_at_cells(labels, student.shape[-2:])
        counted = labels != self.ignore_index
        # void gets a row of its own
        rows = labels.masked_fill(~counted, self.num_classes)
        ours, theirs = (similarity_to_centre(features, rows, self.num_classes + 1) for features in (student, teacher))
        return masked_mean((ours - theirs).square(), counted, self.reduction)


def similarity_to_centre(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Compare each position's feature with the mean of its class in its image.

    Args:
        features: ``(B, D, h, w)``, float32 or wider.
        labels: ``(B, h, w)``, int64, 0 to ``num_classes - 1``.
        num_classes: Number of classes; those without positions do no harm.

    Returns:
        Cosines ``(B, h, w)``; 0 where a feature or its centre is zero.
    """
    vectors = features.flatten(2)
    rows = labels.flatten(1).unsqueeze(1).expand_as(vectors)
    sums = vectors.new_zeros(*vectors.shape[:2], num_classes).scatter_add(2, rows, vectors)
    # a sum has the direction of its mean: no counts, and so no division by those of absent classes
    centres = unit_vectors(sums, 1).gather(2, rows)
    return torch.linalg.vecdot(unit_vectors(vectors, 1), centres, dim=1).view(labels.shape)
