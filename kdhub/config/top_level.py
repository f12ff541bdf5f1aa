"""The check of a config's top level: keys that nobody reads, and parts that only work together.

mmengine reads a fixed set of keys and ignores the rest in silence, while configs are Python files in which helper variables
(``train_pipeline``, ``norm_cfg``) are top-level keys as well. So an unknown key is

* an error if it nearly matches a key that is read, or holds a component of a plugin that stands nowhere else;
* a warning if it holds any other dict with ``type`` that stands nowhere else: an override of a base's helper variable
  does that, and has no effect;
* nothing otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kdhub.config.findings import Report
from kdhub.config.places import TOP_LEVEL_KEYS
from kdhub.config.slips import slip_of
from kdhub.plugins import PluginManager

_TOGETHER = (
    ("train_dataloader", "train_cfg", "optim_wrapper"),
    ("val_dataloader", "val_cfg", "val_evaluator"),
    ("test_dataloader", "test_cfg", "test_evaluator"),
)


def check_top_level(tree: Mapping[str, Any], manager: PluginManager, report: Report) -> tuple[str, ...]:
    """Check the top level.

    Returns:
        The keys that are read, which are to be checked further.
    """
    read = tuple(key for key in tree if key in TOP_LEVEL_KEYS)
    if tree.get("model") is None:
        report.error("model", "the config has no model", expected="model=dict(type=...)")
    scope = str(tree.get("default_scope") or "")
    if manager.owns(f"{scope}.Name"):
        report.error(
            "default_scope",
            f"{scope!r} is a plugin: mmengine would look for its own hooks and loops in there",
            fix=f"remove it; components of plugins are written with their scope, as '{scope}.Name', under any default",
        )
    for key in tree:
        if key not in read:
            _check_unread(key, tree, read, manager, report)
    for group in _TOGETHER:
        given = [key for key in group if tree.get(key) is not None]
        for key in group if given else ():
            if key not in given:
                report.error(key, f"it is missing beside {' and '.join(given)}: mmengine wants all three or none")
    return read


def _check_unread(
    key: str, tree: Mapping[str, Any], read: tuple[str, ...], manager: PluginManager, report: Report
) -> None:
    value = tree[key]
    parts = list(_components(value))
    is_helper = any(_holds(tree[other], part) for part in parts for other in read)
    near = slip_of(key, TOP_LEVEL_KEYS)
    # mmdet's helper conv_cfg is two letters from env_cfg; a misspelt train_dataloader may still hold a known dataset
    if near and not (is_helper and parts[0] is value):
        report.error(key, f"unknown key {key!r}: mmengine would ignore it", near=near)
    elif is_helper or not parts:
        return
    elif any(isinstance(part["type"], str) and manager.owns(part["type"]) for part in parts):
        report.error(key, f"nobody reads {key!r}, and what it holds stands nowhere else")
    else:
        report.warn(key, f"nobody reads {key!r}, and what it holds stands nowhere else: it has no effect")


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
    if isinstance(value, Mapping):
        return _unscoped(value) == _unscoped(part) or any(_holds(child, part) for child in value.values())
    return isinstance(value, list | tuple) and any(_holds(child, part) for child in value)


def _unscoped(value: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the scope that mmengine writes into the outermost dicts of a base from another package."""
    return {key: child for key, child in value.items() if key != "_scope_"}
