"""Calling hooks: one plugin at a time, with the guilty plugin named, and traced on request."""

from __future__ import annotations

import logging
import sys
import time
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pluggy

logger = logging.getLogger(__name__)


def call_one(hooks: pluggy.PluginManager, plugin: str, hook: str, **arguments: Any) -> list[Any]:
    """Call ``hook`` in one plugin alone and return the results of its implementations.

    Goes through pluggy, so that tracing sees it and arguments are matched as everywhere.
    """
    others = [module for name, module in hooks.list_name_plugin() if name != plugin and module is not None]
    return hooks.subset_hook_caller(hook, others)(**arguments)


def call_first(hooks: pluggy.PluginManager, describe: Callable[[str], str], hook: str, **arguments: Any) -> Any:
    """Call a ``firstresult`` hook; an exception is fatal and gets a note that says which plugin and hook raised it.

    Args:
        hooks: Where the plugins are registered.
        describe: Plugin name to a description with distribution and version.
        hook: Name of the hook.
        **arguments: Its arguments.
    """
    try:
        return getattr(hooks.hook, hook)(**arguments)
    except Exception as error:
        plugin = _guilty(error, getattr(hooks.hook, hook).get_hookimpls())
        if plugin is not None:
            _add_note(error, f"raised in hook {hook} of {describe(plugin)}")
        raise


def _guilty(error: BaseException, implementations: Sequence[pluggy.HookImpl]) -> str | None:
    """Return the plugin whose implementation is deepest in the traceback: wrappers stand above what they wrap."""
    owners = {
        call.function.__code__: call.plugin_name
        for call in implementations
        if isinstance(call.function, types.FunctionType)
    }
    guilty, frame = None, error.__traceback__
    while frame is not None:
        guilty = owners.get(frame.tb_frame.f_code, guilty)
        frame = frame.tb_next
    return guilty


def _add_note(error: BaseException, note: str) -> None:
    if hasattr(error, "add_note"):
        error.add_note(note)
    else:  # Python 3.10 prints no notes: keep it where newer tools look, and say it once
        error.__notes__ = [*getattr(error, "__notes__", ()), note]  # type: ignore[attr-defined]
        logger.error("%s: %s", type(error).__name__, note)


def trace(hooks: pluggy.PluginManager) -> Callable[[], None]:
    """Print every hook call with the plugins called and the time taken to stderr; returns what undoes it."""
    started: list[float] = []

    def before(hook: str, implementations: Sequence[pluggy.HookImpl], arguments: Mapping[str, object]) -> None:
        started.append(time.perf_counter())

    def after(
        outcome: pluggy.Result[Any],
        hook: str,
        implementations: Sequence[pluggy.HookImpl],
        arguments: Mapping[str, object],
    ) -> None:
        seconds = time.perf_counter() - started.pop()
        plugins = ", ".join(call.plugin_name for call in reversed(implementations)) or "nobody"
        failure = f" raised {type(outcome.exception).__name__}" if outcome.exception else ""
        print(f"kdhub: {hook} -> {plugins}{failure} ({seconds * 1000:.1f} ms)", file=sys.stderr)

    return hooks.add_hookcall_monitoring(before, after)
