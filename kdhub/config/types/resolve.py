"""From a ``type`` in a config to the signature behind it, without importing it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from kdhub.config.types.names import ROOT_PACKAGES, may_be_registered, missing_name, registered
from kdhub.config.types.places import Place
from kdhub.config.types.signature import Signature, bound, signature
from kdhub.errors import UnknownComponentError, UsageError, near_matches
from kdhub.plugins import Entry, PluginManager
from kdhub.plugins.modules import find_module, module_file, names_in
from kdhub.plugins.names import RESERVED_SCOPES

_HOMES = {
    "MODELS": ("model", "models"),
    "MODEL_WRAPPERS": ("model",),
    "DATASETS": ("dataset", "datasets"),
    "DATA_SAMPLERS": ("dataset", "datasets"),
    "FUNCTIONS": ("dataset",),
    "TRANSFORMS": ("dataset", "datasets"),
    "METRICS": ("evaluator", "evaluation"),
    "EVALUATOR": ("evaluator", "evaluation"),
    "HOOKS": ("hooks", "engine"),
    "LOOPS": ("runner", "engine"),
    "LOG_PROCESSORS": ("runner",),
    "OPTIM_WRAPPERS": ("optim", "engine"),
    "PARAM_SCHEDULERS": ("optim", "engine"),
    "VISUALIZERS": ("visualization",),
    "VISBACKENDS": ("visualization",),
}
"""Sub-packages in which mmengine and the libraries built on it export what they register in each root."""


class Resolved(NamedTuple):
    """What is known of a ``type``.

    Attributes:
        entry: The plugin's component, if it is one.
        signature: How it is built, if that could be read.
    """

    entry: Entry | None = None
    signature: Signature | None = None


class Resolver(Protocol):
    """Finds out what a ``type`` means."""

    def resolve(self, type_: Any, place: Place) -> Resolved:
        """Return what is known; raise `UsageError` or `PluginError` if it certainly cannot be built."""


class SourceResolver:
    """Resolves plugins' components by their manifests, and mmengine's and torch's by where they are exported.

    What it does not find may still exist, registered under a name that no source file shows: then nothing is said.

    Args:
        manager: Knows the plugins.
        default_scope: The config's.
        custom_imports: Whether the config imports modules that may register anything.
        inherited: Scopes that mmengine has written into dicts of a base from another package.
    """

    def __init__(
        self, manager: PluginManager, default_scope: str, *, custom_imports: bool, inherited: Iterable[str] = ()
    ) -> None:
        self.manager = manager
        self._scopes = tuple(dict.fromkeys((default_scope, "mmengine")))
        self._packages = tuple(dict.fromkeys((*self._scopes, *inherited, *ROOT_PACKAGES)))
        self._custom_imports = custom_imports

    def resolve(self, type_: Any, place: Place) -> Resolved:
        """Return what is known of ``type_``.

        Raises:
            UnknownComponentError: If it is a plugin's and cannot be used here, or nobody's.
            UsageError: If it is neither a name nor a class.
        """
        if not isinstance(type_, str):
            if not callable(type_):
                raise UsageError("bad type", expected="a name or a class", got=repr(type_))
            return Resolved(None, bound(type_))
        scope, dot, name = type_.partition(".")
        if self.manager.owns(type_):
            entry = self.manager.find(type_, place.kinds)
            return Resolved(entry, signature(entry.component.target))
        if not dot:
            return self._without_scope(type_, place)
        self.require_package(type_)
        found = signature(type_) or (None if "." in name else self._exported(name, place, (scope,)))
        if found is None and "." in name and (missing := missing_name(type_)):
            module, wrong, names = missing
            near = tuple(f"{module}.{one}" for one in near_matches(wrong, names))
            raise UnknownComponentError(f"{type_!r}: module {module!r} has no {wrong!r}", near=near)
        if found is None and "." not in name and scope in RESERVED_SCOPES and not self._custom_imports:
            self._require_known(type_, place, (scope,))
        return Resolved(None, found)

    def _without_scope(self, name: str, place: Place) -> Resolved:
        found = self._exported(name, place, self._scopes)
        if found is None and not self._custom_imports and place.known:
            fitting = (entry for kind in place.kinds for entry in self.manager.components(kind))
            if any(entry.component.name == name for entry in fitting):
                self.manager.find(name)  # raises: it knows what to say of a missing scope
            if place.roots:
                self._require_known(name, place, self._packages)
        return Resolved(None, found)

    def _require_known(self, type_: str, place: Place, packages: tuple[str, ...]) -> None:
        """See that some package may have registered a name; where a config imports modules of its own, nobody can tell."""
        name = type_.rpartition(".")[2]
        if may_be_registered(name, packages, place.roots):
            return
        entries = (entry.type for kind in place.kinds for entry in self.manager.components(kind))
        known = [*(there for home in self._homes(place, packages) for there in names_in(home) or ()), *entries]
        raise UnknownComponentError(
            f"unknown type {type_!r}",
            expected=f"a name that {' or '.join(packages)} registers",
            near=near_matches(name, (*known, *(one for names in registered(place.roots) for one in names))),
            fix="write an import path, 'package.module.Name', or name the module that registers it in custom_imports",
        )

    def _exported(self, name: str, place: Place, scopes: tuple[str, ...]) -> Signature | None:
        return next((found for home in self._homes(place, scopes) if (found := signature(f"{home}:{name}"))), None)

    def _homes(self, place: Place, scopes: tuple[str, ...]) -> list[str]:
        named = (f"{scope}.{home}" for root in place.roots for scope in scopes for home in _HOMES.get(root, ()))
        homes = [home for home in named if module_file(home) is not None]
        return [*homes, "torch.optim"] if "OPTIMIZERS" in place.roots else homes

    def require_package(self, type_: str) -> None:
        """See that the package which a type with a scope begins with is there; imports nothing.

        Raises:
            UnknownComponentError: If it is not.
        """
        scope = type_.partition(".")[0]
        if find_module(scope) is not None:
            return
        if scope in RESERVED_SCOPES:
            raise UnknownComponentError(f"{type_!r}: package {scope!r} is not installed")
        self.manager.find(type_)  # raises: it knows what to say of an unknown scope
