"""The plugin's contract, and its recipe: trained in seconds, resumed exactly."""

import torch

from kdhub.config import check_config, load_config
from kdhub.distill.schedules import as_schedule
from kdhub.engine.train import train
from kdhub.registry import init
from kdhub.testing import assert_plugin_contract, assert_resume_exact

RECIPE = "kdtrg:digits-trg"
FEW = [
    "train_cfg.max_epochs=1",
    "teacher:train_cfg.max_epochs=1",
    "teacher:train_cfg.val_interval=1",
]


def test_the_manifest_keeps_the_contract():
    """A plugin of the tree that breaks the contract would teach authors to."""
    assert_plugin_contract("kdtrg")


def test_the_recipe_passes_the_check():
    """A recipe is what a newcomer types first."""
    report = check_config(load_config(RECIPE), init())
    assert not report.findings, [one.line() for one in report.findings]


def test_the_temperature_of_the_recipe_falls_to_its_end():
    """A schedule longer than the run never reaches the hard negatives; one that rises is another method."""
    cfg = load_config(RECIPE)
    data = 1097
    steps = cfg.train_cfg.max_epochs * -(-data // cfg.train_dataloader.batch_size)
    init()
    schedule = as_schedule(cfg.model.objectives.trg.loss.temperature)
    values = [schedule(step) for step in range(steps + 1)]
    assert values == sorted(values, reverse=True)
    assert (values[0], values[-1]) == (0.5, 0.07)


def test_the_recipe_trains(tmp_path):
    """A recipe that passes the check and stops at the first step has wasted a newcomer's time."""
    cfg = load_config(RECIPE, FEW)
    cfg.work_dir = str(tmp_path / "run")
    torch.manual_seed(0)
    result = train(cfg)
    assert result.metrics["top1"] > 0
    log = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "run").glob("**/*.log"))
    assert all(f"loss_trg_{term}" in log for term in ("local", "global", "context"))


def test_the_draw_of_tokens_resumes_exactly(tmp_path):
    """A draw from a generator of its own would begin anew after a power cut, and the run would end elsewhere."""
    cfg = load_config(RECIPE)
    # killed in the first stage, it would say nothing of the second; what the teacher knows does not matter here
    cfg.pop("predecessors")
    wide = {**cfg.model.student, "net": {"type": "kdcls.DigitNet", "width": 32}}
    cfg.model.teacher = {"type": "kdhub.ModelTeacher", "model": wide, "checkpoint": None}
    cfg.train_cfg = {"by_epoch": False, "max_iters": 12, "val_interval": 6}
    cfg.default_hooks = {"checkpoint": {"interval": 4}}
    assert_resume_exact(cfg, at=7, tmp_path=tmp_path)
