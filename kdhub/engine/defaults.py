"""What kdhub adds to a user's config; every value the user gave wins."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.hooks import CheckpointHook

from kdhub.config.default_hooks import MMENGINE_HOOKS, OWN_HOOKS, without_type
from kdhub.config.read.predecessors import default_work_dir
from kdhub.engine.amp import choose_amp
from kdhub.engine.libraries import import_library
from kdhub.errors import UsageError
from kdhub.plugins.classes import with_names
from kdhub.registry import init

HOOKS = {key: f"kdhub.{name}" for key, name in OWN_HOOKS.items() if key != "checkpoint"}
"""kdhub's own hooks by their key in ``default_hooks``, but the one that stands in for mmengine's."""

_UNSAFE_CHECKPOINT_HOOKS = ("CheckpointHook", "mmengine.CheckpointHook", CheckpointHook)
_NAMING_TYPES = ("model", "default_hooks", "custom_hooks")
"""Parts of which other code reads what a ``type`` says: there a plugin's class is written by its name."""
_NEEDED = ("model", "train_dataloader", "train_cfg", "optim_wrapper")
_KEPT_CHECKPOINTS = 3
_LOGGED_POINTS = 200
"""Points of a curve in the report; more would not be told apart."""


def completed(cfg: Config, amp: bool = False) -> tuple[Config, str | None]:
    """Fill in what a config leaves open, as a run does before its experiment is identified.

    Args:
        cfg: The config, which is not changed.
        amp: Whether mixed precision was asked for.

    Returns:
        A completed copy, and a line that says what was decided about precision, if anything was.

    Raises:
        UsageError: If the config lacks a part that training needs.
    """
    manager = init()
    cfg = copy.deepcopy(cfg)
    for key in _NAMING_TYPES:
        if cfg.get(key) is not None:
            cfg[key] = with_names(cfg[key], manager)
    require_parts(cfg, _NEEDED, "training", fix="set them, or begin with a config that has them: _base_ = [...]")
    decision = choose_amp(cfg, amp)
    add_training_defaults(cfg)
    import_library(cfg)
    return cfg, decision


def require_parts(cfg: Any, needed: Iterable[str], purpose: str, *, fix: str) -> None:
    """See that a config has what nobody can fill in for it.

    Args:
        cfg: The config.
        needed: Top-level keys.
        purpose: What they are for, for the error.
        fix: What to do, for the error.

    Raises:
        UsageError: Naming all that are missing.
    """
    missing = [key for key in needed if cfg.get(key) is None]
    if missing:
        raise UsageError(
            f"the config says nothing about {purpose}: {', '.join(missing)} missing",
            where=str(cfg.get("filename") or "config"),
            fix=fix,
        )


def add_training_defaults(cfg: Any) -> None:
    """Complete a config for training, in place. Doing it twice changes nothing.

    Args:
        cfg: The config. ``default_hooks`` gets kdhub's hooks; one that is set to ``None`` stays out.
    """
    add_common_defaults(cfg)
    hooks = _section(cfg, "default_hooks")
    by_epoch = counts_epochs(cfg)
    _change(hooks, "logger", {"type": "LoggerHook", **_logging(cfg, by_epoch)})
    _change(hooks, "checkpoint", _saving(cfg, by_epoch, hooks.get("checkpoint")))
    _complete_saver(hooks["checkpoint"], by_epoch)
    for name, kind in HOOKS.items():
        _change(hooks, name, {"type": kind})
    _name_types(hooks)
    _section(cfg, "log_processor").setdefault("by_epoch", by_epoch)


def add_common_defaults(cfg: Any) -> None:
    """Complete what training and testing share: work_dir, scope, processes and a visualizer that writes files."""
    cfg.setdefault("work_dir", default_work_dir(cfg))
    cfg.setdefault("default_scope", "mmengine")
    if "randomness" in cfg:  # mmengine takes none without a seed
        _section(cfg, "randomness").setdefault("seed", None)
    environment = _section(cfg, "env_cfg")
    environment.setdefault("cudnn_benchmark", False)
    environment.setdefault("mp_cfg", {"mp_start_method": "fork", "opencv_num_threads": 0})
    environment.setdefault("dist_cfg", {"backend": "nccl"})
    visualizer = _section(cfg, "visualizer")
    visualizer.setdefault("type", "Visualizer")
    backends = visualizer.get("vis_backends") or []
    if not any(str(backend.get("type")).endswith("LocalVisBackend") for backend in backends):
        # the report draws its curves from the file that this backend writes
        visualizer["vis_backends"] = [*backends, {"type": "LocalVisBackend"}]


def add_testing_defaults(cfg: Any) -> None:
    """Complete a config for testing, in place: of kdhub's hooks only the progress bar watches."""
    add_common_defaults(cfg)
    hooks = _section(cfg, "default_hooks")
    for name in HOOKS.keys() - {"progress"}:
        hooks[name] = None
    _change(hooks, "progress", {"type": HOOKS["progress"]})
    hooks["checkpoint"] = None  # nothing is saved, and its options may lean on training's defaults
    _name_types(hooks)


def counts_epochs(cfg: Any) -> bool:
    """Tell whether training counts epochs, or only iterations."""
    train = cfg.get("train_cfg") or {}
    return bool(train.get("by_epoch", train.get("max_iters") is None))


def _section(cfg: Any, key: str) -> Any:
    """Return a dict of the config, made if it is not there; what ``setdefault`` of an mmengine config returns is a copy."""
    if cfg.get(key) is None:
        cfg[key] = {}
    return cfg[key]


def _change(hooks: Any, key: str, default: Mapping[str, Any]) -> None:
    """Add a default hook, or complete the user's options for it; options with a ``type`` stand alone."""
    hooks.setdefault(key, {})
    options = hooks[key]
    if isinstance(options, Mapping) and "type" not in options:
        hooks[key] = {**default, **options}


def _complete_saver(options: Any, by_epoch: bool) -> None:
    if not isinstance(options, dict):
        return
    if options["type"] in _UNSAFE_CHECKPOINT_HOOKS:
        options["type"] = "kdhub.CheckpointHook"
    # mmengine's default counts epochs: a training by iterations would save one checkpoint, at its end
    options.setdefault("by_epoch", by_epoch)
    options.setdefault("max_keep_ckpts", _KEPT_CHECKPOINTS)


def _name_types(hooks: Any) -> None:
    """Give options without ``type`` the one that mmengine has under their key.

    Raises:
        UsageError: If it has none.
    """
    for key, options in hooks.items():
        if isinstance(options, dict) and "type" not in options:
            if key not in MMENGINE_HOOKS:
                raise without_type(key, options)
            options["type"] = MMENGINE_HOOKS[key]


def _logging(cfg: Any, by_epoch: bool) -> dict[str, Any]:
    if by_epoch:
        return {"interval": 10, "ignore_last": False}
    return {"interval": max(1, min(50, cfg["train_cfg"]["max_iters"] // _LOGGED_POINTS)), "log_metric_by_epoch": False}


def _saving(cfg: Any, by_epoch: bool, options: Any) -> dict[str, Any]:
    hook = {"type": "kdhub.CheckpointHook"}
    if isinstance(options, Mapping) and options.get("by_epoch", by_epoch) != by_epoch:
        return hook  # an interval would count something else
    if by_epoch:
        return {**hook, "interval": 1}
    train = cfg["train_cfg"]
    return {**hook, "interval": int(min(train.get("val_interval", 1000), train["max_iters"]))}
