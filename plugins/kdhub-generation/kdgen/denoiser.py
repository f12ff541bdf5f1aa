"""`Denoiser`: a network with its schedule and prediction type; teacher, fake score and student alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from kdgen.noise import NoiseSchedule
from kdgen.prediction import convert, require_pred_type, target
from kdgen.sampling import ddim
from kdhub.api import UsageError, build, integer, number, require


class Denoiser(BaseModel):
    """A diffusion network, and all that one must know to ask it anything.

    As a model of its own it trains on data, which makes a teacher. As a student it is called once, at ``t_start``, and samples in
    one step.

    Args:
        net: The network, called ``net(x, t, labels)``: diffusers' ``UNet2DModel`` as
            ``dict(type='diffusers.UNet2DModel', ...)`` or its ``DiTTransformer2DModel``, `kdgen.MLP`, or your own; a network that is
            told texts stands in `kdgen.TextConditioned`. It returns a tensor or, as in diffusers, an object with ``sample``. Of
            twice as many channels, as a DiT with learned variances has, the first half is taken.
        noise: The schedule, such as ``dict(type='kdgen.DDPMSchedule')``.
        pred_type: What the network predicts: ``eps``, ``x0``, ``v`` or ``flow``.
        classes: Number of classes K; label K means none, so the network's embedding has K + 1 rows. 0 for a network
            without classes.
        label_dropout: Share of the samples that train with label K, which guidance needs.
        steps: Steps in which it samples in an evaluation.
        t_list: The times of those steps, in place of the schedule's own; ``None`` for these. A student of score distillation with one
            time trains at it too: ``[950]`` on a schedule that has no signal left at 999, for a network that predicts noise.
        guidance_scale: Guidance w of its samples, uncond + w (cond - uncond); 1 for none.
        data_preprocessor: Moves a batch to the device by default.
        init_cfg: mmengine's; the network is initialised as it is built.

    Raises:
        UsageError: For a prediction type, classes, times or guidance that do not fit.
    """

    def __init__(
        self,
        net: Any,
        noise: Any,
        pred_type: str = "eps",
        classes: int = 0,
        label_dropout: float = 0.0,
        steps: int = 1,
        t_list: Sequence[float] | None = None,
        guidance_scale: float = 1.0,
        data_preprocessor: Any = None,
        init_cfg: Any = None,
    ) -> None:
        require("Denoiser", integer(0), classes=classes)
        require("Denoiser", number(at_least=0, at_most=1), label_dropout=label_dropout)
        if label_dropout and not classes:
            raise UsageError(
                "labels are dropped, and there are none",
                where="Denoiser.label_dropout",
                fix="set classes to their number",
            )
        require_pred_type(pred_type, "Denoiser.pred_type")
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.net = build("model", net, where="Denoiser.net")
        self.noise: NoiseSchedule = build("model", noise, where="Denoiser.noise")
        self.pred_type, self.classes, self.label_dropout = pred_type, classes, label_dropout
        _require_same_prediction(self.net, pred_type)
        _require_label_rows(self.net, classes)
        leave_labels(self.net)
        self.t_list = self.noise.t_list(steps) if t_list is None else self.noise.check_t_list(t_list, "Denoiser.t_list")
        self.guidance_scale = guidance_scale
        self.require_guidable(guidance_scale, "Denoiser.guidance_scale")

    @property
    def kdhub_inner(self) -> nn.Module:
        """The network, which this model stands for."""
        return self.net

    @property
    def t_start(self) -> float:
        """The time at which it generates in one step: that of a ``t_list`` of one, otherwise the schedule's ``t_max``."""
        return self.t_list[0] if len(self.t_list) == 1 else self.noise.t_max

    def require_guidable(self, guidance_scale: float, where: str) -> None:
        """See that guidance has an unconditional prediction to start from.

        Raises:
            UsageError: If the model has no classes.
        """
        if guidance_scale != 1.0 and not self.classes:
            raise UsageError(
                "guidance with an unconditional model",
                where=where,
                expected="1.0, or a model with classes=K whose label K means none",
                got=str(guidance_scale),
            )

    def null_labels(self, count: int, device: torch.device | None = None) -> Tensor | None:
        """Return labels (count,) that mean none; ``None`` for a model without classes."""
        return torch.full((count,), self.classes, device=device) if self.classes else None

    def predict(
        self,
        x_t: Tensor,
        t: Tensor,
        labels: Tensor | None = None,
        to: str = "eps",
        guidance_scale: float | Tensor = 1.0,
    ) -> Tensor:
        """Ask the network.

        Args:
            x_t: Noisy samples (B, ...).
            t: Times (B,).
            labels: Labels (B,); ``None`` for label K.
            to: The type of prediction that is wanted.
            guidance_scale: Guidance w, for all or for each sample (B,).

        Returns:
            The prediction (B, ...) in float32.
        """
        labels = labels if labels is not None else self.null_labels(len(x_t), x_t.device)
        said = self._said(x_t, t, labels)
        if isinstance(guidance_scale, Tensor) or guidance_scale != 1.0:
            without = self._said(x_t, t, self.null_labels(len(x_t), x_t.device))
            if isinstance(guidance_scale, Tensor):
                guidance_scale = guidance_scale.reshape(-1, *[1] * (x_t.dim() - 1))
            said = without + guidance_scale * (said - without)
        return convert(said, x_t, t, self.pred_type, to, self.noise)

    def generate(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Make samples (B, ...) of unit noise (B, ...) in one step, with gradient."""
        t = torch.full((len(noise),), self.t_start, device=noise.device)
        return self.predict(noise * self.noise.start_std(self.t_start), t, labels, to="x0")

    def denoising_loss(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the mean squared error of the network's own prediction, at times over the whole schedule."""
        t = self.noise.draw(len(x), device=x.device)
        eps = torch.randn_like(x)
        said = self.predict(self.noise.add_noise(x, eps, t), t, labels, to=self.pred_type)
        return (said - target(x, eps, t, self.pred_type, self.noise)).square().mean()

    def forward(
        self,
        inputs: Tensor,
        labels: Tensor | None = None,
        mode: str = "tensor",
        guidance: Tensor | None = None,
        targets: Tensor | None = None,
    ) -> Any:
        """Run on a batch.

        Args:
            inputs: In mode ``loss`` samples of the data (B, ...); otherwise unit noise.
            labels: Labels (B,).
            mode: ``loss``, ``predict`` or ``tensor``.
            guidance: Guidance of each sample (B,); ``None`` for ``guidance_scale``.
            targets: What a teacher made of the noise (B, ...), which goes along to the metric.

        Returns:
            In mode ``loss`` a dict with ``loss_denoising``; in mode ``tensor`` generated samples (B, ...); in mode ``predict``
            a list of B dicts with ``sample``, and ``label`` and ``target`` where they are known.
        """
        if mode == "loss":
            return {"loss_denoising": self.denoising_loss(inputs, self._some_dropped(labels))}
        samples = ddim(self, inputs, labels, self.t_list, self.guidance_scale if guidance is None else guidance)
        if mode == "tensor":
            return samples
        beside = {name: value for name, value in (("label", labels), ("target", targets)) if value is not None}
        return [{"sample": one, **{name: beside[name][i] for name in beside}} for i, one in enumerate(samples)]

    def init_weights(self) -> None:
        """Leave the network as it was built; mmengine would call a method of this name of any network."""

    def _said(self, x_t: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        said = self.net(x_t, self.noise.time_input(t), labels)
        said = getattr(said, "sample", said)
        if said.dim() == 4 and said.shape[1] == 2 * x_t.shape[1]:
            said = said[:, : x_t.shape[1]]
        if said.shape != x_t.shape:
            raise UsageError(
                "the network predicts something of another shape than it is asked about",
                where="Denoiser.net",
                expected=str(tuple(x_t.shape)),
                got=str(tuple(said.shape)),
            )
        return said.float()  # dividing by a small alpha would magnify the rounding of half precision

    def _some_dropped(self, labels: Tensor | None) -> Tensor | None:
        if labels is None or not self.label_dropout:
            return labels
        dropped = torch.rand(len(labels), device=labels.device) < self.label_dropout
        return labels.masked_fill(dropped, self.classes)


def leave_labels(net: nn.Module) -> None:
    """Let a network drop no labels by itself, as diffusers' DiT does in training: a student would be told another class than it made."""
    module: Any
    for module in net.modules():
        if hasattr(module, "embedding_table") and hasattr(module, "dropout_prob"):
            module.dropout_prob = 0.0


def config_of(net: nn.Module) -> Mapping[str, Any]:
    """Return what a network of diffusers was built with; nothing for any other."""
    found = getattr(net, "config", None)
    return found if isinstance(found, Mapping) else {}


def is_told_texts(net: nn.Module) -> bool:
    """Say whether a network of diffusers is told texts, and so not labels."""
    return config_of(net).get("cross_attention_dim") is not None


def label_rows(net: nn.Module) -> int | None:
    """Return how many labels a network knows, the one for none among them; ``None`` where nobody knows."""
    if isinstance(prompts := getattr(net, "prompts", None), Tensor):
        return len(prompts)
    config = config_of(net)
    if isinstance(rows := config.get("num_embeds_ada_norm"), int):
        return rows + 1  # a DiT adds the row for none itself
    if "num_class_embeds" not in config or config.get("class_embed_type") is not None:
        return None
    return config["num_class_embeds"] or 0


def _require_label_rows(net: nn.Module, classes: int) -> None:
    """See that a network is told labels, and has a row for each class and one for none."""
    if is_told_texts(net):
        raise UsageError(
            "the network is told texts, and here are labels",
            where="Denoiser.net",
            got=type(net).__name__,
            fix="dict(type='kdgen.TextConditioned', net=dict(...), prompts='prompts.safetensors')",
        )
    rows = label_rows(net)
    if rows is not None and rows != (classes + 1 if classes else 0):
        raise UsageError(
            "the network's table of labels is not that of the classes",
            where="Denoiser.classes",
            expected="classes + 1 rows, the last of which means none; no table for classes=0",
            got=f"classes={classes} and {rows} rows",
        )


def _require_same_prediction(net: nn.Module, pred_type: str) -> None:
    """See that a network that says what it predicts was not given another type."""
    own = getattr(net, "pred_type", None)
    if own is not None and own != pred_type:
        raise UsageError(
            "the prediction type does not fit the network",
            where="Denoiser.pred_type",
            expected=repr(own),
            got=repr(pred_type),
        )
