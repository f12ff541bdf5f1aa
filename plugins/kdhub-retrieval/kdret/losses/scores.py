"""What the losses on score lists ask of their inputs: student ``(B, K)``, teacher from a tap or from the batch."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from kdhub.api import UsageError


def list_scores(loss: str, student: Tensor) -> Tensor:
    """Return the student's scores in at least float32.

    Raises:
        UsageError: If they are not ``(B, K)`` with at least 2 candidates: over one, loss and gradient would be 0.
    """
    if student.ndim != 2 or student.shape[1] < 2:
        raise UsageError(
            f"{loss} compares at least 2 candidates of each query",
            expected="student scores (B, K), K >= 2",
            got=f"student {tuple(student.shape)}",
            fix="tap 'score' of the encoder on a dataset of lists, such as kdret.ScoredLists",
        )
    return student.to(torch.promote_types(student.dtype, torch.float32))


def given_scores(
    loss: str, student: Tensor, teacher: Tensor | None, labels: Tensor | None, leaves_out: bool = False
) -> Tensor:
    """Return the teacher's scores, live or cached, beside the student's and without gradient.

    Args:
        loss: Name of the loss, for errors.
        student: ``(B, K)``.
        teacher: Scores of a live teacher, or ``None``.
        labels: Cached scores out of the batch, or ``None``.
        leaves_out: Whether the loss leaves a candidate with −∞ out of its list.

    Raises:
        UsageError: If both or neither is given, the batch sizes differ, or a score is no number that the loss can use (looked
            for on the CPU only: elsewhere reading them would stall the device, and the run's guard of non-finite terms speaks).
    """
    scores = labels if teacher is None else teacher
    if scores is None or (teacher is not None and labels is not None):
        raise UsageError(
            f"{loss} wants the teacher's scores from one place",
            expected="a teacher tap, or batch=dict(labels='labels') for cached scores",
            got="neither" if scores is None else "both",
        )
    if len(scores) != len(student):
        raise UsageError(
            f"{loss}: one row of teacher scores for each query",
            expected=f"{len(student)} rows",
            got=f"shape {tuple(scores.shape)}",
        )
    scores = scores.detach().to(student)
    if scores.device.type != "cpu":
        return scores
    bad = ~scores.isfinite() & ~(scores.isneginf() & leaves_out)
    if bad.any():
        row = bad.reshape(len(scores), -1).any(1).nonzero()[0].item()
        raise UsageError(
            f"{loss}: the teacher's score of row {row} is {'NaN' if scores[int(row)].isnan().any() else 'infinite'}",
            expected="numbers" + ("; -inf for a candidate to be left out of a list" if leaves_out else ""),
            fix="mine the scores again, or take that query out of the score file"
            + ("" if leaves_out else "; lists of different lengths, padded with -inf, are for kdret.ListwiseKL"),
        )
    return scores


def warn_out_of_reach(loss: str, student: Tensor, wanted: Tensor, limit: float) -> None:
    """Warn if bounded student scores (cosines) are asked for differences that they cannot reach.

    Args:
        loss: Name of the loss.
        student: The student's scores.
        wanted: Differences of teacher scores; infinite ones are deliberate and not looked at.
        limit: Largest difference that is in reach of scores between −1 and 1.
    """
    wanted = wanted[wanted.isfinite()]
    if wanted.numel() and float(wanted.abs().max()) > limit and float(student.detach().abs().max()) <= 1.0:
        warnings.warn(
            f"{loss}: the teacher's scores differ by up to {float(wanted.abs().max()):.1f} within a list while the student's"
            " lie between -1 and 1, so the loss saturates and teaches little. Use a dot product of unnormalised embeddings,"
            " a larger `score_scale` of the encoder, or for ListwiseKL a student_temperature of 0.02 to 0.05.",
            stacklevel=3,
        )
