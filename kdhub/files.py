"""Files: written so that a full disk or a crash leaves what was there before, and their checksums."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from kdhub.errors import UsageError

PARTIAL = ".{name}.partial"
"""Name of a file or folder of that name while it is written; a process that is killed leaves it behind."""

DATA_VARIABLE = "KDHUB_DATA"
"""Environment variable: the folder that takes the place of ``data/`` in configs."""

_RUST_ERROR = re.compile(r"\(os error (\d+)\)")
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A full disk, a user's quota, and a limit to the size of one file."""


class FullDiskError(UsageError):
    """No space is left. What to type once there is, only the command at work knows: `kdhub.engine.faults.explained` adds it."""


def storage_error(path: Path, error: OSError, fix: str | None = None) -> UsageError:
    """Say in one line why a file or folder could not be written.

    Args:
        path: What was to be written.
        error: What the operating system said.
        fix: What to do, where it is no run's work_dir that was to be written.
    """
    if error.errno in NO_SPACE:
        free = shutil.disk_usage(next(folder for folder in path.absolute().parents if folder.exists())).free
        return FullDiskError(
            f"no space left to write {path.name}; what was saved before is untouched",
            where=str(path.parent),
            got=f"{error.strerror}, {free} bytes free",
            fix=fix or "free some space (fewer checkpoints: default_hooks.checkpoint.max_keep_ckpts)",
        )
    return UsageError(
        f"cannot write {path.name}",
        where=str(path.parent),
        got=error.strerror or str(error),
        fix=fix or "check the folder and its permissions, or choose another with --work-dir",
    )


@contextmanager
def atomic_file(path: Path, fix: str | None = None) -> Iterator[BinaryIO]:
    """Open a file that takes its name only when the block ends well and its bytes are on the disk.

    Args:
        path: Where it shall stand; a former file of that name stays until then, and stays if writing fails.
        fix: What the error tells to do; by default what helps in a run's work_dir.

    Raises:
        UsageError: If the disk is full or the folder cannot be written.
    """
    partial = path.with_name(PARTIAL.format(name=path.name))
    try:
        with partial.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:
        discard(partial)
        cause = _os_error(error)
        if cause is None:
            raise
        raise storage_error(path, cause, fix) from error


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder that takes the place of ``path`` only when the block ends well.

    Two renames are not one: a crash between them leaves the former folder as ``.<name>.former``, which the next call
    puts back first.

    Raises:
        UsageError: If the disk is full or the folder cannot be written.
    """
    partial, former = path.with_name(PARTIAL.format(name=path.name)), path.with_name(f".{path.name}.former")
    try:
        if former.exists() and not path.exists():
            former.rename(path)
        discard(partial)
        partial.mkdir(parents=True)
        yield partial
        discard(former)
        if path.exists():
            path.rename(former)
        partial.rename(path)
        discard(former)
    except BaseException as error:
        discard(partial)
        cause = _os_error(error)
        if cause is None:
            raise
        raise storage_error(path, cause) from error


def write_text(path: Path, text: str, fix: str | None = None) -> None:
    """Write a text file atomically; ``fix`` as for `atomic_file`."""
    with atomic_file(path, fix) as stream:
        stream.write(text.encode())


def write_json(path: Path, content: Mapping[str, Any], fix: str | None = None) -> None:
    """Write a JSON file atomically; not-a-number and infinity, which JSON lacks, become ``"nan"`` and ``"inf"``."""
    write_text(path, json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n", fix)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, which may be larger than the memory."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def plain(value: Any) -> Any:
    """Reduce a value to what JSON can hold: numpy and torch scalars to numbers, the rest to text."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(entry) for entry in value]
    if isinstance(value, (str, int, bool)) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)


def _sync_folder(path: Path) -> None:
    """Bring a new name to the disk; without it the file may be gone after a power cut, though its bytes are there."""
    if os.name == "nt":  # Windows opens no folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def discard(path: Path) -> None:
    """Remove a file or a folder, as far as that can be."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _os_error(error: BaseException | None) -> OSError | None:
    """Find the operating system's error behind one: torch's writer raises another one from it, safetensors' only tells its number."""
    while error is not None and not isinstance(error, OSError):
        if isinstance(error, UsageError):  # it has said already what is wrong, such as a file that could not be read
            return None
        if told := _RUST_ERROR.search(str(error)):
            number = int(told[1])
            return OSError(number, os.strerror(number))
        error = error.__cause__ or error.__context__
    return error


def data_places(path: str | Path) -> list[Path]:
    """Return where data named in a config may be, in the order in which they are looked for.

    Args:
        path: Path as written, such as ``data/cranfield``.

    Returns:
        The path itself, from the current folder; then that with the folder of ``KDHUB_DATA`` in the place of a leading ``data/``.
    """
    path = Path(path)
    shared = os.environ.get(DATA_VARIABLE)
    if not shared or path.is_absolute():
        return [path]
    return [path, Path(shared, *(path.parts[1:] if path.parts[:1] == ("data",) else path.parts))]
