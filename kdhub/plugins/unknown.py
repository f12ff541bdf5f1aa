"""Why a ``type='scope.Name'`` cannot be used here: one message for each of the causes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from kdhub.errors import UnknownComponentError, near_matches
from kdhub.plugins.entry import Entry
from kdhub.plugins.load import Loaded
from kdhub.plugins.names import KNOWN_DISTRIBUTIONS, PLUGIN_NAME, install_known


def no_scope(type_: str, entries: Iterable[Entry], where: str | None) -> UnknownComponentError:
    """The type has no scope, or is no string of the form ``scope.Name``."""
    same_name = [entry.type for entry in entries if entry.component.name == type_]
    return UnknownComponentError(
        f"unknown component {type_!r}", where=where, expected="'scope.Name'", near=same_name, fix="see `kdhub list`"
    )


def not_installed(type_: str, scope: str, rows: Iterable[Loaded], where: str | None) -> UnknownComponentError:
    """No installed plugin has that scope."""
    dist = KNOWN_DISTRIBUTIONS.get(scope)
    if dist:
        return UnknownComponentError(
            f"{type_!r} is in plugin {scope!r}, which is not installed", where=where, fix=install_known(dist)
        )
    installed = list(dict.fromkeys(row.scope for row in rows if PLUGIN_NAME.fullmatch(row.scope)))
    rest = type_.partition(".")[2]
    near = [f"{name}.{rest}" for name in near_matches(scope, {*installed, *KNOWN_DISTRIBUTIONS})]
    return UnknownComponentError(
        f"{type_!r}: no installed plugin has the scope {scope!r}",
        where=where,
        expected=f"one of {', '.join(installed)}",
        near=near,
    )


def not_ok(type_: str, row: Loaded, where: str | None) -> UnknownComponentError:
    """The plugin is installed but not loaded."""
    source = f"{row.source.dist} {row.source.version}".strip()
    return UnknownComponentError(
        f"{type_!r}: plugin {row.scope!r} ({source}) is {row.condition}: {row.reason}",
        where=where,
        fix=row.fix,
    )


def no_such_name(
    type_: str, named: Mapping[str, Entry], kinds: Collection[str], where: str | None
) -> UnknownComponentError:
    """The plugin is there and has no component of that name."""
    scope, _, name = type_.partition(".")
    fitting = [key for key, entry in named.items() if not kinds or entry.component.kind in kinds] or list(named)
    return UnknownComponentError(
        f"plugin {scope!r} has no {a_kind(kinds, article=False)} {name!r}",
        where=where,
        expected=f"one of {', '.join(fitting)}" if fitting else None,
        near=[f"{scope}.{match}" for match in near_matches(name, fitting)],
        fix=None if fitting else f"plugin {scope!r} has no components",
    )


def wrong_kind(type_: str, entry: Entry, kinds: Collection[str], where: str | None) -> UnknownComponentError:
    """The component exists, and is of a kind that has no place here."""
    return UnknownComponentError(
        f"{type_!r} is {a_kind([entry.component.kind])}; this place wants {a_kind(kinds)}", where=where
    )


def a_kind(kinds: Collection[str], *, article: bool = True) -> str:
    """Say kinds as a person would: ``a loss``, ``a loss, an adapter or a tap``; ``component`` if there are none."""
    words = [kind.replace("_", " ") for kind in kinds] or ["component"]
    if article:
        words = [f"{'an' if word[0] in 'aeiou' else 'a'} {word}" for word in words]
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
