"""The console shows decisions and progress, and leaves the rest to the log file."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import tiny
from mmengine.logging import MMLogger, print_log
from rich.console import Console

from kdhub.engine.report import console
from kdhub.engine.report.console import duration, talk_on_console
from kdhub.engine.train import train


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Make the console a terminal, and give what is written to it."""
    written = io.StringIO()
    monkeypatch.setenv("TERM", "xterm")  # a dumb one has no cursor to hide
    screen = Console(file=written, force_terminal=True, width=100, highlight=False)
    for module in ("kdhub.engine.report.console", "kdhub.engine.hooks.progress"):
        monkeypatch.setattr(f"{module}.console", lambda: screen)
    return written


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (125, "2 min 05 s"), (12_000, "3 h 20 min"), (-3, "0 s")]
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    """Nobody divides 12000 seconds in the head."""
    assert duration(seconds) == text


def test_mmengine_talks_to_the_file_only(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A page of environment and config hides the one line that says what was decided."""
    logger = MMLogger.get_instance(f"console-{tmp_path}", log_file=str(tmp_path / "log"))
    talk_on_console(logger)
    elsewhere = {"__name__": "mmengine.runner.runner", "logger": logger, "print_log": print_log}
    exec("logger.info('environment')\nprint_log('hooks', logger)\nlogger.warning('mind this')", elsewhere)  # noqa: S102
    logger.info("adapter inserted")
    print_log("teacher found", logger)
    logger.warning("Dataset X has no metainfo.")
    logger.error("broken")
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == ["warning: mind this", "adapter inserted", "teacher found", "error: broken"]
    logged = (tmp_path / "log").read_text()
    assert all(text in logged for text in ("environment", "hooks", "mind this", "adapter inserted", "no metainfo"))


def test_a_long_line_stays_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    """A path broken in two cannot be copied."""
    console.say("x" * 500 + " [bold]not markup[/bold]")
    assert capfd.readouterr().err == "x" * 500 + " [bold]not markup[/bold]\n"


def test_lines_where_there_is_no_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A bar in a log file is thousands of lines of control characters."""
    train(tiny.config(tmp_path, default_hooks={"progress": {"interval": 0.0}}))
    shown = capfd.readouterr().err
    lines = [line for line in shown.splitlines() if line.startswith("training")]
    assert len(lines) == 6
    assert lines[2].startswith("training 3/6 (50%), ")
    assert all(part in lines[2] for part in (" it/s, ", " left, loss 0."))
    assert "\x1b" not in shown


def test_a_bar_on_a_terminal(tmp_path: Path, terminal: io.StringIO) -> None:
    """A bar that stays behind hides the prompt and the cursor."""
    train(tiny.config(tmp_path, model=tiny.distiller()))
    shown = terminal.getvalue()
    assert "training" in shown
    assert "evaluating" in shown
    assert "evaluation at iteration 3: tiny/accuracy" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "the cursor stays hidden"
    assert "trained 6 iterations" in shown.splitlines()[-1]


def test_progress_tells_speed_and_time_left(monkeypatch):
    """Whoever waits for hours wants to know how many, and what a stopped run did must not count for the speed."""
    from kdhub.engine.report import progress

    lines, clock = [], iter([0.0, 4.0, 20.0, 21.0])
    monkeypatch.setattr(progress, "say", lines.append)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.Progress("encoding", 1000, done=100, unit="texts") as shown:
        for done in (200, 300, 400):
            shown.reach(done)
    assert lines == ["encoding 300/1000 (30%), 10 texts/s, 1 min 10 s left"]


def test_progress_counts_for_all_processes(monkeypatch):
    """One of two processes that told its own half would never arrive."""
    from kdhub.engine.report import progress

    lines, clock = [], iter([0.0, 20.0])
    monkeypatch.setattr(progress, "say", lines.append)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.Progress("caching", 101, processes=2) as shown:
        shown.advance(51)
    assert lines == ["caching 101/101 (100%), 5.05 records/s, 0 s left"]
