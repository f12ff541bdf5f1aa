"""Helper variables of a config, such as ``data_root``: the file itself reads them, or one that inherits it, while it runs."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdhub.config.read.files import base_files, parse
from kdhub.config.read.options import WHERE, apply_options
from kdhub.config.types.places import TOP_LEVEL_KEYS
from kdhub.errors import UsageError

if TYPE_CHECKING:
    from mmengine.config import Config


def refuse_variables(cfg: Config, options: Mapping[str, Any]) -> None:
    """Refuse overrides of variables: a config runs before its overrides, and what it made from a variable keeps the old value.

    mmengine would change the top-level key alone, and train on the old data in silence.

    Args:
        cfg: The config without overrides.
        options: Key path to value; each path exists or is accepted.

    Raises:
        UsageError: If a line of the config reads the variable; or if its value stands in what is read, as in a config that
            a run has saved. A whole number, a boolean or ``None`` stands there by chance.
    """
    before = cfg.to_dict()
    tree = dict(before)
    apply_options(tree, options)
    read = {key: value for key, value in tree.items() if key in TOP_LEVEL_KEYS}
    for name in dict.fromkeys(path.partition(".")[0] for path in options):
        if name in TOP_LEVEL_KEYS or name not in before:
            continue
        given = {path: value for path, value in options.items() if path.partition(".")[0] == name}
        instead = dict(_stale(read, name, before[name], given))
        lines = _read_at(name, cfg.filename)
        if lines or instead:
            made = "override what these lines set" if lines else ""
            raise UsageError(
                f"{name!r} is a variable of the config, and what is made from it would keep the old value: "
                + ", ".join(lines or instead),
                where=f"{WHERE} {_typed(given)}",
                fix=": ".join(filter(None, (made, f"{WHERE} {_typed(instead)}" if instead else ""))),
            )


def _stale(value: Any, name: str, old: Any, given: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what to type instead of an override, by key path: where a variable's old value stands, or a path below that folder."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, child in items:
        here, new = f"{path}.{key}".lstrip("."), given.get(name)
        if _same(child, old) and (_is_telling(old) or key == name):
            yield from ((here + part.removeprefix(name), new) for part, new in given.items())
        elif isinstance(child, str) and isinstance(old, str) and isinstance(new, str) and _below(child, old):
            yield here, new.rstrip("/") + child[len(old.rstrip("/")) :]
        else:
            yield from _stale(child, name, old, given, here)


def _below(path: str, folder: str) -> bool:
    return bool(folder.rstrip("/")) and path.startswith(f"{folder.rstrip('/')}/")


def _is_telling(value: Any) -> bool:
    if isinstance(value, float):
        return not value.is_integer()
    return isinstance(value, str | list | tuple | Mapping) and len(value) > 0


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and repr(one) == repr(other)  # an array's == gives no yes or no


def _typed(options: Mapping[str, Any]) -> str:
    texts = (
        (path, value if isinstance(value, str) else repr(value).replace(" ", "")) for path, value in options.items()
    )
    return " ".join(shlex.quote(f"{path}={text}") for path, text in texts)


def _read_at(name: str, filename: str | None) -> list[str]:
    """Return the lines that read a variable; of a config that imports its bases, which are not looked at, the file."""
    sources = _sources(filename)
    lines = (
        f"{file}:{line}"
        for file, tree in sources.items()
        for one, line in (*_loaded(tree), *_loaded_from_base(tree))
        if one == name
    )
    return list(dict.fromkeys(lines)) or [str(file) for file, tree in sources.items() if _imports_bases(tree)]


def unread_variables(filename: str | None) -> frozenset[str] | None:
    """Return the top-level names that config files set and no line of them reads, whatever mmengine does with them.

    An heir that sets a variable of its base anew has to read it itself: the base has run with the former value by then.

    Args:
        filename: The config's file.

    Returns:
        The names, or ``None`` where the files do not tell: no file, not Python, or bases that are imported (``read_base``).
    """
    trees = list(_sources(filename).values())
    if not trees or any(_imports_bases(tree) for tree in trees):
        return None
    unread: dict[str, bool] = {}
    read_by_heirs: set[str] = set()
    for tree in trees:
        loaded = {name for name, _ in _loaded(tree)}
        for name in _assigned(tree):
            unread.setdefault(name, name not in loaded | read_by_heirs)
        read_by_heirs |= {name for name, _ in _loaded_from_base(tree)}
    return frozenset(name for name, is_unread in unread.items() if is_unread)


def _sources(filename: str | None) -> dict[Path, ast.Module]:
    """Parse the Python files of a config, heirs first; none where they do not tell."""
    if filename is None or not filename.endswith(".py"):
        return {}
    try:
        files = (Path(filename), *base_files(Path(filename)))
        return {file: parse(file) for file in files if file.suffix == ".py"}
    except (UsageError, OSError):  # a config saved elsewhere than it was read
        return {}


def _imports_bases(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.Name | ast.alias) and "read_base" in ast.unparse(node) for node in ast.walk(tree))


def _assigned(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _loaded(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno


def _loaded_from_base(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield the names behind ``_base_.name``, and behind ``{{_base_.name}}``, which is a set of a set to Python."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "_base_":
            yield node.attr, node.lineno
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "_base_":
            yield from (
                (str(part.value), node.lineno) for part in ast.walk(node.slice) if isinstance(part, ast.Constant)
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "_base_." in node.value:
            yield node.value.partition("_base_.")[2].strip(" }").partition(".")[0], node.lineno
