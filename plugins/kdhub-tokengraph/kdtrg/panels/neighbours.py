"""Which patches of other images are nearest to a patch, by cosine."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from kdhub.api import UsageError

_ROWS = 256


class Neighbours(NamedTuple):
    """The k nearest patches of each of n patches, as numbers ``image · N + token``.

    Attributes:
        places: ``(n, k)``, nearest first; among equally near ones those of lower number.
        cosine: ``(n, k)``.
    """

    places: Tensor
    cosine: Tensor

    def shared(self, other: Neighbours) -> float:
        """Return the share of neighbours that both have, over all patches, from 0 to 1."""
        same = (self.places.unsqueeze(2) == other.places.unsqueeze(1)).any(2)
        return float(same.double().mean())


def nearest_elsewhere(tokens: Tensor, k: int) -> Neighbours:
    """Find the patches that are nearest to each patch among those of all other images.

    Args:
        tokens: ``(I, N, D)``, any float type.
        k: Neighbours; fewer if the other images have no more.

    Raises:
        UsageError: If there is a single image.
    """
    images, count = tokens.shape[:2]
    if images < 2:
        raise UsageError("neighbours are looked for in other images", expected="2 images or more", got=str(images))
    units = functional.normalize(tokens.float().flatten(0, 1), dim=1)
    image_of = torch.arange(len(units), device=units.device) // count
    k = min(k, (images - 1) * count)
    found = []
    for rows in torch.arange(len(units), device=units.device).split(_ROWS):
        cosine = units[rows] @ units.T
        cosine[image_of[rows].unsqueeze(1) == image_of] = -torch.inf
        ordered = cosine.sort(dim=1, descending=True, stable=True)
        found.append((ordered.indices[:, :k].clone(), ordered.values[:, :k].clone()))  # a slice would keep all of it
    indices, values = zip(*found, strict=True)
    return Neighbours(torch.cat(indices), torch.cat(values))


def grid_of(tokens: int, height: int, width: int) -> tuple[int, int]:
    """Return rows and columns of an image's tokens: of all ways to lay them out, the one whose cells are most nearly square."""
    ways = [(rows, tokens // rows) for rows in range(1, tokens + 1) if tokens % rows == 0]
    return min(ways, key=lambda way: abs(math.log((height / way[0]) / (width / way[1]))))
