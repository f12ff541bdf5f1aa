"""What is wrong with a plugin that loads: targets, recipe files and imports, looked up without importing any of it."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from kdhub.errors import did_you_mean, near_matches
from kdhub.plugins.load import Loaded
from kdhub.plugins.modules import (
    find_module,
    install_missing,
    module_file,
    names_in,
    near_modules,
    origin,
    parse,
)
from kdhub.plugins.names import BUILTIN, HEAVY, PLUGIN_NAME, entry_line
from kdhub.records import Command, Component, Diagnostic


def faults(row: Loaded) -> tuple[Diagnostic, ...]:
    """Find what a loaded plugin offers and no config can use, and what makes it a burden to others.

    Looks at source files only. What a module defines at run time is taken for granted.

    Args:
        row: The plugin; the built-in one and one that is not ``ok`` have no faults of this kind.

    Returns:
        ``fail`` for a target, import or recipe file that is not there, ``warn`` for a heavy manifest or a scope that is not
        the name of the package. A module that an extra provides may be absent: the user chooses the extras.
    """
    if row.status != "ok" or row.source.plugin == BUILTIN:
        return ()
    title = f"plugin {row.scope!r} ({row.source.dist} {row.source.version})"
    found = [*_naming(row), *_weight(row)]
    offered: tuple[Component | Command, ...] = (*row.components, *row.commands)
    optional = {module for modules in row.extras.values() for module in modules}
    for named in offered:
        label = f"{row.scope}.{named.name}" if isinstance(named, Component) else f"command {named.name!r}"
        found += [("fail", f"{label}: {what}", fix) for what, fix in _unusable(named, row, optional)]
    found += [("fail", what, fix) for what, fix in _recipes(row)]
    return tuple(Diagnostic(level, title, detail, fix) for level, detail, fix in dict.fromkeys(found))


def unusable(row: Loaded, named: Component) -> tuple[tuple[str, str], ...]:
    """Find why a component of a loaded plugin cannot be imported: what is wrong, and what to do, for each reason."""
    return () if row.source.plugin == BUILTIN else tuple(_unusable(named, row, ()))


def package_folder(row: Loaded) -> Path:
    """Return the folder of a plugin's package, below which its recipes lie."""
    spec = find_module(row.package)
    locations = list(spec.submodule_search_locations or ()) if spec else []
    return Path(locations[0]) if locations else Path(row.path).parent


def _imported(module: str) -> Iterator[tuple[str, str]]:
    """Yield each module that importing a plugin's ``module`` surely imports, with the plugin's own module that does so."""
    parts = module.split(".")
    waiting = [".".join(parts[: end + 1]) for end in range(len(parts))]
    seen = set()
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        for name in _imports_of(one):
            yield name, one
            if _is_own(name, module):
                waiting.append(name)


def _imports_of(module: str) -> Iterator[str]:
    """Yield what is imported whenever the module is: an import inside ``try`` or ``if`` may be meant to fail."""
    file = module_file(module)
    for node in parse(file).body if file is not None else ():
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and file is not None:
            source = origin(module, file, node)
            yield source
            inner = (f"{source}.{alias.name}" for alias in node.names if _is_own(source, module))
            yield from (name for name in inner if find_module(name) is not None)


def _is_own(name: str, module: str) -> bool:
    return name.partition(".")[0] == module.partition(".")[0]


def _naming(row: Loaded) -> Iterator[tuple[str, str, str]]:
    if row.scope != row.package and PLUGIN_NAME.fullmatch(row.package):
        detail = f"the entry name {row.scope!r} is not the import package {row.package!r}"
        yield "warn", detail, entry_line(row.scope, row.module)


def _weight(row: Loaded) -> Iterator[tuple[str, str, str]]:
    if not row.source.version:  # a one-off plugin is loaded only when it is asked for
        return
    imported = {name for name, _ in _imported(row.module)}
    heavy = {one for one in HEAVY if any(f"{name}.".startswith(f"{one}.") for name in imported)} | {*row.heavy}
    if heavy:
        detail = f"its manifest imports {', '.join(sorted(heavy))}, so every kdhub command of every user waits for it"
        yield "warn", detail, "name targets as 'module:attribute', and import them nowhere in the manifest"


def _unusable(named: Component | Command, row: Loaded, optional: Collection[str]) -> Iterator[tuple[str, str]]:
    module, _, attribute = named.target.partition(":")
    if find_module(module) is None:
        yield f"target {named.target!r}: no module {module!r}", _correct(near_modules(module))
        return
    names, head = names_in(module), attribute.partition(".")[0]
    if names is not None and head not in names:
        yield f"target {named.target!r}: {module} defines no {head!r}", _correct(near_matches(head, names))
    for name, importer in _imported(module):
        head = name.partition(".")[0]
        if find_module(name if _is_own(name, module) else head) is None and head not in optional:
            fix = install_missing(name, row.package, row.source.dist, row.extras)
            yield f"{importer} imports {name!r}, which is not there", fix


def _recipes(row: Loaded) -> Iterator[tuple[str, str]]:
    folder = package_folder(row)
    for recipe in row.recipes:
        if not (folder / recipe.path).is_file():
            there = [path.relative_to(folder).as_posix() for path in folder.rglob("*.py")]
            what = f"recipe {row.scope}:{recipe.name}: no file {recipe.path!r} in {folder}"
            yield what, _correct(near_matches(recipe.path, there))


def _correct(near: Iterable[str]) -> str:
    return did_you_mean(near) or "correct its record in the manifest"
