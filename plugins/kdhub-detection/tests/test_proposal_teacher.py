"""`ProposalTeacher`: judges the boxes that the student has just looked at."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope
from torch import nn

from kddet.proposal_teacher import ProposalTeacher
from kdhub.api import UsageError, load_config
from kdhub.testing import assert_teacher_contract

pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning")


def detector(width):
    """A Faster R-CNN of mmdet's config tree, made narrow."""
    model = load_config("mmdet::_base_/models/faster-rcnn_r50_fpn.py").model
    model.backbone.update(depth=18, base_channels=width, init_cfg=None)
    model.neck.update(in_channels=[width, 2 * width, 4 * width, 8 * width], out_channels=16)
    model.rpn_head.update(in_channels=16, feat_channels=16)
    model.roi_head.bbox_roi_extractor.update(out_channels=16)
    model.roi_head.bbox_head.update(in_channels=16, fc_out_channels=16, num_classes=3)
    return model


@pytest.fixture
def student():
    with DefaultScope.overwrite_default_scope("mmdet"), torch.random.fork_rng(devices=[]):
        yield MODELS.build(detector(4))


def test_it_judges_the_students_boxes(student):
    """Boxes of the teacher's own RPN are others, and their scores in another order: the loss would fall all the same."""
    torch.manual_seed(0)
    model = MODELS.build(detector(8))
    batch = {"inputs": [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)]}
    boxes = torch.tensor([[0, 1.0, 2, 30, 40], [0, 8, 8, 60, 60], [0, 0, 0, 5, 9]])
    maps = [torch.zeros(1, 16, 64 // stride, 64 // stride) for stride in (4, 8, 16, 32)]

    def make():
        teacher = ProposalTeacher(model, student, own_weights=True)
        student.roi_head.bbox_roi_extractor(maps, boxes)
        return teacher

    assert_teacher_contract(make, batch=batch, taps=["scores", "boxes"], student=student)
    teacher = make()
    answers = teacher.answers(type("Asked", (), {"batch": teacher.preprocess(batch, True)}))
    with torch.no_grad():
        inputs = model.data_preprocessor(batch, False)["inputs"]
        features = model.roi_head.bbox_roi_extractor(model.neck(model.backbone(inputs))[:4], boxes)
        scores, deltas = model.roi_head.bbox_head(features)
    assert (scores.shape, deltas.shape) == ((3, 4), (3, 12))
    torch.testing.assert_close(answers["scores"], scores)
    torch.testing.assert_close(answers["boxes"], deltas)


def test_detectors_without_a_second_stage(student):
    """Their error would be an AttributeError in the first step, after the data were loaded."""
    with pytest.raises(UsageError, match="no such module.*got head.extractor"):
        ProposalTeacher(student, student, own_weights=True, extractor="head.extractor")
    student.roi_head = nn.Identity()
    with pytest.raises(UsageError, match="no second stage.*got FasterRCNN"):
        ProposalTeacher(student, student, own_weights=True)


def test_it_needs_a_pass_of_the_student(student):
    """Answers about no boxes would be compared with the student's on some."""
    with pytest.raises(UsageError, match="looked at no boxes yet"):
        ProposalTeacher(student, student, own_weights=True).answers(None)
