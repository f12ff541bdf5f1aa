"""`folder_lock`: one run at a time in a work_dir, one writer at a time to a store."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kdhub.engine.workdir.run_card import now
from kdhub.errors import UsageError
from kdhub.files import storage_error

try:
    import fcntl
except ImportError:  # Windows has no flock; runs there are told that nothing guards them
    fcntl = None  # type: ignore[assignment]

FILE_NAME = ".lock"
_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)

_PATIENCE_SECONDS = 2.0
"""How long a taken lock is tried: data workers of a run that was just killed may not have closed their copy yet."""

_held: set[int] = set()
"""File descriptors of the locks of this process."""


class FolderTakenError(UsageError):
    """Another process holds the lock of a folder."""


@contextmanager
def folder_lock(
    folder: Path,
    taken: str = "another run is at work in this work_dir",
    wait: str = "wait for it or stop it, or choose another --work-dir",
    write: str | None = None,
) -> Iterator[str | None]:
    """Keep other processes out of a folder for the length of the block.

    The operating system drops the lock with the process, however that ends, so none is ever left over; the file stays.

    Args:
        folder: A folder that exists.
        taken: What is wrong if another process has it.
        wait: What to do then.
        write: What to do if the folder cannot be written; by default what helps in a run's work_dir.

    Yields:
        A warning if the file system cannot lock, as some network file systems; then nothing is guarded.

    Raises:
        FolderTakenError: If another process holds the lock; names it, its host and start.
        UsageError: If the folder cannot be written.
    """
    path = folder / FILE_NAME
    try:
        # not "w": that would empty what the holder wrote about itself
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise storage_error(path, error, write) from error
    try:
        try:
            warning = _lock(descriptor, path)
            _held.add(descriptor)
            about = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now()})
            os.ftruncate(descriptor, 0)
            os.write(descriptor, about.encode())  # Windows has no pwrite
        except OSError as error:
            if error.errno in _TAKEN and descriptor not in _held:
                raise FolderTakenError(taken, where=str(folder), got=_holder(path), fix=wait) from error
            raise storage_error(path, error, write) from error
        yield warning
    finally:
        if descriptor in _held:
            _held.remove(descriptor)
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> str | None:
    """Take the lock, or say why there is none; raises what the system says if another process has it."""
    if fcntl is None:
        return f"this system cannot lock {path}: see to it yourself that no second process uses this folder"
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return None
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                return f"{path.parent} cannot be locked ({error.strerror}): see to it that no second process uses it"
            if error.errno not in _TAKEN or time.monotonic() >= deadline:
                raise
        time.sleep(0.05)


def _holder(path: Path) -> str:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        return f"process {about['pid']} on {about['host']}, since {about['since']}"
    except (OSError, ValueError, LookupError, TypeError):  # it has only just begun
        return "a process that has not yet said which"


def _let_go_in_child() -> None:
    """Close a forked process's copies: a data worker that outlives its parent would keep the lock."""
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)
