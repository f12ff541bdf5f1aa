"""Every recipe of the plugin, and the config beside them: killed and resumed, it ends bit for bit as if never killed."""

from pathlib import Path

import pytest

from kdhub.testing import assert_resume_exact
from kdret.plugin import kdhub_recipes

CONFIGS = Path(__file__).resolve().parents[3] / "configs/retrieval"
CHECKPOINTS = {"default_hooks.checkpoint": {"interval": 2, "by_epoch": False}}
SHORT = {"train_cfg.max_iters": 6, "train_cfg.val_interval": 4}
TEACHER = {"model.teacher.model.model": "tiny_cross"}
EPOCHS = {"train_cfg.max_epochs": 3, "train_cfg.val_interval": 2}
WINDOW = {"train_dataloader.dataset.skip": 0, "train_dataloader.dataset.keep": 9}
OPTIONS = {
    "docstrings-minilm": ("few_texts", {}, SHORT),
    "embed-projected": (
        "few_texts",
        {"model.student.model": "tiny_encoder", "model.teacher.model.model": "minilm"},
        SHORT | {"model.objectives.embedding.adapter.0.in_features": 32},
    ),
    "cross-to-dense": ("tiny_mined", TEACHER | {"model.student.model": "tiny_encoder"}, SHORT),
    "cross-to-colbert": ("tiny_mined", TEACHER | {"model.student.model": "tiny_multi"}, SHORT),
    "cross-to-splade": ("tiny_mined", TEACHER | {"model.student.model": "tiny_sparse"}, SHORT),
    "tas-b": ("tiny_topics", {"model.student.model": "tiny_encoder", "model.teacher.model.model": "tiny_multi"}, SHORT),
    "disco": ("tiny_candidates", {"model.student.model": "tiny_sparse"}, EPOCHS | WINDOW),
}
"""Recipe to the fixture with its data, to those with models in the place of the hub's, and to what makes it short."""


@pytest.fixture
def few_texts(tiny_data):
    """Options that put the tiny collection in place of a recipe's data."""
    return {
        "train_dataloader.dataset.data_root": str(tiny_data),
        "train_dataloader.batch_size": 4,
        "val_dataloader.dataset.data_root": str(tiny_data),
        "val_dataloader.dataset.split": "test",
    }


@pytest.mark.timeout(400)  # runs of their own processes, on a machine that may be busy
@pytest.mark.parametrize("recipe", [recipe.name for recipe in kdhub_recipes()])
def test_a_recipe_resumes_exactly(recipe, request, tmp_path):
    """A recipe that is almost the same after a power cut gives numbers that nobody can reproduce."""
    assert recipe in OPTIONS, f"add {recipe!r} to OPTIONS of {Path(__file__).name}, with tiny data and models"
    data, models, short = OPTIONS[recipe]
    options = request.getfixturevalue(data) | CHECKPOINTS | short
    options |= {key: request.getfixturevalue(fixture) for key, fixture in models.items()}
    if not models:
        request.getfixturevalue("minilm")
    if data in ("tiny_mined", "tiny_topics"):  # once for all three runs: a run knows when its predecessor ended
        options["lists:work_dir"] = str(tmp_path / "mined")
    assert_resume_exact(f"kdret:{recipe}", at=5, tmp_path=tmp_path / "runs", cfg_options=options)


def test_the_cranfield_config_resumes_within_an_epoch(few_texts, minilm, tmp_path):
    """It counts epochs: a resumed run that began its epoch anew would train on some texts twice."""
    config = CONFIGS / "embed-rkd_minilm-l2_teacher-minilm-l6_4e_cranfield.py"
    options = few_texts | CHECKPOINTS | {"train_cfg.max_epochs": 2}
    assert_resume_exact(config, at=9, tmp_path=tmp_path / "runs", cfg_options=options)
