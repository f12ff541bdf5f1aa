"""The check of a whole config, before anything is built: every finding at once, each with its exact key path."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from kdhub.config.check.components import ComponentCheck
from kdhub.config.check.distilling import check_distiller
from kdhub.config.check.inheritance import Bases
from kdhub.config.check.missing_files import warn_of_missing_files, warn_of_missing_weights
from kdhub.config.check.numbers import check_numbers
from kdhub.config.check.plain_values import fits, plain_types
from kdhub.config.check.top_level import check_top_level
from kdhub.config.read.predecessors import KEY as PREDECESSORS, predecessors, with_folders
from kdhub.config.read.writable import check_writable
from kdhub.config.types.places import ROOT, Place, Spot
from kdhub.config.types.resolve import Resolver, SourceResolver
from kdhub.errors import UsageError
from kdhub.findings import Finding, Report
from kdhub.plugins import PluginManager
from kdhub.plugins.classes import with_names

_NEVER_SCHEDULED = ("adapter", "tap", "teacher")
"""Kinds whose arguments nobody drives; models and data sets may build a schedule for themselves."""


def check_config(cfg: Any, manager: PluginManager, deep: bool = False) -> Report:
    """Check a config whole.

    Args:
        cfg: A mapping, or mmengine's ``Config``, whose file then tells where inherited keys come from.
        manager: Knows the plugins.
        deep: Import what the config names, to look types up in mmengine's registries and to read signatures as Python
            binds them. Without it nothing is imported, and a type that no manifest and no source file shows passes.

    Returns:
        All findings. Nothing is raised for anything the config says.
    """
    report = Report()
    tree: Mapping[str, Any] = with_names(dict(cfg) if isinstance(cfg, Mapping) else cfg.to_dict(), manager)
    walk = _Walk(report, _resolver(tree, manager, deep), Bases(getattr(cfg, "filename", None)), manager)
    for key in check_top_level(tree, getattr(cfg, "filename", None), manager, report):
        walk.visit(tree[key], key, ROOT.child(key))
    warn_of_missing_weights(tree.get("load_from"), "load_from", manager, report)
    check_numbers(tree, report)
    check_writable(tree, "", report)
    manager.check_config(tree, report)
    if tree.get(PREDECESSORS):
        _check_predecessors(cfg, manager, deep, report)
    return report


def _check_predecessors(cfg: Any, manager: PluginManager, deep: bool, report: Report) -> None:
    """Check the configs that have to run first; the path of a finding then begins with ``NAME:``, as an override's does."""
    try:
        before = predecessors(cfg)
        with_folders(cfg, {name: own.work_dir for name, own in before.items()})
    except UsageError as error:
        report.add(Finding.of(error, error.where or PREDECESSORS))
        return
    for name, own in before.items():
        for finding in check_config(own, manager, deep=deep).findings:
            report.add(replace(finding, path=f"{name}:{finding.path}"))


def _resolver(tree: Mapping[str, Any], manager: PluginManager, deep: bool) -> Resolver:
    default_scope = str(tree.get("default_scope") or "mmengine")
    inherited = sorted(set(_scopes(tree)))
    pending = _pending(tree.get("custom_imports"))
    source = SourceResolver(manager, default_scope, custom_imports=pending, inherited=inherited)
    if not deep or pending:  # a predecessor's modules have not run: the registries do not know their names yet
        return source
    from kdhub.config.check.deep import ImportResolver

    return ImportResolver(source, default_scope)


def _pending(spec: Any) -> bool:
    """Whether modules that may register anything are yet to be imported; once they are, the registries know the names."""
    names = spec.get("imports") if isinstance(spec, Mapping) else spec
    names = names if isinstance(names, list | tuple) else [names] if names else []
    return any(str(name) not in sys.modules for name in names)


def _scopes(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(scope := value.get("_scope_"), str):
            yield scope
        for child in value.values():
            yield from _scopes(child)
    elif isinstance(value, list | tuple):
        for child in value:
            yield from _scopes(child)


class _Walk:
    """Goes through a config and hands each dict to what knows its place."""

    def __init__(self, report: Report, resolver: Resolver, bases: Bases, manager: PluginManager) -> None:
        self._report = report
        self._manager = manager
        self._components = ComponentCheck(report, resolver, bases, manager)

    def visit(self, value: Any, path: str, spot: Spot, owner: str | None = None) -> None:
        """Check a value and all below it.

        Args:
            value: What stands in the config.
            path: Its key path, with dots also before list indices, as ``--cfg-options`` wants it.
            spot: Where it stands.
            owner: Kind of the component that it is an argument of.
        """
        if wanted := _wanted(value, spot.place):
            message, expected = wanted
            self._report.error(path, message, expected=expected, got=repr(value)[:80])
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                self.visit(item, f"{path}.{index}", spot.item(), owner)
        elif isinstance(value, Mapping):
            entry = self._components.check(value, path, spot.place)
            warn_of_missing_files(value, path, spot.place, self._manager, self._report)
            kind = entry.component.kind if entry is not None else None
            if kind == "schedule" and (path.startswith("optim_wrapper.") or owner in _NEVER_SCHEDULED):
                self._report.error(
                    path,
                    "no schedule is driven here",
                    expected="a plain value",
                    fix="schedules drive weights and numbers of a loss; a learning rate has param_scheduler",
                )
            if kind == "distiller":
                check_distiller(value, path, self._manager, self._report)
            inside = spot.inside(value, kind)
            for key, child in value.items():
                if key not in ("type", "_scope_"):
                    self.visit(child, f"{path}.{key}", inside.child(str(key)), kind)


def _wanted(value: Any, place: Place) -> tuple[str, str] | None:
    """Return what is wrong with a value whose kind, a dict, a list or a plain value, has no place here, and what is expected."""
    if not isinstance(value, Mapping | list | tuple | str | int | float):
        return None
    if place.plain:
        fitting = any(fits(value, name) for name in plain_types(place.plain))
        return None if fitting else ("a value of another type", place.plain)
    if not (place.known or place.keys) or isinstance(value, Mapping):
        return None
    if isinstance(value, list | tuple):
        return None if place.many else ("a list stands where one dict belongs", "a dict")
    if place.scalar:
        return None
    return "not a component", "a dict with 'type'" if place.typed or place.kinds else "a dict"
