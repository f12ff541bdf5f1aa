"""The recipes on CIFAR-10, CIFAR-100, ImageNet and Caltech-24: each is checked; each pair is built, probed and steps, on tiny images."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.registry import DATASETS, MODELS
from torch.utils.data import default_collate

from kdcls import plugin
from kdhub.api import EFFICIENTNET_LITE, check_config, init, load_config, train
from kdhub.cli.main import main

PATHS = {recipe.name: Path(plugin.__file__).parent / recipe.path for recipe in plugin.kdhub_recipes()}
LARGE = [name for name in PATHS if name.startswith(("cifar10", "imagenet", "caltech24"))]
PAIRS = [name for name in PATHS if name.startswith("imagenet-")]
PROTOCOL = {
    "cifar100-wrn-16-2": 'dict(type="kdcls.WideResNet", depth=40, factor=2)',
    "cifar100-resnet8x4": 'dict(type="kdcls.CifarResNet", depth=32)',
    "cifar100-dual-head": 'dict(type="kdcls.CifarResNet", depth=32)',
    "cifar10-wrn-16-2": 'dict(type="kdcls.WideResNet", depth=40, factor=2, num_classes=10)',
}
SMALL_GRID = "net=dict(img_size=64)"
EXTRA = {
    "imagenet-deit-resnet18": f"teacher=dict(model=dict({SMALL_GRID})), ",
    "imagenet-mixer-resnet18": f"teacher=dict(model=dict({SMALL_GRID})), ",
    "imagenet-resnet50-deit": f"student=dict({SMALL_GRID}), "
    "objectives={f'exit{n}': dict(adapter=dict(grid=4)) for n in (1, 2, 3, 4)}, ",
}
"""What a net with positions needs to take images of 64 pixels."""


@pytest.mark.parametrize("name", LARGE)
def test_recipes_pass_the_check(name):
    """A misspelt argument of a run of a hundred hours is found in a second, or after the data are copied."""
    report = check_config(load_config(f"kdcls:{name}"), init())
    assert report.ok, [one.line() for one in report.findings]
    others = [one.line() for one in report.findings if "no such checkpoint" not in one.line()]
    assert not others


@pytest.mark.parametrize("name", PATHS)
def test_no_recipe_downloads_weights(name):
    """A config that fetches a gigabyte because somebody wanted to look at it is a surprise."""
    text = "".join(path.read_text() for path in [PATHS[name], *PATHS[name].parent.glob("_base_/*.py")])
    code = [line.split("#")[0] for line in text.splitlines()]
    assert not any("pretrained" in line or 'weights="' in line or "download=True" in line for line in code)


def tiny(name, root, tmp_path, teacher=""):
    """A config of the recipe on images of 64 pixels (32 for CIFAR), with a teacher that knows nothing."""
    size = 32 if name in PROTOCOL else 64
    transform = f'dict(type="timm.data.create_transform", input_size={size}, is_training=True)'
    data = f'dict(_delete_=True, type="kdcls.ImageFolder", root={str(root)!r}, transform={transform})'
    loader = f"dict(batch_size=2, num_workers=0, dataset=dict(data={data}))"
    more = EXTRA.get(name, "")
    own = f"checkpoint=None, own_weights=True{teacher}"
    if "teacher=dict(" in more:
        more = more.replace("teacher=dict(", f"teacher=dict({own}, ", 1)
    else:
        more += f"teacher=dict({own}), "
    path = tmp_path / f"{name}.py"
    path.write_text(
        f"_base_ = [{str(PATHS[name])!r}]\n"
        f"train_dataloader = {loader}\nval_dataloader = test_dataloader = {loader}\n"
        f"model = dict({more})\n" + ("predecessors = dict(_delete_=True)\n" if name in PROTOCOL else "")
    )
    return path


def step(cfg):
    """Build all, and compute the gradients of one batch."""
    init()
    model = MODELS.build(cfg.model).train()
    data = DATASETS.build(cfg.train_dataloader.dataset)
    batch = default_collate([data[0], data[len(data) - 1]])
    losses = model(**model.data_preprocessor(batch, training=True), mode="loss")
    model.parse_losses(losses)[0].backward()
    return model, losses


@pytest.mark.parametrize("name", [*PAIRS, *PROTOCOL])
def test_a_pair_is_built_probed_and_steps(name, image_folder, tmp_path, capsys):
    """A tap that is no module of the net, or a branch of the wrong width, stops the run only once all is built."""
    root = image_folder({"ant": 2, "bee": 2}, size=(80, 72))
    teacher = f', model=dict(_delete_=True, type="kdhub.TorchModel", net={PROTOCOL[name]})' if name in PROTOCOL else ""
    config = tiny(name, root, tmp_path, teacher)
    assert main(["probe", str(config), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    cfg = load_config(config)
    for objective in cfg.model.objectives.values():
        tap = objective.student
        assert (tap if isinstance(tap, str) else tap.path) in {row["path"] for row in found["student"]}
        assert objective.teacher in {row["path"] for row in found["teacher"]}
    model, losses = step(cfg)
    terms = [f"loss_{objective}" for objective in cfg.model.objectives]
    assert set(terms) < set(losses)
    assert all(value.isfinite() for value in losses.values())
    weights = [float(objective.weight(0)) for objective in model.objectives.values()]
    assert all(bool(losses[term] > 0) == bool(weight) for term, weight in zip(terms, weights, strict=True))
    assert all(one.grad is not None and one.grad.isfinite().all() for one in model.student.parameters())


def test_the_caltech_recipe_runs_from_teacher_to_student(image_folder, tmp_path):
    """Teacher, new classifier, export, and the student that loads it: one command, as the README has it."""
    pytest.importorskip(EFFICIENTNET_LITE["tf_efficientnet_lite2"].package)
    root = str(image_folder({f"class{number:02d}": 2 for number in range(24)}, size=(40, 36)))
    change = {
        "train_dataloader.dataset.data.root": root,
        "val_dataloader.dataset.data.root": root,
        "test_dataloader.dataset.data.root": root,
        "train_dataloader.dataset.data.transform.input_size": 32,
        "val_dataloader.dataset.data.transform.input_size": 32,
        "train_cfg.max_epochs": 1,
        "train_cfg.val_interval": 1,
    }
    options = {**change, **{f"teacher:{key}": value for key, value in change.items()}}
    cfg = load_config("kdcls:caltech24-student", options)
    cfg.work_dir = str(tmp_path / "run")
    result = train(cfg)
    assert {"top1", "top5", "mean_class", "ece"} <= set(result.metrics)
    assert (tmp_path / "run/teacher/student/model.safetensors").is_file()
    assert torch.isfinite(torch.tensor(result.metrics["ece"]))
