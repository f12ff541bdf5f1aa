"""Where an inherited key comes from, for the mistake of changing a ``type`` and keeping the former one's keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kdhub.config.read.files import base_files
from kdhub.config.read.packages import mmengine_finds_named_configs
from kdhub.errors import UsageError


class Bases:
    """The base configs of a config, read when a finding asks for them.

    Args:
        filename: The config's file; ``None`` if it was made in memory.
    """

    def __init__(self, filename: str | None) -> None:
        self._filename = filename
        self._trees: dict[Path, Mapping[str, Any]] | None = None

    def why_here(self, path: str, key: str, type_: Any) -> str | None:
        """Say which base gave ``key`` to the dict at ``path``, if that base meant it for another ``type``."""
        why = None
        for file, tree in self._read().items():  # the last one wins: the nearer ones have it from there
            there = _at(tree, path)
            if isinstance(there, Mapping) and key in there and there.get("type", type_) != type_:
                why = (
                    f"it is inherited from {file}, where the type is {there['type']!r}: add _delete_=True to replace that"
                    " dict instead of merging into it"
                )
        return why

    def _read(self) -> Mapping[Path, Mapping[str, Any]]:
        if self._trees is None:
            self._trees = dict(_load(self._filename)) if self._filename else {}
        return self._trees


def _load(filename: str) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    from mmengine.config import Config

    try:
        files = base_files(Path(filename))
    except (UsageError, OSError):  # a config saved elsewhere than it was read, whose bases are not beside it
        return
    with mmengine_finds_named_configs():
        trees = {file: Config.fromfile(file, import_custom_modules=False).to_dict() for file in files}
    yield from trees.items()


def _at(tree: Any, path: str) -> Any:
    for part in path.split("."):
        if isinstance(tree, Mapping):
            tree = tree.get(part)
        elif isinstance(tree, list | tuple) and part.isdigit() and int(part) < len(tree):
            tree = tree[int(part)]
        else:
            return None
    return tree
