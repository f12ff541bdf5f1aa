"""What a plugin's code raises while it is built or used: one line with key path, component, distribution and version.

Losses and adapters are blamed where they are called. For everything else a plugin may bring (taps, teachers, schedules, metrics,
hooks, models) the exception itself is asked whose code was at work.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

from kdhub.distill.blame import place_of
from kdhub.engine.faults.building import TRACEBACK, key_path_of, origin_of
from kdhub.errors import PluginError, in_short
from kdhub.plugins import Entry, Loaded
from kdhub.plugins.names import BUILTIN
from kdhub.registry import init

_ACTORS = ("self", "metric")
"""Locals of a frame that say who is at work; mmengine's evaluator reads what a metric returned."""


def plugin_fault(error: Exception, cfg: Mapping[str, Any]) -> PluginError | None:
    """Name the plugin whose code an exception came from.

    Args:
        error: The exception, with its traceback.
        cfg: The config, complete.

    Returns:
        ``None`` if the core's code was at work, or ``KDHUB_PLUGIN_ERRORS=raise``.
    """
    if os.environ.get(TRACEBACK) == "raise":
        return None
    origin = origin_of(error)
    rows = {row.package: row for row in init().plugins if row.status == "ok" and row.scope != BUILTIN}
    at_work = _at_work([frame for frame, _ in traceback.walk_tb(origin.__traceback__)], rows)
    if at_work is None:
        return None
    row, entry, function = at_work
    tree = cfg.to_dict() if hasattr(cfg, "to_dict") else cfg
    places = list(_places(entry.type, tree)) if entry else []
    where = places[0] if len(places) == 1 else key_path_of(error, cfg) or next(iter(places), None)
    who = entry.type if entry else function
    return PluginError(
        f"{f'{where}: ' if where else ''}{who} raised {in_short(origin)} ({place_of(origin)})",
        plugin=row.scope,
        dist=row.source.dist,
        version=row.source.version,
        fix=f"{TRACEBACK}=raise shows the traceback",
    )


def _at_work(frames: list[FrameType], rows: Mapping[str, Loaded]) -> tuple[Loaded, Entry | None, str] | None:
    """Find the innermost code of a plugin, unless the core's own code was called from there; libraries are passed over."""
    for number, frame in enumerate(reversed(frames)):
        package = _package(frame.f_globals.get("__name__"))
        if package == BUILTIN:
            return None
        owners = [package, *(_package(type(frame.f_locals.get(name)).__module__) for name in _ACTORS)]
        row = next((rows[one] for one in owners if one in rows), None)
        if row is not None:
            outward = list(reversed(frames))[number:]
            return row, next(_components(outward, row), None), frame.f_code.co_name
    return None


def _components(frames: list[FrameType], row: Loaded) -> Iterator[Entry]:
    """Yield the plugin's components that the frames ran, the innermost first."""
    entries = {entry.component.target.partition(":")[2]: entry for entry in init().components(scope=row.scope)}
    for frame in frames:
        for name in _ACTORS:
            actor = type(frame.f_locals.get(name))
            if _package(actor.__module__) == row.package and actor.__qualname__ in entries:
                yield entries[actor.__qualname__]
        if _package(frame.f_globals.get("__name__")) == row.package and frame.f_code.co_name in entries:
            yield entries[frame.f_code.co_name]


def _package(module: Any) -> str:
    return str(module).partition(".")[0]


def _places(type_: str, value: Any, path: str = "") -> Iterator[str]:
    """Yield where a config names a type."""
    if isinstance(value, Mapping) and value.get("type") == type_:
        yield path
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, child in items:
        yield from _places(type_, child, f"{path}.{key}".lstrip("."))
