"""Components that a config names by their class or its import path, as new-style configs of mmengine do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdhub.plugins.entry import Entry
    from kdhub.plugins.manager import PluginManager


def component_of(type_: Any, manager: PluginManager) -> Entry | None:
    """Return the component that a ``type`` means, however it is written.

    Args:
        type_: ``"scope.Name"``, a class or function, or an import path such as ``"kdhub.distill.losses.TemperatureKL"``.
        manager: Knows the plugins.

    Raises:
        UnknownComponentError: If it is a ``"scope.Name"`` that cannot be used.
    """
    if isinstance(type_, str) and manager.owns(type_):
        return manager.find(type_)
    path = (
        type_ if isinstance(type_, str) else f"{getattr(type_, '__module__', '')}.{getattr(type_, '__qualname__', '')}"
    )
    module, _, name = path.rpartition(".")
    for entry in manager.components(scope=path.partition(".")[0]):
        home, _, defined = entry.component.target.partition(":")
        if (home, defined) == (module, name):
            return entry
        if defined != name:
            continue
        # exported by a package around its module, or the manifest names such a package
        if entry.load() is type_ if not isinstance(type_, str) else home.startswith(f"{module}."):
            return entry
    return None


def with_names(value: Any, manager: PluginManager) -> Any:
    """Return a config, or a part of one, in which every plugin's component is named ``"scope.Name"``.

    Args:
        value: Dicts and lists, which stay as they are.
        manager: Knows the plugins.
    """
    if isinstance(value, Mapping):
        named = {key: with_names(child, manager) for key, child in value.items()}
        type_ = named.get("type")
        if type_ is not None and not (isinstance(type_, str) and manager.owns(type_)):
            entry = component_of(type_, manager) if callable(type_) or isinstance(type_, str) else None
            named["type"] = entry.type if entry is not None else type_
        return named
    if isinstance(value, list) or type(value) is tuple:
        return type(value)(with_names(child, manager) for child in value)
    return value
