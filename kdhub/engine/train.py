"""`train`: one run, from a config to a student and a report."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process

from kdhub.checkpoint import read_checkpoint, safe_loading
from kdhub.engine.defaults import completed, counts_epochs
from kdhub.engine.distributed import decided_by_main_process, process_group
from kdhub.engine.faults.explained import explained
from kdhub.engine.hooks.export_student import FOLDER
from kdhub.engine.hooks.interrupt import Interrupted
from kdhub.engine.jobs import run_job
from kdhub.engine.report.commands import resume_command
from kdhub.engine.report.console import say
from kdhub.engine.report.report import FILE_NAME as REPORT, write_report
from kdhub.engine.runner import KdhubRunner
from kdhub.engine.stages import after_predecessors
from kdhub.engine.workdir.facts import forget_peak_memory, peak_memory
from kdhub.engine.workdir.identity import differences, experiment
from kdhub.engine.workdir.lock import folder_lock
from kdhub.engine.workdir.run_card import RunCard, now
from kdhub.engine.workdir.work_dir import (
    checkpoint_to_resume,
    guard_work_dir,
    latest_checkpoint,
    make_work_dir,
    remove_partial,
)
from kdhub.errors import PluginError, UsageError
from kdhub.registry import init


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a finished run left behind.

    Attributes:
        work_dir: Folder of the run.
        student_path: The exported student; ``None`` if the run saved no checkpoint.
        report_path: The report, one self-contained HTML file; ``None`` for a job.
        metrics: The last evaluation, or what a job returned; empty if there was none.
        alone: The last evaluation of the student without its teachers, where `train_with_alone` trained it too.
        signalled: Whether the user asked to stop when this run had nothing left to stop; no other run should follow.
    """

    work_dir: Path
    student_path: Path | None
    report_path: Path | None
    metrics: Mapping[str, Any]
    alone: Mapping[str, Any] = field(default_factory=dict)
    signalled: bool = False


def train(cfg: Config, *, resume: bool | str | Path = False, amp: bool = False, launcher: str = "none") -> RunResult:
    """Train what a config describes, after its predecessors; a config with a ``job`` does that instead.

    Args:
        cfg: The config, which is not changed; what it leaves open is filled in by `kdhub.engine.defaults`.
        resume: ``True`` to go on from the work_dir's newest checkpoint, or the path of one.
        amp: Mixed precision: bfloat16 on the CPU, bfloat16 or float16 on a GPU.
        launcher: ``none``, or ``pytorch`` under torchrun.

    Returns:
        Where the student, the report and the metrics are.

    Raises:
        UsageError: For everything the user can fix: a work_dir that holds another experiment or is in use, nothing to
            resume, damaged checkpoints, a full disk, weights that do not fit; and for what stopped the run from outside:
            a data worker or another process that died, memory that ran out.
        Interrupted: If the user stopped the run; it then says how to go on.
    """
    cfg, resume = after_predecessors(
        cfg, resume, run=lambda own: train(own, amp=amp, launcher=launcher), launcher=launcher
    )
    if cfg.get("job") is not None:
        results = run_job(cfg, launcher)
        return RunResult(Path(cfg.work_dir).absolute(), student_path=None, report_path=None, metrics=results)
    cfg, decision = completed(cfg, amp)
    work_dir = Path(cfg.work_dir).absolute()
    if cfg.pop("resume", False):  # in a config it means "if there is something", as in mmengine
        resume = resume or latest_checkpoint(work_dir) is not None
    with process_group(cfg, launcher), safe_loading():
        return _train(cfg, work_dir, resume, [decision])


@dataclass(frozen=True, slots=True)
class _Start:
    """What the main process found when it took the work_dir.

    Attributes:
        checkpoint: Where to go on from; ``None`` for a new run.
        decisions: Lines that tell what was decided.
        warnings: Lines that tell what is not as it should be.
        finished: What the run measured last, if it was to be resumed and is at its end; ``None`` otherwise.
    """

    checkpoint: Path | None
    decisions: list[str]
    warnings: list[str]
    finished: Mapping[str, Any] | None = None


def _train(cfg: Config, work_dir: Path, resume: bool | str | Path, decisions: list[str | None]) -> RunResult:
    with ExitStack() as lock, explained(cfg, lambda: resume_command(work_dir)):
        start = decided_by_main_process(lambda: _take(work_dir, cfg, resume, lock))
        if start.finished is not None:
            return _result(work_dir, start.finished)
        forget_peak_memory()
        runner = _build(cfg, start.checkpoint)
        for decision in filter(None, (*decisions, *start.decisions)):
            runner.logger.info(decision)
        for warning in start.warnings:
            runner.logger.warning(warning)
        _run(runner)
    return _result(
        work_dir, runner.run_card.last_metrics, any(getattr(one, "signalled", False) for one in runner.hooks)
    )


def _result(work_dir: Path, metrics: Mapping[str, Any], signalled: bool = False) -> RunResult:
    student = work_dir / FOLDER
    return RunResult(
        work_dir=work_dir,
        student_path=student if student.is_dir() else None,
        report_path=work_dir / REPORT,
        metrics=metrics,
        signalled=signalled,
    )


def _take(work_dir: Path, cfg: Config, resume: bool | str | Path, lock: ExitStack) -> _Start:
    """Take the work_dir for this run, until ``lock`` is closed."""
    make_work_dir(work_dir)
    unguarded = lock.enter_context(folder_lock(work_dir))
    if not unguarded:
        remove_partial(work_dir)
    # first the checkpoint: where there is none to go on from, nothing is changed
    checkpoint, damaged = checkpoint_to_resume(work_dir, resume) if resume else (None, [])
    decisions = guard_work_dir(work_dir, experiment(cfg), resume)
    # a damaged checkpoint is replaced by training on from an older one
    finished = None if checkpoint is None or damaged else _finished(work_dir, cfg, checkpoint)
    return _Start(checkpoint, decisions, [*([unguarded] if unguarded else []), *damaged], finished)


def finished_card(work_dir: Path, described: Mapping[str, str]) -> RunCard | None:
    """Return the card of a work_dir whose run is finished and of this `experiment`; otherwise ``None``."""
    card = RunCard.read(work_dir)
    if card is None or card.content.get("status") != "finished":
        return None
    return None if differences(card.content["experiment"], described) else card


def _finished(work_dir: Path, cfg: Config, checkpoint: Path) -> Mapping[str, Any] | None:
    """Say so if nothing is left to do from a checkpoint, and return what was measured last."""
    card = finished_card(work_dir, experiment(cfg))
    if card is None or not _is_complete(work_dir, card):
        return None
    iteration = read_checkpoint(checkpoint).get("meta", {}).get("iter")
    ended = card.content.get("iteration", card.content["iterations"])
    # a hook may have stopped the run early, after its last checkpoint
    early = ended < card.content["iterations"] and checkpoint == latest_checkpoint(work_dir)
    if iteration != ended and not early:
        return None
    say(
        f"{work_dir} holds this run, finished after {ended} iterations; a larger"
        f" train_cfg.{'max_epochs' if counts_epochs(cfg) else 'max_iters'} goes on"
    )
    return card.last_metrics


def _is_complete(work_dir: Path, card: RunCard) -> bool:
    """Whether the report is of the card, and the student that the card names is there; not after a kill in between."""
    report, student = work_dir / REPORT, card.content.get("student")
    if not report.is_file() or report.stat().st_mtime_ns < card.path.stat().st_mtime_ns:
        return False
    return student is None or (work_dir / student["path"]).is_dir()


def _build(cfg: Config, checkpoint: Path | None) -> KdhubRunner:
    runner: KdhubRunner = KdhubRunner.from_cfg(cfg)
    if checkpoint is not None:
        runner.logger.info(f"resuming from {checkpoint}")
        runner._load_from, runner._resume = str(checkpoint), True
    return runner


def _run(runner: KdhubRunner) -> None:
    def again() -> str:
        return resume_command(runner.work_dir)

    try:
        with explained(runner.cfg, again):  # here already, so that the card has the same words
            runner.train()
    except KeyboardInterrupt:
        _close(runner, "interrupted")
        raise _stopped_at_once(runner) from None
    except BaseException as error:
        # a full disk, perhaps, or the next worker: what stopped the run is the better message
        with suppress(UsageError, PluginError), explained(runner.cfg, again):
            _close(runner, "interrupted" if isinstance(error, Interrupted) else "failed", error)
        raise
    _close(runner, "finished")


def _close(runner: KdhubRunner, status: str, error: BaseException | None = None) -> None:
    runner.call_hook("close")
    content = runner.run_card.content
    if not is_main_process() or not content:
        return
    content["status"], content["ended"], content["iteration"] = status, now(), runner.iter
    for session in content.get("sessions", [])[-1:]:
        session["ended"] = content["ended"]
    former = content.get("cost") or {}
    content["cost"] = {name: max(value, former.get(name, 0)) for name, value in peak_memory().items()}
    content.pop("error", None)
    if error is not None:
        content["error"] = f"{type(error).__name__}: {error}"
    content["plugins"] = init().run_summary(content)
    runner.run_card.write()
    write_report(Path(runner.work_dir))


def _stopped_at_once(runner: KdhubRunner) -> Interrupted:
    saved = latest_checkpoint(Path(runner.work_dir))
    if saved is None:
        return Interrupted("stopped at once; nothing was saved yet")
    return Interrupted(
        f"stopped at once; the last checkpoint is {saved}", fix=f"to go on: {resume_command(runner.work_dir)}"
    )
