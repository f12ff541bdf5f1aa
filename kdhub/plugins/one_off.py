"""Plugins named on the command line by ``-p``: a file, or an importable module."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

from kdhub.errors import UsageError
from kdhub.plugins.names import PLUGIN_NAME
from kdhub.plugins.scan import Found


def one_off(value: str) -> Found:
    """Describe the plugin that ``-p VALUE`` names, importing nothing of it.

    A path ending in ``.py`` is a plugin whose scope is the file's stem; its targets may name that module. Anything else is
    a module name, whose scope is its top-level package.

    Raises:
        UsageError: If there is no such file or module, or the stem cannot be a scope.
    """
    if value.endswith(".py"):
        return _from_file(value)
    package = value.partition(".")[0]
    if not package.isidentifier() or importlib.util.find_spec(package) is None:
        raise UsageError(
            f"-p {value}: no installed plugin, module or file of that name",
            expected="a plugin of `kdhub plugins list`, a path ending in .py, or an importable module",
        )
    return Found(package, value, value, "")


def _from_file(value: str) -> Found:
    path = Path(value).resolve()
    if not path.is_file():
        raise UsageError(f"-p {value}: no such file", fix="give the path of the plugin's .py file")
    stem = path.stem
    if not PLUGIN_NAME.fullmatch(stem):
        raise UsageError(
            f"-p {value}: the file's name becomes the config scope and cannot be one",
            expected="lower-case letters, digits and _, beginning with a letter",
            got=repr(stem),
            fix="rename the file",
        )
    taken = _other_module(stem, path)
    if taken:
        raise UsageError(f"-p {value}: a module named {stem!r} exists already ({taken})", fix="rename the file")
    return Found(stem, stem, str(path), "", file=path)


def _other_module(stem: str, path: Path) -> str:
    """Return where a module ``stem`` other than ``path`` is, or an empty string."""
    loaded = sys.modules.get(stem)
    spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(stem)
    origin = getattr(loaded, "__file__", None) or (spec.origin if spec else None)
    if (loaded is None and spec is None) or (origin and Path(origin).resolve() == path):
        return ""
    return origin or "built in"


def make_importable(path: Path) -> None:
    """Let ``path`` be imported under its stem, here and in worker processes, which get this ``sys.path``.

    Its folder goes last, so that nothing in it can shadow an installed module.
    """
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)
    importlib.invalidate_caches()
