"""Lines of a long work on the disk as they come, so that it goes on after a stop."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kdhub.api import atomic_file


class KeptLines:
    """Objects by the value of one key, in a file whose first line says what they are about.

    A file about something else is begun anew. A last line that a crash cut off is written again.

    Args:
        path: The file; ``None`` keeps them in memory alone.
        key: Of each object.
        about: What tells this work from others, of plain values.

    Attributes:
        found: Objects by their key.
    """

    def __init__(self, path: Path | None, key: str, about: Mapping[str, Any]) -> None:
        self._path = path
        self._key = key
        self.found: dict[str, dict[str, Any]] = {}
        if path is None:
            return
        first = json.dumps(about, sort_keys=True) + "\n"
        content = path.read_bytes() if path.is_file() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if not whole.startswith(first.encode()):
            whole = first.encode()
        if whole != content:  # a line that a stop cut off goes
            with atomic_file(path) as file:
                file.write(whole)
        for line in whole[len(first) :].splitlines():
            self._keep(json.loads(line))

    def add(self, objects: Iterable[dict[str, Any]]) -> None:
        """Keep more."""
        objects = list(objects)
        for one in objects:
            self._keep(one)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.writelines(json.dumps(one) + "\n" for one in objects)

    def discard(self) -> None:
        """Remove the file."""
        if self._path is not None:
            self._path.unlink()

    def _keep(self, one: dict[str, Any]) -> None:
        self.found[one[self._key]] = one
