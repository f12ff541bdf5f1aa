"""The row of a stored teacher in the report: measured once by `kdhub cache`, and only ever shown for the same validation."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from kdhub.caching.fill import cache_teachers
from kdhub.caching.stored import StoredTeacher
from kdhub.engine.hooks.interrupt import Interrupted
from kdhub.engine.train import train
from kdhub.engine.workdir.run_card import RunCard
from kdhub.store import StoreReader


@pytest.fixture
def cfg(tmp_path: Path) -> Config:
    """A run of one step from a store that is yet to be filled."""
    torch.manual_seed(7)
    torch.save({"state_dict": tiny.TinyClassifier(width=8).state_dict()}, tmp_path / "teacher.pth")
    cfg = tiny.config(tmp_path / "run", train_cfg={"by_epoch": False, "max_iters": 1, "val_interval": 1})
    cfg.model = tiny.distiller(checkpoint=str(tmp_path / "teacher.pth"))
    cfg.model.teacher = {"type": "kdhub.StoredTeacher", "store": str(tmp_path / "store"), "teacher": cfg.model.teacher}
    return cfg


def teachers_in_report(cfg: Config) -> dict[str, Any]:
    """Train, and return the metrics of the teachers that the report will show."""
    train(cfg)
    card = RunCard.read(Path(cfg.work_dir))
    assert card is not None
    return dict(card.content["baselines"]["teachers"])


def models_in_report(cfg: Config) -> dict[str, Any]:
    """Return the classes and sizes that the report of a finished run shows."""
    card = RunCard.read(Path(cfg.work_dir))
    assert card is not None
    return dict(card.content["models"])


def recorded(cfg: Config) -> list[dict[str, Any]]:
    """Return the metrics that the store has."""
    return [dict(entry["metrics"]) for entry in StoreReader(cfg.model.teacher.store).manifest.metrics.values()]


def test_the_report_shows_what_the_live_teacher_reaches(
    cfg: Config, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every paper's table has the teacher's row; a run from a store must not be the one without."""
    live = Config(cfg.to_dict())
    live.model.teacher, live.work_dir = live.model.teacher.teacher, str(tmp_path / "live")
    expected = teachers_in_report(live)
    assert set(expected["teacher"]) == {"tiny/accuracy"}
    cache_teachers(cfg)
    (tmp_path / "teacher.pth").unlink()  # the store travels alone
    assert teachers_in_report(cfg) == expected
    assert "(recorded by kdhub cache on 2" in capfd.readouterr().err
    assert models_in_report(cfg)["teacher"] == models_in_report(live)["teacher"]
    assert models_in_report(live)["teacher"]["type"] == "TinyClassifier"


CHANGES: dict[str, Callable[[Config], Any]] = {
    "data": lambda cfg: cfg.val_dataloader.dataset.update(seed=2),
    "class of data": lambda cfg: cfg.val_dataloader.dataset.update(type="MorePoints"),
    "metric": lambda cfg: cfg.val_evaluator.update(prefix="other"),
    "loop": lambda cfg: cfg.val_cfg.update(fp16=False),
}


@tiny.DATASETS.register_module(force=True)
class MorePoints(tiny.TinyPoints):
    """Other data under a config that differs in nothing but the class."""


def test_metrics_of_another_validation_are_never_shown(cfg: Config) -> None:
    """A number of another split beside the student's would make it look better or worse than it is."""
    cache_teachers(cfg)
    assert shown(cfg)
    for change in CHANGES.values():
        other = copy.deepcopy(cfg)
        change(other)
        assert not shown(other)


def shown(cfg: Config) -> bool:
    """Whether a run would take over what the store has."""
    loader = Runner.build_dataloader(copy.deepcopy(cfg.val_dataloader))
    return StoredTeacher(cfg.model.teacher.store).recorded_metrics(cfg, loader) is not None


def test_a_run_without_metrics_says_what_to_type(cfg: Config, capfd: pytest.CaptureFixture[str]) -> None:
    """An empty column in the report is a riddle; the remedy costs one evaluation and no record."""
    cache_teachers(cfg)
    cfg.val_dataloader.dataset.seed = 2
    assert teachers_in_report(cfg) == {}
    assert "no metrics for this validation; to record them: kdhub cache CONFIG" in capfd.readouterr().err
    assert cache_teachers(cfg)[0].written == 0
    assert len(recorded(cfg)) == 2


def test_what_is_recorded_is_not_evaluated_again(cfg: Config, capfd: pytest.CaptureFixture[str]) -> None:
    """Whoever types the command twice must not wait for the teacher twice; speed is no part of a validation."""
    cache_teachers(cfg)
    assert "evaluating teacher" in capfd.readouterr().err
    cfg.val_dataloader.persistent_workers = False
    cache_teachers(cfg)
    assert "evaluating teacher" not in capfd.readouterr().err
    assert len(recorded(cfg)) == 1


def test_an_evaluation_that_is_stopped_costs_nothing_but_itself(cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """The records are a night's work, and must be safe before the teacher is asked for more."""
    with monkeypatch.context() as patch:
        patch.setattr(tiny.TinyAccuracy, "compute_metrics", interrupt)
        with pytest.raises(Interrupted, match=r"what was computed is stored -> to go on: kdhub cache CONFIG"):
            cache_teachers(cfg)
    assert recorded(cfg) == []
    (again,) = cache_teachers(cfg)
    assert again.written == 0
    assert len(recorded(cfg)) == 1


def interrupt(*_arguments: Any) -> None:
    raise KeyboardInterrupt


def without_validation(cfg: Config) -> None:
    for key in ("val_dataloader", "val_cfg", "val_evaluator"):
        cfg.pop(key)


@pytest.mark.parametrize(
    "leave_out",
    [
        without_validation,
        lambda cfg: cfg.update(default_hooks={"baseline": None}),
        lambda cfg: cfg.update(default_hooks={"baseline": {"teacher": False}}),
    ],
)
def test_nothing_is_evaluated_that_no_run_would_show(cfg: Config, leave_out: Callable[[Config], Any]) -> None:
    """Somebody whose validation takes an hour has switched it off for a reason."""
    leave_out(cfg)
    cache_teachers(cfg)
    assert recorded(cfg) == []


def test_metrics_are_no_part_of_what_the_records_belong_to(cfg: Config) -> None:
    """Each block carries the identity of its store: if a note changed it, every record would be one of another store."""
    cache_teachers(cfg)
    manifest = StoreReader(cfg.model.teacher.store).manifest
    bare = dataclasses.replace(manifest, metrics={})
    assert manifest.metrics
    assert bare.fingerprint == manifest.fingerprint
    assert bare.differences(manifest) == []
