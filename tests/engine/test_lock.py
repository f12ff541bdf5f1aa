"""One run at a time in a work_dir."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from kdhub.engine.train import train
from kdhub.engine.workdir.lock import folder_lock
from kdhub.errors import UsageError

_HOLDER = """
import os, sys, time
from pathlib import Path
from kdhub.engine.workdir.lock import folder_lock
with folder_lock(Path(sys.argv[1])):
    if os.fork() == 0:  # as a data worker, which may outlive its parent
        time.sleep(60)
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""


@HOOKS.register_module(force=True)
class TinySecondRun(Hook):
    """Starts the same training within the training."""

    message = ""

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Try once."""
        if runner.iter == 1:
            with pytest.raises(UsageError) as caught:
                train(tiny.config(runner.work_dir))
            TinySecondRun.message = str(caught.value)


def test_a_second_run_is_refused_and_the_first_untouched(tmp_path: Path) -> None:
    """Two runs in one folder overwrite each other's checkpoints, and either may be resumed from the other's."""
    train(tiny.config(tmp_path, custom_hooks=[{"type": "TinySecondRun"}]))
    assert "another run is at work in this work_dir" in TinySecondRun.message
    assert f"process {os.getpid()} on {socket.gethostname()}, since 20" in TinySecondRun.message
    assert "--work-dir" in TinySecondRun.message
    assert "\n" not in TinySecondRun.message
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "finished"
    train(tiny.config(tmp_path), resume=True)


def test_the_lock_goes_with_a_killed_process_whose_worker_lives_on(tmp_path: Path) -> None:
    """A lock that is left over must be removed by hand; a worker shares its parent's, and notices its end seconds later."""
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=f"process {holder.pid} on"), folder_lock(tmp_path):
            pass
        holder.kill()
        holder.wait()
        with folder_lock(tmp_path) as warning:
            assert warning is None
    finally:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.stdout.close()


def test_a_file_system_without_locks_is_told_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network file systems cannot lock; training there worked before there was a lock."""

    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with folder_lock(tmp_path) as warning:
        assert warning is not None
        assert "cannot be locked (No locks available)" in warning


def test_a_system_without_locks_is_told_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has neither flock nor pwrite: in place of the promised warning a run ended in an AttributeError."""
    monkeypatch.setattr("kdhub.engine.workdir.lock.fcntl", None)
    monkeypatch.delattr(os, "pwrite")
    for _ in range(2):
        with folder_lock(tmp_path) as warning:
            assert warning is not None
            assert "this system cannot lock" in warning
            assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()


def test_a_holder_that_has_not_said_who_it_is(tmp_path: Path) -> None:
    """Between taking the lock and writing about itself a process is nameless; that is no traceback."""
    descriptor = os.open(tmp_path / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(UsageError, match="not yet said which"), folder_lock(tmp_path):
        pass
    os.close(descriptor)
