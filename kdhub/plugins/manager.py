"""The one place that knows all plugins: rows to list, components to find, and a typed method for each run-time hook."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from kdhub.errors import PluginError, UsageError, in_short, near_matches
from kdhub.plugins import unknown
from kdhub.plugins.calls import call_first, call_one, trace
from kdhub.plugins.entry import Entry
from kdhub.plugins.faults import faults, package_folder, unusable
from kdhub.plugins.load import Loaded
from kdhub.plugins.manifest import plugin_manager
from kdhub.plugins.names import KNOWN_DISTRIBUTIONS, PLUGIN_NAME, RESERVED_SCOPES
from kdhub.plugins.rows import load_rows
from kdhub.plugins.scan import Scan, scan
from kdhub.plugins.switches import Switches
from kdhub.records import Command, Diagnostic, Recipe, Source

if TYPE_CHECKING:
    from torch import nn

    from kdhub.findings import Report

logger = logging.getLogger(__name__)


def load_plugins(switches: Switches | None = None) -> PluginManager:
    """Scan, judge and load every installed plugin; imports neither torch nor mmengine.

    Args:
        switches: The user's choice; ``None`` reads the environment.

    Raises:
        UsageError: If a switch names a file or module that is not there.
    """
    if switches is None:
        switches, _ = Switches.read((), os.environ)
    return PluginManager(scan(), switches)


class PluginManager:
    """All plugins of this process.

    Args:
        scanned: What is installed.
        switches: The user's choice.
        modules: Manifest modules that are already there, by plugin name; for tests.

    Attributes:
        switches: The user's choice.
        plugins: Every row of ``kdhub plugins list``, the built-in plugin first.
    """

    def __init__(self, scanned: Scan, switches: Switches, modules: Mapping[str, ModuleType] | None = None) -> None:
        self.switches = switches
        self._problems = scanned.problems
        self._hooks = plugin_manager()
        if switches.trace:
            trace(self._hooks)
        self.plugins: tuple[Loaded, ...] = load_rows(scanned.found, switches, self._hooks, modules or {})
        self._rows: dict[str, Loaded] = {}
        # of several rows of one name, the one that holds it
        for row in sorted(self.plugins, key=lambda row: (row.status != "ok", row.status == "conflict")):
            if row.status == "ok" or row.scope not in RESERVED_SCOPES:
                self._rows.setdefault(row.scope, row)
        for row in self.plugins:
            if not PLUGIN_NAME.fullmatch(row.scope) and row.package not in RESERVED_SCOPES:
                self._rows.setdefault(row.package, row)  # its users' configs can only name its package
        self._entries = tuple(
            Entry(row.scope, component, row.source, row.extras) for row in self.plugins for component in row.components
        )
        self._named: dict[str, dict[str, Entry]] = {row.scope: {} for row in self.plugins}
        for entry in self._entries:
            self._named[entry.scope][entry.component.name] = entry

    # ------------------------------------------------------------ what there is

    def components(self, kind: str | None = None, scope: str | None = None) -> tuple[Entry, ...]:
        """Return the components of loaded plugins, of one kind or scope if given."""
        return tuple(
            entry for entry in self._entries if kind in (None, entry.component.kind) and scope in (None, entry.scope)
        )

    def recipes(self) -> tuple[tuple[Source, Recipe], ...]:
        """Return the recipes of loaded plugins with their source."""
        return tuple((row.source, recipe) for row in self.plugins for recipe in row.recipes)

    def commands(self) -> tuple[tuple[Source, Command], ...]:
        """Return the sub-commands of loaded plugins with their source; no name is there twice."""
        return tuple((row.source, command) for row in self.plugins for command in row.commands)

    def owns(self, type_: str) -> bool:
        """Tell whether a type has the form ``scope.Name`` and the scope is a plugin's: installed in any state, or known."""
        scope, _, name = type_.partition(".")
        return bool(name) and "." not in name and (scope in self._rows or scope in KNOWN_DISTRIBUTIONS)

    def find(self, type_: str, kind: str | Collection[str] | None = None, *, where: str | None = None) -> Entry:
        """Return the component that ``type_`` names.

        Args:
            type_: ``"scope.Name"``.
            kind: Kind, or kinds, that have a place here; ``None`` takes any.
            where: Place in the config, for the message.

        Raises:
            UnknownComponentError: Says which it is: plugin not installed, installed but not ok, no such name, or a name of
                another kind.
        """
        kinds = (kind,) if isinstance(kind, str) else tuple(kind or ())
        scope, dot, name = type_.partition(".")
        if not dot:
            raise unknown.no_scope(type_, self._entries, where)
        self._row(scope, type_, where)
        entry = self._named[scope].get(name)
        if entry is None:
            raise unknown.no_such_name(type_, self._named[scope], kinds, where)
        if kinds and entry.component.kind not in kinds:
            raise unknown.wrong_kind(type_, entry, kinds, where)
        return entry

    def unusable(self, entry: Entry) -> tuple[tuple[str, str], ...]:
        """Find why a component cannot be imported, without importing it: what is wrong, and what to do, for each reason."""
        return unusable(self._rows[entry.scope], entry.component)

    def recipe(self, reference: str) -> Path:
        """Return the path of the config that ``"scope:name"`` names.

        Raises:
            UnknownComponentError: If the plugin is not there or not ok.
            UsageError: If it has no such recipe.
            PluginError: If the recipe's file is missing from the plugin's package.
        """
        scope, _, name = reference.partition(":")
        row = self._row(scope, reference, None)
        recipes = {recipe.name: recipe for recipe in row.recipes}
        if name not in recipes:
            raise UsageError(
                f"plugin {scope!r} has no recipe {name!r}",
                expected=f"one of {', '.join(recipes)}" if recipes else None,
                near=[f"{scope}:{match}" for match in near_matches(name, recipes)],
            )
        path = package_folder(row) / recipes[name].path
        if not path.is_file():
            source = row.source
            what = f"recipe {name!r}: no file {path}"
            raise PluginError(what, plugin=scope, dist=source.dist, version=source.version)
        return path

    def _row(self, scope: str, reference: str, where: str | None) -> Loaded:
        row = self._rows.get(scope)
        if row is None:
            raise unknown.not_installed(reference, scope, self.plugins, where)
        if row.status != "ok":
            raise unknown.not_ok(reference, row, where)
        return row

    # ------------------------------------------------------------ hooks, in the order of hookspec.py

    def check_config(self, cfg: Mapping[str, Any], report: Report) -> None:
        """Let every plugin add its findings on a config; one that raises becomes a finding itself."""
        for plugin in self._implementers("kdhub_check_config"):
            try:
                call_one(self._hooks, plugin, "kdhub_check_config", cfg=cfg, report=report)
            except Exception as error:  # the findings of the other plugins must still be shown
                if self.switches.raise_errors:
                    raise
                report.error(
                    "", f"{self._describe(plugin)}: kdhub_check_config raised {in_short(error)}", plugin=plugin
                )

    def doctor(self) -> tuple[Diagnostic, ...]:
        """Return the diagnostics of all plugins, and of those that are not there as they should be."""
        diagnostics = list(self._problems)
        for row in self.plugins:
            diagnostics += faults(row)
            if row.status not in ("ok", "disabled"):
                diagnostics.append(Diagnostic("fail", _describe(row.source), f"{row.status}: {row.reason}", row.fix))
        for plugin in self._implementers("kdhub_doctor"):
            diagnostics += self._diagnose(plugin)
        return tuple(diagnostics)

    def _diagnose(self, plugin: str) -> tuple[Diagnostic, ...]:
        try:
            # a generator runs here, inside the isolation of its plugin
            found = tuple(one for result in call_one(self._hooks, plugin, "kdhub_doctor") for one in result)
            wrong = [one for one in found if not isinstance(one, Diagnostic)]
            if wrong:
                raise TypeError(f"it must return Diagnostics, got {wrong[0]!r}")
        except Exception as error:
            if self.switches.raise_errors:
                raise
            return (Diagnostic("fail", self._describe(plugin), f"kdhub_doctor raised {in_short(error)}"),)
        return found

    def propose_adapter(
        self, student_shape: tuple[int, ...], teacher_shape: tuple[int, ...]
    ) -> list[dict[str, Any]] | None:
        """Return the ``adapter`` fragment that brings one shape into the other, or ``None`` if nobody knows one."""
        return call_first(
            self._hooks,
            self._describe,
            "kdhub_propose_adapter",
            student_shape=student_shape,
            teacher_shape=teacher_shape,
        )

    def export_student(
        self, student: nn.Module, path: Path, cfg: Mapping[str, Any], metainfo: Mapping[str, Any]
    ) -> str | None:
        """Write the bare student into the empty folder ``path``; return the line of Python that loads it."""
        return call_first(
            self._hooks,
            self._describe,
            "kdhub_export_student",
            student=student,
            path=path,
            cfg=cfg,
            metainfo=metainfo,
        )

    def run_summary(self, run: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return each plugin's own lines for the run card, by plugin; one that raises is left out."""
        lines: dict[str, dict[str, Any]] = {}
        for plugin in self._implementers("kdhub_run_summary"):
            try:
                for result in call_one(self._hooks, plugin, "kdhub_run_summary", run=run):
                    lines.setdefault(plugin, {}).update(result)
            except Exception:  # a run that took a day must not end on its summary
                if self.switches.raise_errors:
                    raise
                logger.debug("%s: kdhub_run_summary failed", self._describe(plugin), exc_info=True)
        return lines

    def _implementers(self, hook: str) -> list[str]:
        return [row.scope for row in self.plugins if hook in row.hooks]

    def _describe(self, plugin: str) -> str:
        return _describe(self._rows[plugin].source)


def _describe(source: Source) -> str:
    return f"plugin {source.plugin!r} ({f'{source.dist} {source.version}'.strip()})"
