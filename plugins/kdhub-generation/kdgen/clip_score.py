"""CLIP score: how well images fit the texts that they were made for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device
from torch import Tensor

from kdgen.metrics import SampleMetric
from kdhub.api import UsageError, integer, require


class CLIPScore(SampleMetric):
    """Mean cosine of images and texts in a CLIP model, times 100 and at least 0 (Hessel et al. 2021, arXiv 2104.08718, without its 2.5).

    Gives ``clip_score``; higher is better. SwiftBrush and AGD report the cosine itself, a hundredth of this. Figures of two CLIP models do
    not compare.

    Args:
        path: Folder of a ``CLIPModel`` of transformers with tokenizer and image processor, as ``save_pretrained`` writes it. Nothing is
            downloaded.
        prompts: One text for each label.
        chunk: Images that the model is given at once.
        collect_device: mmengine's.
        prefix: mmengine's.

    Raises:
        UsageError: If there is no such folder, or at an evaluation if samples have no label or a label without a text.
    """

    def __init__(
        self,
        path: str,
        prompts: Sequence[str],
        chunk: int = 64,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        require("CLIPScore", integer(1), chunk=chunk)
        if not (Path(path) / "config.json").is_file():
            raise UsageError(
                "no CLIP model here",
                where="CLIPScore.path",
                expected="a folder with config.json, weights, tokenizer and preprocessor_config.json",
                got=path,
                fix="huggingface-cli download openai/clip-vit-base-patch32 --local-dir FOLDER",
            )
        self.path, self.prompts, self.chunk = path, list(prompts), chunk
        self._built: tuple[Any, Any, Tensor] | None = None

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Compute the figure; the model and the texts are kept for the next evaluation."""
        samples = torch.cat([one["sample"] for one in results])
        labels = torch.cat([one["label"] for one in results if "label" in one] or [torch.empty(0)]).long()
        if len(labels) != len(samples) or int(labels.max()) >= len(self.prompts):
            raise UsageError(
                "samples without a text",
                where="CLIPScore.prompts",
                expected="a label of each sample, and a prompt for each label",
                got=f"{len(samples)} samples, {len(labels)} labels up to {int(labels.max()) if len(labels) else 'none'},"
                f" {len(self.prompts)} prompts",
            )
        images = self._images(samples)
        fit = (images * self._ready()[2].cpu()[labels]).sum(dim=1)
        return {"clip_score": float(100.0 * fit.clamp(min=0).mean())}

    def _ready(self) -> tuple[Any, Any, Tensor]:
        if self._built is None:
            from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

            known: dict[str, Any] = {"local_files_only": True}
            model: Any = CLIPModel.from_pretrained(self.path, use_safetensors=True, **known)
            model = model.to(get_device()).eval()
            tokens = AutoTokenizer.from_pretrained(self.path, **known)(
                self.prompts, padding=True, truncation=True, return_tensors="pt"
            ).to(get_device())
            with torch.no_grad():
                texts = _unit(model.get_text_features(**tokens))
            self._built = model, AutoImageProcessor.from_pretrained(self.path, **known), texts
        return self._built

    @torch.no_grad()
    def _images(self, samples: Tensor) -> Tensor:
        """Return a unit vector (N, D) of each image (N, 1 or 3, H, W) from -1 to 1."""
        model, processor, _ = self._ready()
        pixels = ((samples.clamp(-1, 1) + 1) * 127.5).round().byte()
        found = []
        for part in pixels.expand(-1, 3, -1, -1).split(self.chunk):
            given = processor(images=list(part), return_tensors="pt", input_data_format="channels_first")
            found.append(_unit(model.get_image_features(pixel_values=given["pixel_values"].to(get_device()))).cpu())
        return torch.cat(found)


def _unit(features: Any) -> Tensor:
    # transformers 5 returns an object with pooler_output, 4 the tensor itself
    vectors: Tensor = getattr(features, "pooler_output", features)
    return torch.nn.functional.normalize(vectors.float(), dim=-1)
