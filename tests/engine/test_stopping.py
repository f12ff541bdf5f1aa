"""Runs that do not reach their end: stopped by a person, or by a full disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from kdhub.checkpoint import read_checkpoint
from kdhub.engine.hooks.interrupt import Interrupted
from kdhub.engine.train import train
from kdhub.errors import UsageError


@HOOKS.register_module(force=True)
class TinySignal(Hook):
    """Sends a signal to this very process after an iteration, or during an evaluation."""

    def __init__(self, iteration: int, number: int = signal.SIGINT, times: int = 1, evaluating: bool = False) -> None:
        self.iteration = iteration
        self.number = number
        self.times = times
        self.evaluating = evaluating

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Send, as a person does in the middle of an iteration."""
        if not self.evaluating and runner.iter + 1 == self.iteration:
            self._send()

    def before_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Send in the middle of an evaluation."""
        if self.evaluating and runner.iter == self.iteration and batch_idx == 1:
            self._send()

    def _send(self) -> None:
        for _ in range(self.times):
            os.kill(os.getpid(), self.number)


def stopped(work_dir: Path, **changes: Any) -> str:
    """Train until `TinySignal` stops it and return what the user is told."""
    with pytest.raises(Interrupted) as caught:
        train(tiny.config(work_dir, **changes))
    return str(caught.value)


def status(work_dir: Path) -> str:
    """Read the status from the run card."""
    return str(json.loads((work_dir / "run.json").read_text())["status"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path: Path, number: int, capfd: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C threw away everything since the last checkpoint; a cluster's SIGTERM as well."""
    signals = [{"type": "TinySignal", "iteration": 2, "number": int(number)}]
    before = signal.getsignal(signal.SIGINT)  # a shell in the background lets its children ignore it
    message = stopped(tmp_path, custom_hooks=signals, model=tiny.distiller())
    assert f"iteration 2 of 6 is saved in {tmp_path}/interrupted.pth" in message
    assert f"kdhub train {tmp_path}/config.py --resume" in message
    assert "\n" not in message
    assert status(tmp_path) == "interrupted"
    assert (tmp_path / "student" / "model.safetensors").is_file()
    assert (tmp_path / "report.html").is_file()
    assert read_checkpoint(tmp_path / "interrupted.pth")["meta"]["iter"] == 2
    assert signal.getsignal(signal.SIGINT) is before
    train(tiny.config(tmp_path, custom_hooks=[], model=tiny.distiller()), resume=True)
    assert "the config has changed in custom_hooks\n" in capfd.readouterr().err
    assert status(tmp_path) == "finished"
    assert not (tmp_path / "interrupted.pth").exists()


def test_an_epoch_goes_on_in_its_middle(tmp_path: Path) -> None:
    """Mmengine begins an interrupted epoch again and counts its iterations twice, so that the run ends too late."""
    message = stopped(tmp_path, **tiny.by_epoch(custom_hooks=[{"type": "TinySignal", "iteration": 6}]))
    assert "iteration 6 of 12" in message
    train(tiny.config(tmp_path, **tiny.by_epoch()), resume=True)
    assert read_checkpoint(tmp_path / "epoch_3.pth")["meta"]["iter"] == 12


def test_an_evaluation_is_finished_first(tmp_path: Path) -> None:
    """An evaluation cut short would be missing from the curve for ever."""
    message = stopped(tmp_path, custom_hooks=[{"type": "TinySignal", "iteration": 3, "evaluating": True}])
    assert "iteration 3 of 6" in message
    assert len(json.loads((tmp_path / "run.json").read_text())["evaluations"]) == 1


@pytest.mark.parametrize("changes", [{}, tiny.by_epoch()], ids=["iter", "epoch"])
def test_the_last_iteration_is_no_reason_to_stop(tmp_path: Path, changes: dict[str, Any]) -> None:
    """A run stopped at its very end would come back from --resume without its last evaluation; no other run must follow it."""
    last = 12 if changes else 6
    result = train(tiny.config(tmp_path, custom_hooks=[{"type": "TinySignal", "iteration": last}], **changes))
    assert result.metrics
    assert result.signalled


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    """Who presses Ctrl-C twice does not want to wait for a save."""
    message = stopped(tmp_path, custom_hooks=[{"type": "TinySignal", "iteration": 5, "times": 2}])
    assert f"stopped at once; the last checkpoint is {tmp_path}/iter_3.pth" in message
    assert status(tmp_path) == "interrupted"
    assert not (tmp_path / "interrupted.pth").exists()


def test_data_workers_go_on_after_ctrl_c(tmp_path: Path) -> None:
    """The terminal sends Ctrl-C to the workers too; if they die, so does the iteration that was to be saved."""
    script = tmp_path / "run.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import tiny\n"
        "from kdhub.engine.train import train\n"
        "from kdhub.errors import UsageError\n"
        f"cfg = tiny.config({str(tmp_path / 'w')!r})\n"
        "cfg.train_dataloader.num_workers = 1\n"
        "cfg.train_cfg.update(max_iters=10**6, val_interval=10**6)\n"
        "cfg.default_hooks = dict(progress=dict(interval=0.0), checkpoint=dict(interval=10**6, by_epoch=False))\n"
        "try:\n"
        "    train(cfg)\n"
        "except UsageError as error:\n"
        "    print(error)\n"
        "    sys.exit(2)\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("training"):
            break
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert "interrupted.pth" in out
    assert "Traceback" not in err


def test_a_full_disk_loses_nothing(tiny_disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Mmengine removed the old checkpoint, failed to write the new one, and printed a page about streams."""
    work_dir = tiny_disk / "run"
    changes = {"model": {"type": "TinyClassifier", "width": 40_000}}
    hooks = {"checkpoint": {"interval": 2, "by_epoch": False, "max_keep_ckpts": 1}, "export_student": None}
    with pytest.raises(UsageError, match=r"no space left to write iter_4\.pth.*to go on: .* --resume$") as caught:
        train(tiny.config(work_dir, default_hooks=hooks, **changes))
    assert "\n" not in str(caught.value)
    assert "Traceback" not in capfd.readouterr().err
    assert read_checkpoint(work_dir / "iter_2.pth")["meta"]["iter"] == 2
    assert (work_dir / "last_checkpoint").read_text().endswith("iter_2.pth")
    assert not list(work_dir.glob(".*partial"))


def test_a_disk_that_fills_up_while_logging(tiny_disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Logs and curves are written by mmengine, whose failure is a traceback from far away."""
    work_dir = tiny_disk / "run"

    @HOOKS.register_module(force=True)
    class TinyFill(Hook):
        def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
            with (tiny_disk / "filler").open("ab", buffering=0) as filler:
                while filler.write(bytes(1024)) == 1024:
                    pass

    hooks = {"checkpoint": {"interval": 100, "by_epoch": False}}
    with pytest.raises(UsageError, match="space left|No space"):
        train(tiny.config(work_dir, custom_hooks=[{"type": "TinyFill"}], default_hooks=hooks))
    assert "Traceback" not in capfd.readouterr().err


def test_a_work_dir_that_is_a_file(tmp_path: Path) -> None:
    """The commonest way to have no usable folder, without being a matter of permissions."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write run.*Not a directory.*--work-dir"):
        train(tiny.config(tmp_path / "file" / "run"))


def test_an_error_of_the_model_is_on_the_card(tmp_path: Path) -> None:
    """A defect keeps its traceback, and the card does not say "running" for ever."""

    @HOOKS.register_module(force=True)
    class TinyDefect(Hook):
        def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
            raise ZeroDivisionError("a defect")

    with pytest.raises(ZeroDivisionError):
        train(tiny.config(tmp_path, custom_hooks=[{"type": "TinyDefect"}]))
    assert status(tmp_path) == "failed"
    assert json.loads((tmp_path / "run.json").read_text())["error"] == "ZeroDivisionError: a defect"
