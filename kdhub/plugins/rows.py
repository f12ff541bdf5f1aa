"""From what was found to the rows of ``kdhub plugins list``: the built-in plugin first, then the others by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib import metadata
from types import ModuleType

import pluggy

from kdhub.errors import PluginError
from kdhub.plugins.load import Loaded, load, refuse
from kdhub.plugins.names import BUILTIN, BUILTIN_COMMANDS
from kdhub.plugins.one_off import one_off
from kdhub.plugins.scan import Found
from kdhub.plugins.switches import Switches
from kdhub.plugins.verdict import verdict


def load_rows(
    found: Sequence[Found], switches: Switches, hooks: pluggy.PluginManager, modules: Mapping[str, ModuleType]
) -> tuple[Loaded, ...]:
    """Judge every found plugin, load those that may be, and register them with ``hooks``.

    Args:
        found: Installed plugins.
        switches: The user's choice; one-off plugins among them are added.
        hooks: A pluggy manager without plugins.
        modules: Manifest modules that are already there, by plugin name.

    Raises:
        UsageError: If ``-p`` names a file or module that is not there.
        PluginError: If the built-in plugin is broken; or any other, with ``KDHUB_PLUGIN_ERRORS=raise``.
    """
    version = core_version()
    builtin = load(Found(BUILTIN, f"{BUILTIN}.plugin", BUILTIN, version), hooks, isolate=False)
    installed = {one.name for one in found}
    extra = [one_off(value) for value in switches.modules if value not in installed]
    by_name: dict[str, list[Found]] = defaultdict(list)
    for one in (*found, *extra):
        by_name[one.name].append(one)
    rows = [builtin]
    commands = dict.fromkeys(BUILTIN_COMMANDS, BUILTIN)
    for name in sorted(by_name):
        for one in by_name[name]:
            refusal = verdict(one, by_name[name], switches, version)
            row = refuse(one, *refusal) if refusal else _load(one, switches, hooks, modules.get(name), commands)
            if switches.raise_errors and row.status not in ("ok", "disabled"):
                raise PluginError(row.reason, plugin=name, dist=one.dist, version=one.version, fix=row.fix)
            rows.append(row)
    return tuple(rows)


def core_version() -> str:
    """Return the installed version of kdhub; empty when it runs from a folder without being installed."""
    try:
        return metadata.version(BUILTIN)
    except metadata.PackageNotFoundError:
        return ""


def _load(
    found: Found,
    switches: Switches,
    hooks: pluggy.PluginManager,
    module: ModuleType | None,
    commands: dict[str, str],
) -> Loaded:
    row = load(found, hooks, module=module, isolate=not switches.raise_errors)
    for command in row.commands:
        owner = commands.setdefault(command.name, found.name)
        if owner != found.name:
            hooks.unregister(name=found.name)
            reason = f"its command {command.name!r} is already one of plugin {owner!r}"
            return refuse(found, "broken", reason, "rename the command", path=row.path)
    return row
