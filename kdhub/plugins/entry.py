"""A component together with where it comes from, and its import on first use."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

from kdhub.errors import PluginError, near_matches
from kdhub.plugins.modules import install_missing
from kdhub.plugins.names import BUILTIN
from kdhub.records import Component, Source


@dataclass(frozen=True)
class Entry:
    """A component that a config can name.

    Attributes:
        scope: Scope of its plugin.
        component: The plugin's record.
        source: Distribution and version that provide it.
        extras: The plugin's extras and the import names each provides.
    """

    scope: str
    component: Component
    source: Source
    extras: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: MappingProxyType({}), compare=False, repr=False
    )

    @property
    def type(self) -> str:
        """What a config writes: ``"scope.Name"``."""
        return f"{self.scope}.{self.component.name}"

    def load(self) -> Any:
        """Import and return the class or function.

        Raises:
            PluginError: If its module cannot be imported or does not have it; names distribution, version, target, the
                missing module and the extra that provides it.
        """
        return self._object

    @cached_property
    def _object(self) -> Any:
        module_name, _, path = self.component.target.partition(":")
        try:
            found: Any = importlib.import_module(module_name)
        except Exception as error:
            raise self._import_failure(error) from error
        for name in path.split("."):
            if not hasattr(found, name):
                near = near_matches(name, dir(found))
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise self._failure(f"target {self.component.target!r} has no attribute {name!r}{hint}")
            found = getattr(found, name)
        return found

    def _import_failure(self, error: Exception) -> PluginError:
        what = f"target {self.component.target!r} of {self.type} cannot be imported ({type(error).__name__}: {error})"
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        fix = None
        if missing:
            package = self.component.target.partition(":")[0].partition(".")[0]
            fix = install_missing(missing, package, self.source.dist, self.extras)
        return self._failure(what, fix)

    def _failure(self, what: str, fix: str | None = None) -> PluginError:
        dist = self.source.dist or BUILTIN
        return PluginError(what, plugin=self.scope, dist=dist, version=self.source.version, fix=fix)
