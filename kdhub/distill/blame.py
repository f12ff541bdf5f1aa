"""Faults of a loss or an adapter, in one line: objective, component, its distribution and version, and the place in the code."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from kdhub.errors import KdhubError, PluginError, UsageError, in_short, placed
from kdhub.registry import init

_TORCH = str(Path(torch.__file__).parent)


def component_type(spec: Any) -> Any:
    """Return what names a component: the ``type`` of its config, or the class of a built one."""
    return spec.get("type") if isinstance(spec, Mapping) else type(spec)


def shown(type_: Any) -> str:
    """Write a component's name as a person knows it from the config."""
    return type_ if isinstance(type_, str) else str(getattr(type_, "__qualname__", repr(type_)))


def fault(where: str, type_: Any, what: str, fix: str | None = None) -> KdhubError:
    """Make the error for a component that broke its side of the contract.

    Args:
        where: Key path of the component.
        type_: What `component_type` gave.
        what: What it did, as a clause without a subject ("returned None").
        fix: What its author should do.

    Returns:
        A `PluginError` with distribution and version for a plugin's component, and a `UsageError` for any other.
    """
    manager = init()
    if isinstance(type_, str) and manager.owns(type_):
        source = manager.find(type_).source
        text = f"{where}: {type_} {what}"
        return PluginError(text, plugin=source.plugin, dist=source.dist, version=source.version, fix=fix)
    return UsageError(f"{shown(type_)} {what}", where=where, fix=fix)


@contextmanager
def blamed(where: str, type_: Any) -> Iterator[None]:
    """Turn whatever a component raises into one line; kdhub's own errors only get the place.

    What faults from outside raise (no memory, a lost process) is recognised later by its cause.
    """
    try:
        with placed(where):
            yield
    except KdhubError:
        raise
    except Exception as error:
        raise fault(
            where,
            type_,
            f"raised {in_short(error)} ({place_of(error)})",
            fix="see what the taps and the batch give it with `kdhub probe CONFIG`; KDHUB_PLUGIN_ERRORS=raise shows the"
            " traceback",
        ) from error


def require_callable(function: Callable[..., Any], where: str, type_: Any, /, *values: str, **named: str) -> None:
    """See that a component's ``forward`` can be called with these arguments.

    Raises:
        PluginError: If it cannot, for a plugin's component.
        UsageError: If it cannot, for any other.
    """
    try:
        inspect.signature(function).bind(*values, **named)
    except TypeError as error:
        wanted = ", ".join((*values, *named))
        raise fault(where, type_, f"cannot be called with {wanted}: {error}", fix="see its forward") from error
    except ValueError:  # a built-in without a signature
        return


def place_of(error: BaseException) -> str:
    """Return file and line of the raise, or of the call into torch that raised."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_TORCH)]
    frame = (own or frames)[-1]
    return f"{frame.filename}:{frame.lineno}"
