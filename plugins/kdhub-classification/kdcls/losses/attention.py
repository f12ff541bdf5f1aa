"""Attention transfer: where a feature map is active, whatever its channels mean."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdhub.api import UsageError, number, require, to_float32, unit_vectors


class AttentionTransfer(nn.Module):
    """Distance of normalised maps of activity.

    With ``a_i = mean_c |f_ci|^p`` at each place i and â = a/‖a‖₂ over the places: ``L = mean_{B,i} (â_S − â_T)²``. Channels
    need not match, so there is no adapter.

    Args:
        power: p. 2.0, the default and the authors': the larger, the more the map is that of the strongest channel.

    Inputs:
        student: Feature map (B, C, h, w); any float type, raised to float32.
        teacher: Feature map (B, D, H, W) of the same images; takes no gradient. The finer of the two maps is brought to the coarser
            one's size by adaptive average pooling, as in the common re-implementations.

    References:
        - Zagoruyko and Komodakis, "Paying More Attention to Attention", arXiv 1612.03928 (ICLR 2017), equation 2. There the
          distance is a norm with weight β/2, β = 1000/(places · batch); the authors' code has the mean of squares here, with
          weight 1000.

    Requirements:
        Maps with places: at least 2 of them. One objective a stage; the usual weight is 1000, as the maps have norm 1.

    Relations:
        - `kdhub.MSE` behind `kdhub.Conv1x1` (FitNets) asks for the features themselves, through a learned projection.
        - `kdhub.Relational` compares samples, this loss places.

    Example:
        ::

            objectives=dict(
                stage3=dict(
                    loss=dict(type='kdcls.AttentionTransfer'), student='layer3', teacher='layer3', weight=1000.0))
    """

    def __init__(self, power: float = 2.0) -> None:
        super().__init__()
        require("AttentionTransfer", number(above=0), power=power)
        self.power = power

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare feature maps of the same images; see the class for the inputs."""
        if student.ndim != 4 or teacher.ndim != 4 or len(student) != len(teacher):
            raise UsageError(
                "AttentionTransfer compares feature maps of the same images",
                expected="student (B, C, h, w), teacher (B, D, H, W)",
                got=f"student {tuple(student.shape)}, teacher {tuple(teacher.shape)}",
                fix="tap a convolutional stage; tokens have no map",
            )
        ours, theirs = to_float32(student), to_float32(teacher).detach()
        size = min((ours.shape[-2:], theirs.shape[-2:]), key=lambda one: one.numel())
        if size.numel() < 2:
            raise UsageError(
                "AttentionTransfer compares places: of one place the normalised map is constant",
                expected="maps of 2 places or more",
                got=f"student {tuple(student.shape)}, teacher {tuple(teacher.shape)}",
                fix="tap before the global pooling",
            )
        return (self._map(ours, size) - self._map(theirs, size)).square().mean()

    def _map(self, features: Tensor, size: torch.Size) -> Tensor:
        if features.shape[-2:] != size:
            features = functional.adaptive_avg_pool2d(features, (size[0], size[1]))
        # the scale of a sample cancels in the norm; taking it out first keeps the power from overflowing
        features = features / features.detach().abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-30)
        return unit_vectors(features.abs().pow(self.power).mean(1).flatten(1), 1)
