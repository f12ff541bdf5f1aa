"""Modules looked up without importing them: whether they are there, what their source binds, which one was probably meant."""

from __future__ import annotations

import ast
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from kdhub.errors import did_you_mean, near_matches


def find_module(name: str) -> ModuleSpec | None:
    """Find a module; unlike ``importlib.util.find_spec``, imports no parent package."""
    try:
        return _found(name, tuple(sys.path))
    except (ImportError, ValueError):
        return None


@lru_cache(maxsize=4096)
def _found(name: str, path: tuple[str, ...]) -> ModuleSpec:
    """Find a module once: a package such as transformers is asked for thousands. What is not found is looked for again."""
    parent, _, last = name.rpartition(".")
    if not parent:
        spec = importlib.util.find_spec(name)
    else:
        # by its last name: for a full one, a namespace package looks its parent up among the imported modules
        folders = _found(parent, path).submodule_search_locations
        # as texts: an imported transformers holds a Path there, and the finder passes over that
        spec = PathFinder.find_spec(last, [str(folder) for folder in folders]) if folders is not None else None
    if spec is None:
        raise ModuleNotFoundError(name)
    return spec


def module_file(name: str) -> Path | None:
    """Return the source file of a module without importing anything; ``None`` if there is none."""
    spec = find_module(name)
    return Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None


def origin(module: str, file: Path, node: ast.ImportFrom) -> str:
    """Return the module that a ``from ... import`` of ``module`` reads, relative ones spelt out."""
    parts = module.split(".")
    base = parts[: len(parts) - node.level + (file.name == "__init__.py")] if node.level else []
    return ".".join((*base, *filter(None, [node.module])))


def parse(file: Path) -> ast.Module:
    """Parse a source file, once as long as it does not change; a file with a syntax error defines nothing."""
    return _parse(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _parse(file: Path, changed: int) -> ast.Module:
    try:
        return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return ast.Module(body=[], type_ignores=[])


def _bound_names(tree: ast.Module) -> set[str]:
    """Return the names that source binds, wherever in it; ``*`` is among them if it imports so."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


_AT_RUN_TIME = re.compile(r"\b(__getattr__|globals|setattr|exec|vars|modules\[|__dict__)")
"""Names by which a module gives itself others while it is imported; of such a module nothing can be said."""


def names_in(module: str, seen: set[str] | None = None) -> set[str] | None:
    """Return every name that a module may have, and more rather than less; ``None`` if its source does not tell.

    Args:
        module: Its dotted name.
        seen: Modules that were read on the way here by ``import *``, or before.
    """
    seen = set() if seen is None else seen
    seen.add(module)
    file = module_file(module)
    if file is None:
        return None
    text = file.read_text(encoding="utf-8", errors="ignore")
    if _AT_RUN_TIME.search(text):
        return None
    tree = parse(file)
    if not tree.body and text.strip():  # a syntax error, which an import tells best
        return None
    found = _bound_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            source = origin(module, file, node)
            more = set() if source in seen else names_in(source, seen)
            if more is None:
                return None
            found |= more
    if file.name == "__init__.py":
        found |= {entry.name.partition(".")[0] for entry in file.parent.iterdir()}
    return found


def near_modules(name: str) -> tuple[str, ...]:
    """Return the modules of the same top-level package whose names are nearest, best first."""
    package, _, path = name.partition(".")
    spec = find_module(package)
    paths = [module.removeprefix(f"{package}.") for module in _below(spec)] if spec is not None else []
    return tuple(f"{package}.{near}" for near in near_matches(path, paths))


def _below(spec: ModuleSpec) -> Iterator[str]:
    locations = [str(folder) for folder in spec.submodule_search_locations or ()]
    for info in pkgutil.iter_modules(locations, f"{spec.name}."):
        yield info.name
        inner = PathFinder.find_spec(info.name, locations) if info.ispkg else None
        if inner is not None:
            yield from _below(inner)


def install_missing(module: str, package: str, dist: str, extras: Mapping[str, tuple[str, ...]]) -> str:
    """Say what to do about a module that a plugin imports and that is not there.

    Args:
        module: Dotted name of the missing module.
        package: Top-level package of the plugin, whose own modules cannot be installed.
        dist: Distribution of the plugin.
        extras: The distribution's extras and the import names each provides.
    """
    head = module.partition(".")[0]
    if head == package:
        wrong = f"{module!r} would be the plugin's own module: its author must correct the name"
        return f"{did_you_mean(near_modules(module))} {wrong}".lstrip()
    # the smallest extra that has it: another may install much more, as `all` does
    extra = min((name for name in extras if head in extras[name]), key=lambda name: len(extras[name]), default=None)
    return f"pip install '{dist}[{extra}]'" if extra else f"install what provides module {head!r}"
