"""The configs of mmseg pairs: read and checked as a user would, built and trained for one step on a small crop."""

import copy
from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

import kdhub
from kdhub.config import check_config, load_config
from kdhub.distill.outline import outline

FOLDER = Path(__file__).resolve().parents[3] / "configs" / "segmentation"
CONFIGS = sorted(file for file in FOLDER.rglob("*.py") if "_base_" not in file.parts and "camvid" not in str(file))
PAIRS = [file for file in CONFIGS if file.name.startswith("bpkd_")]
STRIDES = {"pspnet-r18": 8, "hrnet-w18s": 4, "deeplabv3plus-mv2": 4, "isanet-r18": 8, "segformer-b0": 4}
HEIGHT, WIDTH = 64, 128


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_a_config_passes_the_check(file):
    """A config that a user cannot start unchanged is no reproduction of a published recipe."""
    report = check_config(load_config(file), kdhub.init())
    assert [finding.line() for finding in report.errors] == []


def test_every_published_pair_has_its_configs():
    """A pair that is dropped by a renaming would be missed by all other tests here."""
    names = {file.stem for file in PAIRS}
    for pair in ("pspnet-r18_teacher-r101", "hrnet-w18s_teacher-w48", "deeplabv3plus-mv2_teacher-r101"):
        for data in ("cityscapes-512x1024", "ade20k-512x512", "pascal-context-59-480x480"):
            assert f"bpkd_{pair}_80k_{data}" in names
    assert len(names) == 12


@pytest.mark.parametrize("file", PAIRS, ids=lambda file: file.stem)
def test_a_pair_follows_the_published_recipe(file):
    """Card, section 5: crop, images per GPU, length, optimizer; a base of mmseg that changes must not change them unseen."""
    cfg = load_config(file)
    data = file.stem.rpartition("_")[2]
    crop, images = {
        "cityscapes-512x1024": ((512, 1024), 2),
        "ade20k-512x512": ((512, 512), 2),
        "pascal-context-59-480x480": ((480, 480), 4),
        "cityscapes-1024x1024": ((1024, 1024), 1),  # mmseg's own SegFormer, which is not in the paper
    }[data]
    pipeline = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    assert pipeline["RandomCrop"].crop_size == crop == cfg.model.student.data_preprocessor.size
    assert pipeline["RandomCrop"].cat_max_ratio == 0.75
    assert pipeline["RandomFlip"].prob == 0.5
    assert cfg.train_dataloader.batch_size == images
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[-1].end == (160000 if "160k" in file.stem else 80000)
    if "segformer" not in file.stem:
        optimizer = cfg.optim_wrapper.optimizer
        assert (optimizer.type, optimizer.lr, optimizer.momentum, optimizer.weight_decay) == ("SGD", 0.01, 0.9, 5e-4)
        (scheduler,) = cfg.param_scheduler
        assert (scheduler.type, scheduler.power, scheduler.eta_min) == ("PolyLR", 0.9, 1e-4)


# mmseg's advice on losses and heads of its own configs
@pytest.mark.filterwarnings("ignore::UserWarning:mmseg")
@pytest.mark.parametrize("file", [file for file in PAIRS if "cityscapes" in file.stem], ids=lambda file: file.stem)
def test_a_pair_takes_a_step(file):
    """Networks of different strides, heads and families must meet in one loss, with gradients in the student only."""
    cfg = load_config(file)
    model = _random(cfg.model)
    with DefaultScope.overwrite_default_scope("mmseg"):
        distiller = MODELS.build(model)
    distiller.train()
    teacher = distiller.teachers["teacher"]
    stride = STRIDES[file.stem.removeprefix("bpkd_").partition("_teacher")[0]]
    data = distiller.data_preprocessor(_batch(), True)
    (own,) = _probe(distiller.student, partial(distiller.student._run_forward, data["student"], mode="loss"))
    (theirs,) = _probe(teacher.model, partial(teacher.values, data["teachers"]["teacher"], [], check_mode=True))
    assert f"(2, 19, {HEIGHT // stride}, {WIDTH // stride})" in own
    assert "(2, 19, " in theirs
    before = teacher.model.decode_head.conv_seg.weight.clone(), distiller.student.decode_head.conv_seg.weight.clone()
    optimizer = OptimWrapper(torch.optim.SGD(distiller.parameters(), lr=0.01))
    log = distiller.train_step(_batch(), optimizer)
    terms = {name: value.item() for name, value in log.items() if name.startswith("loss_boundary")}
    assert len(terms) == 2
    assert all(0 < value < float("inf") for value in terms.values()), terms
    assert torch.isfinite(log["decode.loss_ce"])
    assert teacher.model.decode_head.conv_seg.weight.equal(before[0])
    assert not distiller.student.decode_head.conv_seg.weight.equal(before[1])


def _random(model):
    """Take out what would be downloaded."""
    model = copy.deepcopy(model)
    teacher = load_config(model.teacher.model).model
    for network in (model.student, teacher):
        network.pretrained = None
        network.backbone.pop("init_cfg", None)
        network.data_preprocessor.size = (HEIGHT, WIDTH)
    model.teacher.update(model=teacher, checkpoint=None)
    return model


def _probe(network, run):
    """What `kdhub probe` says of the classifier."""
    with torch.no_grad():
        return next(row.outputs for row in outline(network, run) if row.path == "decode_head.conv_seg")


def _batch():
    generator = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(2):
        coarse = torch.randint(0, 19, (1, 4, 8), generator=generator)
        labels = coarse.repeat_interleave(HEIGHT // 4, 1).repeat_interleave(WIDTH // 8, 2)
        labels[:, :8] = 255
        sample = SegDataSample(metainfo={"img_shape": (HEIGHT, WIDTH)})
        sample.gt_sem_seg = PixelData(data=labels)
        samples.append(sample)
    images = torch.randint(0, 256, (2, 3, HEIGHT, WIDTH), generator=generator, dtype=torch.uint8)
    return {"inputs": list(images), "data_samples": samples}
