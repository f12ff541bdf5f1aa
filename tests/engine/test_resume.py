"""Exact resume: killed and resumed runs against unbroken ones, and what each ingredient is there for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import forgetting
import pytest
import random_points
import test_stopping  # noqa: F401 - registers TinySignal
import tiny
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS

from kdhub.caching.fill import cache_teachers
from kdhub.checkpoint import read_checkpoint
from kdhub.engine.hooks.interrupt import Interrupted
from kdhub.engine.train import train
from kdhub.errors import UsageError
from kdhub.testing import assert_resume_exact

EVERY_THREE = {"default_hooks.checkpoint": {"interval": 3, "by_epoch": False}}
SAVE_BEST = {"default_hooks.checkpoint": {"interval": 4, "by_epoch": False, "save_best": "tiny/accuracy"}}
THREE_TERMS = {
    f"model.objectives.{name}": {"loss": {"type": f"kdhub.{name}"}, "student": "head", "teacher": "head"}
    for name in ("MSE", "SmoothL1")
}
# two forces that cancel, and are so large that a small gradient is lost if it is added between them: so it shows, whatever
# the order of sums within a layer, whether the gradients of the other terms were added before or behind them
OPPOSITE_PULLS = {
    f"model.objectives.{name}": {"loss": {"type": "Pull", "force": force}, "student": "head"}
    for name, force in (("left", -(2.0**30)), ("right", 2.0**30))
}
BANK = {"model.student.type": "BankClassifier"}
ONE_CYCLE = {"param_scheduler": [{"type": "OneCycleLR", "eta_max": 0.1, "total_steps": 12, "by_epoch": False}]}
PASSES = {"train_dataloader.sampler.type": "DefaultSampler"}


@pytest.mark.parametrize(
    ("at", "changes"),
    [
        pytest.param(7, {}, id="iter"),
        # right behind a checkpoint after which an evaluation was due; a checkpoint that waits for accumulated gradients
        pytest.param(8, {"workers": 2, "accumulation": 2}, id="iter-2workers-accumulation"),
        pytest.param(7, {"workers": 1, **PASSES}, id="iter-1worker-finite-passes"),
        pytest.param(
            9, {"epochs": True, "workers": 2, "train_dataloader.persistent_workers": True}, id="epoch-2workers"
        ),
        # resumes in the middle of an epoch
        pytest.param(8, {"epochs": True, "accumulation": 2, **EVERY_THREE}, id="epoch-accumulation-within"),
        pytest.param(7, {"custom_hooks": [{"type": "EMAHook"}]}, id="iter-averaged-weights"),
        # the best score is saved within the evaluation, which draws random numbers that training does not
        pytest.param(6, SAVE_BEST, id="iter-checkpoint-within-evaluation"),
        # in which order their gradients are summed depends on whether the tap copies
        pytest.param(7, THREE_TERMS, id="iter-three-terms-at-one-tap"),
        pytest.param(7, BANK, id="iter-memory-bank"),
        # keeps a function of its own, which safe loading refuses
        pytest.param(7, ONE_CYCLE, id="iter-one-cycle"),
    ],
)
def test_killed_and_resumed_is_as_never_killed(tmp_path: Path, at: int, changes: dict[str, Any]) -> None:
    """A resumed run that is almost the same cannot be told from one that is wrong."""
    assert_resume_exact(random_points.config(**changes), at=at, tmp_path=tmp_path)


def test_two_processes_with_statistics_of_their_own(tmp_path: Path) -> None:
    """Each process draws and normalises differently, and only the first writes the checkpoint."""
    assert_resume_exact(random_points.config(workers=1), at=7, tmp_path=tmp_path, processes=2)
    first, second = read_checkpoint(tmp_path / "run" / "iter_12.pth")["kdhub"]["processes"]
    assert not first["buffers"]
    assert {"student.norm.running_mean", "student.norm.running_var"} <= set(second["buffers"])


# epochs of two iterations: goes on in the middle of the second one
EPOCHS_OF_TWO = {"epochs": True, "workers": 2, "accumulation": 3, "train_cfg.max_epochs": 6, **EVERY_THREE}


@pytest.mark.parametrize(
    ("at", "changes"),
    [
        pytest.param(5, EPOCHS_OF_TWO, id="epoch-2workers-accumulation-within"),
        pytest.param(6, {**SAVE_BEST, **BANK, **THREE_TERMS}, id="iter-checkpoint-within-evaluation-memory-bank"),
    ],
)
def test_two_processes_in_other_kinds_of_runs(tmp_path: Path, at: int, changes: dict[str, Any]) -> None:
    """What a checkpoint holds for each process stands at different places in different loops."""
    assert_resume_exact(random_points.config(**changes), at=at, tmp_path=tmp_path, processes=2)


def test_a_process_that_loses_its_statistics_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mmengine loads the main process's running means into all: no loss shows it, only an evaluation does."""
    monkeypatch.setenv(forgetting.VARIABLE, "buffers")
    cfg = random_points.config()
    cfg.custom_imports = {"imports": ["random_points", "forgetting"]}
    with pytest.raises(
        AssertionError, match=r"differs .*first in kdhub\.processes\.1\.buffers\.student\.norm\.running_"
    ):
        assert_resume_exact(cfg, at=7, tmp_path=tmp_path, processes=2)


STORES: dict[str, dict[str, Any]] = {"recorded": {"draws": 2}, "unaugmented": {"unaugmented": {"far": 0.0}}}


@pytest.fixture(params=STORES)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    """A run of three passes over the data from a store of two augmentations, or of the samples themselves."""
    torch.manual_seed(7)
    torch.save({"state_dict": tiny.TinyClassifier(width=8).state_dict()}, tmp_path / "teacher.pth")
    cfg = random_points.config()
    live = {**cfg.model.teacher, "checkpoint": str(tmp_path / "teacher.pth")}
    cfg.model.teacher = {"type": "kdhub.StoredTeacher", "store": str(tmp_path / "store"), "teacher": live}
    cfg.model.teacher.update(STORES[request.param])
    cache_teachers(cfg)
    return cfg


def test_a_stored_teacher(stored: Config, tmp_path: Path) -> None:
    """The third pass shows the first one's augmentations: whoever resumes in it must not see others than were stored."""
    assert_resume_exact(stored, at=11, tmp_path=tmp_path / "runs")


@pytest.mark.parametrize("stored", ["recorded"], indirect=True)
def test_a_stored_teacher_of_two_processes(stored: Config, tmp_path: Path) -> None:
    """A pass is over for all processes together, and so are the augmentations that come again."""
    assert_resume_exact(stored, at=7, tmp_path=tmp_path / "runs", processes=2)


@pytest.mark.parametrize("stored", ["recorded"], indirect=True)
def test_another_store_is_refused(stored: Config, tmp_path: Path) -> None:
    """A store of the same teacher with other augmentations would answer for samples that the run never meant."""
    stored.work_dir = str(tmp_path / "run")
    train(stored)
    stored.model.teacher.store = str(tmp_path / "other")
    stored.randomness.seed = 1
    cache_teachers(stored)
    with pytest.raises(UsageError, match=r"was trained with another teacher 'teacher'"):
        train(stored, resume=tmp_path / "run" / "iter_8.pth")


@pytest.mark.parametrize(
    ("forgotten", "at", "first"),
    [
        ("generators", 7, "train/loss"),
        ("position", 7, "train/loss"),
        ("keys", 7, "train/loss"),
        ("evaluation", 8, "val/tiny/accuracy"),
        ("guards", 11, "guards.seen"),  # counts end soon
        ("copies", 7, "train/"),
    ],
)
def test_every_ingredient_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: str, at: int, first: str
) -> None:
    """A comparison that finds nothing where something is missing proves nothing."""
    monkeypatch.setenv(forgetting.VARIABLE, forgotten)
    needed: dict[str, Any] = {"keys": {"workers": 2}, "copies": OPPOSITE_PULLS}
    cfg = random_points.config(**needed.get(forgotten, {}))
    cfg.custom_imports = {"imports": ["random_points", "forgetting"]}
    with pytest.raises(AssertionError, match=rf"killed after iteration {at} and resumed .* first in .*{first}"):
        assert_resume_exact(cfg, at=at, tmp_path=tmp_path)


def test_buffers_of_the_config_stay_those_of_the_config(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A constant that was corrected in the config would come back from the checkpoint, and a bank of another size break."""
    train(random_points.config(tmp_path, **BANK))
    saved = read_checkpoint(tmp_path / "iter_8.pth")["kdhub"]["processes"][0]["buffers"]
    assert set(saved) == {"student.bank", "student.late"}
    cfg = random_points.config(tmp_path, **BANK)
    cfg.model.student.update(scale=3.0, size=1)
    train(cfg, resume=tmp_path / "iter_8.pth")
    assert "the buffer student.bank has another shape now, so it begins anew" in capfd.readouterr().err


@pytest.mark.parametrize(("iteration", "evaluating"), [(6, False), (4, True)], ids=["training", "evaluating"])
def test_ctrl_c_goes_on_within_the_epoch(tmp_path: Path, iteration: int, evaluating: bool) -> None:
    """Beginning the epoch again throws work away; random numbers of the evaluation that was finished first are not training's."""
    signal = [{"type": "TinySignal", "iteration": iteration, "evaluating": evaluating}]
    cfg = random_points.config(tmp_path / "stopped", epochs=True)
    with pytest.raises(Interrupted, match=f"iteration {iteration} of 12"):
        train(random_points.config(tmp_path / "stopped", epochs=True, custom_hooks=signal))
    train(cfg, resume=True)
    train(random_points.config(tmp_path / "unbroken", epochs=True))
    resumed, unbroken = (read_checkpoint(tmp_path / run / "epoch_3.pth") for run in ("stopped", "unbroken"))
    assert all(torch.equal(tensor, resumed["state_dict"][name]) for name, tensor in unbroken["state_dict"].items())
    assert resumed["meta"]["iter"] == 12


def test_a_run_without_a_seed_keeps_the_one_it_drew(tmp_path: Path) -> None:
    """Mmengine restores the seed after the data loader was built with another, so the order of samples changes."""
    torch.save({"state_dict": tiny.TinyClassifier(width=8).state_dict()}, tmp_path / "teacher.pth")
    seeds = []
    for checkpoint in (False, tmp_path / "run" / "iter_8.pth"):
        cfg = random_points.config(tmp_path / "run")
        cfg.randomness = {}
        cfg.model.teacher.checkpoint = str(tmp_path / "teacher.pth")
        train(cfg, resume=checkpoint)
        data = read_checkpoint(tmp_path / "run" / "iter_12.pth")["kdhub"]["data"]
        seeds.append((data["seed"], data["sampler_seed"]))
    assert seeds[0] == seeds[1] != (0, 0)


def test_a_checkpoint_of_an_older_version(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Whoever has trained for a week must be able to go on, and to know that it is not exact."""
    train(tiny.config(tmp_path))
    checkpoint = read_checkpoint(tmp_path / "iter_3.pth")
    del checkpoint["kdhub"]
    torch.save(checkpoint, tmp_path / "older.pth")
    train(tiny.config(tmp_path), resume=tmp_path / "older.pth")
    assert "goes on, but not exactly as if it had never stopped: the checkpoint does not say" in capfd.readouterr().err
    run = json.loads((tmp_path / "run.json").read_text())
    assert [one["iteration"] for one in run["evaluations"]] == [3, 6]


@DATASETS.register_module(force=True)
class NamedPoints(tiny.TinyPoints):
    """Points that tell a fingerprint, as a data set should whose files may change."""

    def fingerprint(self) -> str:
        return f"{self.points[0, 0]:.2f}"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"train_dataloader.batch_size": 2}, "the number of training batches has changed"),
        ({"train_dataloader.batch_size": 5}, "a batch had 4 samples and has 5 now"),
        ({"train_dataloader.dataset.size": 15}, r"were NamedPoints of 16 samples \(.*\) and are now NamedPoints of 15"),
        ({"train_dataloader.dataset.seed": 1}, r"were NamedPoints of 16 samples \(-1\.13\) and are now .* \(-1\.53\)"),
        (tiny.by_epoch(), "the checkpoint counted iterations and this run counts epochs"),
    ],
)
def test_changed_data_is_said(
    tmp_path: Path, changes: dict[str, Any], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Other data or batches move every later sample, while the iterations go on counting as if nothing had happened."""
    cfg = tiny.config(tmp_path)
    cfg.train_dataloader.dataset.type = "NamedPoints"
    train(cfg)
    if "train_cfg" in changes:
        cfg.pop("train_cfg")
    cfg.merge_from_dict(changes)
    train(cfg, resume=tmp_path / "iter_3.pth")
    assert re.search(told, capfd.readouterr().err)


def test_a_run_too_short_to_save(tmp_path: Path) -> None:
    """A test that resumes from nothing would compare two unbroken runs."""
    with pytest.raises(AssertionError, match="saved no checkpoint within 1 iterations"):
        assert_resume_exact(random_points.config(), at=1, tmp_path=tmp_path)


def test_a_run_that_fails_shows_what_it_printed(tmp_path: Path) -> None:
    """The processes of the comparison have no console of their own."""
    with pytest.raises(AssertionError, match=r"(?s)unbroken.log ended otherwise.*no_such_key"):
        assert_resume_exact(
            random_points.config(), at=1, tmp_path=tmp_path, cfg_options={"optim_wrapper.no_such_key": 1}
        )
