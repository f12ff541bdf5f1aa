"""What happens to files and to the disk that they are on."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from firing.process import UnplayableError

_NEW_MOUNTS = 0x20000
_DETACH = 2
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 32, 4096, 16384, 1 << 18


def flip(path: Path, chance: random.Random) -> None:
    """Make one bit another one."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def truncate(path: Path, chance: random.Random) -> None:
    """Cut the end off."""
    os.truncate(path, chance.randrange(path.stat().st_size))


Damage = Callable[[Path, random.Random], None]


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """Put a folder on a disk of its own, of ``size`` bytes, for the length of the block; its files stay.

    Raises:
        UnplayableError: If this user may not mount.
    """
    with _mounted(folder, b"tmpfs", b"tmpfs", 0, f"size={size}".encode()):
        yield
        kept = folder.with_name(f"{folder.name}-kept")
        shutil.copytree(folder, kept)
    shutil.copytree(kept, folder, dirs_exist_ok=True)


@contextlib.contextmanager
def small_shared_memory(size: int) -> Iterator[None]:
    """Leave ``size`` bytes for what processes share, for the length of the block.

    Raises:
        UnplayableError: If this user may not mount.
    """
    with _mounted(Path("/dev/shm"), b"tmpfs", b"tmpfs", 0, f"size={size}".encode()):
        yield


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nobody write into a folder, not even root, for the length of the block.

    Raises:
        UnplayableError: If this user may not mount.
    """
    with _mounted(folder, os.fsencode(folder), None, _BIND, None):
        _system("mount", None, os.fsencode(folder), None, _BIND | _REMOUNT | _READ_ONLY, None)
        yield


@contextlib.contextmanager
def _mounted(folder: Path, source: bytes, kind: bytes | None, flags: int, options: bytes | None) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    # seen by this process and those that it forks, and gone with them
    _system("unshare", _NEW_MOUNTS)
    _system("mount", None, b"/", None, _RECURSIVE | _PRIVATE, None)
    _system("mount", source, os.fsencode(folder), kind, flags, options)
    try:
        yield
    finally:
        _system("umount2", os.fsencode(folder), _DETACH)  # a killed data worker may take its time to let go


def _system(name: str, *arguments: bytes | int | None) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    given = [ctypes.c_ulong(one) if isinstance(one, int) else one for one in arguments]
    if getattr(libc, name)(*given) != 0:
        raise UnplayableError(f"this user may not {name}: {os.strerror(ctypes.get_errno())}")
