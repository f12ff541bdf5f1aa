"""What goes wrong while the parts of a config are built or used, told in one line with the key path of the part.

A config may hold anything, and each library has its own words for what it cannot build. No rule of the check can know them all,
so the exception itself is asked: the frames of its traceback say which part of the config was at work.
"""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import mmengine.registry
from mmengine.registry import Registry
from mmengine.runner import Runner

from kdhub.errors import UsageError, in_short, near_matches

_STEPS = {
    "_check_scheduler_cfg": "param_scheduler",
    "_maybe_compile": "compile",
    "build_log_processor": "log_processor",
    "build_logger": "log_level",
    "build_model": "model",
    "build_optim_wrapper": "optim_wrapper",
    "build_param_scheduler": "param_scheduler",
    "build_test_loop": "test_cfg",
    "build_train_loop": "train_cfg",
    "build_val_loop": "val_cfg",
    "build_visualizer": "visualizer",
    "register_custom_hooks": "custom_hooks",
    "register_default_hooks": "default_hooks",
    "scale_lr": "auto_scale_lr",
    "set_randomness": "randomness",
    "setup_env": "env_cfg",
    "wrap_model": "model_wrapper_cfg",
}
"""Methods in which mmengine's `Runner` builds the parts of a config, and the key of each part."""

_USED = {
    "mmengine/runner/loops.py": "train_cfg",
    "mmengine/runner/log_processor.py": "log_processor",
    "mmengine/optim/optimizer": "optim_wrapper",
    "mmengine/optim/scheduler": "param_scheduler",
    "torch/optim": "optim_wrapper",
}
"""Code that does nothing but what a part of the config says: an exception out of it is about that part, also while training."""

_HOOKS = ("mmengine/hooks", "mmengine/runner/runner.py", "mmengine/runner/priority.py")
"""Where mmengine's hooks follow the config; an exception out of kdhub's own code is a defect, and keeps its traceback."""
_BUILD = ("registry/build.py", "registry/build_functions.py")
TRACEBACK = "KDHUB_PLUGIN_ERRORS"
_UNKNOWN = re.compile(r"(?P<name>\S+) is not in the (?:\S+::)?(?P<registry>.+?) registry|Failed to get (?P<path>\S+)")
"""mmengine's words for a type that no registry has."""


def building_fault(error: Exception, cfg: Mapping[str, Any]) -> UsageError | None:
    """Name the part of a config that an exception is about; ``None`` if it is about none, or ``KDHUB_PLUGIN_ERRORS=raise``.

    Args:
        error: The exception, with its traceback.
        cfg: The config, complete.
    """
    where = key_path_of(error, cfg)
    if where is None or os.environ.get(TRACEBACK) == "raise":
        return None
    said = in_short(error).partition(" Please check whether the value of")[0]  # mmengine's advice on registries
    if unknown := _UNKNOWN.search(said):
        name = unknown["name"] or unknown["path"]
        roots = [one for one in vars(mmengine.registry).values() if isinstance(one, Registry)]
        asked = [one for one in roots if one.name == unknown["registry"]] or roots
        return UsageError(
            f"unknown type {name!r}",
            where=where,
            near=near_matches(name, {known for root in asked for known in root.module_dict}),
            fix="write an import path, 'package.module.Name', or name the module that registers it in custom_imports",
        )
    fix = f"look at what stands there; {TRACEBACK}=raise shows the traceback"
    return UsageError(f"this part of the config does not work: {said}", where=where, fix=fix)


def key_path_of(error: BaseException, cfg: Mapping[str, Any]) -> str | None:
    """Return the key path of the part of a config that an exception is about, or ``None`` if it is about none.

    Args:
        error: The exception, with its traceback.
        cfg: The config.
    """
    origin = origin_of(error)
    tree = cfg.to_dict() if hasattr(cfg, "to_dict") else cfg
    frames = [frame for one in dict.fromkeys((error, origin)) for frame, _ in traceback.walk_tb(one.__traceback__)]
    if not frames:
        return None
    path = hook = None
    builds = False
    for frame in frames:
        step = frame.f_code.co_name
        if isinstance(frame.f_locals.get("self"), Runner):
            if step == "call_hook":
                hook = frame.f_locals.get("hook")
                path = None  # a hook may evaluate, and what it builds for that is looked at below
            path = _STEPS.get(step, path)
        builds = builds or frame.f_code.co_filename.endswith(_BUILD)
        path = _narrower(frame, tree, path)
    if path is not None:
        return path
    file = Path(frames[-1].f_code.co_filename).as_posix()
    if hook is not None and (builds or any(f"/{part}" in file for part in _HOOKS)):
        return _hook_path(hook, tree)
    return next((key for part, key in _USED.items() if f"/{part}" in file), None)


def origin_of(error: BaseException) -> BaseException:
    """Return what was raised first: mmengine raises a TypeError of a hook anew, without what led to it."""
    if isinstance(error, TypeError) and error.__suppress_context__ and error.__context__ is not None:
        return error.__context__
    return error


def _narrower(frame: FrameType, cfg: Mapping[str, Any], path: str | None) -> str | None:
    """Return the key path of what a frame builds, or ``path`` if that is not known."""
    local, step = frame.f_locals, frame.f_code.co_name
    if frame.f_code.co_filename.endswith(_BUILD):
        where = local.get("where")
        return where if isinstance(where, str) else _find(local.get("cfg"), cfg, path) or path
    if step == "build_dataloader":
        return _find(local.get("dataloader"), cfg, path) or path or "train_dataloader"
    if step == "build_evaluator":
        return _find(local.get("evaluator"), cfg, path) or path or "val_evaluator"
    if step == "register_hook":
        return _find(local.get("hook"), cfg, path) or path
    return path


def _find(part: Any, cfg: Any, section: str | None) -> str | None:
    """Return where a part stands in a config; of several places the one in the section that is being built."""
    if not isinstance(part, Mapping | list) or not part:
        return None
    found = list(_places(part, cfg, ""))
    return next((path for path in found if section and path.startswith(section)), next(iter(found), None))


def _places(part: Any, value: Any, path: str) -> Iterator[str]:
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, child in items:
        here = f"{path}.{key}".lstrip(".")
        if isinstance(child, Mapping | list) and child == part:
            yield here
        else:
            yield from _places(part, child, here)


def _hook_path(hook: Any, cfg: Mapping[str, Any]) -> str:
    name = type(hook).__name__
    for section in ("default_hooks", "custom_hooks"):
        hooks = cfg.get(section) or ()
        for key, options in hooks.items() if isinstance(hooks, Mapping) else enumerate(hooks):
            kind = options.get("type") if isinstance(options, Mapping) else None
            if kind is type(hook) or str(kind).rpartition(".")[2] == name:
                return f"{section}.{key}"
    return f"hook {name}"
