"""Which variables of a config file are helpers: read by the file itself, or by one that inherits it, while it runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from kdhub.config.read.files import base_files, parse
from kdhub.errors import UsageError


def unread_variables(filename: str | None) -> frozenset[str] | None:
    """Return the top-level names that config files set and no line of them reads, whatever mmengine does with them.

    An heir that sets a variable of its base anew has to read it itself: the base has run with the former value by then.

    Args:
        filename: The config's file.

    Returns:
        The names, or ``None`` where the files do not tell: no file, not Python, or bases that are imported (``read_base``).
    """
    if filename is None or not filename.endswith(".py"):
        return None
    try:
        files = (Path(filename), *base_files(Path(filename)))  # heirs first
        trees = [parse(file) for file in files if file.suffix == ".py"]
    except (UsageError, OSError):  # a config saved elsewhere than it was read
        return None
    if any(_imports_bases(tree) for tree in trees):
        return None
    unread: dict[str, bool] = {}
    read_by_heirs: set[str] = set()
    for tree in trees:
        loaded = set(_loaded(tree))
        for name in _assigned(tree):
            unread.setdefault(name, name not in loaded | read_by_heirs)
        read_by_heirs |= set(_loaded_from_base(tree))
    return frozenset(name for name, is_unread in unread.items() if is_unread)


def _imports_bases(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.Name | ast.alias) and "read_base" in ast.unparse(node) for node in ast.walk(tree))


def _assigned(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _loaded(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
            yield node.id


def _loaded_from_base(tree: ast.Module) -> Iterator[str]:
    """Yield the names behind ``_base_.name``, and behind ``{{_base_.name}}``, which is a set of a set to Python."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "_base_":
            yield node.attr
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "_base_":
            yield from (str(part.value) for part in ast.walk(node.slice) if isinstance(part, ast.Constant))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "_base_." in node.value:
            yield node.value.partition("_base_.")[2].strip(" }").partition(".")[0]
