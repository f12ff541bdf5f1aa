"""`Progress`: how far a long work is, as a bar or, where there is no terminal, as lines."""

from __future__ import annotations

import time

from mmengine.dist import is_main_process
from rich.progress import BarColumn, MofNCompleteColumn, Progress as Bar, TaskID, TextColumn, TimeElapsedColumn

from kdhub.engine.report.console import console, duration, say

_PAUSE_SECONDS = {True: 0.2, False: 15.0}
"""Between two looks at a bar, and between two lines."""


class Progress:
    """Shows what is done, how fast, and the time left; the main process speaks for all. Use it in a ``with``.

    Args:
        what: What is being done, such as ``'encoding'``.
        total: How many there are to do.
        processes: How many processes work at the same pace.
        done: How many were done before, by a run that was stopped; they do not count for the speed.
        unit: What is counted, in the plural.
    """

    def __init__(self, what: str, total: int = 0, processes: int = 1, done: int = 0, unit: str = "records") -> None:
        self._what = what
        self._total = total
        self._processes = processes
        self._done = self._before = done
        self._unit = unit
        self._started = self._shown = time.monotonic()
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Progress:
        if is_main_process() and console().is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Bar(*columns, TextColumn("{task.fields[status]}"), console=console(), transient=True)
            self._task = self._bar.add_task(self._what, total=self._total, completed=self._done, status="")
            self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, count: int) -> None:
        """Say how many more this process has done."""
        self.reach(min(self._total, self._done + count * self._processes))

    def reach(self, done: int, total: int | None = None) -> None:
        """Say how many are done by all.

        Args:
            done: All that is done by now.
            total: How many there are, if that was not known before.
        """
        self._done, self._total = done, self._total if total is None else total
        now = time.monotonic()
        if not is_main_process() or now - self._shown < _PAUSE_SECONDS[self._bar is not None]:
            return
        self._shown = now
        speed = max(self._done - self._before, 1) / max(now - self._started, 1e-9)
        status = f"{speed:.3g} {self._unit}/s, {duration((self._total - self._done) / speed)} left"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done, total=self._total, status=status)
        else:
            say(f"{self._what} {self._done}/{self._total} ({self._done / self._total:.0%}), {status}")
