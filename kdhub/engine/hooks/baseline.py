"""`BaselineHook`: what the teacher reaches, and the student before it learns, measured as the student will be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from torch import nn

from kdhub.engine.hooks.progress import ProgressHook
from kdhub.engine.models import teachers_of
from kdhub.engine.rng import preserved_randomness


class BaselineHook(Hook):
    """Evaluates before the first step, with the run's own validation loop; the results go into ``run.json``.

    It changes nothing about the training that follows, random numbers included. A resumed run keeps what it found at its
    start.

    Args:
        teacher: Whether to evaluate the teachers that have a live model.
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
            if teacher.model is None:
                runner.logger.info(f"teacher {name!r} is not evaluated: it has no live model")
            else:
                runner.logger.info(f"evaluating teacher {name!r} (default_hooks.baseline.teacher=False leaves it out)")
                found["teachers"][name] = self._evaluate(runner, f"teacher {name!r}", teacher.model)
        if self.student:
            found["student"] = self._evaluate(runner, "student before training", runner.model)
        runner.run_card.content["baselines"] = found
        if is_main_process():
            runner.run_card.write()

    def _evaluate(self, runner: Any, name: str, model: nn.Module) -> dict[str, Any]:
        with preserved_randomness(), _standing_in(runner, model):
            metrics = dict(runner.val_loop.run())
        runner.logger.info(f"{name}: {ProgressHook().describe(metrics)}")
        return metrics


@contextmanager
def _standing_in(runner: Any, model: nn.Module) -> Iterator[None]:
    """Let the runner's loops use another model, with no hook but the progress bar watching."""
    trained, hooks = runner.model, runner._hooks
    runner.model, runner._hooks = model, [_OnlyBar(hook) for hook in hooks if isinstance(hook, ProgressHook)]
    try:
        yield
    finally:
        runner.model, runner._hooks = trained, hooks


class _OnlyBar(Hook):
    """Forwards the evaluation's bar of a `ProgressHook`, not its line about metrics at an iteration."""

    def __init__(self, progress: ProgressHook) -> None:
        self._progress = progress

    def before_val_epoch(self, runner: Any) -> None:
        self._progress.before_val_epoch(runner)

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self._progress.after_val_iter(runner, batch_idx)

    def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
        self._progress.after_val_epoch(runner)
