"""The k-nearest-neighbour graph over a set of tokens, kept as its edges: n·k numbers in the place of n·n."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_BLOCK = 256
"""Rows of a block of products: large enough for a matrix product at full speed."""


class _SquaredEdges(torch.autograd.Function):
    """Squared length of each edge, ``(n, D), (n, k) -> (n, k)``; backward makes no ``(n, k, D)``, which is most of the time."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, neighbours: Tensor, squared: Tensor | None) -> Tensor:
        ctx.save_for_backward(tokens, neighbours)
        if squared is not None and squared.dtype == tokens.dtype:
            return squared.clone()
        # differences, not a matrix product: of long tokens it would lose all digits of a small distance
        return torch.stack([(tokens - tokens[column]).square_().sum(1) for column in neighbours.unbind(1)], 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        tokens, neighbours = ctx.saved_tensors
        gradient = gradient.contiguous()
        count, k = neighbours.shape
        # Σ over the edges of a token, at either end, of 2 c (x − other end)
        towards, order = neighbours.flatten().sort(stable=True)
        bounds = torch.searchsorted(towards, torch.arange(count, device=tokens.device))
        ends = functional.embedding_bag(neighbours, tokens, mode="sum", per_sample_weights=gradient)
        begins = functional.embedding_bag(
            order // k, tokens, bounds, mode="sum", per_sample_weights=gradient.flatten()[order]
        )
        degree = gradient.sum(1) + gradient.new_zeros(count).index_add(0, neighbours.flatten(), gradient.flatten())
        return 2 * (degree.unsqueeze(1) * tokens - ends - begins), None, None


class Graph(NamedTuple):
    """The adjacency ``A[i, j]``, not 0 where token i is among the neighbours of token j.

    Attributes:
        neighbours: ``(n, k)``; row j names the neighbours i of token j.
        weights: ``(n, k)``; ``A[i, j]`` of each of them.
    """

    neighbours: Tensor
    weights: Tensor

    @classmethod
    def over(cls, tokens: Tensor, neighbours: Tensor, sigma: float, squared: Tensor | None = None) -> Graph:
        """Weigh the edges: ``exp(−‖x_i − x_j‖² / (2σ))``; the gradient reaches the tokens.

        Args:
            tokens: ``(n, D)``.
            neighbours: ``(n, k)``.
            sigma: Width of the kernel.
            squared: ``(n, k)``, squared lengths of the edges, where the search for neighbours told them; ``None`` measures them.
        """
        return cls(neighbours, torch.exp(-_SquaredEdges.apply(tokens, neighbours, squared) / (2 * sigma)))

    def weights_at(self, other: Graph) -> Tensor:
        """Return ``A[i, j]`` of this graph at the edges of another one, ``(n, k)``; 0 where this one has no edge."""
        same = other.neighbours.unsqueeze(2) == self.neighbours.unsqueeze(1)
        return (same * self.weights.unsqueeze(1)).sum(2)

    def sum_by_row(self, values: Tensor) -> Tensor:
        """Add up a number of each edge over the row i of ``A`` that it stands in: ``(n, k) -> (n,)``."""
        return values.new_zeros(len(values)).index_add(0, self.neighbours.flatten(), values.flatten())


def neighbourhood(tokens: Tensor, k: int, chunk: int | None = None) -> tuple[Tensor, Tensor]:
    """Find the k nearest other tokens of each token, exactly; among equally distant ones those of lower index.

    Args:
        tokens: ``(n, D)``; takes no gradient.
        k: Number of neighbours; n − 1 if there are no more.
        chunk: Tokens whose distances to all others are held at once; ``None`` for all.

    Returns:
        Their places ``(n, min(k, n − 1))``, nearest first, and their squared distances, exact to some 1e-7 of the largest
        squared length.
    """
    count = len(tokens)
    k = min(k, count - 1)
    points = tokens.detach().float()
    # distances do not change, and their products lose fewer digits
    points = points - points.mean(0)
    lengths = points.square().sum(1)
    if chunk is None:
        # a token's own length is the same for all its neighbours, and left out of the distances
        places, distances = _lowest(torch.sub(lengths, _products(points), alpha=2).fill_diagonal_(torch.inf), k)
        return places, (distances + lengths.unsqueeze(1)).clamp_(min=0)
    places = torch.arange(count, device=tokens.device)
    found = []
    for rows in places.split(chunk):
        distances = torch.addmm(lengths, points[rows], points.T, alpha=-2)
        distances[torch.arange(len(rows), device=tokens.device), rows] = torch.inf
        nearby, distances = _lowest(distances, k)
        found.append((nearby, (distances + lengths[rows].unsqueeze(1)).clamp_(min=0)))
    return torch.cat([one for one, _ in found]), torch.cat([one for _, one in found])


def _products(points: Tensor) -> Tensor:
    """Return ``x xᵀ``, ``(n, n)``, each pair of blocks computed once: for large n little more than half the work."""
    count = len(points)
    products = points.new_empty(count, count)
    for begin in range(0, count, _BLOCK):
        end = min(begin + _BLOCK, count)
        right = points[begin:end] @ points[begin:].T
        products[begin:end, begin:] = right
        products[end:, begin:end] = right[:, end - begin :].T
    return products


def _lowest(distances: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return places and values of the k lowest of each row, lowest first, of equal ones those of lower index."""
    values, found = distances.topk(min(k + 1, distances.shape[1]), largest=False)
    found = found[:, :k].sort(1).values
    found = found.gather(1, distances.gather(1, found).sort(dim=1, stable=True).indices)
    # where the k-th and the next are equal, topk may have taken either
    tied = values[:, k - 1] == values[:, -1] if values.shape[1] > k else values.new_zeros(len(values), dtype=torch.bool)
    if tied.any():
        found[tied] = distances[tied].sort(dim=1, stable=True).indices[:, :k]
    return found, distances.gather(1, found)
