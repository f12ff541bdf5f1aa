"""What a run can go on from, what it is told otherwise, and what begins anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS

from kdhub.checkpoint import read_checkpoint
from kdhub.engine.train import train
from kdhub.errors import UsageError

ADAM = {"type": "OptimWrapper", "optimizer": {"type": "AdamW", "lr": 0.01}}
SCHEDULED = {"param_scheduler": [{"type": "StepLR", "step_size": 2, "by_epoch": False}]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train once, with checkpoints at iterations 3 and 6."""
    return train(tiny.config(tmp_path_factory.mktemp("run"), optim_wrapper=ADAM)).work_dir


@pytest.mark.parametrize("missing", ["optimizer", "param_scheduler"])
def test_what_a_checkpoint_lacks_is_said(tmp_path: Path, missing: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Mmengine goes on with fresh averages, or with a learning rate of the first iteration, and says nothing."""
    hooks = {"checkpoint": {"interval": 3, "by_epoch": False, f"save_{missing}": False}}
    cfg = tiny.config(tmp_path, optim_wrapper=ADAM, default_hooks=hooks, **SCHEDULED)
    train(cfg)
    assert "begin anew" not in capfd.readouterr().err
    train(cfg, resume=tmp_path / "iter_3.pth")
    told = [line for line in capfd.readouterr().err.splitlines() if "begin anew" in line]
    assert len(told) == 1
    assert f"the checkpoint holds no {missing.replace('_', 'eter ')}" in told[0]


def test_a_best_checkpoint_lacks_all_of_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It is meant for evaluation, and ``--resume best_*.pth`` takes it as any other."""
    hooks = {"checkpoint": {"interval": 3, "by_epoch": False, "save_best": "tiny/accuracy"}}
    cfg = tiny.config(tmp_path, optim_wrapper=ADAM, default_hooks=hooks, **SCHEDULED)
    train(cfg)
    train(cfg, resume=next(tmp_path.glob("best_*.pth")))
    told = capfd.readouterr().err
    for part in ("holds no optimizer, so", "holds no parameter schedulers, so", "does not say where random numbers"):
        assert f"the run goes on, but not exactly as if it had never stopped: the checkpoint {part}" in told


@pytest.mark.parametrize("named", [True, False])
def test_another_optimizer_is_refused(work_dir: Path, named: bool) -> None:
    """Torch takes any state, and misses a setting in the first step: ``KeyError: 'momentum'``."""
    if not named:  # as mmengine writes it
        checkpoint = read_checkpoint(work_dir / "iter_3.pth")
        del checkpoint["kdhub"]
        torch.save(checkpoint, work_dir / "foreign.pth")
    got = r"got SGD over 4 parameters"
    expected = "expected AdamW over 4" if named else r"expected one with amsgrad, betas, .* over 4"
    with pytest.raises(UsageError, match=rf"optim_wrapper\.optimizer: .* another optimizer \({expected}.*{got}"):
        train(tiny.config(work_dir), resume=work_dir / ("iter_3.pth" if named else "foreign.pth"))


def test_other_groups_of_parameters_are_refused(work_dir: Path) -> None:
    """Torch's ``ValueError`` names neither the file nor what of the config made the groups."""
    cfg = tiny.config(work_dir, optim_wrapper={**ADAM, "paramwise_cfg": {"bias_lr_mult": 2.0}})
    with pytest.raises(UsageError, match=r"expected AdamW over 4 parameters, got AdamW over 1, 1, 1, 1 parameters"):
        train(cfg, resume=True)


def test_an_optimizer_of_the_same_settings_goes_on(work_dir: Path) -> None:
    """Adam reads what AdamW wrote: a refusal would be a nuisance."""
    optimizer = {"type": "Adam", "lr": 0.01}
    train(
        tiny.config(work_dir, optim_wrapper={"type": "OptimWrapper", "optimizer": optimizer}),
        resume=work_dir / "iter_3.pth",
    )


@pytest.mark.parametrize("name", ["student/model.safetensors", "bare.pth"])
def test_weights_alone_are_no_run(work_dir: Path, name: str) -> None:
    """The exported student lies in the same folder; resuming it ended in ``KeyError: 'epoch'``."""
    torch.save(tiny.TinyClassifier().state_dict(), work_dir / "bare.pth")
    with pytest.raises(UsageError, match=rf"{name}: the file holds weights, .*load_from=.*{name}"):
        train(tiny.config(work_dir), resume=work_dir / name)


@pytest.mark.parametrize("changed", ["optim_wrapper", "model"])
def test_settings_that_a_change_does_not_reach_are_said(
    work_dir: Path, changed: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Who lowers the learning rate and resumes trains on with the former one, under a config that says otherwise."""
    cfg = tiny.config(work_dir, optim_wrapper=ADAM)
    cfg.merge_from_dict({"optim_wrapper.optimizer.lr": 0.5, "model.dropout": 0.1})
    if changed == "model":
        cfg.optim_wrapper = ADAM
    train(cfg, resume=work_dir / "iter_3.pth")
    (line,) = [one for one in capfd.readouterr().err.splitlines() if "resuming although" in one]
    assert ("learning rates, other settings of the optimizer and schedules stay" in line) is (changed != "model")
    assert read_checkpoint(work_dir / "iter_6.pth")["optimizer"]["param_groups"][0]["lr"] == 0.01


@OPTIM_WRAPPER_CONSTRUCTORS.register_module(force=True)
class TinyTwo:
    """Builds two optimizers for the two layers of the student, as for a generator and its critic."""

    def __init__(self, optim_wrapper_cfg: Any, paramwise_cfg: Any = None) -> None:
        pass

    def __call__(self, model: Any) -> OptimWrapperDict:
        layers = {"body": model.student.body, "head": model.student.head}
        return OptimWrapperDict(
            **{name: OptimWrapper(torch.optim.SGD(layer.parameters(), lr=0.1)) for name, layer in layers.items()}
        )


def test_two_optimizers_for_one_step_are_refused(tmp_path: Path) -> None:
    """Mmengine says ``optim_context should be called by each optimizer`` in a traceback, where the config is to blame."""
    cfg = tiny.config(tmp_path, model=tiny.distiller(), optim_wrapper={"constructor": "TinyTwo"})
    with pytest.raises(
        UsageError, match=r"optim_wrapper: Distiller trains .* \(expected one optimizer, got body, head\)"
    ):
        train(cfg)
