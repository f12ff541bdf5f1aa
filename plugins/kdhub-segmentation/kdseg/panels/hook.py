"""`PanelHook`: pictures for the report, where two students differ most."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseModel
from PIL import Image
from torch import nn

from kdhub.api import ModelPanels, Panel, integer, require, student_of
from kdseg.panels.compare import Difference, Labels, difference, edge_band, right
from kdseg.panels.draw import Scene, draw
from kdseg.panels.reference import load_reference

STUDENT = "student"


class PanelHook(ModelPanels):
    """After training, draws the validation images on which the student differs most from another model.

    The other is the reference, such as the same student trained without a teacher; or else the teacher. Images are ranked
    by the number of pixels in which exactly one of the two is right. Each picture shows the image, the truth, what every
    model predicts, the band around the true boundaries, and where only one of the two is right. The student is drawn with
    the weights that were evaluated: with an `EMAHook`, the averaged ones.

    Args:
        count: Pictures to draw.
        reference: A student that another run exported; see `kdseg.panels.reference.load_reference`. It is loaded once before
            training, so that a wrong path costs no run. ``None`` takes the student alone of ``kdhub train --alone``, if there
            is one.
        reference_name: What the pictures call it.
        images: Validation images looked at, from the first on; each is predicted by two models.
        width: Half-width of the drawn band in pixels of the truth.

    Raises:
        UsageError: Before training, if there is nothing to compare with or on.
    """

    def __init__(
        self,
        count: int = 6,
        reference: str | None = None,
        reference_name: str = "student alone",
        images: int = 100,
        width: int = 3,
    ) -> None:
        super().__init__(reference, reference_name)
        require("PanelHook", integer(1), count=count, images=images, width=width)
        self.count = count
        self.images = images
        self.width = width

    def panels(self, runner: Any, models: Mapping[str, nn.Module], folder: Path) -> Iterator[Panel]:
        """Draw the images with the largest differences."""
        dataset = runner.val_dataloader.dataset
        images = range(min(self.images, len(dataset)))
        other = list(models)[-1]
        runner.logger.info(f"pictures: {STUDENT} against {other} on {len(images)} images")
        scores = {index: self._changes(dataset, index, models, other).pixels for index in images}
        chosen = sorted(images, key=lambda index: -scores[index])[: self.count]
        for rank, index in enumerate(chosen, start=1):
            path = folder / f"panel-{rank}.png"
            title, caption = self._draw(dataset, index, models, other, path)
            caption += f" Number {rank} of {len(images)} images by the pixels in which exactly one is right."
            yield Panel(title, path, caption)

    def load_reference(self, path: Path, runner: Any) -> nn.Module:
        """Load a segmentor, and compare its class names with those of the data."""
        return load_reference(path, student_of(runner.model), runner.val_dataloader.dataset.metainfo["classes"])

    def _changes(self, dataset: Any, index: int, models: Mapping[str, BaseModel], other: str) -> Difference:
        return difference(
            _truth(dataset[index]), *(_predict(models[name], dataset[index]) for name in (STUDENT, other))
        )

    def _draw(
        self, dataset: Any, index: int, models: Mapping[str, BaseModel], other: str, path: Path
    ) -> tuple[str, str]:
        """Draw one image; return title and caption."""
        sample = dataset[index]
        truth = _truth(sample)
        band = edge_band(truth, self.width)
        predictions = {name: _predict(model, dataset[index]) for name, model in models.items()}
        everywhere = {name: right(truth, labels) for name, labels in predictions.items()}
        near = {name: right(truth, labels, band) for name, labels in predictions.items()}
        # teachers, then the reference and the student side by side, and where these two differ
        order = [*[name for name in models if name not in (STUDENT, other)], other, STUDENT]
        scene = Scene(
            image=_photograph(sample, truth.shape),
            truth=truth,
            predictions={_heading(name, everywhere[name], near[name]): predictions[name] for name in order},
            changes=difference(truth, predictions[STUDENT], predictions[other]),
            changes_name=f"only right: {STUDENT} (green), {other} (red)",
            band=band,
        )
        draw(scene, path, dataset.metainfo["classes"], dataset.metainfo["palette"])
        gained, gained_near = (shares[STUDENT] - shares[other] for shares in (everywhere, near))
        title = f"{Path(sample['data_samples'].img_path).stem}: {STUDENT} {gained:+.1f} points of pixels right against {other}"
        title += "" if math.isnan(gained_near) else f", {gained_near:+.1f} in the edge band"
        return title, f"The edge band, outlined in white, reaches {self.width} pixels from the true boundaries."


def _predict(model: BaseModel, sample: Any) -> Labels:
    """Return a model's labels; the sample is used up, as mmseg writes padding and results into it."""
    (predicted,) = model.val_step(pseudo_collate([sample]))
    return predicted.pred_sem_seg.data.squeeze(0).cpu().numpy()


def _truth(sample: Any) -> Labels:
    return sample["data_samples"].gt_sem_seg.data.squeeze(0).numpy()


def _heading(name: str, everywhere: float, near: float) -> str:
    in_band = "" if math.isnan(near) else f", in the band {near:.1f} %"  # no boundary, no band
    return f"{name}: {everywhere:.1f} % right{in_band}"


def _photograph(sample: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Read the image as it is on the disk, in the truth's size."""
    with Image.open(sample["data_samples"].img_path) as image:
        return np.asarray(image.convert("RGB").resize(shape[::-1]))
