"""A run from a config to a student: what it leaves, what it refuses, and how it goes on."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS
from safetensors.torch import load_file

from kdhub.checkpoint import read_checkpoint
from kdhub.engine.test import test as run_test
from kdhub.engine.train import train
from kdhub.errors import GuardError, UsageError


def card(work_dir: Path) -> dict[str, Any]:
    """Read a run's card."""
    return json.loads((work_dir / "run.json").read_text())


def weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a checkpoint's weights."""
    return read_checkpoint(path)["state_dict"]


@pytest.mark.parametrize(
    "changes", [{}, tiny.by_epoch(), {"model": tiny.distiller()}], ids=["iter", "epoch", "distill"]
)
def test_what_a_run_leaves(tmp_path: Path, changes: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    """Whoever finds the folder a year later needs the config, the facts, the student and the report."""
    result = train(tiny.config(tmp_path, **changes))
    assert result.work_dir == tmp_path
    assert result.report_path == tmp_path / "report.html"
    assert result.report_path.is_file()
    assert result.student_path == tmp_path / "student"
    assert result.metrics == {"tiny/accuracy": pytest.approx(result.metrics["tiny/accuracy"])}
    run = card(tmp_path)
    assert run["status"] == "finished"
    assert run["seed"] == 0
    assert [one["iteration"] for one in run["evaluations"]] in ([3, 6], [4, 8, 12])
    assert set(run["baselines"]) == {"teachers", "student"}
    assert run["data"]["train"] == {"type": "TinyPoints", "size": 16}
    assert Config.fromfile(tmp_path / "config.py").model == Config(
        changes or {"model": {"type": "TinyClassifier"}}
    ).get("model", {"type": "TinyClassifier"})
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "tiny/accuracy" in shown.err
    assert "System environment" not in shown.err


def test_the_exported_student_is_the_trained_one(tmp_path: Path) -> None:
    """A student folder of an earlier moment, or with the wrapper's names, is no use to anybody."""
    train(tiny.config(tmp_path, model=tiny.distiller()))
    student = load_file(tmp_path / "student" / "model.safetensors")
    saved = weights(tmp_path / "iter_6.pth")
    assert set(student) == {"body.weight", "body.bias", "head.weight", "head.bias"}
    assert all(torch.equal(tensor, saved[f"student.{name}"]) for name, tensor in student.items())
    assert Config.fromfile(tmp_path / "student" / "model.py").model == {"type": "TinyClassifier"}


@MODELS.register_module(force=True)
class CountingClassifier(tiny.TinyClassifier):
    """Saves something that is no tensor with its weights."""

    calls = 0

    def forward(self, *inputs: Any, **options: Any) -> Any:
        self.calls += self.training
        return super().forward(*inputs, **options)

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": self.calls}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.calls = state["calls"]


def test_a_student_with_more_than_tensors_is_exported(tmp_path: Path) -> None:
    """The run failed at its first checkpoint: ``'dict' object has no attribute 'detach'``."""
    cfg = tiny.config(tmp_path, model={"type": "CountingClassifier"})
    train(cfg)
    assert set(load_file(tmp_path / "student" / "model.safetensors")) == set(tiny.TinyClassifier().state_dict())
    assert card(tmp_path)["student"]["load"].endswith("('model.safetensors'), strict=False)  # without _extra_state")
    assert weights(tmp_path / "iter_6.pth")["_extra_state"] == {"calls": 6}
    train(cfg, resume=tmp_path / "iter_3.pth")
    assert weights(tmp_path / "iter_6.pth")["_extra_state"] == {"calls": 6}


def test_teacher_and_student_are_measured_before_training_without_a_trace(tmp_path: Path) -> None:
    """A baseline that draws random numbers changes the run it is the baseline of."""
    model = tiny.distiller() | {"student": {"type": "TinyClassifier", "dropout": 0.5}}
    for name, baseline in (("with", {"type": "kdhub.BaselineHook"}), ("without", None)):
        train(tiny.config(tmp_path / name, model=model, default_hooks={"baseline": baseline}))
    assert set(card(tmp_path / "with")["baselines"]["teachers"]) == {"teacher"}
    assert "baselines" not in card(tmp_path / "without")
    one, other = (weights(tmp_path / name / "iter_6.pth") for name in ("with", "without"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_resume_goes_on(tmp_path: Path) -> None:
    """A resumed run must not start over, nor lose what it had measured."""
    train(tiny.config(tmp_path))
    train(tiny.config(tmp_path, train_cfg={"by_epoch": False, "max_iters": 9, "val_interval": 3}), resume=True)
    run = card(tmp_path)
    assert [one["iteration"] for one in run["evaluations"]] == [3, 6, 9]
    assert [one["from_iteration"] for one in run["sessions"]] == [0, 6]
    assert read_checkpoint(tmp_path / "iter_9.pth")["meta"]["iter"] == 9


def test_the_student_of_a_resumed_run_is_its_own(tmp_path: Path) -> None:
    """Where no checkpoint is saved at the end, the student of the former end was taken for this one's."""
    hooks = {"checkpoint": {"interval": 4, "by_epoch": False, "save_last": False}}
    train(tiny.config(tmp_path, default_hooks=hooks))
    former = load_file(tmp_path / "student" / "model.safetensors")
    other = {"type": "TinyClassifier", "dropout": 0.5}
    train(tiny.config(tmp_path, default_hooks=hooks, model=other), resume=tmp_path / "iter_4.pth")
    student = load_file(tmp_path / "student" / "model.safetensors")
    assert not torch.equal(student["head.weight"], former["head.weight"])
    assert card(tmp_path)["student"]["iteration"] == 6


def test_resume_from_the_resolved_config_of_a_moved_folder(tmp_path: Path) -> None:
    """The line that tells how to go on names config.py; and people rename folders."""
    train(tiny.config(tmp_path / "a"))
    shutil.move(tmp_path / "a", tmp_path / "b")
    cfg = Config.fromfile(tmp_path / "b" / "config.py")
    cfg.work_dir = str(tmp_path / "b")
    cfg.train_cfg.max_iters = 7
    train(cfg, resume=True)
    assert (tmp_path / "b" / "iter_7.pth").is_file()
    assert not (tmp_path / "a").exists()


def test_defaults_change_nothing_the_second_time(tmp_path: Path) -> None:
    """If the resolved config resolved to another one, no run could be repeated from it."""
    train(tiny.config(tmp_path / "a", model=tiny.distiller()))
    cfg = Config.fromfile(tmp_path / "a" / "config.py")
    cfg.work_dir = str(tmp_path / "b")
    train(cfg)
    first, second = ((tmp_path / name / "config.py").read_text() for name in ("a", "b"))
    assert first.replace("/a'", "/b'") == second


def test_another_experiment_is_not_overwritten(tmp_path: Path) -> None:
    """Two experiments in one folder leave checkpoints of one and a report of the other."""
    train(tiny.config(tmp_path))
    before = {path: path.read_bytes() for path in tmp_path.glob("*.*")}
    with pytest.raises(UsageError, match=r"holds another experiment.*differs in model.*--work-dir"):
        train(tiny.config(tmp_path, model={"type": "TinyClassifier", "width": 5}))
    assert {path: path.read_bytes() for path in tmp_path.glob("*.*")} == before


def test_the_same_experiment_starts_over(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A second start in the same folder is what people do; how it runs or logs is not the experiment."""
    train(tiny.config(tmp_path))
    train(tiny.config(tmp_path, log_level="WARNING", default_hooks={"baseline": None}))
    assert len(card(tmp_path)["sessions"]) == 1


def test_a_failed_start_does_not_block_the_folder(tmp_path: Path) -> None:
    """A config with a mistake is mended and started again, in the same folder."""
    with pytest.raises(UsageError, match="weights do not fit"):
        train(_with_wrong_weights(tmp_path))
    train(tiny.config(tmp_path))
    assert card(tmp_path)["status"] == "finished"


def _with_wrong_weights(tmp_path: Path) -> Config:
    torch.save(tiny.TinyClassifier(width=9).state_dict(), tmp_path.parent / "nine.pth")
    return tiny.config(tmp_path, model=tiny.distiller(checkpoint=str(tmp_path.parent / "nine.pth")))


def test_foreign_checkpoints_are_not_touched(tmp_path: Path) -> None:
    """A folder of another tool's run looks like a work_dir."""
    (tmp_path / "last_checkpoint").write_text("somewhere/epoch_3.pth")
    with pytest.raises(UsageError, match="checkpoints that kdhub did not write"):
        train(tiny.config(tmp_path))


def test_nothing_to_resume(tmp_path: Path) -> None:
    """Starting from scratch in place of resuming costs a night before it is seen."""
    with pytest.raises(UsageError, match=r"nothing to resume.*without --resume"):
        train(tiny.config(tmp_path), resume=True)
    with pytest.raises(UsageError, match="no such checkpoint"):
        train(tiny.config(tmp_path), resume=tmp_path / "absent.pth")


@DATASETS.register_module(force=True)
class MissingPoints(tiny.TinyPoints):
    """Points whose file is not there, as in most data sets of mmengine's libraries."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        Path("absent", "points.json").read_text()


@pytest.mark.parametrize("loader", ["train_dataloader", "val_dataloader"])
def test_data_that_are_not_there_are_told_in_one_line(tmp_path: Path, loader: str) -> None:
    """The most frequent mistake of all ended in forty lines of traceback."""
    cfg = tiny.config(tmp_path)
    cfg[loader].dataset.type = "MissingPoints"
    with pytest.raises(
        UsageError, match=r"^data set MissingPoints: the data are not where.*absent/points.json.*data_root"
    ):
        train(cfg)


def test_resume_in_a_config_means_if_there_is_something(tmp_path: Path) -> None:
    """A config that says resume=True must start on an empty folder too, as in mmengine."""
    for iterations in (6, 7):
        cfg = tiny.config(tmp_path, resume=True)
        cfg.train_cfg.max_iters = iterations
        train(cfg)
    assert [one["from_iteration"] for one in card(tmp_path)["sessions"]] == [0, 6]


@pytest.mark.parametrize("changes", [{}, tiny.by_epoch()], ids=["iter", "epoch"])
def test_a_finished_run_is_not_resumed(
    tmp_path: Path, changes: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """Building everything to evaluate once more looks like training, and writes a second session into the report."""
    first = train(tiny.config(tmp_path, **changes))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    capfd.readouterr()
    assert train(tiny.config(tmp_path, **changes), resume=True) == first
    (line,) = capfd.readouterr().err.splitlines()
    assert f"{tmp_path} holds this run, finished after {12 if changes else 6} iterations; a larger" in line
    assert f"train_cfg.{'max_epochs' if changes else 'max_iters'} goes on" in line
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("interval", [1, 3])
def test_a_run_that_a_hook_stopped_early_is_finished(
    tmp_path: Path, interval: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """A predecessor with early stopping trained on at each call, and the run after it was then refused as another one's."""
    stop = {"type": "EarlyStoppingHook", "monitor": "tiny/accuracy", "min_delta": 10.0, "patience": 4}
    hooks = {"checkpoint": {"interval": interval}}
    changes = tiny.by_epoch(custom_hooks=[stop], default_hooks=hooks)
    changes["train_cfg"]["max_epochs"] = 50
    first = train(tiny.config(tmp_path, **changes))
    assert 0 < card(tmp_path)["iteration"] < card(tmp_path)["iterations"] == 200
    capfd.readouterr()
    assert train(tiny.config(tmp_path, **changes), resume=True) == first
    assert (
        f"{tmp_path} holds this run, finished after {card(tmp_path)['iteration']} iterations" in capfd.readouterr().err
    )
    assert len(card(tmp_path)["sessions"]) == 1


@pytest.mark.parametrize("lost", ["report.html", "student", "time"])
def test_a_finished_run_that_is_not_complete_is_ended_properly(tmp_path: Path, lost: str) -> None:
    """A run killed between its last files has a report that is not there, or one of when it was interrupted, for ever."""
    result = train(tiny.config(tmp_path))
    if lost == "time":
        result.report_path.write_text("interrupted")
        os.utime(result.report_path, ns=(0, (tmp_path / "run.json").stat().st_mtime_ns - 1))
    elif lost == "student":
        shutil.rmtree(tmp_path / lost)
    else:
        (tmp_path / lost).unlink()
    assert train(tiny.config(tmp_path), resume=True) == result
    assert (tmp_path / "student" / "model.safetensors").is_file()
    assert "finished" in result.report_path.read_text()


def test_a_run_is_not_charged_what_the_process_held_before(tmp_path: Path) -> None:
    """Of the trials of a study, and of a run after its student alone, `kdhub report` compared the memory of the first."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("Linux alone forgets a peak, where one may tell it to")
    held = bytearray(400 * 2**20)
    held[::4096] = b"x" * len(held[::4096])
    del held
    train(tiny.config(tmp_path))
    before = next(
        int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in line
    )
    assert card(tmp_path)["cost"]["memory"] < before * 1024 + 300 * 2**20


def test_resume_with_another_teacher_is_refused(tmp_path: Path) -> None:
    """Half of a run learned from one teacher and half from another is nobody's experiment."""
    for seed in (0, 1):
        torch.manual_seed(seed)
        torch.save(tiny.TinyClassifier(8).state_dict(), tmp_path / f"{seed}.pth")
    work_dir = tmp_path / "run"
    train(tiny.config(work_dir, model=tiny.distiller(checkpoint=str(tmp_path / "0.pth"))))
    with pytest.raises(UsageError, match=r"another teacher 'teacher'.*expected teacher=weights-.*got teacher=weights-"):
        train(tiny.config(work_dir, model=tiny.distiller(checkpoint=str(tmp_path / "1.pth"))), resume=True)


def test_a_checkpoint_that_does_not_fit_is_not_resumed(tmp_path: Path) -> None:
    """Mmengine warns and goes on with random weights."""
    train(tiny.config(tmp_path))
    with pytest.raises(UsageError, match=r"do not fit.*\(4, 2\) in the file, \(5, 2\) in the model"):
        train(tiny.config(tmp_path, model={"type": "TinyClassifier", "width": 5}), resume=True)


def test_a_resumed_run_keeps_the_precision_that_was_decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured anew on other batches, the teacher could go on in another precision than it began with."""
    # every CPU computes in bfloat16, and "auto" takes it only where that is fast
    monkeypatch.setattr("kdhub.distill.precision._cpu_has_bfloat16", lambda: True)
    weights = tmp_path / "teacher.pth"
    torch.save(tiny.TinyClassifier(8).state_dict(), weights)
    model = tiny.distiller(checkpoint=str(weights), precision="auto", max_error=0.5)
    decided = []
    for iterations, resume in ((6, False), (8, True)):
        cfg = tiny.config(tmp_path / "run", model=model)
        cfg.train_cfg.max_iters = iterations
        train(cfg, resume=resume)
        checkpoint = read_checkpoint((tmp_path / "run/last_checkpoint").read_text())
        decided.append(checkpoint["kdhub"]["teachers"]["teacher"])
    assert decided[0]["batches"] == 3
    assert decided[0]["errors"]
    assert decided[1] == decided[0]


def test_teacher_with_other_class_names_is_refused(tmp_path: Path) -> None:
    """Logits compared class by class in another order teach nonsense that still looks like learning."""
    with pytest.raises(GuardError, match="teacher"):
        train(tiny.config(tmp_path, model=tiny.distiller(class_names=("above", "below"))))


def test_load_from_reaches_the_student_of_a_distiller(tmp_path: Path) -> None:
    """A pretrained student's file has the student's names; mmengine would load none of it and say so in passing."""
    student = tiny.TinyClassifier()
    torch.save(student.state_dict(), tmp_path / "student.pth")
    still = {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.0}}
    train(
        tiny.config(
            tmp_path / "run", model=tiny.distiller(), load_from=str(tmp_path / "student.pth"), optim_wrapper=still
        )
    )
    exported = load_file(tmp_path / "run" / "student" / "model.safetensors")
    assert all(torch.equal(exported[name], tensor) for name, tensor in student.state_dict().items())


def test_a_run_without_checkpoints_leaves_its_student(tmp_path: Path) -> None:
    """Who saves disk space by saving no checkpoints still wants the result."""
    result = train(tiny.config(tmp_path, default_hooks={"checkpoint": None}))
    assert not list(tmp_path.glob("*.pth"))
    assert card(tmp_path)["student"]["iteration"] == 6
    assert result.student_path is not None


def test_resuming_measures_no_student_before_training(tmp_path: Path) -> None:
    """Half-trained weights under the heading "student before" would hide half of the gain."""
    train(tiny.config(tmp_path, default_hooks={"baseline": None}))
    train(tiny.config(tmp_path, train_cfg={"by_epoch": False, "max_iters": 7, "val_interval": 3}), resume=True)
    assert "baselines" not in card(tmp_path)


def test_best_student_has_its_own_folder(tmp_path: Path) -> None:
    """The last student is not the best, and the report speaks of the last."""
    hooks = {
        "checkpoint": {
            "type": "CheckpointHook",
            "interval": 1,
            "by_epoch": False,
            "save_best": "auto",
            "rule": "greater",
        }
    }
    train(tiny.config(tmp_path, default_hooks=hooks))
    assert (tmp_path / "student_best" / "model.safetensors").is_file()
    assert len(list(tmp_path.glob("best_*.pth"))) == 1
    assert sorted(path.name for path in tmp_path.glob("iter_*.pth")) == ["iter_4.pth", "iter_5.pth", "iter_6.pth"]


def test_accumulation_and_amp_train(tmp_path: Path) -> None:
    """Mmengine's mixed precision refuses to build without a GPU; accumulating must delay the step, not drop it."""
    wrapper = {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}, "accumulative_counts": 2}
    hooks = {"checkpoint": {"interval": 1, "by_epoch": False, "max_keep_ckpts": -1}}
    train(tiny.config(tmp_path, model=tiny.distiller(), optim_wrapper=wrapper, default_hooks=hooks), amp=True)
    # no checkpoint while gradients are half accumulated: none would hold them
    assert sorted(path.name for path in tmp_path.glob("iter_*.pth")) == ["iter_2.pth", "iter_4.pth", "iter_6.pth"]
    saved = [weights(tmp_path / f"iter_{step}.pth")["student.body.weight"] for step in (2, 4, 6)]
    assert not any(torch.equal(one, other) for one, other in itertools.pairwise(saved))
    assert Config.fromfile(tmp_path / "config.py").optim_wrapper.type == "kdhub.CPUAmpOptimWrapper"
    assert saved[0].dtype == torch.float32


@pytest.mark.parametrize(("accumulated", "count"), [(1, 0), (2, 1)])
def test_a_loss_that_a_split_batch_changes_is_named_once(tmp_path: Path, accumulated: int, count: int) -> None:
    """Relations within a quarter of the batch are others than in the whole: the config is the same and the student is not."""
    wrapper = {
        "type": "OptimWrapper",
        "optimizer": {"type": "SGD", "lr": 0.1},
        "accumulative_counts": accumulated,
    }
    model = tiny.distiller()
    model["objectives"] = {"pairs": {"loss": {"type": "kdhub.Relational"}, "student": "head", "teacher": "head"}}
    train(tiny.config(tmp_path, model=model, optim_wrapper=wrapper))
    log = next(tmp_path.glob("*/*.log")).read_text(encoding="utf-8")
    assert log.count("split over 2 accumulated steps") == count
    assert ("model.objectives.pairs.loss (Relational compares" in log) == bool(count)


@pytest.mark.parametrize("form", ["checkpoint", "student"])
def test_test_evaluates_the_student_without_its_teacher(tmp_path: Path, form: str) -> None:
    """Whoever tests a student no longer has the teacher's weights."""
    teacher = tmp_path / "teacher.pth"
    torch.save(tiny.TinyClassifier(8).state_dict(), teacher)
    changes = {f"test_{key}": tiny.config("")[f"val_{key}"] for key in ("dataloader", "cfg", "evaluator")}
    work_dir = tmp_path / "run"
    result = train(tiny.config(work_dir, model=tiny.distiller(checkpoint=str(teacher)), **changes))
    teacher.unlink()
    resolved = (work_dir / "config.py").read_bytes()
    cfg = Config.fromfile(work_dir / "config.py")
    checkpoint = work_dir / ("iter_6.pth" if form == "checkpoint" else "student/model.safetensors")
    assert run_test(cfg, checkpoint) == result.metrics
    assert (work_dir / "config.py").read_bytes() == resolved
    assert card(work_dir)["status"] == "finished"


def test_test_needs_test_data(tmp_path: Path) -> None:
    """Mmengine ends in a RuntimeError about a loop."""
    with pytest.raises(UsageError, match="nothing about testing: test_dataloader, test_cfg, test_evaluator"):
        run_test(tiny.config(tmp_path), tmp_path / "any.pth")


def test_a_new_run_from_old_weights_starts_its_schedules_anew(tmp_path: Path) -> None:
    """A second stage that begins where the first one's schedules ended trains with the wrong weights throughout."""
    train(tiny.config(tmp_path / "first", model=tiny.distiller()))
    train(
        tiny.config(tmp_path / "second", model=tiny.distiller(), load_from=str(tmp_path / "first" / "iter_6.pth")),
    )
    assert weights(tmp_path / "second" / "iter_6.pth")["position._buffer"] == 6


def test_the_exported_student_is_the_averaged_one(tmp_path: Path) -> None:
    """With an EMAHook the averaged weights are evaluated and saved; a student of other weights has other metrics."""
    train(tiny.config(tmp_path, model=tiny.distiller(), custom_hooks=[{"type": "EMAHook", "momentum": 0.5}]))
    student = load_file(tmp_path / "student" / "model.safetensors")
    saved = weights(tmp_path / "iter_6.pth")
    assert all(torch.equal(tensor, saved[f"student.{name}"]) for name, tensor in student.items())


def test_a_config_without_training_says_so(tmp_path: Path) -> None:
    """The runner would answer `self._train_loop should not be None`, and leaves a folder behind."""
    config = tiny.config(tmp_path / "run", model=tiny.distiller())
    config.pop("train_cfg")
    with pytest.raises(UsageError, match="says nothing about training: train_cfg missing"):
        train(config)
    assert not (tmp_path / "run").exists()
