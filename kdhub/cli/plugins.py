"""List plugins, installed or given by -p, and what is wrong with those that did not load or are faulty.

A faulty plugin loads, but something that it offers cannot be used, or it is a burden to others.

Examples:
  kdhub plugins list
  kdhub plugins list --strict        exit code 1 if any is not ok, for CI
  kdhub plugins info kdhub           hooks, source, and the traceback of one that is broken
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from typing import Any

from kdhub.cli.configs import warn_of_switches
from kdhub.cli.list import plural
from kdhub.cli.output import print_json, print_table
from kdhub.cli.parser import add_json
from kdhub.errors import UsageError, near_matches
from kdhub.plugins import Loaded, Switches, load_plugins
from kdhub.plugins.faults import faults

_STYLES = {
    "ok": "green",
    "disabled": "dim",
    "faulty": "yellow",
    "broken": "red",
    "incompatible": "red",
    "conflict": "red",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("action", nargs="?", choices=("list", "info"), default="list", help="all, or all about one")
    parser.add_argument("name", nargs="?", metavar="NAME", help="the plugin that info is about")
    parser.add_argument("--strict", action="store_true", help="exit code 1 if any plugin is not ok")
    add_json(parser)


def run(args: argparse.Namespace, switches: Switches) -> int:
    """List, or explain one."""
    if (args.action == "info") != (args.name is not None):
        wanted = "the name of a plugin" if args.name is None else "no name"
        raise UsageError(f"kdhub plugins {args.action}", expected=wanted, fix="see `kdhub plugins --help`")
    manager = load_plugins(switches)
    warn_of_switches(manager)
    rows = tuple(map(_judged, manager.plugins))
    if args.action == "info":
        return _info(args.name, rows, args.json)
    if args.json:
        print_json([as_json(row) for row in rows])
    else:
        print_table(
            ("NAME", "VERSION", "STATUS", "TASKS", "COMPONENTS", "SUMMARY"),
            [(row.scope, row.source.version, row.status, _tasks(row), _counts(row), _summary(row)) for row in rows],
            _STYLES,
        )
    return 1 if args.strict and any(row.status != "ok" for row in rows) else 0


def _info(name: str, rows: tuple[Loaded, ...], json: bool) -> int:
    found = [row for row in rows if name in (row.scope, row.source.dist)]
    if not found:
        names = [row.scope for row in rows]
        raise UsageError(f"no plugin {name!r}", expected=f"one of {', '.join(names)}", near=near_matches(name, names))
    if json:
        print_json([as_json(row) for row in found] if len(found) > 1 else as_json(found[0]))
        return 0
    for row in found:
        facts = {
            "distribution": f"{row.source.dist} {row.source.version}".strip(),
            "status": row.status,
            "reason": row.reason,
            "fix": "" if row.traceback else row.fix,
            "summary": row.info.summary if row.info else "",
            "tasks": _tasks(row),
            "components": _counts(row),
            "recipes": ", ".join(f"{row.scope}:{recipe.name}" for recipe in row.recipes),
            "commands": ", ".join(f"kdhub {command.name}" for command in row.commands),
            "hooks": ", ".join(row.hooks),
            "source": row.path,
        }
        print(row.scope)
        for label, value in facts.items():
            if value:
                print(f"  {label:<12}  {value}")
        if row.traceback:
            print(f"\n{row.traceback.rstrip()}")
    return 0


def as_json(row: Loaded) -> dict[str, Any]:
    """Return all that is known of a plugin, as plain values."""
    return {
        "name": row.scope,
        "distribution": row.source.dist,
        "version": row.source.version,
        "status": row.status,
        "reason": row.reason,
        "fix": row.fix,
        "summary": row.info.summary if row.info else "",
        "tasks": list(row.info.tasks) if row.info else [],
        "components": _by_kind(row),
        "recipes": [recipe.name for recipe in row.recipes],
        "commands": [command.name for command in row.commands],
        "hooks": list(row.hooks),
        "path": row.path,
        "traceback": row.traceback,
    }


def _by_kind(row: Loaded) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for component in row.components:
        kinds.setdefault(component.kind, []).append(component.name)
    return kinds


def _counts(row: Loaded) -> str:
    counts = Counter(component.kind for component in row.components)
    return ", ".join(f"{count} {kind if count == 1 else plural(kind)}" for kind, count in counts.items())


def _tasks(row: Loaded) -> str:
    return ", ".join(row.info.tasks) if row.info else ""


def _judged(row: Loaded) -> Loaded:
    told = "; ".join(f"{fault.detail} -> {fault.fix}" for fault in faults(row))
    return replace(row, status="faulty", reason=told) if told else row


def _summary(row: Loaded) -> str:
    if row.fix:
        return f"{row.reason} -> {row.fix}"
    return row.reason or (row.info.summary if row.info else "")
