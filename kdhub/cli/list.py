"""List what configs can name: components of one kind, recipes, or commands.

Without KIND: the kinds, with how many there are of each.

Examples:
  kdhub list
  kdhub list losses
  kdhub list adapters --scope kdhub
  kdhub list recipes --json
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from kdhub.cli.output import print_json, print_table
from kdhub.cli.parser import add_json
from kdhub.errors import UsageError, near_matches
from kdhub.plugins import PluginManager, Switches, load_plugins
from kdhub.records import KINDS

_PLURALS = {"loss": "losses", "index": "indexes", "collate": "collates"}
_OTHERS = ("recipes", "commands")

Rows = Sequence[Mapping[str, Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "kind", nargs="?", metavar="KIND", help="a kind of component, singular or plural; or recipes, commands"
    )
    parser.add_argument("--scope", help="only what this plugin provides")
    add_json(parser)


def run(args: argparse.Namespace, switches: Switches) -> int:
    """List."""
    manager = load_plugins(switches)
    scopes = [row.scope for row in manager.plugins]
    if args.scope is not None and args.scope not in scopes:
        near = near_matches(args.scope, scopes)
        raise UsageError(f"no plugin {args.scope!r}", expected=f"one of {', '.join(scopes)}", near=near)
    rows = _kinds(manager, args.scope) if args.kind is None else _rows(_singular(args.kind), manager, args.scope)
    if args.json:
        print_json(rows)
    elif rows:
        shown = [key for key in rows[0] if key not in ("path", "target")]
        print_table([key.upper() for key in shown], [[str(row[key]) for key in shown] for row in rows])
        if args.kind is None:
            print("\n`kdhub list KIND` lists them, `kdhub info SCOPE.NAME` explains one.")
    else:
        print(f"no {args.kind} in {args.scope or 'any plugin'}; `kdhub list` shows the kinds there are")
    return 0


def _singular(word: str) -> str:
    kinds = {name: kind for kind in KINDS for name in (kind, plural(kind))} | {name: name for name in _OTHERS}
    kinds |= {"recipe": "recipes", "command": "commands"}
    if word not in kinds:
        raise UsageError(
            f"no kind {word!r}",
            expected=f"one of {', '.join((*map(plural, KINDS), *_OTHERS))}",
            near=near_matches(word, kinds),
        )
    return kinds[word]


def plural(kind: str) -> str:
    """Return the plural of a kind, as people type it."""
    return _PLURALS.get(kind, f"{kind}s")


def _kinds(manager: PluginManager, scope: str | None) -> Rows:
    names = (*KINDS, *_OTHERS)
    counts = {name: len(_rows(name, manager, scope)) for name in names}
    return [{"kind": plural(name) if name in KINDS else name, "count": counts[name]} for name in names if counts[name]]


def _rows(kind: str, manager: PluginManager, scope: str | None) -> Rows:
    if kind == "recipes":
        return [
            {
                "name": f"{source.plugin}:{recipe.name}",
                "task": recipe.task,
                "teacher": recipe.teacher,
                "student": recipe.student,
                "budget": recipe.budget,
                "summary": recipe.summary,
                "path": recipe.path,
            }
            for source, recipe in manager.recipes()
            if scope in (None, source.plugin)
        ]
    if kind == "commands":
        return [
            {
                "name": f"kdhub {command.name}",
                "plugin": source.plugin,
                "summary": command.summary,
                "target": command.target,
            }
            for source, command in manager.commands()
            if scope in (None, source.plugin)
        ]
    return [
        {
            "name": entry.type,
            "summary": entry.component.summary,
            "paper": entry.component.paper,
            "target": entry.component.target,
        }
        for entry in manager.components(kind, scope)
    ]
