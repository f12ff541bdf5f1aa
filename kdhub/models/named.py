"""Building what a config names by its import path, with everything inside it."""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from kdhub.errors import UsageError, near_matches
from kdhub.registry import build


def build_named(kind: str, spec: Any, where: str) -> Any:
    """Build an object from a dict with ``type``, and first the dicts with ``type`` among its arguments.

    Args:
        kind: Kind of component, for a ``type`` that is a plugin's or registered with mmengine.
        spec: A dict whose ``type`` is an import path (of a class, a function or a class method), a registered name, or
            the callable itself. A class or function alone is called without arguments; anything else is returned.
        where: Place in the config, for errors.

    Returns:
        The object.

    Raises:
        UsageError: If the type is unknown, or a keyword of the call, or of one that it hands keywords on to. What else the
            code raises that is called stays as it is.
    """
    if not isinstance(spec, Mapping | str):
        return _called(where, spec) if isinstance(spec, type) or _is_function(spec) else spec
    if isinstance(spec, str) or "type" not in spec:
        return build(kind, spec, where=where)  # raises: it knows what to say
    keywords = {key: _inside(kind, value, f"{where}.{key}") for key, value in spec.items() if key != "type"}
    return _called(where, lambda: build(kind, {"type": spec["type"], **keywords}, where=where))


def _inside(kind: str, value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        if _names_a_callable(value.get("type")):
            return build_named(kind, value, where)
        # a plain dict: libraries refuse mmengine's ConfigDict, or save it as it is
        return {key: _inside(kind, entry, f"{where}.{key}") for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_inside(kind, entry, f"{where}.{index}") for index, entry in enumerate(value)])
    return value


def _names_a_callable(type_: Any) -> bool:
    """Whether a ``type`` says what to call; libraries have dicts of their own with ``type='linear'`` in them."""
    return "." in type_ if isinstance(type_, str) else callable(type_)


def _is_function(value: Any) -> bool:
    return callable(value) and hasattr(value, "__qualname__")


def _called(where: str, function: Callable[[], Any]) -> Any:
    try:
        return function()
    except TypeError as error:
        frame, _ = list(traceback.walk_tb(error.__traceback__))[-1]
        if near := _meant(str(error), {**frame.f_globals, **frame.f_locals}):
            raise UsageError(str(error), where=where, near=near) from error
        raise


def _meant(refusal: str, names: Mapping[str, Any]) -> tuple[str, ...]:
    """Find what is near a keyword that a call refused, among those of the class or function that refused it."""
    found = re.search(r"(\w+)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'", refusal)
    target = next((one for one in names.values() if found and getattr(one, "__name__", None) == found[1]), None)
    if found is None or not callable(target):
        return ()
    return near_matches(found[2], inspect.signature(target).parameters)
