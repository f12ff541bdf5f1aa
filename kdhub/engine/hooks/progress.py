"""`ProgressHook`: a progress bar with the time that is left, or lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from kdhub.engine.report.console import console, duration, metrics_line, say

_REFRESH_SECONDS = 0.2
"""How often the loss is read at most; on a GPU each reading waits for the device."""


class ProgressHook(Hook):
    """Shows where a run stands: iterations, speed, time left, the main loss, and each evaluation's metrics.

    Args:
        interval: Seconds between two lines where the console is no terminal.
        metrics: How many metrics of an evaluation to show.
    """

    priority = "LOW"

    def __init__(self, interval: float = 15.0, metrics: int = 6) -> None:
        self.interval = interval
        self.metrics = metrics
        self._bar: Progress | None = None
        self._training: TaskID | None = None
        self._evaluating: TaskID | None = None
        self._started = 0.0
        self._first = 0
        self._in_training = 0.0
        self._since = 0.0
        self._shown = 0.0

    def before_train(self, runner: Any) -> None:
        """Start the bar."""
        self._started = self._shown = time.monotonic()
        self._first = runner.iter
        if is_main_process() and console().is_terminal:
            self._start_bar()
            self._training = self._add("training", runner.max_iters, runner.iter)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Take the time, so that an evaluation does not count as a slow iteration."""
        self._since = self._since or time.monotonic()

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Advance the bar."""
        if not is_main_process():
            return
        now, done, total = time.monotonic(), runner.iter + 1, runner.max_iters
        trained = done - self._first
        self._in_training += now - self._since
        self._since = now
        pause = _REFRESH_SECONDS if self._bar else self.interval
        if now - self._shown < pause and done < total:
            return
        self._shown = now
        per_second = trained / max(self._in_training, 1e-9)
        # by the clock, so that evaluations to come are counted like those that were
        left = (total - done) * (now - self._started) / trained
        speed = f"{per_second:.0f}" if per_second >= 100 else f"{per_second:.3g}"
        status = f"{speed} it/s, {duration(left)} left{_loss(outputs)}"
        if self._bar is not None and self._training is not None:
            self._bar.update(self._training, completed=done, status=status)
        else:
            say(f"training {done}/{total} ({done / total:.0%}), {status}")

    def before_val_epoch(self, runner: Any) -> None:
        """Show an evaluation as a bar of its own."""
        self._start_evaluation("evaluating", len(runner.val_dataloader))

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Advance the evaluation's bar."""
        if self._bar is not None and self._evaluating is not None:
            self._bar.update(self._evaluating, completed=batch_idx + 1)

    def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
        """Print the metrics."""
        self._end_evaluation()
        if metrics:
            runner.logger.info(f"evaluation at iteration {runner.iter}: {metrics_line(metrics, self.metrics)}")

    def before_test_epoch(self, runner: Any) -> None:
        """Show a test as a bar of its own."""
        self._start_evaluation("testing", len(runner.test_dataloader))

    after_test_iter = after_val_iter

    def after_test_epoch(self, runner: Any, metrics: Any = None) -> None:
        """Take the bar away; the metrics are for the caller."""
        self._end_evaluation()

    def after_train(self, runner: Any) -> None:
        """Say how long it took."""
        self.close(runner)
        seconds = time.monotonic() - self._started
        runner.logger.info(f"trained {runner.iter - self._first} iterations in {duration(seconds)}")

    def close(self, runner: Any) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._training = self._evaluating = None

    def _start_evaluation(self, what: str, batches: int) -> None:
        self._since = 0.0
        if is_main_process() and console().is_terminal:
            self._start_bar()
            self._evaluating = self._add(what, batches, 0)

    def _end_evaluation(self) -> None:
        if self._bar is not None and self._evaluating is not None:
            self._bar.remove_task(self._evaluating)
            self._evaluating = None

    def _start_bar(self) -> None:
        if self._bar is None:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, TextColumn("{task.fields[status]}"), console=console(), transient=True)
            self._bar.start()

    def _add(self, what: str, total: int, done: int) -> TaskID | None:
        return self._bar.add_task(what, total=total, completed=done, status="") if self._bar is not None else None


def _loss(outputs: Any) -> str:
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else None
    return f", loss {float(loss.detach()):.4g}" if loss is not None else ""
