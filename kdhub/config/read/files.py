"""A config file and its ``_base_`` files, looked at before mmengine runs them: what is missing, and where."""

from __future__ import annotations

import ast
from pathlib import Path

from kdhub.config.read.packages import named_config
from kdhub.errors import UsageError, near_matches

SUFFIXES = (".py", ".json", ".yaml", ".yml")


def require_config(path: Path, where: str | None = None) -> None:
    """See that a config file is there and is of a kind that can be read.

    Args:
        path: The file.
        where: File that refers to it.

    Raises:
        UsageError: If it is not; names what else is in its folder, or the nearest folder that exists.
    """
    if path.is_dir():
        inside = sorted(str(file) for file in path.glob("*.py"))
        raise UsageError(
            f"{path} is a folder",
            where=where,
            expected=f"one of {', '.join(inside[:8])}" if inside else "a config file",
        )
    if not path.exists():
        folder = path.parent
        if not folder.is_dir():
            missing = next(parent for parent in (folder, *folder.parents) if parent.parent.is_dir())
            near = near_matches(missing.name, [entry.name for entry in missing.parent.iterdir() if entry.is_dir()])
            folders = [str(missing.with_name(name)) for name in near]
            raise UsageError(f"no config {path}: there is no folder {missing}", where=where, near=folders)
        there = [entry.name for entry in folder.iterdir() if entry.suffix in SUFFIXES]
        files = [
            str(folder / name) for name in near_matches(path.name, there) or near_matches(f"{path.name}.py", there)
        ]
        raise UsageError(f"no config {path}", where=where, near=files)
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path} is not a config", where=where, expected=f"a file ending in {', '.join(SUFFIXES)}")


def base_files(path: Path) -> tuple[Path, ...]:
    """Return all files that a config inherits from, nearest first, themselves checked.

    Raises:
        UsageError: For a file that is missing or inherits from itself, or a syntax error; with file and line.
    """
    found: list[Path] = []
    _collect(path, (), found)
    return tuple(found)


def _collect(path: Path, heirs: tuple[Path, ...], found: list[Path]) -> None:
    if path in heirs:
        raise UsageError(
            f"{path} inherits from itself", where=str(heirs[-1]), got=" <- ".join(map(str, (*heirs, path)))
        )
    bases = _bases(path)
    found += [base for base, _ in bases]
    for base, line in bases:
        require_config(base, where=f"{path}:{line}")
        _collect(base, (*heirs, path), found)


def _bases(path: Path) -> list[tuple[Path, int]]:
    """Return the files in ``_base_`` with the line that says so; leaves alone what only mmengine can resolve."""
    if path.suffix != ".py":
        return []
    for node in parse(path).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "_base_" for t in node.targets):
            try:
                value = ast.literal_eval(node.value)
            except ValueError:
                return []
            names = [value] if isinstance(value, str) else value
            return [(_base(name, path, node.lineno), node.lineno) for name in names]
    return []


def _base(name: str, heir: Path, line: int) -> Path:
    return named_config(name, where=f"{heir}:{line}") or _normal(heir.parent / name)


def _normal(path: Path) -> Path:
    """Resolve ``..`` without leaving the relative form in which the user named the config."""
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts and parts[-1] not in ("..", path.anchor):
            parts.pop()
        else:
            parts.append(part)
    return Path(*parts)


def parse(path: Path) -> ast.Module:
    """Parse a config.

    Raises:
        UsageError: For a syntax error, with file and line; or a file that is not UTF-8 text.
    """
    try:
        return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except SyntaxError as error:
        text = f", in {error.text.strip()!r}" if error.text and error.text.strip() else ""
        raise UsageError(f"syntax error: {error.msg}{text}", where=f"{path}:{error.lineno}") from error
    except ValueError as error:
        raise UsageError("the config is not UTF-8 text", where=str(path), got=str(error)) from error
