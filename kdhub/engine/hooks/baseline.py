"""`BaselineHook`: what the teacher reaches, and the student before it learns, measured as the student will be."""

from __future__ import annotations

from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from kdhub.engine.evaluation import evaluate, evaluate_teacher
from kdhub.engine.models import student_of, teachers_of


class BaselineHook(Hook):
    """Evaluates before the first step, with the run's own validation loop; the results go into ``run.json``.

    It changes nothing about the training that follows, random numbers included. A resumed run keeps what it found at its
    start.

    Args:
        teacher: Whether to evaluate the teachers that have a live model. Of a stored one the store tells what
            `kdhub cache` measured on the same validation data.
        student: Whether to evaluate the student as it starts.
    """

    def __init__(self, teacher: bool = True, student: bool = True) -> None:
        self.teacher = teacher
        self.student = student

    def before_train(self, runner: Any) -> None:
        """Evaluate."""
        if runner.val_loop is None or runner.resuming:
            return
        found: dict[str, Any] = {"teachers": {}}
        for name, teacher in teachers_of(runner.model).items() if self.teacher else ():
            metrics = _metrics(runner, name, teacher)
            if metrics is not None:
                found["teachers"][name] = metrics
        if self.student:
            found["student"] = evaluate(runner, "student before training", runner.model)
        runner.run_card.content["baselines"] = found
        if is_main_process():
            runner.run_card.write()


def _metrics(runner: Any, name: str, teacher: Any) -> dict[str, Any] | None:
    recorded = teacher.recorded_metrics(runner.cfg, runner.val_dataloader)
    if recorded is not None:
        return dict(recorded)
    if teacher.model is None or not teacher.frozen:
        why = "it has no live model" if teacher.frozen else "it begins as the student"
        runner.logger.info(f"teacher {name!r} is not evaluated: {why}")
        return None
    runner.logger.info(f"evaluating teacher {name!r} (default_hooks.baseline.teacher=False leaves it out)")
    return evaluate_teacher(runner, name, teacher, student_of(runner.model))
