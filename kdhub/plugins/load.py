"""Loading one found plugin in isolation: whatever it does, the result is a row with a status and a reason."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

import pluggy

from kdhub.errors import PluginError, in_short
from kdhub.plugins.calls import call_one
from kdhub.plugins.manifest import ApiLevelError, ManifestError, check_hooks, read_manifest
from kdhub.plugins.names import HEAVY
from kdhub.plugins.scan import Found, make_importable
from kdhub.records import Command, Component, PluginInfo, Recipe, Source


@dataclass(frozen=True, slots=True)
class Loaded:
    """One row of ``kdhub plugins list``.

    Attributes:
        source: Plugin, distribution and version.
        status: ``ok``, ``disabled``, ``conflict``, ``incompatible`` or ``broken``.
        reason: Why it is not ``ok``; empty if it is.
        fix: What to do about it.
        info: What it says of itself; ``None`` unless ``ok``.
        components: Its components; empty unless ``ok``.
        recipes: Its recipes; empty unless ``ok``.
        commands: Its sub-commands; empty unless ``ok``.
        hooks: Names of the hooks that it implements.
        module: Its manifest module.
        path: File of the manifest module; empty if it was not imported.
        traceback: Text of the exception that broke it.
        heavy: Modules of `HEAVY` that loading its manifest was the first to import.
    """

    source: Source
    status: str
    reason: str = ""
    fix: str = ""
    info: PluginInfo | None = None
    components: tuple[Component, ...] = ()
    recipes: tuple[Recipe, ...] = ()
    commands: tuple[Command, ...] = ()
    hooks: tuple[str, ...] = ()
    module: str = ""
    path: str = ""
    traceback: str = ""
    heavy: tuple[str, ...] = ()

    @property
    def condition(self) -> str:
        """The status as it stands after "the plugin is"."""
        return "in conflict" if self.status == "conflict" else self.status

    @property
    def extras(self) -> Mapping[str, tuple[str, ...]]:
        """Extras of its distribution and the import names each provides."""
        return self.info.extras if self.info is not None else {}

    @property
    def scope(self) -> str:
        """The plugin's name, which is its scope in a config."""
        return self.source.plugin

    @property
    def package(self) -> str:
        """Top-level package of the plugin, inside which its targets and recipes lie."""
        return self.module.partition(".")[0]


def refuse(found: Found, status: str, reason: str, fix: str, *, traceback: str = "", path: str = "") -> Loaded:
    """Return the row of a plugin that is not loaded."""
    source = Source(found.name, found.dist, found.version)
    return Loaded(source, status, reason, fix, module=found.module, path=path, traceback=traceback)


def load(
    found: Found, hooks: pluggy.PluginManager, *, module: ModuleType | None = None, isolate: bool = True
) -> Loaded:
    """Import, register, check and read one plugin.

    Args:
        found: The plugin, which no verdict keeps out.
        hooks: Where it is registered; a plugin that fails is taken out again.
        module: Its manifest module, if that is already there.
        isolate: Turn every failure, an exit included, into a row; else raise it. Ctrl-C always stops the program.

    Raises:
        PluginError: If ``isolate`` is false and the manifest breaks the contract; other exceptions as the plugin raised them.
    """
    light = HEAVY - sys.modules.keys()
    asked = ""

    def ask(hook: str) -> list[object]:
        nonlocal asked
        asked = hook
        return _results(hooks, found.name, hook, implemented)

    try:
        if module is None:
            if found.file is not None:
                make_importable(found.file)
            module = importlib.import_module(found.module)
        implemented = check_hooks(module)
        hooks.register(module, name=found.name)
        manifest = read_manifest(ask, found.module.partition(".")[0])
    except (Exception, SystemExit) as error:  # the isolation of plugins: nothing a plugin does may end the host
        if hooks.has_plugin(found.name):
            hooks.unregister(name=found.name)
        moment = "importing its manifest" if module is None else asked or "registering its hooks"
        reason = str(error) if isinstance(error, ManifestError) else f"{moment} raised {in_short(error)}"
        if not isolate:
            if isinstance(error, ManifestError):
                raise PluginError(reason, plugin=found.name, dist=found.dist, version=found.version) from error
            raise
        status, fix = "broken", f"see `kdhub plugins info {found.name}`"
        if isinstance(error, ApiLevelError):
            status, fix = "incompatible", f"install a newer {'kdhub' if error.too_new else found.dist}"
        path = getattr(module, "__file__", None) or str(found.file or "")
        return refuse(found, status, reason, fix, traceback=traceback.format_exc(), path=path)
    return Loaded(
        Source(found.name, found.dist, found.version),
        "ok",
        info=manifest.info,
        components=manifest.components,
        recipes=manifest.recipes,
        commands=manifest.commands,
        hooks=implemented,
        module=found.module,
        path=getattr(module, "__file__", None) or "",
        heavy=tuple(sorted(light & sys.modules.keys())),
    )


def _results(hooks: pluggy.PluginManager, plugin: str, hook: str, implemented: tuple[str, ...]) -> list[object]:
    if hook not in implemented:
        return []
    results = call_one(hooks, plugin, hook)
    if not results:  # pluggy leaves out None
        raise ManifestError(f"{hook} returned None; it must return its records")
    return results
