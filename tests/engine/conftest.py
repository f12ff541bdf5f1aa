"""Makes ``tests/engine/tiny.py`` importable, here and in subprocesses, and lends a disk that is soon full."""

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 1400 KiB, which a machine lets only its administrator do."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder = tmp_path / "disk"
    folder.mkdir()
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"size=1400k") != 0:
        pytest.skip(f"cannot mount a small file system here: {os.strerror(ctypes.get_errno())}")
    yield folder
    detach = 2  # MNT_DETACH: log files may still be open
    assert libc.umount2(os.fsencode(folder), detach) == 0
