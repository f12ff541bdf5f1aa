"""`PanelHook`: pictures for the report, with the true boxes and what each model finds."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from PIL import Image
from torch import Tensor, nn
from torchvision.ops import box_iou

from kdhub.api import ModelPanels, Panel, UsageError, atomic_file, integer, load_weights, number, require, student_of

_WIDTH = 3.6
_COLUMNS = 3
_RIGHT, _WRONG, _TRUE = "#1e9e46", "#d7281e", "#f2a900"


class PanelHook(ModelPanels):
    """After training, draws validation images: the true boxes, and what the student, its teachers and the student alone find.

    A box is right, in green, if it has the class of a true box that no surer box has taken, at an IoU of 0.5; others are red.

    Args:
        count: Pictures to draw, spread evenly over the validation images.
        score: Least score of a box that is drawn; small students on little data are seldom sure.
        most: Boxes drawn of each model, the surest.
        reference: As of `kdhub.engine.panels.ModelPanels`.
        reference_name: What the pictures call it.
    """

    needs_another = False

    def __init__(
        self,
        count: int = 6,
        score: float = 0.2,
        most: int = 20,
        reference: str | None = None,
        reference_name: str = "student alone",
    ) -> None:
        super().__init__(reference, reference_name)
        require("PanelHook", integer(1), count=count, most=most)
        require("PanelHook", number(at_least=0), score=score)
        self.count = count
        self.score = score
        self.most = most

    def panels(self, runner: Any, models: Mapping[str, nn.Module], folder: Path) -> Iterator[Panel]:
        """Draw the images."""
        dataset = runner.val_dataloader.dataset
        classes = dataset.metainfo["classes"]
        places, _ = self.batches(runner, self.count)
        for rank, place in enumerate(places, start=1):
            sample = dataset[place]["data_samples"]
            truth = _true_boxes(dataset, place)
            found = {name: self._found(model, dataset[place]) for name, model in models.items()}
            path = folder / f"panel-{rank}.png"
            right = {name: _right(*one, *truth) for name, one in found.items()}
            _draw(path, sample.img_path, truth, found, right, classes)
            counts = ", ".join(f"{name} {sum(right[name])} of {len(right[name])} right" for name in found)
            caption = f"{len(truth[0])} true boxes; with a score of at least {self.score:g}: {counts}."
            yield Panel(f"{Path(sample.img_path).stem}: true boxes and detections", path, caption)

    def load_reference(self, path: Path, runner: Any) -> nn.Module:
        """Load a detector that kdhub exported, or weights of the student's own architecture."""
        folder = next((one for one in (path, path / "student") if (one / "student.pth").is_file()), None)
        if folder is not None:
            from mmdet.registry import MODELS

            model = MODELS.build({"_scope_": "mmdet", **Config.fromfile(folder / "config.py").model})
            load_weights(model, folder / "student.pth")
        elif path.is_file():
            model = copy.deepcopy(student_of(runner.model))
            load_weights(model, path)
        else:
            raise UsageError(
                "no student to compare with",
                where=str(path),
                expected="a folder with config.py and student.pth, a work_dir with such a folder, or a checkpoint",
                fix="train it first, or leave `reference` out",
            )
        built: nn.Module = model.eval()
        return built

    def _found(self, model: Any, sample: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes, labels and scores, the surest first; the sample is used up."""
        (predicted,) = model.val_step(pseudo_collate([sample]))
        objects = predicted.pred_instances.cpu()
        objects = objects[objects.scores >= self.score]
        order = objects.scores.argsort(descending=True)[: self.most]
        return objects.bboxes[order], objects.labels[order], objects.scores[order]


def _true_boxes(dataset: Any, place: int) -> tuple[Tensor, Tensor]:
    """Return true boxes in pixels of the file, whatever the pipeline does to the image, and their labels."""
    instances = dataset.get_data_info(place)["instances"]
    boxes = torch.tensor([one["bbox"] for one in instances], dtype=torch.float32).reshape(-1, 4)
    return boxes, torch.tensor([one["bbox_label"] for one in instances], dtype=torch.long)


def _right(boxes: Tensor, labels: Tensor, scores: Tensor, truth: Tensor, true_labels: Tensor) -> list[bool]:
    """Say of each detection, the surest first, whether it is the first one of a true box."""
    taken: set[int] = set()
    result = []
    overlaps = box_iou(boxes, truth) if len(truth) else boxes.new_zeros(len(boxes), 0)
    for row, label in zip(overlaps, labels, strict=True):
        places = [
            place
            for place in row.argsort(descending=True).tolist()
            if row[place] >= 0.5 and true_labels[place] == label and place not in taken
        ]
        taken |= set(places[:1])
        result.append(bool(places))
    return result


def _draw(
    path: Path,
    image: str,
    truth: tuple[Tensor, Tensor],
    found: Mapping[str, tuple[Tensor, Tensor, Tensor]],
    right: Mapping[str, Sequence[bool]],
    classes: Sequence[str],
) -> None:
    with Image.open(image) as opened:
        picture = np.asarray(opened.convert("RGB"))
    rows = -(-(len(found) + 1) // _COLUMNS)
    height = _WIDTH * picture.shape[0] / picture.shape[1] + 0.3
    figure = Figure(figsize=(_COLUMNS * _WIDTH, rows * height), layout="constrained")
    grid = figure.subplots(rows, _COLUMNS, squeeze=False).flat
    panels: list[tuple[str, Tensor, list[str], list[str]]] = [
        ("ground truth", truth[0], [classes[int(label)] for label in truth[1]], [_TRUE] * len(truth[0]))
    ]
    for name, (boxes, labels, scores) in found.items():
        texts = [f"{classes[int(label)]} {score:.2f}" for label, score in zip(labels, scores.tolist(), strict=True)]
        panels.append((name, boxes, texts, [_RIGHT if one else _WRONG for one in right[name]]))
    for axes in grid:
        axes.set_axis_off()
    for axes, (name, boxes, texts, colours) in zip(figure.axes, panels, strict=False):
        axes.imshow(picture)
        axes.set_title(name, fontsize=10)
        for (x1, y1, x2, y2), text, colour in zip(boxes.tolist(), texts, colours, strict=True):
            axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1.5))
            axes.text(x1, y1, text, fontsize=6, color="white", backgroundcolor=colour, clip_on=True)
    with atomic_file(path) as stream:
        figure.savefig(stream, format="png", dpi=110)
