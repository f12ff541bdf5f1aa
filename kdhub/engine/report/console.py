"""What a person sees while kdhub works: one line for each decision, and a progress bar below them.

mmengine prints its environment, the whole config, the order of hooks and a line per ten iterations. All of it goes to the
log file; the console keeps what kdhub, a plugin or the user's own code says, and every warning that has a consequence.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Mapping
from typing import Any

from mmengine.dist import is_main_process
from rich.console import Console
from rich.text import Text

from kdhub.files import plain

_TALKATIVE = frozenset({"mmengine", "mmcv", "mmdet", "mmseg", "mmpretrain"})
_WITHOUT_CONSEQUENCE = (
    "has no metainfo",  # a dataset without class names is normal, and whoever needs them asks for them
    "The prefix is not set in metric class",  # then metrics just keep their plain names
    "is True but `self.param_schedulers` is None",  # no scheduler, so nothing of one to save or resume
    "will be deprecated in future",  # mmengine speaking of its own hooks
    "Since `metrics` is an empty dict",
)


@functools.cache
def console() -> Console:
    """Return the one console, on stderr: stdout is for results."""
    return Console(stderr=True, highlight=False)


def say(text: str, style: str = "") -> None:
    """Print one line above the progress bar, whole even if it is longer than the window."""
    console().print(Text(text, style=style), soft_wrap=True)


def duration(seconds: float) -> str:
    """Write a duration as a person would: ``8 s``, ``2 min 05 s``, ``3 h 20 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def data_size(number: float) -> str:
    """Write a number of bytes as a person would."""
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.3g} {unit}" if unit != "bytes" else f"{number:.0f} bytes"
        number /= 1024
    return f"{number:,.2f} GiB"


def metrics_line(metrics: Mapping[str, Any], at_most: int = 6) -> str:
    """Write the first of some metrics in one line."""
    numbers = [f"{name} {value:.4g}" for name, value in plain(metrics).items() if isinstance(value, (int, float))]
    more = f" and {len(numbers) - at_most} more" if len(numbers) > at_most else ""
    return ", ".join(numbers[:at_most]) + more


class ConsoleHandler(logging.Handler):
    """Shows log records on the console, without those that only the log file needs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        message = record.getMessage().strip()
        if record.levelno >= logging.ERROR:
            say(f"error: {message}", "red")
        elif record.levelno >= logging.WARNING:
            say(f"warning: {message}", "yellow")
        else:
            say(message)

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide whether a person wants to see a record."""
        if record.levelno >= logging.ERROR:
            return True
        if not is_main_process():
            return False
        if record.levelno >= logging.WARNING:
            return not any(text in record.getMessage() for text in _WITHOUT_CONSEQUENCE)
        return self.level <= logging.DEBUG or _speaker() not in _TALKATIVE


def talk_on_console(logger: logging.Logger) -> None:
    """Let an mmengine logger talk to the console as kdhub does, and keep its file as it is."""
    for handler in list(logger.handlers):
        if isinstance(handler, logging.FileHandler):
            # a full disk: what must not get lost says so itself, and a traceback for each log line would bury it
            handler.handleError = lambda record: None  # type: ignore[method-assign]
        elif isinstance(handler, logging.StreamHandler):
            logger.handlers.remove(handler)
            ours = ConsoleHandler(handler.level)
            for duplicate_filter in handler.filters:
                ours.addFilter(duplicate_filter)
            logger.handlers.append(ours)


def _speaker() -> str:
    """Return the top-level package whose code asked for the log record that is being handled."""
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if not name.startswith(("logging", "mmengine.logging")) and name != __name__:
            return str(name.partition(".")[0])
        frame = frame.f_back  # type: ignore[assignment]
    return ""
