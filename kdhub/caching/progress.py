"""`CachingProgress`: how far a store is, as a bar or, where there is no terminal, as lines; and how large."""

from __future__ import annotations

import time

from mmengine.dist import is_main_process
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from kdhub.engine.report.console import console, duration, say

_PAUSE_SECONDS = {True: 0.2, False: 15.0}
"""Between two looks at a bar, and between two lines."""


def data_size(number: float) -> str:
    """Write a number of bytes as a person would."""
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.3g} {unit}" if unit != "bytes" else f"{number:.0f} bytes"
        number /= 1024
    return f"{number:.3g} GiB"


class CachingProgress:
    """Shows records, speed and time left; the main process speaks for all.

    Args:
        what: What is being done.
        total: How many there are to do.
        processes: How many processes work at the same pace.
    """

    def __init__(self, what: str, total: int = 0, processes: int = 1) -> None:
        self._what = what
        self._total = total
        self._processes = processes
        self._done = 0
        self._started = self._shown = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> CachingProgress:
        if is_main_process() and console().is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, TextColumn("{task.fields[status]}"), console=console(), transient=True)
            self._task = self._bar.add_task(self._what, total=self._total, status="")
            self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, records: int) -> None:
        """Count what this process has done."""
        self.reach(min(self._total, self._done + records * self._processes), self._total)

    def reach(self, done: int, total: int) -> None:
        """Say how many of how many are done by all."""
        self._done, self._total = done, total
        now = time.monotonic()
        if not is_main_process() or now - self._shown < _PAUSE_SECONDS[self._bar is not None]:
            return
        self._shown = now
        speed = self._done / max(now - self._started, 1e-9)
        status = f"{speed:.3g} records/s, {duration((self._total - self._done) / speed)} left"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done, total=self._total, status=status)
        else:
            say(f"{self._what} {self._done}/{self._total} ({self._done / self._total:.0%}), {status}")
