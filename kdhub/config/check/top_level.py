"""The check of a config's top level: keys that nothing reads, and parts that only work together.

mmengine reads a fixed set of keys and ignores the rest without a word, while configs are Python files in which helper variables
(``train_pipeline``, ``norm_cfg``) are top-level keys as well. So an unknown key is

* an error if it nearly matches a key that is read, or holds a component of a plugin that stands nowhere else;
* a warning if it has a place elsewhere in a config, such as ``guards``, or holds a dict that no line of the config file reads: an
  override of a base's helper variable does that, and has no effect. Where no file tells, what it holds is looked for instead;
* nothing otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kdhub.config.read.variables import unread_variables
from kdhub.config.types.places import TOP_LEVEL_KEYS
from kdhub.errors import slip_of
from kdhub.findings import Report
from kdhub.plugins import PluginManager

_TOGETHER = (
    ("train_dataloader", "train_cfg", "optim_wrapper"),
    ("val_dataloader", "val_cfg", "val_evaluator"),
    ("test_dataloader", "test_cfg", "test_evaluator"),
)


_ELSEWHERE = {
    **{key: f"model.{key}" for key in ("guards", "objectives", "task_weight", "teachers")},
    "checkpoint_config": "default_hooks.checkpoint",
    "evaluation": "val_evaluator and train_cfg.val_interval",
    "log_config": "default_hooks.logger",
    "lr_config": "param_scheduler",
    "optimiser": "optim_wrapper.optimizer",
    "optimizer": "optim_wrapper.optimizer",
    "optimizer_config": "optim_wrapper.clip_grad",
    "runner": "train_cfg",
}
"""Keys that a user may mean to be read at the top, as older versions of mmengine did, and where they belong."""


def check_top_level(
    tree: Mapping[str, Any], filename: str | None, manager: PluginManager, report: Report
) -> tuple[str, ...]:
    """Check the top level.

    Args:
        tree: The config.
        filename: Its file, which shows what helper variables it uses.
        manager: Knows the plugins.
        report: Where findings go.

    Returns:
        The keys that are read, which are to be checked further.
    """
    read = tuple(key for key in tree if key in TOP_LEVEL_KEYS)
    if tree.get("model") is None and tree.get("job") is None:
        report.error("model", "the config has no model", expected="model=dict(type=...)")
    scope = str(tree.get("default_scope") or "")
    if manager.owns(f"{scope}.Name"):
        report.error(
            "default_scope",
            f"{scope!r} is a plugin: mmengine would look for its own hooks and loops in there",
            fix=f"remove it; components of plugins are written with their scope, as '{scope}.Name', under any default",
        )
    unread = unread_variables(filename)
    for key in tree:
        if key not in read:
            used = _is_used(tree[key], tree, read) or (unread is not None and key not in unread)
            _check_unread(key, tree[key], used, manager, report)
    for group in _TOGETHER:
        given = [key for key in group if tree.get(key) is not None]
        for key in group if given else ():
            if key not in given:
                report.error(key, f"it is missing beside {' and '.join(given)}: mmengine wants all three or none")
    return read


def _check_unread(key: str, value: Any, used: bool, manager: PluginManager, report: Report) -> None:
    parts = list(_components(value))
    near = slip_of(key, TOP_LEVEL_KEYS)
    place = _ELSEWHERE.get(key)
    # mmdet's helper conv_cfg is two letters from env_cfg; a misspelt train_dataloader may still hold a known dataset
    if near and not place and not (used and parts and parts[0] is value):
        report.error(key, f"unknown key {key!r}: mmengine would ignore it", near=near)
    elif used or not (parts or place):
        return
    elif any(isinstance(part["type"], str) and manager.owns(part["type"]) for part in parts):
        report.error(key, f"nothing reads {key!r}, and what it holds stands nowhere else")
    else:
        fix = f"write it as {place}" if place else None
        report.warn(key, f"nothing reads {key!r}, and what it holds stands nowhere else: it has no effect", fix=fix)


def _is_used(value: Any, tree: Mapping[str, Any], read: tuple[str, ...]) -> bool:
    """Tell whether what a variable holds stands in a part that is read: as a whole, or one of its components or items."""
    if not isinstance(value, Mapping | list | tuple):
        return False
    parts = [*_components(value), *([value] if isinstance(value, Mapping) else [])]
    return any(_holds(tree[other], part) for part in parts for other in read)


def _components(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the dicts with ``type`` that a helper variable holds, not those inside them."""
    if isinstance(value, Mapping):
        if "type" in value:
            yield value
        else:
            for part in value.values():
                yield from _components(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _components(part)


def _holds(value: Any, part: Mapping[str, Any]) -> bool:
    """Tell whether a dict stands in another value, itself or by ``**part``, of which at least one item is left."""
    if isinstance(value, Mapping):
        wanted, there = _unscoped(part), _unscoped(value)
        shared = "type" not in wanted and any(key in there and there[key] == item for key, item in wanted.items())
        return shared or there == wanted or any(_holds(child, part) for child in value.values())
    return isinstance(value, list | tuple) and any(_holds(child, part) for child in value)


def _unscoped(value: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the scope that mmengine writes into the outermost dicts of a base from another package."""
    return {key: child for key, child in value.items() if key != "_scope_"}
