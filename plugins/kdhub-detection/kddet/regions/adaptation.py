"""Adapting an image-text model to crops of boxes by its LayerNorms alone (EZAD, stage A)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdhub.api import UsageError


def train_layer_norms(model: nn.Module) -> dict[str, nn.Parameter]:
    """Freeze a model but for the weights and biases of its LayerNorms.

    Args:
        model: CLIP, or any model with `torch.nn.LayerNorm`.

    Returns:
        What trains, by name: 65,536 numbers in CLIP ViT-B/32.

    Raises:
        UsageError: If the model has no LayerNorm.
    """
    own = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.LayerNorm)
        for parameter in module.parameters(recurse=False)
    }
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in own)
    trained = {name: parameter for name, parameter in model.named_parameters() if id(parameter) in own}
    if not trained:
        raise UsageError("nothing to adapt", expected="a model with torch.nn.LayerNorm", got=type(model).__name__)
    return trained


def crop_classification(logits: Sequence[Tensor], labels: Sequence[Tensor], kind: str = "bce") -> Tensor:
    """Compare the similarities of crops and names with what the crops show.

    A mean over the crops of all images, each image by its share of them; with ``bce`` a mean over names too:
    ``Σ_img N_img/ΣN · mean_{n,c} BCE(σ(s), 1[c = y])``, which is the mean over all crops and names.

    Args:
        logits: For each image ``(N_img, C)``, ``exp(logit_scale) · cos``.
        labels: For each image ``(N_img,)``.
        kind: ``'bce'`` as in the released code, or ``'ce'``.

    Returns:
        Scalar; exactly 0, with the graph kept, without any crop.

    Raises:
        UsageError: For another kind, or no image at all.
    """
    if kind not in ("bce", "ce"):
        raise UsageError("bad kind", expected="'bce' or 'ce'", got=repr(kind))
    if not len(logits):
        raise UsageError("no image of the batch has a box", fix="leave images without boxes out")
    rows, targets = torch.cat(list(logits)).float(), torch.cat(list(labels))
    if not len(rows):
        return rows.sum()
    if kind == "ce":
        return functional.cross_entropy(rows, targets)
    hot = functional.one_hot(targets, rows.shape[1]).to(rows)
    return functional.binary_cross_entropy_with_logits(rows, hot)
