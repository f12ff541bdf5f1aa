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
    near = slip_of(key, TOP_LEVEL_KEYS)
    if near:
        report.error(key, f"unknown key {key!r}: mmengine would ignore it", near=near)
        return
    types = [part["type"] for part in _components(tree[key])]
    if not types or any(_stands_in(tree[key], tree[other]) for other in read):
        return
    if any(isinstance(type_, str) and manager.owns(type_) for type_ in types):
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


def _stands_in(wanted: Any, value: Any) -> bool:
    """Whether ``wanted``, or a component that it holds, is found in ``value``."""
    parts = list(_components(wanted))

    def search(there: Any) -> bool:
        if isinstance(there, Mapping):
            return any(there == part for part in parts) or any(search(child) for child in there.values())
        return isinstance(there, list | tuple) and any(search(child) for child in there)

    return search(value)
