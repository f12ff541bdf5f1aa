"""The k-nearest-neighbour graph over a set of tokens, kept as its edges: n·k numbers in the place of n·n."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Graph(NamedTuple):
    """The adjacency ``A[i, j]``, not 0 where token i is among the neighbours of token j.

    Attributes:
        neighbours: ``(n, k)``; row j names the neighbours i of token j.
        weights: ``(n, k)``; ``A[i, j]`` of each of them.
    """

    neighbours: Tensor
    weights: Tensor

    @classmethod
    def over(cls, tokens: Tensor, neighbours: Tensor, sigma: float) -> Graph:
        """Weigh the edges: ``exp(−‖x_i − x_j‖² / (2σ))``; the gradient reaches the tokens.

        Args:
            tokens: ``(n, D)``.
            neighbours: ``(n, k)``.
            sigma: Width of the kernel.
        """
        # differences, not a matrix product: it would leave a distance above 0 between duplicates
        ends = tokens.index_select(0, neighbours.flatten()).view(*neighbours.shape, tokens.shape[1])
        squared = (tokens.unsqueeze(1) - ends).square().sum(-1)
        return cls(neighbours, torch.exp(-squared / (2 * sigma)))

    def weights_at(self, other: Graph) -> Tensor:
        """Return ``A[i, j]`` of this graph at the edges of another one, ``(n, k)``; 0 where this one has no edge."""
        same = other.neighbours.unsqueeze(2) == self.neighbours.unsqueeze(1)
        return (same * self.weights.unsqueeze(1)).sum(2)

    def sum_by_row(self, values: Tensor) -> Tensor:
        """Add up a number of each edge over the row i of ``A`` that it stands in: ``(n, k) -> (n,)``."""
        return values.new_zeros(len(values)).index_add(0, self.neighbours.flatten(), values.flatten())


def nearest(tokens: Tensor, k: int, chunk: int | None = None) -> Tensor:
    """Find the k nearest other tokens of each token, exactly; among equally distant ones those of lower index.

    Args:
        tokens: ``(n, D)``; takes no gradient.
        k: Number of neighbours; n − 1 if there are no more.
        chunk: Tokens whose distances to all others are held at once; ``None`` for all.

    Returns:
        ``(n, min(k, n − 1))``, nearest first.
    """
    count = len(tokens)
    k = min(k, count - 1)
    points = tokens.detach().float()
    # distances do not change, and their products lose fewer digits
    points = points - points.mean(0)
    lengths = points.square().sum(1)
    places = torch.arange(count, device=tokens.device)
    found = []
    for begin in range(0, count, chunk or count):
        rows = slice(begin, begin + (chunk or count))
        squared = torch.addmm(lengths, points[rows], points.T, alpha=-2).add_(lengths[rows].unsqueeze(1)).clamp_(min=0)
        squared[torch.arange(len(squared), device=tokens.device), places[rows]] = torch.inf
        found.append(_lowest(squared, places, k))
    return torch.cat(found)


def _lowest(squared: Tensor, places: Tensor, k: int) -> Tensor:
    # bits of floats from +0 on sort as the floats; with the index below them no two keys tie
    keys = (squared.add_(0.0).view(torch.int32).long() << 32) | places
    return keys.topk(k, largest=False).values & 0xFFFFFFFF
