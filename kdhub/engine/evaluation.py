"""Evaluating: the config of a run that does nothing else, and any model in the place of the one that is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.hooks import Hook
from torch import nn

from kdhub.engine.defaults import add_testing_defaults
from kdhub.engine.hooks.progress import ProgressHook
from kdhub.engine.libraries import import_library
from kdhub.engine.report.console import metrics_line
from kdhub.rng import preserved_randomness

_FOR_TRAINING = ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler")
PARTS = {
    "val": ("val_dataloader", "val_cfg", "val_evaluator"),
    "test": ("test_dataloader", "test_cfg", "test_evaluator"),
}
"""What a config says about each kind of evaluation."""


def keep_only(cfg: Any, evaluation: str) -> None:
    """Reduce a config to one kind of evaluation, in place, and complete it for that.

    Args:
        cfg: The config of a run.
        evaluation: ``val`` or ``test``.
    """
    others = (part for name, parts in PARTS.items() if name != evaluation for part in parts)
    for key in (*_FOR_TRAINING, *others):
        cfg.pop(key, None)
    add_testing_defaults(cfg)
    import_library(cfg)


def evaluate(runner: Any, what: str, model: nn.Module) -> dict[str, Any]:
    """Evaluate a model with a runner's own validation loop, and say what it reaches.

    It changes nothing about what the runner does next, random numbers included.

    Args:
        runner: A runner with a validation loop.
        what: What the model is, for the log.
        model: The model.

    Returns:
        Metrics by name.
    """
    with preserved_randomness(), _standing_in(runner, model):
        metrics = dict(runner.val_loop.run())
    runner.logger.info(f"{what}: {metrics_line(metrics)}")
    return metrics


def evaluate_teacher(runner: Any, name: str, teacher: Any, student: nn.Module) -> dict[str, Any]:
    """Evaluate a live teacher on the batches that it is asked with; see `evaluate`.

    Args:
        runner: A runner with a validation loop.
        name: Name of the teacher.
        teacher: A teacher with a live model.
        student: The student, which preprocesses for a teacher with ``batch="student"``.
    """
    what, model = f"teacher {name!r}", teacher.model
    if teacher.batch != "student":
        return evaluate(runner, what, model)
    own, model.data_preprocessor = model.data_preprocessor, student.data_preprocessor
    try:
        return evaluate(runner, what, model)
    finally:
        model.data_preprocessor = own


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
