"""Resolution by importing: mmengine's registries instead of source files, and signatures as Python binds them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mmengine.registry
import mmengine.runner  # registers all of mmengine's own parts, which the registries do not import by themselves
from mmengine.registry import Registry

from kdhub.config.types.places import Place
from kdhub.config.types.resolve import Resolved, SourceResolver
from kdhub.config.types.signature import bound
from kdhub.errors import UnknownComponentError, UsageError, near_matches


class ImportResolver:
    """Resolves every ``type`` to the object that would be built, importing what defines it.

    Args:
        source: Knows the plugins, and what source files tell.
        default_scope: The config's.
    """

    def __init__(self, source: SourceResolver, default_scope: str) -> None:
        self._source = source
        self._default_scope = default_scope

    def resolve(self, type_: Any, place: Place) -> Resolved:
        """Return what is known of ``type_``; everything, here.

        Raises:
            UnknownComponentError: If no registry knows it where it is certain which one will be asked.
            PluginError: If a plugin's component cannot be imported.
        """
        if isinstance(type_, str) and self._source.manager.owns(type_):
            entry = self._source.manager.find(type_, place.kinds)
            return Resolved(entry, bound(entry.load()))
        if not isinstance(type_, str):
            return self._source.resolve(type_, place)
        if "." in type_:
            self._source.require_package(type_)
        roots = list(_roots(place))
        for root in roots:
            found = self._look_up(root, type_)
            if found is not None:
                return Resolved(None, bound(found))
        if place.roots and not place.guess:
            raise self._unknown(type_, roots, place)
        return Resolved()

    def _look_up(self, root: Registry, type_: str) -> Any:
        with root.switch_scope_and_registry(self._default_scope) as registry:
            try:
                return registry.get(type_)
            except UnknownComponentError:
                raise
            except (RuntimeError, ImportError):  # mmengine's words for "not here"
                return None

    def _unknown(self, type_: str, roots: list[Registry], place: Place) -> UsageError:
        names = {name for root in roots for name in root.module_dict}
        for root in roots:
            child = root.children.get(self._default_scope)
            names |= set(child.module_dict) if child is not None else set()
        entries = (entry.type for kind in place.kinds for entry in self._source.manager.components(kind))
        return UnknownComponentError(
            f"{type_!r} is not in mmengine's registry {' or '.join(repr(root.name) for root in roots)}",
            near=near_matches(type_, {*names, *entries}),
            fix="name the module that registers it in custom_imports, or install the package that does",
        )


def _roots(place: Place) -> Iterator[Registry]:
    for name in place.roots:
        yield getattr(mmengine.registry, name)
