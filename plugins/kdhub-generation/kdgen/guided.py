"""`GuidedDenoiser`: a frozen denoiser with adapters, which gives in one pass what guidance gives in two."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdgen.adapters import Adapters
from kdgen.denoiser import Denoiser
from kdhub.api import UsageError, near_matches


class GuidedDenoiser(Denoiser):
    """A network whose guidance is learned by adapters; the student of `kdgen.AGD`.

    Its own weights stay frozen, under their own names, and its adapters can be taken off. The guidance scale, for all or for each
    sample, is an input: any call is one forward pass. Before training it is the conditional model at any scale.

    Args:
        net: As in `kdgen.Denoiser`; it stays as it is.
        noise: As in `kdgen.Denoiser`.
        adapters: Arguments of `kdgen.adapters.Adapters`:
            ``dict(at='hidden.*', design='offset', width=64, scale=0.1, time='time', condition='labels')``.
        pred_type: As in `kdgen.Denoiser`.
        classes: As in `kdgen.Denoiser`; label K means none.
        steps: As in `kdgen.Denoiser`.
        t_list: As in `kdgen.Denoiser`.
        guidance_scale: Guidance of its samples.
        data_preprocessor: Moves a batch to the device by default.
        init_cfg: mmengine's.

    Raises:
        UsageError: For a model without classes, whose guidance nobody knows.
    """

    def __init__(
        self,
        net: Any,
        noise: Any,
        adapters: Mapping[str, Any],
        pred_type: str = "eps",
        classes: int = 0,
        steps: int = 1,
        t_list: Sequence[float] | None = None,
        guidance_scale: float = 1.0,
        data_preprocessor: Any = None,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(
            net, noise, pred_type, classes, 0.0, steps, t_list, guidance_scale, data_preprocessor, init_cfg
        )
        if not classes:
            raise UsageError(
                "guidance with an unconditional model",
                where="GuidedDenoiser.classes",
                expected="the number of classes K, with label K for none",
                got="0",
            )
        self.net.requires_grad_(False)
        self.adapters = Adapters(self.net, **_known(adapters))

    @property
    def kdhub_inner(self) -> nn.Module | None:  # type: ignore[override]
        """Nothing: without its adapters the network is the model that one had."""
        return None

    def train(self, mode: bool = True) -> GuidedDenoiser:
        """Train the adapters; the network stays in evaluation, as it was when its trajectories were collected."""
        super().train(mode)
        self.net.eval()
        return self

    def predict(
        self,
        x_t: Tensor,
        t: Tensor,
        labels: Tensor | None = None,
        to: str = "eps",
        guidance_scale: float | Tensor = 1.0,
    ) -> Tensor:
        """Ask the network, in one pass at any guidance; as in `kdgen.Denoiser`."""
        scales = guidance_scale if isinstance(guidance_scale, Tensor) else torch.full((len(x_t),), guidance_scale)
        with self.adapters.guided(scales.to(x_t)):
            return super().predict(x_t, t, labels, to)

    def predict_unguided(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None, to: str = "eps") -> Tensor:
        """Ask the network alone, as if there were no adapters."""
        return super().predict(x_t, t, labels, to)

    def denoising_loss(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Refuse to train on data.

        Raises:
            UsageError: Always: `kdgen.AGD` trains it.
        """
        raise UsageError("a GuidedDenoiser does not train alone", fix="make it the student of kdgen.AGD")


def _known(adapters: Mapping[str, Any]) -> Mapping[str, Any]:
    """See that arguments of `Adapters` are such, and that they say where adapters sit."""
    names = [name for name in inspect.signature(Adapters).parameters if name != "net"]
    for name in adapters:
        if name not in names:
            raise UsageError(
                f"adapters have no {name!r}",
                where=f"GuidedDenoiser.adapters.{name}",
                expected=f"one of {', '.join(names)}",
                near=near_matches(name, names),
            )
    if "at" not in adapters:
        raise UsageError(
            "nobody knows at which blocks adapters sit",
            where="GuidedDenoiser.adapters.at",
            expected="paths of blocks, such as 'hidden.*'",
        )
    return adapters
