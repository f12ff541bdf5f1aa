"""`train_with_alone`: the student without its teachers first, then with them, so that the difference is what distillation gave."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process

from kdhub.config.objectives import Inputs
from kdhub.distill.objective import loss_spec
from kdhub.engine.defaults import completed
from kdhub.engine.distributed import decided_by_main_process, process_group
from kdhub.engine.hooks.interrupt import Interrupted
from kdhub.engine.report.commands import resume_command
from kdhub.engine.report.console import metrics_line, say
from kdhub.engine.report.report import write_report
from kdhub.engine.stages import after_predecessors
from kdhub.engine.train import RunResult, finished_card, train
from kdhub.engine.workdir.identity import experiment
from kdhub.engine.workdir.run_card import RunCard
from kdhub.engine.workdir.work_dir import checkpoint_to_resume, guard_work_dir, latest_checkpoint, make_work_dir
from kdhub.errors import UsageError
from kdhub.registry import init

FOLDER = "alone"
_OF_DISTILLATION = ("teacher", "teachers", "objectives", "task_weight")


def train_with_alone(
    cfg: Config, *, resume: bool | str | Path = False, amp: bool = False, launcher: str = "none"
) -> RunResult:
    """Train the student alone in ``WORK_DIR/alone``, then distil it in ``WORK_DIR``, and write both into its report.

    Both runs have the same initial weights, the same samples in the same order and the same number of steps. A run alone that
    is finished and unchanged is not repeated.

    Args:
        cfg: The config of the distilled run, which is not changed.
        resume: As in `train`. A run that was stopped while it trained alone goes on there.
        amp: As in `train`, for both.
        launcher: As in `train`, for both.

    Returns:
        What the distilled run left behind.

    Raises:
        UsageError: If the config distils nothing, names no seed, evaluates nothing or initialises the whole model, if the
            student has no loss of its own; and as in `train`.
        Interrupted: If the user stopped one of the runs.
    """
    init()
    cfg, resume = after_predecessors(
        cfg, resume, run=lambda own: train(own, amp=amp, launcher=launcher), launcher=launcher
    )
    alone = alone_config(cfg)
    plain, distilled = completed(alone, amp)[0], completed(cfg, amp)[0]
    work_dir, beside = Path(distilled.work_dir).absolute(), Path(plain.work_dir)
    with process_group(copy.deepcopy(cfg), launcher):
        goes_on, resume = decided_by_main_process(
            lambda: _plan(work_dir, experiment(distilled), beside, experiment(plain), resume)
        )
        _say(f"first the student alone, in {beside}{_left_out(cfg.model, alone.model)}")
        first = train(alone, resume=goes_on, amp=amp, launcher=launcher)
        if first.signalled:
            raise Interrupted("stopped after the student alone", fix=f"to go on: {resume_command(work_dir)}")
        _say(f"alone: {metrics_line(first.metrics)}; now distilled, in {work_dir}")
        result = train(cfg, resume=resume, amp=amp, launcher=launcher)
        if is_main_process():
            _add_to_report(work_dir, beside)
    return replace(result, alone=first.metrics)


def alone_config(cfg: Config) -> Config:
    """Describe the run of a distiller's student without its teachers, and without the objectives that read one.

    The model stays a `Distiller`, so that optimizer settings and hooks that name ``student.`` hold in both runs. The student's
    own losses count fully: ``task_weight`` is a part of the distillation.

    Args:
        cfg: The config of the distilled run, which is not changed.

    Raises:
        UsageError: If there is nothing to compare with, or the two runs would not start equal.
    """
    model, where = cfg.get("model"), "--alone"
    objectives = (model.get("objectives") or {}) if isinstance(model, Mapping) else {}
    labels = {name: one for name, one in objectives.items() if one is not None and _hears_no_teacher(one)}
    if all(one is None or name in labels for name, one in objectives.items()):
        raise UsageError(
            "the config distils nothing, so its student is already trained alone",
            where=where,
            expected="a model with objectives that read a teacher",
        )
    if (cfg.get("randomness") or {}).get("seed") is None:
        raise UsageError(
            "two runs are compared, and without a seed they would differ in more than the teacher",
            where=where,
            fix="--cfg-options randomness.seed=0",
        )
    if model.get("init_cfg"):
        raise UsageError(
            "model.init_cfg initialises student and adapters together, which cannot be done for the student alone",
            where=where,
            fix="move it to model.student.init_cfg",
        )
    if cfg.get("val_evaluator") is None:
        raise UsageError(
            "two students are compared, and the config evaluates none",
            where=where,
            expected="val_dataloader, val_cfg and val_evaluator",
        )
    alone = copy.deepcopy(cfg)
    kept = {key: value for key, value in alone.model.items() if key not in _OF_DISTILLATION}
    alone.model = {**kept, "objectives": labels}
    # the start of the distilled run is the same, and is measured there
    alone.default_hooks = {**(alone.get("default_hooks") or {}), "baseline": None}
    alone.work_dir = str(Path(completed(cfg)[0].work_dir).absolute() / FOLDER)
    return alone


def _hears_no_teacher(objective: Mapping[str, Any]) -> bool:
    """Whether an objective is the student's own: of a loss that a plugin lists, and that has no input for a teacher.

    A loss that could read one may get a teacher's scores from the batch.
    """
    record = loss_spec(objective.get("loss"))
    return record is not None and not Inputs.of_record(record).teacher


def _plan(
    work_dir: Path,
    distilled: Mapping[str, str],
    beside: Path,
    alone: Mapping[str, str],
    resume: bool | str | Path,
) -> tuple[bool, bool | str | Path]:
    """Say whether the run alone goes on, and how the distilled one is to be resumed.

    Raises:
        UsageError: For a folder that would be refused after an hour of training alone.
    """
    make_work_dir(work_dir)
    begun = latest_checkpoint(beside) is not None
    goes_on = begun and (bool(resume) or finished_card(beside, alone) is not None)
    if resume is True and begun and latest_checkpoint(work_dir) is None:
        resume = False  # it was stopped while it trained alone
    if resume:
        checkpoint_to_resume(work_dir, resume)
    guard_work_dir(work_dir, distilled, resume)
    return goes_on, resume


def _add_to_report(work_dir: Path, beside: Path) -> None:
    """Write what came out alone into the card of the distilled run, with the experiment that it may be compared with."""
    card, alone = RunCard.read(work_dir), RunCard.read(beside)
    if card is None or alone is None:
        return
    card.content["alone"] = {
        "path": FOLDER,
        "evaluations": alone.content["evaluations"],
        "compares_with": card.content["experiment"],
    }
    card.write()
    write_report(work_dir)


def _left_out(distilled: Mapping[str, Any], alone: Mapping[str, Any]) -> str:
    """Say in what the run alone differs besides its teachers."""
    told = [f"with its objective {name!r}, which reads no teacher" for name in alone["objectives"]]
    weight = distilled.get("task_weight", 1.0)
    if weight != 1.0:
        told.append(f"without task_weight={weight}: its own losses count fully")
    teachers = distilled.get("teachers") or {"teacher": distilled.get("teacher")}
    told += [
        f"it sees new augmentations, where the store of {name!r} has {teacher['draws']} of each sample"
        for name, teacher in teachers.items()
        if isinstance(teacher, Mapping) and teacher.get("draws")
    ]
    return f" ({'; '.join(told)})" if told else ""


def _say(text: str) -> None:
    if is_main_process():
        say(text)
