"""`train_with_alone`: the comparison that says whether distillation helped."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS
from torch import Tensor, nn

from kdhub.checkpoint import read_checkpoint
from kdhub.engine.alone import _left_out, alone_config, train_with_alone
from kdhub.engine.hooks.interrupt import Interrupted
from kdhub.engine.models import student_of
from kdhub.engine.train import RunResult, train
from kdhub.errors import UsageError

SEEN: dict[str, dict[str, Any]] = {}
"""What `TinyWitness` saw, by the name of the run's folder."""


@MODELS.register_module(force=True)
class TinyInitialised(tiny.TinyClassifier):
    """Draws its head's weights once more before training, as heads of mmseg do."""

    def init_weights(self) -> None:
        """Draw."""
        nn.init.normal_(self.head.weight)


@MODELS.register_module(force=True)
class TinyUnsupervised(tiny.TinyClassifier):
    """Has no loss of its own."""

    def forward(self, inputs: Tensor, labels: Tensor, mode: str = "tensor") -> Any:
        """Run on points (B, 2)."""
        found = super().forward(inputs, labels, mode)
        return {} if mode == "loss" else found


@HOOKS.register_module(force=True)
class TinyWitness(Hook):
    """Keeps the weights before the first step and the samples of each; interrupts the run of one folder."""

    interrupt = ""

    def before_train(self, runner: Any) -> None:
        """Keep the student."""
        weights = {name: value.clone() for name, value in student_of(runner.model).state_dict().items()}
        SEEN[Path(runner.work_dir).name] = {"weights": weights, "samples": []}

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Keep the samples."""
        SEEN[Path(runner.work_dir).name]["samples"].append(data_batch["inputs"].clone())
        if runner.iter == 4 and Path(runner.work_dir).name == self.interrupt:
            os.kill(os.getpid(), signal.SIGINT)


def config(work_dir: Path, student: str = "TinyInitialised", **changes: Any) -> Config:
    """Describe a distilled run whose teacher and adapter draw random numbers when they are built."""
    model = tiny.distiller()
    model["student"] = {"type": student}
    model["objectives"]["logits"]["adapter"] = {"type": "kdhub.Linear", "in_features": 2, "out_features": 2}
    model |= changes.pop("model", {})
    return tiny.config(work_dir, model=model, custom_hooks=[{"type": "TinyWitness"}], **changes)


def card(work_dir: Path) -> dict[str, Any]:
    """Read a run card."""
    return dict(json.loads((work_dir / "run.json").read_text()))


def test_both_runs_start_equal_and_see_the_same(tmp_path: Path) -> None:
    """Random numbers that teacher and adapter drew gave the student another start: the difference was not distillation's."""
    result = train_with_alone(config(tmp_path / "run"))
    alone, distilled = SEEN["alone"], SEEN["run"]
    assert all(torch.equal(value, distilled["weights"][name]) for name, value in alone["weights"].items())
    assert len(alone["samples"]) == len(distilled["samples"]) == 6
    assert all(map(torch.equal, alone["samples"], distilled["samples"]))
    told = card(tmp_path / "run")
    assert told["alone"]["evaluations"][-1]["metrics"] == result.alone
    assert told["evaluations"][-1]["metrics"] == result.metrics
    assert set(card(tmp_path / "run/alone")["models"]) == {"student"}
    trained = read_checkpoint(tmp_path / "run/alone/iter_6.pth")["state_dict"]
    assert not any(name.startswith("objectives.") for name in trained)


def test_alone_is_the_plain_training_of_the_student(tmp_path: Path) -> None:
    """A comparison with a student that the distiller holds back, or with another learning rate, flatters the method."""
    optimizer = {"paramwise_cfg": {"custom_keys": {"student.body": {"lr_mult": 3.0}}}}
    changes = {"optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1}, **optimizer}}
    schedule = {"type": "kdhub.CosineSchedule", "start": 0.0, "end": 1.0, "steps": 6}
    train_with_alone(config(tmp_path / "run", model={"task_weight": schedule}, **changes))
    plain = tiny.config(tmp_path / "plain", model={"type": "TinyInitialised"}, **changes)
    plain.optim_wrapper.paramwise_cfg.custom_keys = {"body": {"lr_mult": 3.0}}
    train(plain)
    weights = read_checkpoint(tmp_path / "plain/iter_6.pth")["state_dict"]
    alone = read_checkpoint(tmp_path / "run/alone/iter_6.pth")["state_dict"]
    assert all(torch.equal(value, alone[f"student.{name}"]) for name, value in weights.items())


def test_what_is_finished_is_not_repeated(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The run alone takes as long as the distilled one; a stale one would be compared with another experiment."""
    train_with_alone(config(tmp_path / "run"))
    SEEN.clear()
    train_with_alone(config(tmp_path / "run"))
    assert set(SEEN) == {"run"}
    assert "alone holds this run, finished after 6 iterations" in capfd.readouterr().err
    SEEN.clear()
    train_with_alone(config(tmp_path / "run"), resume=True)
    assert set(SEEN) == set()
    changed = {"train_cfg": {"by_epoch": False, "max_iters": 8, "val_interval": 4}}
    with pytest.raises(UsageError, match=r"run: the work_dir holds another experiment.*train_cfg"):
        train_with_alone(config(tmp_path / "run", **changed))
    assert set(SEEN) == set()
    train_with_alone(config(tmp_path / "run", **changed), resume=True)
    assert [card(tmp_path / folder)["iterations"] for folder in ("run", "run/alone")] == [8, 8]


def test_a_run_can_get_its_comparison_later(tmp_path: Path) -> None:
    """Whoever asks afterwards whether distillation helped need not distil again."""
    train(config(tmp_path / "run"))
    SEEN.clear()
    result = train_with_alone(config(tmp_path / "run"), resume=True)
    assert set(SEEN) == {"alone"}
    assert result.alone
    assert "alone" in card(tmp_path / "run")


@pytest.mark.parametrize("stopped", ["alone", "run"])
def test_a_stopped_comparison_goes_on(tmp_path: Path, stopped: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C while training alone there is nothing to resume in the work_dir itself."""
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(TinyWitness, "interrupt", stopped)
        train_with_alone(config(tmp_path / "run"))
    assert (tmp_path / "run/run.json").exists() == (stopped == "run")
    SEEN.clear()
    result = train_with_alone(config(tmp_path / "run"), resume=True)
    assert set(SEEN) == ({"run"} if stopped == "run" else {"alone", "run"})
    assert len(SEEN[stopped]["samples"]) == 1
    assert result.alone
    assert card(tmp_path / "run/alone")["status"] == card(tmp_path / "run")["status"] == "finished"


def test_a_signal_in_the_last_evaluation_alone_stops_the_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came too late to stop the run alone, was forgotten, and the distilled run of hours began."""
    trained = []

    def train_once(own: Config, **_: Any) -> RunResult:
        trained.append(own.work_dir)
        return RunResult(Path(own.work_dir), None, None, {"tiny/accuracy": 0.5}, signalled=True)

    monkeypatch.setattr("kdhub.engine.alone.train", train_once)
    with pytest.raises(Interrupted, match=r"stopped after the student alone.*to go on: kdhub train"):
        train_with_alone(config(tmp_path / "run"))
    assert trained == [str(tmp_path / "run/alone")]


def test_nothing_to_resume_is_told_at_once(tmp_path: Path) -> None:
    """A mistake of the command line would come to light after an hour of training alone."""
    SEEN.clear()
    with pytest.raises(UsageError, match="nothing to resume"):
        train_with_alone(config(tmp_path / "run"), resume=True)
    assert SEEN == {}


def test_a_student_without_a_loss_cannot_be_trained_alone(tmp_path: Path) -> None:
    """The sum of no losses has no gradient; Python's message about int.backward helps nobody."""
    with pytest.raises(UsageError, match=r"nothing to train on.*no loss of its own"):
        train_with_alone(config(tmp_path / "run", student="TinyUnsupervised"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": {"objectives": {}}}, "the config distils nothing"),
        ({"randomness": {}}, "--cfg-options randomness.seed=0"),
        ({"val_evaluator": None, "val_dataloader": None, "val_cfg": None}, "the config evaluates none"),
        ({"model": {"init_cfg": {"type": "Normal", "layer": "Linear"}}}, "move it to model.student.init_cfg"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    """Two runs that differ in more than the teacher say nothing about the teacher."""
    with pytest.raises(UsageError, match=told):
        train_with_alone(config(tmp_path / "run", **changes))


def test_what_else_differs_is_told() -> None:
    """A weight that is left out, or augmentations that only a store has, would pass for what the teacher did."""
    loss = {"type": "kdhub.MSE"}
    stored = {"type": "kdhub.StoredTeacher", "store": "s", "draws": 4}
    distilled = {"teachers": {"a": stored, "b": {"type": "kdhub.ModelTeacher"}}, "task_weight": 0.5}
    assert _left_out({"teacher": {"type": "kdhub.ModelTeacher"}}, {"objectives": {}}) == ""
    assert _left_out(distilled, {"objectives": {"labels": loss}}) == (
        " (with its objective 'labels', which reads no teacher; without task_weight=0.5: its own losses count fully; it sees"
        " new augmentations, where the store of 'a' has 4 of each sample)"
    )


def test_a_plain_model_is_refused(tmp_path: Path) -> None:
    """A model without teachers is already trained alone."""
    with pytest.raises(UsageError, match="already trained alone"):
        alone_config(tiny.config(tmp_path))


@pytest.mark.filterwarnings("ignore:`broadcast_buffers` is deprecated:FutureWarning")  # mmengine's own argument
def test_both_runs_share_one_process_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second group in one process can meet what the first left in torchrun's store, and wait for ever."""
    here = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    for name, value in {**here, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    made = []
    make = torch.distributed.init_process_group
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *a, **b: made.append(make(*a, **b)))
    train_with_alone(config(tmp_path / "run"), launcher="pytorch")
    assert len(made) == 1
    assert not torch.distributed.is_initialized()
    assert (tmp_path / "run/alone/student").is_dir()
    assert "alone" in card(tmp_path / "run")
