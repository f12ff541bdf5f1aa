"""`train`: one run, from a config to a student and a report."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process

import kdhub
from kdhub.checkpoint import safe_loading
from kdhub.engine.amp import choose_amp
from kdhub.engine.atomic import NO_SPACE, storage_error
from kdhub.engine.defaults import add_training_defaults, require_parts
from kdhub.engine.distributed import process_group
from kdhub.engine.hooks.export_student import FOLDER
from kdhub.engine.hooks.interrupt import Interrupted, resume_command
from kdhub.engine.identity import experiment
from kdhub.engine.report import write_report
from kdhub.engine.run_card import now
from kdhub.engine.runner import KdhubRunner
from kdhub.engine.work_dir import checkpoint_to_resume, latest_checkpoint, open_work_dir
from kdhub.errors import UsageError

_NEEDED = ("model", "train_dataloader", "train_cfg", "optim_wrapper")


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a finished run left behind.

    Attributes:
        work_dir: Folder of the run.
        student_path: The exported student; ``None`` if the run saved no checkpoint.
        report_path: The report, one self-contained HTML file.
        metrics: The last evaluation; empty if there was none.
    """

    work_dir: Path
    student_path: Path | None
    report_path: Path
    metrics: Mapping[str, Any]


def train(cfg: Config, *, resume: bool | str | Path = False, amp: bool = False, launcher: str = "none") -> RunResult:
    """Train what a config describes.

    Args:
        cfg: The config, which is not changed; what it leaves open is filled in by `kdhub.engine.defaults`.
        resume: ``True`` to go on from the work_dir's newest checkpoint, or the path of one.
        amp: Mixed precision: bfloat16 on the CPU, bfloat16 or float16 on a GPU.
        launcher: ``none``, or ``pytorch`` under torchrun.

    Returns:
        Where the student, the report and the metrics are.

    Raises:
        UsageError: For everything the user can fix: a work_dir that holds another experiment, nothing to resume, a full
            disk, weights that do not fit.
        Interrupted: If the user stopped the run; it then says how to go on.
    """
    kdhub.init()
    cfg = copy.deepcopy(cfg)
    require_parts(cfg, _NEEDED, "training", fix="set them, or begin with a config that has them: _base_ = [...]")
    decisions = [choose_amp(cfg, amp)]
    add_training_defaults(cfg)
    work_dir = Path(cfg.work_dir).absolute()
    if cfg.pop("resume", False):  # in a config it means "if there is something", as in mmengine
        resume = resume or latest_checkpoint(work_dir) is not None
    with process_group(cfg, launcher), safe_loading():
        return _train(cfg, work_dir, resume, decisions)


def _train(cfg: Config, work_dir: Path, resume: bool | str | Path, decisions: list[str | None]) -> RunResult:
    if is_main_process():
        decisions += open_work_dir(work_dir, experiment(cfg), resume)
    checkpoint = checkpoint_to_resume(work_dir, resume) if resume else None
    with _storage_errors(work_dir):
        runner = _build(cfg, checkpoint)
        for decision in filter(None, decisions):
            runner.logger.info(decision)
        _run(runner)
    student = work_dir / FOLDER
    return RunResult(
        work_dir=work_dir,
        student_path=student if student.is_dir() else None,
        report_path=work_dir / "report.html",
        metrics=runner.run_card.last_metrics,
    )


def _build(cfg: Config, checkpoint: Path | None) -> KdhubRunner:
    runner: KdhubRunner = KdhubRunner.from_cfg(cfg)
    if checkpoint is not None:
        runner.logger.info(f"resuming from {checkpoint}")
        runner._load_from, runner._resume = str(checkpoint), True
    return runner


def _run(runner: KdhubRunner) -> None:
    try:
        runner.train()
    except KeyboardInterrupt:
        _close(runner, "interrupted")
        raise _stopped_at_once(runner) from None
    except BaseException as error:
        with suppress(UsageError):  # a full disk, perhaps: what stopped the run is the better message
            _close(runner, "interrupted" if isinstance(error, Interrupted) else "failed", error)
        raise
    _close(runner, "finished")


def _close(runner: KdhubRunner, status: str, error: BaseException | None = None) -> None:
    runner.call_hook("close")
    content = runner.run_card.content
    if not is_main_process() or not content:
        return
    content["status"], content["ended"] = status, now()
    content.pop("error", None)
    if error is not None:
        content["error"] = f"{type(error).__name__}: {error}"
    content["plugins"] = kdhub.init().run_summary(content)
    runner.run_card.write()
    write_report(Path(runner.work_dir))


def _stopped_at_once(runner: KdhubRunner) -> Interrupted:
    saved = latest_checkpoint(Path(runner.work_dir))
    if saved is None:
        return Interrupted("stopped at once; nothing was saved yet")
    return Interrupted(
        f"stopped at once; the last checkpoint is {saved}", fix=f"to go on: {resume_command(runner.work_dir)}"
    )


@contextmanager
def _storage_errors(work_dir: Path) -> Iterator[None]:
    """Tell in one line if a log or curve could not be written, which is done far from any of our own code."""
    try:
        yield
    except OSError as error:
        path = Path(error.filename) if error.filename else work_dir / "the logs"
        if work_dir not in path.parents or (not error.filename and error.errno not in NO_SPACE):
            raise
        raise storage_error(path, error) from error
