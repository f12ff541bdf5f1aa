"""Contextual loss of TRG: how the tokens of one image relate to each other."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdhub.api import choice, optional, require, unit_vectors
from kdtrg.sampling import paired

RESCALES = ("unit", "layer")


class ContextGraph(nn.Module):
    """Difference of the two sides' token similarities within each image.

    With ``F`` the tokens of an image and ``C = softmax(F Fᵀ/√D)`` by rows, each side with its own width D:
    ``L = mean (C_S − C_T)²`` over images and pairs of tokens. All tokens count, not a draw of them.

    Args:
        rescale: What is done to the tokens of both sides first. ``None``, the default, is the paper's formula: with large
            features, as CNNs have, the softmax saturates to a one-hot of each token itself and the gradient vanishes.
            ``'unit'`` gives each token length √D, so that scale does not matter; ``'layer'`` is a layer norm without
            parameters, which removes the token's mean too. Both are the card's suggestions.

    Inputs:
        student: ``(B, N, D)``; any float type; raised to float32.
        teacher: ``(B, N, E)``: the same images and places; D and E may differ; takes no gradient.

    References:
        arXiv 2306.12442, contextual loss; card ``methods/trg.md``, section 3.4.

    Requirements:
        At least 2 tokens an image: over one the softmax is constant and the loss 0.

    Relations:
        - `LocalGraph` relates tokens of different images.
        - `kdhub.Relational` relates whole images.

    Example:
        ::

            context=dict(
                loss=dict(type='kdtrg.ContextGraph', rescale='unit'),
                student='features',
                teacher='features',
                adapter=dict(student=dict(type='kdtrg.Tokens'), teacher=dict(type='kdtrg.Tokens')))
    """

    def __init__(self, rescale: str | None = None) -> None:
        super().__init__()
        require("ContextGraph", optional(choice(RESCALES)), rescale=rescale)
        self.rescale = rescale

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare similarities within images; see the class for the inputs."""
        with torch.autocast(student.device.type, enabled=False):
            return context_graph(*paired("ContextGraph", student, teacher), rescale=self.rescale)


def context_graph(student: Tensor, teacher: Tensor, *, rescale: str | None) -> Tensor:
    """Compute the loss of `ContextGraph` for what `paired` returns as a scalar."""
    return functional.mse_loss(_similarities(student, rescale), _similarities(teacher, rescale))


def _similarities(tokens: Tensor, rescale: str | None) -> Tensor:
    width = tokens.shape[-1]
    if rescale == "unit":
        tokens = unit_vectors(tokens, -1) * math.sqrt(width)
    elif rescale == "layer":
        tokens = functional.layer_norm(tokens, (width,))
    return torch.softmax(tokens @ tokens.transpose(1, 2) / math.sqrt(width), dim=-1)
