"""Any line of a text file of any size, in constant memory: tens of millions of scored pairs, or a collection of passages."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kdhub.api import UsageError

_STEP = 32
"""Every so many lines the place of one is kept: 2 MiB for eight million lines, and a few kilobytes read for one."""
_CHUNK = 1 << 24


class Lines:
    """The lines of a file by number, from 0.

    The file is read once, for the places of its lines; after that a line costs one read. A reader in another process opens
    the file for itself.

    Args:
        path: A text file in UTF-8 that is not compressed: nobody can go to the middle of an archive.

    Raises:
        UsageError: For an archive, or a file that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.suffix in (".gz", ".zip", ".zst", ".bz2", ".xz"):
            raise UsageError(
                "lines of an archive cannot be read in any order",
                where=str(path),
                fix=f"unpack it: gunzip --keep {path}" if path.suffix == ".gz" else "unpack it",
            )
        self._owner = -1
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
        text = os.pread(self._open(), end - start, start)
        lines = text.split(b"\n")
        if place >= len(lines):
            raise UsageError("the file has changed since it was opened", where=str(self.path))
        return self._decoded(lines[place], number)

    def __iter__(self) -> Iterator[str]:
        """Read all lines in their order, faster than one by one."""
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                yield self._decoded(line, number)

    def where(self, number: int) -> str:
        """Name a line as errors do, which count from 1."""
        return f"{self.path}:{number + 1}"

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file behind."""
        return vars(self) | {"_file": None, "_owner": -1}

    def _decoded(self, line: bytes, number: int) -> str:
        try:
            return line.decode("utf-8-sig" if number == 0 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise UsageError(
                "not UTF-8 text", where=self.where(number), got=error.reason, fix="convert the file to UTF-8"
            ) from error

    def _open(self) -> int:
        if self._file is None or self._owner != os.getpid():
            self._file, self._owner = os.open(self.path, os.O_RDONLY), os.getpid()
        return self._file

    def _read_through(self) -> tuple[np.ndarray, int, int]:
        starts, count, read = [np.zeros(1, np.int64)], 0, 0
        last = b"\n"
        try:
            with self.path.open("rb", buffering=0) as file:
                while chunk := file.read(_CHUNK):
                    ends = np.flatnonzero(np.frombuffer(chunk, np.uint8) == ord("\n")).astype(np.int64) + read + 1
                    # of the lines that begin within this chunk, the first whose number is a multiple of the step
                    starts.append(ends[(-count - 1) % _STEP :: _STEP])
                    count += len(ends)
                    read += len(chunk)
                    last = chunk[-1:]
        except OSError as error:
            raise UsageError("cannot read the file", where=str(self.path), got=error.strerror or str(error)) from error
        found = np.concatenate(starts)
        count += last != b"\n"
        return found[: -(-count // _STEP)], count, read


class TextTable:
    """Texts by identifier, read from disk when they are asked for: 16 bytes of memory for each.

    Args:
        path: The file; see `Lines`.
        parse: Takes a line and its place, and returns identifier and text.

    Raises:
        UsageError: For a line that cannot be parsed, or an identifier that occurs twice.
    """

    def __init__(self, path: Path, parse: Callable[[str, str], tuple[str, str]]) -> None:
        self._lines = Lines(path)
        self._parse = parse
        hashes, numbers = np.zeros(len(self._lines), np.uint64), np.arange(len(self._lines))
        for number, line in enumerate(self._lines):
            hashes[number] = _hash(parse(line, self._lines.where(number))[0])
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._numbers = hashes[order], numbers[order]
        for again in np.unique(self._hashes[1:][self._hashes[1:] == self._hashes[:-1]]):
            self._require_different(again)

    def __len__(self) -> int:
        return len(self._lines)

    def get(self, key: str) -> str | None:
        """Return the text of an identifier; ``None`` if there is none."""
        wanted = _hash(key)
        place = int(np.searchsorted(self._hashes, wanted))
        while place < len(self._hashes) and self._hashes[place] == wanted:
            found, text = self._entry(int(self._numbers[place]))
            if found == key:
                return text
            place += 1
        return None

    def _require_different(self, hashed: np.uint64) -> None:
        seen: set[str] = set()
        for number in map(int, self._numbers[self._hashes == hashed]):
            key = self._entry(number)[0]
            if key in seen:
                raise UsageError(f"{key!r} occurs a second time", where=self._lines.where(number))
            seen.add(key)

    def _entry(self, number: int) -> tuple[str, str]:
        return self._parse(self._lines[number], self._lines.where(number))


def _hash(key: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little"))
