"""`RunCardHook`: writes down what is run and what comes out, as it happens."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from kdhub.engine.models import student_of, teachers_of
from kdhub.engine.resume.data_identity import data_roots, dataset_facts
from kdhub.engine.resume.loops import Resumable
from kdhub.engine.resume.saving import point_to
from kdhub.engine.workdir.facts import command_line, machine, source_commit, versions
from kdhub.engine.workdir.identity import experiment
from kdhub.engine.workdir.run_card import RunCard, now
from kdhub.engine.workdir.work_dir import POINTER
from kdhub.inner import described_model
from kdhub.registry import init


class RunCardHook(Hook):
    """Keeps ``run.json`` of the work_dir: facts before training, metrics after each evaluation.

    A resumed run goes on with the card it finds. A data set may offer ``fingerprint() -> str``; others are recorded with
    type and size only.
    """

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self._evaluation_started = 0.0

    def before_train(self, runner: Any) -> None:
        """Write the facts."""
        if not is_main_process():
            return
        work_dir = Path(runner.work_dir)
        if runner.resuming:
            point_to(work_dir, Path(runner._load_from))
        else:  # a run that starts over must not be resumed from what it replaces
            (work_dir / POINTER).unlink(missing_ok=True)
        former = RunCard.read(work_dir) if runner.resuming else None
        if former is not None:
            runner.run_card.content = {**former.content, **runner.run_card.content}
            _forget_after(runner.run_card.content, runner.iter)
        content = runner.run_card.content
        content["status"] = "running"
        content["experiment"] = experiment(runner.cfg)
        content["name"] = work_dir.name
        content["work_dir"] = str(work_dir)
        content["config"] = runner.cfg.filename or "config.py"
        content.setdefault("started", now())
        content.setdefault("evaluations", [])
        content.setdefault("sessions", []).append(
            {"log": runner.timestamp, "started": now(), "from_iteration": runner.iter, "command": command_line()}
        )
        content["seed"] = runner.seed
        content["iterations"] = runner.max_iters
        manager = init()
        plugins = tuple(row.source.dist for row in manager.plugins if row.status == "ok")
        content["versions"] = versions(plugins)
        content["machine"] = {**machine(), "processes": runner.world_size}
        content["source"] = source_commit(Path(runner.cfg.filename or ".").resolve().parent)
        content["models"] = _models(runner.model)
        content["teachers"] = {name: one.fingerprint() for name, one in teachers_of(runner.model).items()}
        content["data"] = _data(runner)
        content["plugins"] = manager.run_summary(content)
        runner.run_card.write()

    def before_val_epoch(self, runner: Any) -> None:
        """Take the time."""
        self._evaluation_started = time.monotonic()

    def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
        """Record an evaluation."""
        content = runner.run_card.content
        if not is_main_process() or not content:
            return
        evaluation = {
            "iteration": runner.iter,
            "epoch": runner.epoch,
            "seconds": round(time.monotonic() - self._evaluation_started, 2),
            "metrics": dict(metrics or {}),
        }
        # a run killed between an evaluation and the next checkpoint evaluates once more when it is resumed
        former = [one for one in content["evaluations"] if one["iteration"] != runner.iter]
        content["evaluations"] = [*former, evaluation]
        runner.run_card.write()


def _forget_after(content: dict[str, Any], iteration: int) -> None:
    """Drop what lies ahead of a run that goes on from ``iteration``: it will be made anew."""
    if content.get("student", {}).get("iteration", 0) > iteration:
        del content["student"]
    content["evaluations"] = [one for one in content.get("evaluations", []) if one["iteration"] <= iteration]


def _models(model: Any) -> dict[str, Any]:
    models: dict[str, Any] = {"student": described_model(student_of(model))}
    return models | {name: teacher.facts() for name, teacher in teachers_of(model).items()}


def _data(runner: Any) -> dict[str, Any]:
    loop = runner.train_loop
    dataset = loop.dataloader.dataset
    facts = loop.data_facts if isinstance(loop, Resumable) else dataset_facts(dataset)
    described = {"train": {**facts, **_folder(dataset)}}
    if runner.val_loop is not None:
        dataset = runner.val_dataloader.dataset
        described["val"] = {**dataset_facts(dataset), **_folder(dataset)}
    return described


def _folder(dataset: Any) -> dict[str, str]:
    """Return where a data set lies, so that nobody has to run the config to find it again."""
    root = next(data_roots(dataset), None)
    return {"data_root": root} if root else {}
