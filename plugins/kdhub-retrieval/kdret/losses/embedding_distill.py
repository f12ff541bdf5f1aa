"""Embedding distillation: the student's vector of a text is drawn to the teacher's."""

from __future__ import annotations

import torch
from sentence_transformers.sentence_transformer.losses import EmbedDistillLoss
from torch import Tensor, nn

from kdhub.api import UsageError

_METRICS = ("cosine", "l2", "mse")


class EmbeddingDistill(nn.Module):
    """Distance between the embeddings of student and teacher, text by text.

    * ``cosine``: mean over texts of ``1 − cos(e, e_T)``;
    * ``l2``: mean over texts of ``‖e − e_T‖₂``;
    * ``mse``: mean over texts and dimensions of ``(e − e_T)²``.

    The arithmetic is sentence-transformers' ``EmbedDistillLoss``, without its projection: a student of another width
    takes an adapter of kdhub, which is trained, saved and reported as one.

    Args:
        metric: The distance. ``'cosine'``, the default, asks for direction only, so an unnormalised teacher is fine for a
            normalised student; the other two then ask for lengths that the student cannot have.

    Inputs:
        student: ``(B, D)``. With several text columns: tap with ``call='cat'``, one row for each text.
        teacher: ``(B, D)``, the same texts in the same order; takes no gradient.

    References:
        Reimers and Gurevych, "Making Monolingual Sentence Embeddings Multilingual using Knowledge Distillation", arXiv
        2004.09813 (mse); Kim et al., "EmbedDistill", arXiv 2301.12005 (l2).

    Requirements:
        The same width on both sides, or an adapter. ``l2`` and ``mse`` want both sides normalised, or neither.

    Relations:
        - `kdhub.Relational` compares similarities within the batch and needs no common width; the two go well together.
        - `ListwiseKL` and `MarginMSE` compare scores, which is what a search ranks by.

    Example:
        ::

            embedding=dict(
                loss=dict(type='kdret.EmbeddingDistill'),
                student=dict(type='kdhub.MethodOutput', path='embed', call='cat'),
                teacher=dict(type='kdhub.MethodOutput', path='embed', call='cat'))
    """

    def __init__(self, metric: str = "cosine") -> None:
        super().__init__()
        if metric not in _METRICS:
            raise UsageError("EmbeddingDistill: bad metric", expected=", ".join(map(repr, _METRICS)), got=repr(metric))
        self.metric = metric
        self._distance = EmbedDistillLoss(model=None, distance_metric=metric)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss as a scalar; see the class for the inputs.

        Raises:
            UsageError: If the shapes differ; torch would broadcast some of them to a plausible-looking loss.
        """
        if student.shape != teacher.shape:
            raise UsageError(
                "EmbeddingDistill compares text by text",
                expected=f"teacher {tuple(student.shape)} as the student",
                got=f"teacher {tuple(teacher.shape)}",
                fix="set adapter=[dict(type='kdhub.Linear', ...)] in the objective, or tap both sides with the same `call`",
            )
        student = student.to(torch.promote_types(student.dtype, torch.float32))
        return self._distance.compute_loss_from_embeddings([student], [teacher.detach()])
