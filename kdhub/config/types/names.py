"""Names that are there, by source: those that a module has, and those that mmengine and its libraries may have registered."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from kdhub.plugins.modules import module_file, names_in

ROOT_PACKAGES = ("mmengine", "mmcv")
"""Packages that register in mmengine's root registries, where a name without scope is looked up."""


def may_be_registered(name: str, packages: Iterable[str], roots: Iterable[str]) -> bool:
    """Tell whether a name can be in a registry.

    Args:
        name: The name, without scope.
        packages: Packages that may register it. A name that none of their files defines or quotes is not theirs.
        roots: mmengine's root registries; what was registered in them already, as by the config itself, is known.
    """
    return any(name in names for names in registered(roots)) or any(
        name in _words(file.parent) for package in packages if (file := module_file(package)) is not None
    )


def registered(roots: Iterable[str]) -> Iterator[Any]:
    """Yield the names that are registered by now in mmengine's roots and their children; imports nothing."""
    registry = sys.modules.get("mmengine.registry")
    for root in (getattr(registry, name) for name in roots if registry is not None):
        yield root.module_dict
        yield from (child.module_dict for child in root.children.values() if hasattr(child, "module_dict"))


_DEFINED = re.compile(r"""(?:\b(?:class|def)\s+(\w+))|(?:['"](\w+)['"])""")


@lru_cache(maxsize=16)
def _words(folder: Path) -> frozenset[str]:
    """Return what a package's source files define as a class or function, or hold in quotes, as a registered name stands."""
    # configs that a library brings along name types, and define none
    texts = (one.read_text("utf-8", "ignore") for one in folder.rglob("*.py") if ".mim" not in one.parts)
    return frozenset(one or other for text in texts for one, other in _DEFINED.findall(text))


def missing_name(path: str) -> tuple[str, str, set[str]] | None:
    """Find the part of an import path that is certainly not there.

    Returns:
        The module, the name that it does not have, and those that it has; ``None`` if the path may lead somewhere.
    """
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:cut])
        if module_file(module) is not None:
            names = names_in(module)
            return None if names is None or parts[cut] in names else (module, parts[cut], names)
    return None
