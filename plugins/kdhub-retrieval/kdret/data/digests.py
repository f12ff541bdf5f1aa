"""What identifies data on disk: the content of files, which are read whole only when they have changed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from kdhub.api import UsageError, atomic_file, file_sha256
from kdret.data.corpus import Corpus
from kdret.data.paths import find_data

_LARGE = 1 << 26
"""From 64 MiB on a file's checksum is remembered: below, hashing takes a tenth of a second."""
_SETTLED = 2.0
"""Seconds a file must be old to be remembered: one that is still written may change within the clock's resolution."""
_NAMES = ("corpus.jsonl*", "collection.tsv*", "queries*.jsonl*", "queries*.tsv*", "qrels*.jsonl*", "qrels/*.tsv")


def data_fingerprint(root: str | Path, *more: str | Path) -> str:
    """Identify a data folder by the content of its corpus, queries and judgements, and of files beside them.

    Returns:
        First 16 digits of a SHA-256.
    """
    folder = find_data(root)
    digest = hashlib.sha256()
    for path in (*sorted(path for name in _NAMES for path in folder.glob(name)), *map(Path, more)):
        digest.update(f"{path.name} {checksum(path)}\n".encode())
    return digest.hexdigest()[:16]


def corpus_fingerprint(corpus: Corpus) -> str:
    """Identify a corpus by ids and texts of its documents, whatever the form of its file."""
    return remembered(
        corpus.path, "texts", lambda: texts_fingerprint((key, document.content) for key, document in corpus.items())
    )


def texts_fingerprint(texts: Iterable[tuple[str, str]]) -> str:
    """Identify texts.

    Args:
        texts: Id and text of each.
    """
    digest = hashlib.sha256()
    for pair in texts:
        digest.update(json.dumps(list(pair)).encode())
    return digest.hexdigest()


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file; see `remembered`."""
    return remembered(path, "", lambda: file_sha256(path))


def remembered(path: Path, what: str, found_by: Callable[[], str]) -> str:
    """Return what was computed from a file; from a large one it is computed once for its path, size and time of change.

    Args:
        path: The file.
        what: Name of what is computed.
        found_by: Computes it.
    """
    facts = path.stat()
    if facts.st_size < _LARGE:
        return found_by()
    known = _known()
    key = f"{path.resolve()} {facts.st_size} {facts.st_mtime_ns} {what}".rstrip()
    if key not in known:
        found = found_by()
        if time.time() - facts.st_mtime < _SETTLED:
            return found
        _remember({**known, key: found})
        return found
    return known[key]


def _memory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "kdhub", "checksums.json")


def _known() -> dict[str, str]:
    try:
        content = json.loads(_memory().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _remember(known: dict[str, str]) -> None:
    try:
        _memory().parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(_memory()) as file:
            file.write(json.dumps(known, indent=1).encode())
    except (OSError, UsageError):
        return  # a home that cannot be written costs time, and nothing else
