"""Predecessors: the configs that a config needs to have run first, and its references to what they leave behind.

``predecessors = dict(teacher="teacher.py")`` names them; ``checkpoint="@teacher/student/model.safetensors"`` is a file in the
folder of one.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdhub.errors import UsageError, near_matches, placed

if TYPE_CHECKING:
    from mmengine.config import Config

KEY = "predecessors"
_NAME = re.compile(r"[A-Za-z]\w*")
_REFERENCE = re.compile(r"@([A-Za-z]\w*)(?:/(.*))?")


def addressed(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Tell overrides of the config itself from those of its predecessors, ``"NAME:key.path"``.

    Returns:
        The own ones, and those of each predecessor by its name.
    """
    own: dict[str, Any] = {}
    others: dict[str, dict[str, Any]] = {}
    for path, value in options.items():
        name, colon, rest = path.partition(":")
        if colon and _NAME.fullmatch(name):
            others.setdefault(name, {})[rest] = value
        else:
            own[path] = value
    return own, others


def override_predecessors(cfg: Config, others: Mapping[str, Mapping[str, Any]]) -> None:
    """Hand overrides on to the predecessors they are addressed to.

    Raises:
        UsageError: If the config has no predecessor of that name.
    """
    there = specs(cfg)
    for name, options in others.items():
        if name not in there:
            raise UsageError(
                f"the config has no predecessor {name!r}",
                where=f"--cfg-options {name}:{next(iter(options))}",
                expected=f"one of {', '.join(there)}" if there else "a config with predecessors=dict(...)",
                near=near_matches(name, there),
            )
        there[name]["cfg_options"] |= options
    if others:
        cfg[KEY] = there


def specs(cfg: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what a config says of its predecessors: name to ``config`` and ``cfg_options``.

    Raises:
        UsageError: If that is not a dict of name to config.
    """
    found = cfg.get(KEY) or {}
    if not isinstance(found, Mapping):
        raise UsageError(
            "not a dict of name to config", where=KEY, expected="dict(teacher='teacher.py')", got=repr(found)
        )
    read = {}
    for name, value in found.items():
        entry: Any = {"config": value} if isinstance(value, str) else value
        wrong = not isinstance(entry, Mapping) or not isinstance(entry.get("config"), str)
        if wrong or entry.keys() - {"config", "cfg_options"} or not _NAME.fullmatch(str(name)):
            raise UsageError(
                "not a predecessor",
                where=f"{KEY}.{name}",
                expected="a config file, SCOPE:RECIPE, or dict(config=..., cfg_options=dict(...)), under a plain name",
                got=repr(value),
            )
        options: Mapping[str, Any] = entry.get("cfg_options") or {}
        read[name] = {"config": entry["config"], "cfg_options": dict(options)}
    return read


def default_work_dir(cfg: Any) -> str:
    """Return the folder of a config's run: its ``work_dir``, else ``work_dirs/<name of its file>``."""
    named: str | None = cfg.get("work_dir")
    return named or str(Path("work_dirs", Path(str(getattr(cfg, "filename", None) or "run")).stem))


def predecessors(cfg: Config) -> dict[str, Config]:
    """Read the configs of a config's predecessors, in their order.

    Each gets the folder in which it runs as its ``work_dir``: its own if it names one, so that several configs can share it,
    else a folder of its name in that of ``cfg``.

    Args:
        cfg: A config; a path is looked for beside its file first.

    Raises:
        UsageError: If one cannot be read, or needs itself.
    """
    from kdhub.config.read.load import load_config  # which calls `addressed`

    read = {}
    for name, spec in specs(cfg).items():
        with placed(f"{KEY}.{name}"):
            beside = Path(str(cfg.filename or ".")).parent / spec["config"]
            source = str(beside) if beside.is_file() else spec["config"]
            if cfg.filename is not None and Path(source).exists() and Path(source).samefile(str(cfg.filename)):
                raise UsageError("the config is its own predecessor", got=source)
            own = load_config(source, spec["cfg_options"], custom_imports=False)
        if own.get("work_dir") is None:
            own.work_dir = str(Path(default_work_dir(cfg), name))
        read[name] = own
    return read


def with_folders(cfg: Config, folders: Mapping[str, str]) -> Config:
    """Put folders where a config refers to its predecessors.

    Args:
        cfg: The config, which is not changed.
        folders: Name of a predecessor to its folder.

    Raises:
        UsageError: For a reference to a predecessor that the config does not name.
    """
    resolved = copy.deepcopy(cfg)
    for key in cfg:
        if key != KEY:
            resolved[key] = _resolved(cfg[key], folders, key)
    return resolved


def located(cfg: Config) -> Config:
    """Put the folders of its predecessors into a config, without running any; one that has none is returned as it is."""
    if not specs(cfg):
        return cfg
    resolved = with_folders(cfg, {name: own.work_dir for name, own in predecessors(cfg).items()})
    resolved.pop(KEY)
    return resolved


def is_reference(text: str) -> bool:
    """Whether a text of a config refers to a predecessor: what it names need not be there yet."""
    return _REFERENCE.fullmatch(text) is not None


def _resolved(value: Any, folders: Mapping[str, str], where: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _resolved(child, folders, f"{where}.{key}") for key, child in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_resolved(child, folders, f"{where}.{index}") for index, child in enumerate(value))
    match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    name, rest = match.groups()
    if name not in folders:
        raise UsageError(
            f"{value!r} refers to a predecessor that the config does not name",
            where=where,
            expected=" or ".join(f"@{one}/..." for one in folders),
            near=[f"@{one}" for one in near_matches(name, folders)],
        )
    return str(Path(folders[name], rest or ""))
