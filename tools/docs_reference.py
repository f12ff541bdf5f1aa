"""The pages of the reference that are written from the code: commands, config keys, recipes, components, records, licences.

`tools/docs_site.py` puts them into the documentation site. They are not kept in the repository, as they would fall behind it.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
from collections.abc import Iterator
from dataclasses import is_dataclass
from itertools import groupby

from docs_keys import KEYS
from docs_licences import licences

from kdhub import records
from kdhub.cli.commands import COMMANDS
from kdhub.cli.list import plural
from kdhub.cli.main import main
from kdhub.cli.usage import usage
from kdhub.config.types.places import DISTILLER, TOP_LEVEL, Place
from kdhub.config.types.signature import signature
from kdhub.plugins import Entry, PluginManager

KINDS_FIRST = ("loss", "tap", "adapter", "teacher", "schedule", "model")
"""What people look for first in a page of components."""


def pages(manager: PluginManager) -> Iterator[tuple[str, str]]:
    """Write every generated page.

    Args:
        manager: The loaded plugins.

    Yields:
        Path below ``docs/reference``, and the text in Markdown.
    """
    yield "commands.md", commands(manager)
    yield "config-keys.md", config_keys()
    yield "recipes.md", recipes(manager)
    yield "records.md", record_fields()
    yield "licences.md", licences()
    for scope in sorted({entry.source.plugin for entry in _entries(manager)}):
        yield f"components/{scope}.md", components(manager, scope)


def commands(manager: PluginManager) -> str:
    """Return the page of all commands: their own ``--help``."""
    names = [*COMMANDS, *(command.name for _, command in manager.commands())]
    parts = ["# Commands", "", "What `kdhub COMMAND --help` says, of the core and of the plugins in this checkout.", ""]
    for name in names:
        parts += [f"## kdhub {name}", "", "```text", _help(name), "```", ""]
    return "\n".join(parts)


def config_keys() -> str:
    """Return the page of the keys that the check of a config knows."""
    parts = [
        "# Config keys",
        "",
        "Every key that somebody reads at the top of a config, from the tables by which `kdhub check` judges one. `train_`, `val_` and `test_` keys come",
        "in threes: all of a kind, or none. Any other key at the top is a helper variable.",
        "",
    ]
    for title, table in (("At the top", TOP_LEVEL), ("In a `kdhub.Distiller`", DISTILLER)):
        parts += [f"## {title}", "", "| key | what it is | what may stand there |", "|---|---|---|"]
        parts += [
            f"| `{key}` | {KEYS[key]} | {_may_stand(place)} |" for key, place in table.items() if not _is_variant(key)
        ]
        parts.append("")
    return "\n".join(parts)


def _is_variant(key: str) -> bool:
    """Whether a row of a table repeats another: each item of a dict of taps, validation data beside training data."""
    return key.startswith(("val_dataloader.", "test_dataloader.")) or key.endswith(
        (".student.*", ".teacher.*", ".adapter.*")
    )


def _may_stand(place: Place) -> str:
    """Write one place of a config in words."""
    said = [f"a {kind.replace('_', ' ')} of a plugin" for kind in place.kinds]
    said += [f"a `type` of mmengine's {', '.join(place.roots)}"] if place.roots else []
    said += [f"without `type`: `{place.implicit.replace(':', '.')}`"] if place.implicit else []
    said += [f"`dict` of {', '.join(f'`{key}`' for key in place.keys)}"] if place.keys else []
    said += [f"`{place.plain}`".replace("|", "or")] if place.plain else []
    said += ["a number"] if place.scalar and "schedule" in place.kinds else ["a path as text"] if place.scalar else []
    said += ["or a list of them"] if place.many else []
    return "; ".join(said) or "see the text beside it"


def recipes(manager: PluginManager) -> str:
    """Return the table of all recipes."""
    parts = ["# Recipes", "", "`kdhub train NAME` trains one. `kdhub list recipes` shows this table.", ""]
    parts += ["| name | task | teacher | student | time | what |", "|---|---|---|---|---|---|"]
    parts += [
        f"| `{source.plugin}:{one.name}` | {one.task} | {one.teacher} | {one.student} | {one.budget} | {one.summary} |"
        for source, one in manager.recipes()
    ]
    return "\n".join([*parts, ""])


def record_fields() -> str:
    """Return the page of the records that manifest hooks return."""
    found = [value for value in vars(records).values() if inspect.isclass(value) and is_dataclass(value)]
    parts = [
        "# Records",
        "",
        "What the hooks of a manifest return, from `kdhub.api`. [Hooks](hooks.md) says which.",
        "",
    ]
    for record in found:
        parts += [f"## {record.__name__}", "", "```text", inspect.getdoc(record) or "", "```", ""]
    return "\n".join(parts)


def components(manager: PluginManager, scope: str) -> str:
    """Return the page of one scope: every component as `kdhub info` explains it."""
    entries = [entry for entry in _entries(manager) if entry.source.plugin == scope]
    parts = [f"# {scope}", "", f"Every component that a config can name as `{scope}.NAME`.", ""]
    for kind, group in groupby(entries, key=lambda entry: entry.component.kind):
        parts += [f"## {plural(kind)}".replace("_", " "), ""]
        for entry in group:
            parts += _component(entry)
    return "\n".join(parts)


def _component(entry: Entry) -> list[str]:
    component, found = entry.component, signature(entry.component.target)
    parts = [f"### {entry.type}", "", f"{component.summary}.", "", "```python", usage(entry, found), "```", ""]
    if component.paper:
        parts += [f"Source: {component.paper}.", ""]
    if found is not None:
        taken = [str(parameter) for parameter in found.parameters] + (["**kwargs"] if found.open else [])
        parts += ["```text", f"{found.name}({', '.join(taken)})", "", found.doc.strip(), "```", ""]
    return parts


def _entries(manager: PluginManager) -> list[Entry]:
    kinds = dict.fromkeys((*KINDS_FIRST, *records.KINDS))
    return [entry for kind in kinds for entry in manager.components(kind, None)]


def _help(name: str) -> str:
    told = io.StringIO()
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "110"
    try:
        with contextlib.redirect_stdout(told), contextlib.suppress(SystemExit):
            main([name, "--help"])
    finally:
        os.environ.pop("COLUMNS") if before is None else os.environ.update(COLUMNS=before)
    return told.getvalue().strip()
