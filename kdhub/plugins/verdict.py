"""What can be said of a plugin from its metadata alone, before anything of it is imported."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from kdhub.plugins.names import BUILTIN, PLUGIN_NAME, RESERVED_SCOPES
from kdhub.plugins.scan import Found
from kdhub.plugins.switches import Switches


def verdict(found: Found, same_name: Sequence[Found], switches: Switches, core_version: str) -> tuple[str, str]:
    """Return status and reason of a found plugin; status ``""`` means that it may be loaded.

    Args:
        found: The plugin to judge.
        same_name: Every found plugin of that name, ``found`` among them.
        switches: The user's choice.
        core_version: Version of kdhub that is running; empty if unknown, which skips the check.
    """
    disabled = switches.why_disabled(found.name)
    if disabled:
        return "disabled", disabled
    if not PLUGIN_NAME.fullmatch(found.name):
        return "broken", f"entry name {found.name!r} must be lower-case letters, digits and _, as it is a config scope"
    if found.name in RESERVED_SCOPES:
        return "broken", f"the scope {found.name!r} is reserved for the package of that name"
    if len(same_name) > 1:
        owners = " and ".join(f"{one.dist} {one.version}".strip() for one in same_name)
        return "conflict", f"{owners} both provide a plugin named {found.name!r}; neither is loaded"
    if ":" in found.module:
        return "broken", f"the entry point must name a module, got {found.module!r}"
    return _core_requirement(found.requires, core_version)


def _core_requirement(requires: Iterable[str], core_version: str) -> tuple[str, str]:
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
            return "incompatible", f"it requires {BUILTIN}{requirement.specifier}, and this is {BUILTIN} {core_version}"
    return "", ""
