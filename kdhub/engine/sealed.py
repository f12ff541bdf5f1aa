"""JSON files that carry their own checksum: a changed byte is noticed even where the text still parses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdhub.engine.atomic import plain, write_json
from kdhub.errors import UsageError

SEAL = "sha256"
"""Key of the checksum; that of everything else in the file."""


class DamagedFileError(UsageError):
    """A file of the work_dir is not what kdhub wrote."""


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically, with its checksum."""
    facts = {key: value for key, value in plain(content).items() if key != SEAL}
    write_json(path, {**facts, SEAL: _digest(facts)})


def read_sealed(path: Path) -> dict[str, Any]:
    """Read what `write_sealed` wrote, without the checksum. A file that has none, of an older kdhub, is taken as it is.

    Raises:
        DamagedFileError: If it is truncated, was changed, or cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(content, dict):
        raise _damaged(path, f"a {type(content).__name__}")
    seal = content.pop(SEAL, None)
    if seal is not None and seal != _digest(content):
        raise _damaged(path, "something that does not match its checksum")
    return content


def _damaged(path: Path, got: str) -> DamagedFileError:
    return DamagedFileError(f"{path.name} is damaged", where=str(path.parent), got=got, fix=f"move {path.name} away")


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
