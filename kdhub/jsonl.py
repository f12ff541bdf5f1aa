"""Lines of JSON, plain or gzipped, read strictly and written reproducibly."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from kdhub.errors import UsageError
from kdhub.files import atomic_file


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield ``(line number from 1, object)``; blank lines are skipped.

    Args:
        path: A ``.jsonl`` or ``.jsonl.gz`` file in UTF-8. A byte order mark and Windows' line ends are accepted.

    Raises:
        UsageError: For a line that is not a JSON object or holds half a surrogate pair, and for a file that is not UTF-8,
            is a broken archive, or cannot be read.
    """
    for number, line in read_lines(path):
        if line.strip():
            yield number, parsed_object(line, f"{path}:{number}")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield ``(line number from 1, line)`` of a text file, gzipped if its name ends in ``.gz``, without the line's end.

    Raises:
        UsageError: For a file that is not UTF-8, is a broken archive, or cannot be read.
    """
    number = 0
    try:
        # bytes, because a text file's decoder reads ahead and cannot name the line
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                yield number, decoded_line(line, path, number)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise damaged_archive(path, number, error) from error
    except OSError as error:
        raise UsageError("cannot read the file", where=str(path), got=error.strerror or str(error)) from error


def decoded_line(line: bytes, path: Path, number: int) -> str:
    """Return a line as text, without its end and without the byte order mark of a first line.

    Args:
        line: Its bytes.
        path: The file, for the error.
        number: From 1.

    Raises:
        UsageError: If it is not UTF-8.
    """
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise UsageError(
            "not UTF-8 text", where=f"{path}:{number}", got=error.reason, fix="convert the file to UTF-8"
        ) from error


def damaged_archive(path: Path, line: int, error: Exception) -> UsageError:
    """Name a gzip archive that ends too early, or is none, and the last line that could be read."""
    return UsageError(
        "a truncated or damaged gzip archive",
        where=f"{path}:after line {line}",
        got=str(error),
        fix="copy or download the file again",
    )


def write_jsonl(path: Path, objects: Iterable[Mapping[str, Any]]) -> int:
    """Write objects as lines, one at a time, gzipped if the name ends in ``.gz``, and return how many.

    Equal objects give equal bytes, whenever and wherever they are written. The file takes its name when it is whole, so objects may
    come out of a former file of that name.

    Raises:
        UsageError: If the disk is full or the folder cannot be written.
    """
    count = 0
    with atomic_file(path, "choose another place, or free some space") as file:
        # neither name nor time, or both would end up in the bytes
        zipped = gzip.GzipFile("", "wb", fileobj=file, mtime=0) if path.suffix == ".gz" else None
        with zipped or nullcontext(file) as lines:
            for entry in objects:
                lines.write((json.dumps(entry, ensure_ascii=False) + "\n").encode())
                count += 1
    return count


def is_unicode(text: str) -> bool:
    """Tell whether a text can be written as UTF-8; half a surrogate pair cannot, and tokenizers fail on it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def parsed_object(line: str, where: str) -> dict[str, Any]:
    """Parse one line.

    Raises:
        UsageError: If it is not a JSON object, or holds half a surrogate pair.
    """
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        got = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise UsageError("unreadable line", where=where, expected="a JSON object", got=got) from error
    if not isinstance(entry, dict):
        raise UsageError("unreadable line", where=where, expected="a JSON object", got=type(entry).__name__)
    # only an escape such as \ud83d can bring in half a surrogate pair
    if "\\" in line and not is_unicode(json.dumps(entry, ensure_ascii=False)):
        raise UsageError(
            "a text that is not Unicode",
            where=where,
            expected="whole surrogate pairs, such as \\ud83d\\ude00",
            got="half of one",
            fix="write the character as UTF-8, or take it out",
        )
    return entry
