"""Which tokens of a batch make its graph: pairs of student and teacher tokens, drawn anew in each step, of all processes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from kdhub.api import FLAG, UsageError, choice, gathered, integer, number, optional, require, to_float32


class GraphLoss(nn.Module):
    """Base of losses over one graph of a batch's tokens.

    Args:
        tokens: Tokens that are drawn of each image; ``None`` takes all, and so does a number above N. The cost grows with the
            square of ``n = B·tokens``; the card suggests n up to 1024.
        draw: Number of the draw: ``dict(type='kdtrg.StepNumber')`` draws anew in each step. A number keeps the same positions
            in every step, and tokens elsewhere are never compared. It must be given with ``tokens``.
        seed: Seed of the draws. Image i of a batch gets the same positions in both networks; they depend on seed, draw and i.
        gather: Whether the batch is that of all processes together: value and gradient are those of one process with the
            joined batch, and each process computes the whole graph. Otherwise each process has a graph of its own images, with
            fewer negatives.
        chunk: Rows of the graph that are compared at once. ``None``, the default, takes all: fastest, with a few matrices
            of n x n. With a number memory is linear in n, and what is not kept is computed again in backward.
        reduction: ``'mean'`` over the tokens, the default, or the paper's ``'sum'``, whose size grows with n.

    Raises:
        UsageError: For an argument that is none of these, or ``tokens`` without ``draw``.
    """

    depends_on_split = "samples"

    def __init__(
        self,
        tokens: int | None = None,
        draw: Any = None,
        seed: int = 0,
        gather: bool = False,
        chunk: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        require(owner, optional(integer(1)), tokens=tokens, chunk=chunk)
        require(owner, optional(number(at_least=0)), draw=draw)
        require(owner, integer(0), seed=seed)
        require(owner, FLAG, gather=gather)
        require(owner, choice(("mean", "sum")), reduction=reduction)
        if tokens is not None and draw is None:
            raise UsageError(
                f"{owner}: tokens={tokens} are drawn, and nothing says which draw it is: each step would take the same ones",
                expected="draw",
                fix="write draw=dict(type='kdtrg.StepNumber')",
            )
        self.tokens = tokens
        self.draw = draw
        self.seed = seed
        self.gather = gather
        self.chunk = chunk
        self.reduction = reduction

    def graph_tokens(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Choose the tokens of the graph out of what `paired` returns.

        Args:
            student: ``(B, N, D_S)``.
            teacher: ``(B, N, D_T)``.

        Returns:
            Student ``(n, D_S)`` and teacher ``(n, D_T)``, rows in the same order.

        Raises:
            UsageError: With ``gather``, if processes have different numbers of images or tokens.
        """
        images, count = student.shape[:2]
        if self.tokens is not None and self.tokens < count:
            places = drawn(images, count, self.tokens, (self.seed, int(self.draw)), _rank() * images)
            rows = torch.arange(images, device=student.device).unsqueeze(1), places.to(student.device)
            student, teacher = student[rows], teacher[rows]
        if self.gather:
            (student,) = gathered(type(self).__name__, "images and tokens", tokens=student)
            (teacher,) = gathered(type(self).__name__, "images and tokens", tokens=teacher)
        return student.flatten(0, 1), teacher.flatten(0, 1)


def paired(owner: str, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """See that both sides have the same images and tokens.

    Returns:
        Both in at least float32; the teacher without gradient.

    Raises:
        UsageError: If they are not ``(B, N, D_S)`` and ``(B, N, D_T)``.
    """
    if student.ndim != 3 or teacher.ndim != 3 or student.shape[:2] != teacher.shape[:2]:
        grids_differ = student.ndim == teacher.ndim == 3 and len(student) == len(teacher)
        raise UsageError(
            f"{owner} compares the same tokens of the same images",
            expected="student (B, N, D) and teacher (B, N, E)",
            got=f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)}",
            fix="give both sides of the adapter the same grid, kdtrg.Tokens(grid=(h, w)), and drop class tokens with prefix=1"
            if grids_differ
            else "adapter=dict(student=dict(type='kdtrg.Tokens'), teacher=dict(type='kdtrg.Tokens'))",
        )
    return to_float32(student), to_float32(teacher.detach())


def drawn(images: int, of: int, count: int, key: tuple[int, ...], first: int = 0) -> Tensor:
    """Draw distinct positions for each image, each set equally likely.

    The positions of an image depend on the key and on its place in the batch of all processes alone.

    Args:
        images: Images of this process.
        of: Tokens of an image.
        count: Tokens to draw, at most ``of``.
        key: Seed and number of the draw.
        first: Place of the first image in the batch of all processes.

    Returns:
        ``(images, count)``, ascending in each row.
    """
    # numpy's numbers are the same on every machine, and row i does not depend on how many rows follow
    chances = np.random.default_rng(key).random((first + images, of))[first:]
    return torch.from_numpy(np.sort(np.argsort(chances, axis=1, kind="stable")[:, :count], axis=1))


def _rank() -> int:
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
