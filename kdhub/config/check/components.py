"""The check of one dict: its type, and its keys against the signature of what it builds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kdhub.config.check.inheritance import Bases
from kdhub.config.check.plain_values import misfits
from kdhub.config.default_hooks import without_type
from kdhub.config.types.places import Place
from kdhub.config.types.resolve import Resolved, Resolver
from kdhub.config.types.signature import Signature, signature
from kdhub.errors import PluginError, UsageError, near_matches, slip_of
from kdhub.findings import Finding, Report
from kdhub.plugins import Entry, PluginManager
from kdhub.plugins.unknown import a_kind

_BUILDER_KEYS = ("type", "_scope_")
_HELD = frozenset({"mmengine", "torch"})
"""Packages whose annotations are right about counts."""
_SHOWN_NAMES = 12
"""A list of more names than this hides the near match that stands beside it."""


class ComponentCheck:
    """Checks one dict after the other into one report.

    Args:
        report: Where findings go.
        resolver: Finds out what a ``type`` means.
        bases: Tells whether a key was inherited from another component.
        manager: Knows the plugins.
    """

    def __init__(self, report: Report, resolver: Resolver, bases: Bases, manager: PluginManager) -> None:
        self._report = report
        self._resolver = resolver
        self._bases = bases
        self._manager = manager

    def check(self, value: Mapping[str, Any], path: str, place: Place) -> Entry | None:
        """Check one dict, without what stands below it.

        Returns:
            The plugin's component that it builds, if it is one.
        """
        if place.keys:
            self._check_keys(value, path, place.keys, "error")
        elif place.holds_several(value):
            pass  # each of them has a place of its own
        elif "type" in value:
            return self._check_component(value, path, place)
        elif place.implicit:
            self._check_implicit(value, path, place)
        elif place.named:
            self._report.add(Finding.of(without_type(path.rpartition(".")[2], value), path))
        elif place.typed:
            example = next((entry for kind in place.kinds for entry in self._manager.components(kind)), None)
            self._report.error(
                path,
                f"{a_kind(place.kinds)} without a 'type'",
                expected=f"dict(type='{example.type}', ...)" if example else "a dict with 'type'",
                near=near_matches("type", value),
            )
        return None

    def _check_implicit(self, value: Mapping[str, Any], path: str, place: Place) -> None:
        target = place.implicit
        if "by_epoch" in place.demands and value.get("by_epoch") is False:
            target = "mmengine.runner:IterBasedTrainLoop"
        for key in place.demands:
            if key not in value:
                self._report.error(path, f"{key!r} is missing", expected=f"{key}=...", near=near_matches(key, value))
        found = signature(target)
        if found is not None:
            self._check_against(found, value, path, place, accepted=place.demands)

    def _check_component(self, value: Mapping[str, Any], path: str, place: Place) -> Entry | None:
        try:
            resolved = self._resolver.resolve(value["type"], place)
        except UsageError as error:
            self._report.add(Finding.of(error, f"{path}.type"))
            return None
        except PluginError as error:
            self._report.error(f"{path}.type", str(error))
            return None
        self._tell(value["type"], resolved, path)
        if resolved.signature is not None and (resolved.entry or place.known or not path.endswith("_cfg")):
            # mm libraries take keys of their own out of norm_cfg, act_cfg and their kin before they build
            self._check_against(resolved.signature, value, path, place, resolved=resolved)
        return resolved.entry

    def _tell(self, type_: Any, resolved: Resolved, path: str) -> None:
        entry = resolved.entry
        if entry is not None:
            for what, fix in self._manager.unusable(entry):
                self._report.error(f"{path}.type", f"{entry.type}: {what}", fix=fix)
        scope, _, rest = type_.partition(".") if isinstance(type_, str) else ("", "", "")
        if entry is None and self._manager.owns(f"{scope}.{rest.rpartition('.')[2]}"):
            entries = self._manager.components(scope=scope)
            meant = [e.type for e in entries if e.component.target.replace(":", ".") == type_]
            near = [e.type for e in entries if e.component.name == rest.rpartition(".")[2]]
            self._report.warn(
                f"{path}.type",
                f"import path {type_!r} goes past plugin {scope!r}: its status, version and loss inputs are not checked",
                fix=f"write {(meant or near)[0]!r}" if meant or near else f"see `kdhub list --scope {scope}`",
            )

    def _check_against(
        self,
        found: Signature,
        value: Mapping[str, Any],
        path: str,
        place: Place,
        *,
        accepted: Iterable[str] = (),
        resolved: Resolved | None = None,
    ) -> None:
        certain = place.known or (resolved is not None and resolved.entry is not None)
        given = tuple(name for name in found.names if name not in place.provided or name in value)
        allowed = (*given, *place.extra, *accepted)
        if found.open:
            self._warn_of_slips(value, path, allowed)
        else:
            self._check_keys(value, path, allowed, "error" if certain else "warning")
        # annotations of others are not always as honest as those of plugins, which are held to them
        own = resolved is not None and resolved.entry is not None
        for misfit in misfits(found.parameters, value):
            if misfit.parameter.name in ("begin", "end") and value.get("convert_to_iter_based"):
                continue  # half an epoch is a whole number of iterations
            # a fraction for an int: mmseg's PolyLRRatio says so, and means it
            held = isinstance(misfit.value, str) or not _HELD.isdisjoint(found.file.parts if found.file else ())
            level = "error" if own or (misfit.certain and place.known and held) else "warning"
            where, expected = f"{path}.{misfit.parameter.name}", misfit.parameter.annotation
            self._report.add(Finding(level, where, "a value of another type", expected, repr(misfit.value)[:80]))
        if not place.known or place.called:
            return  # whoever builds it may pass the rest
        missing = [name for name in found.required if name not in value and name not in place.provided]
        if missing:
            self._report.error(
                path, f"{found.name} needs {' and '.join(map(repr, missing))}", expected=str(found), got=_keys(value)
            )

    def _warn_of_slips(self, value: Mapping[str, Any], path: str, allowed: tuple[str, ...]) -> None:
        for key in value:
            near = slip_of(str(key), set(allowed).difference(value))
            if key not in allowed and key not in _BUILDER_KEYS and near:
                self._report.warn(f"{path}.{key}", f"{key!r} is no parameter, and **kwargs would swallow it", near=near)

    def _check_keys(self, value: Mapping[str, Any], path: str, allowed: tuple[str, ...], level: str) -> None:
        for key in value:
            if key in allowed or key in _BUILDER_KEYS:
                continue
            expected = "one of " + ", ".join(allowed) if 0 < len(allowed) <= _SHOWN_NAMES else None
            fix = self._bases.why_here(path, key, value.get("type"))
            if key == "_delete_":
                expected, fix = None, "remove it: no base config has anything here that it could replace"
            near = near_matches(str(key), allowed)
            self._report.add(Finding(level, f"{path}.{key}", f"unknown key {key!r}", expected, None, near, fix))


def _keys(value: Mapping[str, Any]) -> str:
    return ", ".join(str(key) for key in value if key != "type") or "nothing"
