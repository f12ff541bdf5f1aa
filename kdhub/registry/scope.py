"""One plugin's components as a child of one of mmengine's root registries."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from mmengine.registry import Registry

from kdhub.errors import UnknownComponentError, UsageError
from kdhub.plugins import PluginManager


class PluginScope(Registry):
    """Resolves ``scope.Name`` to a class that is imported on first use.

    A plain child registry hands an unknown name to its parent, so that ``kdseg.CrossEntropyLoss`` quietly becomes mmengine's
    class. This one never does, and says why a name cannot be used. mmengine's ``in`` calls ``get``: ``'kdseg.Typo' in
    MODELS`` raises the same error, as a child cannot tell the two apart.

    Args:
        root: The root registry, which becomes the parent: mmengine searches direct children of a root only.
        scope: Name of the plugin.
        kinds: Kinds of component that have a place in this root.
        manager: Knows the plugin, also if it is not there or broken.
    """

    def __init__(self, root: Registry, scope: str, kinds: Collection[str], manager: PluginManager) -> None:
        super().__init__(root.name, parent=root, scope=scope)
        self._kinds = kinds
        self._manager = manager

    def get(self, key: str) -> Any:
        """Return the class or function that ``key`` names, or ``None`` for a dotted import path.

        Raises:
            UnknownComponentError: If the plugin cannot provide it; says which of the causes it is.
            PluginError: If the component's module cannot be imported.
        """
        scope, dot, _ = key.partition(".")
        if dot:
            # with this plugin as default scope mmengine asks it for every scope; otherwise the key is the rest of
            # `kdseg.losses.BPKDLoss`, which mmengine then imports as the path it is
            return self.root.get(key) if scope in (self.root.scope, *self.root.children) else None
        if key not in self._module_dict:
            self._module_dict[key] = self._find(key).load()
        return self._module_dict[key]

    def _find(self, name: str) -> Any:
        try:
            return self._manager.find(f"{self.scope}.{name}", self._kinds)
        except UnknownComponentError as error:
            if name not in self.root.module_dict:
                raise
            raise UnknownComponentError(
                error.what, fix=f"write '{self.root.scope}.{name}' for mmengine's own"
            ) from error

    def _register_module(self, module: Any, module_name: Any = None, force: bool = False) -> None:
        names = [module_name or module.__name__] if isinstance(module_name, str | None) else module_name
        entries = self._manager.components(scope=self.scope)
        for name in names:
            if any(name == entry.component.name for entry in entries):
                raise UsageError(
                    f"'{self.scope}.{name}' is already in the manifest of plugin {self.scope!r}",
                    got=f"{module.__module__}.{module.__qualname__}",
                    fix="give it another name",
                )
        super()._register_module(module, names, force)

    def __repr__(self) -> str:
        entries = self._manager.components(scope=self.scope)
        names = [entry.component.name for entry in entries if entry.component.kind in self._kinds]
        return f"PluginScope({self.scope!r} in {self.name!r}: {', '.join(names) or 'nothing'})"
