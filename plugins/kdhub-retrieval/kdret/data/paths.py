"""Where a data folder named in a config is on this machine, and which of its files counts."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

from kdhub.api import UsageError, data_places, near_matches, read_lines


def find_data(folder: str | Path) -> Path:
    """Return the folder that a config means by ``data/cranfield``.

    The path itself is tried first, relative to the current folder; then the environment variable ``KDHUB_DATA`` takes
    the place of a leading ``data/``.

    Args:
        folder: Path as written in the config.

    Raises:
        UsageError: If neither exists; names both and what prepares the data.
    """
    path, places = Path(folder), data_places(folder)
    for place in places:
        if place.is_dir():
            return place
    raise UsageError(
        f"no data folder {str(folder)!r}",
        expected=" or ".join(map(str, places)),
        near=near_matches(path.name, _folders(path.parent)),
        fix="python tools/prepare_data.py, `kdhub demo` for the docstring corpus, or set KDHUB_DATA",
    )


def find_file(folder: Path, *groups: tuple[str, ...]) -> Path:
    """Return the file of a folder that is meant by several names.

    Args:
        folder: Where to look.
        groups: Names of files that would mean the same thing, such as one with ``.gz`` and one without. The first group of
            which a file exists counts.

    Raises:
        UsageError: If there is no such file, or if two files of a group differ: one of them is stale, and nothing else
            would say so.
    """
    for names in groups:
        found = [folder / name for name in names if (folder / name).is_file()]
        if found:
            return one_content(found)
    wanted = [name for names in groups for name in names]
    there = [str(entry.relative_to(folder)) for entry in folder.rglob("*.*") if entry.is_file()]
    near = dict.fromkeys(match for name in wanted for match in near_matches(name, there, limit=1))
    raise UsageError("missing file", where=str(folder), expected=" or ".join(wanted), near=near)


def find_beside(folder: str | Path, name: str | Path) -> Path | None:
    """Return the file that a config names beside a data folder: as the name stands, or else relative to that folder.

    Args:
        folder: The data folder.
        name: The file.

    Returns:
        The file; ``None`` if there is none.

    Raises:
        UsageError: If there are both, and they differ.
    """
    found = {path.resolve(): path for path in (Path(name), Path(folder, name)) if path.is_file()}
    return one_content(list(found.values())) if found else None


def one_content(paths: list[Path]) -> Path:
    """Return the first of some files that must all hold the same lines.

    Raises:
        UsageError: If two of them differ.
    """
    first, *others = paths
    for other in others:
        lines = zip_longest(read_lines(first), read_lines(other))
        if any(one != another for one, another in lines):
            newer = max(first, other, key=lambda path: path.stat().st_mtime)
            raise UsageError(
                "two files for the same data, and they differ",
                where=str(first),
                expected=f"only one of them, or the same lines in {other}",
                got=f"{newer.name} is the newer one",
                fix="delete or rename the stale file",
            )
    return first


def _folders(parent: Path) -> list[str]:
    return [entry.name for entry in parent.iterdir() if entry.is_dir()] if parent.is_dir() else []
