"""Any line of a text file of any size, in constant memory: tens of millions of scored pairs, or a collection of passages."""

from __future__ import annotations

import gzip
import os
import tempfile
import weakref
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from kdhub.api import UsageError, damaged_archive, decoded_line

_STEP = 32
"""Every so many lines the place of one is kept: 2 MiB for eight million lines, and a few kilobytes read for one."""
_CHUNK = 1 << 20


class Lines:
    """The lines of a file by number, from 0.

    The file is read once, for the places of its lines; after that a line costs one read. Nobody can go to the middle of an
    archive, so a ``.gz`` is unpacked into a temporary file, which goes with the process; ``TMPDIR`` says where.

    Args:
        path: A text file in UTF-8, with or without a byte order mark, plain or gzipped.

    Raises:
        UsageError: For another kind of archive, a damaged one, or a file that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.suffix in (".zip", ".zst", ".bz2", ".xz"):
            raise UsageError("lines of this kind of archive cannot be read", where=str(path), fix="unpack it")
        self._file: int | None = None
        self._starts, self._count, self._size = self._read_through()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> str:
        """Read a line, without its end.

        Raises:
            IndexError: If the file has no such line.
            UsageError: If it is no UTF-8, or the file has become shorter.
        """
        if not 0 <= number < self._count:
            raise IndexError(number)
        block, place = divmod(number, _STEP)
        start = int(self._starts[block])
        end = int(self._starts[block + 1]) if block + 1 < len(self._starts) else self._size
        lines = os.pread(self._opened(), end - start, start).split(b"\n")
        if place >= len(lines):
            raise UsageError("the file has changed since it was opened", where=str(self.path))
        return decoded_line(lines[place], self.path, number + 1)

    def __iter__(self) -> Iterator[str]:
        """Read all lines in their order, faster than one by one."""
        file, rest, number = self._opened(), b"", 0
        for start in range(0, self._size, _CHUNK):
            *lines, rest = (rest + os.pread(file, min(_CHUNK, self._size - start), start)).split(b"\n")
            for number, line in enumerate(lines, start=number + 1):  # noqa: B020 (it counts on)
                yield decoded_line(line, self.path, number)
        if rest:
            yield decoded_line(rest, self.path, number + 1)

    def where(self, number: int) -> str:
        """Name a line as errors do, which count from 1."""
        return f"{self.path}:{number + 1}"

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file behind: another process opens it for itself."""
        return vars(self) | {"_file": None}

    def _opened(self) -> int:
        # a forked process may share the file, for pread moves no position
        if self._file is None and self.path.suffix == ".gz":
            self._read_through()
        elif self._file is None:
            self._keep(os.open(self.path, os.O_RDONLY))
        assert self._file is not None
        return self._file

    def _keep(self, file: int) -> None:
        self._file = file
        weakref.finalize(self, os.close, file)

    def _read_through(self) -> tuple[np.ndarray, int, int]:
        starts, count, read = [np.zeros(1, np.int64)], 0, 0
        last = b"\n"
        zipped = self.path.suffix == ".gz"
        try:
            with (
                gzip.open(self.path, "rb") if zipped else self.path.open("rb") as source,
                tempfile.TemporaryFile() if zipped else nullcontext() as unpacked,
            ):
                while chunk := source.read1(_CHUNK):
                    ends = np.flatnonzero(np.frombuffer(chunk, np.uint8) == ord("\n")).astype(np.int64) + read + 1
                    # of the lines that begin within this chunk, the first whose number is a multiple of the step
                    starts.append(ends[(-count - 1) % _STEP :: _STEP])
                    count += len(ends)
                    read += len(chunk)
                    last = chunk[-1:]
                    if unpacked:
                        unpacked.write(chunk)
                if unpacked:
                    unpacked.flush()
                self._keep(os.dup((unpacked or source).fileno()))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise damaged_archive(self.path, count, error) from error
        except OSError as error:
            raise UsageError("cannot read the file", where=str(self.path), got=error.strerror or str(error)) from error
        found = np.concatenate(starts)
        count += last != b"\n"
        return found[: -(-count // _STEP)], count, read
