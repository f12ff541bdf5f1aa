"""TRG: the local, the global and the contextual term over the same tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kdhub.api import UsageError, choice, number, optional, require
from kdtrg.losses.context_graph import RESCALES, context_graph
from kdtrg.losses.global_contrast import global_contrast, projected, projection
from kdtrg.losses.local_graph import local_graph, require_local
from kdtrg.sampling import GraphLoss, paired


class TRGLoss(GraphLoss):
    """Token-level relationship graph: a token's neighbours, its place among all tokens, and the relations within its image.

    ``L = β·L_local + γ·L_global + α·L_context``, the losses of `LocalGraph`, `GlobalContrast` and `ContextGraph`; the terms
    are logged one by one. The first two see the tokens that are drawn, the third sees all. Cross-entropy and the divergence of
    logits, which the paper adds, are the student's own loss and an objective with `kdhub.TemperatureKL`.

    Args:
        local_weight: β, 1 by default; ``None`` leaves the term out. The three weights are the card's, not the paper's, and meant
            for mean reductions.
        global_weight: γ, 0.1 by default; ``None`` leaves the term out.
        context_weight: α, 1 by default; ``None`` leaves the term out.
        k: Neighbours of a token in the local term.
        sigma: Width of its kernel.
        normalize: Whether it scales tokens to length 1 first.
        neighbours: Whose neighbours it counts: ``'own'`` or the ``'teacher'``'s.
        direction: ``'teacher||student'`` or ``'student||teacher'``.
        temperature: Divides the cosines of the global term; it should fall during training, by
            ``dict(type='kdhub.CosineSchedule', start=0.5, end=0.07, steps=...)``.
        in_features: The student's width, for the projection of the global term; ``None`` where widths are equal.
        out_features: The teacher's width.
        rescale: ``None``, ``'unit'`` or ``'layer'``: what the contextual term does to the tokens first.
        tokens: Tokens drawn of each image; ``None`` takes all. See `kdtrg.sampling.GraphLoss` for this and the following.
        draw: ``dict(type='kdtrg.StepNumber')`` draws anew in each step; needed with ``tokens``.
        seed: Seed of the draws.
        gather: Whether the graph spans the batches of all processes.
        chunk: Rows of the graph that are held at once; ``None`` holds all.
        reduction: ``'mean'`` over tokens, or ``'sum'``: then multiply the first two weights by about 1/n.

    Inputs:
        student: ``(B, N, D)``; any float type; raised to float32.
        teacher: ``(B, N, E)``: the same images and places; takes no gradient.

    References:
        arXiv 2306.12442; Big Data Research 2024, 100438; card ``methods/trg.md``, section 3.

    Requirements:
        Student and teacher see the same view of an image, or places do not correspond. The paper's accuracy rises with the
        batch, as the graph does; a graph over a part of the batch is another graph.

    Relations:
        - Each term alone, with its arguments explained: `LocalGraph`, `GlobalContrast`, `ContextGraph`.
        - `kdhub.Relational` relates whole images.

    Example:
        ::

            trg=dict(
                loss=dict(
                    type='kdtrg.TRGLoss', in_features=64, out_features=256, tokens=8,
                    draw=dict(type='kdtrg.StepNumber'),
                    temperature=dict(type='kdhub.CosineSchedule', start=0.5, end=0.07, steps=20000)),
                student='features',
                teacher='features',
                adapter=dict(student=dict(type='kdtrg.Tokens'), teacher=dict(type='kdtrg.Tokens')))
    """

    def __init__(
        self,
        local_weight: float | None = 1.0,
        global_weight: float | None = 0.1,
        context_weight: float | None = 1.0,
        k: int = 8,
        sigma: float = 1.0,
        normalize: bool = True,
        neighbours: str = "own",
        direction: str = "teacher||student",
        temperature: float = 0.07,
        in_features: int | None = None,
        out_features: int | None = None,
        rescale: str | None = None,
        tokens: int | None = None,
        draw: Any = None,
        seed: int = 0,
        gather: bool = False,
        chunk: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(tokens, draw, seed, gather, chunk, reduction)
        weights = {"local_weight": local_weight, "global_weight": global_weight, "context_weight": context_weight}
        require("TRGLoss", optional(number(at_least=0)), **weights)
        if all(weight is None for weight in weights.values()):
            raise UsageError("TRGLoss has no term", expected="a weight for one of them", got="None for all three")
        require_local("TRGLoss", k, sigma, normalize, neighbours, direction)
        require("TRGLoss", number(above=0), temperature=temperature)
        require("TRGLoss", optional(choice(RESCALES)), rescale=rescale)
        self.local_weight = local_weight
        self.global_weight = global_weight
        self.context_weight = context_weight
        self.k = k
        self.sigma = sigma
        self.normalize = normalize
        self.neighbours = neighbours
        self.direction = direction
        self.temperature = temperature
        self.in_features = in_features
        self.out_features = out_features
        self.rescale = rescale
        # one that no term uses would stop DistributedDataParallel
        widths = (in_features, out_features) if global_weight is not None else (None, None)
        self.projection = projection("TRGLoss", *widths)

    def forward(self, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        """Return the weighted terms ``local``, ``global`` and ``context``; see the class for the inputs."""
        with torch.autocast(student.device.type, enabled=False):
            return self._terms(*paired("TRGLoss", student, teacher))

    def _terms(self, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        terms = {}
        if self.context_weight is not None:
            terms["context"] = self.context_weight * context_graph(student, teacher, rescale=self.rescale)
        if self.local_weight is None and self.global_weight is None:
            return terms
        student, teacher = self.graph_tokens(student, teacher)
        if self.local_weight is not None:
            terms["local"] = self.local_weight * local_graph(
                student,
                teacher,
                k=self.k,
                sigma=self.sigma,
                normalize=self.normalize,
                neighbours=self.neighbours,
                direction=self.direction,
                chunk=self.chunk,
                reduction=self.reduction,
            )
        if self.global_weight is not None:
            terms["global"] = self.global_weight * global_contrast(
                projected("TRGLoss", self.projection, student, teacher),
                teacher,
                temperature=self.temperature,
                chunk=self.chunk,
                reduction=self.reduction,
            )
        return terms
