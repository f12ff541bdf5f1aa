"""Plugins of a test's own, and nothing left of them afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from kdhub.plugins import PluginManager, Switches
from kdhub.plugins.scan import Found, Scan, scan
from kdhub.registry.active import activate


@contextmanager
def isolated_plugins(
    *modules: ModuleType, installed: bool = False, switches: Switches | None = None
) -> Iterator[PluginManager]:
    """Put a fresh manager in force, with the built-in plugin and the given ones, and the former one afterwards.

    Args:
        *modules: Manifest modules; the scope of each is its top-level package.
        installed: Whether installed plugins are loaded too.
        switches: The user's choice; by default a plugin's error is raised, as in ``KDHUB_PLUGIN_ERRORS=raise``.

    Yields:
        The manager, its scopes declared.

    Raises:
        PluginError: If a manifest breaks the contract.
    """
    named = {module.__name__.partition(".")[0]: module for module in modules}
    given = tuple(Found(name, module.__name__, f"{name} (given)", "") for name, module in named.items())
    found = scan() if installed else Scan((), ())
    scanned = Scan((*found.found, *given), found.problems)
    manager = PluginManager(scanned, Switches(raise_errors=True) if switches is None else switches, modules=named)
    former = activate(manager)
    try:
        yield manager
    finally:
        activate(former)
