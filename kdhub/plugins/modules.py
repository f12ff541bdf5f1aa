"""Modules looked up without importing them: whether they are there, and which one was probably meant."""

from __future__ import annotations

import importlib.util
import pkgutil
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder

from kdhub.errors import near_matches


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
        spec = PathFinder.find_spec(last, list(folders)) if folders is not None else None
    if spec is None:
        raise ModuleNotFoundError(name)
    return spec


def near_modules(name: str) -> tuple[str, ...]:
    """Return the modules of the same top-level package whose names are nearest, best first."""
    package, _, path = name.partition(".")
    spec = find_module(package)
    paths = [module.removeprefix(f"{package}.") for module in _below(spec)] if spec is not None else []
    return tuple(f"{package}.{near}" for near in near_matches(path, paths))


def _below(spec: ModuleSpec) -> Iterator[str]:
    locations = spec.submodule_search_locations or ()
    for info in pkgutil.iter_modules(locations, f"{spec.name}."):
        yield info.name
        inner = PathFinder.find_spec(info.name, locations) if info.ispkg else None
        if inner is not None:
            yield from _below(inner)


def install_missing(module: str, package: str, dist: str, extra: str | None) -> str:
    """Say what to do about a module that a plugin imports and that is not there.

    Args:
        module: Dotted name of the missing module.
        package: Top-level package of the plugin, whose own modules nobody can install.
        dist: Distribution of the plugin.
        extra: Extra of the distribution that provides the module, if one does.
    """
    if module.partition(".")[0] == package:
        near = near_modules(module)
        meant = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        return f"{meant}{module!r} would be the plugin's own module: its author must correct the name"
    return f"pip install '{dist}[{extra}]'" if extra else f"install what provides module {module.partition('.')[0]!r}"
