"""Names that a module has, by its source: what an import path may lead to."""

from __future__ import annotations

import ast
import re

from kdhub.config.types.source import parse
from kdhub.plugins.modules import bound_names, module_file, origin

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
    found = bound_names(tree)
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
