"""Networks of diffusers' pipelines: what a text is to a network, and a `Denoiser` that reads all from a pipeline's folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from kdgen.denoiser import Denoiser, config_of, is_told_texts, label_rows
from kdhub.api import UsageError, build, near_matches

_TYPES = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
"""Names of predictions in diffusers' schedulers with betas, and ours."""

_OTHER_NOISE = ("trained_betas", "rescale_betas_zero_snr", "use_flow_sigmas")
"""Settings of diffusers' schedulers by which the amounts of noise are not those of the betas."""


class TextConditioned(nn.Module):
    """A network that is told texts, such as diffusers' ``UNet2DConditionModel``, called as all others with labels: label k is prompt k.

    Prompts are encoded once, as SwiftBrush does: neither tokenizer nor text encoder is in memory while training. The student that a
    run leaves is the network alone.

    Args:
        net: The network: ``dict(type='diffusers.UNet2DConditionModel', ...)``.
        prompts: A file of safetensors with ``prompts`` (K + 1, tokens, width): the text encoder's output of each prompt, and at
            last that of the empty one, which is label K. Set ``classes=K`` in the `kdgen.Denoiser` around it.

    Raises:
        UsageError: For a file that holds something else.
    """

    prompts: Tensor

    def __init__(self, net: Any, prompts: str) -> None:
        super().__init__()
        self.net = build("model", net, where="TextConditioned.net")
        try:
            table = load_file(prompts)["prompts"]
        except (OSError, KeyError, SafetensorError) as error:
            raise UsageError(
                "no encoded prompts here",
                where="TextConditioned.prompts",
                expected="a file of safetensors with prompts (K + 1, tokens, width)",
                got=f"{prompts}: {error}",
                fix="safetensors.torch.save_file({'prompts': pipeline.encode_prompt(...)}, 'prompts.safetensors')",
            ) from error
        wide = getattr(getattr(self.net, "config", None), "cross_attention_dim", table.shape[-1])
        if table.dim() != 3 or len(table) < 2 or table.shape[-1] != wide:
            raise UsageError(
                "the prompts do not fit the network",
                where="TextConditioned.prompts",
                expected=f"(K + 1, tokens, {wide}), K at least 1",
                got=str(tuple(table.shape)),
                fix="encode them with the text encoder of the network's own pipeline",
            )
        self.register_buffer("prompts", table.float(), persistent=False)
        self.told = Tokens(wide)

    @property
    def kdhub_inner(self) -> nn.Module:
        """The network, which diffusers loads."""
        return self.net

    def forward(self, x: Tensor, t: Tensor, labels: Tensor) -> Any:
        """Ask the network of samples (B, ...) at times (B,) for prompts (B,)."""
        return self.net(x, timestep=t, encoder_hidden_states=self.told(self.prompts[labels].to(x.dtype)))


class Tokens(nn.Module):
    """Passes the tokens of a text on: the path at which adapters hear them.

    Args:
        width: Width of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_features = width

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (B, N, width) as they are."""
        return tokens


class PipelineDenoiser(Denoiser):
    """The denoiser in a folder of a diffusers pipeline: network, schedule and prediction type as the folder says.

    Nothing is downloaded: the folder is what ``DiffusionPipeline.save_pretrained`` writes. As a teacher it is
    ``dict(type='kdhub.ModelTeacher', model=dict(type='kdgen.PipelineDenoiser', path='...'), own_weights=True)``; as a student it begins
    with the pipeline's weights.

    Args:
        path: The folder, with ``model_index.json``.
        prompts: As in `TextConditioned`, for a network that is told texts, which needs them.
        classes: Number of classes K, whose label K means none. A DiT says it, and the prompts of a text do. A U-Net says only how many
            rows its table has, and not whether the last one means none: for one with ``num_class_embeds`` it must be given.
        pred_type: Only to say that you know it: another than the folder's is an error.
        steps: As in `kdgen.Denoiser`.
        t_list: As in `kdgen.Denoiser`.
        guidance_scale: As in `kdgen.Denoiser`.
        data_preprocessor: Moves a batch to the device by default.
        init_cfg: mmengine's.

    Raises:
        UsageError: For a folder that is none, a schedule that kdgen does not have, a prediction type or a number of classes that is not
            the folder's, or texts without prompts.
    """

    def __init__(
        self,
        path: str,
        prompts: str | None = None,
        classes: int | None = None,
        pred_type: str | None = None,
        steps: int = 1,
        t_list: Sequence[float] | None = None,
        guidance_scale: float = 1.0,
        data_preprocessor: Any = None,
        init_cfg: Any = None,
    ) -> None:
        folder = Path(path)
        noise, own = _schedule(folder)
        if pred_type not in (None, own):
            raise UsageError(
                "the prediction type does not fit the teacher",
                where="PipelineDenoiser.pred_type",
                expected=repr(own),
                got=repr(pred_type),
            )
        net = _network(folder)
        if prompts is not None:
            net = TextConditioned(net, prompts)
        elif is_told_texts(net):
            raise UsageError(
                "the network is told texts, and there are none",
                where="PipelineDenoiser.prompts",
                expected="a file of safetensors with prompts (K + 1, tokens, width)",
            )
        classes = _classes(net, classes)
        super().__init__(
            net,
            noise,
            own,
            classes,
            steps=steps,
            t_list=t_list,
            guidance_scale=guidance_scale,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )


def _network(folder: Path) -> nn.Module:
    try:
        import diffusers
    except ImportError as error:
        raise UsageError(
            "a pipeline of diffusers needs diffusers",
            where=str(folder),
            got=str(error),
            fix="pip install diffusers, or kdhub-generation[diffusers]",
        ) from error
    part = next((name for name in ("unet", "transformer") if (folder / name / "config.json").is_file()), None)
    if part is None:
        raise UsageError(
            "no pipeline of diffusers here",
            where=str(folder),
            expected="unet/ or transformer/, with config.json and weights",
            fix="pipeline.save_pretrained(folder)",
        )
    name = str(_read(folder / part / "config.json").get("_class_name"))
    kind: Any = getattr(diffusers, name, None)
    if not hasattr(kind, "from_pretrained"):
        raise UsageError(
            "diffusers has no network of this name",
            where=f"{folder / part / 'config.json'}: _class_name",
            got=repr(name),
            near=near_matches(name, dir(diffusers)),
        )
    try:
        made: nn.Module = kind.from_pretrained(folder / part, local_files_only=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UsageError(
            "the weights of the network cannot be read",
            where=str(folder / part),
            expected="what pipeline.save_pretrained writes",
            got=" ".join(str(error).split())[:300],
        ) from error
    return made


def _schedule(folder: Path) -> tuple[dict[str, Any], str]:
    """Return the config of the schedule that a pipeline was trained with, and what its network predicts."""
    found = _read(folder / "scheduler" / "scheduler_config.json")
    betas, said = found.get("beta_schedule"), found.get("prediction_type", "epsilon")
    known = ("linear", "scaled_linear", "squaredcos_cap_v2")
    others = [f"{name}={found[name]!r}" for name in _OTHER_NOISE if found.get(name) not in (None, False)]
    if betas not in known or others or said not in _TYPES:
        raise UsageError(
            "kdgen does not have this schedule",
            where=str(folder / "scheduler"),
            expected=f"beta_schedule {', '.join(known)}; prediction_type {', '.join(_TYPES)}; no {', '.join(_OTHER_NOISE)}",
            got=f"{found.get('_class_name')} with {', '.join([f'beta_schedule={betas!r}', f'prediction_type={said!r}', *others])}",
            fix="dict(type='kdgen.Denoiser', net=..., noise=..., pred_type=...) says it by hand",
        )
    noise = {
        "type": "kdgen.DDPMSchedule",
        "beta_schedule": betas,
        "timesteps": found.get("num_train_timesteps", 1000),
        "beta_start": found.get("beta_start", 0.0001),
        "beta_end": found.get("beta_end", 0.02),
    }
    return noise, _TYPES[said]


def _classes(net: nn.Module, given: int | None) -> int:
    """Return the number of classes K, whose label K means none."""
    if given is not None:
        return given
    rows = label_rows(net) or 0
    if rows and not isinstance(net, TextConditioned) and "num_embeds_ada_norm" not in config_of(net):
        raise UsageError(
            f"the network knows {rows} labels, and nobody knows whether the last of them means none",
            where="PipelineDenoiser.classes",
            expected=f"{rows - 1}, if it was trained with label {rows - 1} for samples without a class",
        )
    return max(rows - 1, 0)


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            "no pipeline of diffusers here",
            where=str(path),
            got=str(error),
            fix="a folder that pipeline.save_pretrained wrote",
        ) from error
    return content
