"""Local preserving loss of TRG: each token's neighbourhood among the tokens of the batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kdhub.api import FLAG, choice, integer, number, require, unit_vectors
from kdtrg.graph import Graph, neighbourhood
from kdtrg.sampling import GraphLoss, paired

SIDES = ("own", "teacher")
DIRECTIONS = ("teacher||student", "student||teacher")


class LocalGraph(GraphLoss):
    """Divergence of the student's neighbourhoods from the teacher's: tokens that are alike for the teacher should be for the student.

    With ``A[i, j] = exp(−‖x_i − x_j‖² / (2σ))`` where token i is among the k nearest of token j, otherwise 0, on each side,
    and ``P_i = softmax_j A[i, j]`` over all n tokens: ``L = mean_i KL(P_i of the teacher ‖ P_i of the student)``. The zeros
    stay in the softmax. Which tokens are neighbours has no gradient. The loss is computed from the edges: the n x n
    matrix is never made.

    Args:
        k: Neighbours of a token; n − 1 if there are fewer. The default 8 is the card's, not the paper's. Too high, and far
            tokens of another kind count as neighbours.
        sigma: Width of the kernel; the default 1 suits unit tokens. Too small, and every edge is 0, and so is the loss.
        normalize: Whether tokens are scaled to length 1 first; then neither scale nor width of either side matters. The
            paper's formula does not say so. Without it, squared distances of CNN features reach hundreds and the edges vanish.
        neighbours: Whose neighbours count: each side's ``'own'``, the default, as the formula reads; or the ``'teacher'``'s on both.
        direction: ``'teacher||student'``, the default, or ``'student||teacher'``, as the paper writes every divergence. Both
            have the same zero.
        tokens: Tokens drawn of each image; ``None`` takes all. See `kdtrg.sampling.GraphLoss` for this and the following.
        draw: ``dict(type='kdtrg.StepNumber')`` draws anew in each step; needed with ``tokens``.
        seed: Seed of the draws.
        gather: Whether the graph spans the batches of all processes.
        chunk: Tokens whose distances are held at once; ``None`` holds all n x n of them.
        reduction: ``'mean'`` over tokens, or the paper's ``'sum'``.

    Inputs:
        student: ``(B, N, D)``; any float type; raised to float32.
        teacher: ``(B, N, E)``: the same images and places; D and E may differ; takes no gradient.

    References:
        arXiv 2306.12442, local preserving loss; card ``methods/trg.md``, sections 3.1 and 3.2.

    Requirements:
        At least 2 tokens in the graph, or the loss is 0. Duplicate tokens have distance 0 and weight 1. A graph over a part
        of the batch is another graph: accumulated steps do not train as the whole batch; processes do with ``gather``.

    Relations:
        - `GlobalContrast` looks at all tokens and needs a projection; this one needs none and lets the student rotate its space.
        - `kdhub.Relational` compares whole images.

    Example:
        ::

            neighbours=dict(
                loss=dict(type='kdtrg.LocalGraph', tokens=8, draw=dict(type='kdtrg.StepNumber')),
                student='features',
                teacher='features',
                adapter=dict(student=dict(type='kdtrg.Tokens'), teacher=dict(type='kdtrg.Tokens')))
    """

    def __init__(
        self,
        k: int = 8,
        sigma: float = 1.0,
        normalize: bool = True,
        neighbours: str = "own",
        direction: str = "teacher||student",
        tokens: int | None = None,
        draw: Any = None,
        seed: int = 0,
        gather: bool = False,
        chunk: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(tokens, draw, seed, gather, chunk, reduction)
        require_local("LocalGraph", k, sigma, normalize, neighbours, direction)
        self.k = k
        self.sigma = sigma
        self.normalize = normalize
        self.neighbours = neighbours
        self.direction = direction

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare neighbourhoods; see the class for the inputs."""
        with torch.autocast(student.device.type, enabled=False):
            return local_graph(
                *self.graph_tokens(*paired("LocalGraph", student, teacher)),
                k=self.k,
                sigma=self.sigma,
                normalize=self.normalize,
                neighbours=self.neighbours,
                direction=self.direction,
                chunk=self.chunk,
                reduction=self.reduction,
            )


def require_local(owner: str, k: int, sigma: float, normalize: bool, neighbours: str, direction: str) -> None:
    """See that the arguments of the local term are what they should be.

    Raises:
        UsageError: For the first that is not.
    """
    require(owner, integer(1), k=k)
    require(owner, number(above=0), sigma=sigma)
    require(owner, FLAG, normalize=normalize)
    require(owner, choice(SIDES), neighbours=neighbours)
    require(owner, choice(DIRECTIONS), direction=direction)


def local_graph(
    student: Tensor,
    teacher: Tensor,
    *,
    k: int,
    sigma: float,
    normalize: bool,
    neighbours: str,
    direction: str,
    chunk: int | None,
    reduction: str,
) -> Tensor:
    """Compute the loss of `LocalGraph` for tokens ``(n, D)`` and ``(n, E)`` as a scalar."""
    if len(student) < 2:  # no edge
        return 0.0 * student.sum()
    if normalize:
        student, teacher = unit_vectors(student, 1), unit_vectors(teacher, 1)
    theirs, far = neighbourhood(teacher, k, chunk)
    ours, apart = (theirs, None) if neighbours == "teacher" else neighbourhood(student, k, chunk)
    # between unit vectors the search measured to 1e-7; longer ones are measured again
    known = (far, apart) if normalize else (None, None)
    sides = Graph.over(teacher, theirs, sigma, known[0]), Graph.over(student, ours, sigma, known[1])
    rows = _row_divergence(*(sides if direction == DIRECTIONS[0] else reversed(sides)))
    return rows.sum() if reduction == "sum" else rows.mean()


def _row_divergence(p: Graph, q: Graph) -> Tensor:
    """Return ``KL(softmax(A_p[i]) ‖ softmax(A_q[i]))`` for each row i, ``(n,)``, from the edges.

    A row's n entries add up to ``Z_i = n + Σ (exp A[i, j] − 1)`` over its edges, since the others are ``exp 0``. So
    ``KL_i = Σ_j P_ij (A_p − A_q)[i, j] + log Z_q − log Z_p``, and outside the edges of both the sum is 0.
    """
    count = len(p.neighbours)
    above_p, above_q = (side.sum_by_row(side.weights.expm1()) for side in (p, q))
    total = count + above_p
    gained = p.sum_by_row(p.weights.exp() * p.weights) - q.sum_by_row(p.weights_at(q).exp() * q.weights)
    # log Z_q − log Z_p without the digits that two logarithms near log n would lose
    return gained / total + torch.log1p((above_q - above_p) / total)
