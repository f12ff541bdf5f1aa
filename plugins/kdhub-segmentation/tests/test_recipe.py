"""The evidence's recipes in short, on the real street scenes and the real ImageNet weights."""

import json
from pathlib import Path

import pytest

from kdhub.cli.main import main
from kdhub.config import load_config
from kdhub.errors import UsageError
from kdseg.data.camvid_files import convert
from kdseg.weights import write_backbones

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:mmseg")  # mmseg's advice on a loss's options
SHORT = [
    "train_dataloader.batch_size=2",
    "train_cfg.max_iters=3",
    "train_cfg.val_interval=3",
    "val_dataloader.dataset.indices=3",
]


def run_card(name):
    return json.loads(Path(f"work_dirs/{name}/run.json").read_text())


@pytest.mark.shared
def test_recipes_run_one_after_the_other(shared_data, tmp_path, monkeypatch):
    """A new user types these two commands; a path, a weight or a key that does not fit shows in neither config alone."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data/camvid"
    folder.mkdir(parents=True)
    convert(shared_data / "camvid", folder)
    (tmp_path / "data/weights").mkdir()
    write_backbones(tmp_path / "data/weights")
    for recipe, work_dir in (("kdseg:camvid-teacher", "camvid-teacher"), ("kdseg:camvid-small", "small")):
        assert main(["train", recipe, "--work-dir", f"work_dirs/{work_dir}", "--cfg-options", *SHORT]) == 0
    teacher, student = run_card("camvid-teacher"), run_card("small")
    assert student["baselines"]["teachers"]["teacher"] == pytest.approx(teacher["evaluations"][-1]["metrics"])
    metrics = student["evaluations"][-1]["metrics"]
    assert {"mIoU", "mAcc", "trimap/mIoU_edge1", "trimap/mIoU_edge3", "trimap/mIoU_edge5", "trimap/mIoU_body"} <= set(
        metrics
    )
    lines = [
        json.loads(line) for line in next((tmp_path / "work_dirs/small").rglob("scalars.json")).read_text().splitlines()
    ]
    terms = [line["loss_boundary_edge"] + line["loss_boundary_body"] for line in lines if "loss_boundary_edge" in line]
    assert len(terms) == 3
    assert min(terms) > 0
    assert (tmp_path / "work_dirs/small/student/student.pth").is_file()


def test_a_recipe_is_inherited_by_its_name(tmp_path):
    """Whoever installed the plugin with pip has no path to its configs, and would copy a recipe to change one number."""
    (tmp_path / "mine.py").write_text("_base_ = ['kdseg:camvid-small']\ntrain_cfg = dict(max_iters=7)\n")
    cfg = load_config(tmp_path / "mine.py", ["train_dataloader.dataset.data_root=elsewhere"])
    assert cfg.train_cfg.max_iters == 7
    assert cfg.model == load_config("kdseg:camvid-small").model
    assert cfg.train_dataloader.dataset.data_root == "elsewhere"
    (tmp_path / "typo.py").write_text("x = 1\n_base_ = ['kdseg:camvid-smal']\n")
    with pytest.raises(
        UsageError, match=r"typo\.py:2: plugin 'kdseg' has no recipe.*did you mean 'kdseg:camvid-small'"
    ):
        load_config(tmp_path / "typo.py")
