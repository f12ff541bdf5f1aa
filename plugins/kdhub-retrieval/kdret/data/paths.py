"""Where a data folder named in a config is on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from kdhub.errors import UsageError, near_matches


def find_data(folder: str | Path) -> Path:
    """Return the folder that a config means by ``data/cranfield``.

    The path itself is tried first, relative to the current folder; then the environment variable ``KDHUB_DATA`` takes
    the place of a leading ``data/``.

    Args:
        folder: Path as written in the config.

    Raises:
        UsageError: If neither exists; names both and what prepares the data.
    """
    path = Path(folder)
    if path.is_dir():
        return path
    tried = [str(path)]
    shared = os.environ.get("KDHUB_DATA")
    if shared and not path.is_absolute():
        parts = path.parts[1:] if path.parts[:1] == ("data",) else path.parts
        elsewhere = Path(shared, *parts)
        if elsewhere.is_dir():
            return elsewhere
        tried.append(str(elsewhere))
    raise UsageError(
        f"no data folder {str(folder)!r}",
        expected=" or ".join(tried),
        near=near_matches(path.name, _folders(path.parent)),
        fix="python tools/prepare_data.py, `kdhub demo` for the docstring corpus, or set KDHUB_DATA",
    )


def _folders(parent: Path) -> list[str]:
    return [entry.name for entry in parent.iterdir() if entry.is_dir()] if parent.is_dir() else []
