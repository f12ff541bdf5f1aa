"""Global relationship loss of TRG: each student token finds its own teacher token among all of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from kdhub.api import UsageError, integer, number, optional, require, unit_vectors
from kdtrg.sampling import GraphLoss, paired


class GlobalContrast(GraphLoss):
    """Contrast of each student token with all teacher tokens: its own is right, every other one is wrong.

    With ``u_i`` the student's token, projected to the teacher's width, and cosines divided by the temperature τ:
    ``L = mean_i −log ( exp(cos(u_i, t_i)/τ) / Σ_j exp(cos(u_i, t_j)/τ) )``. It is not 0 where student equals teacher, and
    at most ``log n`` there.

    Args:
        temperature: Divides the cosines. The paper lets it fall during training: coarse structure first, hard negatives last.
            Write ``dict(type='kdhub.CosineSchedule', start=0.5, end=0.07, steps=...)``; shape and ends are the card's. The
            default 0.07 is that end. Too low from the start, and few pairs rule the gradient.
        in_features: The student's width D. ``None``, the default, projects nothing: the widths are equal, or an adapter
            made them so.
        out_features: The teacher's width E; given with ``in_features``. The projection has no bias and is trained, and
            thrown away with the loss. It is used too where the widths are equal.
        tokens: Tokens drawn of each image; ``None`` takes all. See `kdtrg.sampling.GraphLoss` for this and the following.
        draw: ``dict(type='kdtrg.StepNumber')`` draws anew in each step; needed with ``tokens``.
        seed: Seed of the draws.
        gather: Whether the tokens of all processes are negatives.
        chunk: Student tokens whose cosines are held at once; ``None`` holds all n x n of them.
        reduction: ``'mean'`` over tokens, or the paper's ``'sum'``.

    Inputs:
        student: ``(B, N, D)``; any float type; raised to float32.
        teacher: ``(B, N, E)``: the same images and places; takes no gradient.

    References:
        arXiv 2306.12442, global relationship loss; the falling temperature: Big Data Research 2024, 100438; card
        ``methods/trg.md``, section 3.3.

    Requirements:
        At least 2 tokens, or the loss is 0. Duplicate teacher tokens, such as padding, are negatives of each other and set
        a floor below which the loss cannot fall. More processes with ``gather`` mean more negatives: the loss grows.

    Relations:
        - `LocalGraph` asks for neighbourhoods alone and needs no projection.
        - `kdhub.Cosine` pulls tokens together and pushes none apart.

    Example:
        ::

            contrast=dict(
                loss=dict(
                    type='kdtrg.GlobalContrast', in_features=64, out_features=256,
                    temperature=dict(type='kdhub.CosineSchedule', start=0.5, end=0.07, steps=20000)),
                student='features',
                teacher='features',
                adapter=dict(student=dict(type='kdtrg.Tokens'), teacher=dict(type='kdtrg.Tokens')),
                weight=0.1)
    """

    def __init__(
        self,
        temperature: float = 0.07,
        in_features: int | None = None,
        out_features: int | None = None,
        tokens: int | None = None,
        draw: Any = None,
        seed: int = 0,
        gather: bool = False,
        chunk: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(tokens, draw, seed, gather, chunk, reduction)
        require("GlobalContrast", number(above=0), temperature=temperature)
        self.temperature = temperature
        self.in_features = in_features
        self.out_features = out_features
        self.projection = projection("GlobalContrast", in_features, out_features)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Contrast the tokens; see the class for the inputs."""
        with torch.autocast(student.device.type, enabled=False):
            student, teacher = self.graph_tokens(*paired("GlobalContrast", student, teacher))
            return global_contrast(
                projected("GlobalContrast", self.projection, student, teacher),
                teacher,
                temperature=self.temperature,
                chunk=self.chunk,
                reduction=self.reduction,
            )


def projection(owner: str, in_features: int | None, out_features: int | None) -> nn.Module:
    """Make the student's projection, or none.

    Raises:
        UsageError: For a width that is none, or one width without the other.
    """
    require(owner, optional(integer(1)), in_features=in_features, out_features=out_features)
    if in_features is None and out_features is None:
        return nn.Identity()
    if in_features is None or out_features is None:
        raise UsageError(
            f"{owner}: a projection has two widths",
            expected="in_features, the student's, and out_features, the teacher's",
            got=f"in_features={in_features}, out_features={out_features}",
        )
    return nn.Linear(in_features, out_features, bias=False)


def projected(owner: str, layer: nn.Module, student: Tensor, teacher: Tensor) -> Tensor:
    """Bring student tokens ``(n, D)`` to the teacher's width.

    Raises:
        UsageError: If the projection does not fit, or the widths differ and there is none.
    """
    own, wanted = student.shape[1], teacher.shape[1]
    if (own, wanted) != (getattr(layer, "in_features", wanted), getattr(layer, "out_features", own)):
        raise UsageError(
            f"{owner}: the student's tokens cannot be brought to the teacher's width",
            got=f"student of width {own}, teacher of width {wanted}",
            fix=f"set in_features={own}, out_features={wanted}",
        )
    return layer(student)


def global_contrast(
    student: Tensor, teacher: Tensor, *, temperature: float, chunk: int | None, reduction: str
) -> Tensor:
    """Compute the loss of `GlobalContrast` for projected tokens ``(n, E)`` and ``(n, E)`` as a scalar.

    Raises:
        UsageError: If a schedule gave a temperature that is not positive.
    """
    require("GlobalContrast", number(above=0), temperature=temperature)
    ours, theirs = unit_vectors(student, 1), unit_vectors(teacher, 1)
    own = torch.arange(len(ours), device=ours.device)

    def of(rows: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(rows @ theirs.T / temperature, target, reduction="sum")

    if chunk is None:
        total = of(ours, own)
    else:
        parts = zip(ours.split(chunk), own.split(chunk), strict=True)
        total = torch.stack(
            [checkpoint(of, *part, use_reentrant=False, preserve_rng_state=False) for part in parts]
        ).sum()
    return total if reduction == "sum" else total / len(ours)
