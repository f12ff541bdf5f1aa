"""`CocoGroups`: average precision of base, novel and all classes, by hand."""

import numpy as np
import pytest
import torch

from kddet.data.coco_names import BASE, NOVEL
from kddet.metrics.coco_groups import CocoGroups
from kdhub.api import UsageError

CLASSES = ("cat", "dog", "bus")


def evaluate(found, groups, truth=((0, (0, 0, 10, 10)), (1, (20, 20, 40, 40)))):
    """Evaluate one image; ``found`` is a list of label, score and box."""
    metric = CocoGroups(groups)
    metric.dataset_meta = {"classes": CLASSES}
    labels, scores, boxes = zip(*found, strict=True) if found else ((), (), ())
    sample = {
        "img_id": 1,
        "ori_shape": (100, 100),
        "pred_instances": {
            "bboxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            "scores": torch.tensor(scores, dtype=torch.float32),
            "labels": torch.tensor(labels, dtype=torch.long),
        },
        "instances": [{"bbox_label": label, "bbox": list(box), "ignore_flag": 0} for label, box in truth],
    }
    metric.process({}, [sample])
    return metric.evaluate(1)


GROUPS = {"base": ["cat"], "novel": ["dog", "bus"]}


def test_by_hand():
    """The cat is found, the dog with IoU 0.5625: it counts at 0.5 and 0.55, two of ten thresholds. No bus is there."""
    metrics = evaluate([(0, 0.9, (0, 0, 10, 10)), (1, 0.8, (20, 20, 35, 35))], GROUPS)
    assert metrics["coco/AP_base"] == pytest.approx(1, abs=1e-6)
    assert metrics["coco/AP_novel"] == pytest.approx(0.2, abs=1e-6)
    assert metrics["coco/AP50_novel"] == pytest.approx(1, abs=1e-6)
    assert metrics["coco/AP_all"] == pytest.approx(0.6, abs=1e-6)


def test_a_novel_object_called_by_a_base_name():
    """Generalised: the dog found as a cat is a miss, and a false cat above the true one halves its precision."""
    metrics = evaluate([(0, 0.9, (20, 20, 40, 40)), (0, 0.8, (0, 0, 10, 10))], GROUPS)
    assert metrics["coco/AP50_novel"] == 0
    assert metrics["coco/AP50_base"] == pytest.approx(0.5, abs=1e-6)


def test_nothing_found():
    """An untrained student finds nothing, and evaluation must not end its run."""
    assert evaluate([], GROUPS)["coco/AP_all"] == 0


def test_a_group_without_boxes_has_no_precision():
    """0 would be taken for a failure of the student."""
    metrics = evaluate([(0, 0.9, (0, 0, 10, 10))], {"absent": ["bus"]})
    assert np.isnan(metrics["coco/AP_absent"])
    nothing = evaluate([], {"absent": ["bus"], "there": ["cat", "bus"]})
    assert np.isnan(nothing["coco/AP50_absent"])
    assert nothing["coco/AP50_there"] == nothing["coco/AP_all"] == 0


def test_names_that_are_not_there():
    """A misspelt novel class would leave the mean without a word."""
    with pytest.raises(UsageError, match=r"group 'novel' names a class.*'buss'.*did you mean 'bus'"):
        evaluate([(0, 0.9, (0, 0, 10, 10))], {"novel": ["buss"]})


def test_the_split():
    """Bansal's 48 and 17, all of them COCO's, none in both."""
    from mmdet.datasets import CocoDataset

    assert (len(BASE), len(NOVEL)) == (48, 17)
    assert not {*BASE} & {*NOVEL}
    assert {*BASE, *NOVEL} <= {*CocoDataset.METAINFO["classes"]}
