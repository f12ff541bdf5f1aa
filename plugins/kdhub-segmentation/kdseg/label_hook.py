"""`LabelCheckHook`: label maps looked at before the student's own loss meets them."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from torch import nn

from kdhub.api import UsageError, placed, student_of
from kdseg.losses._logits import require_classes


class LabelCheckHook(Hook):
    """Stops a training run at the first image whose labels cannot be right, and names its file.

    The losses here look at the labels too, but a student's cross entropy comes first, and of a label that is no class torch
    says ``IndexError: Target 37 is out of bounds``; on a GPU it ends the process's use of the device. This hook reads the
    batch while it is in the memory of the CPU, which takes about 1 ms a megapixel.

    Raises:
        UsageError: Before training, if the student is no segmentor of mmseg; in training, for a label that is neither a
            class of its decode head nor what that ignores, and for a label map that is missing or of another size than its
            image.
    """

    priority = "VERY_HIGH"

    def before_train(self, runner: Any) -> None:
        """See that the student says how many classes it knows."""
        _known_labels(student_of(runner.model))

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Look at one batch as it comes from the data loader."""
        num_classes, ignore_index = _known_labels(student_of(runner.model))
        for image, sample in zip(data_batch["inputs"], data_batch["data_samples"], strict=True):
            with placed(str(sample.get("seg_map_path") or sample.get("img_path") or "training data")):
                if "gt_sem_seg" not in sample:
                    raise UsageError(
                        "the sample has no label map (gt_sem_seg)",
                        fix="dict(type='LoadAnnotations') in train_dataloader.dataset.pipeline, before PackSegInputs;"
                        " without labels, leave LabelCheckHook out",
                    )
                labels = sample.gt_sem_seg.data
                if labels.shape[-2:] != image.shape[-2:]:
                    raise UsageError(
                        "masks of another size than the image",
                        expected="{} x {}".format(*image.shape[-2:]),
                        got="{} x {}".format(*labels.shape[-2:]),
                        fix="the labels must go through the same resize and crop as the image, and begin at its size",
                    )
                require_classes("LabelCheckHook", labels, num_classes, ignore_index)


def _known_labels(student: nn.Module) -> tuple[int, int]:
    """Return a segmentor's number of classes, and the label it ignores."""
    heads = getattr(student, "decode_head", None)
    head: Any = heads[-1] if isinstance(heads, nn.ModuleList) else heads
    if not isinstance(getattr(head, "num_classes", None), int):
        raise UsageError(
            "LabelCheckHook knows segmentors of mmseg only",
            expected="a student with a decode_head",
            got=type(student).__name__,
            fix="leave the hook out of this config",
        )
    return head.num_classes, getattr(head, "ignore_index", 255)
