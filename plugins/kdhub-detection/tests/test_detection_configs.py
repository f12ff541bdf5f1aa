"""The configs of configs/detection on small pictures: they check, train, are evaluated, and mmdet loads the student."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from mmdet.datasets import CocoDataset
from mmengine.config import Config, ConfigDict

import kdhub
from kdhub.checkpoint import read_checkpoint
from kdhub.config import check_config, load_config
from kdhub.engine.train import train

CONFIGS = sorted(Path(__file__).resolve().parents[3].glob("configs/detection/*.py"))
pytestmark = [
    # mmdet's and mmcv's own advice
    pytest.mark.filterwarnings("ignore::UserWarning:mmdet"),
    pytest.mark.filterwarnings("ignore::UserWarning:mmengine"),
    pytest.mark.filterwarnings("ignore::ImportWarning"),
    pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """Four pictures of 96 x 64 with two boxes each, in COCO's format with all its classes."""
    folder = tmp_path_factory.mktemp("coco")
    random = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(1, 5):
        cv2.imwrite(str(folder / f"{number}.jpg"), random.integers(0, 256, (64, 96, 3), dtype=np.uint8))
        images.append({"id": number, "file_name": f"{number}.jpg", "width": 96, "height": 64})
        for x, category in ((4, 1), (50, 17)):
            box = [x, 8, 40, 48]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": category, "bbox": box, "area": 1920}
                | {"iscrowd": 0}
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(CocoDataset.METAINFO["classes"], 1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content))
    return folder


def without_downloads(node):
    """Leave out every weight that would be loaded."""
    if isinstance(node, dict):
        return ConfigDict({key: without_downloads(value) for key, value in node.items() if key != "init_cfg"})
    return [without_downloads(one) for one in node] if isinstance(node, list) else node


def narrow(model):
    """Take a quarter of a ResNet's channels, and little of a second stage's: building and saving then take no time."""
    model = without_downloads(model)
    if model.backbone.type == "ResNet":
        model.backbone.base_channels = 16
        widths = [16 * 2**stage for stage in range(4)]
        model.neck.in_channels = widths if model.backbone.depth < 50 else [4 * width for width in widths]
    if "roi_head" in model:
        model.roi_head.bbox_head.fc_out_channels = 32
    return model


def short(path, coco, work_dir):
    model = load_config(path).model
    model.student = narrow(model.student)
    for teacher in [model.teacher] if "teacher" in model else model.teachers.values():
        teacher.update(model=narrow(load_config(teacher.model).model), checkpoint=None, own_weights=True)
    load = [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations", "with_bbox": True},
        {"type": "Resize", "scale": (96, 96), "keep_ratio": True},
    ]
    keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
    data = {"type": "CocoDataset", "data_root": str(coco), "ann_file": "instances.json", "data_prefix": {"img": ""}}
    return Config(
        {
            "default_scope": "mmdet",
            "model": model,
            "train_dataloader": {
                "batch_size": 2,
                "num_workers": 0,
                "sampler": {"type": "InfiniteSampler"},
                "dataset": {**data, "pipeline": [*load, {"type": "PackDetInputs"}]},
            },
            "val_dataloader": {
                "batch_size": 1,
                "num_workers": 0,
                "sampler": {"type": "DefaultSampler", "shuffle": False},
                "dataset": {
                    **data,
                    "test_mode": True,
                    "indices": 1,
                    "pipeline": [*load, {"type": "PackDetInputs", "meta_keys": keys}],
                },
            },
            "val_evaluator": {"type": "kddet.CocoGroups", "ann_file": str(coco / "instances.json")},
            "val_cfg": {"type": "ValLoop"},
            "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 1, "val_interval": 1},
            "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 1e-4}},
            "default_hooks": {"baseline": None},
            "work_dir": str(work_dir),
        }
    )


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_passes_the_check(path):
    """What a user starts first must not stop at a misspelt key or an input that nobody provides."""
    report = check_config(load_config(path), kdhub.init())
    assert report.ok, [finding.line() for finding in report.errors]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_trains_and_mmdet_loads_the_student(path, coco, tmp_path):
    """Pyramids, proposals and boxes reach the losses only in a run; and a student that needs kdhub is no student."""
    cfg = short(path, coco, tmp_path / "work")
    objectives = set(cfg.model.objectives)
    result = train(cfg)
    (scalars,) = (tmp_path / "work").rglob("scalars.json")
    logged = [json.loads(line) for line in scalars.read_text().splitlines()]
    terms = {key: value for line in logged for key, value in line.items() if key.startswith("loss_")}
    for name in objectives:
        assert any(key.startswith(f"loss_{name}") and np.isfinite(value) for key, value in terms.items()), (name, terms)
    assert {"coco/AP_all", "coco/AP50_base", "coco/AP_novel"} <= set(result.metrics)
    folder = result.student_path
    assert "kd" not in (folder / "config.py").read_text()
    detector = init_detector(str(folder / "config.py"), str(folder / "student.pth"), device="cpu")
    weights = read_checkpoint(folder / "student.pth")["state_dict"]
    for name, tensor in detector.state_dict().items():
        torch.testing.assert_close(tensor, weights[name])
    assert detector.dataset_meta["classes"][0] == "person"
    found = inference_detector(detector, str(coco / "1.jpg"))
    assert found.pred_instances.bboxes.shape[1] == 4
