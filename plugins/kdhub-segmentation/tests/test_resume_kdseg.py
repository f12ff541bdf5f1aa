"""Every recipe of the plugin: killed and resumed, it ends bit for bit as if never killed."""

from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope

from kdhub.config import load_config
from kdhub.testing import assert_resume_exact
from kdseg.data.camvid_files import convert
from kdseg.plugin import kdhub_recipes
from kdseg.weights import write_backbones

TEACHER = "kdseg:camvid-teacher"
OPTIONS = {
    "camvid-teacher": {},
    "camvid-small": {"model.teacher.checkpoint": "teacher.pth"},
}
"""Recipe to what it needs besides `SHORT`, in the folder that `workplace` makes."""
SHORT = {
    "train_dataloader.batch_size": 2,
    "train_cfg.max_iters": 6,
    "train_cfg.val_interval": 4,
    "val_dataloader.dataset.indices": 2,
    "default_hooks.checkpoint": {"interval": 2, "by_epoch": False},
}


@pytest.fixture
def workplace(shared_data, tmp_path, monkeypatch):
    """Stand in a folder that has CamVid, the backbones' weights and a teacher that was never trained."""
    monkeypatch.chdir(tmp_path)
    camvid = tmp_path / "data/camvid"
    camvid.mkdir(parents=True)
    convert(shared_data / "camvid", camvid)
    write_backbones(tmp_path / "data/weights")
    from mmseg.registry import MODELS

    with torch.random.fork_rng(devices=[]), DefaultScope.overwrite_default_scope("mmseg"):
        torch.manual_seed(0)
        teacher = MODELS.build(load_config(TEACHER).model)
    torch.save({"state_dict": teacher.state_dict()}, tmp_path / "teacher.pth")
    return tmp_path


@pytest.mark.shared
@pytest.mark.filterwarnings("ignore::UserWarning:mmseg")  # mmseg's advice on a loss's options
@pytest.mark.parametrize("recipe", [recipe.name for recipe in kdhub_recipes()])
def test_a_recipe_resumes_exactly(recipe, workplace):
    """Random crops, dropout and label checks all draw or count: one that goes on elsewhere trains another student."""
    assert recipe in OPTIONS, f"add {recipe!r} to OPTIONS of {Path(__file__).name}, with what makes it short"
    options = SHORT | OPTIONS[recipe]
    assert_resume_exact(f"kdseg:{recipe}", at=5, tmp_path=workplace / "runs", cfg_options=options)
