"""`LayerProjection`: one linear map for all layers, or one for each."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LayerProjection(nn.Module):
    """Linear maps of stacked layers (N, A, in) to (N, A, out).

    Args:
        maps: 1 for a map that all layers share, or N.
        inputs: Width before.
        outputs: Width after.
    """

    def __init__(self, maps: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)  # torch.nn.Linear's start
        self.weight = nn.Parameter(torch.empty(maps, outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(maps, outputs).uniform_(-bound, bound))

    def forward(self, layers: Tensor) -> Tensor:
        """Map each layer."""
        if len(self.weight) == 1:
            return nn.functional.linear(layers, self.weight[0], self.bias[0])
        return torch.baddbmm(self.bias.unsqueeze(1), layers, self.weight.transpose(1, 2))
