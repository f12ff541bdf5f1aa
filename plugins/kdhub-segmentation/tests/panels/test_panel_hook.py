"""`PanelHook` in real runs of a tiny segmentor on made-up streets."""

import json
import re

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from kdhub.engine.train import train
from kdhub.errors import UsageError
from kdseg.panels import hook as panels
from kdseg.panels.hook import PanelHook

STEPS = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}, {"type": "PackSegInputs"}]
STUDENT = {
    "type": "EncoderDecoder",
    "data_preprocessor": {"type": "SegDataPreProcessor", "mean": [127.0] * 3, "std": [64.0] * 3, "size": (32, 48)},
    "backbone": {"type": "ResNetV1c", "depth": 18, "base_channels": 4, "num_stages": 1, "out_indices": (0,),
                 "strides": (1,), "dilations": (1,), "norm_cfg": {"type": "BN"}},
    "decode_head": {"type": "FCNHead", "in_channels": 4, "channels": 4, "num_convs": 1, "num_classes": 11,
                    "norm_cfg": {"type": "BN"}, "loss_decode": {"type": "CrossEntropyLoss", "avg_non_ignore": True}},
    "test_cfg": {"mode": "whole"},
}  # fmt: skip


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    """Sky above road, with noise: 4 images a split, of 48 x 32."""
    folder, noise = tmp_path_factory.mktemp("camvid"), np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("images", "masks"):
            (folder / split / name).mkdir(parents=True)
        for index in range(4):
            mask = np.zeros((32, 48), np.uint8)
            mask[12 + 3 * index :] = 3
            mask[-2:] = 11
            image = np.where(mask[..., None] == 0, 200, 60) + noise.integers(-40, 40, (32, 48, 3))
            Image.fromarray(image.astype(np.uint8)).save(folder / split / f"images/{index}.png")
            Image.fromarray(mask).save(folder / split / f"masks/{index}.png")
    return folder


def config(streets, work_dir, model, *hooks):
    def loader(split):
        dataset = {"type": "kdseg.CamVid", "data_root": str(streets), "split": split, "pipeline": STEPS}
        sampler = {"type": "DefaultSampler", "shuffle": False}
        return {"batch_size": 2, "num_workers": 0, "sampler": sampler, "dataset": dataset}

    return Config(
        {
            "default_scope": "mmseg",
            "model": model,
            "train_dataloader": loader("train"),
            "val_dataloader": loader("val"),
            "val_evaluator": {"type": "kdseg.TrimapIoU"},
            "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 4, "val_interval": 4},
            "val_cfg": {"type": "ValLoop"},
            "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "Adam", "lr": 0.01}},
            "randomness": {"seed": 0},
            "custom_hooks": list(hooks),
            "default_hooks": {"baseline": None},
            "work_dir": str(work_dir),
        }
    )


def distiller():
    return {"type": "kdhub.Distiller", "student": STUDENT, "teacher": {"type": "kdhub.ModelTeacher", "model": STUDENT},
            "objectives": {"logits": {"loss": {"type": "kdhub.MSE"}, "student": "decode_head.conv_seg",
                                      "teacher": "decode_head.conv_seg"}}}  # fmt: skip


@pytest.fixture(scope="module")
def alone(streets, tmp_path_factory):
    """The student without a teacher."""
    return train(config(streets, tmp_path_factory.mktemp("runs") / "alone", STUDENT)).work_dir


def test_pictures_of_a_distilled_run(streets, alone, tmp_path):
    """All of it together: predictions of three models, the choice, files, run card and report."""
    hook = {"type": "kdseg.PanelHook", "count": 2, "reference": str(alone), "images": 3, "width": 2}
    run = train(config(streets, tmp_path / "run", distiller(), hook))
    card = json.loads((run.work_dir / "run.json").read_text())
    assert [one["path"] for one in card["pictures"]] == ["pictures/panel-1.png", "pictures/panel-2.png"]
    for rank, picture in enumerate(card["pictures"], start=1):
        assert re.fullmatch(
            r"[012]: student [+-]\d+\.\d points of pixels right against student alone, [+-]\d+\.\d in the edge band",
            picture["title"],
        )
        assert f"Number {rank} of 3 images" in picture["caption"]
        with Image.open(run.work_dir / picture["path"]) as drawn:
            assert drawn.size[0] > 1000
    assert run.report_path.read_text().count('<img src="data:image/png;base64,') == 2


def test_without_a_reference_the_teacher_is_compared_with(streets, tmp_path):
    """A first distillation has no other student yet."""
    run = train(config(streets, tmp_path / "run", distiller(), {"type": "kdseg.PanelHook", "count": 1}))
    (picture,) = json.loads((run.work_dir / "run.json").read_text())["pictures"]
    assert "points of pixels right against teacher" in picture["title"]


def test_pictures_do_not_change_the_student(streets, alone, tmp_path):
    """Building the reference draws random numbers: dropout would then differ, and with it the student compared."""
    hook = {"type": "kdseg.PanelHook", "count": 1, "reference": str(alone)}
    watched = train(config(streets, tmp_path / "run", STUDENT, hook)).work_dir
    ours, theirs = (torch.load(run / "student/student.pth", weights_only=True) for run in (watched, alone))
    assert ours["state_dict"].keys() == theirs["state_dict"].keys()
    assert all(torch.equal(ours["state_dict"][name], theirs["state_dict"][name]) for name in ours["state_dict"])


def test_pictures_show_the_averaged_weights_that_were_measured(streets, tmp_path, monkeypatch):
    """With an `EMAHook`, other weights would stand in the picture than in the table beside it."""
    drawn = []

    def predict(model, sample):
        drawn.append((model, {name: one.clone() for name, one in model.state_dict().items()}))
        return predicted(model, sample)

    predicted = panels._predict
    monkeypatch.setattr(panels, "_predict", predict)
    hooks = [{"type": "kdseg.PanelHook", "count": 1, "images": 1}, {"type": "EMAHook", "momentum": 0.5}]
    run = train(config(streets, tmp_path / "run", distiller(), *hooks)).work_dir
    saved = torch.load(run / "iter_4.pth", weights_only=False)
    weight = "decode_head.conv_seg.weight"
    averaged, trained = saved["state_dict"][f"student.{weight}"], saved["ema_state_dict"][f"module.student.{weight}"]
    assert not torch.equal(averaged, trained)
    student = drawn[0][0]
    assert all(torch.equal(one[f"student.{weight}"], averaged) for model, one in drawn if model is student)
    assert torch.equal(student.state_dict()[f"student.{weight}"], trained)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda alone, tmp_path: tmp_path / "nowhere", "no student to compare with"),
        (lambda alone, tmp_path: copied(alone, tmp_path, classes=("a", "b")), "knows other classes than the data"),
        (lambda alone, tmp_path: copied(alone, tmp_path, config=False), "weights without the config"),
    ],
)
def test_a_wrong_reference_costs_no_run(streets, alone, tmp_path, make, message):
    """An hour of training, and then no pictures for a misspelt path."""
    hook = {"type": "kdseg.PanelHook", "reference": str(make(alone, tmp_path))}
    with pytest.raises(UsageError, match=message):
        train(config(streets, tmp_path / "run", STUDENT, hook))
    assert not list((tmp_path / "run").glob("iter_*.pth"))


def copied(alone, tmp_path, config=True, classes=None):
    """Copy an exported student, without its config or with other class names."""
    folder = tmp_path / "copy"
    folder.mkdir()
    content = torch.load(alone / "student/student.pth", weights_only=True)
    if classes:
        content["meta"]["dataset_meta"]["classes"] = classes
    torch.save(content, folder / "student.pth")
    if config:
        (folder / "config.py").write_text((alone / "student/config.py").read_text())
    return folder


def test_images_without_a_boundary(streets, tmp_path):
    """A crop of plain road has no edge band, and not-a-number is no percentage."""
    plain = tmp_path / "plain"
    for split in ("train", "val"):
        for name in ("images", "masks"):
            (plain / split / name).mkdir(parents=True)
        Image.fromarray(np.full((32, 48, 3), 90, np.uint8)).save(plain / split / "images/a.png")
        Image.fromarray(np.full((32, 48), 3, np.uint8)).save(plain / split / "masks/a.png")
    cfg = config(plain, tmp_path / "run", distiller(), {"type": "kdseg.PanelHook"})
    cfg.train_dataloader.dataset.data_root = str(streets)
    (picture,) = json.loads((train(cfg).work_dir / "run.json").read_text())["pictures"]
    assert re.fullmatch(r"a: student [+-]\d+\.\d points of pixels right against teacher", picture["title"])


def test_nothing_to_compare_with(streets, tmp_path):
    """A plain training has neither teacher nor reference."""
    with pytest.raises(UsageError, match="nothing to compare the student with"):
        train(config(streets, tmp_path / "run", STUDENT, {"type": "kdseg.PanelHook"}))


@pytest.mark.parametrize("name", ["count", "images", "width"])
def test_numbers_are_checked_at_once(name):
    """Zero pictures would be drawn without a word."""
    with pytest.raises(UsageError, match=f"PanelHook: bad {name}"):
        PanelHook(**{name: 0})
