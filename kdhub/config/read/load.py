"""Reading a config strictly: every mistake is one line that says in which file and where."""

from __future__ import annotations

import importlib
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdhub.config.read.files import base_files, parse, require_config
from kdhub.config.read.options import apply_options, in_order, parse_options, require_accepted
from kdhub.config.read.packages import mmengine_finds_named_configs, named_config
from kdhub.config.read.predecessors import addressed, override_predecessors
from kdhub.config.read.variables import refuse_variables
from kdhub.errors import UsageError, in_short
from kdhub.plugins import PluginManager

if TYPE_CHECKING:
    from mmengine.config import Config

_READING = threading.RLock()
"""Reading changes functions of mmengine for its time; and a config may read another."""


def load_config(
    source: str | Path,
    cfg_options: Mapping[str, Any] | Sequence[str] = (),
    *,
    manager: PluginManager | None = None,
    custom_imports: bool = True,
) -> Config:
    """Read a config file, a plugin's recipe or a config of an installed library.

    Args:
        source: Path of a config, ``"scope:recipe"``, or ``"package::path"`` such as ``"mmseg::pspnet/....py"``.
        cfg_options: Overrides: key path to value, or ``"key.path=value"`` as typed; ``NAME:key.path`` is one of a predecessor.
        manager: Knows recipes and signatures; ``None`` takes the plugins in force.
        custom_imports: Whether to run the config's ``custom_imports``: strictly, whatever the config says.

    Raises:
        UsageError: For a file or ``_base_`` that is not there, a syntax error, an exception while the config runs, an
            override of a key that does not exist, or of a variable from which the file makes other values, or a custom import
            that fails; with file and line or key path.
    """
    if manager is None:
        from kdhub.registry import init  # here, since it imports mmengine, and to list components one needs no mmengine

        manager = init()
    path = Path(source)
    if not path.exists():
        path = named_config(str(source), manager=manager) or path
    require_config(path)
    options = cfg_options if isinstance(cfg_options, Mapping) else parse_options(cfg_options)
    options, others = addressed(options)
    options = in_order(options)
    with _READING:
        cfg = _read(path)
        override_predecessors(cfg, others)
        if options:
            require_accepted(cfg, options, manager)
            refuse_variables(cfg, options)
            apply_options(cfg, options)
    if custom_imports:
        run_custom_imports(cfg.get("custom_imports"))
    return cfg


def _read(path: Path) -> Config:
    from mmengine.config import Config

    if path.suffix == ".py":
        parse(path)
    files = (path, *base_files(path))
    try:
        with mmengine_finds_named_configs():
            return Config.fromfile(path, import_custom_modules=False)
    except UsageError:
        raise
    except Exception as error:  # a config is a program: it may raise anything
        if path.suffix != ".py" and isinstance(
            error, AttributeError
        ):  # mmengine asks anything that it holds for _base_
            raise UsageError(
                "the config is no dict", where=str(path), expected="keys such as 'model' at the top level"
            ) from error
        raise UsageError(
            f"the config cannot be read: {in_short(error)}", where=_where(error, files) or str(path), fix=_fix(error)
        ) from error


def _where(error: Exception, files: tuple[Path, ...]) -> str | None:
    """Return the deepest line of the config files in an exception's traceback."""
    names = {str(file.resolve()): str(file) for file in files}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in names]
    return f"{names[frames[-1].filename]}:{frames[-1].lineno}" if frames else None


def _fix(error: Exception) -> str | None:
    if isinstance(error, KeyError) and "Duplicate key" in str(error):
        return "keep the key in one of the _base_ files, or inherit one base from the other"
    return None


def run_custom_imports(spec: Any) -> None:
    """Import what a config's ``custom_imports`` names, in order.

    mmengine would turn a failure into a warning if ``allow_failed_imports`` says so, and hide the cause if it does not.

    Raises:
        UsageError: If a module cannot be imported, with the original exception.
    """
    if not spec:
        return
    names = spec.get("imports", ()) if isinstance(spec, Mapping) else spec
    for index, name in enumerate([names] if isinstance(names, str) else names):
        try:
            importlib.import_module(name)
        except Exception as error:  # importing somebody's module runs anything
            fix = None
            if isinstance(error, ModuleNotFoundError) and error.name == name.partition(".")[0]:
                fix = f"set PYTHONPATH to the folder that holds {error.name} (sys.path begins with {sys.path[0]!r})"
            raise UsageError(
                f"cannot import {name!r}: {in_short(error)}", where=f"custom_imports.imports.{index}", fix=fix
            ) from error
