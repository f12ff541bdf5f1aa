"""Processes that can be killed: forked, so that a run starts in milliseconds and not in the seconds that imports take."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_AGENT = re.compile(r"[IWE]\d{4} \d\d:\d\d:")
"""How a line of torchrun's agent begins, whose words are not ours to judge."""
_PATIENCE = 240
"""Seconds after which a run counts as hanging."""


class MissedError(Exception):
    """The run was over before the fault happened."""


class UnplayableError(Exception):
    """This machine does not let the fault happen."""


class FailedError(Exception):
    """Something is not as promised."""


def require(condition: object, what: str) -> None:
    """Fail the round unless a promise holds."""
    if not condition:
        raise FailedError(what)


@dataclass
class Process:
    """A forked process of its own session, with its console in a file."""

    console: Path
    action: Callable[[], int]
    pid: int = 0
    code: int | None = None

    def __enter__(self) -> Process:
        self.pid = os.fork()
        if self.pid == 0:
            self._child()
        return self

    def __exit__(self, *error: object) -> None:
        if self.code is None:
            self.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # data workers, which would notice in seconds

    def _child(self) -> None:
        code = 1
        try:
            os.setsid()
            target = os.open(self.console, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(target, 1)
            os.dup2(target, 2)
            code = self.action()
        except BaseException:  # noqa: BLE001 - a forked process must end here, whatever happens
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def running(self) -> bool:
        """Whether it has not ended yet."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code is None

    def wait(self) -> int:
        """Wait for its end."""
        deadline = time.monotonic() + _PATIENCE
        while self.running():
            require(time.monotonic() < deadline, f"still running after {_PATIENCE} s")
            time.sleep(0.005)
        assert self.code is not None
        return self.code

    def run_for(self, seconds: float) -> None:
        """Let some time pass, in which it may not end."""
        time.sleep(seconds)
        if not self.running():
            raise MissedError

    def kill(self, pid: int | None = None) -> None:
        """Send SIGKILL, to itself or to one of its children."""
        if not self.running():
            raise MissedError
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid or self.pid, signal.SIGKILL)
        if pid is None:
            self.wait()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Hold it where it is for the length of the block."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def wait_for(self, pid: int) -> None:
        """Wait for the end of a process that it started."""
        deadline = time.monotonic() + _PATIENCE
        while Path(f"/proc/{pid}").exists():
            require(time.monotonic() < deadline, f"process {pid} still running after {_PATIENCE} s")
            time.sleep(0.005)

    def data_workers(self) -> list[int]:
        """Wait until there is a data worker, and return the ids of all."""
        while not (found := [pid for pid in self.children() if _name(pid) == "pt_data_worker"]):
            self.run_for(0.001)
        return found

    def children(self) -> list[int]:
        """Return the ids of its child processes."""
        try:
            return [int(one) for one in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        except OSError:
            return []

    def require_told(self, what: str, advice: str = "") -> None:
        """Demand one line of error that says something, and what to do."""
        errors = self.errors()
        require(len(errors) == 1, f"{len(errors)} lines of error in {self.console}")
        told, _, do = errors[0].partition(" -> ")
        require(what in told and do and advice in do, f"told {errors[0]!r}, not {what!r} and to do {advice!r}")

    def errors(self) -> list[str]:
        """Return what the console says went wrong, which must be in words for a person."""
        text = self.console.read_text(errors="replace") if self.console.is_file() else ""
        ours = [line for line in text.splitlines() if not _AGENT.match(line)]
        require(not any("Traceback" in line for line in ours), f"a traceback in {self.console}")
        return [line for line in ours if line.startswith("kdhub: error:")]


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
