"""Questions about the true boxes of a detector: the answers reach the boxes they are about, and the student is plain mmdet."""

import json
from pathlib import Path

import pytest
import torch
from mmdet.apis import init_detector
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

import kdhub
from kddet.box_aspects import AttachAspects, BoxAspectTeacher
from kddet.questions.class_attributes import answer_by_class
from kdhub.api import UsageError
from kdhub.checkpoint import read_checkpoint
from kdhub.cli.main import main

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:mmdet"),
    pytest.mark.filterwarnings("ignore::UserWarning:mmengine"),
    pytest.mark.filterwarnings("ignore::ImportWarning"),
    pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning"),
    pytest.mark.timeout(400),
]
ANN, NAMES = "data/coco_cc/train/instances.json", ["person", "cat"]
CROPS = {
    "type": "kddet.BoxCrops",
    "ann_file": ANN,
    "images": "data/coco_cc/train",
    "names": NAMES,
    "size": 32,
    "flip": False,
}


def asked(data=CROPS):
    """Answer by class, without noise: a person walks upright, a cat has fur."""
    Path("table.txt").write_text("Does it walk upright? person\nDoes it have fur? cat\nIs it alive? person, cat\n")
    (folder := Path("answers")).mkdir()
    answer_by_class(folder, "table.txt", data, spread=0.0)


def test_answers_find_their_boxes(small_coco_cc):
    """An answer at another box, or at the mirrored one, would teach that cats walk upright; images of another file had none, in silence."""
    kdhub.init()
    asked()
    attach = AttachAspects("answers", ANN, NAMES)
    meta = {"img_id": 1, "ori_shape": (64, 96), "img_shape": (128, 192), "scale_factor": (2.0, 2.0)}
    sample = DetDataSample(metainfo=meta | {"flip": True, "flip_direction": "horizontal"})
    person, cat, unknown = [96.0, 16, 176, 96], [32.0, 20, 92, 100], [0.0, 0, 20, 20]
    sample.gt_instances = InstanceData(bboxes=torch.tensor([cat, unknown, person]))
    attach.transform({"data_samples": sample})
    yes, no = 0.880797, 1 - 0.880797
    found = sample.gt_instances.aspects
    torch.testing.assert_close(found[[0, 2]], torch.tensor([[no, yes, yes], [yes, no, yes]]), atol=1e-6, rtol=0)
    assert found[1].isnan().all()
    answers = BoxAspectTeacher("answers").answers({"data_samples": [sample, sample]})["aspects"]
    assert answers.shape == (6, 3)
    nobody = DetDataSample(metainfo=meta | {"img_id": 77, "img_path": "val/77.jpg"}, gt_instances=sample.gt_instances)
    with pytest.raises(UsageError, match=rf"images of {ANN}, .*got image 77 \(val/77\.jpg\)"):
        attach.transform({"data_samples": nobody})
    with pytest.raises(UsageError, match="about other boxes"):
        AttachAspects("answers", ANN, ["person"])
    with pytest.raises(UsageError, match="end it with kddet.AttachAspects"):
        BoxAspectTeacher("answers").answers({"data_samples": [DetDataSample(gt_instances=InstanceData())]})


def test_a_detector_answers_and_leaves_a_plain_student(small_coco_cc):
    """One command: the answers reach the loss, and mmdet's StandardRoIHead loads what is left, with C+1 outputs."""
    Path("table.txt").write_text("Does it walk upright? person\nDoes it have fur? cat\n")
    Path("ask.py").write_text(
        f"job = dict(type='kddet.ClassAttributes', attributes='table.txt', data={CROPS!r})\nwork_dir = 'run/asked'\n"
    )
    Path("student.py").write_text(
        f"""_base_ = ["kddet:ezad"]
bank = None
predecessors = dict(_delete_=True, answers="ask.py")
plain = dict(_delete_=True, type="Linear")
model = dict(
    student=dict(
        roi_head=dict(
            type="kddet.AspectRoIHead",
            questions="@answers/questions.txt",
            bbox_head=dict(cls_predictor_cfg=plain, reg_predictor_cfg=plain),
        )
    ),
    teacher=dict(_delete_=True, type="kddet.BoxAspectTeacher", folder="@answers"),
    objectives=dict(
        _delete_=True,
        aspects=dict(
            loss=dict(type="kddet.MultiAspectLoss", class_weight=0.0),
            student="roi_head.box_aspects",
            teacher="aspects",
        ),
    ),
)
*steps, _ = _base_.train_dataloader.dataset.pipeline
attach = dict(type="kddet.AttachAspects", folder="@answers", ann_file="{ANN}", names={NAMES!r})
train_dataloader = dict(batch_size=2, dataset=dict(base=None, pipeline=[*steps, attach]))
del steps, _, attach, plain
train_cfg = dict(max_iters=1, val_interval=1)
work_dir = "run/student"
"""
    )
    assert main(["train", "student.py"]) == 0
    (scalars,) = Path("run/student").rglob("scalars.json")
    # α = 4 times the binary cross entropy, which no answer makes 0
    assert json.loads(scalars.read_text().splitlines()[0])["loss_aspects_aspects"] > 0.5
    folder = Path("run/student/student")
    text = (folder / "config.py").read_text()
    assert "kddet" not in text
    assert "questions" not in text
    weights = read_checkpoint(folder / "student.pth")["state_dict"]
    assert weights["roi_head.bbox_head.fc_cls.weight"].shape[0] == 66
    assert not any("wide" in name for name in weights)
    detector = init_detector(str(folder / "config.py"), str(folder / "student.pth"), device="cpu")
    for name, tensor in detector.state_dict().items():
        torch.testing.assert_close(tensor, weights[name])
