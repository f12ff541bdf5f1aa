"""The plugins that are in force in this process, declared in mmengine's registries."""

from __future__ import annotations

from kdhub.errors import PluginError
from kdhub.plugins import PluginManager, Switches, load_plugins
from kdhub.plugins.names import BUILTIN, KNOWN_DISTRIBUTIONS, PLUGIN_NAME, RESERVED_SCOPES
from kdhub.registry.roots import kinds_by_root
from kdhub.registry.scope import PluginScope

_active: PluginManager | None = None
_declared: list[PluginScope] = []


def init(switches: Switches | None = None) -> PluginManager:
    """Load the plugins and let configs name their components; does nothing if that was done already.

    Every kdhub class that builds from a config calls it first, so that worker processes have the same plugins.

    Args:
        switches: The user's choice; ``None`` takes the plugins that are in force, or else reads the environment. Switches
            other than those in force load anew.

    Returns:
        The manager in force.
    """
    manager = _active
    if manager is None or (switches is not None and switches != manager.switches):
        manager = load_plugins(switches)
        activate(manager)
    return manager


def activate(manager: PluginManager | None) -> PluginManager | None:
    """Put a manager in force instead of the present one, and return that; ``None`` leaves none in force.

    Every scope is declared in every root that holds components, also where it has none and also if the plugin is broken or
    known but not installed: only then does mmengine's ``build`` say what is wrong instead of "not in the registry".

    Raises:
        PluginError: If a package has a registry of a plugin's name already; the present manager then stays in force.
    """
    global _active
    former, _active = _active, manager
    _undeclare()
    try:
        _declare(manager)
    except PluginError:
        _active = former
        _undeclare()
        _declare(former)
        raise
    return former


def _undeclare() -> None:
    while _declared:
        scope = _declared.pop()
        scope.root.children.pop(scope.scope)


def _declare(manager: PluginManager | None) -> None:
    if manager is None:
        return
    rows = {row.scope for row in manager.plugins if PLUGIN_NAME.fullmatch(row.scope)}
    for root, kinds in kinds_by_root().items():
        for name in sorted({BUILTIN, *(rows - RESERVED_SCOPES), *KNOWN_DISTRIBUTIONS}):
            if name in root.children:
                raise PluginError(
                    f"another package declares the scope {name!r} in mmengine's registry {root.name!r}", plugin=name
                )
            _declared.append(PluginScope(root, name, kinds, manager))
