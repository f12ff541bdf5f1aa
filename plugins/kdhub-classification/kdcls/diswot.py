"""DisWOT: how well a student will learn from a teacher, told by two networks of random weights and one batch.

Both scores are at most 0, and higher is better. Nothing is trained. Source: Dong et al., "DisWOT: Student Architecture Search for
Distillation WithOut Training", CVPR 2023; card ``methods/diswot.md``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdhub.api import UsageError, preserved_randomness

INITS = ("normal", "own")


class Knowledge(NamedTuple):
    """What the scores read of a network.

    Attributes:
        activations: ``(B, c, h, w)``, the last map before global pooling: of several cells, if there is one.
        gradient: ``(classes, features)``, of the cross-entropy by the classifier's weight.
    """

    activations: Tensor
    gradient: Tensor


class Score(NamedTuple):
    """Both similarities; their sum ranks."""

    semantic: float
    relation: float

    @property
    def total(self) -> float:
        """Return the sum, by which candidates are ranked."""
        return self.semantic + self.relation


@torch.no_grad()
def draw_weights(net: nn.Module) -> None:
    """Draw weights of convolutions and linear layers from N(0, 1), with biases 0 and norms 1 and 0, as the ranking script does."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.normal_()
        elif isinstance(module, nn.modules.batchnorm._BatchNorm) and module.weight is not None:
            module.weight.fill_(1)
        else:
            continue
        if module.bias is not None:
            module.bias.zero_()


def knowledge(net: nn.Module, images: Tensor, labels: Tensor) -> Knowledge:
    """Run a network once, in training mode, and read what the scores compare.

    The network does not change: neither weights, nor gradients, nor statistics of its norms, nor its mode; and random
    numbers that it draws, as for dropout, are not missing elsewhere.

    Args:
        net: Returns logits, or a tuple or dict whose first tensor they are; its last linear layer to run is its classifier.
        images: ``(B, 3, H, W)`` or alike, B above 1 for batch norms.
        labels: ``(B,)``.

    Raises:
        UsageError: If the network has no map or no linear classifier.
    """
    twin = copy.deepcopy(net).train()
    maps: dict[bool, Tensor] = {}
    linear: list[nn.Linear] = []
    with preserved_randomness(), torch.enable_grad(), _watched(twin, maps, linear):
        logits = twin(images)
        if not isinstance(logits, Tensor):
            logits = next(iter(logits.values() if isinstance(logits, dict) else logits))
        if not maps or not linear:
            raise UsageError(
                f"{type(net).__name__} has no {'linear classifier' if maps else 'feature map'} that DisWOT could read",
                expected="maps (B, C, H, W), then a torch.nn.Linear",
            )
        (gradient,) = torch.autograd.grad(functional.cross_entropy(logits, labels), linear[-1].weight)
    return Knowledge(maps[True in maps], gradient)


@contextmanager
def _watched(net: nn.Module, maps: dict[bool, Tensor], linear: list[nn.Linear]) -> Iterator[None]:
    """Keep the last map of several cells, the last of one cell, and the linear layers, as they run."""

    def keep(module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(module, nn.Linear):
            linear.append(module)
        elif isinstance(output, Tensor) and output.ndim == 4:
            # a copy: an in-place activation would rewrite it
            maps[output.shape[-2:].numel() > 1] = output.detach().clone()

    handles = [module.register_forward_hook(keep) for module in net.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def relation_score(student: Tensor, teacher: Tensor) -> float:
    """Compare which samples of a batch are alike: ``−(1/B²) Σ (R_S − R_T)²`` with ``R = rows of A Aᵀ, each of length 1``.

    Args:
        student: ``(B, ...)``.
        teacher: ``(B, ...)``; other axes may differ.
    """
    ours, theirs = (_unit(side.double().flatten(1) @ side.double().flatten(1).T) for side in (student, teacher))
    return -float((ours - theirs).square().mean())


def semantic_score(student: Tensor, teacher: Tensor) -> float:
    """Compare which features tell a class: ``−(1/(classes·features)) Σ_class ‖C(g_S) − C(g_T)‖²``, ``C(g) = rows of g gᵀ of length 1``.

    Row i of ``C(g)`` is ``sign(g_i) g/‖g‖``, so that the features x features matrices are never made. Where the two have
    different numbers of features the formula says nothing; the rows of ``G Gᵀ``, classes by classes, are compared instead. That
    is the card's suggestion and not in the paper: compare such scores only with each other.

    Args:
        student: ``(classes, features)``.
        teacher: ``(classes, features)``.

    Raises:
        UsageError: If the numbers of classes differ.
    """
    ours, theirs = student.double(), teacher.double()
    if len(ours) != len(theirs):
        raise UsageError(
            "student and teacher tell different classes apart", got=f"{len(ours)} and {len(theirs)} classes"
        )
    if ours.shape != theirs.shape:
        return relation_score(ours, theirs)
    signs = [side.sign() for side in (ours, theirs)]
    cosines = (_unit(ours) * _unit(theirs)).sum(1)
    # ‖C(s)‖² + ‖C(t)‖² − 2 ⟨C(s), C(t)⟩; each row of C that is not 0 has length 1
    squares = signs[0].abs().sum(1) + signs[1].abs().sum(1) - 2 * (signs[0] * signs[1]).sum(1) * cosines
    return -float(squares.clamp(min=0).sum() / ours.numel())


def score(student: Knowledge, teacher: Knowledge) -> Score:
    """Return both scores of a student."""
    return Score(
        semantic_score(student.gradient, teacher.gradient), relation_score(student.activations, teacher.activations)
    )


def _unit(rows: Tensor) -> Tensor:
    # a dead row has no direction and stays 0, as the original leaves it
    length = rows.norm(dim=1, keepdim=True)
    return rows / length.masked_fill(length == 0, 1.0)


def is_finite(found: Score) -> bool:
    """Whether a score ranks: activations that overflow give none."""
    return math.isfinite(found.total)
