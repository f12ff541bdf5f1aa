"""From what was found to the rows of ``kdhub plugins list``: each plugin is judged by its metadata, and loaded if it may be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from types import ModuleType

import pluggy
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from kdhub.errors import PluginError
from kdhub.plugins.load import Loaded, load, refuse
from kdhub.plugins.names import BUILTIN, BUILTIN_COMMANDS, PLUGIN_NAME, RESERVED_SCOPES, entry_line
from kdhub.plugins.scan import Found, one_off
from kdhub.plugins.switches import Switches


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
            refusal = _verdict(one, by_name[name], switches, version)
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


_Refusal = tuple[str, str, str]
"""Status, reason, and what to do about it."""


def _verdict(found: Found, same_name: Sequence[Found], switches: Switches, core_version: str) -> _Refusal | None:
    """Return why a found plugin is not loaded; ``None`` means that it may be.

    Args:
        found: The plugin to judge.
        same_name: Every found plugin of that name, ``found`` among them.
        switches: The user's choice.
        core_version: Version of kdhub that is running; empty if unknown, which skips the check.
    """
    disabled = switches.why_disabled(found.name)
    if disabled:
        return "disabled", disabled, "leave out the switch that keeps it from loading"
    spelling = entry_line(found.name, found.module)
    if not PLUGIN_NAME.fullmatch(found.name):
        reason = f"entry name {found.name!r} must be lower-case letters, digits and _, as it is a config scope"
        return "broken", reason, spelling
    if found.name in RESERVED_SCOPES:
        return "broken", f"the scope {found.name!r} is reserved for the package of that name", spelling
    return (
        _conflict(found, same_name)
        or _not_a_module(found, spelling)
        or _core_requirement(found.requires, found.dist, core_version)
    )


def _conflict(found: Found, same_name: Sequence[Found]) -> _Refusal | None:
    """Refuse all plugins of one name but the one whose package bears it, if exactly one does."""
    if len(same_name) == 1:
        return None
    owners = [one for one in same_name if one.package == found.name]
    if len(owners) != 1:
        both = " and ".join(f"{one.dist} {one.version}".strip() for one in same_name)
        return "conflict", f"{both} both provide a plugin named {found.name!r}; neither is loaded", "uninstall one"
    if owners[0] is found:
        return None
    reason = f"the name {found.name!r} belongs to {owners[0].dist}, whose package bears it"
    return "conflict", reason, entry_line(found.name, found.module)


def _not_a_module(found: Found, spelling: str) -> _Refusal | None:
    if ":" not in found.module:
        return None
    return "broken", f"the entry point must name a module, got {found.module!r}", spelling


def _core_requirement(requires: Iterable[str], dist: str, core_version: str) -> _Refusal | None:
    # pip enforces this when it installs the plugin, but not when it changes kdhub afterwards
    for line in requires:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if canonicalize_name(requirement.name) != BUILTIN or not applies or not core_version:
            continue
        if not requirement.specifier.contains(core_version, prereleases=True):
            newer = BUILTIN if _wants_newer(requirement, core_version) else dist
            reason = f"it requires {BUILTIN}{requirement.specifier}, and this is {BUILTIN} {core_version}"
            return "incompatible", reason, f"install a newer {newer}"
    return None


def _wants_newer(requirement: Requirement, core_version: str) -> bool:
    for one in requirement.specifier:
        try:
            if one.operator in (">=", ">", "~=", "==") and Version(one.version.removesuffix(".*")) > Version(
                core_version
            ):
                return True
        except InvalidVersion:
            continue
    return False
