"""Lines of JSON, plain or gzipped, read strictly and written reproducibly."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kdhub.errors import UsageError


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield ``(line number from 1, object)``; blank lines are skipped.

    Args:
        path: A ``.jsonl`` or ``.jsonl.gz`` file in UTF-8.

    Raises:
        UsageError: For a line that is not a JSON object, and for a file that is not UTF-8 or is a broken archive.
    """
    number = 0
    try:
        with _open(path) as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, _object(line, f"{path}:{number}")
    except UnicodeDecodeError as error:
        # the decoder reads ahead, so the exact line is unknown
        raise UsageError("not UTF-8 text", where=f"{path}:after line {number}", got=str(error.reason)) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UsageError(
            "a truncated or damaged gzip archive",
            where=f"{path}:after line {number}",
            got=str(error),
            fix="copy or download the file again",
        ) from error


def write_jsonl(path: Path, objects: Iterable[Mapping[str, Any]]) -> int:
    """Write objects as lines, gzipped if the name ends in ``.gz``, and return how many.

    Equal objects give equal bytes, whenever and wherever they are written.
    """
    lines = [json.dumps(entry, ensure_ascii=False) + "\n" for entry in objects]
    data = "".join(lines).encode()
    # mtime=0, or the time of writing would end up in the bytes
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return len(lines)


def _open(path: Path) -> Any:
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise UsageError("unreadable line", where=where, expected="a JSON object", got=error.msg) from error
    if not isinstance(entry, dict):
        raise UsageError("unreadable line", where=where, expected="a JSON object", got=type(entry).__name__)
    return entry
