"""JSON files that carry their own checksum: a changed byte is noticed even where the text still parses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdhub.errors import UsageError
from kdhub.files import plain, write_json

SEAL = "sha256"
"""Key of the checksum; that of everything else in the file."""


class DamagedFileError(UsageError):
    """A file is not what kdhub wrote."""


def write_sealed(path: Path, content: Mapping[str, Any], fix: str | None = None) -> None:
    """Write a JSON file atomically, with its checksum.

    Args:
        path: The file.
        content: Reduced to what JSON can hold by `kdhub.files.plain`.
        fix: What the error tells to do; by default what helps in a run's work_dir.

    Raises:
        UsageError: If the disk is full or the folder cannot be written.
    """
    facts = {key: value for key, value in plain(content).items() if key != SEAL}
    write_json(path, {**facts, SEAL: checksum(facts)}, fix)


def read_sealed(path: Path) -> dict[str, Any]:
    """Read what `write_sealed` wrote, without the checksum.

    Raises:
        DamagedFileError: If it is truncated or was changed.
        UsageError: If it cannot be read.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path.name}", where=str(path.parent), got=error.strerror) from error
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(content, dict):
        raise _damaged(path, f"a {type(content).__name__}")
    seal = content.pop(SEAL, None)
    if seal != checksum(content):
        raise _damaged(path, "something that does not match its checksum" if seal else "no checksum")
    return content


def checksum(facts: Mapping[str, Any]) -> str:
    """Sum up plain values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _damaged(path: Path, got: str) -> DamagedFileError:
    return DamagedFileError(f"{path.name} is damaged", where=str(path.parent), got=got, fix=f"move {path.name} away")
