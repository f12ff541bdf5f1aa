"""Python source files of the standard library and of the installed distributions, by top-level module."""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

_SKIPPED = frozenset({
    "test", "tests", "testing", "conftest.py", "idle_test", "turtledemo", "site-packages", "dist-packages", "__pycache__",
    # copies of other projects: the same text would stand under two top-level modules, and so perhaps in two splits
    "_vendor", "_vendored", "vendor", "vendored", "externals", "extern", "third_party",
})  # fmt: skip


def standard_library() -> dict[str, list[Path]]:
    """Return the ``.py`` files of the standard library by top-level module."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found: dict[str, list[Path]] = {}
    for name in sorted(sys.stdlib_module_names):
        paths = [root / f"{name}.py"] if (root / f"{name}.py").is_file() else sorted((root / name).rglob("*.py"))
        _file(found, name, [(path.relative_to(root).parts, path) for path in paths])
    return found


def installed_distributions() -> tuple[dict[str, list[Path]], dict[str, str]]:
    """Return the ``.py`` files of installed distributions by top-level module, and versions by distribution name.

    Editable installations list no files and are left out, and so is everything that lies outside their folder, such as
    scripts.
    """
    found: dict[str, list[Path]] = {}
    versions: dict[str, str] = {}
    for distribution in metadata.distributions():
        root = Path(str(distribution.locate_file("")))
        files = [file for file in distribution.files or () if file.suffix == ".py" and file.parts[0] != ".."]
        if files:
            versions[distribution.name] = distribution.version
        for file in files:
            _file(found, file.parts[0].removesuffix(".py"), [(file.parts, root / file)])
    return found, dict(sorted(versions.items()))


def in_fixed_order(paths: list[Path], top_level: str) -> list[Path]:
    """Shuffle files the same way on every machine, so that a capped package gives a sample and not its first folder."""

    def key(path: Path) -> str:
        parts = path.parts
        inside = "/".join(parts[parts.index(top_level) :]) if top_level in parts else path.name
        return hashlib.sha256(inside.encode()).hexdigest()

    return sorted(paths, key=key)


def _file(found: dict[str, list[Path]], top_level: str, entries: list[tuple[tuple[str, ...], Path]]) -> None:
    kept = [path for parts, path in entries if _SKIPPED.isdisjoint(parts)]
    if kept:
        found.setdefault(top_level, []).extend(kept)
