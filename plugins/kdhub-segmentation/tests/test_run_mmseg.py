"""A whole run from a config of mmseg's tree, on pictures that lie where Cityscapes would."""

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from kdhub.checkpoint import read_checkpoint
from kdhub.config import load_config
from kdhub.engine.train import train

CONFIG = "bpkd_pspnet-r18_teacher-r101_80k_cityscapes-512x1024.py"
CROP = (64, 96)


@pytest.fixture
def cityscapes(tmp_path):
    """Two pictures for training and one for validation, with label files named as Cityscapes names them."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 2), ("val", 1)):
        for index in range(count):
            image = generator.integers(0, 256, (72, 104, 3), dtype=np.uint8)
            labels = np.kron(generator.integers(0, 19, (3, 4), dtype=np.uint8), np.ones((24, 26), dtype=np.uint8))
            for kind, name, content in (
                ("leftImg8bit", "leftImg8bit", image),
                ("gtFine", "gtFine_labelTrainIds", labels),
            ):
                folder = tmp_path / "data" / kind / part / "city"
                folder.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(folder / f"{index}_{name}.png"), content)
    return tmp_path / "data"


@pytest.mark.filterwarnings("ignore::UserWarning:mmseg")  # mmseg's advice on a loss's options
def test_a_config_of_the_published_recipe_runs(cityscapes, tmp_path, pytestconfig):
    """Scopes that mmengine writes into a library's base reach hooks, loops and data; only a run shows that each is found."""
    cfg = load_config(
        pytestconfig.rootpath / "configs/segmentation" / CONFIG,
        {
            "model.student.pretrained": None,
            "model.student.data_preprocessor.size": CROP,
            "train_dataloader.num_workers": 0,
            "train_dataloader.persistent_workers": False,
            "train_dataloader.dataset.data_root": str(cityscapes),
            "train_dataloader.dataset.pipeline.2.scale": (104, 72),
            "train_dataloader.dataset.pipeline.3.crop_size": CROP,
            "val_dataloader.num_workers": 0,
            "val_dataloader.persistent_workers": False,
            "val_dataloader.dataset.data_root": str(cityscapes),
            "val_dataloader.dataset.pipeline.1.scale": (104, 72),
            "train_cfg.max_iters": 2,
            "train_cfg.val_interval": 2,
            "default_hooks.baseline": None,
        },
    )
    teacher = load_config(cfg.model.teacher.model).model
    teacher.update(pretrained=None)
    teacher.data_preprocessor.size = CROP
    cfg.model.teacher.update(model=teacher, checkpoint=None)
    cfg.work_dir = str(tmp_path / "work")
    result = train(cfg)
    assert "mIoU" in result.metrics
    assert any(name.startswith("student.") for name in read_checkpoint(tmp_path / "work" / "iter_2.pth")["state_dict"])
    exported = Config.fromfile(result.student_path / "config.py")
    assert exported.model.backbone.depth == 18
    assert [step.type for step in exported.test_pipeline] == ["LoadImageFromFile", "Resize", "PackSegInputs"]
