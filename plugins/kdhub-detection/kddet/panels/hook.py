"""`PanelHook`: pictures for the report, with the true boxes and what each model finds."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn
from torchvision.ops import box_iou

from kddet.panels.draw import Boxes, draw_boxes
from kddet.panels.regions import region_panels
from kdhub.api import ModelPanels, Panel, UsageError, integer, load_weights, number, require, student_of

_RIGHT, _WRONG, _TRUE = "#1e9e46", "#d7281e", "#f2a900"


class PanelHook(ModelPanels):
    """After training, draws validation images: the true boxes, and what the student, its teachers and the student alone find.

    Where a `RegionTeacher` teaches, as many training images show its regions: base boxes and the surest proposals, with their names and weights.
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
        attached = sys.modules.get("kddet.regions.attach")
        teachers = getattr(getattr(runner.model, "module", runner.model), "teachers", {})
        for name, teacher in teachers.items():
            if attached is not None and isinstance(teacher, attached.RegionTeacher):
                train = runner.train_dataloader.dataset
                yield from region_panels(teacher.files, train, self.count, self.most, folder, name)

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
    panels = [Boxes("ground truth", truth[0], [classes[int(label)] for label in truth[1]], [_TRUE] * len(truth[0]))]
    for name, (boxes, labels, scores) in found.items():
        texts = [f"{classes[int(label)]} {score:.2f}" for label, score in zip(labels, scores.tolist(), strict=True)]
        panels.append(Boxes(name, boxes, texts, [_RIGHT if one else _WRONG for one in right[name]]))
    draw_boxes(path, image, panels)
