"""Matryoshka: a loss on embeddings, asked of their first dimensions too."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdhub.api import LossSpec, UsageError, build, find, integer, number, require, unit_vectors


class Matryoshka(nn.Module):
    """Sum of one loss over prefixes of the student's embeddings, each brought to length 1.

    ``L = Σ_m w_m · loss(e[:m] / ‖e[:m]‖)``: a sum and not a mean, as sentence-transformers' ``MatryoshkaLoss``. The student
    can then be cut to any of these widths, by ``truncate_dim`` of `SentenceTransformer`.

    Of a loss that compares entry by entry, such as `EmbeddingDistill`, the teacher is cut to the same width and brought to
    length 1 too (sentence-transformers cuts it and leaves its length, which only the cosine does not notice). Of any other,
    such as `ListwiseKL` on embeddings, it stays whole: its first dimensions were not trained to stand alone.

    Args:
        loss: Config of a loss on embeddings.
        dims: Widths, each at most that of the student's embeddings. Include the full width: otherwise the whole embedding is
            not trained, and a warning says so.
        weights: One number for each width; ``None``, the default, takes 1 for each.

    Inputs:
        student: ``(B, D)``, or a list of such, as the wrapped loss takes them.
        teacher: As the wrapped loss takes it.
        labels: As the wrapped loss takes them, out of the batch.

    References:
        Kusupati et al. 2022, "Matryoshka Representation Learning", arXiv 2205.13147. Card retrieval_losses.md, 3.10.

    Requirements:
        Embeddings, not scores. As each prefix has length 1, products are cosines: margins of unbounded scores do not fit them.

    Relations:
        `EmbeddingDistill`, `InBatchCrossEntropy`, `ListwiseKL` with embeddings, and `kdhub.Relational` can stand inside.

    Example:
        ::

            embedding=dict(
                loss=dict(
                    type='kdret.Matryoshka', loss=dict(type='kdret.EmbeddingDistill'), dims=[384, 192, 96, 48]),
                student=dict(type='kdhub.MethodOutput', path='embed', call='cat'),
                teacher=dict(type='kdhub.MethodOutput', path='embed', call='cat'))
    """

    def __init__(self, loss: Mapping[str, Any], dims: Sequence[int], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        if not isinstance(dims, Sequence) or not dims or len(set(dims)) != len(dims):
            raise UsageError("Matryoshka: bad dims", expected="different whole numbers from 1", got=repr(dims))
        for dim in dims:
            require("Matryoshka", integer(1), dims=dim)
        weights = [1.0] * len(dims) if weights is None else weights
        if not isinstance(weights, Sequence) or len(weights) != len(dims):
            raise UsageError(
                "Matryoshka: bad weights", expected=f"{len(dims)} numbers, one for each width", got=repr(weights)
            )
        for weight in weights:
            require("Matryoshka", number(above=0), weights=weight)
        self.dims = list(dims)
        self.weights = list(weights)
        self.loss: Any = build("loss", loss, where="Matryoshka.loss")
        record = find(loss["type"], "loss") if isinstance(loss, Mapping) else None
        self._on_scores = isinstance(record, LossSpec) and "score" in record.tags
        self._by_entry = isinstance(record, LossSpec) and record.match == "shape" and not self._on_scores
        self._warned = False

    def depends_on_split(self, taps: Collection[str]) -> str:
        """Say what the wrapped loss says."""
        own = getattr(self.loss, "depends_on_split", "")
        return str(own(taps) if callable(own) else own)

    def forward(self, student: Any, teacher: Any = None, labels: Tensor | None = None) -> Tensor:
        """Return the loss as a scalar; see the class for the inputs.

        Raises:
            UsageError: If a width exceeds that of the embeddings, or scores come in their place.
        """
        embeddings = [student] if isinstance(student, Tensor) else list(student)
        if self._on_scores and isinstance(student, Tensor):
            raise UsageError(
                f"Matryoshka: {type(self.loss).__name__} got scores, whose columns are documents and no dimensions",
                expected="embeddings of queries and documents",
                got=str(tuple(student.shape)),
                fix="tap dict(type='kdhub.MethodOutput', path='embed', call='all')",
            )
        width = min(one.shape[-1] for one in embeddings)
        if max(self.dims) > width:
            raise UsageError(
                "Matryoshka: a width exceeds that of the student's embeddings",
                expected=f"widths up to {width}",
                got=str(self.dims),
            )
        if width not in self.dims and not self._warned:
            self._warned = True
            warnings.warn(
                f"Matryoshka: the student's full width {width} is not among {self.dims}, so its whole embedding is not trained;"
                " add it to `dims`",
                stacklevel=2,
            )
        given = {"teacher": teacher, "labels": labels}
        given = {name: value for name, value in given.items() if value is not None}
        total = embeddings[0].new_zeros((), dtype=torch.float32)
        for dim, weight in zip(self.dims, self.weights, strict=True):
            cut = {"teacher": _prefix(teacher, dim)} if self._by_entry and teacher is not None else {}
            total = total + weight * self.loss(_prefix(student, dim), **given | cut)
        return total


def _prefix(embeddings: Any, dim: int) -> Any:
    """Cut embeddings ``(..., D)``, or each of a list, to their first dimensions, of length 1."""
    if not isinstance(embeddings, Tensor):
        return [_prefix(one, dim) for one in embeddings]
    return unit_vectors(embeddings[..., :dim].to(torch.promote_types(embeddings.dtype, torch.float32)), -1)
