"""EZAD's configs for those who have COCO, and the rivals on the small COCO: they check, and the detectors build, step and predict."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

import kdhub
from kddet.regions.names import NameBank
from kdhub.api import load_config
from kdhub.config import check_config

FOLDER = Path(__file__).resolve().parents[4] / "configs/detection"
CONFIGS = [*sorted(FOLDER.glob("ezad/*.py")), *sorted(FOLDER.glob("coco_cc/*.py"))]
DETECTORS = [path for path in CONFIGS if "-rcnn-" in path.name]
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:mmdet"),
    pytest.mark.filterwarnings("ignore::UserWarning:mmengine"),
    pytest.mark.filterwarnings("ignore::ImportWarning"),
    pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning"),
    pytest.mark.timeout(300),
]


def test_there_are_configs():
    """A folder that was renamed would leave nothing to test."""
    assert len(CONFIGS) >= 8
    assert len(DETECTORS) >= 5


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_passes_the_check(path):
    """What is started first of days of work must not stop at a misspelt key; predecessors are read too."""
    report = check_config(load_config(path), kdhub.init())
    assert report.ok, [finding.line() for finding in report.errors]


@pytest.mark.parametrize("path", DETECTORS, ids=lambda path: path.stem)
def test_a_detector_learns_from_regions_and_finds_all_names(path, tmp_path):
    """A base class alone in the bank, a head of other widths or masks that nobody makes show in the first step only."""
    cfg = load_config(path)
    names = load_config("kddet:ezad").names
    NameBank(tuple(names), torch.randn(len(names), 8, generator=torch.Generator().manual_seed(0))).save(
        tmp_path / "names.safetensors"
    )
    torch.manual_seed(0)
    detector = MODELS.build(narrow(cfg.model.student, str(tmp_path / "names.safetensors")))
    image = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)
    sample = DetDataSample(metainfo={"img_shape": (64, 96), "ori_shape": (64, 96), "scale_factor": (1.0, 1.0)})
    sample.gt_instances = InstanceData(bboxes=torch.tensor([[4.0, 8, 44, 56]]), labels=torch.tensor([0]))
    if cfg.model.student.type == "MaskRCNN":
        sample.gt_instances.masks = BitmapMasks(np.ones((1, 64, 96), dtype=np.uint8), 64, 96)
        assert any(step.get("with_mask") for step in cfg.train_dataloader.dataset.pipeline)
    sample.regions = InstanceData(bboxes=torch.tensor([[50.0, 8, 90, 40], [4, 8, 44, 56]]))
    seen = []
    detector.roi_head.bbox_head.fc_cls.map_to_text.register_forward_hook(lambda *found: seen.append(len(found[2])))
    batch = detector.data_preprocessor({"inputs": [image], "data_samples": [sample]}, True)
    losses = detector(**batch, mode="loss")
    assert seen[0] == 2  # the regions, embedded before the sampled boxes
    total, _ = detector.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total)
    assert detector.roi_head.bbox_head.fc_cls.map_to_text.weight.grad.abs().sum() > 0
    detector.eval()
    with torch.no_grad():
        (found,) = detector.val_step({"inputs": [image], "data_samples": [sample]})
    assert found.pred_instances.labels.max() < 65
    assert len(found.pred_instances.bboxes)


def narrow(model, bank):
    """Take a quarter of the channels, and a bank of random embeddings."""
    model = without_weights(model)
    head = model["roi_head"]["bbox_head"]
    head["cls_predictor_cfg"]["names"] = bank
    if "names" in head["reg_predictor_cfg"]:
        head["reg_predictor_cfg"]["names"] = bank
    head["fc_out_channels"] = 32
    if model["backbone"]["type"] == "ResNet":
        model["backbone"]["base_channels"] = 16
        model["neck"]["in_channels"] = [64, 128, 256, 512]
    return model


def without_weights(node):
    """Leave out what would be loaded."""
    if isinstance(node, dict):
        return ConfigDict({key: without_weights(value) for key, value in node.items() if key != "init_cfg"})
    return [without_weights(one) for one in node] if isinstance(node, list) else node
